//! Follows the keys that trusted issuers publish at their `jwks_uri`: one replica fetches them for all, and a restart starts
//! with what is stored.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use hyper::body::Bytes;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::authority::Authority;
use crate::authority::clock::Timestamp;
use crate::authority::registration::JwksUri;
use crate::authority::state::FetchedBundle;
use crate::authority::state::StoredBundle;
use crate::authority::trust::BundleDocument;
use crate::authority::trust::IssuerKeys;
use crate::authority::trust::JwtAuthorities;
use crate::authority::trust::TrustBundles;
use crate::authority::trust::TrustedIssuer;
use crate::server::stage::Stage;
use crate::server::stage::until_draining;
use crate::server::supervised;
use crate::server::trust::feeds::Feeds;
use crate::server::trust::feeds::Source;
use crate::server::trust::stored;
use crate::server::trust::stored::LastSeen;
use crate::trust_sources::https::GuardedClient;

/// How often it is looked for what another replica fetched, and whether this replica leads.
const CHANGES_INTERVAL: Duration = Duration::from_secs(1);

/// All trusted issuers that publish their keys. Until the keys of one are known, its assertions are refused.
#[derive(Debug)]
pub(in crate::server) struct TrustedIssuers {
    issuers: Vec<Published>,
    /// Fetches from the allowed hosts alone; `None` where none are allowed, and no issuer publishes.
    client: Option<Arc<GuardedClient>>,
    authority: Arc<Authority>,
    feeds: Arc<Feeds>,
    turn: Mutex<()>,
}

/// An issuer, and what is known of its keys.
#[derive(Debug)]
struct Published {
    trusted: Arc<TrustedIssuer>,
    uri: JwksUri,
    /// The digest of issuer and URL: what was fetched under another configuration is not taken from the store.
    source: String,
    current: Mutex<Current>,
    seen: LastSeen,
}

/// The last valid keys.
#[derive(Debug, Default)]
struct Current {
    keys: JwtAuthorities,
    /// When they were requested; `None` where none are known, or they no longer count.
    requested_at: Option<Timestamp>,
}

impl Published {
    fn new((trusted, uri): (Arc<TrustedIssuer>, JwksUri)) -> Self {
        let source = stored::source(&[&trusted.issuer, uri.as_str()], &[]);
        Self { trusted, uri, source, current: Mutex::default(), seen: LastSeen::default() }
    }

    /// The name of its record. No trust domain has a colon.
    fn record_name(&self) -> String {
        format!("issuer:{}", self.trusted.name)
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a document, unless the present one was requested later. Returns whether it was taken.
    fn take(&self, document: &BundleDocument, requested_at: Timestamp) -> bool {
        let mut current = self.current();
        if current.requested_at.is_some_and(|present| present > requested_at) {
            return false;
        }
        if current.keys != document.signing {
            let (issuer, keys) = (self.trusted.name.as_str(), document.signing.all().count());
            tracing::info!(issuer, keys, "the keys of a trusted issuer were replaced");
        }
        *current = Current { keys: document.signing.clone(), requested_at: Some(requested_at) };
        true
    }

    /// Takes what the store has, where that is new. Returns whether the keys may have changed.
    fn adopt(&self, authority: &Authority) -> bool {
        match self.seen.look(authority, &self.record_name()) {
            // What is in effect ends by its own time.
            None | Some(StoredBundle::Absent) => false,
            Some(StoredBundle::Fetched(fetched, _)) => {
                // A clock that is ahead does not lengthen its validity.
                let requested_at = fetched.fetched_at.min(authority.clock().now());
                fetched.source == self.source && self.take(&fetched.document, requested_at)
            }
            Some(StoredBundle::Unreadable(_)) => {
                // What it says may be that a key is withdrawn.
                self.current().requested_at = None;
                true
            }
        }
    }
}

impl TrustedIssuers {
    pub(in crate::server) fn open(
        issuers: Vec<(Arc<TrustedIssuer>, JwksUri)>,
        client: Option<Arc<GuardedClient>>,
        authority: &Arc<Authority>,
        feeds: Arc<Feeds>,
    ) -> Self {
        let issuers = issuers.into_iter().map(Published::new).collect();
        let opened = Self { issuers, client, authority: Arc::clone(authority), feeds, turn: Mutex::default() };
        opened.publish();
        opened
    }

