//! `GET /metrics`: all metrics as text, in `OpenMetrics` 1.0 if the request accepts it and otherwise in the Prometheus
//! text format 0.0.4. The series are defined where they are recorded; the page contains nothing that a caller sent.

use std::fmt;
use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse as _;
use axum::response::Response;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::encoding::MetricEncoder;
use prometheus_client::encoding::text;
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use tokio::sync::Semaphore;

use crate::authority::observe::BOUNDS;
use crate::authority::observe::Distribution;
use crate::authority::observe::Family;
use crate::authority::observe::MetricsReader;
use crate::authority::observe::Sample;
use crate::authority::observe::Samples;
use crate::http::accept;

/// The text format of the page.
#[derive(Clone, Copy, Debug)]
enum Format {
    OpenMetrics,
    Prometheus,
}

impl Format {
    /// `OpenMetrics` for a scraper that lists it and does not prefer the older format, as Prometheus does. Every other
    /// scraper gets the older format.
    fn wanted_by(headers: &HeaderMap) -> Self {
        if accept::prefers(headers, "application/openmetrics-text", "text/plain") {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }

    fn media_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// The maximum number of pages that are rendered concurrently, at any request rate.
const TURNS: usize = 2;

/// The source of the page.
#[derive(Clone, Debug)]
pub(super) struct Source {
    metrics: MetricsReader,
    turns: Arc<Semaphore>,
}

impl Source {
    pub(super) fn new(metrics: MetricsReader) -> Self {
        Self { metrics, turns: Arc::new(Semaphore::new(TURNS)) }
    }
}

pub(super) async fn metrics(State(Source { metrics, turns }): State<Source>, headers: HeaderMap) -> Response {
    let format = Format::wanted_by(&headers);
    let Ok(turn) = turns.acquire_owned().await else { return StatusCode::SERVICE_UNAVAILABLE.into_response() };
    // Render on a blocking thread: collecting may read the disk, and the page is long. The task continues after the
    // scraper has disconnected.
    let read = move || {
        let page = page(metrics.read(), format);
        drop(turn);
        page
    };
    match tokio::task::spawn_blocking(read).await {
        Ok(Ok(page)) => ([(CONTENT_TYPE, format.media_type())], page).into_response(),
        Ok(Err(fmt::Error)) | Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn page(families: Vec<Family>, format: Format) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Page { families, format }));
    let mut page = String::new();
    match format {
        Format::OpenMetrics => text::encode(&mut page, &registry)?,
        Format::Prometheus => text::encode_registry(&mut page, &registry)?,
    }
    Ok(page)
}

#[derive(Debug)]
struct Page {
    families: Vec<Family>,
    format: Format,
}

impl Collector for Page {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        self.families.iter().try_for_each(|family| write(family, self.format, &mut encoder))
    }
}

fn write(family: &Family, format: Format, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let Family { name, help, samples } = family;
    match (samples, format) {
        (Samples::Counters(samples), Format::OpenMetrics) => {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            each(samples, metric, |series, count| series.encode_counter::<NoLabels, _, u64>(count, None))
        }
        (Samples::Counters(samples), Format::Prometheus) => {
            // In the Prometheus text format the suffix is part of the family's name.
            let name = format!("{name}_total");
            let metric = encoder.encode_descriptor(&name, help, None, MetricType::Counter)?;
            each(samples, metric, |series, number: &u64| series.encode_gauge::<u64>(number))
        }
        (Samples::Gauges(samples), _) => {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            each(samples, metric, |series, number: &u64| series.encode_gauge::<u64>(number))
        }
        (Samples::Histograms(samples), _) => {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
            each(samples, metric, |series, taken| {
                let Distribution { counts, overflow, sum } = taken;
                let bounded = BOUNDS.into_iter().zip(counts.iter().copied());
                let buckets: Vec<(f64, u64)> = bounded.chain([(f64::INFINITY, *overflow)]).collect();
                series.encode_histogram::<NoLabels>(sum.as_secs_f64(), taken.count(), &buckets, None)
            })
        }
    }
}

type NoLabels = [(&'static str, &'static str); 0];

fn each<V>(
    samples: &[Sample<V>],
    mut metric: MetricEncoder<'_>,
    encode: impl Fn(&mut MetricEncoder<'_>, &V) -> Result<(), fmt::Error>,
) -> Result<(), fmt::Error> {
    samples.iter().try_for_each(|Sample { labels, value }| {
        // Without labels there are no braces.
        if labels.is_empty() { encode(&mut metric, value) } else { encode(&mut metric.encode_family(labels)?, value) }
    })
}
