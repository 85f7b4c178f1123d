//! Servers that answer without judging, which the figures are beside: `own` is built like Lanyard's serving threads (one
//! current-thread runtime, unvectored TLS writes), `stock` is tonic as its documentation shows it, `short` is `own` without
//! tonic, `socket` is `own` over a Unix socket without TLS.
//!
//! The first two decode each request and send an answer of Lanyard's that was recorded before. They are not to be changed: what
//! was measured beside them is compared over time.

use std::fs;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use hyper_util::rt::TokioExecutor;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use lanyard::proto;
use lanyard::proto::binding_service_server::BindingService;
use lanyard::proto::binding_service_server::BindingServiceServer;
use lanyard::proto::envoy::service::auth::v3 as envoy;
use lanyard::proto::envoy::service::auth::v3::authorization_server::Authorization;
use lanyard::proto::envoy::service::auth::v3::authorization_server::AuthorizationServer;
use prost::Message as _;
use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::server::NoServerSessionStorage;
use rustls::server::WebPkiClientVerifier;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::net::UnixListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::Request;
use tonic::Response;
use tonic::Status;
use tonic::Streaming;
use tonic::service::Routes;

use crate::support::Failure;

/// The files of the recorded answers, in the folder of the trust domain.
pub(crate) const VALIDATED: &str = "validated.bin";
pub(crate) const CHECKED: &str = "checked.bin";

/// The socket of the server that has one, in the same folder.
pub(crate) const NOOP_SOCKET: &str = "noop.sock";

/// Serves until the process is killed. The port is printed.
pub(crate) fn serve(kind: &str, folder: &Path) -> Result<(), Failure> {
    let answers = Arc::new(Answers::read(folder)?);
    let acceptor = acceptor(folder)?;
    match kind {
        "own" => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(own(answers, acceptor))
        }
        "short" => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(short::serve(folder, acceptor))
        }
        "socket" => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(over_a_socket(answers, folder))
        }
        "stock" => tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(stock(answers, acceptor)),
        _ => Err("no such server".into()),
    }
}

/// A server without tonic: it reads each request's body and sends the recorded answer, and decodes nothing. What there is
/// between it and `own` is what a short road can save.
mod short {
    use std::convert::Infallible;

    use http_body_util::BodyExt as _;
    use http_body_util::StreamBody;
    use hyper::HeaderMap;
    use hyper::Response;
    use hyper::body::Bytes;
    use hyper::body::Frame;
    use hyper::body::Incoming;
    use hyper::header::HeaderValue;
    use hyper::service::service_fn;

    use super::*;

    pub(super) async fn serve(folder: &Path, acceptor: TlsAcceptor) -> Result<(), Failure> {
        let framed = |name| -> Result<Bytes, Failure> {
            let message = fs::read(folder.join(name))?;
            let length = u32::try_from(message.len())?.to_be_bytes();
            Ok([&[0], length.as_slice(), &message].concat().into())
        };
        let (validated, checked) = (framed(VALIDATED)?, framed(CHECKED)?);
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?.port());
        loop {
            let (stream, _) = listener.accept().await?;
            let (acceptor, validated, checked) = (acceptor.clone(), validated.clone(), checked.clone());
            tokio::spawn(async move {
                let service = service_fn(move |request: hyper::Request<Incoming>| {
                    let is_check = request.uri().path().ends_with("/Check");
                    answer(request, if is_check { checked.clone() } else { validated.clone() })
                });
                let served = async {
                    stream.set_nodelay(true)?;
                    let stream = Unvectored(acceptor.accept(stream).await?);
                    let builder = auto::Builder::new(TokioExecutor::new()).http2_only();
                    builder.serve_connection(TokioIo::new(stream), service).await
                };
                drop(served.await);
            });
        }
    }

    async fn answer(
        request: hyper::Request<Incoming>,
        answer: Bytes,
    ) -> Result<Response<StreamBody<impl futures_util::Stream<Item = Result<Frame<Bytes>, Infallible>>>>, hyper::Error>
    {
        request.into_body().collect().await?;
        let mut trailers = HeaderMap::with_capacity(1);
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        let frames = [Frame::data(answer), Frame::trailers(trailers)].map(Ok);
        let mut response = Response::new(StreamBody::new(futures_util::stream::iter(frames)));
        response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
        Ok(response)
    }
}