    /// Fetches at once, and then `interval` after each round. Of several replicas the leader does it for all.
    pub(in crate::server) fn start(
        self: &Arc<Self>,
        tasks: &mut JoinSet<()>,
        interval: Duration,
        stages: &watch::Receiver<Stage>,
    ) {
        if self.issuers.is_empty() {
            return;
        }
        let (issuers, ended) = (Arc::clone(self), stages.clone());
        supervised::spawn(tasks, &self.authority, "trusted_issuers", move || {
            let issuers = Arc::clone(&issuers);
            until_draining(async move { issuers.fetch(interval).await }, ended.clone())
        });
        let (issuers, ended) = (Arc::clone(self), stages.clone());
        supervised::spawn(tasks, &self.authority, "trusted_issuers", move || {
            let issuers = Arc::clone(&issuers);
            until_draining(async move { issuers.follow_store().await }, ended.clone())
        });
    }

    async fn fetch(&self, interval: Duration) {
        loop {
            if self.authority.leads() {
                self.refresh_all().await;
                tokio::time::sleep(interval).await;
            } else {
                tokio::time::sleep(CHANGES_INTERVAL).await;
            }
        }
    }

    async fn follow_store(&self) {
        loop {
            self.adopt_stored();
            tokio::time::sleep(CHANGES_INTERVAL).await;
        }
    }

    /// Takes what the store has of each issuer.
    pub(in crate::server) fn adopt_stored(&self) {
        let now = self.authority.clock().now();
        let mut changed = false;
        for issuer in &self.issuers {
            // A clock that was ahead has been set back: what was requested later than now was requested now.
            let mut current = issuer.current();
            if let Some(requested_at) = current.requested_at.as_mut().filter(|requested_at| **requested_at > now) {
                *requested_at = now;
                changed = true;
            }
            drop(current);
            changed |= issuer.adopt(&self.authority);
        }
        if changed {
            self.publish();
        }
    }

    /// Fetches the keys of each issuer once.
    pub(in crate::server) async fn refresh_all(&self) {
        let Some(client) = &self.client else { return };
        for issuer in &self.issuers {
            self.refresh(issuer, client).await;
        }
    }

    async fn refresh(&self, issuer: &Published, client: &GuardedClient) {
        let name = issuer.trusted.name.as_str();
        if self.authority.is_bundle_suspended(&issuer.record_name()) {
            return;
        }
        // The age is counted from before the request, so that keys are never in effect for longer than they should.
        let requested_at = self.authority.clock().now();
        let text = match client.get(&issuer.uri).await {
            Ok(text) => text,
            Err(error) => {
                tracing::warn!(issuer = name, %error, "the keys of a trusted issuer cannot be fetched");
                return;
            }
        };
        match BundleDocument::parse(&text) {
            Ok(document) => {
                let taken = issuer.take(&document, requested_at);
                self.publish();
                if taken {
                    self.store(issuer, document, &text, requested_at).await;
                }
            }
            Err(error) => {
                tracing::warn!(issuer = name, %error, "what a trusted issuer publishes is no JWK Set");
            }
        }
    }

    /// Stores a document for the other replicas, and for a restart. It counts here also where the store takes no writes.
    async fn store(&self, issuer: &Published, document: BundleDocument, text: &Bytes, requested_at: Timestamp) {
        let keep = self.authority.policy().jwks_uri.keep;
        let fetched = FetchedBundle {
            bundle_endpoint: issuer.uri.as_str().to_owned(),
            source: issuer.source.clone(),
            document,
            fetched_at: requested_at,
            keep_until: requested_at.after(keep),
            stored: Box::default(),
        };
        let name = issuer.record_name();
        if let Err(error) = self.authority.store_fetched_bundle(&name, fetched, text, keep).await {
            tracing::warn!(issuer = issuer.trusted.name, %error, "the keys of a trusted issuer could not be stored");
        }
    }

    fn publish(&self) {
        // The lock keeps the order: keys that are collected first are published first.
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let keep = self.authority.policy().jwks_uri.keep;
        let issuers = self.issuers.iter().map(|issuer| {
            let mut current = issuer.current();
            // A fetch that was under way when the record of a newer schema came ends after it.
            if self.authority.is_bundle_suspended(&issuer.record_name()) {
                current.requested_at = None;
            }
            let confirmed = current.requested_at;
            let keys = confirmed.map(|_| current.keys.clone()).unwrap_or_default();
            let good_until = confirmed.map(|confirmed| confirmed.after(keep));
            let keys = IssuerKeys { trusted: Arc::clone(&issuer.trusted), keys, confirmed, good_until };
            (issuer.trusted.issuer.clone(), keys)
        });
        let issuers: BTreeMap<_, _> = issuers.collect();
        self.feeds.set(Source::TrustedIssuers, TrustBundles { issuers, ..TrustBundles::default() });
    }
}
