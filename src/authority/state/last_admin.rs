//! Whether a revocation leaves an admin.

use std::sync::Arc;

use spiffe::SpiffeId;

use crate::authority::access::GrantedRole;
use crate::authority::access::RoleHolder;
use crate::authority::identity::CertificateThumbprint;
use crate::authority::identity::PeerIdentity;
use crate::authority::identity::SpiffeIdPattern;
use crate::authority::registration::ClientId;
use crate::authority::registration::RegisteredClient;
use crate::authority::state::revoked::Revoked;
use crate::authority::state::view::View;

/// A peer, as far as it is known.
struct KnownPeer<'a> {
    id: Option<&'a SpiffeId>,
    thumbprint: Option<CertificateThumbprint>,
    clients: Vec<Arc<RegisteredClient>>,
}

impl KnownPeer<'_> {
    /// The names by which a revocation refuses it: its certificate, its SPIFFE ID, the paths and the trust domain that this is in, and
    /// its registrations.
    fn names(&self) -> impl Iterator<Item = Revoked> {
        let by_id = self.id.into_iter().flat_map(|id| {
            let text = id.to_string();
            let own = [Revoked::Client(ClientId::from(id)), Revoked::TrustDomain(id.trust_domain().clone())];
            let ends = text.match_indices('/').map(|(place, slash)| place + slash.len()).skip("//".len());
            let paths = ends.filter_map(|end| text.get(..end).map(|path| Revoked::Identities(path.to_owned())));
            own.into_iter().chain(paths.collect::<Vec<_>>())
        });
        let registered = self.clients.iter().map(|client| Revoked::Client(client.registration.client_id.clone()));
        self.thumbprint.map(Revoked::Certificate).into_iter().chain(by_id).chain(registered)
    }
}

impl View {
    /// Whether an admin is left once an admin that is this peer has revoked this.
    pub fn leaves_an_admin(&self, revoked: &Revoked, admin: &PeerIdentity) -> bool {
        let is_left = |holder| self.known_peer(holder).is_some_and(|peer| self.is_left(revoked, &peer));
        !self.is_of_peer(revoked, admin) || self.roles.holders(GrantedRole::Admin).any(is_left)
    }

    /// The names by which the admin must not be revoked who is left once a peer that is no admin has revoked this: empty
    /// where that takes no admin away, `None` where it takes the last one.
    pub fn admin_left(&self, revoked: &Revoked) -> Option<Vec<Revoked>> {
        let known = self.roles.holders(GrantedRole::Admin).filter_map(|holder| self.known_peer(holder));
        let (taken, left): (Vec<_>, Vec<_>) =
            known.filter(|peer| !self.is_refused(peer)).partition(|peer| self.takes(revoked, peer));
        if taken.is_empty() {
            return Some(Vec::new());
        }
        Some(left.first()?.names().chain([Revoked::Role(GrantedRole::Admin)]).collect())
    }

    /// Whether the present revocations refuse a peer of which this is known.
    pub(super) fn refuses(
        &self,
        id: Option<&SpiffeId>,
        thumbprint: Option<CertificateThumbprint>,
        clients: Vec<Arc<RegisteredClient>>,
    ) -> bool {
        self.is_refused(&KnownPeer { id, thumbprint, clients })
    }

    /// The names by which a revocation refuses this peer, but for its roles.
    pub fn names_of(&self, peer: &PeerIdentity) -> Vec<Revoked> {
        let clients = self.snapshot.clients_of(peer, self.now);
        KnownPeer { id: peer.spiffe_id(), thumbprint: Some(peer.thumbprint()), clients }.names().collect()
    }

    /// `None` for a pattern: the configuration assigns the role Admin to none.
    fn known_peer<'a>(&self, holder: &'a RoleHolder) -> Option<KnownPeer<'a>> {
        let directory = &self.snapshot.directory;
        match holder {
            RoleHolder::Spiffe(SpiffeIdPattern::Below(_)) => None,
            RoleHolder::Spiffe(SpiffeIdPattern::Exact(id)) => {
                Some(KnownPeer { id: Some(id), thumbprint: None, clients: directory.nearest(id) })
            }
            RoleHolder::Thumbprint(thumbprint) => {
                let clients = directory.with_certificate(thumbprint).collect();
                Some(KnownPeer { id: None, thumbprint: Some(*thumbprint), clients })
            }
        }
    }

    /// Whether a holder is refused neither by the present revocations nor by a further one.
    fn is_left(&self, revoked: &Revoked, peer: &KnownPeer<'_>) -> bool {
        !self.takes(revoked, peer) && !self.is_refused(peer)
    }

    /// Whether a revocation refuses a peer, as far as it is known.
    fn takes(&self, revoked: &Revoked, peer: &KnownPeer<'_>) -> bool {
        // The SPIFFE ID in a certificate of which only the thumbprint is known may be one of those.
        let may_cover = peer.id.is_none() && matches!(revoked, Revoked::Identities(_) | Revoked::TrustDomain(_));
        may_cover || self.covers(revoked, peer)
    }

    /// Whether the present revocations refuse a peer.
    fn is_refused(&self, peer: &KnownPeer<'_>) -> bool {
        let (revocations, now) = (&self.snapshot.revocations, self.now);
        peer.id.is_some_and(|id| revocations.has_identity(id, now))
            || peer.thumbprint.is_some_and(|thumbprint| revocations.has_certificate(thumbprint, now))
            || peer.clients.iter().any(|client| revocations.has_client(&client.registration.client_id, now))
            || revocations
                .roles()
                .any(|(role, record)| record.is_in_effect(now) && self.roles.assigns(role, peer.id, peer.thumbprint))
    }

    /// Whether a revocation refuses a peer.
    fn covers(&self, revoked: &Revoked, peer: &KnownPeer<'_>) -> bool {
        match revoked {
            Revoked::Token(_) | Revoked::IssuedTo(_) | Revoked::IssuedWith(_) | Revoked::AllIssued => false,
            Revoked::Client(name) => {
                peer.id.is_some() && name.spiffe_id().as_ref() == peer.id
                    || peer.clients.iter().any(|client| client.registration.client_id == *name)
            }
            Revoked::Certificate(thumbprint) => peer.thumbprint == Some(*thumbprint),
            Revoked::Identities(prefix) => peer.id.is_some_and(|id| id.to_string().starts_with(prefix.as_str())),
            Revoked::TrustDomain(trust_domain) => peer.id.is_some_and(|id| id.is_member_of(trust_domain)),
            Revoked::Role(role) => self.roles.assigns(*role, peer.id, peer.thumbprint),
        }
    }

    /// Whether a revocation refuses this peer.
    pub fn is_of_peer(&self, revoked: &Revoked, peer: &PeerIdentity) -> bool {
        let clients = self.snapshot.clients_of(peer, self.now);
        self.covers(revoked, &KnownPeer { id: peer.spiffe_id(), thumbprint: Some(peer.thumbprint()), clients })
    }
}
