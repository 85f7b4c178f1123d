//! What an edge starts with: what a server of the centre sends it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio::time::sleep;

use crate::authority::Authority;
use crate::authority::state::LoadError;
use crate::authority::store::Revision;
use crate::server::error::StartError;

/// How long a start waits for its first listing.
const FIRST_LISTING: Duration = Duration::from_mins(1);

/// How long to wait before the next attempt. The store spreads them further.
const PAUSE: Duration = Duration::from_millis(500);

/// Loads what the centre sends, from the first server that does.
pub(super) async fn first_listing(authority: &Arc<Authority>) -> Result<Revision, StartError> {
    let end = Instant::now() + FIRST_LISTING;
    let mut is_waiting = false;
    loop {
        match authority.load().await {
            Ok(loaded) => {
                tracing::info!(revision = loaded.0, "this edge decides by what the centre has sent");
                return Ok(loaded);
            }
            Err(error @ LoadError::Store(_)) if Instant::now() < end => {
                if !std::mem::replace(&mut is_waiting, true) {
                    let longest = FIRST_LISTING;
                    tracing::warn!(%error, ?longest, "no server of the centre sends what this edge decides by: the start waits");
                }
            }
            Err(error @ LoadError::Store(_)) => return Err(StartError::NothingListed(error)),
            Err(error @ (LoadError::WentBack { .. } | LoadError::Record { .. })) => return Err(error.into()),
        }
        sleep(PAUSE).await;
    }
}
