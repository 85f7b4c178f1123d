//! The certificate evidence that a caller presents.

mod evidence_from;
mod forwarded_certificate;
mod forwarded_peer;
mod grades;
mod known;
mod seen_peer;

pub use crate::authority::evidence::evidence_from::EvidenceFrom;
pub use crate::authority::evidence::forwarded_certificate::ForwardedElement;
pub use crate::authority::evidence::forwarded_certificate::InvalidForwardedCertificate;
pub use crate::authority::evidence::forwarded_certificate::MAX_CHAIN_CERTIFICATES;
pub use crate::authority::evidence::forwarded_certificate::MAX_ELEMENTS;
pub use crate::authority::evidence::forwarded_certificate::MAX_HEADER_BYTES;
pub use crate::authority::evidence::forwarded_certificate::MAX_PAIRS;
pub use crate::authority::evidence::forwarded_certificate::parse_client_cert;
pub use crate::authority::evidence::forwarded_certificate::parse_client_cert_chain;
pub use crate::authority::evidence::forwarded_certificate::parse_forwarded_client_cert;
pub use crate::authority::evidence::forwarded_certificate::parse_url_encoded_certificate;
pub use crate::authority::evidence::forwarded_peer::ForwardedHeaders;
pub use crate::authority::evidence::forwarded_peer::NotForwarded;
pub use crate::authority::evidence::grades::Evidence;
pub use crate::authority::evidence::grades::EvidenceGrade;
pub use crate::authority::evidence::grades::InvalidEvidence;
pub use crate::authority::evidence::seen_peer::SeenPeer;
