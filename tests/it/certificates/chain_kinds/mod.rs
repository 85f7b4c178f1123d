//! The kinds of generated chains: what is changed in a good one, and what each of the three makes of it.

mod accepted;
mod refused;

use lanyard::authority::clock::Timestamp;

use crate::support::NOW;
use crate::support::Xorshift;
use crate::support::made::Extension;
use crate::support::made::Made;

/// One kind of chain.
#[expect(clippy::struct_excessive_bools, reason = "a row of a table, each a column of its own")]
pub struct Kind {
    pub name: &'static str,
    pub lanyard: Result<(), &'static str>,
    pub openssl: bool,
    pub webpki: bool,
    /// Why one of the others differs from Lanyard.
    pub why: &'static str,
    /// The least number of CAs between the root and the leaf.
    pub least_cas: usize,
    pub only_svid: bool,
    pub only_client: bool,
    /// Without certificates that lead nowhere, among which openssl loses its way.
    pub alone: bool,
    pub change: fn(&mut Vec<Made>, &mut Xorshift),
}

const GOOD: Kind = Kind {
    name: "unchanged",
    lanyard: Ok(()),
    openssl: true,
    webpki: true,
    why: "",
    least_cas: 0,
    only_svid: false,
    only_client: false,
    alone: false,
    change: |_, _| {},
};

const BAD: Kind = Kind { openssl: false, webpki: false, ..GOOD };

const NO_KEY_USAGE: &str = "webpki does not look at the keyUsage of issuers";
const NO_ANCHOR: &str = "webpki takes name, key and name constraints from an anchor, and nothing else";
const SPIFFE: &str = "the rule is X509-SVID's, or Lanyard's own";

/// One of the CAs between the root and the leaf.
fn ca<'a>(chain: &'a mut [Made], random: &mut Xorshift) -> &'a mut Made {
    let cas = chain.len() - 2;
    &mut chain[1 + random.below(cas)]
}

/// The root, or a CA below it.
fn issuer<'a>(chain: &'a mut [Made], random: &mut Xorshift) -> &'a mut Made {
    let issuers = chain.len() - 1;
    &mut chain[random.below(issuers)]
}

fn root(chain: &mut [Made]) -> &mut Made {
    &mut chain[0]
}

fn leaf(chain: &mut [Made]) -> &mut Made {
    chain.last_mut().unwrap()
}

fn any<'a>(chain: &'a mut [Made], random: &mut Xorshift) -> &'a mut Made {
    let place = random.below(chain.len());
    &mut chain[place]
}

fn rename(chain: &mut [Made], names: &[(u8, &[u8])]) {
    leaf(chain).put(Extension::names(names));
}

fn permit(chain: &mut [Made], random: &mut Xorshift, form: u8, subtree: &[u8]) {
    issuer(chain, random).put(Extension::name_constraints(&[(form, subtree)], &[]));
}

fn exclude(chain: &mut [Made], random: &mut Xorshift, form: u8, subtree: &[u8]) {
    issuer(chain, random).put(Extension::name_constraints(&[], &[(form, subtree)]));
}

const PAST: Timestamp = Timestamp(NOW.0 - 1);
const FUTURE: Timestamp = Timestamp(NOW.0 + 1);

/// Every kind, in turn.
pub fn all() -> Vec<&'static Kind> {
    accepted::KINDS.iter().chain(refused::KINDS).collect()
}
