//! What is sent to the server while others ask it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::TcpStream;
use std::process::Stdio;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;

use rcgen::BasicConstraints;
use rcgen::CertificateParams;
use rcgen::DistinguishedName;
use rcgen::DnType;
use rcgen::IsCa;
use rcgen::Issuer;
use rcgen::KeyPair;
use rcgen::KeyUsagePurpose;
use rcgen::PKCS_ECDSA_P521_SHA512;
use rcgen::SanType;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::time::Instant;

use crate::support::Failure;
use crate::support::client::Peer;
use crate::support::frames;
use crate::support::frames::Request;
use crate::support::requests;
use crate::support::server::Server;
use crate::support::server::go_last;

/// An attack: what is done once, `a_second` times.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Attack {
    /// Handshakes with nine intermediates of one name, which no CA here signed.
    Chains,
    /// TCP connections that say nothing.
    Silence,
    /// Connections of one workload with 32 requests each whose bodies do not end.
    UnfinishedBodies,
    /// Connections of one workload that do nothing.
    IdleConnections,
    /// Requests that are refused, of one workload.
    Refusals,
    /// Requests that are reset as soon as they are sent.
    RapidResets,
    /// PING frames.
    Pings,
}

impl Attack {
    /// All, each with how often a second.
    pub(crate) const ALL: [(Self, &'static str, f64); 7] = [
        (Self::Chains, "chains of nine intermediates of one name", 3.6),
        (Self::Silence, "silent TCP connections", 150.0),
        (Self::UnfinishedBodies, "connections with 32 unfinished bodies", 7.0),
        (Self::IdleConnections, "idle connections of one workload", 50.0),
        (Self::Refusals, "refused requests", 500.0),
        (Self::RapidResets, "requests that are reset at once", 1000.0),
        (Self::Pings, "PING frames", 2000.0),
    ];

    /// What the attackers of this kind need, made before anything is measured.
    pub(crate) fn prepare(self, server: &Server) -> Result<Attacker, Failure> {
        let peer = match self {
            Self::Chains => Some(stranger(server)?),
            Self::Silence => None,
            Self::UnfinishedBodies | Self::IdleConnections | Self::Refusals | Self::RapidResets | Self::Pings => {
                Some(server.sample("thief")?)
            }
        };
        let request = Request::unary(requests::CHECK, &requests::check("a.b.c", &server.certificate()?, true));
        Ok(Attacker { attack: self, peer, port: server.port(), request })
    }
}

/// One kind of attack against one server.
#[derive(Clone)]
pub(crate) struct Attacker {
    attack: Attack,
    peer: Option<Peer>,
    port: u16,
    request: Request,
}

/// An attack under way on a thread of its own.
pub(crate) struct UnderAttack {
    over: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl UnderAttack {
    /// Ends it, and returns how many times it was done.
    pub(crate) fn end(self) -> u64 {
        self.over.store(true, Ordering::Relaxed);
        drop(self.thread.join());
        self.done.load(Ordering::Relaxed)
    }
}

/// How many of what it opened an attacker keeps.
const KEPT: usize = 4000;

impl Attacker {
    /// Does it `a_second` times a second until it is ended.
    pub(crate) fn start(self, a_second: f64) -> UnderAttack {
        let (over, done) = (Arc::new(AtomicBool::default()), Arc::new(AtomicU64::default()));
        let (until, counted) = (Arc::clone(&over), Arc::clone(&done));
        let thread = thread::spawn(move || {
            drop(go_last());
            let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime, self.run(a_second, &until, &counted));
        });
        UnderAttack { over, done, thread }
    }

