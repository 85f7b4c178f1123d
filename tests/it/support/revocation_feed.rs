//! A server of `WatchRevocations` alone, which sends what the test says, over real TLS.

use std::fs;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use lanyard::authority::clock::Clock as _;
use lanyard::authority::clock::SystemClock;
use lanyard::client::files::ConnectionFiles;
use lanyard::client::supply::Credentials;
use lanyard::client::verifier::Verifier;
use lanyard::client::verifier::VerifierSettings;
use lanyard::proto::RevocationEntries;
use lanyard::proto::RevocationEntry;
use lanyard::proto::RevokedTokens;
use lanyard::proto::WatchProgress;
use lanyard::proto::WatchRevocationsRequest;
use lanyard::proto::WatchRevocationsResponse;
use lanyard::proto::WatchSnapshotRequest;
use lanyard::proto::WatchSnapshotResponse;
use lanyard::proto::WatchStarted;
use lanyard::proto::revoked_tokens::Tokens;
use lanyard::proto::snapshot_service_server::SnapshotService;
use lanyard::proto::snapshot_service_server::SnapshotServiceServer;
use lanyard::proto::watch_revocations_request;
use lanyard::proto::watch_revocations_response::Response as Sent;
use rustls::ServerConfig;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio::sync::mpsc;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_stream::Stream;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Request;
use tonic::Response;
use tonic::Status;
use tonic::Streaming;
use tonic::transport::Uri;

use crate::support::ca::TestCa;
use crate::support::door::within;
use crate::support::server::ISSUER;

/// What the server says.
#[derive(Clone)]
pub struct Script {
    pub issuer: String,
    /// What it lists, and the revision of that.
    pub listed: RevocationEntries,
    /// Whether a stream may go on after a revision.
    pub resumes: bool,
    /// Whether it answers beats.
    pub beats: bool,
    /// How old its own snapshot may be.
    pub age: Duration,
    /// How it refuses a new stream.
    pub refusal: Option<Status>,
}

struct State {
    script: Mutex<Script>,
    /// The `after_revision` of each stream.
    asked: watch::Sender<Vec<Option<u64>>>,
    /// Sent on all open streams.
    said: broadcast::Sender<Result<Sent, Status>>,
}

/// The service.
struct Feed(Arc<State>);

/// A running server; it ends when it is dropped.
pub struct RevocationFeed {
    state: Arc<State>,
    running: JoinHandle<()>,
    pub server: Uri,
    dir: TempDir,
}

