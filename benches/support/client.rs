//! A raw client: one mTLS connection with HTTP/2, which sends prebuilt frames and looks at what comes back.

mod stream;

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use hdrhistogram::Histogram;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject as _;
use tokio::io::AsyncRead as _;
use tokio::io::AsyncWrite as _;
use tokio::io::AsyncWriteExt as _;
use tokio::io::ReadBuf;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::Channel;
use tonic::transport::Endpoint;
use tonic::transport::Uri;

use crate::support::Failure;
use crate::support::client::stream::Open;
use crate::support::frames;
use crate::support::frames::Head;
use crate::support::frames::Request;

/// Who connects, and to where.
#[derive(Clone)]
pub(crate) struct Peer {
    connector: TlsConnector,
    port: u16,
}

impl Peer {
    /// The peer with this certificate and key; servers are verified by `ca`.
    pub(crate) fn new(
        ca: &Path,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        port: u16,
    ) -> Result<Self, Failure> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(ca)?)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), port })
    }

    /// One of those that `lanyard dev` wrote into this folder.
    pub(crate) fn in_folder(folder: &Path, name: &str, port: u16) -> Result<Self, Failure> {
        let chain = vec![CertificateDer::from_pem_file(folder.join(format!("{name}.pem")))?];
        let key = PrivateKeyDer::from_pem_file(folder.join(format!("{name}-key.pem")))?;
        Self::new(&folder.join("ca.pem"), chain, key, port)
    }

    /// A connection after its handshake.
    pub(crate) async fn handshake(&self) -> Result<TlsStream<TcpStream>, Failure> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        stream.set_nodelay(true)?;
        Ok(self.connector.connect(ServerName::try_from("localhost")?, stream).await?)
    }

    /// A channel of tonic, for calls that are not measured.
    pub(crate) async fn channel(&self) -> Result<Channel, Failure> {
        let peer = self.clone();
        let connect = tower::service_fn(move |_: Uri| {
            let peer = peer.clone();
            async move { peer.handshake().await.map(TokioIo::new) }
        });
        Ok(Endpoint::from_static("https://localhost").connect_with_connector(connect).await?)
    }

    /// A connection that is ready for requests.
    pub(crate) async fn connect(&self) -> Result<Connection, Failure> {
        Connection::begin(self.handshake().await?).await
    }
}

/// What an answer's message says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    /// What was asked for.
    Served,
    /// Too much is asked.
    Refused,
}

/// Reads an answer's message.
pub(crate) type Reader = fn(&[u8]) -> Verdict;

/// What was measured: times in microseconds, from the moment a request was written.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    pub(crate) served: Histogram<u64>,
    pub(crate) refused: Histogram<u64>,
    /// Requests without an answer.
    pub(crate) failed: u64,
    /// Requests that were due and not sent, because the server takes no more of them on the connection at a time.
    pub(crate) unsent: u64,
}

impl Default for Measured {
    fn default() -> Self {
        // Three significant digits from 1 us to a minute; no such bounds are refused.
        let histogram = || Histogram::new_with_bounds(1, 60_000_000, 3).unwrap_or_else(|_| unreachable!());
        Self { served: histogram(), refused: histogram(), failed: 0, unsent: 0 }
    }
}

impl Measured {
    pub(crate) fn add(&mut self, other: &Self) -> Result<(), Failure> {
        self.served.add(&other.served)?;
        self.refused.add(&other.refused)?;
        self.failed += other.failed;
        self.unsent += other.unsent;
        Ok(())
    }
}

/// A request under way.
#[derive(Clone, Copy, Debug)]
struct Sent {
    at: Instant,
    verdict: Option<Verdict>,
}

/// One HTTP/2 connection.
pub(crate) struct Connection {
    stream: TlsStream<TcpStream>,
    received: Vec<u8>,
    out: Vec<u8>,
    /// Of each stream by its number; `None` once it is over.
    sent: Vec<Option<Sent>>,
    /// The stream of messages that is open.
    open: Option<Open>,
    under_way: usize,
    /// How many may be under way (`SETTINGS_MAX_CONCURRENT_STREAMS`).
    most_under_way: usize,
    /// What may still be sent in DATA frames.
    window: i64,
    /// What was received in DATA frames and not yet given back.
    consumed: u32,
    /// The error code of GOAWAY, and what the server says of it.
    going_away: Option<(u32, String)>,
}

/// The read buffer.
const BUFFER: usize = 64 * 1024;

/// The streams that a client may open before it has the server's settings (RFC 9113 section 6.5.2 recommends no less).
const BEFORE_SETTINGS: usize = 100;

