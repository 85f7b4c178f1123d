//! The log, and what is told to collectors.

mod audit;
mod export_failures;
mod format;
mod line;
pub mod metrics;
pub mod otlp;

use std::panic;
use std::sync::Arc;
use std::sync::OnceLock;

use serde::Deserialize;
use tracing::Level;
use tracing::Metadata;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::Registry;
use tracing_subscriber::filter::FilterExt as _;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt as _;

pub use crate::telemetry::audit::WithTrace;
pub use crate::telemetry::export_failures::ExportFailures;
pub use crate::telemetry::format::Format;
use crate::telemetry::line::Line;
use crate::telemetry::otlp::OtlpError;
use crate::telemetry::otlp::Traces;
use crate::trace_context::REQUESTS;

/// How the log looks.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// One line of text an event, or one JSON object.
    pub format: Format,
    /// What is logged: `info`, or directives such as `warn,lanyard::audit=info`. Other crates than this one are never heard
    /// below `info`, whatever it says: what they print there may hold what callers send, their tokens included.
    pub level: String,
}

impl Default for Config {
    fn default() -> Self {
        Self { format: Format::Text, level: "info".to_owned() }
    }
}

/// The level is not a list of directives.
#[derive(Debug, thiserror::Error)]
#[error("log.level: {0}")]
pub struct InvalidLevel(#[from] ParseError);

/// Why there is no telemetry.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The log.
    #[error(transparent)]
    Log(#[from] InvalidLevel),
    /// The collector.
    #[error(transparent)]
    Otlp(#[from] OtlpError),
}

/// What is logged, as long as the process lives: there is one log in it.
static LEVEL: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// Starts the log on standard error, and the export of traces, if there is a collector. Each line of a request has its
/// `trace_id`, with a collector or without. What cannot be exported is counted in `failures`. A second call in one process
/// changes nothing.
pub fn start(
    log: &Config,
    otlp: Option<&otlp::Config>,
    failures: &Arc<ExportFailures>,
) -> Result<Option<Traces>, StartError> {
    let (level, handle) = reload::Layer::new(filter(&log.level)?);
    // No ANSI colours: the log is also read by machines, and what callers send must not become control sequences.
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    let format = log.format;
    let lines = match format {
        Format::Text => lines.map_event_format(|inner| Line { inner, format }).boxed(),
        Format::Json => lines.json().flatten_event(true).map_event_format(|inner| Line { inner, format }).boxed(),
    };
    // Without a hint each place in the code below the level would be looked up.
    let ours = filter_fn(is_ours_to_tell).with_max_level_hint(LevelFilter::TRACE);
    let mut layers = vec![lines.with_filter(level.and(ours)).boxed()];
    let mut exporting = None;
    if let Some(config) = otlp {
        let (begun, tracer) = Traces::start(config, Arc::clone(failures))?;
        let spans = tracing_opentelemetry::layer()
            .with_tracer(tracer)
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_context_activation(false);
        layers.push(spans.with_filter(filter_fn(is_request).with_max_level_hint(LevelFilter::INFO)).boxed());
        exporting = Some(begun);
    }
    let started = tracing_subscriber::registry().with(layers).try_init();
    // The usual words of a panic may hold what a caller sent; where it was is enough to find it.
    panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(tracing::field::display);
        tracing::error!(location, "something panicked");
    }));
    if started.is_ok() {
        drop(LEVEL.set(handle));
    } else {
        tracing::debug!("the log was started before");
    }
    Ok(exporting)
}

/// Whether the log could be started so.
pub fn check(log: &Config) -> Result<(), InvalidLevel> {
    filter(&log.level).map(drop)
}

/// Changes what is logged from now on. Where no log was started there is nothing to change.
pub fn set_level(level: &str) -> Result<(), InvalidLevel> {
    let filter = filter(level)?;
    if let Some(handle) = LEVEL.get() {
        // It fails only when the subscriber is gone, and that lives as long as the process.
        drop(handle.reload(filter));
    }
    Ok(())
}

fn filter(level: &str) -> Result<EnvFilter, InvalidLevel> {
    EnvFilter::try_new(level).map_err(InvalidLevel)
}

fn is_request(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && metadata.target() == REQUESTS
}

fn is_ours_to_tell(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    let ours = target == "lanyard" || target.starts_with("lanyard::");
    !is_request(metadata) && (ours || *metadata.level() <= Level::INFO)
}
