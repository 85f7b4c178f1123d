//! The registrations in the store that will not work.

use serde::Deserialize;

use crate::authority::clock::Timestamp;
use crate::authority::registration::CLIENTS;
use crate::authority::registration::ClientMetadata;
use crate::authority::store::Store;
use crate::cli::client::ClientWarning;
use crate::cli::doctor::fault::Fault;
use crate::cli::doctor::report::Report;

const CHECK: &str = "client";

/// What a record of a client has that is looked at.
#[derive(Deserialize)]
pub(in crate::cli::doctor) struct StoredClient {
    pub(in crate::cli::doctor) metadata: ClientMetadata,
}

/// Checks the clients in an open copy of the store.
pub(in crate::cli::doctor) async fn check(store: &dyn Store, now: Timestamp, report: &mut Report) {
    let Ok(listing) = store.list(CLIENTS).await else {
        return report.not_checked(CHECK, "", "the copy of the store cannot be read");
    };
    let before = report.len();
    for (key, stored) in &listing.entries {
        // A record that cannot be read is the server's to report.
        let Ok(StoredClient { metadata }) = serde_json::from_slice(&stored.value) else { continue };
        for warning in ClientWarning::about(&metadata, now) {
            let fault = match warning {
                ClientWarning::CertificateExpired(_) => Fault::ClientCertificateExpired,
                ClientWarning::SubjectOrder(_) => Fault::ClientSubjectOrder,
            };
            report.fault(CHECK, key.strip_prefix(CLIENTS).unwrap_or(key), fault, warning.to_string());
        }
    }
    if report.len() == before {
        report.ok(CHECK, "", "no client has an expired certificate, or a subject in the wrong order");
    }
}
