//! The connection to one of etcd's members, and the way to the next one when it fails.
//!
//! All requests and watches use the same connection. It is replaced as soon as one of them gets no answer in time: a
//! member that hangs, or that is cut off from the others, keeps connections open.

use std::fmt;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio::time::error::Elapsed;
use tokio::time::sleep;
use tokio::time::timeout;
use tokio::time::timeout_at;
use tonic::Request;
use tonic::Response;
use tonic::Status;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::transport::Uri;

use crate::authority::store::Revision;
use crate::authority::store::StoreError;
use crate::store::channel;
use crate::store::channel::root_cause;
use crate::store::etcd::fault::Fault;
use crate::store::etcd::health::Health;
use crate::store::etcd::proto::etcdserverpb::RangeRequest;
use crate::store::etcd::proto::etcdserverpb::StatusRequest;
use crate::store::etcd::proto::etcdserverpb::kv_client::KvClient;
use crate::store::etcd::proto::etcdserverpb::maintenance_client::MaintenanceClient;
use crate::store::etcd::value::revision;
use crate::store::etcd::version::Version;
use crate::store::peer::TlsSource;

/// The time limit for a TCP connection, its TLS handshake and the member's first answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How long one member may take to answer before another one is asked.
pub(super) const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);

/// How long to wait before a request that was not carried out is sent again.
const PAUSE: Duration = Duration::from_millis(100);

/// The largest answer, in bytes: etcd sends what happened at up to 1,000 revisions in one.
pub(super) const MAX_ANSWER_BYTES: usize = 512 * 1024 * 1024;

/// Whether a request may be sent again where it is unknown whether it was carried out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Repeat {
    /// Doing it twice is like doing it once.
    Always,
    /// Only where it was certainly not carried out.
    IfNotDone,
}

/// A channel to one member.
#[derive(Clone, Debug)]
pub(super) struct Connected {
    pub(super) channel: Channel,
    /// The number of this connection.
    pub(super) number: u64,
}

/// The connection to etcd.
pub(super) struct Connection {
    endpoints: Vec<Uri>,
    tls: Option<TlsSource>,
    timeout: Duration,
    /// A key that may be read: with etcd's roles only those with the store's prefix.
    own_key: Vec<u8>,
    /// The runtime that drives the connections: requests come from serving threads, each with a runtime of its own.
    home: Handle,
    pub(super) health: Health,
    present: Mutex<Present>,
    /// The number of the connection in use, so that watches move with it.
    numbers: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Present {
    channel: Option<Channel>,
    /// The endpoint to try next.
    next: usize,
    /// The cluster that the first connection led to.
    cluster: Option<u64>,
}

impl Connection {
    /// Connects to nothing yet. The present runtime will drive the connections.
    pub(super) fn new(endpoints: Vec<Uri>, tls: Option<TlsSource>, timeout: Duration, own_key: Vec<u8>) -> Self {
        let (health, present, numbers) = (Health::default(), Mutex::default(), watch::Sender::new(0));
        Self { endpoints, tls, timeout, own_key, home: Handle::current(), health, present, numbers }
    }

    /// The runtime that drives the connections.
    pub(super) fn home(&self) -> &Handle {
        &self.home
    }

    /// The numbers of the connections: a new one means that the others are no longer used.
    pub(super) fn numbers(&self) -> watch::Receiver<u64> {
        self.numbers.subscribe()
    }

    /// Sends a request, to several members if need be, until the time limit.
    pub(super) async fn call<T, F>(&self, repeat: Repeat, send: impl Fn(Channel) -> F) -> Result<T, Fault>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let end = Instant::now() + self.timeout;
        let mut cause = String::new();
        while Instant::now() < end {
            let connected = match timeout_at(end, self.connected()).await {
                Ok(Ok(connected)) => connected,
                Ok(Err(error)) => {
                    // No endpoint accepts a connection. Waiting here would not make the caller's request any better.
                    self.health.failed(&error);
                    return Err(Fault::NotDone(error));
                }
                Err(_) => break,
            };
            let attempt_end = end.min(Instant::now() + ATTEMPT_TIMEOUT);
            let fault = match timeout_at(attempt_end, send(connected.channel)).await {
                Ok(Ok(answer)) => {
                    self.health.answered();
                    return Ok(answer.into_inner());
                }
                Ok(Err(status)) => Fault::of(&status),
                Err(_) => Fault::Unknown("etcd did not answer in time".to_owned()),
            };
            match fault {
                Fault::Final(_) | Fault::Full(_) | Fault::LeaseGone => {
                    self.health.answered();
                    return Err(fault);
                }
                Fault::NotDone(text) => {
                    cause = text;
                    self.replace(connected.number).await;
                    sleep(PAUSE).await;
                }
                Fault::Unknown(text) => {
                    self.replace(connected.number).await;
                    if repeat == Repeat::IfNotDone {
                        return Err(Fault::Unknown(text));
                    }
                    cause = text;
                    sleep(PAUSE).await;
                }
            }
        }
        let cause = if cause.is_empty() { "etcd did not answer in time".to_owned() } else { cause };
        self.health.failed(&cause);
        Err(Fault::NotDone(cause))
    }

