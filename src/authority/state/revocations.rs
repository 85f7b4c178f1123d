//! All revocations, by what they apply to. A revocation is kept for as long as what it revokes could otherwise be used,
//! and deleted after that.

use std::borrow::Cow;
use std::ops::Bound;

use imbl::OrdMap;
use spiffe::SpiffeId;
use spiffe::TrustDomain;
use strum::VariantArray as _;

use crate::authority::access::GrantedRole;
use crate::authority::clock::Timestamp;
use crate::authority::identity::CertificateThumbprint;
use crate::authority::identity::prefixes;
use crate::authority::registration::ClientId;
use crate::authority::state::revoked::RevocationRecord;
use crate::authority::state::revoked::Revoked;
use crate::authority::state::revoked::RevokedKind;
use crate::authority::state::revoked_tokens::RevokedTokens;
use crate::authority::store::Revision;

type Stored = (RevocationRecord, Revision);

/// A revocation with its subject and its revision.
type Row<'a> = (Revoked, Cow<'a, RevocationRecord>, Revision);

/// All revocations at one moment. Those of one kind are in a map of their own: nearly always most of them are empty.
#[derive(Clone, Debug, Default)]
pub struct Revocations {
    tokens: RevokedTokens,
    clients: OrdMap<ClientId, Stored>,
    certificates: OrdMap<CertificateThumbprint, Stored>,
    issued: OrdMap<ClientId, Stored>,
    issued_with: OrdMap<CertificateThumbprint, Stored>,
    /// At most one, under the empty name.
    all_issued: OrdMap<(), Stored>,
    identities: OrdMap<String, Stored>,
    trust_domains: OrdMap<TrustDomain, Stored>,
    roles: OrdMap<GrantedRole, Stored>,
}

impl Revocations {
    /// Adds a revocation.
    pub fn insert(&mut self, revoked: Revoked, record: RevocationRecord, revision: Revision) {
        let stored = (record, revision);
        drop(match revoked {
            Revoked::Token(jti) => {
                let (record, revision) = stored;
                self.tokens.insert(&jti, record, revision);
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
                self.tokens.remove(jti);
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

    fn stored(&self, revoked: &Revoked) -> Option<Cow<'_, Stored>> {
        let found = match revoked {
            Revoked::Token(jti) => return self.tokens.get(jti).map(Cow::Owned),
            Revoked::Client(client_id) => self.clients.get(client_id),
            Revoked::Certificate(thumbprint) => self.certificates.get(thumbprint),
            Revoked::IssuedTo(client_id) => self.issued.get(client_id),
            Revoked::IssuedWith(thumbprint) => self.issued_with.get(thumbprint),
            Revoked::AllIssued => self.all_issued.get(&()),
            Revoked::Identities(prefix) => self.identities.get(prefix),
            Revoked::TrustDomain(trust_domain) => self.trust_domains.get(trust_domain),
            Revoked::Role(role) => self.roles.get(role),
        };
        found.map(Cow::Borrowed)
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
                let tokens = self.tokens.after(after.as_deref());
                Box::new(tokens.map(|(jti, record, revision)| (Revoked::Token(jti), Cow::Owned(record), revision)))
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
        self.stored(revoked).map(|stored| stored.1)
    }

    /// The record of a revocation.
    pub fn record(&self, revoked: &Revoked) -> Option<RevocationRecord> {
        self.stored(revoked).map(|stored| stored.into_owned().0)
    }

    /// The revocations that have no effect any more.
    pub fn expired(&self, now: Timestamp) -> Vec<(Revoked, Revision)> {
        let over = |(revoked, record, _): &Row<'_>| record.last_effect(revoked).is_some_and(|last| now > last);
        self.all().filter(over).map(|(revoked, _, revision)| (revoked, revision)).collect()
    }

    /// Whether a token is refused by its `jti`.
    pub fn has_token(&self, jti: &str, now: Timestamp) -> bool {
        self.tokens.refuses(jti, now)
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
        self.tokens.revoked_by(caller)
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
    Box::new(rows.map(move |(name, (record, revision))| (revoked(name.clone()), Cow::Borrowed(record), *revision)))
}
