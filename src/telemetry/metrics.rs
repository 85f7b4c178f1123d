//! Sends the metrics to an OpenTelemetry collector (OTLP over gRPC), under the same names as for Prometheus.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::common::v1::AnyValue;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value;
use opentelemetry_proto::tonic::metrics::v1::AggregationTemporality;
use opentelemetry_proto::tonic::metrics::v1::Gauge;
use opentelemetry_proto::tonic::metrics::v1::Histogram;
use opentelemetry_proto::tonic::metrics::v1::HistogramDataPoint;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::metrics::v1::NumberDataPoint;
use opentelemetry_proto::tonic::metrics::v1::ResourceMetrics;
use opentelemetry_proto::tonic::metrics::v1::ScopeMetrics;
use opentelemetry_proto::tonic::metrics::v1::Sum;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point;
use opentelemetry_proto::tonic::resource::v1::Resource;
use tonic::transport::Channel;

use crate::authority::clock::Clock;
use crate::authority::clock::Timestamp;
use crate::authority::observe::BOUNDS;
use crate::authority::observe::Distribution;
use crate::authority::observe::Family;
use crate::authority::observe::Labels;
use crate::authority::observe::MetricsReader;
use crate::authority::observe::Sample;
use crate::authority::observe::Samples;
use crate::telemetry::export_failures::ExportFailures;
use crate::telemetry::otlp;

/// The timeout of one export.
const LIMIT: Duration = Duration::from_secs(10);

/// The resource that identifies this process, the same as for traces.
pub fn resource() -> Resource {
    let attributes = otlp::resource().iter().map(|(name, value)| attribute(name.as_str(), value.to_string())).collect();
    Resource { attributes, ..Resource::default() }
}

/// All metrics as one request. Counts are cumulative since `started`.
pub fn request(
    families: &[Family],
    resource: Resource,
    started: Timestamp,
    now: Timestamp,
) -> ExportMetricsServiceRequest {
    let interval = Interval { start: nanoseconds(started), end: nanoseconds(now) };
    let scope = InstrumentationScope {
        name: env!("CARGO_PKG_NAME").to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    };
    // A metric without a data point is left out.
    let metrics = families.iter().map(|family| metric(family, interval)).filter(has_points).collect();
    let scope_metrics = vec![ScopeMetrics { scope: Some(scope), metrics, ..ScopeMetrics::default() }];
    let resource_metrics =
        vec![ResourceMetrics { resource: Some(resource), scope_metrics, ..ResourceMetrics::default() }];
    ExportMetricsServiceRequest { resource_metrics }
}

/// The interval of the counts, in nanoseconds since 1970.
#[derive(Clone, Copy)]
struct Interval {
    start: u64,
    end: u64,
}

fn nanoseconds(moment: Timestamp) -> u64 {
    moment.0.saturating_mul(1_000_000_000)
}

fn metric(family: &Family, interval: Interval) -> Metric {
    let aggregation_temporality = AggregationTemporality::Cumulative.into();
    let (name, data) = match &family.samples {
        Samples::Counters(samples) => {
            let data_points = samples.iter().map(|sample| number(sample, interval)).collect();
            let sum = Sum { data_points, aggregation_temporality, is_monotonic: true };
            (format!("{}_total", family.name), Data::Sum(sum))
        }
        Samples::Gauges(samples) => {
            let now = Interval { start: 0, ..interval };
            let data_points = samples.iter().map(|sample| number(sample, now)).collect();
            (family.name.to_owned(), Data::Gauge(Gauge { data_points }))
        }
        Samples::Histograms(samples) => {
            let data_points = samples.iter().map(|sample| distribution(sample, interval)).collect();
            (family.name.to_owned(), Data::Histogram(Histogram { data_points, aggregation_temporality }))
        }
    };
    let unit = unit(family.name).to_owned();
    Metric { name, description: family.help.to_owned(), unit, data: Some(data), ..Metric::default() }
}

fn has_points(metric: &Metric) -> bool {
    match &metric.data {
        Some(Data::Sum(sum)) => !sum.data_points.is_empty(),
        Some(Data::Gauge(gauge)) => !gauge.data_points.is_empty(),
        Some(Data::Histogram(histogram)) => !histogram.data_points.is_empty(),
        Some(Data::ExponentialHistogram(_) | Data::Summary(_)) | None => false,
    }
}

