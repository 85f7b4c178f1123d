//! What a connection passes before its peer is known.

use std::net::IpAddr;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio::time::timeout_at;

use crate::server::bounds::HANDSHAKE_PATIENCE;
use crate::server::transport::origin::Origin;
use crate::server::transport::places::Place;
use crate::server::transport::places::Places;
use crate::server::transport::proxy_header;
use crate::tls::acceptor::Hello;
use crate::tls::acceptor::Refusal;
use crate::tls::acceptor::Refused;
use crate::tls::acceptor::hello;

/// The places of a listener's newcomers.
#[derive(Debug)]
pub(in crate::server) struct Gate {
    /// For connections without a whole `ClientHello`, or, where clients have no certificates, without a request.
    pub(in crate::server) unfinished: Arc<Places>,
    /// For those with one, until the handshake is over.
    pub(in crate::server) handshakes: Arc<Places>,
    /// The networks whose connections begin with a header of the PROXY protocol.
    proxies: Arc<[IpNet]>,
}

impl Gate {
    pub(in crate::server) fn new(unfinished: usize, handshakes: usize, proxies: Arc<[IpNet]>) -> Self {
        let (unfinished, handshakes) =
            (Places::new(unfinished, Duration::ZERO), Places::new(handshakes, HANDSHAKE_PATIENCE));
        Self { unfinished, handshakes, proxies }
    }

    /// A place for a connection that was just accepted. That of a load balancer counts for its client, once that is
    /// known.
    pub(in crate::server::transport) fn enter(&self, remote: Option<SocketAddr>) -> Place {
        let own = remote.filter(|remote| !self.is_proxy(remote.ip()));
        self.unfinished.take_at_once(origin(own))
    }

    fn is_proxy(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.proxies.iter().any(|network| network.contains(&address))
    }

    /// The address of the client: what the load balancer says, if this connection is from one. Then every such connection
    /// must begin with the header; any other is no load balancer's, and its bytes are its own.
    pub(in crate::server::transport) async fn client_of(
        &self,
        stream: &mut TcpStream,
        remote: Option<SocketAddr>,
        place: &mut Place,
        deadline: Instant,
    ) -> Result<Option<SocketAddr>, Refused> {
        if !remote.is_some_and(|remote| self.is_proxy(remote.ip())) {
            return Ok(remote);
        }
        let reading = timeout_at(deadline, proxy_header::read(stream));
        let client = match place.during(pin!(reading)).await {
            Some(Ok(Ok(client))) => client.or(remote),
            Some(Ok(Err(error))) => return Err(Refused::ProxyHeader(error)),
            Some(Err(_)) => return Err(Refused::Slow),
            None => return Err(Refused::Displaced),
        };
        place.belongs_to(origin(client));
        Ok(client)
    }

    /// Reads the `ClientHello`, and only then takes a place among the handshakes, in which `finish` is called.
    pub(in crate::server::transport) async fn shake_hands<T, F>(
        &self,
        stream: TcpStream,
        remote: Option<SocketAddr>,
        mut place: Place,
        deadline: Instant,
        finish: impl FnOnce(Hello<TcpStream>) -> F,
    ) -> Result<T, Refusal<TcpStream>>
    where
        F: Future<Output = Result<T, Refusal<TcpStream>>>,
    {
        let handshake = async {
            let waiting = async {
                let hello = hello(stream).await?;
                Ok::<_, Refusal<TcpStream>>((hello, self.handshakes.take(origin(remote)).await))
            };
            let (hello, mut turn) = place.during(pin!(waiting)).await.ok_or(Refused::Displaced)??;
            drop(place);
            turn.during(pin!(finish(hello))).await.ok_or(Refused::Displaced)?
        };
        // By reference: what takes a future by value keeps room for it once more.
        match timeout_at(deadline, pin!(handshake)).await {
            Ok(done) => done,
            Err(_) => Err(Refused::Slow.into()),
        }
    }
}

/// Serves a connection whose peer has no certificate. It keeps its place until its first request, of which `asked` tells,
/// and ends if the place is given away before that.
pub(in crate::server::transport) async fn until_displaced(
    mut place: Place,
    mut asked: watch::Receiver<bool>,
    serving: impl Future<Output = ()>,
) {
    let (mut serving, first_request) = (pin!(serving), pin!(asked.wait_for(|asked| *asked)));
    tokio::select! {
        biased;
        () = serving.as_mut() => return,
        kept = place.during(first_request) => if kept.is_none() {
            return;
        }
    }
    drop(place);
    serving.await;
}

fn origin(remote: Option<SocketAddr>) -> Option<Origin> {
    remote.map(|remote| Origin::from(remote.ip()))
}
