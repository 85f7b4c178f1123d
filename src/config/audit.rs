//! The section `audit`: where the audit trail goes besides the log.

use std::num::NonZero;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::config::error::ConfigError;
use crate::config::error::value;
use crate::config::reading::count;
use crate::config::reading::duration;
use crate::telemetry::otlp;
use crate::telemetry::trail;

/// The size of a file from which on it is renamed, if no other is configured.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// How many renamed files are kept, if no other number is configured.
const KEEP: usize = 30;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Audit {
    key: Option<PathBuf>,
    file: Option<PathBuf>,
    #[serde(default, deserialize_with = "count")]
    max_bytes: Option<NonZero<u64>>,
    #[serde(default, deserialize_with = "duration")]
    max_age: Option<Duration>,
    #[serde(default, deserialize_with = "count")]
    keep: Option<NonZero<usize>>,
    #[serde(default)]
    stdout: bool,
    #[serde(default)]
    otlp: bool,
}

impl Audit {
    /// `collector` is that of the section `telemetry`.
    pub(super) fn resolve(self, folder: &Path, collector: Option<&otlp::Config>) -> Result<trail::Config, ConfigError> {
        let Self { key, file, max_bytes, max_age, keep, stdout, otlp } = self;
        if file.is_none() && !stdout && !otlp {
            return Err(value("audit", "name where the audit trail goes: file, stdout: true or otlp: true"));
        }
        let of_file = [
            ("audit.max_bytes", max_bytes.is_some()),
            ("audit.max_age", max_age.is_some()),
            ("audit.keep", keep.is_some()),
        ];
        if let (None, Some((key, _))) = (&file, of_file.into_iter().find(|(_, is_set)| *is_set)) {
            return Err(value(key, "goes only with audit.file"));
        }
        let collector = collector.cloned().filter(|_| otlp);
        if otlp && collector.is_none() {
            return Err(value("audit.otlp", "needs the collector: set telemetry.otlp.endpoint"));
        }
        Ok(trail::Config {
            key: key.map(|key| folder.join(key)),
            file: file.map(|file| trail::FileConfig {
                path: folder.join(file),
                max_bytes: max_bytes.map_or(MAX_BYTES, NonZero::get),
                max_age,
                keep: keep.map_or(KEEP, NonZero::get),
            }),
            stdout,
            otlp: collector,
        })
    }
}
