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
use crate::server::stage::until_draining;
use crate::server::supervised;
use crate::tls::outbound;
use crate::tls::outbound::OutboundError;
use crate::trust_sources::https::GuardedClient;
use crate::trust_sources::jwks_uri;
use crate::trust_sources::jwks_uri::Poller;
use crate::trust_sources::network::SystemNetwork;

/// How often it is looked for changed registrations, and whether this replica leads.
const CHANGES_INTERVAL: Duration = Duration::from_secs(1);

/// Runs for as long as the server runs.
pub(in crate::server) fn start(
    tasks: &mut JoinSet<()>,
    authority: &Arc<Authority>,
    poller: &Arc<Poller>,
    interval: Duration,
    stages: watch::Receiver<Stage>,
) {
    let (core, rounds, ended) = (Arc::clone(authority), Arc::clone(poller), stages.clone());
    supervised::spawn(tasks, authority, "poller", move || {
        let rounds = run(Arc::clone(&core), Arc::clone(&rounds), interval);
        until_draining(rounds, ended.clone())
    });
    let (core, poller) = (Arc::clone(authority), Arc::clone(poller));
    supervised::spawn(tasks, authority, "poller", move || {
        let changes = follow_changes(Arc::clone(&core), Arc::clone(&poller));
        until_draining(changes, stages.clone())
    });
}

/// Fetches at once, and then `interval` after each round. Of several replicas the leader does it for all.
async fn run(authority: Arc<Authority>, poller: Arc<Poller>, interval: Duration) {
    loop {
        if authority.leads() {
            poller.poll().await;
            tokio::time::sleep(interval).await;
        } else {
            tokio::time::sleep(CHANGES_INTERVAL).await;
        }
    }
}

/// Fetches what a client publishes soon after it was registered or changed, at whichever replica, and beside the rounds: a
/// round lasts as long as endpoints take that do not answer.
async fn follow_changes(authority: Arc<Authority>, poller: Arc<Poller>) {
    loop {
        tokio::time::sleep(CHANGES_INTERVAL).await;
        authority.published_jwks_follow_clock();
        if authority.leads() {
            poller.poll_new().await;
        }
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
