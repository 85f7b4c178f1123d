//! Access tokens: claims, signing and verification.

mod claims;
mod delegation;
mod issued;
mod jws;
mod permitted;
mod printed;
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
pub use crate::authority::tokens::issued::IssuedToken;
pub use crate::authority::tokens::jws::MAX_TOKEN_BYTES;
pub use crate::authority::tokens::jws::NotSigned;
pub(in crate::authority) use crate::authority::tokens::jws::can_be_signed;
pub use crate::authority::tokens::jws::sign;
pub use crate::authority::tokens::jws::sign_as;
pub use crate::authority::tokens::jws::verify;
pub use crate::authority::tokens::permitted::Compared;
pub use crate::authority::tokens::permitted::Permitted;
pub use crate::authority::tokens::printed::PrintedForm;
pub use crate::authority::tokens::verified::VerifiedToken;