    /// The present revision of etcd.
    pub(super) async fn revision(&self) -> Result<Revision, Fault> {
        let read = RangeRequest { key: self.own_key.clone(), ..RangeRequest::default() };
        let sent = self.call(Repeat::Always, |channel| {
            let read = to_led_member(read.clone());
            async move { KvClient::new(channel).range(read).await }
        });
        Ok(revision(sent.await?.header.map(|header| header.revision)))
    }

    /// The channel in use. If there is none, tries each endpoint once.
    pub(super) async fn connected(&self) -> Result<Connected, String> {
        let mut present = self.present.lock().await;
        if let Some(channel) = &present.channel {
            return Ok(Connected { channel: channel.clone(), number: *self.numbers.borrow() });
        }
        let mut causes = Vec::new();
        let next = present.next % self.endpoints.len().max(1);
        for endpoint in self.endpoints.iter().cycle().skip(next).take(self.endpoints.len()) {
            let opening = open(endpoint.clone(), self.tls.clone(), self.home.clone(), present.cluster);
            let opened = self.home.spawn(timeout(CONNECT_TIMEOUT, opening)).await;
            let cause = match opened.map_or_else(|error| Err(error.to_string()), in_time) {
                Ok((channel, cluster)) => {
                    present.channel = Some(channel.clone());
                    present.cluster = Some(cluster);
                    self.numbers.send_modify(|number| *number += 1);
                    return Ok(Connected { channel, number: *self.numbers.borrow() });
                }
                Err(cause) => cause,
            };
            causes.push(format!("{endpoint}: {cause}"));
            present.next = present.next.wrapping_add(1);
        }
        Err(format!("no member of etcd can be used: {}", causes.join("; ")))
    }

    /// Stops using a connection that failed, unless another one has replaced it already.
    pub(super) async fn replace(&self, number: u64) {
        let mut present = self.present.lock().await;
        if present.channel.is_some() && *self.numbers.borrow() == number {
            present.channel = None;
            present.next = present.next.wrapping_add(1);
            self.numbers.send_modify(|number| *number += 1);
        }
    }
}

/// Connects, and asks the member for its version and its cluster.
async fn open(
    endpoint: Uri,
    tls: Option<TlsSource>,
    home: Handle,
    expected: Option<u64>,
) -> Result<(Channel, u64), String> {
    let has_tls = tls.is_some();
    let channel = channel::connect(endpoint, tls, home).await?;
    let mut member = MaintenanceClient::new(channel.clone());
    let status = member.status(StatusRequest {}).await.map_err(|status| cause_of(&status, has_tls))?.into_inner();
    Version::parse(&status.version).ok_or_else(|| format!("it has no version: {:?}", status.version))?.check()?;
    let cluster = status.header.ok_or("its answer has no header")?.cluster_id;
    match expected {
        Some(expected) if expected != cluster => {
            Err(format!("it belongs to the cluster {cluster:x}, the other endpoints to {expected:x}"))
        }
        _ => Ok((channel, cluster)),
    }
}

fn in_time<T>(opened: Result<Result<T, String>, Elapsed>) -> Result<T, String> {
    opened.unwrap_or_else(|_| Err("it does not answer".to_owned()))
}

impl fmt::Debug for Connection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Connection").field("endpoints", &self.endpoints).finish_non_exhaustive()
    }
}

/// A request to a member that has a leader: one that is cut off from the others refuses it, and ends watches.
pub(super) fn to_led_member<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("hasleader", MetadataValue::from_static("true"));
    request
}

/// Why a first request failed. With TLS 1.3 a client certificate that is refused shows here, and not always by an alert.
fn cause_of(status: &Status, has_tls: bool) -> String {
    match std::error::Error::source(status).map(root_cause) {
        Some(cause) if has_tls => format!("{cause}, at the first request: it may not accept the client certificate"),
        Some(cause) => cause,
        None => status.message().to_owned(),
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Final(error) => error,
            Fault::LeaseGone => Self::Unavailable("etcd: the lease is gone".to_owned()),
            Fault::Full(cause) | Fault::NotDone(cause) | Fault::Unknown(cause) => Self::Unavailable(cause),
        }
    }
}
