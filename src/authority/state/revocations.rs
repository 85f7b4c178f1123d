//! All revocations, by what they apply to. A revocation is kept for as long as what it revokes could otherwise be used,
//! and deleted after that.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::ops::Bound;
use std::sync::Arc;

use imbl::OrdMap;
use imbl::OrdSet;
use spiffe::SpiffeId;
use spiffe::TrustDomain;
use strum::VariantArray as _;

use crate::authority::access::GrantedRole;
use crate::authority::clock::Timestamp;
use crate::authority::identity::CertificateThumbprint;
use crate::authority::identity::prefixes;
use crate::authority::records::Shared;
use crate::authority::registration::ClientId;
use crate::authority::state::revoked::RevocationRecord;
use crate::authority::state::revoked::Revoked;
use crate::authority::state::revoked::RevokedKind;
use crate::authority::store::Revision;

type Stored = (RevocationRecord, Revision);

/// A revocation with its subject and its revision.
type Row<'a> = (Revoked, &'a RevocationRecord, Revision);

/// All revocations at one moment. Those of one kind are in a map of their own: nearly always most of them are empty.
#[derive(Clone, Debug, Default)]
pub struct Revocations {
    tokens: OrdSet<RevokedToken>,
    clients: OrdMap<ClientId, Stored>,
    certificates: OrdMap<CertificateThumbprint, Stored>,
    issued: OrdMap<ClientId, Stored>,
    issued_with: OrdMap<CertificateThumbprint, Stored>,
    /// At most one, under the empty name.
    all_issued: OrdMap<(), Stored>,
    identities: OrdMap<String, Stored>,
    trust_domains: OrdMap<TrustDomain, Stored>,
    roles: OrdMap<GrantedRole, Stored>,
    /// The revocations of tokens by who made them.
    revokers: Shared<str>,
}

/// The revocation of a token, of which there may be a million: it is compared by the `jti`.
#[derive(Clone, Debug)]
struct RevokedToken(Arc<(Box<str>, Stored)>);

impl RevokedToken {
    fn stored(&self) -> &Stored {
        &self.0.1
    }
}

impl Borrow<str> for RevokedToken {
    fn borrow(&self) -> &str {
        &self.0.0
    }
}

impl Ord for RevokedToken {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.0.cmp(&other.0.0)
    }
}

impl PartialOrd for RevokedToken {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for RevokedToken {
    fn eq(&self, other: &Self) -> bool {
        self.0.0 == other.0.0
    }
}

impl Eq for RevokedToken {}

impl Revocations {
    /// Adds a revocation.
    pub fn insert(&mut self, revoked: Revoked, mut record: RevocationRecord, revision: Revision) {
        if let Revoked::Token(_) = revoked {
            self.remove(&revoked);
            self.revokers.add(&mut record.revoked_by);
        }
        let stored = (record, revision);
        drop(match revoked {
            Revoked::Token(jti) => {
                self.tokens.insert(RevokedToken(Arc::new((jti.into(), stored))));
                None
            }
            Revoked::Client(client_id) => self.clients.insert(client_id, stored),
            Revoked::Certificate(thumbprint) => self.certificates.insert(thumbprint, stored),
            Revoked::IssuedTo(client_id) => self.issued.insert(client_id, stored),
            Revoked::IssuedWith(thumbprint) => self.issued_with.insert(thumbprint, stored),
            Revoked::AllIssued => self.all_issued.insert((), stored),
            Revoked::Identities(prefix) => self.identities.insert(prefix, stored),
            Revoked::TrustDomain(trust_domain) => self.trust_domains.insert(trust_domain, stored),
            Revoked::Role(role) => self.roles.insert(role, stored),
        });
    }

    /// Removes a revocation.
    pub fn remove(&mut self, revoked: &Revoked) {
        drop(match revoked {
            Revoked::Token(jti) => {
                if let Some(removed) = self.tokens.remove(jti.as_str()) {
                    self.revokers.remove(&removed.stored().0.revoked_by);
                }
                None
            }
            Revoked::Client(client_id) => self.clients.remove(client_id),
            Revoked::Certificate(thumbprint) => self.certificates.remove(thumbprint),
            Revoked::IssuedTo(client_id) => self.issued.remove(client_id),
            Revoked::IssuedWith(thumbprint) => self.issued_with.remove(thumbprint),
            Revoked::AllIssued => self.all_issued.remove(&()),
            Revoked::Identities(prefix) => self.identities.remove(prefix),
            Revoked::TrustDomain(trust_domain) => self.trust_domains.remove(trust_domain),
            Revoked::Role(role) => self.roles.remove(role),
        });
    }

