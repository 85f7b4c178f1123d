//! The section `forwarded`: a listener behind a terminator.

use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;

use serde::Deserialize;
use spiffe::SpiffeId;

use crate::authority::identity::parse_spiffe_id;
use crate::config::error::ConfigError;
use crate::config::error::value;

const KEY: &str = "forwarded";

/// Where a terminator of TLS hands on requests together with the certificates of those who sent them, and how it is known.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Forwarded {
    /// By the user that its process runs as, on the same machine.
    Unix {
        /// The socket.
        path: PathBuf,
        /// The user.
        peer_uid: u32,
    },
    /// By its X509-SVID.
    Mutual {
        /// Where to listen.
        address: SocketAddr,
        /// Its exact SPIFFE ID.
        terminator: SpiffeId,
    },
    /// Not at all: whoever reaches the address may say to be any workload.
    Insecure {
        /// Where to listen: a loopback address.
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
