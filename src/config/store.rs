//! The section `store`: where the records are kept.

use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::config::error::ConfigError;
use crate::config::error::value;
use crate::config::peers::Names;
use crate::config::peers::Peers;
use crate::config::reading::duration;
use crate::store::etcd::EtcdConfig;
use crate::store::peer::OwnCertificate;
use crate::store::upstream::UpstreamConfig;

/// Where the records are kept.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum StoreConfig {
    /// In memory only, lost on exit.
    Memory,
    /// In the embedded store in this directory.
    Sled(PathBuf),
    /// In etcd.
    Etcd(EtcdConfig),
    /// At the servers of the centre: this one is an edge.
    Upstream(UpstreamConfig),
}

impl StoreConfig {
    /// The directory of the embedded store, if that is used.
    pub fn directory(&self) -> Option<&Path> {
        match self {
            Self::Sled(directory) => Some(directory),
            Self::Memory | Self::Etcd(_) | Self::Upstream(_) => None,
        }
    }

    /// Whether the server is an edge.
    pub fn is_of_an_edge(&self) -> bool {
        matches!(self, Self::Upstream(_))
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Section {
    sled: Option<Sled>,
    etcd: Option<Etcd>,
    upstream: Option<Upstream>,
    #[serde(default)]
    memory: bool,
    #[serde(default, deserialize_with = "duration")]
    max_staleness: Option<Duration>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sled {
    path: PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Etcd {
    endpoints: Vec<String>,
    prefix: Option<String>,
    ca: Option<PathBuf>,
    server_spiffe_id: Option<String>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    #[serde(default, deserialize_with = "duration")]
    timeout: Option<Duration>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Upstream {
    endpoints: Vec<String>,
    ca: Option<PathBuf>,
    server_spiffe_id: Option<String>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
}

impl Section {
    /// Whether the server is to be an edge.
    pub(super) fn is_of_an_edge(&self) -> bool {
        self.upstream.is_some()
    }

    /// The store, and the bound of the staleness: by default there is one only where others write too.
    pub(super) fn resolve(
        self,
        folder: &Path,
        has_workload_api: bool,
    ) -> Result<(StoreConfig, Option<Duration>), ConfigError> {
        let store = match (self.sled, self.etcd, self.upstream, self.memory) {
            (Some(Sled { path }), None, None, false) => StoreConfig::Sled(folder.join(path)),
            (None, Some(etcd), None, false) => StoreConfig::Etcd(etcd.resolve(folder, has_workload_api)?),
            (None, None, Some(upstream), false) => StoreConfig::Upstream(upstream.resolve(folder, has_workload_api)?),
            (None, None, None, true) => StoreConfig::Memory,
            _ => {
                return Err(value(
                    "store",
                    "name one of sled with its path, etcd with its endpoints, upstream with its endpoints, or memory: true",
                ));
            }
        };
        let is_shared = matches!(store, StoreConfig::Etcd(_) | StoreConfig::Upstream(_));
        Ok((store, self.max_staleness.or(is_shared.then_some(Duration::from_mins(1)))))
    }
}

impl Etcd {
    const NAMES: Names = Names {
        endpoints: "store.etcd.endpoints",
        ca: "store.etcd.ca",
        server_spiffe_id: "store.etcd.server_spiffe_id",
        certificate: "store.etcd.certificate",
        key: "store.etcd.key",
        one: "member",
        theirs: "etcd's",
    };

    fn resolve(self, folder: &Path, has_workload_api: bool) -> Result<EtcdConfig, ConfigError> {
        let Self { endpoints, prefix, ca, server_spiffe_id, certificate, key, timeout } = self;
        let peers = Peers { names: Self::NAMES, endpoints, ca, server_spiffe_id, certificate, key };
        let (endpoints, tls) = peers.resolve(folder, has_workload_api)?;
        let prefix = prefix.unwrap_or_else(|| "/lanyard".to_owned());
        if !is_prefix(&prefix) {
            return Err(value(
                "store.etcd.prefix",
                "must be segments that begin with a slash and have no colon, such as /lanyard",
            ));
        }
        Ok(EtcdConfig { endpoints, prefix, tls, timeout: timeout.unwrap_or(Duration::from_secs(5)) })
    }
}

impl Upstream {
    const NAMES: Names = Names {
        endpoints: "store.upstream.endpoints",
        ca: "store.upstream.ca",
        server_spiffe_id: "store.upstream.server_spiffe_id",
        certificate: "store.upstream.certificate",
        key: "store.upstream.key",
        one: "server",
        theirs: "the servers'",
    };

    fn resolve(self, folder: &Path, has_workload_api: bool) -> Result<UpstreamConfig, ConfigError> {
        let Self { endpoints, ca, server_spiffe_id, certificate, key } = self;
        let peers = Peers { names: Self::NAMES, endpoints, ca, server_spiffe_id, certificate, key };
        let (endpoints, tls) = peers.resolve(folder, has_workload_api)?;
        if tls.as_ref().is_some_and(|tls| tls.client == OwnCertificate::Nothing) {
            let problem = "is missing: the centre knows an edge by its certificate, which may be workload_api";
            return Err(value(Self::NAMES.certificate, problem));
        }
        Ok(UpstreamConfig { endpoints, tls })
    }
}

fn is_prefix(text: &str) -> bool {
    let mut segments = text.split('/');
    let visible =
        |segment: &str| !segment.is_empty() && segment.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':');
    segments.next() == Some("") && text.len() > 1 && text.len() <= 256 && segments.all(visible)
}
