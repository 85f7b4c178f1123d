//! The audit trail's regular work.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::authority::Authority;
use crate::authority::observe::FoldedRefusals;
use crate::server::supervised;

/// Records the numbers of folded refusals each second.
pub(super) fn start(tasks: &mut JoinSet<()>, authority: &Arc<Authority>, audit: &Arc<FoldedRefusals>) {
    let audit = Arc::clone(audit);
    supervised::spawn(tasks, authority, "audit", move || {
        let audit = Arc::clone(&audit);
        async move {
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                audit.tick();
            }
        }
    });
}
