//! The section `limits`: the share of each caller, and how long requests may wait.

use std::num::NonZero;
use std::time::Duration;

use serde::Deserialize;

use crate::config::error::ConfigError;
use crate::config::error::value;
use crate::config::reading::count;
use crate::config::reading::duration;
use crate::config::reading::pause;
use crate::config::roles::holder_of;
use crate::limits;
use crate::limits::CallerRole;
use crate::limits::Callers;
use crate::limits::Machine;
use crate::limits::Selector;
use crate::limits::SetBounds;
use crate::limits::SetCallerBounds;
use crate::limits::buffered_bytes;

const KEY: &str = "limits.callers";

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Limits {
    #[serde(deserialize_with = "duration")]
    queue_delay: Option<Duration>,
    #[serde(deserialize_with = "pause")]
    idle_after: Option<Duration>,
    #[serde(deserialize_with = "count")]
    buffered_bytes: Option<NonZero<usize>>,
    callers: Vec<Entry>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Entry {
    role: Option<String>,
    spiffe_id: Option<String>,
    certificate_thumbprint: Option<String>,
    address: Share,
    identity: Share,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Share {
    #[serde(deserialize_with = "count")]
    connections: Option<NonZero<usize>>,
    #[serde(deserialize_with = "count")]
    requests: Option<NonZero<usize>>,
    #[serde(deserialize_with = "count")]
    requests_per_second: Option<NonZero<u32>>,
    #[serde(deserialize_with = "count")]
    buffered_bytes: Option<NonZero<usize>>,
}

impl From<Share> for SetBounds {
    fn from(written: Share) -> Self {
        let Share { connections, requests, requests_per_second, buffered_bytes } = written;
        Self { connections, requests, requests_per_second, buffered_bytes }
    }
}

impl Limits {
    pub(super) fn resolve(self, max_connections: usize, machine: Machine) -> Result<limits::Config, ConfigError> {
        let mut entries: Vec<(Selector, SetCallerBounds)> = Vec::new();
        for entry in self.callers {
            let (selector, set) = entry.resolve()?;
            if entries.iter().any(|(known, _)| *known == selector) {
                return Err(value(KEY, "two entries are for the same callers: put both into one"));
            }
            entries.push((selector, set));
        }
        Ok(limits::Config {
            queue_delay: self.queue_delay.unwrap_or(Duration::from_millis(15)),
            idle_after: self.idle_after.unwrap_or(Duration::from_secs(30)),
            buffered_bytes: self.buffered_bytes.map_or(buffered_bytes(machine), NonZero::get),
            callers: Callers::new(entries, max_connections, machine),
        })
    }
}

impl Entry {
    fn resolve(self) -> Result<(Selector, SetCallerBounds), ConfigError> {
        let set = SetCallerBounds { address: self.address.into(), identity: self.identity.into() };
        let selector = match (self.role, &self.spiffe_id, &self.certificate_thumbprint) {
            (Some(role), None, None) => Selector::Role(role.parse::<CallerRole>().map_err(|_| {
                let role = role.escape_default();
                value(KEY, &format!("'{role}' is not a role: admin, proxy, workload or anonymous"))
            })?),
            (None, Some(_), None) | (None, None, Some(_)) => {
                Selector::Holder(holder_of(KEY, self.spiffe_id, self.certificate_thumbprint)?)
            }
            _ => return Err(value(KEY, "each entry has one of role, spiffe_id and certificate_thumbprint")),
        };
        Ok((selector, set))
    }
}
