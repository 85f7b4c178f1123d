//! Where resources are: the principals of the workloads that serve them, and the authorities at which they are reached.

use crate::authority::records::HashMap;

/// The audiences under each destination principal and each authority. A clone shares the unchanged entries.
#[derive(Clone, Debug, Default)]
pub(super) struct Destinations {
    principals: HashMap<String, Audiences>,
    authorities: HashMap<String, Audiences>,
}

/// The audiences under one entry: nearly always one.
type Audiences = Vec<String>;

impl Destinations {
    /// The audiences of the resources that this workload serves.
    pub(super) fn at_principal(&self, principal: &str) -> &[String] {
        self.principals.get(principal).map(Vec::as_slice).unwrap_or_default()
    }

    /// The audiences of the resources at exactly this authority.
    pub(super) fn at_authority(&self, authority: &str) -> &[String] {
        self.authorities.get(authority).map(Vec::as_slice).unwrap_or_default()
    }

    /// Adds the destinations of one resource, which has none yet.
    pub(super) fn insert(&mut self, audience: &str, principals: &[String], authorities: &[String]) {
        for (index, keys) in [(&mut self.principals, principals), (&mut self.authorities, authorities)] {
            for key in keys {
                let audiences = index.entry(key.clone()).or_default();
                // An entry that is listed twice refers to the same resource.
                if audiences.last().is_none_or(|last| last != audience) {
                    audiences.push(audience.to_owned());
                }
            }
        }
    }

    /// Removes the destinations of one resource.
    pub(super) fn remove(&mut self, audience: &str, principals: &[String], authorities: &[String]) {
        for (index, keys) in [(&mut self.principals, principals), (&mut self.authorities, authorities)] {
            for key in keys {
                if let Some(audiences) = index.get_mut(key) {
                    audiences.retain(|known| known != audience);
                    if audiences.is_empty() {
                        index.remove(key);
                    }
                }
            }
        }
    }
}
