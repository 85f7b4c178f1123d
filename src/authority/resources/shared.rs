//! Authorities that several resources have. Where only the authority of a request says which resource is meant, it must
//! say it of one.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::authority::resources::metadata::ResourceMetadata;

/// The prefix of the index keys of authorities, which are written when a resource claims some. The number of a group of
/// authorities follows, as two hexadecimal digits.
pub const AUTHORITY_INDEX: &str = "/index/authority/";

/// Whether two resources may have the same authority: both have destination principals, and none in common.
pub(super) fn may_share(one: &ResourceMetadata, other: &ResourceMetadata) -> bool {
    let [principals, others] = [one, other].map(|metadata| &metadata.destination_principals);
    !principals.is_empty() && !others.is_empty() && !principals.iter().any(|principal| others.contains(principal))
}

/// An authority that `one` would share with `other` and may not. One that `before`, which `one` replaces, shares
/// already stays as it is.
pub(in crate::authority) fn contested<'a>(
    one: &'a ResourceMetadata,
    before: Option<&ResourceMetadata>,
    other: &ResourceMetadata,
) -> Option<&'a str> {
    if one.audience == other.audience || may_share(one, other) {
        return None;
    }
    let already = before.filter(|before| !may_share(before, other));
    let is_new = |authority: &&String| already.is_none_or(|before| !before.authorities.contains(authority));
    let mut shared = one.authorities.iter().filter(|authority| other.authorities.contains(authority));
    shared.find(is_new).map(String::as_str)
}

/// What operators should know about the resources that are registered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Finding {
    /// These resources have an authority in common that they may not share, so that requests are denied where it
    /// decides.
    SharedAuthority {
        /// The authority.
        authority: String,
        /// The resources, by audience, in order.
        audiences: Vec<String>,
    },
    /// This resource has authorities and destination principals: its host alone does not find it.
    NotByHost {
        /// The resource, by audience.
        audience: String,
    },
}

/// The findings about these resources: shared authorities first.
pub fn findings(resources: &[&ResourceMetadata]) -> Vec<Finding> {
    let mut at: BTreeMap<&str, Vec<&ResourceMetadata>> = BTreeMap::new();
    for resource in resources {
        for authority in &resource.authorities {
            at.entry(authority).or_default().push(resource);
        }
    }
    let shared = at.into_iter().filter_map(|(authority, resources)| {
        let contests = |one: &&&ResourceMetadata| {
            resources.iter().any(|other| one.audience != other.audience && !may_share(one, other))
        };
        let audiences: BTreeSet<&str> = resources.iter().filter(contests).map(|one| one.audience.as_str()).collect();
        let audiences: Vec<String> = audiences.into_iter().map(ToOwned::to_owned).collect();
        (!audiences.is_empty()).then(|| Finding::SharedAuthority { authority: authority.to_owned(), audiences })
    });
    let not_by_host = resources
        .iter()
        .filter(|resource| !resource.authorities.is_empty() && !resource.destination_principals.is_empty());
    let not_by_host = not_by_host.map(|resource| Finding::NotByHost { audience: resource.audience.clone() });
    shared.chain(not_by_host).collect()
}
