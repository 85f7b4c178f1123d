//! Certificates, the names in them, and the identities of peers.

mod certificate;
mod distinguished_name;
mod peer;
mod presented;
mod spiffe_id;

pub use crate::authority::identity::certificate::Certificate;
pub use crate::authority::identity::certificate::CertificateNames;
pub use crate::authority::identity::certificate::CertificateThumbprint;
pub use crate::authority::identity::certificate::CertificateUses;
pub use crate::authority::identity::certificate::InvalidCertificate;
pub use crate::authority::identity::certificate::MAX_CERTIFICATE_BYTES;
pub use crate::authority::identity::distinguished_name::DistinguishedName;
pub use crate::authority::identity::distinguished_name::InvalidDistinguishedName;
pub use crate::authority::identity::distinguished_name::MAX_NAME_BYTES;
pub use crate::authority::identity::distinguished_name::MAX_RELATIVE_NAMES;
pub use crate::authority::identity::peer::PeerIdentity;
pub use crate::authority::identity::peer::Proof;
pub use crate::authority::identity::presented::PresentedCertificate;
pub use crate::authority::identity::spiffe_id::MAX_SPIFFE_ID_BYTES;
pub use crate::authority::identity::spiffe_id::SpiffeIdPattern;
pub use crate::authority::identity::spiffe_id::is_spiffe_uri;
pub use crate::authority::identity::spiffe_id::is_text_of;
pub use crate::authority::identity::spiffe_id::parse_spiffe_id;
pub use crate::authority::identity::spiffe_id::prefixes;
