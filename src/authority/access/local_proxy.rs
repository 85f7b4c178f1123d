//! Proxies on the server's own machine, which are known by the user that they run as.

use spiffe::SpiffeId;

use crate::authority::access::fronted::Fronted;

/// The proxies of one user of this machine, as the configuration names them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LocalProxy {
    /// The user ID of their processes.
    pub user: u32,
    /// The resources that they front.
    pub fronted: Fronted,
    /// The SPIFFE ID that they write as `By` into `x-forwarded-client-cert`. Without it that header is no evidence.
    pub spiffe_id: Option<SpiffeId>,
}
