//! The section `workload_api`: the source of this server's SVID and of the bundles, if it is used.

use std::env;
use std::time::Duration;

use serde::Deserialize;

use crate::config::error::ConfigError;
use crate::config::error::value;
use crate::config::reading::duration;
use crate::trust_sources::workload_api;
use crate::trust_sources::workload_api::parse_endpoint;

/// The variable that names the socket if the section does not (SPIFFE Workload Endpoint section 4).
const ENDPOINT: &str = "SPIFFE_ENDPOINT_SOCKET";

/// The lower limit of a bundle's maximum age: refusing a bundle sooner than an agent can be restarted is of no use.
const LEAST_MAX_AGE: Duration = Duration::from_mins(1);

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct WorkloadApi {
    endpoint_socket: Option<String>,
    #[serde(deserialize_with = "duration")]
    max_age: Option<Duration>,
    #[serde(deserialize_with = "duration")]
    start_timeout: Option<Duration>,
}

impl WorkloadApi {
    pub(super) fn resolve(self) -> Result<workload_api::Config, ConfigError> {
        const KEY: &str = "workload_api.endpoint_socket";
        let (key, text) = match self.endpoint_socket {
            Some(text) => (KEY, text),
            None => match env::var_os(ENDPOINT) {
                Some(text) => (ENDPOINT, text.to_string_lossy().into_owned()),
                None => return Err(value(KEY, "is missing, and SPIFFE_ENDPOINT_SOCKET is not set")),
            },
        };
        let endpoint = parse_endpoint(&text).map_err(|error| value(key, &error.to_string()))?;
        let max_age = self.max_age.unwrap_or(Duration::from_hours(1));
        if max_age < LEAST_MAX_AGE {
            return Err(value("workload_api.max_age", "must be 1m or longer"));
        }
        let start_timeout = self.start_timeout.unwrap_or(Duration::from_secs(10));
        Ok(workload_api::Config { endpoint, max_age, start_timeout })
    }
}
