//! The section `forwarded`: a listener behind a TLS terminator.

use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;

use serde::Deserialize;
use spiffe::SpiffeId;

use crate::authority::identity::parse_spiffe_id;
use crate::config::error::ConfigError;
use crate::config::error::value;

const KEY: &str = "forwarded";

/// Where a TLS terminator forwards requests with the certificates of their senders, and how the terminator is
/// authenticated.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Forwarded {
    /// By the user of its process, on the same machine.
    Unix {
        /// The path of the Unix socket.
        path: PathBuf,
        /// The user that the terminator runs as.
        peer_uid: u32,
    },
    /// By its X509-SVID.
    Mutual {
        /// The address to listen on.
        address: SocketAddr,
        /// The exact SPIFFE ID of the terminator.
        terminator: SpiffeId,
    },
    /// Not at all: any process that can reach the address can claim to be any workload.
    Insecure {
        /// The address to listen on, which must be a loopback address.
        address: SocketAddr,
    },
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Section {
    unix: Option<PathBuf>,
    peer_uid: Option<u32>,
    mtls: Option<SocketAddr>,
    terminator: Option<String>,
    tcp: Option<SocketAddr>,
    insecure: bool,
}

impl Section {
    pub(super) fn resolve(self, folder: &Path, dev: bool) -> Result<Forwarded, ConfigError> {
        let forwarded = match self {
            Self {
                unix: Some(path),
                peer_uid: Some(peer_uid),
                mtls: None,
                terminator: None,
                tcp: None,
                insecure: false,
            } => Forwarded::Unix { path: folder.join(path), peer_uid },
            Self {
                unix: None,
                peer_uid: None,
                mtls: Some(address),
                terminator: Some(id),
                tcp: None,
                insecure: false,
            } => {
                let terminator = parse_spiffe_id(&id).filter(|id| !id.path().is_empty());
                let terminator =
                    terminator.ok_or_else(|| value(KEY, "terminator is not the SPIFFE ID of a workload"))?;
                Forwarded::Mutual { address, terminator }
            }
            Self { unix: None, peer_uid: None, mtls: None, terminator: None, tcp: Some(address), insecure: true } => {
                if !address.ip().is_loopback() {
                    return Err(value(KEY, "tcp is not a loopback address: anybody could say to be any workload"));
                }
                Forwarded::Insecure { address }
            }
            Self { .. } => {
                let problem =
                    "name exactly one of unix with peer_uid, mtls with terminator, or tcp with insecure: true";
                return Err(value(KEY, problem));
            }
        };
        match &forwarded {
            Forwarded::Mutual { address, .. } if dev && !address.ip().is_loopback() => {
                Err(value(KEY, "a dev set-up listens on loopback addresses only"))
            }
            Forwarded::Mutual { .. } | Forwarded::Unix { .. } | Forwarded::Insecure { .. } => Ok(forwarded),
        }
    }
}
