//! The servers that a store is at: their addresses, and who is who.

use std::net::IpAddr;
use std::path::Path;
use std::path::PathBuf;

use tonic::transport::Uri;

use crate::authority::identity::parse_spiffe_id;
use crate::config::error::ConfigError;
use crate::config::error::value;
use crate::store::peer::ExpectedPeer;
use crate::store::peer::OwnCertificate;
use crate::store::peer::PeerTls;

/// The value of `certificate` that is no file.
const WORKLOAD_API: &str = "workload_api";

/// What the keys of the section are called.
pub(super) struct Names {
    pub(super) endpoints: &'static str,
    pub(super) ca: &'static str,
    pub(super) server_spiffe_id: &'static str,
    pub(super) certificate: &'static str,
    pub(super) key: &'static str,
    /// Of one of the servers.
    pub(super) one: &'static str,
    /// Of all of them, in the genitive.
    pub(super) theirs: &'static str,
}

/// The keys, as they are written.
pub(super) struct Peers {
    pub(super) names: Names,
    pub(super) endpoints: Vec<String>,
    pub(super) ca: Option<PathBuf>,
    pub(super) server_spiffe_id: Option<String>,
    pub(super) certificate: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
}

impl Peers {
    /// The endpoints, and the TLS settings where these are `https`.
    pub(super) fn resolve(
        &self,
        folder: &Path,
        has_workload_api: bool,
    ) -> Result<(Vec<String>, Option<PeerTls>), ConfigError> {
        let Names { endpoints: name, one, .. } = self.names;
        let endpoints = self.endpoints.iter().map(|text| {
            endpoint(text).ok_or_else(|| {
                let text = text.escape_default();
                value(name, &format!("'{text}' is not https://HOST:PORT, or http:// with a loopback address"))
            })
        });
        let endpoints: Vec<Uri> = endpoints.collect::<Result<_, _>>()?;
        let https = endpoints.iter().filter(|endpoint| endpoint.scheme_str() == Some("https")).count();
        if endpoints.is_empty() {
            return Err(value(name, &format!("names no {one}")));
        }
        if https != 0 && https != endpoints.len() {
            return Err(value(name, "must all be https"));
        }
        let tls = self.tls(folder, https != 0, has_workload_api)?;
        Ok((endpoints.iter().map(ToString::to_string).collect(), tls))
    }

    fn tls(&self, folder: &Path, https: bool, has_workload_api: bool) -> Result<Option<PeerTls>, ConfigError> {
        let Names { ca, server_spiffe_id, certificate, key, theirs, .. } = self.names;
        let missing = |key, other| Err(value(key, &format!("is missing: it goes with {other}")));
        let client = match (&self.certificate, &self.key) {
            (Some(file), None) if file.as_os_str() == WORKLOAD_API => OwnCertificate::WorkloadApi,
            (Some(file), Some(_)) if file.as_os_str() == WORKLOAD_API => {
                return Err(value(key, "goes with a file: the Workload API has the key too"));
            }
            (Some(file), Some(key)) => OwnCertificate::Files(folder.join(file), folder.join(key)),
            (None, None) => OwnCertificate::Nothing,
            (Some(_), None) => return missing(key, certificate),
            (None, Some(_)) => return missing(certificate, key),
        };
        let server = match (&self.ca, &self.server_spiffe_id) {
            (Some(_), Some(_)) => {
                return Err(value(server_spiffe_id, &format!("and {ca} exclude each other")));
            }
            (Some(file), None) => Some(ExpectedPeer::Ca(folder.join(file))),
            (None, Some(id)) => {
                let id = parse_spiffe_id(id).filter(|id| !id.path().is_empty());
                let problem = "must be the SPIFFE ID of a workload";
                Some(ExpectedPeer::Svid(id.ok_or_else(|| value(server_spiffe_id, problem))?))
            }
            (None, None) => None,
        };
        let tls = match server {
            Some(server) if https => PeerTls { server, client },
            None if https => {
                let problem = format!("is missing: only this CA may have issued {theirs} certificates");
                return Err(value(ca, &problem));
            }
            None if client == OwnCertificate::Nothing => return Ok(None),
            _ => return Err(value(ca, "and certificates go only with https endpoints")),
        };
        if tls.needs_workload_api() && !has_workload_api {
            let key = if tls.client == OwnCertificate::WorkloadApi { certificate } else { server_spiffe_id };
            return Err(value(key, "needs the section workload_api"));
        }
        Ok(Some(tls))
    }
}

/// Reads the URL of a server. Without TLS, anybody on the network could be it.
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