impl Connection {
    async fn begin(mut stream: TlsStream<TcpStream>) -> Result<Self, Failure> {
        let mut out = frames::PREFACE.to_vec();
        let mut initial_window = vec![0, 4];
        initial_window.extend_from_slice(&frames::LARGEST_WINDOW.to_be_bytes());
        frames::frame(&mut out, frames::SETTINGS, 0, 0, &initial_window);
        let more = frames::LARGEST_WINDOW - 65_535;
        frames::frame(&mut out, frames::WINDOW_UPDATE, 0, 0, &more.to_be_bytes());
        stream.write_all(&out).await?;
        out.clear();
        let received = Vec::with_capacity(BUFFER);
        Ok(Self {
            stream,
            received,
            out,
            sent: Vec::new(),
            open: None,
            under_way: 0,
            most_under_way: BEFORE_SETTINGS,
            window: 65_535,
            consumed: 0,
            going_away: None,
        })
    }

    /// Sends `calls` requests, the given ones in turn, of which `concurrency` are under way at each moment.
    pub(crate) async fn closed_loop(
        &mut self,
        requests: &[Request],
        calls: usize,
        concurrency: usize,
        reader: Reader,
    ) -> Result<Measured, Failure> {
        let largest = requests.iter().map(Request::flow).max().unwrap_or_default();
        let (mut measured, mut requests, mut left) = (Measured::default(), requests.iter().cycle(), calls);
        loop {
            while left > 0 && self.under_way < concurrency && self.has_room(largest) {
                self.queue(requests.next().ok_or("no request")?);
                left -= 1;
            }
            if self.under_way == 0 {
                return if left == 0 { Ok(measured) } else { Err("the server ended the connection".into()) };
            }
            self.exchange(reader, &mut measured).await?;
        }
    }

    /// Sends requests at this rate for this time, however long the answers take. What the server takes no more of is not
    /// sent, as by a proxy whose circuit breaker is open.
    pub(crate) async fn at_rate(
        &mut self,
        requests: &[Request],
        a_second: f64,
        time: Duration,
        reader: Reader,
    ) -> Result<Measured, Failure> {
        let mut measured = Measured::default();
        let largest = requests.iter().map(Request::flow).max().unwrap_or_default();
        let (mut requests, begin) = (requests.iter().cycle(), Instant::now());
        let interval = Duration::from_secs_f64(1.0 / a_second);
        let mut due = begin;
        loop {
            let now = Instant::now();
            let over = now.duration_since(begin) >= time;
            while !over && due <= now {
                due += interval;
                if self.has_room(largest) {
                    self.queue(requests.next().ok_or("no request")?);
                } else {
                    measured.unsent += 1;
                }
            }
            if over && self.under_way == 0 {
                return Ok(measured);
            }
            if over && now.duration_since(begin) > time + LAST_ANSWERS {
                measured.failed += u64::try_from(self.under_way)?;
                return Ok(measured);
            }
            let wake = if over { now + LAST_ANSWERS } else { due };
            if let Ok(exchanged) = tokio::time::timeout_at(wake, self.exchange(reader, &mut measured)).await {
                exchanged?;
            }
        }
    }

    /// Whether the server takes one more request with a body of so many bytes.
    fn has_room(&self, bytes: usize) -> bool {
        let fits = i64::try_from(bytes).is_ok_and(|bytes| bytes <= self.window);
        self.under_way < self.most_under_way && fits && self.going_away.is_none()
    }

    /// Writes a request into the buffer.
    fn queue(&mut self, request: &Request) {
        let number = u32::try_from(self.sent.len() * 2 + 1).unwrap_or(frames::LARGEST_WINDOW);
        request.write(number, &mut self.out);
        self.window -= i64::try_from(request.flow()).unwrap_or(i64::MAX);
        self.sent.push(Some(Sent { at: Instant::now(), verdict: None }));
        self.under_way += 1;
    }

