//! The results of requests made at the present time of the authority's clock.

use std::sync::Arc;

use lanyard::authority::Authority;
use lanyard::authority::access::CalledMethod;
use lanyard::authority::access::ConnectionInfo;
use lanyard::authority::access::NotAdmitted;
use lanyard::authority::access::PeerConnection;
use lanyard::authority::access::Roles;
use lanyard::authority::identity::PeerIdentity;
use lanyard::authority::state::Asker;
use lanyard::authority::state::Caller;
use lanyard::authority::trust::Unproven;
use rustls_pki_types::CertificateDer;

/// Takes a view of the present time for each request.
pub trait AsOfNow {
    fn prove_now(&self, chain: &[CertificateDer<'_>]) -> Result<PeerIdentity, Unproven>;
    fn caller_now(&self, connection: &PeerConnection) -> Result<Caller, Unproven>;
    fn authorize_now(&self, connection: &PeerConnection, method: CalledMethod) -> Result<Caller, NotAdmitted>;
    fn roles_now(&self, peer: &PeerIdentity) -> Roles;
    /// The peer as the caller of a request.
    fn as_caller(&self, peer: &PeerIdentity) -> Caller;
    /// The peer as one who asks for a decision.
    fn as_asker(&self, peer: &PeerIdentity) -> Asker {
        self.as_caller(peer).into()
    }
}

impl AsOfNow for Authority {
    fn prove_now(&self, chain: &[CertificateDer<'_>]) -> Result<PeerIdentity, Unproven> {
        self.prove(&self.view(), chain)
    }

    fn caller_now(&self, connection: &PeerConnection) -> Result<Caller, Unproven> {
        self.caller(self.view(), connection)
    }

    fn authorize_now(&self, connection: &PeerConnection, method: CalledMethod) -> Result<Caller, NotAdmitted> {
        self.authorize_caller(self.view(), connection, method)
    }

    fn roles_now(&self, peer: &PeerIdentity) -> Roles {
        self.view().roles_of(peer)
    }

    fn as_caller(&self, peer: &PeerIdentity) -> Caller {
        let view = self.view();
        let connection = ConnectionInfo::default();
        Caller {
            identity: Arc::new(peer.clone()),
            roles: view.roles_of(peer),
            grants: view.grants_of(peer),
            view,
            connection,
        }
    }
}
