//! The registrations in the store that are valid, but should be changed.

use crate::authority::keys::KeySealer;
use crate::authority::registration::CLIENTS;
use crate::authority::state::Entry;
use crate::authority::store::Store;
use crate::cli::doctor::fault::Fault;
use crate::cli::doctor::report::Report;
use crate::config::Config;

const CHECK: &str = "registrations";

/// Checks the clients in a store.
pub(in crate::cli::doctor) async fn check(store: &dyn Store, sealer: &KeySealer, config: &Config, report: &mut Report) {
    if config.trust.client_cas.len() < 2 {
        return;
    }
    let listing = match store.list(CLIENTS).await {
        Ok(listing) => listing,
        Err(error) => return report.not_checked(CHECK, "", format!("the clients cannot be read: {error}")),
    };
    let before = report.len();
    for (key, stored) in &listing.entries {
        match Entry::read(key, &stored.value, stored.revision, sealer) {
            Ok(Some(Entry::Client(client))) if client.registration.takes_any_client_ca() => {
                let problem = "it names no client_ca, so that every configured client CA may issue its certificates";
                report.fault(CHECK, client.registration.client_id.as_str(), Fault::ClientCaNotNamed, problem);
            }
            // A server names a record that cannot be read, and does not start from it or suspends it.
            Ok(_) | Err(_) => {}
        }
    }
    if report.len() == before {
        report.ok(CHECK, "", "each tls_client_auth client names its client CA");
    }
}

/// Says that the clients of a running server are not looked at.
pub(in crate::cli::doctor) fn check_running(config: &Config, report: &mut Report) {
    if config.trust.client_cas.len() > 1 {
        report.not_checked(CHECK, "", "a running server has the store open: `lanyard client list` shows the same");
    }
}
