//! Sends traces to an OpenTelemetry collector: OTLP over gRPC.
//!
//! Spans wait in a bounded queue and are sent in batches by threads of their own. A span is dropped if the queue is
//! full or the collector does not answer; no request waits for the export. The standard variables `OTEL_BSP_…` (sizes
//! of the queue and of batches, and the delay between batches), `OTEL_EXPORTER_OTLP_HEADERS` and
//! `OTEL_RESOURCE_ATTRIBUTES` are in effect.

use std::env;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::LazyLock;
use std::thread;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::ExporterBuildError;
use opentelemetry_otlp::SpanExporter as OtlpExporter;
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_otlp::WithTonicConfig as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkError;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::resource::EnvResourceDetector;
use opentelemetry_sdk::trace::IdGenerator as _;
use opentelemetry_sdk::trace::RandomIdGenerator;
use opentelemetry_sdk::trace::Sampler;
use opentelemetry_sdk::trace::SdkTracer;
use opentelemetry_sdk::trace::SdkTracerProvider;
use opentelemetry_sdk::trace::SpanData;
use opentelemetry_sdk::trace::SpanExporter;
use percent_encoding::percent_decode_str;
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio_rustls::TlsConnector;
use tonic::metadata::AsciiMetadataKey;
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;
use tonic::transport::Endpoint;
use tonic::transport::Uri;
use tower::service_fn;

use crate::authority::clock::SystemClock;
use crate::telemetry::export_failures::ExportFailures;
use crate::tls::outbound;
use crate::tls::outbound::OutboundError;

const HEADERS_VARIABLE: &str = "OTEL_EXPORTER_OTLP_HEADERS";

/// The timeout for connecting to the collector.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The timeout of one batch, retries included.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);

/// The timeout of the last export at shutdown.
const LAST_SPANS: Duration = Duration::from_secs(3);

/// The configuration of the collector.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The collector: an http or https URL without a path.
    pub endpoint: Uri,
    /// The CAs that are trusted for the collector, PEM; `None`: the machine's.
    pub ca: Option<PathBuf>,
    /// The share of new traces that are exported, from 0 to 1. A caller's own decision is followed.
    pub sample_ratio: f64,
    /// The time between two exports of the metrics.
    pub metrics_interval: Duration,
}

/// Why the export cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum OtlpError {
    /// The CAs of the collector cannot be used.
    #[error("telemetry.otlp: {0}")]
    Outbound(#[from] OutboundError),
    /// A variable `OTEL_…` has an invalid value.
    #[error("telemetry.otlp: {0}")]
    Setup(#[from] ExporterBuildError),
    /// A thread or a runtime cannot be started.
    #[error("telemetry.otlp: {0}")]
    Thread(#[from] io::Error),
}

/// The resource of this process: the name `lanyard`, its version, and a random identifier of the process.
/// `OTEL_RESOURCE_ATTRIBUTES` adds attributes and has precedence.
pub fn resource() -> &'static Resource {
    static RESOURCE: LazyLock<Resource> = LazyLock::new(|| {
        let instance = RandomIdGenerator::default().new_trace_id().to_string();
        Resource::builder_empty()
            .with_attributes([
                KeyValue::new("service.name", "lanyard"),
                KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
                KeyValue::new("service.instance.id", instance),
            ])
            .with_detector(Box::new(EnvResourceDetector::new()))
            .build()
    });
    &RESOURCE
}

/// The TLS configuration towards the collector; `None` for an http URL.
pub fn tls(config: &Config) -> Result<Option<ClientConfig>, OutboundError> {
    if config.endpoint.scheme_str() != Some("https") {
        return Ok(None);
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut tls = outbound::config(config.ca.as_deref(), provider, Arc::new(SystemClock))?;
    tls.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Some(tls))
}

/// The metadata in the standard variable `OTEL_EXPORTER_OTLP_HEADERS`, such as a credential: `name=value`, separated by
/// commas, values percent-encoded. The exporter of traces reads the variable itself.
pub(super) fn headers() -> &'static MetadataMap {
    #[expect(clippy::disallowed_methods, reason = "the exporter of traces reads the standard variables itself")]
    static HEADERS: LazyLock<MetadataMap> =
        LazyLock::new(|| read_headers(&env::var(HEADERS_VARIABLE).unwrap_or_default()));
    &HEADERS
}

