//! The section `telemetry`: the collector that receives traces and metrics.

use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use tonic::transport::Uri;

use crate::config::error::ConfigError;
use crate::config::error::value;
use crate::config::reading::duration;
use crate::telemetry::otlp;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Telemetry {
    otlp: Option<Otlp>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Otlp {
    endpoint: String,
    ca: Option<PathBuf>,
    sample_ratio: Option<f64>,
    #[serde(default, deserialize_with = "duration")]
    metrics_interval: Option<Duration>,
}

impl Telemetry {
    /// Without an endpoint, nothing is exported.
    pub(super) fn resolve(self, folder: &Path) -> Result<Option<otlp::Config>, ConfigError> {
        self.otlp.map(|otlp| otlp.resolve(folder)).transpose()
    }
}

impl Otlp {
    fn resolve(self, folder: &Path) -> Result<otlp::Config, ConfigError> {
        let endpoint = endpoint(&self.endpoint).ok_or_else(|| {
            value(
                "telemetry.otlp.endpoint",
                "must be http://HOST:PORT or https://HOST:PORT, such as http://localhost:4317",
            )
        })?;
        if self.ca.is_some() && endpoint.scheme_str() != Some("https") {
            return Err(value("telemetry.otlp.ca", "goes only with an https endpoint"));
        }
        let sample_ratio = self.sample_ratio.unwrap_or(1.0);
        if !(0.0..=1.0).contains(&sample_ratio) {
            return Err(value("telemetry.otlp.sample_ratio", "must be a number from 0 to 1"));
        }
        let metrics_interval = self.metrics_interval.unwrap_or(Duration::from_mins(1));
        if metrics_interval < Duration::from_secs(1) {
            return Err(value("telemetry.otlp.metrics_interval", "must be 1s or more"));
        }
        Ok(otlp::Config { endpoint, ca: self.ca.map(|ca| folder.join(ca)), sample_ratio, metrics_interval })
    }
}

/// Reads the URL of a collector.
fn endpoint(text: &str) -> Option<Uri> {
    let uri: Uri = text.parse().ok()?;
    let authority = uri.authority()?;
    let whole = matches!(uri.scheme_str(), Some("http" | "https"))
        && !authority.host().is_empty()
        && !authority.as_str().contains('@')
        && uri.path() == "/"
        && uri.query().is_none();
    whole.then_some(uri)
}
