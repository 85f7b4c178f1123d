//! Exports what the store holds.

use crate::authority::Authority;
use crate::authority::backup::Export;
use crate::authority::observe::AuditEvent;
use crate::authority::observe::AuditOutcome;
use crate::authority::observe::AuditRecord;
use crate::authority::observe::Severity;
use crate::authority::state::Caller;
use crate::authority::store::StoreError;

impl Authority {
    /// Everything that the store holds, at one revision, for an admin. The values are shared with the store, not copied.
    pub async fn export_store(&self, caller: &Caller) -> Result<Export, StoreError> {
        let listing = self.store.list("").await.inspect_err(|error| tracing::error!(%error, "no export was made"))?;
        let sender = caller.sender();
        self.record(AuditEvent::StoreExported, Severity::Info, AuditOutcome::Allowed, |record| AuditRecord {
            actor: Some(caller.identity.to_string()),
            remote: sender.connection.remote.map(|remote| remote.to_string()),
            listener: sender.connection.listener,
            revision: Some(listing.revision.0),
            ..record
        });
        Ok(Export::of(&listing, caller.view.now))
    }
}
