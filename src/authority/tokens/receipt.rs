//! What a receipt says: which token was presented where, and how that is known.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::Serialize;
use sha2::Digest as _;
use sha2::Sha256;

use crate::authority::clock::Timestamp;
use crate::authority::evidence::EvidenceGrade;
use crate::authority::identity::CertificateThumbprint;
use crate::authority::tokens::delegation::Actors;
use crate::authority::tokens::delegation::Ancestry;

/// The identifier of a receipt: 128 random bits, as text in base64url.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ReceiptId(pub [u8; 16]);

impl fmt::Display for ReceiptId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

/// The first half of the SHA-256 of a token's text. That no two tokens of this server have the same takes no more: nobody else
/// makes any.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TokenHash(pub [u8; 16]);

impl TokenHash {
    /// The hash of a token's text.
    pub fn of(text: &str) -> Self {
        let mut half = [0; 16];
        half.iter_mut().zip(Sha256::digest(text)).for_each(|(to, from)| *to = from);
        Self(half)
    }
}

/// What this server saw of a presentation.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Receipt<'a> {
    /// The receipt's identifier.
    pub jti: ReceiptId,
    /// When the presentation was allowed.
    pub iat: Timestamp,
    /// The first second in which the receipt is no longer valid: not after the token's.
    pub exp: Timestamp,
    /// The hash of the token's text.
    pub ath: TokenHash,
    /// What of the token is needed without it.
    pub token: PresentedToken<'a>,
    /// The audience of the resource.
    pub at: Cow<'a, str>,
    /// The route that the request matched; absent where the question named none.
    pub route: Option<PresentedRoute<'a>>,
    /// The proxy that asked: its SPIFFE ID, or `x5t#S256:` and its thumbprint.
    pub by: Cow<'a, str>,
    /// Whether the proxy is somebody else than the resource's exchangers.
    pub independent: bool,
    /// The grade of the evidence.
    pub grade: EvidenceGrade,
    /// How the evidence matched the token.
    pub matched: PresentationMatch,
    /// The certificate that was shown, if it is known.
    pub shown: Option<CertificateThumbprint>,
    /// The one exchanger that may redeem it. Absent: any of the resource's, as it is registered when it is redeemed.
    pub exchanger: Option<Cow<'a, str>>,
}

/// Of the token that was presented: what it takes to find that it is still good, and what the next one is made of.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PresentedToken<'a> {
    /// Its identifier.
    pub jti: Cow<'a, str>,
    /// The time of its issue.
    pub iat: Timestamp,
    /// The first second in which it is no longer valid.
    pub exp: Timestamp,
    /// The key that signed it.
    pub kid: Cow<'a, str>,
    /// Whom it speaks for.
    pub sub: Cow<'a, str>,
    /// Its holder.
    pub client_id: Cow<'a, str>,
    /// The creation id of its holder's registration.
    pub creation: Cow<'a, str>,
    /// The scopes that counted where it was presented, space-separated; absent where there were none.
    pub scope: Option<Cow<'a, str>>,
    /// The certificate that it is bound to.
    pub x5t_s256: CertificateThumbprint,
    /// Who acts for its subject.
    pub act: Option<Cow<'a, Actors>>,
    /// The tokens that it comes from.
    pub lanyard_from: Cow<'a, Ancestry>,
}

/// The route of a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PresentedRoute<'a> {
    /// The HTTP method of the request.
    pub method: Cow<'a, str>,
    /// The template that its path matched.
    pub path: Cow<'a, str>,
}

/// How the evidence of a presentation matched the token.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum PresentationMatch {
    /// The certificate that the token is bound to.
    Exact,
    /// Another one of the same SPIFFE ID.
    SameIdentity,
    /// A successor of it.
    Lineage,
}

impl fmt::Display for PresentationMatch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Exact => "exact",
            Self::SameIdentity => "same_identity",
            Self::Lineage => "lineage",
        })
    }
}
