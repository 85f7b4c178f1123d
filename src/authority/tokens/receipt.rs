//! Receipts: what this server says to the exchangers of a resource about a presentation of a token that it allowed there. Only
//! this server reads them, so they are authenticated and not signed, and nobody can take one for a token.
//!
//! `lr1.<key id>.<payload>.<tag>`: the payload is JSON in base64url, and the tag the HMAC-SHA-256 of all that is before it.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::Serialize;
use sha2::Digest as _;
use sha2::Sha256;

use crate::authority::clock::Timestamp;
use crate::authority::evidence::EvidenceGrade;
use crate::authority::identity::CertificateThumbprint;
use crate::authority::json::Object;
use crate::authority::json::object;
use crate::authority::json::present;
use crate::authority::keys::ReceiptKey;
use crate::authority::keys::ReceiptKeys;
use crate::authority::registration::ClientId;
use crate::authority::tokens::delegation::Actors;
use crate::authority::tokens::delegation::Ancestry;

/// The largest receipt, in bytes: one of a token with four actors has some 1.5 KiB. It travels in a header.
pub const MAX_RECEIPT_BYTES: usize = 4 * 1024;

/// The prefix of the records of receipts that are redeemed once. The receipt's `jti` and the target follow.
pub const RECEIPTS: &str = "/receipts/";

/// What a receipt of this version begins with.
const BEGINNING: &str = "lr1.";

/// How far in the future a receipt's `iat` may be, because the clocks of replicas differ. `exp` has no leeway.
const LEEWAY: Duration = Duration::from_secs(5);

/// The number of bytes of the HMAC that become the `jti` of the token that a receipt is exchanged for: as many as others have.
const JTI_BYTES: usize = 16;

/// The text of a receipt. It is never logged.
#[derive(Clone, Eq, PartialEq)]
pub struct ReceiptText(String);

impl ReceiptText {
    /// The text, for its holder.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ReceiptText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ReceiptText(…)")
    }
}

/// What this server saw of a presentation.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt<'a> {
    /// The receipt's identifier: 128 random bits as base64url.
    pub jti: Cow<'a, str>,
    /// When the presentation was allowed.
    pub iat: Timestamp,
    /// The first second in which the receipt is no longer valid: not after the token's.
    pub exp: Timestamp,
    /// SHA-256 of the token's text, as base64url.
    pub ath: Cow<'a, str>,
    /// What of the token is needed without it.
    #[serde(deserialize_with = "whole")]
    pub token: PresentedToken<'a>,
    /// The audience of the resource.
    pub at: Cow<'a, str>,
    /// The route that the request matched; absent where the question named none.
    #[serde(default, deserialize_with = "object", skip_serializing_if = "Option::is_none")]
    pub route: Option<PresentedRoute<'a>>,
    /// The proxy that asked: its SPIFFE ID, or `x5t#S256:` and its thumbprint.
    pub by: Cow<'a, str>,
    /// Whether the proxy is somebody else than the resource's exchangers.
    pub independent: bool,
    /// The grade of the evidence.
    pub grade: EvidenceGrade,
    /// How the evidence matched the token.
    #[serde(rename = "match")]
    pub matched: PresentationMatch,
    /// The thumbprint of the certificate that was shown, as base64url, if it is known.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub shown: Option<Cow<'a, str>>,
    /// The one exchanger that may redeem it. Absent: any of the resource's, as it is registered when it is redeemed.
    #[serde(rename = "for", default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub exchanger: Option<Cow<'a, str>>,
}

/// Of the token that was presented: what it takes to find that it is still good, and what the next one is made of.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
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
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub scope: Option<Cow<'a, str>>,
    /// The thumbprint of the certificate that it is bound to, as base64url.
    #[serde(rename = "x5t#S256")]
    pub x5t_s256: Cow<'a, str>,
    /// Who acts for its subject.
    #[serde(default, deserialize_with = "object", skip_serializing_if = "Option::is_none")]
    pub act: Option<Cow<'a, Actors>>,
    /// The tokens that it comes from.
    #[serde(default, skip_serializing_if = "Ancestry::is_empty")]
    pub lanyard_from: Cow<'a, Ancestry>,
}

/// The route of a request.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PresentedRoute<'a> {
    /// The HTTP method of the request.
    pub method: Cow<'a, str>,
    /// The template that its path matched.
    pub path: Cow<'a, str>,
}

/// How the evidence of a presentation matched the token.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PresentationMatch {
    /// The certificate that the token is bound to.
    Exact,
    /// Another one of the same SPIFFE ID.
    SameIdentity,
    /// A successor of it.
    Lineage,
}

/// Why a receipt is not accepted.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ReceiptError {
    /// The text has not the form of a receipt, or its payload has members that this version does not know.
    #[error("it is no receipt of this version")]
    Malformed,
    /// The key is not one of this server's, or is no longer.
    #[error("its key is not, or no longer, one of this server's")]
    UnknownKey,
    /// The tag is not that of the text under the key.
    #[error("its tag does not verify")]
    Forged,
    /// It has expired.
    #[error("it has expired")]
    Expired,
    /// It is from the future, by more than the clocks of replicas may differ.
    #[error("it is not valid yet")]
    NotYetValid,
}

