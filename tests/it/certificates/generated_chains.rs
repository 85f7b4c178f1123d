//! Generated chains, each good or bad by one rule, against `openssl verify` and webpki. Where they differ from Lanyard,
//! the row of the kind says why.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::process::Command;
use std::rc::Rc;
use std::time::Duration;

use lanyard::authority::trust::Anchors;
use lanyard::authority::trust::TrustBundles;
use rcgen::KeyPair;
use rcgen::RsaKeySize;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::UnixTime;
use spiffe::TrustDomain;
use tempfile::TempDir;
use webpki::EndEntityCert;
use webpki::KeyUsage;

use crate::certificates::chain_kinds::Kind;
use crate::certificates::chain_kinds::all;
use crate::support::NOW;
use crate::support::Xorshift;
use crate::support::leaf::pem;
use crate::support::made::DNS;
use crate::support::made::Extension;
use crate::support::made::Made;
use crate::support::made::URI;
use crate::support::tools;

/// Chains in one run of openssl. They have no names in common.
const BATCH: usize = 250;

/// A generated chain.
struct Generated {
    kind: &'static Kind,
    is_svid: bool,
    anchor: CertificateDer<'static>,
    /// The leaf first.
    presented: Vec<CertificateDer<'static>>,
}

/// Generates keys once: what is tested are the certificates.
fn keys() -> Vec<Rc<KeyPair>> {
    let mut keys: Vec<_> = (0..12).map(|_| KeyPair::generate().unwrap()).collect();
    keys.push(KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap());
    keys.push(KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap());
    keys.push(KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap());
    keys.into_iter().map(Rc::new).collect()
}

/// Root, CAs and leaf, changed as the kind says; then the certificates that lead nowhere, in any order.
fn generate(number: usize, kind: &'static Kind, keys: &[Rc<KeyPair>], random: &mut Xorshift) -> Generated {
    let is_svid = kind.only_svid || (!kind.only_client && random.below(2) == 0);
    let mut free: Vec<_> = keys.to_vec();
    let mut take = |random: &mut Xorshift| free.swap_remove(random.below(free.len()));
    let cas = kind.least_cas + random.below(4 - kind.least_cas);
    let mut chain: Vec<Made> =
        (0..=cas).map(|depth| Made::ca(&format!("{number} CA {depth}"), &take(random))).collect();
    let names: &[(u8, &[u8])] = if is_svid { &[(URI, b"spiffe://dev.test/shop")] } else { &[(DNS, b"a.dev.test")] };
    chain.push(Made::leaf(&format!("{number} leaf"), &take(random), names));
    // openssl follows the first issuer that fits and never turns back; by these it finds the right one.
    let identifiers: Vec<[u8; 8]> = chain.iter().map(|_| random.next().to_be_bytes()).collect();
    for (place, made) in chain.iter_mut().enumerate() {
        made.put(Extension::subject_key(&identifiers[place]));
        made.put(Extension::authority_key(&identifiers[place.saturating_sub(1)]));
    }
    (kind.change)(&mut chain, random);

    let mut presented: Vec<_> = chain.windows(2).map(|pair| pair[1].signed_by(&pair[0])).collect();
    presented.reverse();
    let mut others = presented.split_off(1);
    let stranger = Made::ca(&format!("{number} stranger"), &take(random));
    for _ in 0..if kind.alone { 0 } else { random.below(3) } {
        let copied = &chain[random.below(chain.len() - 1)];
        let mut decoy = copied.clone();
        decoy.key = Rc::clone(&stranger.key);
        decoy.extensions.clone_from(&stranger.extensions);
        decoy.put(Extension::subject_key(&random.next().to_be_bytes()));
        decoy.version = 3;
        others.push(decoy.signed_by(&stranger));
    }
    for place in (1..others.len()).rev() {
        others.swap(place, random.below(place + 1));
    }
    presented.extend(others);
    Generated { kind, is_svid, anchor: chain[0].signed_by(&chain[0]), presented }
}

fn by_lanyard(chain: &Generated) -> Result<(), &'static str> {
    let anchors = Anchors::new(std::slice::from_ref(&chain.anchor)).map_err(|_| "ANCHOR")?;
    let trust = if chain.is_svid {
        let trust_domains = [(TrustDomain::new("dev.test").unwrap(), anchors.into())].into();
        TrustBundles { trust_domains, ..TrustBundles::default() }
    } else {
        TrustBundles { client_cas: [("ca".to_owned(), anchors)].into(), ..TrustBundles::default() }
    };
    match trust.prove(&chain.presented, NOW, |_| false) {
        Ok(_) => Ok(()),
        // One thing by two names.
        Err(refused) if refused.code() == "UNKNOWN" => Err("NO_PATH"),
        Err(refused) => Err(refused.code()),
    }
}