fn read_headers(text: &str) -> MetadataMap {
    let mut headers = MetadataMap::new();
    for (name, value) in text.split(',').filter_map(|pair| pair.split_once('=')) {
        let value = percent_decode_str(value.trim()).decode_utf8_lossy();
        if let (Ok(name), Ok(value)) = (AsciiMetadataKey::from_bytes(name.trim().as_bytes()), value.parse()) {
            headers.insert(name, value);
        }
    }
    headers
}

/// A channel to the collector that connects at the first call. It must be made within a runtime, which then drives it.
pub fn channel(config: &Config) -> Result<Channel, OutboundError> {
    let endpoint = Endpoint::from(config.endpoint.clone()).connect_timeout(CONNECT_TIMEOUT).timeout(EXPORT_TIMEOUT);
    let Some(tls) = tls(config)? else { return Ok(endpoint.connect_lazy()) };
    let connector = TlsConnector::from(Arc::new(tls));
    Ok(endpoint.connect_with_connector_lazy(service_fn(move |uri: Uri| {
        let connector = connector.clone();
        async move {
            let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
            let stream = TcpStream::connect((host.as_str(), uri.port_u16().unwrap_or(443))).await?;
            let name = ServerName::try_from(host).map_err(io::Error::other)?;
            connector.connect(name, stream).await.map(TokioIo::new)
        }
    })))
}

/// The running export of traces.
#[derive(Debug)]
pub struct Traces {
    provider: SdkTracerProvider,
    /// Dropping it ends the thread that drives the connection to the collector.
    _alive: oneshot::Sender<()>,
}

impl Traces {
    /// Starts the export. Returns the tracer that makes spans.
    pub(super) fn start(config: &Config, failures: Arc<ExportFailures>) -> Result<(Self, SdkTracer), OtlpError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let entered = runtime.enter();
        let channel = channel(config)?;
        drop(entered);
        let exporter =
            OtlpExporter::builder().with_tonic().with_channel(channel).with_timeout(EXPORT_TIMEOUT).build()?;
        let counted = Counted { exporter: Arc::new(exporter), runtime: runtime.handle().clone(), failures };
        let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(config.sample_ratio)));
        let provider = SdkTracerProvider::builder()
            .with_sampler(sampler)
            .with_resource(resource().clone())
            .with_batch_exporter(counted)
            .build();
        let (alive, end) = oneshot::channel::<()>();
        thread::Builder::new().name("lanyard-traces".to_owned()).spawn(move || {
            // Carries no value; closing it is the signal.
            drop(runtime.block_on(end));
        })?;
        let tracer = provider.tracer("lanyard");
        Ok((Self { provider, _alive: alive }, tracer))
    }

    /// Sends the remaining spans, within a few seconds.
    pub async fn finish(self) {
        let (done, finished) = oneshot::channel::<()>();
        let flush = move || {
            if self.provider.shutdown_with_timeout(LAST_SPANS).is_err() {
                tracing::warn!("the last traces were not delivered");
            }
            drop(done);
        };
        if thread::Builder::new().name("lanyard-flush".to_owned()).spawn(flush).is_ok() {
            // Carries no value; closing it is the signal.
            drop(tokio::time::timeout(LAST_SPANS.saturating_mul(2), finished).await);
        }
    }
}

/// Counts the batches that are not delivered. It calls the exporter on the runtime of its channel, since the thread of
/// the queue has no runtime.
#[derive(Debug)]
struct Counted {
    exporter: Arc<OtlpExporter>,
    runtime: Handle,
    failures: Arc<ExportFailures>,
}

impl SpanExporter for Counted {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let exporter = Arc::clone(&self.exporter);
        let sent = self.runtime.spawn(async move { exporter.export(batch).await }).await;
        let outcome = sent.unwrap_or_else(|error| Err(OTelSdkError::InternalFailure(error.to_string())));
        if outcome.is_err() && self.failures.lost_spans() == 0 {
            tracing::warn!("traces cannot be delivered to the collector; they are dropped, and the failures counted");
        }
        outcome
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        if let Some(exporter) = Arc::get_mut(&mut self.exporter) {
            exporter.set_resource(resource);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::read_headers;

    #[test]
    fn headers_are_read_as_the_exporter_of_traces_reads_them() {
        let headers = read_headers("authorization=Bearer%20one, x-tenant = two ,bad name=three,,four");
        let read: Vec<_> =
            ["authorization", "x-tenant"].map(|name| headers.get(name).unwrap().to_str().unwrap()).into();
        assert_eq!(read, ["Bearer one", "two"]);
        assert_eq!(headers.len(), 2);
    }
}
