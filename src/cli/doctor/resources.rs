//! The protected resources in the store: what no longer finds them.

use crate::authority::resources::Finding;
use crate::authority::resources::ProtectedResource;
use crate::authority::resources::RESOURCES;
use crate::authority::resources::ResourceMetadata;
use crate::authority::resources::findings;
use crate::authority::store::Store;
use crate::cli::doctor::fault::Fault;
use crate::cli::doctor::report::Report;

/// The name of the check.
pub(in crate::cli::doctor) const CHECK: &str = "resource";

/// Checks the resources in an open store.
pub(in crate::cli::doctor) async fn check(store: &dyn Store, report: &mut Report) {
    let listing = match store.list(RESOURCES).await {
        Ok(listing) => listing,
        Err(error) => return report.not_checked(CHECK, "", format!("the resources cannot be read: {error}")),
    };
    // A record that cannot be read stops the start of a server, which names it.
    let read = listing.entries.iter().filter_map(|(_, stored)| ProtectedResource::from_bytes(&stored.value));
    let resources: Vec<ResourceMetadata> = read.map(|resource| resource.metadata).collect();
    let found = findings(&resources.iter().collect::<Vec<_>>());
    if found.is_empty() {
        report.ok(CHECK, "", "a request finds each by its place alone");
    }
    for finding in found {
        match finding {
            Finding::SharedAuthority { authority, audiences } => {
                let problem = format!("{} have it: requests are denied where it decides", audiences.join(" and "));
                report.fault(CHECK, authority, Fault::ResourceAuthorityShared, problem);
            }
            Finding::NotByHost { audience } => {
                let problem = "it has authorities and destination_principals: its host alone does not find it";
                report.fault(CHECK, audience, Fault::ResourceNotFoundByHost, problem);
            }
        }
    }
}

/// Reports that the store cannot be looked into. A running server knows what is in its store.
pub(in crate::cli::doctor) fn not_checked(why: &str, is_running: bool, report: &mut Report) {
    let instead = if is_running { ": `lanyard resource list` reports what would be found" } else { "" };
    report.not_checked(CHECK, "", format!("{why}{instead}"));
}
