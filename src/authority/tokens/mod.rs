//! Access tokens, receipts of their presentation, and transaction tokens: claims, signing and verification.

mod claims;
mod delegation;
mod issued;
mod jws;
mod jwt_grant;
mod permitted;
mod printed;
mod receipt;
mod receipt_payload;
mod receipt_text;
mod self_signed;
mod txn;
mod verified;

pub use crate::authority::tokens::claims::AccessTokenClaims;
pub use crate::authority::tokens::claims::Audience;
pub use crate::authority::tokens::claims::BoundCertificate;
pub use crate::authority::tokens::claims::Confirmation;
pub(in crate::authority) use crate::authority::tokens::claims::spiffe_id_claim;
pub use crate::authority::tokens::delegation::Actors;
pub use crate::authority::tokens::delegation::Ancestor;
pub use crate::authority::tokens::delegation::Ancestry;
pub use crate::authority::tokens::delegation::MayAct;
pub use crate::authority::tokens::delegation::ParsedAncestor;
pub(in crate::authority) use crate::authority::tokens::delegation::qualified;
pub use crate::authority::tokens::issued::IssuedToken;
pub use crate::authority::tokens::jws::MAX_TOKEN_BYTES;
pub use crate::authority::tokens::jws::NotSigned;
pub(in crate::authority) use crate::authority::tokens::jws::can_be_signed;
pub use crate::authority::tokens::jws::sign;
pub use crate::authority::tokens::jws::sign_as;
pub use crate::authority::tokens::jws::verify;
pub use crate::authority::tokens::jwt_grant::JwtGrantClaims;
pub use crate::authority::tokens::jwt_grant::sign_jwt_grant;
pub use crate::authority::tokens::permitted::Compared;
pub use crate::authority::tokens::permitted::Permitted;
pub use crate::authority::tokens::printed::PrintedForm;
pub use crate::authority::tokens::receipt::PresentationMatch;
pub use crate::authority::tokens::receipt::PresentedRoute;
pub use crate::authority::tokens::receipt::PresentedToken;
pub use crate::authority::tokens::receipt::Receipt;
pub use crate::authority::tokens::receipt::ReceiptId;
pub use crate::authority::tokens::receipt::TokenHash;
pub use crate::authority::tokens::receipt_text::MAX_RECEIPT_BYTES;
pub use crate::authority::tokens::receipt_text::NotSpent;
pub use crate::authority::tokens::receipt_text::RECEIPTS;
pub use crate::authority::tokens::receipt_text::ReceiptError;
pub use crate::authority::tokens::receipt_text::ReceiptText;
pub use crate::authority::tokens::receipt_text::Redemption;
pub use crate::authority::tokens::receipt_text::VerifiedReceipt;
pub use crate::authority::tokens::receipt_text::verify_receipt;
pub use crate::authority::tokens::self_signed::SelfSignedClaims;
pub use crate::authority::tokens::self_signed::verify_self_signed;
pub use crate::authority::tokens::txn::TxnTokenClaims;
pub use crate::authority::tokens::txn::VerifiedTxnToken;
pub use crate::authority::tokens::txn::sign_txn_token;
pub use crate::authority::tokens::txn::verify_txn_token;
pub use crate::authority::tokens::verified::VerifiedToken;

/// The type of an access token (RFC 8693 section 3).
pub const ACCESS_TOKEN_TYPE: &str = "urn:ietf:params:oauth:token-type:access_token";

/// The type of a JWT that is none of the other types (RFC 8693 section 3).
pub const JWT_TYPE: &str = "urn:ietf:params:oauth:token-type:jwt";

/// The type of a transaction token (draft-ietf-oauth-transaction-tokens section 11.1).
pub const TXN_TOKEN_TYPE: &str = "urn:ietf:params:oauth:token-type:txn_token";

/// The identifier of a token that is supposed to be there and is not issued. A `jti` has no spaces, so that no revocation names it.
pub(in crate::authority) const NOT_ISSUED: &str = "(not issued)";