fn by_webpki(chain: &Generated) -> bool {
    let Ok(anchor) = webpki::anchor_from_trusted_cert(&chain.anchor) else { return false };
    let now = UnixTime::since_unix_epoch(Duration::from_secs(NOW.0));
    EndEntityCert::try_from(&chain.presented[0]).is_ok_and(|leaf| {
        leaf.verify_for_usage(
            webpki::ALL_VERIFICATION_ALGS,
            &[anchor],
            &chain.presented[1..],
            now,
            KeyUsage::client_auth(),
            None,
            None,
        )
        .is_ok()
    })
}

/// What openssl says of each leaf, in the order of the chains; `None` if it accepts it.
fn by_openssl(openssl: &str, chains: &[Generated]) -> Vec<Option<String>> {
    let directory = TempDir::new().unwrap();
    let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
    let (mut roots, mut others) = (String::new(), String::new());
    for (number, chain) in chains.iter().enumerate() {
        roots += &pem(&chain.anchor);
        others.extend(chain.presented[1..].iter().map(|certificate| pem(certificate)));
        write(&format!("{number}.pem"), &pem(&chain.presented[0]));
    }
    write("roots", &roots);
    write("others", &others);
    let now = NOW.0.to_string();
    let mut command = Command::new(openssl);
    command.current_dir(&directory).args(["verify", "-no-CApath", "-no-CAstore", "-CAfile", "roots"]);
    command.args(["-untrusted", "others", "-partial_chain", "-purpose", "sslclient", "-policy_check"]);
    command.args(["-policy", "2.5.29.32.0", "-attime", &now]);
    command.args((0..chains.len()).map(|number| format!("{number}.pem")));
    let output = command.output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    let accepted: Vec<&str> = printed.lines().filter_map(|line| line.strip_suffix(": OK")).collect();
    let errors = String::from_utf8_lossy(&output.stderr);
    let said = |leaf: &str| {
        let (before, _) = errors.split_once(&format!("error {leaf}: ")).unwrap_or_default();
        before.lines().last().unwrap_or_default().to_owned()
    };
    let leaves = (0..chains.len()).map(|number| format!("{number}.pem"));
    leaves.map(|leaf| (!accepted.contains(&&*leaf)).then(|| said(&leaf))).collect()
}

/// Compares `count` chains, by each of the three in turn.
fn compare(count: usize, seed: u64) {
    let Some(openssl) = tools::openssl() else { return };
    let (kinds, keys, mut random) = (all(), keys(), Xorshift::new(seed));
    let mut wrong: BTreeMap<&str, (usize, String)> = BTreeMap::new();
    let mut compared = 0;
    while compared < count {
        let chains: Vec<Generated> = (0..BATCH)
            .map(|number| {
                let kind = kinds[(compared + number) % kinds.len()];
                generate(compared + number, kind, &keys, &mut random)
            })
            .collect();
        for (chain, openssl) in chains.iter().zip(by_openssl(openssl, &chains)) {
            let found = (by_lanyard(chain), openssl.is_none(), by_webpki(chain));
            let kind = chain.kind;
            if found != (kind.lanyard, kind.openssl, kind.webpki) {
                let (times, text) = wrong.entry(kind.name).or_default();
                *times += 1;
                text.clear();
                write!(text, "svid {}, {} certificates: {found:?} {openssl:?}", chain.is_svid, chain.presented.len())
                    .unwrap();
            }
        }
        compared += chains.len();
    }
    assert!(wrong.is_empty(), "(Lanyard, openssl, webpki) differ from the table: {wrong:#?}");
}

#[test]
fn five_thousand_chains_are_as_openssl_and_webpki_have_them_but_for_a_list() {
    compare(5_000, 12);
    // Each kind that is refused by one alone has its reason beside it.
    for kind in all() {
        let ours = kind.lanyard.is_ok();
        assert_eq!(kind.why.is_empty(), ours == kind.openssl && ours == kind.webpki, "{}", kind.name);
    }
}

#[test]
#[ignore = "takes minutes; .ci/run-long runs it"]
fn long_a_hundred_thousand_chains_are_as_openssl_and_webpki_have_them_but_for_a_list() {
    compare(100_000, 2026);
}
