//! The store of an edge: what a server of the centre sends over `SnapshotService.WatchSnapshot`. It is only read.
//!
//! A listing and the changes after it come over one stream. When that breaks, another one from any server of the centre goes
//! on at the revision that was reached.

mod config;
mod following;
mod listing;
mod opening;
mod queue;
mod reports;
mod upstreams;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::task::Poll;
use std::task::ready;
use std::time::Duration;

use futures_core::Stream;
use tokio::sync::Mutex;
use tokio::sync::mpsc;
use tokio::sync::watch;
use tonic::transport::Uri;

use crate::authority::clock::Clock;
use crate::authority::clock::Entropy;
use crate::authority::store::Batch;
use crate::authority::store::KeyRevisions;
use crate::authority::store::Listing;
use crate::authority::store::ListingPart;
use crate::authority::store::Revision;
use crate::authority::store::Store;
use crate::authority::store::StoreError;
use crate::authority::store::StoreFuture;
use crate::authority::store::Transaction;
use crate::authority::store::Versioned;
use crate::authority::store::Watch;
use crate::store::peer::TlsSource;
pub use crate::store::upstream::config::UpstreamConfig;
use crate::store::upstream::following::Following;
use crate::store::upstream::listing::Held;
use crate::store::upstream::queue::News;
use crate::store::upstream::queue::Queued;
use crate::store::upstream::queue::queue;
pub use crate::store::upstream::reports::DecisionReports;
use crate::store::upstream::upstreams::Upstreams;

/// An endpoint is not a URL.
#[derive(Debug, thiserror::Error)]
#[error("store.upstream.endpoints: {0:?} is not a URL")]
pub struct InvalidEndpoint(String);

/// A store that follows the centre. Dropping it ends its streams.
#[derive(Debug)]
pub struct UpstreamStore {
    upstreams: Arc<Upstreams>,
    delivered: Arc<Delivered>,
    /// A listing that is not read whole yet, or not followed.
    held: Mutex<Option<Held>>,
    open: watch::Sender<()>,
}

/// The moment up to which what was delivered contains every change, in nanoseconds of the clock's `elapsed`.
#[derive(Debug, Default)]
struct Delivered(AtomicU64);

impl Delivered {
    fn get(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Acquire))
    }

    /// Also of an earlier moment: what is listed begins anew.
    fn set(&self, moment: Duration) {
        self.0.store(nanoseconds(moment), Ordering::Release);
    }

    /// What was delivered up to a later moment stays so.
    fn reach(&self, moment: Duration) {
        self.0.fetch_max(nanoseconds(moment), Ordering::AcqRel);
    }
}

fn nanoseconds(moment: Duration) -> u64 {
    u64::try_from(moment.as_nanos()).unwrap_or(u64::MAX)
}

impl UpstreamStore {
    /// A store that connects when it is first read. The present runtime drives its connections. `issuer` is whose records it
    /// takes.
    ///
    /// # Errors
    /// An endpoint is not a URL.
    pub fn open(
        config: &UpstreamConfig,
        tls: Option<TlsSource>,
        issuer: &str,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, InvalidEndpoint> {
        let uri = |text: &String| text.parse::<Uri>().map_err(|_| InvalidEndpoint(text.clone()));
        let endpoints = config.endpoints.iter().map(uri).collect::<Result<_, _>>()?;
        let upstreams = Arc::new(Upstreams::new(endpoints, tls, issuer.to_owned(), clock, entropy));
        Ok(Self { upstreams, delivered: Arc::default(), held: Mutex::default(), open: watch::Sender::new(()) })
    }

    /// The way of reports to the upstream that is followed.
    pub fn reports(&self) -> Arc<DecisionReports> {
        Arc::clone(&self.upstreams.reports)
    }

    /// Follows the upstreams from this revision, or from the beginning.
    fn follow(&self, reached: Option<Revision>) -> mpsc::Receiver<Queued> {
        let (queue, news) = queue();
        let following =
            Following { upstreams: Arc::clone(&self.upstreams), reached, queue, store: self.open.subscribe() };
        drop(self.upstreams.home.spawn(following.run()));
        news
    }

    async fn part(&self, prefix: &str, after: &str, limit: usize) -> Result<ListingPart, StoreError> {
        let mut held = self.held.lock().await;
        if !held.as_ref().is_some_and(|held| held.goes_on_with(prefix, after)) {
            // What is left of the one before is not needed while the next one arrives.
            *held = None;
            let received = Held::receive(self.follow(None)).await?;
            self.delivered.set(received.until);
            *held = Some(received);
        }
        let held = held.as_mut().ok_or_else(|| StoreError::Unavailable("nothing is listed".to_owned()))?;
        Ok(held.take(prefix, after, limit))
    }
}

/// What an edge answers whoever asks its store for more than it follows.
fn only_followed<T: Send>() -> StoreFuture<'static, T> {
    let cause = "an edge changes nothing and reads nothing besides what it follows: ask the centre";
    Box::pin(async move { Err(StoreError::Unavailable(cause.to_owned())) })
}

impl Store for UpstreamStore {
    fn get<'a>(&'a self, _: &'a str) -> StoreFuture<'a, Option<Versioned<Arc<[u8]>>>> {
        only_followed()
    }

    fn list<'a>(&'a self, prefix: &'a str) -> StoreFuture<'a, Listing> {
        Box::pin(async move { Ok(self.part(prefix, "", usize::MAX).await?.listing) })
    }

    fn list_part<'a>(&'a self, prefix: &'a str, after: &'a str, limit: usize) -> StoreFuture<'a, ListingPart> {
        Box::pin(self.part(prefix, after, limit))
    }

    fn key_revisions<'a>(&'a self, _: &'a str, _: usize) -> StoreFuture<'a, KeyRevisions> {
        only_followed()
    }

    fn transact(&self, _: Transaction) -> StoreFuture<'_, Revision> {
        only_followed()
    }

    /// An edge watches everything that it is sent.
    fn watch(&self, prefix: &str, from: Revision) -> Watch {
        let held = self.held.try_lock().ok().and_then(|mut held| held.take());
        let news = match held {
            Some(held) if held.revision == from => held.news,
            Some(_) | None => self.follow(Some(from)),
        };
        Box::pin(Deliveries { news, prefix: prefix.to_owned(), delivered: Arc::clone(&self.delivered) })
    }

    fn delivered_until(&self) -> Option<Duration> {
        Some(self.delivered.get())
    }

    fn health(&self) -> Result<(), StoreError> {
        self.upstreams.health()
    }
}

/// The watch of a reader.
struct Deliveries {
    news: mpsc::Receiver<Queued>,
    prefix: String,
    delivered: Arc<Delivered>,
}

impl Stream for Deliveries {
    type Item = Result<Batch, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            match ready!(self.news.poll_recv(context)).map(|queued| queued.news) {
                Some(News::Batch(mut batch, until)) => {
                    batch.changes.retain(|change| change.key.starts_with(&self.prefix));
                    if let Some(until) = until {
                        self.delivered.reach(until);
                    }
                    return Poll::Ready(Some(Ok(batch)));
                }
                Some(News::Over(error)) => return Poll::Ready(Some(Err(error))),
                // Of a listing, which was received before.
                Some(News::Listed(_) | News::Anew | News::Whole(..)) => {}
                None => return Poll::Ready(None),
            }
        }
    }
}
