//! `GET /metrics`: all measures as text, as `OpenMetrics` 1.0 where that is asked for and else in Prometheus' own format 0.0.4.
//! Which series there are is settled where they are measured; nothing that a caller sent is on this page.

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

/// How the page is written.
#[derive(Clone, Copy, Debug)]
enum Format {
    OpenMetrics,
    Prometheus,
}

impl Format {
    /// `OpenMetrics` for whoever names it, as Prometheus does; every other scraper reads the older one.
    fn wanted_by(headers: &HeaderMap) -> Self {
        let named = accept::names(headers, "application/openmetrics-text");
        if named { Self::OpenMetrics } else { Self::Prometheus }
    }

    fn media_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// How many pages are read and printed at once, however often they are asked for.
const TURNS: usize = 2;

/// What the page is read from.
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
    // Off this thread, which serves: reading may look at the disk, and the page is long. It goes on when the one who asked
    // for it has gone.
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
            // There the suffix is part of the family's name.
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
                let Distribution { counts, beyond, sum } = taken;
                let bounded = BOUNDS.into_iter().zip(counts.iter().copied());
                let buckets: Vec<(f64, u64)> = bounded.chain([(f64::INFINITY, *beyond)]).collect();
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
        // No labels are no braces.
        if labels.is_empty() { encode(&mut metric, value) } else { encode(&mut metric.encode_family(labels)?, value) }
    })
}
