//! The revocations that the stream sent, by what they apply to.

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::collections::hash_map;
use std::sync::Arc;

use spiffe::SpiffeId;

use crate::client::verifier::refused::Refused;
use crate::proto::RevocationEntry;
use crate::proto::RevokedTokens;
use crate::proto::revoked_tokens;

/// All revocations that have an effect. Those that have ended are forgotten.
#[derive(Default)]
pub(super) struct Revocations {
    entries: HashMap<Arc<str>, Revocation>,
    /// The identifiers of those that apply to the same tokens: nearly always one.
    by_tokens: HashMap<Tokens, Vec<Arc<str>>>,
    /// Those that end, by the second of their end.
    ends: BTreeSet<(i64, Arc<str>)>,
}

struct Revocation {
    tokens: Vec<Tokens>,
    issued_until: Option<i64>,
    expires: Option<i64>,
}

/// Which tokens: the kinds of [`revoked_tokens::Tokens`].
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum Tokens {
    Jti(String),
    Client(String),
    Registration(String),
    Certificate(String),
    /// Those of the SPIFFE IDs that begin with this text, which ends in a slash.
    Below(String),
    TrustDomain(String),
    All,
}

impl Tokens {
    /// A kind that is not known here stands for all tokens, and so does a pattern that is none.
    fn of(tokens: RevokedTokens) -> Self {
        match tokens.tokens {
            Some(revoked_tokens::Tokens::Jti(jti)) => Self::Jti(jti),
            Some(revoked_tokens::Tokens::ClientId(client_id)) => Self::Client(client_id),
            Some(revoked_tokens::Tokens::Registration(creation)) => Self::Registration(creation),
            Some(revoked_tokens::Tokens::Certificate(thumbprint)) => Self::Certificate(thumbprint),
            Some(revoked_tokens::Tokens::Identities(pattern)) => match pattern.strip_suffix('*') {
                Some(prefix) if prefix.ends_with('/') => Self::Below(prefix.to_owned()),
                _ => Self::All,
            },
            Some(revoked_tokens::Tokens::TrustDomain(name)) => Self::TrustDomain(name),
            Some(revoked_tokens::Tokens::All(_)) | None => Self::All,
        }
    }
}

/// What revocations may concern of a token: of the one that is used, and of each that it comes from.
pub(super) struct Held<'a> {
    pub(super) jti: &'a str,
    pub(super) issued: u64,
    pub(super) client_id: &'a str,
    pub(super) registration: &'a str,
    /// The SPIFFE IDs of the holder and of the presented certificate.
    pub(super) spiffe_ids: Vec<SpiffeId>,
    /// The certificate that it is bound to, and the presented one.
    pub(super) certificates: Vec<&'a str>,
}

impl Held<'_> {
    /// What may be revoked of it, with the reason for which its use is then refused, in the order of the reasons.
    fn tokens(&self) -> Vec<(Tokens, Refused)> {
        let mut tokens = vec![
            (Tokens::All, Refused::TokenRevoked),
            (Tokens::Jti(self.jti.to_owned()), Refused::TokenRevoked),
            (Tokens::Client(self.client_id.to_owned()), Refused::ClientRevoked),
            (Tokens::Registration(self.registration.to_owned()), Refused::ClientRevoked),
        ];
        for id in &self.spiffe_ids {
            let text = id.to_string();
            let below = prefixes(&text).map(|prefix| Tokens::Below(prefix.to_owned()));
            let domain = Tokens::TrustDomain(id.trust_domain().to_string());
            let named = below.chain([domain, Tokens::Client(text.clone())]);
            tokens.extend(named.map(|named| (named, Refused::IdentityRevoked)));
        }
        let certificates = self.certificates.iter().map(|thumbprint| Tokens::Certificate((*thumbprint).to_owned()));
        tokens.extend(certificates.map(|one| (one, Refused::CertificateRevoked)));
        tokens
    }
}

impl Revocations {
    /// Takes an entry in place of the one with the same identifier.
    pub(super) fn apply(&mut self, entry: RevocationEntry) {
        let id: Arc<str> = entry.id.into();
        self.remove(&id);
        if entry.tokens.is_empty() {
            return;
        }
        let tokens: Vec<Tokens> = entry.tokens.into_iter().map(Tokens::of).collect();
        for one in &tokens {
            self.by_tokens.entry(one.clone()).or_default().push(Arc::clone(&id));
        }
        if let Some(expires) = entry.expires {
            self.ends.insert((expires, Arc::clone(&id)));
        }
        let revocation = Revocation { tokens, issued_until: entry.issued_until, expires: entry.expires };
        self.entries.insert(id, revocation);
    }