    async fn run(self, a_second: f64, over: &AtomicBool, done: &Arc<AtomicU64>) {
        let (interval, mut due) = (Duration::from_secs_f64(1.0 / a_second), Instant::now());
        let kept = Rc::new(RefCell::new(VecDeque::new()));
        let mut flood = None;
        while !over.load(Ordering::Relaxed) {
            tokio::time::sleep_until(due).await;
            let mut count = 0_u32;
            while due <= Instant::now() && count < 1000 {
                due += interval;
                count += 1;
            }
            match self.attack {
                Attack::Silence => {
                    for _ in 0..count {
                        if let Ok(stream) = TcpStream::connect(("127.0.0.1", self.port)) {
                            kept.borrow_mut().push_back(Kept::Silent(stream));
                            done.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
                Attack::Chains | Attack::UnfinishedBodies | Attack::IdleConnections => {
                    for _ in 0..count {
                        let (this, kept, done) = (self.clone(), Rc::clone(&kept), Arc::clone(done));
                        tokio::task::spawn_local(async move {
                            if let Some(opened) = this.open().await {
                                kept.borrow_mut().push_back(opened);
                            }
                            done.fetch_add(1, Ordering::Relaxed);
                        });
                    }
                }
                Attack::Refusals | Attack::RapidResets | Attack::Pings => {
                    if flood.is_none() {
                        flood = Flood::open(&self).await;
                    }
                    let sent = match &mut flood {
                        Some(open) => open.send(&self, count).await.is_ok(),
                        None => false,
                    };
                    if sent {
                        done.fetch_add(u64::from(count), Ordering::Relaxed);
                    } else {
                        flood = None;
                    }
                }
            }
            let mut kept = kept.borrow_mut();
            while kept.len() > KEPT {
                drop(kept.pop_front());
            }
        }
    }

    /// A connection after its handshake, with what this attack leaves on it.
    async fn open(&self) -> Option<Kept> {
        let peer = self.peer.as_ref()?;
        let mut stream = tokio::time::timeout(Duration::from_secs(10), peer.handshake()).await.ok()?.ok()?;
        if matches!(self.attack, Attack::UnfinishedBodies) {
            send_unfinished(&mut stream, &self.request, 32).await.ok()?;
        }
        Some(Kept::Connected(Box::new(stream)))
    }
}

/// What an attacker holds open.
#[expect(dead_code, reason = "held, never looked at")]
enum Kept {
    Silent(TcpStream),
    Connected(Box<tokio_rustls::client::TlsStream<tokio::net::TcpStream>>),
}

/// What is sent of all unfinished bodies of a connection, in bytes: nearly as much as the server's window allows.
const UNFINISHED_BYTES: u32 = 250_000;

/// Begins a connection and so many requests whose bodies are announced as longer than what is sent of them.
pub(crate) async fn send_unfinished(
    stream: &mut tokio_rustls::client::TlsStream<tokio::net::TcpStream>,
    request: &Request,
    count: u32,
) -> Result<(), Failure> {
    stream.write_all(&preface()).await?;
    // Until the server says so, the window of a connection is smaller.
    let mut received = Vec::new();
    loop {
        if stream.read_buf(&mut received).await? == 0 {
            return Err("the server closed the connection".into());
        }
        let mut rest = received.as_slice();
        let mut is_wider = false;
        while let Some(head) = frames::Head::read(rest) {
            is_wider |= head.kind == frames::WINDOW_UPDATE;
            rest = rest.get(frames::Head::BYTES + head.length..).unwrap_or_default();
        }
        if is_wider {
            break;
        }
    }
    let mut out = Vec::new();
    for number in (1..2 * count).step_by(2) {
        let mut whole = Vec::new();
        request.write(number, &mut whole);
        let head = whole.len() - request.flow() - frames::Head::BYTES;
        out.extend_from_slice(whole.get(..head).ok_or("no head")?);
        let mut body = vec![0, 0, 3, 0, 0];
        body.resize(usize::try_from(UNFINISHED_BYTES / count)?.min(16_000), 0);
        frames::frame(&mut out, frames::DATA, 0, number, &body);
        if out.len() > 32_000 {
            stream.write_all(&out).await?;
            out.clear();
        }
    }
    Ok(stream.write_all(&out).await?)
}

fn preface() -> Vec<u8> {
    let mut out = frames::PREFACE.to_vec();
    frames::frame(&mut out, frames::SETTINGS, 0, 0, &[]);
    out
}

/// One connection of floods. What the server answers is thrown away.
struct Flood {
    write: tokio::io::WriteHalf<tokio_rustls::client::TlsStream<tokio::net::TcpStream>>,
    next: u32,
}

impl Flood {
    async fn open(attacker: &Attacker) -> Option<Self> {
        let stream = attacker.peer.as_ref()?.handshake().await.ok()?;
        let (mut read, mut write) = tokio::io::split(stream);
        tokio::task::spawn_local(async move { tokio::io::copy(&mut read, &mut tokio::io::sink()).await.map(drop) });
        let mut out = preface();
        // The answers are small, and nothing gives their window back.
        let more = frames::LARGEST_WINDOW - 65_535;
        frames::frame(&mut out, frames::WINDOW_UPDATE, 0, 0, &more.to_be_bytes());
        write.write_all(&out).await.ok()?;
        Some(Self { write, next: 1 })
    }

    async fn send(&mut self, attacker: &Attacker, count: u32) -> Result<(), Failure> {
        let mut out = Vec::new();
        for _ in 0..count {
            if matches!(attacker.attack, Attack::Pings) {
                frames::frame(&mut out, frames::PING, 0, 0, &[0; 8]);
                continue;
            }
            attacker.request.write(self.next, &mut out);
            if matches!(attacker.attack, Attack::RapidResets) {
                // CANCEL
                frames::frame(&mut out, frames::RST_STREAM, 0, self.next, &8_u32.to_be_bytes());
            }
            self.next += 2;
        }
        Ok(tokio::time::timeout(Duration::from_secs(1), self.write.write_all(&out)).await??)
    }
}

/// A peer with a leaf and nine intermediates of one name, signed one by the next.
fn stranger(server: &Server) -> Result<Peer, Failure> {
    let authority = || -> Result<CertificateParams, Failure> {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = DistinguishedName::new();
        parameters.distinguished_name.push(DnType::CommonName, "intermediate");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Ok(parameters)
    };
    let mut chain = Vec::new();
    let mut key = KeyPair::generate_for(&PKCS_ECDSA_P521_SHA512)?;
    chain.push(authority()?.self_signed(&key)?.der().clone());
    for _ in 0..8 {
        let below = KeyPair::generate_for(&PKCS_ECDSA_P521_SHA512)?;
        let certificate = authority()?.signed_by(&below, &Issuer::new(authority()?, key))?;
        chain.insert(0, certificate.der().clone());
        key = below;
    }
    let own = KeyPair::generate()?;
    let mut leaf = CertificateParams::default();
    leaf.subject_alt_names = vec![SanType::URI("spiffe://dev.internal/stranger".try_into()?)];
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    chain.insert(0, leaf.signed_by(&own, &Issuer::new(authority()?, key))?.der().clone());
    let private = PrivateKeyDer::try_from(own.serialize_der())?;
    Peer::new(&server.folder().join("ca.pem"), chain, private, server.port())
}

/// A pipe that nobody reads, as a log's destination. The reading end is held by the caller.
pub(crate) fn unread_pipe() -> Result<(std::io::PipeReader, Stdio), Failure> {
    let (reader, writer) = std::io::pipe()?;
    Ok((reader, Stdio::from(writer)))
}
