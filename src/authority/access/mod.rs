//! Access control: roles, the access table of methods, and callers.

mod caller;
mod changed_by;
mod limit;
mod methods;
mod requester;
mod roles;
mod sender;

pub use crate::authority::access::caller::NotAdmitted;
pub use crate::authority::access::caller::NotAdmittedCode;
pub use crate::authority::access::caller::PeerConnection;
pub(in crate::authority) use crate::authority::access::caller::Proven;
pub use crate::authority::access::caller::Reach;
pub use crate::authority::access::changed_by::ChangedBy;
pub use crate::authority::access::limit::Exceeded;
pub use crate::authority::access::limit::Limit;
pub use crate::authority::access::limit::RETRY_AFTER;
pub use crate::authority::access::methods::AUDIT_JWKS;
pub use crate::authority::access::methods::CalledMethod;
pub use crate::authority::access::methods::JWKS;
pub use crate::authority::access::methods::METADATA;
pub use crate::authority::access::methods::METHODS;
pub use crate::authority::access::methods::MethodEntry;
pub use crate::authority::access::methods::OPENID_CONFIGURATION;
pub use crate::authority::access::methods::OTHER;
pub use crate::authority::access::methods::Priority;
pub use crate::authority::access::methods::Protocol;
pub use crate::authority::access::methods::SPIFFE_BUNDLE;
pub use crate::authority::access::requester::Requester;
pub use crate::authority::access::roles::Fronted;
pub use crate::authority::access::roles::GrantedRole;
pub use crate::authority::access::roles::Role;
pub use crate::authority::access::roles::RoleGrants;
pub use crate::authority::access::roles::RoleHolder;
pub use crate::authority::access::roles::Roles;
pub use crate::authority::access::sender::ConnectionInfo;
pub use crate::authority::access::sender::Sender;
