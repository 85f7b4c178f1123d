//! JWS in compact serialization (RFC 7515 section 3.1), for access tokens and JWT-SVIDs. Each signature has one
//! accepted text, and each key verifies with one algorithm.
//!
//! The crate `jsonwebtoken` 11 has no ES512, which JWT-SVIDs may use (JWT-SVID section 2.1). It also does not
//! distinguish an unknown `alg` from a malformed header, refuse an unknown member that occurs twice or `"crit": null`,
//! or take the time from its caller.

use std::fmt;

use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature;
use aws_lc_rs::signature::EcdsaVerificationAlgorithm;
use aws_lc_rs::signature::ParsedPublicKey;
use aws_lc_rs::signature::RsaParameters;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

/// The largest JWS, in bytes: far larger than any that is issued, and small enough to be refused at little cost.
pub(in crate::authority) const MAX_BYTES: usize = 16 * 1024;

/// The supported algorithms of RFC 7518 section 3.1 and RFC 8037. All use public keys.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::authority) enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Es256,
    Es384,
    Es512,
    Ps256,
    Ps384,
    Ps512,
    EdDsa,
}

/// The means to verify a signature.
#[derive(Clone, Copy)]
enum Scheme {
    Rsa(&'static RsaParameters),
    Ecdsa { curve: &'static str, coordinate_bytes: usize, algorithm: &'static EcdsaVerificationAlgorithm },
    Ed25519,
}

impl Algorithm {
    /// The registered name of the algorithm. It is case-sensitive.
    pub(in crate::authority) const fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Es512 => "ES512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::EdDsa => "EdDSA",
        }
    }

    fn scheme(self) -> Scheme {
        let ecdsa = |curve, coordinate_bytes, algorithm| Scheme::Ecdsa { curve, coordinate_bytes, algorithm };
        match self {
            Self::Rs256 => Scheme::Rsa(&signature::RSA_PKCS1_2048_8192_SHA256),
            Self::Rs384 => Scheme::Rsa(&signature::RSA_PKCS1_2048_8192_SHA384),
            Self::Rs512 => Scheme::Rsa(&signature::RSA_PKCS1_2048_8192_SHA512),
            Self::Ps256 => Scheme::Rsa(&signature::RSA_PSS_2048_8192_SHA256),
            Self::Ps384 => Scheme::Rsa(&signature::RSA_PSS_2048_8192_SHA384),
            Self::Ps512 => Scheme::Rsa(&signature::RSA_PSS_2048_8192_SHA512),
            Self::Es256 => ecdsa("P-256", 32, &signature::ECDSA_P256_SHA256_FIXED),
            Self::Es384 => ecdsa("P-384", 48, &signature::ECDSA_P384_SHA384_FIXED),
            Self::Es512 => ecdsa("P-521", 66, &signature::ECDSA_P521_SHA512_FIXED),
            Self::EdDsa => Scheme::Ed25519,
        }
    }
}

/// A public key with the one algorithm that it is used with (RFC 8725 section 3.1), parsed once. `None` where the
/// members have the form of such a key but are not one, such as a point off its curve: no signature verifies with it.
#[derive(Clone)]
pub(in crate::authority) struct VerifyingKey(Option<ParsedPublicKey>);

impl VerifyingKey {
    /// The key in a JWK, if its members have the form of a key for this algorithm. The caller checks `use` and `alg`.
    pub(in crate::authority) fn from_jwk(algorithm: Algorithm, jwk: &Value) -> Option<Self> {
        let text = |name: &str| jwk.get(name).and_then(Value::as_str);
        let bytes = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?).ok();
        match (algorithm.scheme(), text("kty")?) {
            (Scheme::Rsa(parameters), "RSA") => {
                // A key of less than 2048 bits is refused at verification.
                let key = PublicKeyComponents { n: bytes("n")?, e: bytes("e")? };
                Some(Self(key.to_parsed_public_key(parameters).ok()))
            }
            (Scheme::Ecdsa { curve, coordinate_bytes, algorithm }, "EC") if text("crv")? == curve => {
                let (x, y) = (bytes("x")?, bytes("y")?);
                // SEC 1 section 2.3.3: 04, then both coordinates.
                let point = [&[4], x.as_slice(), &y].concat();
                let whole = x.len() == coordinate_bytes && y.len() == coordinate_bytes;
                whole.then(|| Self(ParsedPublicKey::new(algorithm, point).ok()))
            }
            (Scheme::Ed25519, "OKP") if text("crv")? == "Ed25519" => {
                Some(Self(ParsedPublicKey::new(&signature::ED25519, bytes("x")?).ok()))
            }
            (Scheme::Rsa(_) | Scheme::Ecdsa { .. } | Scheme::Ed25519, _) => None,
        }
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("VerifyingKey").finish_non_exhaustive()
    }
}

/// The three parts, decoded but not verified.
pub(in crate::authority) struct CompactJws<'a> {
    signing_input: &'a str,
    /// The protected header.
    pub(in crate::authority) header: Vec<u8>,
    /// Must not be used before [`CompactJws::is_signed_by`], except to choose the key.
    pub(in crate::authority) payload: Vec<u8>,
    signature: Vec<u8>,
}

impl<'a> CompactJws<'a> {
    /// `None` for anything but three parts of base64url in its one spelling: no padding, no spare bits, no white space.
    pub(in crate::authority) fn parse(text: &'a str) -> Option<Self> {
        if text.len() > MAX_BYTES {
            return None;
        }
        let (signing_input, signature) = text.rsplit_once('.')?;
        // A second dot in the payload is not base64url.
        let (header, payload) = signing_input.split_once('.')?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).ok();
        Some(Self { signing_input, header: decode(header)?, payload: decode(payload)?, signature: decode(signature)? })
    }

    /// What the signature is made over: header and payload as they are written.
    pub(in crate::authority) fn signing_input(&self) -> &str {
        self.signing_input
    }

    /// Whether the signature verifies with this key and the key's own algorithm, regardless of the header.
    pub(in crate::authority) fn is_signed_by(&self, key: &VerifyingKey) -> bool {
        let message = self.signing_input.as_bytes();
        key.0.as_ref().is_some_and(|key| key.verify_sig(message, &self.signature).is_ok())
    }
}
