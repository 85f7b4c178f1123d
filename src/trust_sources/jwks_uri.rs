//! The certificates that clients publish, fetched every so often, and when one is asked for that is not known.

use std::collections::HashMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::Weak;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::Semaphore;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::authority::Authority;
use crate::authority::clock::Timestamp;
use crate::authority::registration::ClientId;
use crate::authority::registration::JwksUri;
use crate::authority::state::JwksSource;
use crate::trace_context;
use crate::trust_sources::https::GuardedClient;

/// How many documents are fetched at a time.
const MAX_FETCHES: usize = 16;

/// How long a request waits for a fetch, whatever one may take.
const MAX_WAIT: Duration = Duration::from_secs(2);

/// For how long after one look for a client's certificates there is no other: strangers can ask for them.
const LOOK_INTERVAL: Duration = Duration::from_secs(30);

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

/// Looks for a client's certificates when somebody shows one that is not known.
#[derive(Debug)]
pub struct Discovery {
    /// Weak, since the authority holds what it looks by.
    authority: Weak<Authority>,
    client: Arc<GuardedClient>,
    looks: Mutex<HashMap<(ClientId, JwksUri), Look>>,
}

/// A fetch, under way or over.
#[derive(Debug)]
struct Look {
    at: Timestamp,
    over: watch::Receiver<bool>,
}

impl Discovery {
    /// Asks by `client`, and tells `authority`.
    pub fn new(authority: &Arc<Authority>, client: Arc<GuardedClient>) -> Self {
        Self { authority: Arc::downgrade(authority), client, looks: Mutex::default() }
    }

    /// The last look for this client, or a new one where that is too long ago.
    fn last_look(&self, client_id: &ClientId, uri: &JwksUri) -> Option<watch::Receiver<bool>> {
        let authority = self.authority.upgrade()?;
        let now = authority.clock().now();
        let mut looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        looks.retain(|_, look| look.at <= now && look.at.until(now) < LOOK_INTERVAL);
        let key = (client_id.clone(), uri.clone());
        if let Some(look) = looks.get(&key) {
            return Some(look.over.clone());
        }
        let (done, over) = watch::channel(false);
        looks.insert(key, Look { at: now, over: over.clone() });
        let (client, client_id, uri) = (Arc::clone(&self.client), client_id.clone(), uri.clone());
        // By itself, so that it goes on when the one who waits for it leaves.
        tokio::spawn(trace_context::detached(async move {
            fetch(&authority, &client, client_id.as_str(), &uri).await;
            done.send_replace(true);
        }));
        Some(over)
    }
}

impl JwksSource for Discovery {
    fn look(&self, client_id: &ClientId, uri: &JwksUri) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let over = self.last_look(client_id, uri);
        Box::pin(async move {
            if let Some(mut over) = over {
                drop(tokio::time::timeout(MAX_WAIT, over.wait_for(|over| *over)).await);
            }
        })
    }
}

/// Fetches one document. What goes wrong leaves the last good one in its place, and is said in the log; a panic too.
async fn fetch(authority: &Authority, client: &GuardedClient, client_id: &str, uri: &JwksUri) {
    if AssertUnwindSafe(fetch_once(authority, client, client_id, uri)).catch_unwind().await.is_err() {
        authority.metrics().panicked();
    }
}

async fn fetch_once(authority: &Authority, client: &GuardedClient, client_id: &str, uri: &JwksUri) {
    // From when it was asked for, so that it never counts for longer than it should.
    let asked_at = authority.clock().now();
    match client.get(uri).await {
        Ok(document) => {
            if let Err(error) = authority.store_published_jwks(client_id, uri, &document, asked_at) {
                tracing::warn!(client_id, uri = uri.as_str(), %error, "what a client publishes is of no use");
            }
        }
        Err(error) => tracing::warn!(client_id, uri = uri.as_str(), %error, "what a client publishes cannot be had"),
    }
}
