//! Measures the server's CPU time for each kind of request, beside an empty call in the same run: `cargo bench --bench
//! serving`.
//!
//! The server is the release binary in a process of its own (`lanyard dev` in a temporary directory). Each case sends
//! the same number of calls over 4 connections with 32 concurrent calls each. The server's own CPU time is read from
//! /proc, so that neither the client nor other processes influence it. Ratios are comparable between machines,
//! microseconds are not.

use std::error::Error;
use std::fs;
use std::io::BufRead as _;
use std::io::BufReader;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;

use hyper_util::rt::TokioIo;
use lanyard::proto::IssueTokenRequest;
use lanyard::proto::ValidateBindingRequest;
use lanyard::proto::binding_service_client::BindingServiceClient;
use lanyard::proto::envoy::service::auth::v3::AttributeContext;
use lanyard::proto::envoy::service::auth::v3::CheckRequest;
use lanyard::proto::envoy::service::auth::v3::attribute_context as envoy;
use lanyard::proto::envoy::service::auth::v3::attribute_context::HttpRequest;
use lanyard::proto::envoy::service::auth::v3::attribute_context::Peer;
use lanyard::proto::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use lanyard::proto::envoy::service::auth::v3::check_response::HttpResponse;
use lanyard::proto::token_service_client::TokenServiceClient;
use lanyard::proto::validate_binding_request::Evidence;
use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject as _;
use sha2::Digest as _;
use sha2::Sha256;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::Status;
use tonic::transport::Channel;
use tonic::transport::Endpoint;
use tonic::transport::Uri;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

const CONNECTIONS: usize = 4;
const STREAMS: usize = 32;
const CALLS: usize = 20_000;
const AUDIENCE: &str = "https://orders.dev.internal";

/// Linux reports CPU time in hundredths of a second to every program (`USER_HZ`).
const TICKS_A_SECOND: f64 = 100.0;

type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let dir = tempfile::tempdir()?;
    let server = Server::start(dir.path())?;
    let (workload, proxy) = (server.channels("workload").await?, server.channels("proxy").await?);
    let first = workload.first().ok_or("no connection")?.clone();
    let token = TokenServiceClient::new(first).issue_token(IssueTokenRequest::default()).await?;
    let token = token.into_inner().access_token;
    let der = CertificateDer::from_pem_file(dir.path().join("workload.pem"))?.to_vec();
    let (checked_whole, checked_hash) = checks(&token, &der);
    let validation = move |evidence: Evidence| ValidateBindingRequest {
        access_token: token.clone(),
        evidence: Some(evidence),
        audience: AUDIENCE.to_owned(),
        scope: String::new(),
    };
    let whole = validation(Evidence::Certificate(der.clone()));
    let digest = Sha256::digest(&der).to_vec();
    let hash = validation(Evidence::CertificateThumbprint(digest));

    println!("{CALLS} calls a case, {CONNECTIONS} connections x {STREAMS} concurrent calls; the server's CPU time");
    let floor = server.cost(&proxy, |channel| async move {
        HealthClient::new(channel).check(HealthCheckRequest::default()).await.map(drop)
    });
    let floor = floor.await?;
    print("an empty call (the floor)", floor, floor);
    let validate = |request: ValidateBindingRequest| {
        move |channel| {
            let request = request.clone();
            async move { BindingServiceClient::new(channel).validate_binding(request).await.map(drop) }
        }
    };
    print("validate, by thumbprint", server.cost(&proxy, validate(hash)).await?, floor);
    print("validate, by certificate", server.cost(&proxy, validate(whole)).await?, floor);
    let check = |request: CheckRequest| {
        move |channel| {
            let request = request.clone();
            async move {
                let answer = AuthorizationClient::new(channel).check(request).await?.into_inner();
                let allowed = matches!(answer.http_response, Some(HttpResponse::OkResponse(_)));
                if allowed { Ok(()) } else { Err(Status::aborted("the check was denied")) }
            }
        }
    };
    print("check, by hash in the header", server.cost(&proxy, check(checked_hash)).await?, floor);
    print("check, by certificate", server.cost(&proxy, check(checked_whole)).await?, floor);
    let issue = server.cost(&workload, |channel| async move {
        TokenServiceClient::new(channel).issue_token(IssueTokenRequest::default()).await.map(drop)
    });
    print("issue a token, ES256", issue.await?, floor);
    Ok(())
}

/// The `CheckRequest`s that Envoy sends for a request to the sample resource: with the whole certificate, and with its
/// hash.
fn checks(token: &str, der: &[u8]) -> (CheckRequest, CheckRequest) {
    let hash = hex::encode(Sha256::digest(der));
    let header = format!("By=spiffe://dev.internal/proxy;Hash={hash};Subject=\"\";URI=spiffe://dev.internal/workload");
    let headers = [("authorization", format!("Bearer {token}")), ("x-forwarded-client-cert", header)];
    let http = HttpRequest {
        method: "GET".to_owned(),
        path: "/orders/1".to_owned(),
        host: "orders.dev.internal".to_owned(),
        headers: headers.map(|(name, value)| (name.to_owned(), value)).into(),
        ..HttpRequest::default()
    };
    let certificate = pem::encode(der);
    let request = |certificate: &str| CheckRequest {
        attributes: Some(AttributeContext {
            source: Some(Peer {
                certificate: certificate.to_owned(),
                principal: "spiffe://dev.internal/workload".to_owned(),
            }),
            request: Some(envoy::Request { http: Some(http.clone()) }),
            context_extensions: [("resource".to_owned(), AUDIENCE.to_owned())].into(),
            ..AttributeContext::default()
        }),
    };
    (request(&certificate), request(""))
}

