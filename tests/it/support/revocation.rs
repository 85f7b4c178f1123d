//! Revoking and lifting as an admin.

use lanyard::proto::RevokeTokenRequest;
use lanyard::proto::RevokeTokenResponse;
use lanyard::proto::revoke_token_request::Target;
use tonic::Response;
use tonic::Status;

use crate::support::leaf::Leaf;
use crate::support::server::TestServer;

impl TestServer {
    /// Sends a revocation as the holder of a certificate.
    pub async fn revoke_as(&self, leaf: &Leaf, request: RevokeTokenRequest) -> Result<RevokeTokenResponse, Status> {
        self.tokens(leaf).revoke_token(request).await.map(Response::into_inner)
    }

    /// Revokes as the admin.
    pub async fn revoke(&self, target: Target) -> RevokeTokenResponse {
        self.revoke_as(&self.svid("/admin"), of(target)).await.unwrap()
    }

    /// Lifts as the admin.
    pub async fn lift(&self, target: Target) -> RevokeTokenResponse {
        self.revoke_as(&self.svid("/admin"), RevokeTokenRequest { lift: true, ..of(target) }).await.unwrap()
    }
}

/// A request to revoke for good.
pub fn of(target: Target) -> RevokeTokenRequest {
    RevokeTokenRequest { target: Some(target), ..RevokeTokenRequest::default() }
}

pub fn client(client_id: &str) -> Target {
    Target::RevokedClientId(client_id.to_owned())
}

pub fn certificate(leaf: &Leaf) -> Target {
    Target::CertificateThumbprint(leaf.thumbprint().as_bytes().to_vec())
}

pub fn identities(pattern: &str) -> Target {
    Target::SpiffeIdPattern(pattern.to_owned())
}

pub fn trust_domain(name: &str) -> Target {
    Target::TrustDomain(name.to_owned())
}
