//! The log.

use std::panic;
use std::sync::OnceLock;

use serde::Deserialize;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::Registry;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt as _;

/// How the log looks.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// One line of text an event, or one JSON object.
    pub format: Format,
    /// What is logged: `info`, or directives such as `warn,lanyard::audit=info`.
    pub level: String,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For machines.
    Json,
}

impl Default for Config {
    fn default() -> Self {
        Self { format: Format::Text, level: "info".to_owned() }
    }
}

/// The level is not a list of directives.
#[derive(Debug, thiserror::Error)]
#[error("log.level: {0}")]
pub struct InvalidLevel(#[from] tracing_subscriber::filter::ParseError);

/// What is logged, as long as the process lives: there is one log in it.
static LEVEL: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// Starts the log on standard error. A second call in one process changes nothing.
pub fn start(config: &Config) -> Result<(), InvalidLevel> {
    let (filter, level) = reload::Layer::new(EnvFilter::try_new(&config.level)?);
    // No ANSI colours: the log is also read by machines, and what callers send must not become control sequences.
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    let log = tracing_subscriber::registry().with(filter);
    let started = match config.format {
        Format::Text => log.with(lines).try_init(),
        Format::Json => log.with(lines.json().flatten_event(true)).try_init(),
    };
    // The usual words of a panic may hold what a caller sent; where it was is enough to find it.
    panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(tracing::field::display);
        tracing::error!(location, "something panicked");
    }));
    match started {
        Ok(()) => drop(LEVEL.set(level)),
        Err(_) => tracing::debug!("the log was started before"),
    }
    Ok(())
}

/// Changes what is logged from now on. Where no log was started there is nothing to change.
pub fn set_level(level: &str) -> Result<(), InvalidLevel> {
    let filter = EnvFilter::try_new(level)?;
    if let Some(handle) = LEVEL.get() {
        // It fails only when the subscriber is gone, and that lives as long as the process.
        drop(handle.reload(filter));
    }
    Ok(())
}
