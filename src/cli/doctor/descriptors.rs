//! The limit of file descriptors.

use crate::cli::doctor::fault::Fault;
use crate::cli::doctor::report::Report;
use crate::config::Config;
use crate::server::FurtherListeners;
use crate::server::PermittedConnections;
use crate::server::reachable_descriptors;

const CHECK: &str = "descriptors";
const SUBJECT: &str = "tls.max_connections";

/// Compares it with the connections that the configuration allows. The server raises its limit to what is found here, if
/// it is started in the same way.
pub(in crate::cli::doctor) fn check(config: &Config, report: &mut Report) {
    let (wanted, further) = (config.tls.max_connections, FurtherListeners::of(config));
    let limit = reachable_descriptors();
    match PermittedConnections::expected(limit, wanted, further).falls_short(wanted, further) {
        None => report.ok(CHECK, SUBJECT, format!("the limit of file descriptors permits {wanted} connections")),
        Some((listener, permitted)) => {
            let problem = format!(
                "the limit of {limit} file descriptors permits {permitted} connections on the {listener} listener, not {wanted}"
            );
            report.fault(CHECK, SUBJECT, Fault::DescriptorsFew, problem);
        }
    }
}
