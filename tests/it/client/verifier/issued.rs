//! Tokens that the test signs, for a verifier that follows a feed of the test.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lanyard::authority::clock::Clock as _;
use lanyard::authority::clock::SystemClock;
use lanyard::authority::clock::Timestamp;
use lanyard::authority::keys::PublicJwk;
use lanyard::authority::keys::Signer as _;
use lanyard::authority::keys::SigningAlgorithm;
use lanyard::client::verifier::Refused;
use lanyard::client::verifier::Verified;
use lanyard::client::verifier::Verifier;
use lanyard::proto::RevocationEntries;
use lanyard::proto::VerificationKey;
use lanyard::signer::local::LocalSigner;
use serde_json::Value;
use serde_json::json;

use crate::support::ca::TestCa;
use crate::support::leaf::Leaf;
use crate::support::server::ISSUER;
use crate::support::server::ORDERS;

pub const CHECKOUT: &str = "spiffe://prod.example/shop/checkout";

/// A private key, to sign any header and claims with.
pub struct SigningKeyOf(pub LocalSigner);

impl SigningKeyOf {
    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        self.sign_texts(&header.to_string(), &claims.to_string())
    }

    pub fn sign_texts(&self, header: &str, claims: &str) -> String {
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        // RSA signatures are made by other threads.
        let sign = || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(self.0.sign(message.as_bytes())).unwrap()
        };
        let signature = std::thread::scope(|scope| scope.spawn(sign).join().unwrap());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// A signing key, and a workload with its certificate.
pub struct Issued {
    signer: SigningKeyOf,
    pub ca: TestCa,
    pub leaf: Leaf,
    pub now: Timestamp,
}

impl Issued {
    pub fn new() -> Self {
        Self::with(SigningAlgorithm::Es256)
    }

    pub fn with(algorithm: SigningAlgorithm) -> Self {
        let pkcs8 = LocalSigner::generate(algorithm).unwrap();
        let signer = SigningKeyOf(LocalSigner::from_pkcs8(algorithm, &pkcs8).unwrap());
        let now = SystemClock.now();
        let ca = TestCa::at("prod.example", now);
        let leaf = ca.svid(CHECKOUT).issue();
        Self { signer, ca, leaf, now }
    }

    /// The key, under the name `k1`.
    pub fn key(&self) -> VerificationKey {
        let jwk = Value::Object(PublicJwk::from_spki(self.signer.0.public_key()).unwrap().to_json());
        VerificationKey { kid: "k1".to_owned(), jwk: Some(jwk.to_string()) }
    }

    /// A listing with the key alone.
    pub fn listed(&self) -> RevocationEntries {
        RevocationEntries { revision: 5, revocations: Vec::new(), keys: vec![self.key()] }
    }

    pub fn header(&self) -> Value {
        json!({ "alg": self.signer.0.algorithm().name(), "typ": "at+jwt", "kid": "k1" })
    }

    /// The claims of a token that is accepted.
    pub fn claims(&self) -> Value {
        json!({
            "iss": ISSUER, "sub": CHECKOUT, "client_id": CHECKOUT, "aud": ORDERS, "jti": "j1",
            "exp": self.now.0 + 300, "iat": self.now.0, "nbf": self.now.0 - 5, "scope": "orders.read orders.write",
            "cnf": { "x5t#S256": self.leaf.thumbprint().to_string() }, "lanyard_creation": "c1",
        })
    }

    /// Those claims with some of them replaced, or removed where they are null.
    pub fn with_claims(&self, changes: &Value) -> String {
        self.sign(&self.header(), &changed(self.claims(), changes))
    }

    /// The header with some of its members replaced, or removed where they are null.
    pub fn with_header(&self, changes: &Value) -> String {
        self.sign(&changed(self.header(), changes), &self.claims())
    }

    pub fn token(&self) -> String {
        self.with_claims(&json!({}))
    }

    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        self.signer.sign(header, claims)
    }

    pub fn sign_texts(&self, header: &str, claims: &str) -> String {
        self.signer.sign_texts(header, claims)
    }

    /// The use of a token with the workload's certificate.
    pub fn verify(&self, verifier: &Verifier, token: &str) -> Result<Verified, Refused> {
        verifier.verify(token, self.leaf.certificate(), ORDERS, "orders.read")
    }
}

/// An object with some of its members replaced, or removed where they are null.
pub fn changed(mut members: Value, changes: &Value) -> Value {
    let object = members.as_object_mut().unwrap();
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            object.remove(name);
        } else {
            object.insert(name.clone(), value.clone());
        }
    }
    members
}
