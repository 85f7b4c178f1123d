//! Common gRPC calls of the tests, and readers of their responses.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lanyard::proto::Client;
use lanyard::proto::IssueTokenRequest;
use lanyard::proto::IssueTokenResponse;
use lanyard::proto::UpdateClientRequest;
use lanyard::proto::ValidateBindingRequest;
use lanyard::proto::ValidateBindingResponse;
use serde_json::Value;
use tonic::Code;
use tonic::Response;
use tonic::Status;
use tonic_types::StatusExt as _;

use crate::support::leaf::Leaf;
use crate::support::server::ORDERS;
use crate::support::server::TestServer;

impl TestServer {
    /// Requests a token as the holder of a certificate.
    pub async fn issue(&self, leaf: &Leaf, request: IssueTokenRequest) -> Result<IssueTokenResponse, Status> {
        self.tokens(leaf).issue_token(request).await.map(Response::into_inner)
    }

    /// Requests a token under a `client_id`, with everything that is registered for it.
    pub async fn issue_as(&self, leaf: &Leaf, client_id: &str) -> Result<IssueTokenResponse, Status> {
        self.issue(leaf, IssueTokenRequest { client_id: client_id.to_owned(), ..IssueTokenRequest::default() }).await
    }

    /// Checks a use of a token as the holder of a certificate.
    pub async fn ask(&self, leaf: &Leaf, request: ValidateBindingRequest) -> Result<ValidateBindingResponse, Status> {
        self.bindings(leaf).validate_binding(request).await.map(Response::into_inner)
    }

    /// Replaces a registration as the admin.
    pub async fn update(&self, client: Client) -> Result<Client, Status> {
        let request = UpdateClientRequest { client: Some(client), ..UpdateClientRequest::default() };
        self.registry(&self.svid("/admin")).update_client(request).await.map(Response::into_inner)
    }

    /// Deletes a registration as the admin.
    pub async fn delete(&self, client_id: &str) {
        let request = lanyard::proto::DeleteClientRequest { client_id: client_id.to_owned(), ..Default::default() };
        self.registry(&self.svid("/admin")).delete_client(request).await.unwrap();
    }
}

/// A client by `tls_client_auth` with certificates of the client CA `corp`, whose subject is not set yet.
pub fn pki_client(client_id: &str) -> Client {
    Client { client_ca: "corp".to_owned(), ..tls_client(client_id) }
}

/// A client by `tls_client_auth` with this SPIFFE ID, for which no client CA vouches.
pub fn spiffe_uri_client(client_id: &str, spiffe_id: &str) -> Client {
    Client { tls_client_auth_san_uri: spiffe_id.to_owned(), ..tls_client(client_id) }
}

fn tls_client(client_id: &str) -> Client {
    Client {
        client_id: client_id.to_owned(),
        token_endpoint_auth_method: "tls_client_auth".to_owned(),
        scope: "orders.read".to_owned(),
        audience: vec![ORDERS.to_owned()],
        ..Client::default()
    }
}

/// A client by `self_signed_tls_client_auth`, with certificates in PEM.
pub fn self_signed_client(client_id: &str, certificate_pem: &str) -> Client {
    Client {
        token_endpoint_auth_method: "self_signed_tls_client_auth".to_owned(),
        certificate_pem: certificate_pem.to_owned(),
        ..tls_client(client_id)
    }
}

/// A request to check the use of a token at the orders resource.
pub fn use_of(token: &str) -> ValidateBindingRequest {
    ValidateBindingRequest {
        access_token: token.to_owned(),
        audience: ORDERS.to_owned(),
        ..ValidateBindingRequest::default()
    }
}

/// The code and the reason of a refusal, which must have the server's `ErrorInfo`.
pub fn refusal<T: std::fmt::Debug>(outcome: Result<T, Status>) -> (Code, String) {
    let status = outcome.unwrap_err();
    let info = status.get_details_error_info().unwrap_or_else(|| panic!("no ErrorInfo in {status:?}"));
    assert_eq!(info.domain, "lanyard");
    (status.code(), info.reason)
}

/// The field that a refusal names.
pub fn refused_field<T: std::fmt::Debug>(outcome: Result<T, Status>) -> String {
    let status = outcome.unwrap_err();
    let info = status.get_details_error_info().unwrap_or_else(|| panic!("no ErrorInfo in {status:?}"));
    info.metadata.get("field").cloned().unwrap_or_default()
}

/// The header and the claims of a token, unverified.
pub fn opened(token: &str) -> (Value, Value) {
    let parts: Vec<&str> = token.split('.').collect();
    let [header, claims, _] = parts.as_slice() else { panic!("not a compact JWS: {token}") };
    let read = |part: &str| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
    (read(header), read(claims))
}
