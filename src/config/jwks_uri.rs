//! The section `jwks_uri`: where clients may publish their certificates, and how these are fetched.

use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::authority::registration::AllowedHosts;
use crate::authority::registration::JwksUriPolicy;
use crate::config::error::ConfigError;
use crate::config::error::value;
use crate::config::reading::duration;
use crate::trust_sources;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct JwksUri {
    allowed_hosts: Vec<String>,
    ca: Option<PathBuf>,
    allow_private_addresses: bool,
    #[serde(deserialize_with = "duration")]
    poll: Option<Duration>,
    #[serde(deserialize_with = "duration")]
    timeout: Option<Duration>,
    #[serde(deserialize_with = "duration")]
    keep: Option<Duration>,
    discovery: Discovery,
}

/// Whether an unknown certificate is looked up when its holder requests a token.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Discovery {
    /// An unknown certificate fails the handshake, so an unauthenticated peer cannot make this server send requests.
    #[default]
    Off,
    OnDemand,
}

impl JwksUri {
    pub(super) fn resolve(
        self,
        folder: &Path,
    ) -> Result<(JwksUriPolicy, trust_sources::jwks_uri::Config), ConfigError> {
        let allowed_hosts = AllowedHosts::parse(&self.allowed_hosts)
            .map_err(|error| value("jwks_uri.allowed_hosts", &error.to_string()))?;
        let config = trust_sources::jwks_uri::Config {
            ca: self.ca.map(|path| folder.join(path)),
            allow_private_addresses: self.allow_private_addresses,
            poll: self.poll.unwrap_or(Duration::from_mins(1)),
            timeout: self.timeout.unwrap_or(Duration::from_secs(2)),
        };
        let keep = self.keep.unwrap_or(Duration::from_hours(1));
        if keep < config.poll + config.timeout {
            let problem = "must be longer than poll and timeout together: else certificates lapse between two fetches";
            return Err(value("jwks_uri.keep", problem));
        }
        let on_demand = self.discovery == Discovery::OnDemand;
        if on_demand && allowed_hosts.is_empty() {
            return Err(value("jwks_uri.discovery", "finds nothing where jwks_uri.allowed_hosts names no host"));
        }
        Ok((JwksUriPolicy { allowed_hosts, keep, on_demand }, config))
    }
}
