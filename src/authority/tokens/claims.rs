//! Access tokens: JWTs as RFC 9068 has them, bound as RFC 8705 section 3.1 has it.

use serde::Deserialize;
use serde::Serialize;

use crate::authority::clock::Timestamp;
use crate::authority::identity::Certificate;
use crate::authority::identity::CertificateThumbprint;
use crate::authority::json::object;
use crate::authority::json::present;

/// What a token says (RFC 9068 section 2.2). A member of another JSON type than its own makes the token malformed: it is
/// never taken for one that is not there. So does a member that stands twice.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct AccessTokenClaims {
    /// The server's issuer identifier.
    pub iss: String,
    /// The client: with client credentials there is no other subject (RFC 9068 section 2.2).
    pub sub: String,
    /// Whom it is for.
    pub aud: Audience,
    /// The first second in which it is no longer good.
    pub exp: Timestamp,
    /// When it was issued.
    pub iat: Timestamp,
    /// From when it is good.
    pub nbf: Timestamp,
    /// 128 random bits, base64url.
    pub jti: String,
    /// The client.
    pub client_id: String,
    /// Space-separated scopes; left out where there are none.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// What its user must prove to hold.
    #[serde(default, deserialize_with = "object", skip_serializing_if = "Option::is_none")]
    pub cnf: Option<Confirmation>,
    /// What else is known of the certificate that it is bound to, where its client's rotation looks at that.
    #[serde(default, deserialize_with = "object", skip_serializing_if = "Option::is_none")]
    pub lanyard_bound: Option<BoundCertificate>,
    /// The creation id of the registration that it was issued under.
    pub lanyard_creation: String,
}

/// The confirmation claim (RFC 7800 section 3.1, RFC 8705 section 3.1). Members that are not known are ignored; a
/// confirmation by something other than a certificate confirms nothing here.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Confirmation {
    /// The thumbprint of the certificate, base64url.
    #[serde(rename = "x5t#S256", default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub x5t_s256: Option<String>,
}

/// What tells a renewed certificate from an older one, and a renewed one with the same key.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct BoundCertificate {
    /// Its notBefore.
    pub nbf: Timestamp,
    /// SHA-256 of its `SubjectPublicKeyInfo` in DER, base64url.
    pub spki: String,
}

impl BoundCertificate {
    /// That of a certificate.
    pub fn of(certificate: &Certificate) -> Self {
        Self { nbf: certificate.not_before(), spki: certificate.public_key_digest() }
    }

    /// Whether a certificate is a renewal of this one, as far as that can be seen: it is younger, or has the same key.
    pub fn is_renewed_by(&self, certificate: &Certificate) -> bool {
        certificate.not_before() > self.nbf || certificate.public_key_digest() == self.spki
    }
}

/// One audience, or several (RFC 7519 section 4.1.3).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Audience {
    /// One.
    One(String),
    /// Several.
    Several(Vec<String>),
}

impl Audience {
    /// All of them.
    pub fn all(&self) -> &[String] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Several(several) => several,
        }
    }

    /// Whether `audience` is one of them: compared whole, byte by byte.
    pub fn includes(&self, audience: &str) -> bool {
        match self {
            Self::One(one) => one == audience,
            Self::Several(several) => several.iter().any(|one| one == audience),
        }
    }
}

impl From<Vec<String>> for Audience {
    fn from(audiences: Vec<String>) -> Self {
        match <[String; 1]>::try_from(audiences) {
            Ok([one]) => Self::One(one),
            Err(several) => Self::Several(several),
        }
    }
}

impl AccessTokenClaims {
    /// The certificate that the token is bound to.
    pub fn bound_to(&self) -> Option<CertificateThumbprint> {
        self.cnf.as_ref()?.x5t_s256.as_deref().and_then(CertificateThumbprint::parse)
    }
}
