//! The bundles that prove certificates: one for each trust domain, never pooled.

mod anchors;
mod assertion_uses;
mod bundle_document;
mod bundles;
mod extension_oid;
mod fingerprint;
mod issuer_jwt;
mod issuer_keys;
mod jwt_authorities;
mod jwt_svid;
mod path;
mod unproven;

pub use crate::authority::trust::anchors::Anchors;
pub use crate::authority::trust::anchors::MAX_CHAIN_CERTIFICATES;
pub use crate::authority::trust::anchors::RefusedAnchor;
pub use crate::authority::trust::anchors::client_fault;
pub use crate::authority::trust::assertion_uses::AssertionUses;
pub use crate::authority::trust::assertion_uses::NotTaken;
pub use crate::authority::trust::bundle_document::BundleDocument;
pub use crate::authority::trust::bundle_document::InvalidBundleDocument;
pub use crate::authority::trust::bundle_document::MAX_BYTES as MAX_BUNDLE_DOCUMENT_BYTES;
pub use crate::authority::trust::bundles::Bundle;
pub use crate::authority::trust::bundles::TrustBundles;
pub use crate::authority::trust::extension_oid::ExtensionOid;
pub use crate::authority::trust::fingerprint::chain_fingerprint;
pub use crate::authority::trust::issuer_jwt::InvalidIssuerJwt;
pub use crate::authority::trust::issuer_jwt::IssuerJwt;
pub use crate::authority::trust::issuer_keys::IssuerKeys;
pub use crate::authority::trust::issuer_keys::MAX_ASSERTION_AGE;
pub use crate::authority::trust::issuer_keys::TrustedIssuer;
pub use crate::authority::trust::jwt_authorities::JwtAuthorities;
pub use crate::authority::trust::jwt_svid::InvalidJwtSvid;
pub use crate::authority::trust::jwt_svid::JwtSvid;
pub use crate::authority::trust::path::InvalidAnchor;
pub use crate::authority::trust::unproven::Unproven;
pub use crate::authority::trust::unproven::UnprovenCode;
