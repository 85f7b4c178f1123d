//! What the revocations of a view refuse: peers, and uses of tokens.

use std::borrow::Cow;

use spiffe::SpiffeId;

use crate::authority::clock::Timestamp;
use crate::authority::deny_reason::DenyReason;
use crate::authority::evidence::Evidence;
use crate::authority::identity::CertificateThumbprint;
use crate::authority::identity::PeerIdentity;
use crate::authority::identity::parse_spiffe_id;
use crate::authority::registration::ClientId;
use crate::authority::registration::ClientStatus;
use crate::authority::registration::RegisteredClient;
use crate::authority::registration::Rotation;
use crate::authority::registration::TokenEndpointAuthMethod;
use crate::authority::state::lineages::LineagePolicy;
use crate::authority::state::revoked::RevocationRecord;
use crate::authority::state::view::View;
use crate::authority::tokens::VerifiedToken;
use crate::authority::trust::Unproven;

impl View {
    /// Why a peer is refused altogether, with any role: its certificate is revoked, or who it is.
    pub fn revocation_of_peer(&self, peer: &PeerIdentity) -> Option<Unproven> {
        let revocations = &self.snapshot.revocations;
        // The usual case.
        if !revocations.concerns_peers() {
            return None;
        }
        if revocations.has_certificate(peer.thumbprint(), self.now) {
            return Some(Unproven::Revoked);
        }
        let by_id = peer.spiffe_id().is_some_and(|id| revocations.has_identity(id, self.now));
        let by_client = || {
            revocations.concerns_clients()
                && self
                    .snapshot
                    .clients_of(peer, self.now)
                    .iter()
                    .any(|client| revocations.has_client(&client.registration.client_id, self.now))
        };
        let by_role = || {
            revocations
                .roles()
                .filter(|(_, record)| record.is_in_effect(self.now))
                .any(|(role, _)| self.roles.assigns(role, peer.spiffe_id(), Some(peer.thumbprint())))
        };
        (by_id || by_client() || by_role()).then_some(Unproven::IdentityRevoked)
    }

    /// Why the use of a token with a certificate is refused by a revocation, if it is.
    pub fn revocation_of_use(
        &self,
        token: &VerifiedToken,
        client: &ClientStatus,
        evidence: Option<&Evidence>,
        lineage: LineagePolicy,
    ) -> Option<DenyReason> {
        let held = Held {
            jti: &token.claims.jti,
            issued: token.claims.iat,
            holder: token.holder.as_ref(),
            spiffe_id: token.holder_spiffe_id.as_ref(),
            bound_to: token.bound_to,
        };
        self.revocation_of(held, registered(client), evidence, lineage)
    }

    /// Why what is held is refused by a revocation, alone or with this evidence of a certificate, if it is.
    pub(in crate::authority::state) fn revocation_of(
        &self,
        held: Held<'_>,
        registered: Option<&RegisteredClient>,
        evidence: Option<&Evidence>,
        lineage: LineagePolicy,
    ) -> Option<DenyReason> {
        let (revocations, now) = (&self.snapshot.revocations, self.now);
        // The usual case.
        if revocations.is_empty() {
            return None;
        }
        let Held { jti, issued, holder, bound_to, .. } = held;
        // A client has one name or two: the `client_id` in its tokens, and the one that it is registered under.
        let names = || holder.into_iter().chain(registered.map(|client| &client.registration.client_id));
        if revocations.has_token(jti, now)
            || revocations.has_all_issued(issued, now)
            || names().any(|name| revocations.has_issued(name, issued, now))
            || bound_to.is_some_and(|thumbprint| revocations.has_issued_with(thumbprint, issued, now))
        {
            return Some(DenyReason::TokenRevoked);
        }
        let identities = revocations.concerns_identities().then(|| UseIdentities::of(held, registered, evidence));
        let identities = identities.as_ref();
        let of_holder = || identities.into_iter().flat_map(|identities| self.records_of(&identities.holder));
        if of_holder().any(|record| record.refuses_issued_at(issued, now)) {
            return Some(DenyReason::TokenRevoked);
        }
        if names().any(|name| revocations.has_client(name, now)) {
            return Some(DenyReason::ClientRevoked);
        }
        let of_presented = identities.into_iter().flat_map(|identities| self.records_of(&identities.presented));
        if of_holder().chain(of_presented).any(|record| record.is_in_effect(now)) {
            return Some(DenyReason::IdentityRevoked);
        }
        // The presented certificate may differ from the one that the token is bound to.
        let presented = evidence.and_then(Evidence::thumbprint);
        let mut certificates = bound_to.into_iter().chain(presented);
        let revoked = |thumbprint| revocations.has_certificate(thumbprint, now);
        let between = || match (bound_to, presented, registered) {
            (Some(bound), Some(presented), Some(client)) if client.registration.terms.rotation == Rotation::Lineage => {
                revocations.concerns_certificates() && self.snapshot.lineages.passes(bound, presented, lineage, revoked)
            }
            _ => false,
        };
        (certificates.any(revoked) || between()).then_some(DenyReason::CertificateRevoked)
    }

