//! Fetches, every so often, the certificates that clients publish at their `jwks_uri`.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::server::Stage;
use crate::trust::jwks_uri::Poller;

/// Fetches at once, and then at each `interval` after a round is done.
pub(super) async fn run(poller: Arc<Poller>, interval: Duration, mut stages: watch::Receiver<Stage>) {
    let rounds = async {
        loop {
            poller.poll().await;
            tokio::time::sleep(interval).await;
        }
    };
    tokio::select! {
        () = rounds => {}
        _ = stages.wait_for(|stage| *stage != Stage::Serving) => {}
    }
}
