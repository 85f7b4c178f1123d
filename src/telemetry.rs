//! The log.

use std::panic;

use serde::Deserialize;
use tracing_subscriber::EnvFilter;

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

/// Starts the log on standard error. A second call in one process changes nothing.
pub fn start(config: &Config) -> Result<(), InvalidLevel> {
    let filter = EnvFilter::try_new(&config.level)?;
    // No ANSI colours: the log is also read by machines, and what callers send must not become control sequences.
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false);
    let started = match config.format {
        Format::Text => builder.try_init(),
        Format::Json => builder.json().flatten_event(true).try_init(),
    };
    // The usual words of a panic may hold what a caller sent; where it was is enough to find it.
    panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(tracing::field::display);
        tracing::error!(location, "something panicked");
    }));
    if started.is_err() {
        tracing::debug!("the log was started before");
    }
    Ok(())
}