    /// Writes what is to be written and waits for bytes, both at once: a server that cannot write reads no more either.
    /// Takes in the frames that are whole.
    async fn exchange(&mut self, reader: Reader, measured: &mut Measured) -> Result<(), Failure> {
        let mut buffer = vec![0; 16 * 1024];
        let read = std::future::poll_fn(|context| {
            while !self.out.is_empty() {
                match Pin::new(&mut self.stream).poll_write(context, &self.out) {
                    Poll::Ready(Ok(written)) => drop(self.out.drain(..written)),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => break,
                }
            }
            if self.out.is_empty()
                && let Poll::Ready(Err(error)) = Pin::new(&mut self.stream).poll_flush(context)
            {
                return Poll::Ready(Err(error));
            }
            let mut into = ReadBuf::new(&mut buffer);
            Pin::new(&mut self.stream).poll_read(context, &mut into).map_ok(|()| into.filled().len())
        });
        let read = read.await?;
        if read == 0 {
            return Err(format!("the server closed the connection; GOAWAY: {:?}", self.going_away).into());
        }
        self.received.extend_from_slice(buffer.get(..read).unwrap_or_default());
        let received = std::mem::take(&mut self.received);
        let mut rest = received.as_slice();
        while let Some(head) = Head::read(rest) {
            let Some(whole) = rest.get(..Head::BYTES + head.length) else { break };
            let (frame, after) = rest.split_at(whole.len());
            self.take_in(head, frame.get(Head::BYTES..).unwrap_or_default(), reader, measured)?;
            rest = after;
        }
        let unread = received.len() - rest.len();
        self.received = received;
        drop(self.received.drain(..unread));
        Ok(())
    }

    fn take_in(&mut self, head: Head, payload: &[u8], reader: Reader, measured: &mut Measured) -> Result<(), Failure> {
        let ended = head.flags & frames::END_STREAM != 0;
        match head.kind {
            frames::DATA => {
                self.give_back(head.length);
                if let Some(open) = self.open.as_mut().filter(|open| open.number == head.stream) {
                    open.take_in(payload, reader, measured);
                } else if let Some(sent) = self.under_way(head.stream) {
                    // After gRPC's prefix; the answers here fit into one frame. An empty one may follow, which ends them.
                    sent.verdict = payload.get(5..).map(reader).or(sent.verdict);
                }
                if ended {
                    self.ended(head.stream, measured);
                }
            }
            frames::HEADERS if ended => self.ended(head.stream, measured),
            frames::RST_STREAM => measured.failed += u64::from(self.end(head.stream).is_some()),
            frames::SETTINGS if head.flags & frames::ACK == 0 => {
                if let Some(most) = frames::setting(payload, frames::MAX_CONCURRENT_STREAMS) {
                    self.most_under_way = usize::try_from(most)?;
                }
                frames::frame(&mut self.out, frames::SETTINGS, frames::ACK, 0, &[]);
            }
            frames::PING if head.flags & frames::ACK == 0 => {
                frames::frame(&mut self.out, frames::PING, frames::ACK, 0, payload);
            }
            frames::WINDOW_UPDATE if head.stream == 0 => {
                let more = payload.first_chunk().ok_or("a window without a size")?;
                self.window += i64::from(u32::from_be_bytes(*more));
            }
            frames::GOAWAY => {
                let code = payload.get(4..).and_then(<[u8]>::first_chunk).ok_or("GOAWAY without a code")?;
                let why = String::from_utf8_lossy(payload.get(8..).unwrap_or_default()).into_owned();
                self.going_away = Some((u32::from_be_bytes(*code), why));
            }
            _ => {}
        }
        Ok(())
    }

    /// Gives back the connection's window before it is used up; those of streams never are.
    fn give_back(&mut self, length: usize) {
        self.consumed = self.consumed.saturating_add(u32::try_from(length).unwrap_or(u32::MAX));
        if self.consumed > 1 << 29 {
            frames::frame(&mut self.out, frames::WINDOW_UPDATE, 0, 0, &self.consumed.to_be_bytes());
            self.consumed = 0;
        }
    }

    fn under_way(&mut self, stream: u32) -> Option<&mut Sent> {
        self.sent.get_mut(usize::try_from(stream / 2).ok()?)?.as_mut()
    }

    fn end(&mut self, stream: u32) -> Option<Sent> {
        self.open.take_if(|open| open.number == stream);
        let sent = self.sent.get_mut(usize::try_from(stream / 2).ok()?)?.take()?;
        self.under_way -= 1;
        Some(sent)
    }

    /// An answer is over. One without a message is an error of gRPC.
    fn ended(&mut self, stream: u32, measured: &mut Measured) {
        let Some(sent) = self.end(stream) else { return };
        let time = u64::try_from(sent.at.elapsed().as_micros()).unwrap_or(u64::MAX);
        match sent.verdict {
            Some(Verdict::Served) => measured.served.saturating_record(time),
            Some(Verdict::Refused) | None => measured.refused.saturating_record(time),
        }
    }
}

/// How long answers are waited for after the last request.
const LAST_ANSWERS: Duration = Duration::from_secs(2);
