//! SPIFFE bundle documents as another trust domain publishes them, written without the code under test, and a server
//! that fetches them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lanyard::authority::clock::Timestamp;
use lanyard::authority::trust::Unproven;
use rcgen::PublicKeyData as _;
use serde_json::Value;
use serde_json::json;

use crate::support::as_of_now::AsOfNow as _;
use crate::support::ca::TestCa;
use crate::support::leaf::Leaf;
use crate::support::leaf::LeafBuilder;
use crate::support::publisher::Publisher;
use crate::support::server::Setup;
use crate::support::server::TestServer;

pub const PARTNER: &str = "partner.example";
pub const ENDPOINT: &str = "spiffe://partner.example/spire/bundle-endpoint";

/// The JWK of a CA with a P-256 key.
pub fn root(ca: &TestCa) -> Value {
    // SEC 1 section 2.3.3: 04, then both coordinates.
    let point = ca.issuer().key().der_bytes().to_vec();
    let (x, y) = (URL_SAFE_NO_PAD.encode(&point[1..33]), URL_SAFE_NO_PAD.encode(&point[33..]));
    json!({"kty": "EC", "crv": "P-256", "use": "x509-svid", "x": x, "y": y, "x5c": [STANDARD.encode(ca.der())]})
}

/// A JWK for JWT-SVIDs.
pub fn jwt_key(kid: &str) -> Value {
    let key = root(&TestCa::new("any"));
    json!({"kty": "EC", "crv": "P-256", "use": "jwt-svid", "kid": kid, "x": key["x"], "y": key["y"]})
}

/// A document with these roots and this sequence.
pub fn document(roots: &[&TestCa], sequence: u64) -> Vec<u8> {
    let keys: Vec<Value> = roots.iter().map(|ca| root(ca)).collect();
    json!({"keys": keys, "spiffe_sequence": sequence, "spiffe_refresh_hint": 300}).to_string().into_bytes()
}

/// The SVID of the endpoint, valid at any time.
pub fn endpoint(ca: &TestCa) -> LeafBuilder<'_> {
    ca.svid(ENDPOINT).between(Timestamp(0), Timestamp(4_000_000_000))
}

/// A server that federates with `partner.example`, and that trust domain.
pub struct Federated {
    pub server: TestServer,
    pub publisher: Publisher,
    pub partner: TestCa,
    /// A CA of the Web PKI.
    pub web: TestCa,
}

impl Federated {
    /// With profile `https_web`. The first fetch, at the server's start, finds no document.
    pub async fn by_web() -> Self {
        let web = TestCa::new("web");
        let leaf = web.server_certificate("localhost").issue();
        Self::with("profile: https_web, ca: web.pem", TestCa::new(PARTNER), web, leaf, b"").await
    }

    /// With profile `https_spiffe`: the endpoint presents its SVID.
    pub async fn by_spiffe() -> Self {
        let partner = TestCa::new(PARTNER);
        let leaf = endpoint(&partner).issue();
        let profile = format!("profile: https_spiffe, endpoint_spiffe_id: '{ENDPOINT}', bundle: partner-roots.pem");
        Self::with(&profile, partner, TestCa::new("web"), leaf, b"").await
    }

    /// The endpoint presents this certificate, and answers the first fetch with this document, or with an error where
    /// it is empty.
    pub async fn with(profile: &str, partner: TestCa, web: TestCa, presented: Leaf, first: &[u8]) -> Self {
        let (setup, publisher) = Self::written(profile, &partner, &web, &presented, first).await;
        Self { server: setup.start().await.unwrap(), publisher, partner, web }
    }

    /// The written set-up of such a server, and the endpoint.
    pub async fn written(
        profile: &str,
        partner: &TestCa,
        web: &TestCa,
        presented: &Leaf,
        first: &[u8],
    ) -> (Setup, Publisher) {
        let publisher = Publisher::showing(presented).await;
        publisher.answer(if first.is_empty() { 503 } else { 200 }, "", first);
        let setup = Setup {
            federation: format!(
                "[{{trust_domain: {PARTNER}, bundle_endpoint: '{}', {profile}, max_age: 1h}}]",
                publisher.uri()
            ),
            ..Setup::default()
        };
        setup.write();
        std::fs::write(setup.path("web.pem"), web.pem()).unwrap();
        std::fs::write(setup.path("partner-roots.pem"), partner.pem()).unwrap();
        std::fs::write(setup.path("partner-roots.json"), document(&[partner], 1)).unwrap();
        (setup, publisher)
    }

    /// Makes the endpoint answer with this document, and the server fetch it.
    pub async fn publish(&self, document: &[u8]) {
        self.publisher.answer(200, "content-type: application/json\r\n", document);
        self.server.server.refresh_federation().await;
    }

    /// Makes the endpoint answer with an error, and the server fetch from it.
    pub async fn fail(&self) {
        self.publisher.answer(503, "", b"");
        self.server.server.refresh_federation().await;
    }

    /// Proves a certificate with this SPIFFE ID from this CA.
    pub fn prove(&self, ca: &TestCa, spiffe_id: &str) -> Result<(), Unproven> {
        self.server.server.authority().prove_now(&ca.svid(spiffe_id).issue().chain).map(drop)
    }

    /// Proves a workload of the partner.
    pub fn partner(&self) -> Result<(), Unproven> {
        self.prove(&self.partner, "spiffe://partner.example/shop")
    }
}