    fn remove(&mut self, id: &Arc<str>) {
        let Some(removed) = self.entries.remove(id) else { return };
        if let Some(expires) = removed.expires {
            self.ends.remove(&(expires, Arc::clone(id)));
        }
        for one in removed.tokens {
            if let hash_map::Entry::Occupied(mut ids) = self.by_tokens.entry(one) {
                ids.get_mut().retain(|other| other != id);
                if ids.get().is_empty() {
                    ids.remove();
                }
            }
        }
    }

    /// Forgets what has ended.
    pub(super) fn forget(&mut self, now: u64) {
        let now = signed(now);
        while let Some((_, id)) = self.ends.first().filter(|(expires, _)| *expires <= now).cloned() {
            self.remove(&id);
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Why a use of a token is refused, if it is.
    pub(super) fn refusal(&self, held: &Held<'_>, now: u64) -> Option<Refused> {
        if self.entries.is_empty() {
            return None;
        }
        let (issued, now) = (signed(held.issued), signed(now));
        let mut refusals = held.tokens().into_iter().filter_map(|(tokens, reason)| {
            let mut matching = self.matching(&tokens, issued, now).peekable();
            matching.peek()?;
            // What refuses by the time of issue refuses this token, and not its client.
            Some(if matching.all(|one| one.issued_until.is_some()) { Refused::TokenRevoked } else { reason })
        });
        let first = refusals.next()?;
        if first == Refused::TokenRevoked || refusals.any(|one| one == Refused::TokenRevoked) {
            return Some(Refused::TokenRevoked);
        }
        Some(first)
    }

    /// Those that apply to these tokens, issued at this second.
    fn matching(&self, tokens: &Tokens, issued: i64, now: i64) -> impl Iterator<Item = &Revocation> {
        let ids = self.by_tokens.get(tokens).into_iter().flatten();
        ids.filter_map(|id| self.entries.get(id)).filter(move |one| {
            one.expires.is_none_or(|expires| now < expires) && one.issued_until.is_none_or(|until| issued <= until)
        })
    }
}

fn signed(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

/// The prefixes of a SPIFFE ID that end in a slash and are not all of it. The two slashes of `spiffe://` end none.
fn prefixes(id: &str) -> impl Iterator<Item = &str> {
    let slashes = id.char_indices().filter(|(_, character)| *character == '/').map(|(at, _)| at + 1);
    slashes.filter(move |end| *end > "spiffe://".len() && *end < id.len()).filter_map(|end| id.get(..end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: &str, jti: &str, expires: Option<i64>) -> RevocationEntry {
        let tokens = vec![RevokedTokens { tokens: Some(revoked_tokens::Tokens::Jti(jti.to_owned())) }];
        RevocationEntry { id: id.to_owned(), tokens, expires, issued_until: None }
    }

    fn sizes(revocations: &Revocations) -> [usize; 3] {
        [revocations.len(), revocations.by_tokens.len(), revocations.ends.len()]
    }

    #[test]
    fn what_has_ended_or_is_lifted_takes_no_memory() {
        let mut revocations = Revocations::default();
        for (number, expires) in (0..100).zip([Some(10), Some(20), None].into_iter().cycle()) {
            revocations.apply(entry(&number.to_string(), &format!("j{number}"), expires));
        }
        // Once more, and with another end.
        revocations.apply(entry("0", "j0", Some(20)));
        assert_eq!(sizes(&revocations), [100, 100, 67]);
        revocations.forget(9);
        assert_eq!(sizes(&revocations), [100, 100, 67]);
        revocations.forget(10);
        assert_eq!(sizes(&revocations), [67, 67, 34]);
        revocations.forget(u64::MAX);
        assert_eq!(sizes(&revocations), [33, 33, 0]);
        for number in 0..100 {
            revocations.apply(RevocationEntry { tokens: Vec::new(), ..entry(&number.to_string(), "", None) });
        }
        assert_eq!(sizes(&revocations), [0, 0, 0]);
    }

    #[test]
    fn the_paths_above_a_spiffe_id_are_its_prefixes() {
        let of = |id: &'static str| prefixes(id).collect::<Vec<_>>();
        assert_eq!(of("spiffe://a/b/c"), ["spiffe://a/", "spiffe://a/b/"]);
        assert_eq!(of("spiffe://a/b"), ["spiffe://a/"]);
        assert!(of("spiffe://a").is_empty());
    }
}
