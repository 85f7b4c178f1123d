//! Access tokens: JWTs as in RFC 9068, bound to certificates as in RFC 8705 section 3.1.

use serde::Deserialize;
use serde::Serialize;

use crate::authority::clock::Timestamp;
use crate::authority::identity::Certificate;
use crate::authority::identity::CertificateThumbprint;
use crate::authority::identity::parse_spiffe_id;
use crate::authority::json::object;
use crate::authority::json::present;
use crate::authority::registration::ClientId;
use crate::authority::tokens::delegation::Actors;
use crate::authority::tokens::delegation::Ancestry;
use crate::authority::tokens::delegation::MayAct;

/// The claims of an access token (RFC 9068 section 2.2). A member of the wrong JSON type makes the token malformed and
/// is never treated as absent. A member that occurs twice does so too.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct AccessTokenClaims {
    /// The server's issuer identifier.
    pub iss: String,
    /// Whom the token speaks for: with the client credentials grant its client, as there is no other subject (RFC 9068
    /// section 2.2), and with token exchange the subject of the token that it comes from (RFC 8693 section 1.1).
    pub sub: String,
    /// The resources that the token is for.
    pub aud: Audience,
    /// The first second in which the token is no longer valid.
    pub exp: Timestamp,
    /// The time of issue.
    pub iat: Timestamp,
    /// The first second in which the token is valid.
    pub nbf: Timestamp,
    /// The token's identifier: 128 random bits as base64url.
    pub jti: String,
    /// The client's identifier: the holder of the token, and the actor where it has one.
    pub client_id: String,
    /// Space-separated scopes; omitted where there are none.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// The confirmation: what its user must prove possession of.
    #[serde(default, deserialize_with = "object", skip_serializing_if = "Option::is_none")]
    pub cnf: Option<Confirmation>,
    /// Further facts about the certificate that it is bound to, where its client's rotation mode needs them.
    #[serde(default, deserialize_with = "object", skip_serializing_if = "Option::is_none")]
    pub lanyard_bound: Option<BoundCertificate>,
    /// The SPIFFE ID of the certificate that it is bound to, where that is not its `client_id`; empty where the
    /// certificate has none. It is the first URI name, which is what proxies report of a peer. Older tokens lack it.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub lanyard_spiffe_id: Option<String>,
    /// The creation id of the registration that the token was issued under.
    pub lanyard_creation: String,
    /// Who acts for the subject (RFC 8693 section 4.1). It decides that the token is a delegated one, and its `sub` alone is
    /// the holder; the actors before it are history.
    #[serde(default, deserialize_with = "object", skip_serializing_if = "Option::is_none")]
    pub act: Option<Actors>,
    /// Who alone may act for the subject, if the token says so.
    #[serde(default, deserialize_with = "object", skip_serializing_if = "Option::is_none")]
    pub may_act: Option<MayAct>,
    /// The tokens that it comes from, one for each actor.
    #[serde(default, skip_serializing_if = "Ancestry::is_empty")]
    pub lanyard_from: Ancestry,
}

/// The confirmation claim (RFC 7800 section 3.1, RFC 8705 section 3.1). Unknown members are ignored. A confirmation by
/// anything other than a certificate is not supported.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Confirmation {
    /// The thumbprint of the certificate, as base64url.
    #[serde(rename = "x5t#S256", default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub x5t_s256: Option<String>,
}

/// What distinguishes a renewed certificate from an older one, and a renewal with the same key.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct BoundCertificate {
    /// The certificate's notBefore.
    pub nbf: Timestamp,
    /// SHA-256 of its `SubjectPublicKeyInfo` in DER, as base64url.
    pub spki: String,
}

impl BoundCertificate {
    /// Returns the facts of a certificate.
    pub fn of(certificate: &Certificate) -> Self {
        Self { nbf: certificate.not_before(), spki: certificate.public_key_digest() }
    }

    /// Whether a certificate can be a renewal of this one: it has a later notBefore, or the same key.
    pub fn is_renewed_by(&self, certificate: &Certificate) -> bool {
        certificate.not_before() > self.nbf || certificate.public_key_digest() == self.spki
    }
}

/// One audience, or several (RFC 7519 section 4.1.3).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Audience {
    /// A single audience, written as a string.
    One(String),
    /// Several audiences, written as an array.
    Several(Vec<String>),
}

impl Audience {
    /// All audiences.
    pub fn all(&self) -> &[String] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Several(several) => several,
        }
    }

    /// Whether `audience` is one of them. The whole text is compared, byte by byte.
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

/// The claim `lanyard_spiffe_id` of a token for this client that is bound to this certificate.
pub(in crate::authority) fn spiffe_id_claim(client_id: &ClientId, certificate: &Certificate) -> Option<String> {
    let first = certificate.names().uri.first().filter(|uri| parse_spiffe_id(uri).is_some());
    let text = first.map_or("", String::as_str);
    (text != client_id.as_str()).then(|| text.to_owned())
}

impl AccessTokenClaims {
    /// For people, of a delegated token: its subject, and the actors in the order in which they acted.
    pub fn delegation(&self) -> Option<String> {
        let mut chain: Vec<_> = self.act.as_ref()?.all().chain([self.sub.as_str().into()]).collect();
        chain.reverse();
        Some(chain.join(" "))
    }

    /// The certificate that the token is bound to.
    pub fn bound_to(&self) -> Option<CertificateThumbprint> {
        self.cnf.as_ref()?.x5t_s256.as_deref().and_then(CertificateThumbprint::parse)
    }
}