/// `source.certificate` as Envoy writes it.
mod pem {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use percent_encoding::NON_ALPHANUMERIC;
    use percent_encoding::utf8_percent_encode;

    pub(crate) fn encode(der: &[u8]) -> String {
        let body = STANDARD.encode(der);
        let pem = format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n");
        utf8_percent_encode(&pem, NON_ALPHANUMERIC).to_string()
    }
}

fn print(case: &str, cost: f64, floor: f64) {
    println!("{case:<28} {cost:6.1} us a call, {:5.2} x the floor", cost / floor);
}

struct Server {
    process: Child,
    dir: PathBuf,
    port: u16,
}

impl Server {
    fn start(dir: &Path) -> Result<Self, Failure> {
        let any = ["--listen-mtls", "127.0.0.1:0", "--listen-public", "127.0.0.1:0", "--listen-ops", "127.0.0.1:0"];
        let mut process = Command::new(env!("CARGO_BIN_EXE_lanyard"))
            .args(["dev", "--dir"])
            .arg(dir)
            .args(any)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let stdout = process.stdout.take().ok_or("the server has no output")?;
        let mut lines = BufReader::new(stdout).lines();
        let serving = lines.find_map(|line| line.ok().filter(|line| line.contains("keep") || line.contains("readyz")));
        serving.ok_or("the server did not come up")?;
        // The rest of its output is read, so that the server never blocks on it.
        std::thread::spawn(move || lines.for_each(drop));
        let yaml = fs::read_to_string(dir.join("lanyard.yaml"))?;
        let mtls = yaml.lines().find_map(|line| line.trim().strip_prefix("mtls: ")).ok_or("no mtls address")?;
        let port = mtls.rsplit(':').next().ok_or("no port")?.parse()?;
        Ok(Self { process, dir: dir.to_owned(), port })
    }

    async fn channels(&self, name: &str) -> Result<Vec<Channel>, Failure> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.dir.join("ca.pem"))?)?;
        let chain = vec![CertificateDer::from_pem_file(self.dir.join(format!("{name}.pem")))?];
        let key = PrivateKeyDer::from_pem_file(self.dir.join(format!("{name}-key.pem")))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        let (connector, port) = (TlsConnector::from(Arc::new(config)), self.port);
        let mut channels = Vec::new();
        for _ in 0..CONNECTIONS {
            let connector = connector.clone();
            let connect = tower::service_fn(move |_: Uri| {
                let connector = connector.clone();
                async move {
                    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
                    stream.set_nodelay(true)?;
                    let name = ServerName::try_from("localhost").map_err(std::io::Error::other)?;
                    connector.connect(name, stream).await.map(TokioIo::new)
                }
            });
            channels.push(Endpoint::from_static("https://localhost").connect_with_connector(connect).await?);
        }
        Ok(channels)
    }

    /// The server's CPU time for one call, in microseconds.
    async fn cost<F>(&self, channels: &[Channel], call: impl Fn(Channel) -> F) -> Result<f64, Failure>
    where
        F: Future<Output = Result<(), Status>>,
    {
        let run = async |calls: usize| {
            let workers = channels.iter().flat_map(|channel| (0..STREAMS).map(move |_| channel.clone()));
            let share = calls / (CONNECTIONS * STREAMS);
            let all: Vec<_> = workers
                .map(|channel| {
                    let call = &call;
                    Box::pin(async move {
                        for _ in 0..share {
                            call(channel.clone()).await?;
                        }
                        Ok::<_, Status>(())
                    })
                })
                .collect();
            join(all).await.map(|()| share * CONNECTIONS * STREAMS)
        };
        run(CALLS / 10).await?;
        let before = self.cpu_seconds()?;
        let done = run(CALLS).await?;
        #[expect(clippy::cast_precision_loss, reason = "a count of calls")]
        let done = done as f64;
        Ok((self.cpu_seconds()? - before) * 1e6 / done)
    }

    /// The user and system time of the server so far, in seconds.
    fn cpu_seconds(&self) -> Result<f64, Failure> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id()))?;
        // The program's name may contain spaces; the fields are counted from after it.
        let (_, fields) = stat.rsplit_once(") ").ok_or("unreadable stat")?;
        let ticks: Vec<f64> = fields.split(' ').skip(11).take(2).map(str::parse).collect::<Result<_, _>>()?;
        Ok(ticks.iter().sum::<f64>() / TICKS_A_SECOND)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Awaits all futures on this thread.
async fn join<F: Future<Output = Result<(), Status>> + Unpin>(mut all: Vec<F>) -> Result<(), Status> {
    std::future::poll_fn(|context| {
        let mut at = 0;
        while let Some(one) = all.get_mut(at) {
            match std::pin::Pin::new(one).poll(context) {
                std::task::Poll::Ready(Ok(())) => drop(all.swap_remove(at)),
                std::task::Poll::Ready(Err(error)) => return std::task::Poll::Ready(Err(error)),
                std::task::Poll::Pending => at += 1,
            }
        }
        if all.is_empty() { std::task::Poll::Ready(Ok(())) } else { std::task::Poll::Pending }
    })
    .await
}
