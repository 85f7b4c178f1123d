//! Which share a caller has.

use crate::authority::access::CallerIdentity;
use crate::authority::access::RoleHolder;
use crate::limits::bounds::CallerBounds;
use crate::limits::bounds::SetCallerBounds;
use crate::limits::machine::Machine;
use crate::limits::role::CallerRole;

/// The callers that an entry of the configuration is for.
#[derive(Clone, Debug, PartialEq)]
pub enum Selector {
    /// All that hold the role.
    Role(CallerRole),
    /// A SPIFFE ID, a pattern of them, or a certificate, whatever its role.
    Holder(RoleHolder),
}

/// The shares of all callers. Of several entries for one caller the most specific applies: its certificate, its SPIFFE ID,
/// the longest pattern, its role.
#[derive(Clone, Debug)]
pub struct Callers {
    entries: Vec<(Selector, SetCallerBounds)>,
    max_connections: usize,
    machine: Machine,
}

impl Callers {
    /// These entries, with the defaults of each role on a listener for so many connections.
    pub fn new(entries: Vec<(Selector, SetCallerBounds)>, max_connections: usize, machine: Machine) -> Self {
        Self { entries, max_connections, machine }
    }

    /// The share of a caller with this role; `None` is a caller without a certificate.
    pub fn bounds_of(&self, caller: Option<&CallerIdentity>, role: CallerRole) -> CallerBounds {
        let peer = caller.and_then(CallerIdentity::certificate);
        let rank = |selector: &Selector| match selector {
            Selector::Holder(holder) => peer.filter(|peer| holder.is(peer)).map(|_| Some(holder.specificity())),
            Selector::Role(named) => (*named == role).then_some(None),
        };
        let matching = self.entries.iter().filter_map(|(selector, bounds)| Some((rank(selector)?, bounds)));
        let default = CallerBounds::default_of(role, self.max_connections, self.machine);
        matching.max_by_key(|(rank, _)| *rank).map_or(default, |(_, set)| set.over(default))
    }
}