impl ReceiptError {
    /// The fixed code of the error.
    pub fn code(self) -> &'static str {
        match self {
            Self::Malformed => "RECEIPT_MALFORMED",
            Self::UnknownKey => "RECEIPT_KEY_UNKNOWN",
            Self::Forged => "RECEIPT_FORGED",
            Self::Expired => "RECEIPT_EXPIRED",
            Self::NotYetValid => "RECEIPT_NOT_YET_VALID",
        }
    }
}

/// Why a receipt that may be redeemed once was not.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotSpent {
    /// It was redeemed for this target before.
    #[error("the receipt was redeemed before")]
    Before,
    /// The store does not answer.
    #[error("the store is unavailable")]
    Unavailable,
}

/// The SHA-256 of a token's text, as receipts have it.
pub fn hash_of_token(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(text))
}

impl Receipt<'_> {
    /// The text of the receipt under a key; `None` where it would be larger than is accepted.
    pub fn authenticated(&self, key: &ReceiptKey) -> Option<ReceiptText> {
        let payload = serde_json::to_vec(self).ok()?;
        let mut text = String::with_capacity(key.id().len() + payload.len() * 4 / 3 + 64);
        text.push_str(BEGINNING);
        text.push_str(key.id());
        text.push('.');
        URL_SAFE_NO_PAD.encode_string(&payload, &mut text);
        let tag = key.tag(text.as_bytes());
        text.push('.');
        URL_SAFE_NO_PAD.encode_string(tag, &mut text);
        (text.len() <= MAX_RECEIPT_BYTES).then_some(ReceiptText(text))
    }
}

/// A receipt whose tag has verified, within its time.
#[derive(Clone, Debug)]
pub struct VerifiedReceipt {
    /// What it says.
    pub receipt: Receipt<'static>,
    key: ReceiptKey,
}

/// Verifies the text of a receipt: its key, its tag, then its form and its time. Nothing of the payload is read before the tag
/// has verified.
pub fn verify_receipt(keys: &ReceiptKeys, text: &str, now: Timestamp) -> Result<VerifiedReceipt, ReceiptError> {
    if text.len() > MAX_RECEIPT_BYTES {
        return Err(ReceiptError::Malformed);
    }
    let rest = text.strip_prefix(BEGINNING).ok_or(ReceiptError::Malformed)?;
    let (id, rest) = rest.split_once('.').ok_or(ReceiptError::Malformed)?;
    let (payload, tag) = rest.split_once('.').ok_or(ReceiptError::Malformed)?;
    let tag_of_text = URL_SAFE_NO_PAD.decode(tag).map_err(|_| ReceiptError::Malformed)?;
    let (key, _) = keys.named(id).ok_or(ReceiptError::UnknownKey)?;
    let authenticated = text.as_bytes().get(..text.len() - tag.len() - 1).unwrap_or_default();
    if !key.verifies(authenticated, &tag_of_text) {
        return Err(ReceiptError::Forged);
    }
    let payload = URL_SAFE_NO_PAD.decode(payload).map_err(|_| ReceiptError::Malformed)?;
    let Object::<Receipt<'static>>(receipt) = serde_json::from_slice(&payload).map_err(|_| ReceiptError::Malformed)?;
    if now >= receipt.exp {
        return Err(ReceiptError::Expired);
    }
    if receipt.iat > now.after(LEEWAY) {
        return Err(ReceiptError::NotYetValid);
    }
    Ok(VerifiedReceipt { receipt, key: key.clone() })
}

/// What a receipt is redeemed for: the same again gives the same token.
#[derive(Clone, Copy, Debug)]
pub struct Redemption<'a> {
    /// Who redeems it.
    pub client_id: &'a ClientId,
    /// The certificate of its connection, which the token is bound to.
    pub certificate: CertificateThumbprint,
    /// The type of the token that is asked for.
    pub requested: &'a str,
    /// Whom the token is for.
    pub target: &'a str,
    /// The scopes of the token, as it will have them.
    pub scope: &'a str,
}

impl VerifiedReceipt {
    /// The `jti` of the token that the receipt is redeemed for. It follows from the receipt and the redemption, so that to
    /// redeem it again, at any replica, makes no second token.
    pub fn jti_of(&self, redemption: &Redemption<'_>) -> String {
        let Redemption { client_id, certificate, requested, target, scope } = redemption;
        let certificate = certificate.to_string();
        let parts = ["redeem", &self.receipt.jti, client_id.as_str(), &certificate, requested, target, scope];
        let mut text = Vec::new();
        for part in parts {
            // Each part with its length, so that no two redemptions are the same bytes.
            text.extend(part.len().to_be_bytes());
            text.extend_from_slice(part.as_bytes());
        }
        let tag = self.key.tag(&text);
        URL_SAFE_NO_PAD.encode(tag.as_ref().get(..JTI_BYTES).unwrap_or_default())
    }

    /// Whether it is the receipt of a presentation of this token.
    pub fn is_of(&self, token: &str) -> bool {
        *self.receipt.ath == hash_of_token(token)
    }

    /// The key of the store that is written where it may be redeemed for a target once.
    pub fn spent_key(&self, target: &str) -> String {
        format!("{RECEIPTS}{}/{target}", self.receipt.jti)
    }
}

/// Reads a token that is an object, and no array of its members.
fn whole<'de, D: serde::Deserializer<'de>>(value: D) -> Result<PresentedToken<'static>, D::Error> {
    Object::deserialize(value).map(|Object(token)| token)
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