    fn stored(&self, revoked: &Revoked) -> Option<&Stored> {
        match revoked {
            Revoked::Token(jti) => self.tokens.get(jti.as_str()).map(RevokedToken::stored),
            Revoked::Client(client_id) => self.clients.get(client_id),
            Revoked::Certificate(thumbprint) => self.certificates.get(thumbprint),
            Revoked::IssuedTo(client_id) => self.issued.get(client_id),
            Revoked::IssuedWith(thumbprint) => self.issued_with.get(thumbprint),
            Revoked::AllIssued => self.all_issued.get(&()),
            Revoked::Identities(prefix) => self.identities.get(prefix),
            Revoked::TrustDomain(trust_domain) => self.trust_domains.get(trust_domain),
            Revoked::Role(role) => self.roles.get(role),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
            && self.issued.is_empty()
            && self.issued_with.is_empty()
            && self.all_issued.is_empty()
            && !self.concerns_peers()
    }

    /// Whether there are any that may refuse peers.
    pub fn concerns_peers(&self) -> bool {
        !self.certificates.is_empty() || self.concerns_identities()
    }

    /// Whether there are any of clients, SPIFFE IDs, trust domains or roles.
    pub fn concerns_identities(&self) -> bool {
        !(self.clients.is_empty()
            && self.identities.is_empty()
            && self.trust_domains.is_empty()
            && self.roles.is_empty())
    }

    /// Whether there are any of clients.
    pub fn concerns_clients(&self) -> bool {
        !self.clients.is_empty()
    }

    /// Whether there are any of certificates.
    pub fn concerns_certificates(&self) -> bool {
        !self.certificates.is_empty()
    }

    /// All revocations, with their revisions.
    pub fn all(&self) -> impl Iterator<Item = Row<'_>> {
        RevokedKind::VARIANTS.iter().flat_map(|kind| self.of_kind(*kind, None))
    }

    /// At most `count` revocations of these kinds after one of them, in the order of their kinds and names.
    pub fn page(&self, kinds: &[RevokedKind], after: Option<&Revoked>, count: usize) -> Vec<Row<'_>> {
        let last = after.map(Revoked::kind);
        let wanted = |kind: &&RevokedKind| last.is_none_or(|last| last <= **kind) && kinds.contains(kind);
        let rows = RevokedKind::VARIANTS.iter().filter(wanted).flat_map(|kind| self.of_kind(*kind, after));
        rows.take(count).collect()
    }

