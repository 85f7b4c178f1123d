//! An OpenTelemetry collector of the tests, which keeps what it receives.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::thread;

use axum::Router;
use axum::body::Body;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioExecutor;
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::LogsService;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::LogsServiceServer;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::MetricsService;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::MetricsServiceServer;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::TraceService;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::TraceServiceServer;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use rustls::ServerConfig;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::sync::Notify;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;
use tonic::Response;
use tonic::Status;
use tonic::service::Routes;
use tower::ServiceExt as _;

use crate::support::door::within;
use crate::support::leaf::Leaf;

/// A collector, for as long as the test runs.
pub struct Collector {
    pub address: SocketAddr,
    received: Arc<Received>,
    /// Dropping it ends the collector.
    _alive: oneshot::Sender<()>,
}

#[derive(Debug, Default)]
struct Received {
    spans: Mutex<Vec<Exported>>,
    metrics: Mutex<Vec<ExportMetricsServiceRequest>>,
    logs: Mutex<Vec<LogRecord>>,
    came: Notify,
}

/// A span, and the resource that it comes from.
#[derive(Clone, Debug)]
pub struct Exported {
    pub resource: BTreeMap<String, String>,
    pub span: Span,
}

impl Collector {
    /// Starts a collector without TLS.
    pub fn start() -> Self {
        Self::serve(None)
    }

    /// Starts a collector with this certificate.
    pub fn with_tls(leaf: &Leaf) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(leaf.chain.clone(), leaf.private_key())
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        Self::serve(Some(TlsAcceptor::from(Arc::new(config))))
    }

    /// Starts a collector without TLS at an address at which there was none.
    pub fn at(address: SocketAddr) -> Self {
        Self::listen(std::net::TcpListener::bind(address).unwrap(), None)
    }

    fn serve(tls: Option<TlsAcceptor>) -> Self {
        Self::listen(std::net::TcpListener::bind("127.0.0.1:0").unwrap(), tls)
    }

    fn listen(socket: std::net::TcpListener, tls: Option<TlsAcceptor>) -> Self {
        socket.set_nonblocking(true).unwrap();
        let address = socket.local_addr().unwrap();
        let received = Arc::<Received>::default();
        let service = Service(Arc::clone(&received));
        let traces = Routes::new(TraceServiceServer::new(service.clone()));
        let traces = traces.add_service(LogsServiceServer::new(service.clone()));
        let router = traces.add_service(MetricsServiceServer::new(service)).into_axum_router();
        let (alive, end) = oneshot::channel::<()>();
        // On a thread of its own, so that it also runs while a test blocks on a process.
        thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            let accepting = accept(socket, tls, router);
            runtime.block_on(async {
                tokio::select! { () = accepting => {}, _ = end => {} }
            });
        });
        Self { address, received, _alive: alive }
    }

    /// The section `telemetry` that configures it.
    pub fn section(&self, more: &str) -> String {
        format!("telemetry: {{otlp: {{endpoint: 'http://{}'{more}}}}}\n", self.address)
    }

    /// All spans so far.
    pub fn spans(&self) -> Vec<Exported> {
        self.received.spans.lock().unwrap().clone()
    }

    /// All requests with metrics so far.
    pub fn metrics(&self) -> Vec<ExportMetricsServiceRequest> {
        self.received.metrics.lock().unwrap().clone()
    }

    /// All log records so far, in the order in which they came.
    pub fn logs(&self) -> Vec<LogRecord> {
        self.received.logs.lock().unwrap().clone()
    }

    /// Waits for the first span that matches.
    pub async fn span(&self, wanted: impl Fn(&Exported) -> bool) -> Exported {
        self.until(|| self.spans().into_iter().find(|span| wanted(span))).await
    }

    /// Waits until `look` finds something in what was received.
    pub async fn until<T>(&self, look: impl Fn() -> Option<T>) -> T {
        within(async {
            loop {
                let came = self.received.came.notified();
                if let Some(found) = look() {
                    return found;
                }
                came.await;
            }
        })
        .await
    }
}

async fn accept(socket: std::net::TcpListener, tls: Option<TlsAcceptor>, router: Router) {
    let socket = TcpListener::from_std(socket).unwrap();
    while let Ok((stream, _)) = socket.accept().await {
        let (tls, router) = (tls.clone(), router.clone());
        tokio::spawn(async move {
            match tls {
                None => speak(stream, router).await,
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        speak(stream, router).await;
                    }
                }
            }
        });
    }
}

async fn speak(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, router: Router) {
    let service = service_fn(move |request: Request<Incoming>| {
        let router = router.clone();
        async move { Ok::<_, Infallible>(router.oneshot(request.map(Body::new)).await.unwrap()) }
    });
    // A client that disconnected is ignored.
    drop(http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await);
}

impl Exported {
    pub fn trace(&self) -> String {
        hex::encode(&self.span.trace_id)
    }

    pub fn id(&self) -> String {
        hex::encode(&self.span.span_id)
    }

    /// The parent span; empty for the first of a trace.
    pub fn parent(&self) -> String {
        hex::encode(&self.span.parent_span_id)
    }

    /// All attributes.
    pub fn attributes(&self) -> BTreeMap<String, String> {
        texts(&self.span.attributes)
    }

    /// An attribute; empty if it is not there.
    pub fn attribute(&self, name: &str) -> String {
        self.attributes().remove(name).unwrap_or_default()
    }

    pub fn failed(&self) -> bool {
        self.span.status.as_ref().is_some_and(|status| status.code() == StatusCode::Error)
    }
}

pub fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let mut read = BTreeMap::new();
    for KeyValue { key, value, .. } in attributes {
        let text = match value.as_ref().unwrap().value.as_ref().unwrap() {
            Value::StringValue(text) => text.clone(),
            Value::IntValue(number) => number.to_string(),
            Value::BoolValue(_)
            | Value::DoubleValue(_)
            | Value::ArrayValue(_)
            | Value::KvlistValue(_)
            | Value::BytesValue(_)
            | Value::StringValueStrindex(_) => panic!("{key} is {value:?}"),
        };
        assert_eq!(read.insert(key.clone(), text), None, "{key} is there twice");
    }
    read
}

#[derive(Clone)]
struct Service(Arc<Received>);

#[tonic::async_trait]
impl TraceService for Service {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut spans = self.0.spans.lock().unwrap();
        for of_one in request.into_inner().resource_spans {
            let resource = texts(&of_one.resource.unwrap_or_default().attributes);
            let found = of_one.scope_spans.into_iter().flat_map(|scope| scope.spans);
            spans.extend(found.map(|span| Exported { resource: resource.clone(), span }));
        }
        drop(spans);
        self.0.came.notify_waiters();
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Service {
    async fn export(
        &self,
        request: tonic::Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.0.metrics.lock().unwrap().push(request.into_inner());
        self.0.came.notify_waiters();
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl LogsService for Service {
    async fn export(
        &self,
        request: tonic::Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        let scopes = request.into_inner().resource_logs.into_iter().flat_map(|of_one| of_one.scope_logs);
        self.0.logs.lock().unwrap().extend(scopes.flat_map(|scope| scope.log_records));
        self.0.came.notify_waiters();
        Ok(Response::new(ExportLogsServiceResponse::default()))
    }
}
