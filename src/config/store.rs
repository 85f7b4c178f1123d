//! The section `store`: where the records are kept.

use std::net::IpAddr;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use tonic::transport::Uri;

use crate::authority::identity::parse_spiffe_id;
use crate::config::error::ConfigError;
use crate::config::error::value;
use crate::config::reading::duration;
use crate::store::etcd::EtcdConfig;
use crate::store::peer::ExpectedPeer;
use crate::store::peer::OwnCertificate;
use crate::store::peer::PeerTls;

/// Where the records are kept.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum StoreConfig {
    /// In memory only, lost on exit.
    Memory,
    /// In the embedded store in this directory.
    Sled(PathBuf),
    /// In etcd.
    Etcd(EtcdConfig),
}

impl StoreConfig {
    /// The directory of the embedded store, if that is used.
    pub fn directory(&self) -> Option<&Path> {
        match self {
            Self::Sled(directory) => Some(directory),
            Self::Memory | Self::Etcd(_) => None,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Section {
    sled: Option<Sled>,
    etcd: Option<Etcd>,
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

impl Section {
    /// The store, and the bound of the staleness: by default there is one only where other replicas write too.
    pub(super) fn resolve(
        self,
        folder: &Path,
        has_workload_api: bool,
    ) -> Result<(StoreConfig, Option<Duration>), ConfigError> {
        let store = match (self.sled, self.etcd, self.memory) {
            (Some(Sled { path }), None, false) => StoreConfig::Sled(folder.join(path)),
            (None, Some(etcd), false) => StoreConfig::Etcd(etcd.resolve(folder, has_workload_api)?),
            (None, None, true) => StoreConfig::Memory,
            _ => {
                return Err(value("store", "name one of sled with its path, etcd with its endpoints, or memory: true"));
            }
        };
        let default = matches!(store, StoreConfig::Etcd(_)).then_some(Duration::from_mins(1));
        Ok((store, self.max_staleness.or(default)))
    }
}

/// The value of `store.etcd.certificate` that is no file.
const WORKLOAD_API: &str = "workload_api";

impl Etcd {
    fn resolve(self, folder: &Path, has_workload_api: bool) -> Result<EtcdConfig, ConfigError> {
        const ENDPOINTS: &str = "store.etcd.endpoints";
        let endpoints = self.endpoints.iter().map(|text| {
            endpoint(text).ok_or_else(|| {
                let text = text.escape_default();
                value(ENDPOINTS, &format!("'{text}' is not https://HOST:PORT, or http:// with a loopback address"))
            })
        });
        let endpoints: Vec<Uri> = endpoints.collect::<Result<_, _>>()?;
        let https = endpoints.iter().filter(|endpoint| endpoint.scheme_str() == Some("https")).count();
        if endpoints.is_empty() {
            return Err(value(ENDPOINTS, "names no member"));
        }
        if https != 0 && https != endpoints.len() {
            return Err(value(ENDPOINTS, "must all be https"));
        }
        let tls = self.tls(folder, https != 0, has_workload_api)?;
        let prefix = self.prefix.unwrap_or_else(|| "/lanyard".to_owned());
        if !is_prefix(&prefix) {
            return Err(value(
                "store.etcd.prefix",
                "must be segments that begin with a slash and have no colon, such as /lanyard",
            ));
        }
        let endpoints = endpoints.iter().map(ToString::to_string).collect();
        Ok(EtcdConfig { endpoints, prefix, tls, timeout: self.timeout.unwrap_or(Duration::from_secs(5)) })
    }
}

impl Etcd {
    fn tls(&self, folder: &Path, https: bool, has_workload_api: bool) -> Result<Option<PeerTls>, ConfigError> {
        let client = match (&self.certificate, &self.key) {
            (Some(certificate), None) if certificate.as_os_str() == WORKLOAD_API => OwnCertificate::WorkloadApi,
            (Some(certificate), Some(_)) if certificate.as_os_str() == WORKLOAD_API => {
                return Err(value("store.etcd.key", "goes with a file: the Workload API has the key too"));
            }
            (Some(certificate), Some(key)) => OwnCertificate::Files(folder.join(certificate), folder.join(key)),
            (None, None) => OwnCertificate::Nothing,
            (Some(_), None) => return Err(value("store.etcd.key", "is missing: it goes with store.etcd.certificate")),
            (None, Some(_)) => return Err(value("store.etcd.certificate", "is missing: it goes with store.etcd.key")),
        };
        let server = match (&self.ca, &self.server_spiffe_id) {
            (Some(_), Some(_)) => {
                return Err(value("store.etcd.server_spiffe_id", "and store.etcd.ca exclude each other"));
            }
            (Some(ca), None) => Some(ExpectedPeer::Ca(folder.join(ca))),
            (None, Some(id)) => {
                let id = parse_spiffe_id(id).filter(|id| !id.path().is_empty());
                let problem = "must be the SPIFFE ID of a workload";
                Some(ExpectedPeer::Svid(id.ok_or_else(|| value("store.etcd.server_spiffe_id", problem))?))
            }
            (None, None) => None,
        };
        let tls = match server {
            Some(server) if https => PeerTls { server, client },
            None if https => {
                return Err(value("store.etcd.ca", "is missing: only this CA may have issued etcd's certificates"));
            }
            None if client == OwnCertificate::Nothing => return Ok(None),
            _ => return Err(value("store.etcd.ca", "and certificates go only with https endpoints")),
        };
        if tls.needs_workload_api() && !has_workload_api {
            let key = if tls.client == OwnCertificate::WorkloadApi {
                "store.etcd.certificate"
            } else {
                "store.etcd.server_spiffe_id"
            };
            return Err(value(key, "needs the section workload_api"));
        }
        Ok(Some(tls))
    }
}

/// Reads the client URL of a member. Without TLS, anybody on the network could write records.
fn endpoint(text: &str) -> Option<Uri> {
    let uri: Uri = text.parse().ok()?;
    let authority = uri.authority()?;
    let host = authority.host();
    let plain = host.trim_matches(['[', ']']).parse().is_ok_and(|address: IpAddr| address.is_loopback());
    let whole = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => plain || host == "localhost",
        _ => false,
    } && !host.is_empty()
        && authority.port().is_some()
        && !authority.as_str().contains('@')
        && uri.path() == "/"
        && uri.query().is_none();
    whole.then_some(uri)
}

fn is_prefix(text: &str) -> bool {
    let mut segments = text.split('/');
    let visible =
        |segment: &str| !segment.is_empty() && segment.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':');
    segments.next() == Some("") && text.len() > 1 && text.len() <= 256 && segments.all(visible)
}
