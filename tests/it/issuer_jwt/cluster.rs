//! The issuer of a Kubernetes cluster, and a server that trusts it.

use std::fs;

use lanyard::client::assertion::JWT_BEARER;
use lanyard::proto::Client;
use lanyard::proto::IssueTokenRequest;
use lanyard::proto::IssueTokenResponse;
use serde_json::Value;
use serde_json::json;
use tonic::Status;

use crate::support::NOW;
use crate::support::jwt_svid::JwtKey;
use crate::support::leaf::Leaf;
use crate::support::server::ISSUER;
use crate::support::server::ORDERS;
use crate::support::server::Setup;
use crate::support::server::TestServer;

pub const CLUSTER: &str = "https://kubernetes.default.svc.cluster.local";
pub const SUBJECT: &str = "system:serviceaccount:shop:checkout";
pub const UID: &str = "/kubernetes.io/serviceaccount/uid";
pub const ACCOUNT: &str = "e1b4f3ea-27d8-4d5a-a1f2-0c5b1d3f6a11";

/// The issuer of a cluster, with the key that signs its tokens.
pub struct Cluster {
    pub issuer: &'static str,
    pub key: JwtKey,
}

impl Cluster {
    pub fn new() -> Self {
        Self::named(CLUSTER, "first")
    }

    pub fn named(issuer: &'static str, kid: &str) -> Self {
        Self { issuer, key: JwtKey::of(kid, "ES256") }
    }

    /// Its JWK Set, as the API server prints it at /openid/v1/jwks.
    pub fn jwks(&self) -> String {
        json!({ "keys": [jwk(&self.key)] }).to_string()
    }

    /// The claims of a projected token of the service account for Lanyard: what `TokenRequest` puts in.
    pub fn claims(&self) -> Value {
        json!({
            "aud": [ISSUER],
            "exp": NOW.0 + 600,
            "iat": NOW.0,
            "iss": self.issuer,
            "jti": "8f0e0f0c-5a7e-4c41-9d2b-7c1fb1f4d6b2",
            "kubernetes.io": {
                "namespace": "shop",
                "node": { "name": "worker-1", "uid": "3c9f7fd0-68c4-4c07-90f0-0d7c1a63e0d1" },
                "pod": { "name": "checkout-6d8f9b7c5-x2x9k", "uid": "b0d2c5a4-7d4e-4a52-8d7a-3a8f0b7e9c10" },
                "serviceaccount": { "name": "checkout", "uid": ACCOUNT },
            },
            "nbf": NOW.0,
            "sub": SUBJECT,
        })
    }

    /// Its header: there is no `typ`.
    pub fn header(&self) -> Value {
        json!({ "alg": self.key.algorithm, "kid": self.key.kid })
    }

    pub fn token(&self) -> String {
        self.token_with(|_| {})
    }

    /// A token with changed claims.
    pub fn token_with(&self, change: impl FnOnce(&mut Value)) -> String {
        let mut claims = self.claims();
        change(&mut claims);
        self.key.sign(&self.header().to_string(), &claims.to_string())
    }

    /// One with a `jti` of its own.
    pub fn fresh(&self, jti: &str) -> String {
        self.token_with(|claims| claims["jti"] = json!(jti))
    }
}

/// A key as an issuer outside of SPIFFE publishes it.
pub fn jwk(key: &JwtKey) -> Value {
    let mut jwk = key.jwk();
    jwk["use"] = json!("sig");
    jwk["alg"] = json!(key.algorithm);
    jwk
}

/// Writes what is needed to trust these issuers by their files.
pub fn trust(setup: &mut Setup, clusters: &[(&str, &Cluster)]) {
    let entry = |(name, cluster): &(&str, &Cluster)| {
        fs::write(setup.path(&format!("{name}.json")), cluster.jwks()).unwrap();
        format!("{{name: {name}, issuer: '{}', jwks: {name}.json}}", cluster.issuer)
    };
    setup.trusted_issuers = format!("[{}]", clusters.iter().map(entry).collect::<Vec<_>>().join(", "));
}

/// A server that trusts a cluster.
pub async fn started() -> (TestServer, Cluster) {
    let cluster = Cluster::new();
    let server = TestServer::started(|setup| trust(setup, &[("prod", &cluster)])).await;
    (server, cluster)
}

/// The registration of the service account.
pub fn account(client_id: &str) -> Client {
    Client {
        client_id: client_id.to_owned(),
        token_endpoint_auth_method: "issuer_jwt".to_owned(),
        issuer: CLUSTER.to_owned(),
        subject: SUBJECT.to_owned(),
        scope: "orders.read orders.write".to_owned(),
        audience: vec![ORDERS.to_owned()],
        ..Client::default()
    }
}

pub fn asserting(client_id: &str, assertion: &str) -> IssueTokenRequest {
    IssueTokenRequest {
        client_id: client_id.to_owned(),
        client_assertion_type: JWT_BEARER.to_owned(),
        client_assertion: assertion.to_owned(),
        ..IssueTokenRequest::default()
    }
}

impl TestServer {
    /// Requests a token for `checkout` with an assertion.
    pub async fn assert(&self, leaf: &Leaf, assertion: &str) -> Result<IssueTokenResponse, Status> {
        self.issue(leaf, asserting("checkout", assertion)).await
    }
}