    /// The revocations of these SPIFFE IDs, and of the roles that they or a certificate hold.
    fn records_of<'a>(
        &'a self,
        (ids, thumbprint): &'a (Vec<Cow<'a, SpiffeId>>, Option<CertificateThumbprint>),
    ) -> impl Iterator<Item = &'a RevocationRecord> {
        let revocations = &self.snapshot.revocations;
        let by_id = ids.iter().flat_map(|id| revocations.records_of(id));
        let by_role = revocations.roles().filter(|(role, _)| {
            self.roles.assigns(*role, None, *thumbprint)
                || ids.iter().any(|id| self.roles.assigns(*role, Some(id.as_ref()), None))
        });
        by_id.chain(by_role.map(|(_, record)| record))
    }
}

/// What revocations may concern of a token: of the one that is used, and of each that it comes from.
#[derive(Clone, Copy)]
pub(in crate::authority::state) struct Held<'a> {
    pub(in crate::authority::state) jti: &'a str,
    pub(in crate::authority::state) issued: Timestamp,
    pub(in crate::authority::state) holder: Option<&'a ClientId>,
    pub(in crate::authority::state) spiffe_id: Option<&'a SpiffeId>,
    pub(in crate::authority::state) bound_to: Option<CertificateThumbprint>,
}

/// The SPIFFE IDs and the certificates that a use of a token involves.
struct UseIdentities<'a> {
    /// Those of the token's holder, and the certificate that the token is bound to.
    holder: (Vec<Cow<'a, SpiffeId>>, Option<CertificateThumbprint>),
    /// Those in the evidence.
    presented: (Vec<Cow<'a, SpiffeId>>, Option<CertificateThumbprint>),
}

impl<'a> UseIdentities<'a> {
    fn of(held: Held<'a>, registered: Option<&RegisteredClient>, evidence: Option<&'a Evidence>) -> Self {
        let subject = registered.and_then(|client| match &client.registration.method {
            TokenEndpointAuthMethod::TlsClientAuth(registered) => registered.subject.spiffe_id(),
            TokenEndpointAuthMethod::Spiffe(..)
            | TokenEndpointAuthMethod::SelfSignedTlsClientAuth(_)
            | TokenEndpointAuthMethod::PublishedTlsClientAuth(_)
            | TokenEndpointAuthMethod::IssuerJwt(_) => None,
        });
        let holder = held.spiffe_id.map(Cow::Borrowed).into_iter().chain(subject.map(Cow::Owned));
        let presented = match evidence {
            Some(Evidence::SpiffeId(id)) => vec![Cow::Borrowed(id)],
            Some(Evidence::Certificate(certificate)) => {
                certificate.names().uri.iter().filter_map(|uri| parse_spiffe_id(uri)).map(Cow::Owned).collect()
            }
            Some(Evidence::Thumbprint(_)) | None => Vec::new(),
        };
        let thumbprint = evidence.and_then(Evidence::thumbprint);
        Self { holder: (holder.collect(), held.bound_to), presented: (presented, thumbprint) }
    }
}

pub(in crate::authority::state) fn registered(client: &ClientStatus) -> Option<&RegisteredClient> {
    match client {
        ClientStatus::Registered(client) => Some(client),
        ClientStatus::Unknown | ClientStatus::Ambiguous | ClientStatus::Suspended | ClientStatus::Disabled => None,
    }
}
