//! The log, and the export of traces and metrics to a collector.

mod audit;
mod export_failures;
mod format;
mod level;
mod line;
pub mod metrics;
pub mod otlp;

use std::panic;
use std::sync::Arc;
use std::sync::OnceLock;

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

pub use crate::telemetry::audit::WithTrace;
pub use crate::telemetry::export_failures::ExportFailures;
pub use crate::telemetry::format::Format;
pub use crate::telemetry::level::InvalidLevel;
pub use crate::telemetry::level::LogLevel;
use crate::telemetry::line::Line;
use crate::telemetry::otlp::OtlpError;
use crate::telemetry::otlp::Traces;
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

/// The handle to the level of the log. A process has one log, which lives as long as the process.
static LEVEL: OnceLock<reload::Handle<Targets, Registry>> = OnceLock::new();

/// Starts the log on standard error, and the export of traces if a collector is configured. With or without a
/// collector, each line of a request has its `trace_id`. Failed exports are counted in `failures`. A second call in one
/// process has no effect.
pub fn start(
    log: &Config,
    otlp: Option<&otlp::Config>,
    failures: &Arc<ExportFailures>,
) -> Result<Option<Traces>, OtlpError> {
    let (level, handle) = reload::Layer::new(log.level.targets());
    // No ANSI colours: programs read the log too, and what callers send must not become control sequences.
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false);
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
        drop(LEVEL.set(handle));
    } else {
        tracing::debug!("the log was already started");
    }
    Ok(exporting)
}

/// Changes the level from now on. Has no effect if no log was started.
pub fn set_level(level: &LogLevel) {
    if let Some(handle) = LEVEL.get() {
        // This fails only if the subscriber is gone, which lives as long as the process.
        drop(handle.reload(level.targets()));
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
