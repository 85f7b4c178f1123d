//! Fetches the JWK sets that clients publish: at each interval, and when a client presents an unknown certificate.

use std::collections::HashMap;
use std::collections::HashSet;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::Weak;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::Semaphore;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::authority::Authority;
use crate::authority::clock::Timestamp;
use crate::authority::state::JwksSource;
use crate::authority::state::PublishingClient;
use crate::trace_context;
use crate::trust_sources::https::GuardedClient;

/// The maximum number of concurrent fetches.
const MAX_FETCHES: usize = 16;

/// How long a request waits for a fetch, whatever the fetch's own timeout.
const MAX_WAIT: Duration = Duration::from_secs(2);

/// The minimum time between two lookups for one client: any stranger can cause one.
const LOOK_INTERVAL: Duration = Duration::from_secs(30);

/// How published JWK sets are fetched.
#[derive(Clone, Debug)]
pub struct Config {
    /// The CAs that are trusted for the publishing servers, PEM; `None`: the machine's.
    pub ca: Option<PathBuf>,
    /// Whether the servers' addresses may be private.
    pub allow_private_addresses: bool,
    /// The interval between two fetches of a document.
    pub poll: Duration,
    /// The timeout of one fetch.
    pub timeout: Duration,
}

/// Fetches the documents of all clients that publish one.
#[derive(Debug)]
pub struct Poller {
    authority: Arc<Authority>,
    client: Arc<GuardedClient>,
    fetches: Arc<Semaphore>,
    /// The clients that were fetched from, or tried, since there was last a valid document of theirs.
    tried: Mutex<HashSet<PublishingClient>>,
}

impl Poller {
    /// Fetches with `client` and stores the results in `authority`.
    pub fn new(authority: Arc<Authority>, client: Arc<GuardedClient>) -> Self {
        Self { authority, client, fetches: Arc::new(Semaphore::new(MAX_FETCHES)), tried: Mutex::default() }
    }

    /// Fetches each document once.
    pub async fn poll(&self) {
        let clients = self.authority.publishing_clients();
        *self.tried() = clients.iter().cloned().collect();
        self.fetch_all(clients).await;
    }

    /// Fetches the documents of clients without a valid one, where that was not tried already: those that were registered
    /// or changed, at whichever replica.
    pub async fn poll_new(&self) {
        let without: HashSet<_> = self.authority.clients_without_published_jwks().into_iter().collect();
        let new = {
            let mut tried = self.tried();
            tried.retain(|client| without.contains(client));
            let new: Vec<_> = without.into_iter().filter(|client| !tried.contains(client)).collect();
            tried.extend(new.iter().cloned());
            new
        };
        self.fetch_all(new).await;
    }

    async fn fetch_all(&self, clients: Vec<PublishingClient>) {
        let mut fetches = JoinSet::new();
        for publishing in clients {
            let Ok(turn) = Arc::clone(&self.fetches).acquire_owned().await else { return };
            let (authority, client) = (Arc::clone(&self.authority), Arc::clone(&self.client));
            fetches.spawn(async move {
                fetch(&authority, &client, &publishing, || ()).await;
                drop(turn);
            });
            while fetches.try_join_next().is_some() {}
        }
        while fetches.join_next().await.is_some() {}
    }

    fn tried(&self) -> MutexGuard<'_, HashSet<PublishingClient>> {
        self.tried.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Fetches a client's document when an unknown certificate is presented in its name.
#[derive(Debug)]
pub struct Discovery {
    /// Weak, since the authority owns this value.
    authority: Weak<Authority>,
    client: Arc<GuardedClient>,
    looks: Mutex<HashMap<PublishingClient, Look>>,
}

/// A fetch, running or done.
#[derive(Debug)]
struct Look {
    at: Timestamp,
    over: watch::Receiver<bool>,
}

impl Discovery {
    /// Fetches with `client` and stores the results in `authority`.
    pub fn new(authority: &Arc<Authority>, client: Arc<GuardedClient>) -> Self {
        Self { authority: Arc::downgrade(authority), client, looks: Mutex::default() }
    }

    /// The last lookup for this client, or a new one if that is older than [`LOOK_INTERVAL`].
    fn last_look(&self, publishing: &PublishingClient) -> Option<watch::Receiver<bool>> {
        let authority = self.authority.upgrade()?;
        let now = authority.clock().now();
        let mut looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        looks.retain(|_, look| look.at <= now && look.at.until(now) < LOOK_INTERVAL);
        if let Some(look) = looks.get(publishing) {
            return Some(look.over.clone());
        }
        let (done, over) = watch::channel(false);
        looks.insert(publishing.clone(), Look { at: now, over: over.clone() });
        let (client, publishing) = (Arc::clone(&self.client), publishing.clone());
        // In a task of its own, so that it continues when the waiting request is dropped. Nobody waits for the store: the look
        // is over when the document is in effect, or when `done` is dropped with the task.
        tokio::spawn(trace_context::detached(async move {
            let taken = || {
                done.send_replace(true);
            };
            fetch(&authority, &client, &publishing, taken).await;
        }));
        Some(over)
    }
}

impl JwksSource for Discovery {
    fn look(&self, client: &PublishingClient) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let over = self.last_look(client);
        Box::pin(async move {
            if let Some(mut over) = over {
                drop(tokio::time::timeout(MAX_WAIT, over.wait_for(|over| *over)).await);
            }
        })
    }
}

/// Fetches one document, tells `taken` when it is in effect, and stores it. If that fails, or panics, the last valid document
/// stays in effect and the failure is logged.
async fn fetch(authority: &Authority, client: &GuardedClient, publishing: &PublishingClient, taken: impl FnOnce()) {
    if AssertUnwindSafe(fetch_once(authority, client, publishing, taken)).catch_unwind().await.is_err() {
        authority.metrics().panicked();
    }
}

async fn fetch_once(
    authority: &Authority,
    client: &GuardedClient,
    publishing: &PublishingClient,
    taken: impl FnOnce(),
) {
    // The age is counted from before the request, so that a document is never in effect for longer than it should.
    let requested_at = authority.clock().now();
    let (client_id, uri) = (publishing.client_id.as_str(), publishing.uri.as_str());
    match client.get(&publishing.uri).await {
        Ok(document) => match authority.store_published_jwks(publishing, &document, requested_at, taken).await {
            Ok(Some(published)) if !published.skipped.0.is_empty() => {
                let (used, skipped, keys) =
                    (published.certificates.len(), published.skipped.0.len(), &published.skipped);
                tracing::warn!(client_id, uri, used, skipped, %keys, "keys that a client publishes are skipped");
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(client_id, uri, %error, "the JWK set that a client publishes is invalid");
            }
        },
        Err(error) => {
            tracing::warn!(client_id, uri, %error, "the JWK set that a client publishes cannot be fetched");
        }
    }
}
