//! Receipts: what this server says to the exchangers of a resource about a presentation of a token that it allowed there. Only
//! this server reads them, so they are authenticated and not signed, and nobody can take one for a token.
//!
//! `lr1.<key id>.<payload>.<tag>`: payload and tag are base64url, the payload as `receipt_payload.rs` writes it, and the tag the
//! first half of the HMAC-SHA-256 of all that is before it (RFC 2104 section 5).

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::authority::clock::Timestamp;
use crate::authority::identity::CertificateThumbprint;
use crate::authority::keys::ReceiptKey;
use crate::authority::keys::ReceiptKeys;
use crate::authority::registration::ClientId;
use crate::authority::tokens::receipt::Receipt;
use crate::authority::tokens::receipt::TokenHash;

/// The largest receipt, in bytes: one of a token with four actors has some 1,100. It travels in a header.
pub const MAX_RECEIPT_BYTES: usize = 4 * 1024;

/// The prefix of the records of receipts that are redeemed once. The receipt's `jti` and the target follow.
pub const RECEIPTS: &str = "/receipts/";

/// What a receipt of this version begins with.
const BEGINNING: &str = "lr1.";

/// How far in the future a receipt's `iat` may be, because the clocks of replicas differ. `exp` has no leeway.
const LEEWAY: Duration = Duration::from_secs(5);

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

/// Why a receipt is not accepted.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ReceiptError {
    /// The text has not the form of a receipt, or its payload is not what this version writes.
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

impl Receipt<'_> {
    /// The text of the receipt under a key; `None` where it would be larger than is accepted.
    pub fn authenticated(&self, key: &ReceiptKey) -> Option<ReceiptText> {
        let payload = self.payload()?;
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
    let receipt = Receipt::from_payload(&payload).ok_or(ReceiptError::Malformed)?;
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
        let (receipt, certificate) = (self.receipt.jti.to_string(), certificate.to_string());
        let parts = ["redeem", &receipt, client_id.as_str(), &certificate, requested, target, scope];
        let mut text = Vec::new();
        for part in parts {
            // Each part with its length, so that no two redemptions are the same bytes.
            text.extend(part.len().to_be_bytes());
            text.extend_from_slice(part.as_bytes());
        }
        URL_SAFE_NO_PAD.encode(self.key.tag(&text))
    }

    /// Whether it is the receipt of a presentation of this token.
    pub fn is_of(&self, token: &str) -> bool {
        self.receipt.ath == TokenHash::of(token)
    }

    /// The key of the store that is written where it may be redeemed for a target once.
    pub fn spent_key(&self, target: &str) -> String {
        format!("{RECEIPTS}{}/{target}", self.receipt.jti)
    }
}
