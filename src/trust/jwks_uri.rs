//! The certificates that clients publish, fetched every so often.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::authority::Authority;
use crate::authority::jwks_uri::JwksUri;
use crate::trust::https::GuardedClient;

/// How many documents are fetched at a time.
const MAX_FETCHES: usize = 16;

/// How published certificates are fetched.
#[derive(Clone, Debug)]
pub struct Config {
    /// The CAs that vouch for where they are published, PEM; `None`: the machine's.
    pub ca: Option<PathBuf>,
    /// Whether that may be on this machine or this network.
    pub allow_private_addresses: bool,
    /// How often they are fetched.
    pub poll: Duration,
    /// How long one fetch may take.
    pub timeout: Duration,
}

/// Fetches the documents of all clients that publish one.
#[derive(Debug)]
pub struct Poller {
    authority: Arc<Authority>,
    client: Arc<GuardedClient>,
    fetches: Arc<Semaphore>,
}

impl Poller {
    /// Asks by `client`, and tells `authority`.
    pub fn new(authority: Arc<Authority>, client: Arc<GuardedClient>) -> Self {
        Self { authority, client, fetches: Arc::new(Semaphore::new(MAX_FETCHES)) }
    }

    /// Fetches each document once.
    pub async fn poll(&self) {
        let mut fetches = JoinSet::new();
        for (client_id, uri) in self.authority.client_jwks_uris() {
            let Ok(turn) = Arc::clone(&self.fetches).acquire_owned().await else { return };
            let (authority, client) = (Arc::clone(&self.authority), Arc::clone(&self.client));
            fetches.spawn(async move {
                fetch(&authority, &client, &client_id, &uri).await;
                drop(turn);
            });
            while fetches.try_join_next().is_some() {}
        }
        while fetches.join_next().await.is_some() {}
    }
}

/// Fetches one document. What goes wrong leaves the last good one in its place, and is said in the log.
async fn fetch(authority: &Authority, client: &GuardedClient, client_id: &str, uri: &JwksUri) {
    // From when it was asked for, so that it never counts for longer than it should.
    let asked_at = authority.clock().now();
    match client.get(uri).await {
        Ok(document) => {
            if let Err(error) = authority.take_in_jwks(client_id, uri, &document, asked_at) {
                tracing::warn!(client_id, uri = uri.as_str(), %error, "what a client publishes is of no use");
            }
        }
        Err(error) => tracing::warn!(client_id, uri = uri.as_str(), %error, "what a client publishes cannot be had"),
    }
}