    /// The revocations of a kind, after `after` if that is one of them.
    fn of_kind<'a>(&'a self, kind: RevokedKind, after: Option<&Revoked>) -> Box<dyn Iterator<Item = Row<'a>> + 'a> {
        let after = after.filter(|after| after.kind() == kind).cloned();
        match kind {
            RevokedKind::Token => {
                let after = if let Some(Revoked::Token(jti)) = after { Some(jti) } else { None };
                let from = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
                let tokens = self.tokens.range::<_, str>((from, Bound::Unbounded));
                Box::new(tokens.map(|RevokedToken(token)| {
                    let (jti, (record, revision)) = &**token;
                    (Revoked::Token(jti.to_string()), record, *revision)
                }))
            }
            RevokedKind::Client => {
                let after = if let Some(Revoked::Client(client_id)) = after { Some(client_id) } else { None };
                rows(&self.clients, after, Revoked::Client)
            }
            RevokedKind::Certificate => {
                let after = if let Some(Revoked::Certificate(thumbprint)) = after { Some(thumbprint) } else { None };
                rows(&self.certificates, after, Revoked::Certificate)
            }
            RevokedKind::Issued => {
                let after = if let Some(Revoked::IssuedTo(client_id)) = after { Some(client_id) } else { None };
                rows(&self.issued, after, Revoked::IssuedTo)
            }
            RevokedKind::IssuedWith => {
                let after = if let Some(Revoked::IssuedWith(thumbprint)) = after { Some(thumbprint) } else { None };
                rows(&self.issued_with, after, Revoked::IssuedWith)
            }
            RevokedKind::AllIssued => rows(&self.all_issued, after.map(|_| ()), |()| Revoked::AllIssued),
            RevokedKind::Identity => {
                let after = if let Some(Revoked::Identities(prefix)) = after { Some(prefix) } else { None };
                rows(&self.identities, after, Revoked::Identities)
            }
            RevokedKind::TrustDomain => {
                let after = if let Some(Revoked::TrustDomain(name)) = after { Some(name) } else { None };
                rows(&self.trust_domains, after, Revoked::TrustDomain)
            }
            RevokedKind::Role => {
                let after = if let Some(Revoked::Role(role)) = after { Some(role) } else { None };
                rows(&self.roles, after, Revoked::Role)
            }
        }
    }

    /// The store revision of a revocation.
    pub fn revision_of(&self, revoked: &Revoked) -> Option<Revision> {
        self.stored(revoked).map(|(_, revision)| *revision)
    }

    /// The record of a revocation.
    pub fn record(&self, revoked: &Revoked) -> Option<&RevocationRecord> {
        self.stored(revoked).map(|(record, _)| record)
    }

    /// The revocations that have no effect any more.
    pub fn expired(&self, now: Timestamp) -> Vec<(Revoked, Revision)> {
        let over = |(revoked, record, _): &Row<'_>| record.last_effect(revoked).is_some_and(|last| now > last);
        self.all().filter(over).map(|(revoked, _, revision)| (revoked, revision)).collect()
    }

    /// Whether a token is refused by its `jti`.
    pub fn has_token(&self, jti: &str, now: Timestamp) -> bool {
        self.tokens.get(jti).is_some_and(|token| token.stored().0.is_in_effect(now))
    }

    /// Whether a client, and with it each of its tokens, is refused under this name.
    pub fn has_client(&self, client_id: &ClientId, now: Timestamp) -> bool {
        self.clients.get(client_id).is_some_and(|(record, _)| record.is_in_effect(now))
    }

    /// Whether a certificate is refused.
    pub fn has_certificate(&self, thumbprint: CertificateThumbprint, now: Timestamp) -> bool {
        self.certificates.get(&thumbprint).is_some_and(|(record, _)| record.is_in_effect(now))
    }

    /// Whether what was issued to a client at this time is refused, although the client is not.
    pub fn has_issued(&self, client_id: &ClientId, issued: Timestamp, now: Timestamp) -> bool {
        // A token of the same second may have been issued before or after the revocation; it is refused.
        let up_to = |(record, _): &Stored| record.is_in_effect(now) && issued <= record.revoked_at;
        let ended = |(record, _): &Stored| record.refuses_issued_at(issued, now);
        self.issued.get(client_id).is_some_and(up_to) || self.clients.get(client_id).is_some_and(ended)
    }

    /// Whether what was issued at this time, bound to a certificate, is refused although the certificate is not.
    pub fn has_issued_with(&self, thumbprint: CertificateThumbprint, issued: Timestamp, now: Timestamp) -> bool {
        let up_to = |(record, _): &Stored| record.is_in_effect(now) && issued <= record.revoked_at;
        self.issued_with.get(&thumbprint).is_some_and(up_to)
    }

    /// Whether everything that was issued at this time is refused, whoever holds it.
    pub fn has_all_issued(&self, issued: Timestamp, now: Timestamp) -> bool {
        self.all_issued.get(&()).is_some_and(|(record, _)| record.is_in_effect(now) && issued <= record.revoked_at)
    }

    /// The number of revocations of tokens.
    pub fn tokens(&self) -> usize {
        self.tokens.len()
    }

    /// The number of revocations of tokens by this caller.
    pub fn tokens_revoked_by(&self, caller: &str) -> usize {
        self.revokers.count(caller)
    }

    /// Whether a SPIFFE ID is refused: as a client, with a path above it, or with its trust domain.
    pub fn has_identity(&self, id: &SpiffeId, now: Timestamp) -> bool {
        self.records_of(id).any(|record| record.is_in_effect(now))
    }

    /// The revocations of a SPIFFE ID as a client, of a path above it, and of its trust domain.
    pub fn records_of(&self, id: &SpiffeId) -> impl Iterator<Item = &RevocationRecord> {
        let name = (!self.clients.is_empty() || !self.identities.is_empty()).then(|| ClientId::from(id));
        let client = name.as_ref().and_then(|name| self.clients.get(name));
        let below = name.as_ref().filter(|_| !self.identities.is_empty());
        let below: Vec<_> =
            below.iter().flat_map(|name| prefixes(name.as_str())).filter_map(|one| self.identities.get(one)).collect();
        let trust_domain = self.trust_domains.get(id.trust_domain());
        client.into_iter().chain(below).chain(trust_domain).map(|(record, _)| record)
    }

    /// The roles whose holders are, or were, revoked.
    pub fn roles(&self) -> impl Iterator<Item = (GrantedRole, &RevocationRecord)> {
        self.roles.iter().map(|(role, (record, _))| (*role, record))
    }
}

/// The revocations of one map after a name.
fn rows<K: Clone + Ord>(
    map: &OrdMap<K, Stored>,
    after: Option<K>,
    revoked: fn(K) -> Revoked,
) -> Box<dyn Iterator<Item = Row<'_>> + '_> {
    let from = after.map_or(Bound::Unbounded, Bound::Excluded);
    let rows = map.range((from, Bound::Unbounded));
    Box::new(rows.map(move |(name, (record, revision))| (revoked(name.clone()), record, *revision)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So that the memory for a million revocations stays bounded: the node of the set takes 29 bytes besides, and the `jti` 43.
    #[test]
    fn the_revocation_of_a_token_takes_little_memory_of_its_own() {
        assert!(size_of::<(Box<str>, Stored)>() <= 80, "{}", size_of::<(Box<str>, Stored)>());
        let mut revocations = Revocations::default();
        for jti in ["a", "b"] {
            let record = RevocationRecord::new(Timestamp(1), "spiffe://prod.example/admin", None);
            revocations.insert(Revoked::Token(jti.to_owned()), record, Revision(1));
        }
        let by: Vec<_> = revocations.all().map(|(_, record, _)| &record.revoked_by).collect();
        assert!(matches!(by.as_slice(), [one, other] if Arc::ptr_eq(one, other)));
    }
}
