//! The socket for proxies on the same machine.

use std::path::Path;
use std::path::PathBuf;

use hyper_util::rt::TokioIo;
use lanyard::proto::binding_service_client::BindingServiceClient;
use lanyard::proto::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use tokio::net::UnixStream;
use tonic::transport::Channel;
use tonic::transport::Endpoint;

use crate::support::http::Http;
use crate::support::server::Setup;
use crate::support::server::TestServer;
use crate::support::terminator::own_uid;

pub const SOCKET: &str = "local.sock";

/// Adds the socket, for the user that the tests run as with these further keys.
pub fn listen_locally(setup: &mut Setup, keys: &str) {
    let uid = own_uid(setup);
    setup.local = Some(format!("{{unix: {SOCKET}, proxies: [{{uid: {uid}, {keys}}}]}}"));
}

/// A channel to a socket. It connects lazily.
pub fn channel(path: &Path) -> Channel {
    let path = path.to_owned();
    let connect = tower::service_fn(move |_: tonic::transport::Uri| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    Endpoint::from_static("http://localhost").connect_with_connector_lazy(connect)
}

impl TestServer {
    /// A server whose own user is a proxy for all resources, which writes evidence as `/proxy`.
    pub async fn with_local_proxy() -> Self {
        Self::started(|setup| listen_locally(setup, "resources: ['*'], spiffe_id: spiffe://prod.example/proxy")).await
    }

    pub fn local_socket(&self) -> PathBuf {
        self.setup.path(SOCKET)
    }

    pub fn local_checks(&self) -> AuthorizationClient<Channel> {
        AuthorizationClient::new(channel(&self.local_socket()))
    }

    pub fn local_bindings(&self) -> BindingServiceClient<Channel> {
        BindingServiceClient::new(channel(&self.local_socket()))
    }

    /// A connection over HTTP/2.
    pub async fn local_http(&self) -> Http {
        Http::two(UnixStream::connect(self.local_socket()).await.unwrap()).await
    }
}