async fn own(answers: Arc<Answers>, acceptor: TlsAcceptor) -> Result<(), Failure> {
    let routes = routes(answers).prepare();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?.port());
    loop {
        let (stream, _) = listener.accept().await?;
        let (routes, acceptor) = (routes.clone(), acceptor.clone());
        tokio::spawn(async move {
            let served = async {
                stream.set_nodelay(true)?;
                let stream = Unvectored(acceptor.accept(stream).await?);
                let builder = auto::Builder::new(TokioExecutor::new()).http2_only();
                builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes)).await
            };
            drop(served.await);
        });
    }
}

/// As `own`, over a Unix socket without TLS.
async fn over_a_socket(answers: Arc<Answers>, folder: &Path) -> Result<(), Failure> {
    let routes = routes(answers).prepare();
    let listener = UnixListener::bind(folder.join(NOOP_SOCKET))?;
    // It has no port.
    println!("0");
    loop {
        let (stream, _) = listener.accept().await?;
        let routes = routes.clone();
        tokio::spawn(async move {
            let builder = auto::Builder::new(TokioExecutor::new()).http2_only();
            drop(builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes)).await);
        });
    }
}

async fn stock(answers: Arc<Answers>, acceptor: TlsAcceptor) -> Result<(), Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?.port());
    let incoming = futures_util::stream::unfold(listener, move |listener| {
        let acceptor = acceptor.clone();
        async move {
            let accepted = async {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                acceptor.accept(stream).await
            };
            Some((accepted.await, listener))
        }
    });
    Ok(tonic::transport::Server::builder().add_routes(routes(answers)).serve_with_incoming(incoming).await?)
}

fn routes(answers: Arc<Answers>) -> Routes {
    Routes::new(BindingServiceServer::from_arc(Arc::clone(&answers)))
        .add_service(AuthorizationServer::from_arc(answers))
}

fn acceptor(folder: &Path) -> Result<TlsAcceptor, Failure> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(folder.join("ca.pem"))?)?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build()?;
    let chain = CertificateDer::pem_file_iter(folder.join("server.pem"))?.collect::<Result<Vec<_>, _>>()?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(folder.join("server-key.pem"))?)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Lanyard's answers.
struct Answers {
    validated: proto::ValidateBindingResponse,
    checked: envoy::CheckResponse,
}

impl Answers {
    fn read(folder: &Path) -> Result<Self, Failure> {
        let validated = proto::ValidateBindingResponse::decode(fs::read(folder.join(VALIDATED))?.as_slice())?;
        let checked = envoy::CheckResponse::decode(fs::read(folder.join(CHECKED))?.as_slice())?;
        Ok(Self { validated, checked })
    }
}

#[tonic::async_trait]
impl BindingService for Answers {
    async fn validate_binding(
        &self,
        _: Request<proto::ValidateBindingRequest>,
    ) -> Result<Response<proto::ValidateBindingResponse>, Status> {
        Ok(Response::new(self.validated.clone()))
    }

    type ValidateBindingsStream = BoxStream<'static, Result<proto::ValidateBindingsResponse, Status>>;

    async fn validate_bindings(
        &self,
        request: Request<Streaming<proto::ValidateBindingRequest>>,
    ) -> Result<Response<Self::ValidateBindingsStream>, Status> {
        let answer = proto::ValidateBindingsResponse {
            outcome: Some(proto::validate_bindings_response::Outcome::Judged(self.validated.clone())),
        };
        let answers = request.into_inner().map(move |message| message.map(|_| answer.clone()));
        Ok(Response::new(Box::pin(answers)))
    }
}

#[tonic::async_trait]
impl Authorization for Answers {
    async fn check(&self, _: Request<envoy::CheckRequest>) -> Result<Response<envoy::CheckResponse>, Status> {
        Ok(Response::new(self.checked.clone()))
    }
}

/// A vectored write would make every frame a TLS record of its own.
struct Unvectored(TlsStream<TcpStream>);

impl AsyncRead for Unvectored {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Unvectored {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
