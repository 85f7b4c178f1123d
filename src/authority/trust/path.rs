//! Path validation (RFC 5280 section 6) for every certificate that is accepted here: X509-SVIDs, those of client CAs,
//! and the servers of bundle endpoints. Signatures are verified with aws-lc-rs; no certificate is fetched.
//!
//! Beyond RFC 5280, of which X509-SVID section 5.1 asks for all: anchors are within their validity, and keep their own
//! cA, keyUsage, path length and name constraints where they have them; an SVID's issuers have a keyUsage (X509-SVID
//! section 4.3), and no issuer has a SPIFFE ID with a path (section 3.2).

mod anchor;
mod budget;
mod certificate;
mod chain;
mod der;
mod name;
mod names;
mod policies;
mod purpose;
mod search;
mod signature;

pub(super) use crate::authority::trust::path::anchor::Anchor;
pub use crate::authority::trust::path::anchor::InvalidAnchor;
pub(super) use crate::authority::trust::path::chain::Chain;
pub(super) use crate::authority::trust::path::purpose::Purpose;
