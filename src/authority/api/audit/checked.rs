//! A check, as it is recorded.

use crate::authority::decision::CheckRequest;
use crate::authority::decision::Findings;
use crate::authority::resources::ProtectedResource;
use crate::authority::state::Asker;

/// A request that a proxy asked about, and its decision.
pub(in crate::authority::api) struct Checked<'a> {
    pub(in crate::authority::api) caller: &'a Asker,
    pub(in crate::authority::api) request: &'a CheckRequest<'a>,
    /// The resource that matched, if any did.
    pub(in crate::authority::api) resource: Option<&'a ProtectedResource>,
    pub(in crate::authority::api) findings: &'a Findings<'a>,
    /// Whether the request was allowed despite the denial, because of the resource's mode.
    pub(in crate::authority::api) let_through: bool,
}
