//! The listeners beside those that each server has: behind a terminator, and for proxies on this machine.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;

use crate::config::forwarded::Forwarded;
use crate::config::local::Local;
use crate::server::error::StartError;
use crate::server::middleware::bind_forwarded;
use crate::server::socket::Socket;
use crate::server::socket_file::SocketFile;
use crate::server::socket_file::bind_unix;
use crate::server::transport::Door;

/// Their sockets, in the order of their limits, and what is to be known of them.
#[derive(Default)]
pub(super) struct Further {
    pub(super) doors: Vec<(Socket, Door)>,
    /// The address of the listener behind a terminator, if it has a port.
    pub(super) forwarded_address: Option<SocketAddr>,
    /// Removed when dropped.
    pub(super) files: Vec<SocketFile>,
}

impl Further {
    pub(super) async fn bind(
        forwarded: Option<Forwarded>,
        local: Option<Local>,
        routes: Router,
    ) -> Result<Self, StartError> {
        let mut further = Self::default();
        if let Some(forwarded) = forwarded {
            let bound = bind_forwarded(forwarded, routes.clone()).await.map_err(StartError::Forwarded)?;
            further.forwarded_address = bound.address;
            further.files.extend(bound.file);
            further.doors.push((bound.socket, Door::Forwarded(Arc::new(bound.forwarded_service))));
        }
        if let Some(local) = local {
            let (socket, file) = bind_unix(&local.path, local.group).map_err(StartError::Local)?;
            further.files.push(file);
            further.doors.push((Socket::Unix(socket), Door::Local(routes)));
        }
        Ok(further)
    }
}