impl Drop for RevocationFeed {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl RevocationFeed {
    pub async fn start(listed: RevocationEntries) -> Self {
        let now = SystemClock.now();
        let ca = TestCa::at("feed", now);
        let own = ca.server_certificate("localhost").issue();
        let tls = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
        let tls = tls.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let mut tls = tls.with_single_cert(vec![own.certificate().clone()], own.private_key()).unwrap();
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let dir = TempDir::new().unwrap();
        let files = [("ca.pem", ca.pem()), ("cert.pem", own.pem()), ("key.pem", own.key_pem())];
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        let script = Script {
            issuer: ISSUER.to_owned(),
            listed,
            resumes: true,
            beats: true,
            age: Duration::ZERO,
            refusal: None,
        };
        let state = Arc::new(State {
            script: Mutex::new(script),
            asked: watch::Sender::default(),
            said: broadcast::Sender::new(64),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let running = tokio::spawn(serve(listener, TlsAcceptor::from(Arc::new(tls)), Arc::clone(&state)));
        Self { state, running, server: server.parse().unwrap(), dir }
    }

    /// Settings that follow this server alone.
    pub fn settings(&self) -> VerifierSettings {
        let file = |name| self.dir.path().join(name);
        let files = ConnectionFiles { ca: file("ca.pem"), cert: file("cert.pem"), key: file("key.pem") };
        VerifierSettings::new(vec![self.server.clone()], Credentials::Files(files), ISSUER)
    }

    /// Lets the verifiers of this server trust the certificate of another one too.
    pub fn trust(&self, other: &Self) {
        let cas = [self, other].map(|feed| fs::read_to_string(feed.dir.path().join("ca.pem")).unwrap());
        fs::write(self.dir.path().join("ca.pem"), cas.concat()).unwrap();
    }

    /// A verifier that has received the listing.
    pub async fn verifier(&self) -> Verifier {
        let verifier = Verifier::follow(self.settings()).unwrap();
        within(verifier.ready()).await;
        verifier
    }

    pub fn rewrite(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.state.script.lock().unwrap());
    }

    /// Sends this on all open streams.
    pub fn say(&self, sent: Sent) {
        self.state.said.send(Ok(sent)).unwrap();
    }

    /// Ends all open streams like this.
    pub fn end(&self, status: Status) {
        self.state.said.send(Err(status)).unwrap();
    }

    /// Waits until there were this many streams, and returns after which revision each one went on.
    pub async fn streams(&self, count: usize) -> Vec<Option<u64>> {
        let mut asked = self.state.asked.subscribe();
        within(asked.wait_for(|asked| asked.len() >= count)).await.unwrap().clone()
    }
}

/// A revocation of these tokens.
pub fn entry(id: &str, tokens: impl IntoIterator<Item = Tokens>) -> RevocationEntry {
    let tokens = tokens.into_iter().map(|tokens| RevokedTokens { tokens: Some(tokens) }).collect();
    RevocationEntry { id: id.to_owned(), tokens, ..RevocationEntry::default() }
}

async fn serve(listener: TcpListener, tls: TlsAcceptor, state: Arc<State>) {
    let (accepted, connections) = mpsc::channel(16);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (tls, accepted) = (tls.clone(), accepted.clone());
            tokio::spawn(async move {
                if let Ok(stream) = tls.accept(stream).await {
                    drop(accepted.send(Ok::<_, std::io::Error>(stream)).await);
                }
            });
        }
    });
    let server = tonic::transport::Server::builder().add_service(SnapshotServiceServer::new(Feed(state)));
    server.serve_with_incoming(ReceiverStream::new(connections)).await.unwrap();
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl SnapshotService for Feed {
    type WatchSnapshotStream = Answers<WatchSnapshotResponse>;
    type WatchRevocationsStream = Answers<WatchRevocationsResponse>;

    async fn watch_snapshot(
        &self,
        _: Request<Streaming<WatchSnapshotRequest>>,
    ) -> Result<Response<Self::WatchSnapshotStream>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn watch_revocations(
        &self,
        request: Request<Streaming<WatchRevocationsRequest>>,
    ) -> Result<Response<Self::WatchRevocationsStream>, Status> {
        let mut requests = request.into_inner();
        let first = requests.next().await.unwrap()?;
        let Some(watch_revocations_request::Request::Start(start)) = first.request else { panic!("{first:?}") };
        self.0.asked.send_modify(|asked| asked.push(start.after_revision));
        let script = self.0.script.lock().unwrap().clone();
        if let Some(refusal) = script.refusal {
            return Err(refusal);
        }
        let said = self.0.said.subscribe();
        let resumed = script.resumes && start.after_revision.is_some();
        let (issuer, version) = (script.issuer, "test".to_owned());
        let mut sent = vec![Sent::Started(WatchStarted { resumed, issuer, version })];
        let revision = script.listed.revision;
        if !resumed {
            sent.push(Sent::Listed(RevocationEntries { revision: 0, ..script.listed }));
        }
        let age_ms = u64::try_from(script.age.as_millis()).unwrap();
        sent.push(Sent::Progress(WatchProgress { revision, beat: None, age_ms, ..WatchProgress::default() }));
        let (sender, answers) = mpsc::channel(64);
        for one in sent {
            sender.send(Ok(answer(one))).await.unwrap();
        }
        tokio::spawn(go_on(Arc::clone(&self.0), revision, requests, said, sender));
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }
}

/// Answers beats, and sends what the test says, until the verifier or the test ends the stream.
async fn go_on(
    state: Arc<State>,
    mut revision: u64,
    mut requests: Streaming<WatchRevocationsRequest>,
    mut said: broadcast::Receiver<Result<Sent, Status>>,
    sender: mpsc::Sender<Result<WatchRevocationsResponse, Status>>,
) {
    loop {
        let sent = tokio::select! {
            request = requests.next() => {
                let Some(Ok(WatchRevocationsRequest { request: Some(request) })) = request else { return };
                let watch_revocations_request::Request::Beat(beat) = request else { panic!("{request:?}") };
                let Script { beats, age, .. } = state.script.lock().unwrap().clone();
                if !beats {
                    continue;
                }
                let age_ms = u64::try_from(age.as_millis()).unwrap();
                Ok(Sent::Progress(WatchProgress { revision, beat: Some(beat.number), age_ms, ..WatchProgress::default() }))
            }
            said = said.recv() => said.unwrap(),
        };
        if let Ok(Sent::Changed(entries)) = &sent {
            revision = entries.revision;
        }
        let ends = sent.is_err();
        if sender.send(sent.map(answer)).await.is_err() || ends {
            return;
        }
    }
}

fn answer(sent: Sent) -> WatchRevocationsResponse {
    WatchRevocationsResponse { response: Some(sent) }
}
