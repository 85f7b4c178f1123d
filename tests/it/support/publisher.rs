//! A small HTTPS server where clients publish their certificates. The test sets its responses.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use lanyard::authority::registration::jwks_from_pem;
use rustls::ServerConfig;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::support::ca::TestCa;
use crate::support::leaf::Leaf;

/// Answers every request with the same bytes, until the test sets others.
pub struct Publisher {
    pub address: SocketAddr,
    state: Arc<PublisherState>,
    task: JoinHandle<()>,
}

struct PublisherState {
    acceptor: Mutex<TlsAcceptor>,
    first: Mutex<Option<Answer>>,
    answer: Mutex<Answer>,
    connections: AtomicUsize,
    requests: Mutex<Vec<String>>,
    asked: Notify,
}

#[derive(Clone)]
enum Answer {
    Bytes(Vec<u8>),
    /// These bytes, followed by endless zeros.
    Endless(Vec<u8>),
    /// These bytes, followed by nothing.
    Silent(Vec<u8>),
    /// These bytes, once this is notified.
    Held(Vec<u8>, Arc<Notify>),
}

impl Publisher {
    /// With a certificate for `localhost` from this CA.
    pub async fn start(ca: &TestCa) -> Self {
        Self::named(ca, "localhost").await
    }

    pub async fn named(ca: &TestCa, host: &str) -> Self {
        Self::showing(&ca.server_certificate(host).issue()).await
    }

    /// With this certificate, with any name.
    pub async fn showing(leaf: &Leaf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(PublisherState {
            acceptor: Mutex::new(acceptor(leaf)),
            first: Mutex::default(),
            answer: Mutex::new(Answer::Bytes(response(200, "", b"{\"keys\":[]}"))),
            connections: AtomicUsize::new(0),
            requests: Mutex::default(),
            asked: Notify::new(),
        });
        let task = tokio::spawn(serve(listener, Arc::clone(&state)));
        Self { address, state, task }
    }

    /// Presents another certificate from now on.
    pub fn show(&self, leaf: &Leaf) {
        *self.state.acceptor.lock().unwrap() = acceptor(leaf);
    }

    /// Its URL, under the name `localhost`.
    pub fn uri(&self) -> String {
        format!("https://localhost:{}/jwks.json", self.address.port())
    }

    /// The host as listed in the configuration.
    pub fn host(&self) -> String {
        format!("localhost:{}", self.address.port())
    }

    /// Publishes these certificates, and no others.
    pub fn publish(&self, leaves: &[&Leaf]) {
        self.answer(200, "", &jwks(leaves));
    }

    /// Answers with this status, these header lines (each with its line end) and this body.
    pub fn answer(&self, status: u16, fields: &str, body: &[u8]) {
        self.say(Answer::Bytes(response(status, fields, body)));
    }

    pub fn redirect(&self, location: &str) {
        self.answer(302, &format!("location: {location}\r\n"), b"");
    }

    /// Redirects the next request, and answers later ones with an empty set.
    pub fn redirect_once(&self, location: &str) {
        self.publish(&[]);
        let redirect = response(302, &format!("location: {location}\r\n"), b"");
        *self.state.first.lock().unwrap() = Some(Answer::Bytes(redirect));
    }

    /// Answers the next request with this body, once what is returned is notified.
    pub fn hold_once(&self, body: &[u8]) -> Arc<Notify> {
        let told = Arc::new(Notify::new());
        *self.state.first.lock().unwrap() = Some(Answer::Held(response(200, "", body), Arc::clone(&told)));
        told
    }

    pub fn answer_without_end(&self) {
        self.say(Answer::Endless(b"HTTP/1.1 200 OK\r\ncontent-length: 104857600\r\n\r\n".to_vec()));
    }

    pub fn answer_and_fall_silent(&self, start: &[u8]) {
        self.say(Answer::Silent(start.to_vec()));
    }

    /// How many connections there have been.
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// The heads of all requests so far.
    pub fn requests(&self) -> Vec<String> {
        self.state.requests.lock().unwrap().clone()
    }

    /// Completes when the next request has arrived.
    pub async fn asked(&self) {
        self.state.asked.notified().await;
    }

    fn say(&self, answer: Answer) {
        *self.state.answer.lock().unwrap() = answer;
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The JWK Set with these certificates.
pub fn jwks(leaves: &[&Leaf]) -> Vec<u8> {
    if leaves.is_empty() {
        return b"{\"keys\":[]}".to_vec();
    }
    let pem: String = leaves.iter().map(|leaf| leaf.pem()).collect();
    jwks_from_pem(&pem).unwrap().to_string().into_bytes()
}

fn response(status: u16, fields: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status} X\r\n{fields}content-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn acceptor(leaf: &Leaf) -> TlsAcceptor {
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(leaf.chain.clone(), leaf.private_key())
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

async fn serve(listener: TcpListener, state: Arc<PublisherState>) {
    while let Ok((stream, _)) = listener.accept().await {
        state.connections.fetch_add(1, Ordering::SeqCst);
        let (acceptor, state) = (state.acceptor.lock().unwrap().clone(), Arc::clone(&state));
        tokio::spawn(async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                match stream.read_u8().await {
                    Ok(byte) => head.push(byte),
                    Err(_) => return,
                }
            }
            state.requests.lock().unwrap().push(String::from_utf8(head).unwrap());
            state.asked.notify_one();
            let first = state.first.lock().unwrap().take();
            let answer = first.unwrap_or_else(|| state.answer.lock().unwrap().clone());
            match answer {
                Answer::Bytes(bytes) => drop(stream.write_all(&bytes).await),
                Answer::Held(bytes, told) => {
                    told.notified().await;
                    drop(stream.write_all(&bytes).await);
                }
                Answer::Endless(start) => {
                    let mut next = start;
                    while stream.write_all(&next).await.is_ok() {
                        next = vec![b' '; 16 * 1024];
                    }
                }
                Answer::Silent(start) => {
                    drop(stream.write_all(&start).await);
                    drop(stream.flush().await);
                    // Until the client disconnects.
                    drop(stream.read_u8().await);
                }
            }
            drop(stream.shutdown().await);
        });
    }
}
