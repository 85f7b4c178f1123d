//! Tokens signed with the server's own key, so that only a crafted part of one is wrong.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lanyard::authority::decision::Decision;
use lanyard::authority::deny_reason::DenyReason;
use lanyard::authority::keys::Signer as _;
use lanyard::authority::keys::SigningAlgorithm;
use lanyard::signer::local::LocalSigner;
use serde_json::Map;
use serde_json::Value;

use crate::support::NOW;
use crate::support::authority::CHECKOUT;
use crate::support::authority::TestAuthority;
use crate::support::authority::ready;
use crate::support::authority::spiffe_client;
use crate::support::keys::TestKeys;
use crate::support::keys::new_record;
use crate::support::keys::sealer;
use crate::support::leaf::Leaf;

/// An authority with an accessible signing key, one client and its token.
pub struct Mint {
    pub fixture: TestAuthority,
    pub signer: Arc<LocalSigner>,
    pub leaf: Leaf,
    pub token: String,
}

impl Mint {
    pub fn new() -> Self {
        Self::with(SigningAlgorithm::Es256)
    }

    pub fn with(algorithm: SigningAlgorithm) -> Self {
        let (record, pkcs8) = new_record(&sealer(1), algorithm, NOW);
        let signer = Arc::new(LocalSigner::from_pkcs8(algorithm, &pkcs8).unwrap());
        let fixture = TestAuthority::with(|_| {}, TestKeys::of(algorithm, [record]));
        fixture.register(spiffe_client(CHECKOUT));
        let leaf = fixture.prod.svid(CHECKOUT).issue();
        let token = fixture.token(&fixture.peer(&leaf));
        Self { fixture, signer, leaf, token }
    }

    pub fn kid(&self) -> String {
        self.fixture.authority.keys().active().unwrap().key_id().to_string()
    }

    pub fn header(&self) -> Map<String, Value> {
        part(&self.token, 0)
    }

    pub fn claims(&self) -> Map<String, Value> {
        part(&self.token, 1)
    }

    /// Signs any two texts as header and payload.
    pub fn sign(&self, header: &str, payload: &str) -> String {
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let signature = ready(self.signer.sign(message.as_bytes())).unwrap();
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// The valid token with one member of the header set or removed.
    pub fn with_header(&self, name: &str, value: Option<Value>) -> String {
        let mut header = self.header();
        set(&mut header, name, value);
        self.sign(&Value::Object(header).to_string(), &Value::Object(self.claims()).to_string())
    }

    pub fn with_payload(&self, payload: &str) -> String {
        self.sign(&Value::Object(self.header()).to_string(), payload)
    }

    /// The valid token with one claim set to this JSON text.
    pub fn with_claim(&self, name: &str, json: &str) -> String {
        let mut claims = self.claims();
        claims.remove(name);
        let others = Value::Object(claims).to_string();
        self.with_payload(&format!("{{\"{name}\":{json},{}", &others[1..]))
    }

    pub fn evaluate(&self, token: &str) -> Result<(), DenyReason> {
        match self.fixture.evaluate(token, &self.leaf) {
            Decision::Allow(_) => Ok(()),
            Decision::Deny(reason) => Err(reason),
        }
    }

    pub fn denied(&self, token: &str, reason: DenyReason) {
        assert_eq!(self.evaluate(token), Err(reason), "{token}");
    }
}

fn set(members: &mut Map<String, Value>, name: &str, value: Option<Value>) {
    match value {
        Some(value) => drop(members.insert(name.to_owned(), value)),
        None => drop(members.remove(name)),
    }
}

/// One part of a token, decoded.
pub fn part(token: &str, number: usize) -> Map<String, Value> {
    let text = token.split('.').nth(number).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap()
}

/// The `kid` of the key that signed a token.
pub fn kid_of(token: &str) -> String {
    part(token, 0)["kid"].as_str().unwrap().to_owned()
}