/// The UCUM unit of a metric, from the suffix of its name.
fn unit(name: &str) -> &'static str {
    match name.rsplit('_').next() {
        Some("seconds") => "s",
        Some("bytes") => "By",
        _ => "1",
    }
}

fn number(sample: &Sample<u64>, interval: Interval) -> NumberDataPoint {
    NumberDataPoint {
        attributes: attributes(&sample.labels),
        start_time_unix_nano: interval.start,
        time_unix_nano: interval.end,
        value: Some(number_data_point::Value::AsInt(i64::try_from(sample.value).unwrap_or(i64::MAX))),
        ..NumberDataPoint::default()
    }
}

fn distribution(sample: &Sample<Distribution>, interval: Interval) -> HistogramDataPoint {
    let Distribution { counts, overflow, sum } = &sample.value;
    HistogramDataPoint {
        attributes: attributes(&sample.labels),
        start_time_unix_nano: interval.start,
        time_unix_nano: interval.end,
        count: sample.value.count(),
        sum: Some(sum.as_secs_f64()),
        bucket_counts: counts.iter().copied().chain([*overflow]).collect(),
        explicit_bounds: BOUNDS.to_vec(),
        ..HistogramDataPoint::default()
    }
}

fn attributes(labels: &Labels) -> Vec<KeyValue> {
    labels.iter().map(|(name, value)| attribute(name, value.clone().into_owned())).collect()
}

fn attribute(name: &str, value: String) -> KeyValue {
    let value = AnyValue { value: Some(any_value::Value::StringValue(value)) };
    KeyValue { key: name.to_owned(), value: Some(value), ..KeyValue::default() }
}

/// Sends the metrics to a collector at an interval. Nothing is queued: counts are cumulative, so the next request
/// contains what a lost one did.
#[derive(Clone, Debug)]
pub struct Push {
    /// The connection to the collector.
    pub channel: Channel,
    /// The time between two exports.
    pub interval: Duration,
    /// Reads the metrics.
    pub metrics: MetricsReader,
    /// The start of the counts.
    pub started: Timestamp,
    /// The source of the timestamps.
    pub clock: Arc<dyn Clock>,
    /// Counts the failed exports.
    pub failures: Arc<ExportFailures>,
}

/// Why an export failed.
#[derive(Debug, thiserror::Error)]
enum ExportError {
    #[error("the collector does not answer in time")]
    Slow,
    #[error("{0}")]
    Refused(tonic::Code),
    #[error("the collector rejected {0} points")]
    PartialSuccess(i64),
    #[error("the metrics could not be read")]
    Unreadable,
}

impl Push {
    /// Exports at each interval until it is dropped.
    pub async fn run(self) {
        let mut failing = false;
        loop {
            tokio::time::sleep(self.interval).await;
            let outcome = self.once().await;
            match &outcome {
                // Logged once: the failures may last for days.
                Err(error) if !failing => tracing::warn!(%error, "the metrics were not exported"),
                Ok(()) if failing => tracing::info!("the metrics are exported again"),
                Ok(()) | Err(_) => {}
            }
            failing = outcome.is_err();
            if failing {
                self.failures.lost_metrics();
            }
        }
    }

    async fn once(&self) -> Result<(), ExportError> {
        let outcome = tokio::time::timeout(LIMIT.min(self.interval), self.export()).await;
        let response = outcome.map_err(|_| ExportError::Slow)??;
        let rejected = response.into_inner().partial_success.map_or(0, |partial| partial.rejected_data_points);
        if rejected == 0 { Ok(()) } else { Err(ExportError::PartialSuccess(rejected)) }
    }

    async fn export(&self) -> Result<tonic::Response<ExportMetricsServiceResponse>, ExportError> {
        let metrics = self.metrics.clone();
        let families =
            tokio::task::spawn_blocking(move || metrics.read()).await.map_err(|_| ExportError::Unreadable)?;
        let mut request = tonic::Request::new(request(&families, resource(), self.started, self.clock.now()));
        *request.metadata_mut() = otlp::headers().clone();
        let outcome = MetricsServiceClient::new(self.channel.clone()).export(request).await;
        outcome.map_err(|status| ExportError::Refused(status.code()))
    }
}
