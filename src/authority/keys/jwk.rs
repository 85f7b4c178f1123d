//! Public keys as JWKs (RFC 7517, RFC 7518 section 6, RFC 8037), and their thumbprints (RFC 7638).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Map;
use serde_json::Value;
use sha2::Digest as _;
use sha2::Sha256;
use x509_parser::certificate::X509Certificate;
use x509_parser::oid_registry::OID_EC_P256;
use x509_parser::oid_registry::OID_NIST_EC_P384;
use x509_parser::oid_registry::OID_NIST_EC_P521;
use x509_parser::oid_registry::OID_SIG_ED25519;
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::authority::keys::jws::Algorithm;
use crate::authority::keys::jws::VerifyingKey;

/// Whether a JWK contains private members.
pub(in crate::authority) fn is_private(jwk: &Map<String, Value>) -> bool {
    ["d", "k", "p", "q", "dp", "dq", "qi", "oth"].iter().any(|part| jwk.contains_key(*part))
}

/// Whether the key may verify signatures. `key_ops`, if the key has them, must say so (RFC 7517 section 4.3).
pub(in crate::authority) fn may_verify(jwk: &Map<String, Value>) -> bool {
    jwk.get("key_ops").is_none_or(|operations| {
        operations.as_array().is_some_and(|operations| operations.iter().any(|operation| operation == "verify"))
    })
}

/// The public key of a certificate. `None` where either cannot be parsed, or the kind of key has no JWK.
pub(in crate::authority) fn public_key(certificate: &[u8]) -> Option<PublicJwk> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    PublicJwk::from_spki(certificate.public_key().raw)
}

/// The key of a certificate, to verify what it signed with this algorithm; `None` where it is none for that.
pub(in crate::authority) fn verifying_key(certificate: &[u8], algorithm: Algorithm) -> Option<VerifyingKey> {
    VerifyingKey::from_jwk(algorithm, &Value::Object(public_key(certificate)?.to_json()))
}

/// The members that identify a public key: for each kind of key exactly those that RFC 7638 section 3.2 hashes, in the
/// order of the hash. Values are text as in the JSON.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PublicJwk(Vec<(&'static str, String)>);

impl PublicJwk {
    /// Parses a `SubjectPublicKeyInfo` in DER. `None` for a kind of key that is not supported as a JWK.
    pub fn from_spki(der: &[u8]) -> Option<Self> {
        let (_, spki) = SubjectPublicKeyInfo::from_der(der).ok()?;
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        if spki.algorithm.algorithm == OID_SIG_ED25519 {
            let x = Some(&*spki.subject_public_key.data).filter(|key| key.len() == 32).map(encode)?;
            return Some(Self(vec![("crv", "Ed25519".to_owned()), ("kty", "OKP".to_owned()), ("x", x)]));
        }
        match spki.parsed().ok()? {
            PublicKey::RSA(rsa) => {
                let (e, n) = (encode(unsigned(rsa.exponent)), encode(unsigned(rsa.modulus)));
                Some(Self(vec![("e", e), ("kty", "RSA".to_owned()), ("n", n)]))
            }
            PublicKey::EC(point) => {
                let curve = spki.algorithm.parameters.as_ref()?.as_oid().ok()?;
                let (crv, size) = match curve {
                    curve if curve == OID_EC_P256 => ("P-256", 32),
                    curve if curve == OID_NIST_EC_P384 => ("P-384", 48),
                    curve if curve == OID_NIST_EC_P521 => ("P-521", 66),
                    _ => return None,
                };
                // SEC 1 section 2.3.3: 04, then both coordinates. A compressed point has no JWK.
                let coordinates = point.data().strip_prefix(&[4]).filter(|both| both.len() == 2 * size)?;
                let (x, y) = coordinates.split_at(size);
                let members =
                    vec![("crv", crv.to_owned()), ("kty", "EC".to_owned()), ("x", encode(x)), ("y", encode(y))];
                Some(Self(members))
            }
            PublicKey::DSA(_) | PublicKey::GostR3410(_) | PublicKey::GostR3410_2012(_) | PublicKey::Unknown(_) => None,
        }
    }

    /// The RFC 7638 thumbprint with SHA-256, as base64url.
    pub fn thumbprint(&self) -> String {
        // The members are in lexicographic order, and no value has a character that JSON escapes.
        let members: Vec<String> = self.0.iter().map(|(name, value)| format!("\"{name}\":\"{value}\"")).collect();
        let text = format!("{{{}}}", members.join(","));
        URL_SAFE_NO_PAD.encode(Sha256::digest(text))
    }

    /// The members as JSON.
    pub fn to_json(&self) -> Map<String, Value> {
        self.0.iter().map(|(name, value)| ((*name).to_owned(), Value::from(value.as_str()))).collect()
    }

    /// The first of its members that a JWK lacks.
    pub(in crate::authority) fn missing_in(&self, jwk: &Map<String, Value>) -> Option<&'static str> {
        self.0.iter().map(|(name, _)| *name).find(|name| !jwk.contains_key(*name))
    }

    /// Whether a JWK is this key. Its other members are ignored.
    pub fn is(&self, jwk: &Map<String, Value>) -> bool {
        self.0.iter().all(|(name, value)| jwk.get(*name).and_then(Value::as_str) == Some(value))
    }
}

/// DER puts a zero byte before an integer whose first bit is set; RFC 7518 section 6.3.1 omits it.
fn unsigned(integer: &[u8]) -> &[u8] {
    let zeros = integer.iter().take_while(|byte| **byte == 0).count();
    integer.get(zeros..).unwrap_or_default()
}
