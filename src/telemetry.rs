//! The log, and the export of traces and metrics to a collector.

mod export_failures;
mod format;
mod level;
mod line;
pub mod metrics;
pub mod otlp;
mod queue;
pub mod trail;
mod writer;

use std::io;
use std::panic;
use std::sync::Arc;
use std::sync::OnceLock;
use std::time::Duration;

use serde::Deserialize;
use tracing::Level;
use tracing::Metadata;
use tracing_subscriber::Layer;
use tracing_subscriber::Registry;
use tracing_subscriber::filter::FilterExt as _;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::authority::observe::Family;
use crate::authority::observe::labels;
pub use crate::telemetry::export_failures::ExportFailures;
pub use crate::telemetry::format::Format;
pub use crate::telemetry::level::InvalidLevel;
pub use crate::telemetry::level::LogLevel;
use crate::telemetry::line::Line;
use crate::telemetry::otlp::OtlpError;
use crate::telemetry::otlp::Traces;
use crate::telemetry::queue::LogQueue;
use crate::telemetry::writer::ToQueue;
use crate::trace_context::REQUESTS;

/// The configuration of the log.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The format of each event: a line of text or a JSON object.
    pub format: Format,
    /// The level. Other crates are never logged below `info`, whatever it says: their debug output may contain what
    /// callers send, including tokens.
    pub level: LogLevel,
}

/// The log of this process, once it has started. A process has one log, which lives as long as the process.
static LOG: OnceLock<Log> = OnceLock::new();

#[derive(Debug)]
struct Log {
    level: reload::Handle<Targets, Registry>,
    queue: Arc<LogQueue>,
}

/// Why the log or the export of traces cannot start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The thread that writes the log cannot start.
    #[error("log: {0}")]
    Log(#[from] io::Error),
    /// The collector cannot be used as it is configured.
    #[error(transparent)]
    Otlp(#[from] OtlpError),
}

/// Starts the log on standard error, and the export of traces if a collector is configured. With or without a
/// collector, each line of a request has its `trace_id`. Failed exports are counted in `failures`. A second call in one
/// process has no effect.
pub fn start(
    log: &Config,
    otlp: Option<&otlp::Config>,
    failures: &Arc<ExportFailures>,
) -> Result<Option<Traces>, TelemetryError> {
    let (level, handle) = reload::Layer::new(log.level.targets());
    let queue = Arc::new(LogQueue::default());
    // No ANSI colours: programs read the log too, and what callers send must not become control sequences. What the
    // subscriber reports about itself would go to standard error past the queue.
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(ToQueue(Arc::clone(&queue)))
        .with_ansi(false)
        .log_internal_errors(false);
    let format = log.format;
    let lines = match format {
        Format::Text => lines.map_event_format(|inner| Line { inner, format }).boxed(),
        Format::Json => lines.json().flatten_event(true).map_event_format(|inner| Line { inner, format }).boxed(),
    };
    // Without a hint, tracing would evaluate every call site below the level.
    let permitted = filter_fn(may_be_logged).with_max_level_hint(LevelFilter::TRACE);
    let mut layers = vec![lines.with_filter(level.and(permitted)).boxed()];
    let mut exporting = None;
    if let Some(config) = otlp {
        let (exporter, tracer) = Traces::start(config, Arc::clone(failures))?;
        let spans = tracing_opentelemetry::layer()
            .with_tracer(tracer)
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_context_activation(false);
        layers.push(spans.with_filter(filter_fn(is_request).with_max_level_hint(LevelFilter::INFO)).boxed());
        exporting = Some(exporter);
    }
    let started = tracing_subscriber::registry().with(layers).try_init();
    // A panic's message may contain what a caller sent. The location is enough to find the panic.
    panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(tracing::field::display);
        tracing::error!(location, "a panic occurred");
    }));
    if started.is_ok() {
        writer::start(Arc::clone(&queue))?;
        drop(LOG.set(Log { level: handle, queue }));
    } else {
        tracing::debug!("the log was already started");
    }
    Ok(exporting)
}

/// How long the end of the process waits for whoever reads the log.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Writes the lines of the log that still wait when it is dropped, at the end of the process. It waits for a second at
/// most.
#[derive(Debug)]
pub struct FlushLog;

impl Drop for FlushLog {
    fn drop(&mut self) {
        if let Some(log) = LOG.get() {
            log.queue.flush(LAST_LINES);
        }
    }
}

/// How many lines of the log were dropped, as a metric family.
pub fn dropped_lines() -> Family {
    let dropped = LOG.get().map(|log| log.queue.dropped()).unwrap_or_default();
    let samples = [("audit", dropped.audit), ("other", dropped.other)];
    let samples = samples.map(|(kind, count)| (labels([("kind", kind)]), count));
    Family::counters("lanyard_log_lines_dropped", "Lines of the log that were not written", samples)
}

/// Changes the level from now on. Has no effect if no log was started.
pub fn set_level(level: &LogLevel) {
    if let Some(log) = LOG.get() {
        // This fails only if the subscriber is gone, which lives as long as the process.
        drop(log.level.reload(level.targets()));
    }
}

fn is_request(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && metadata.target() == REQUESTS
}

fn may_be_logged(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    let ours = target == "lanyard" || target.starts_with("lanyard::");
    !is_request(metadata) && (ours || *metadata.level() <= Level::INFO)
}
