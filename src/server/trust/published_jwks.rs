//! Fetches periodically the certificates that clients publish at their `jwks_uri`.

use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::authority::Authority;
use crate::authority::clock::Clock;
use crate::authority::registration::AllowedHosts;
use crate::server::stage::Stage;
use crate::server::supervised;
use crate::tls::outbound;
use crate::tls::outbound::OutboundError;
use crate::trust_sources::https::GuardedClient;
use crate::trust_sources::jwks_uri;
use crate::trust_sources::jwks_uri::Poller;
use crate::trust_sources::network::SystemNetwork;

/// Runs for as long as the server runs.
pub(in crate::server) fn start(
    tasks: &mut JoinSet<()>,
    authority: &Arc<Authority>,
    poller: &Arc<Poller>,
    interval: Duration,
    stages: watch::Receiver<Stage>,
) {
    let poller = Arc::clone(poller);
    supervised::spawn(tasks, authority, "poller", move || run(Arc::clone(&poller), interval, stages.clone()));
}

/// Fetches at once, and then `interval` after each round.
async fn run(poller: Arc<Poller>, interval: Duration, mut stages: watch::Receiver<Stage>) {
    let rounds = async {
        loop {
            poller.poll().await;
            tokio::time::sleep(interval).await;
        }
    };
    tokio::select! {
        () = rounds => {}
        _ = stages.wait_for(|stage| *stage == Stage::Draining) => {}
    }
}

/// The client that fetches from the configured hosts; `None` where none are configured.
pub(in crate::server) fn client(
    config: &jwks_uri::Config,
    allowed_hosts: &AllowedHosts,
    provider: &Arc<CryptoProvider>,
    clock: &Arc<dyn Clock>,
) -> Result<Option<Arc<GuardedClient>>, OutboundError> {
    if allowed_hosts.is_empty() {
        return Ok(None);
    }
    let tls = outbound::config(config.ca.as_deref(), Arc::clone(provider), Arc::clone(clock))?;
    Ok(Some(Arc::new(GuardedClient {
        tls: Arc::new(tls),
        allowed_hosts: allowed_hosts.clone(),
        allow_private_addresses: config.allow_private_addresses,
        timeout: config.timeout,
        network: Arc::new(SystemNetwork),
    })))
}
