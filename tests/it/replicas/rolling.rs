//! Replicas that are replaced one by one behind a real Envoy, while requests go through it all the time.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use lanyard::proto::CreateProtectedResourceRequest;
use tokio::io::copy_bidirectional;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::task::block_in_place;

use crate::replicas::fleet::COUNT;
use crate::replicas::fleet::Fleet;
use crate::support::check::orders;
use crate::support::door::within;
use crate::support::envoy::Envoy;
use crate::support::envoy::EnvoySetup;
use crate::support::etcd::Options;
use crate::support::http::Http;
use crate::support::leaf::Leaf;
use crate::support::mesh::get;
use crate::support::server::connect;
use crate::support::upstream::Upstream;

/// How many requests there are between two steps.
const REQUESTS: usize = 200;

/// The roles in the configuration of all replicas.
const ROLES: &str = "{admins: [{spiffe_id: spiffe://prod.example/admin}], \
    proxies: [{spiffe_id: spiffe://prod.example/proxy, resources: ['*']}]}";

/// Passes each new connection to the next replica that is ready, as a Service does. Open ones stay where they are.
struct Service {
    address: SocketAddr,
    ready: watch::Sender<Vec<SocketAddr>>,
}

impl Service {
    async fn to(replicas: Vec<SocketAddr>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, ready) = (listener.local_addr().unwrap(), watch::Sender::new(replicas));
        let targets = ready.subscribe();
        tokio::spawn(async move {
            let mut turn = 0;
            while let Ok((mut stream, _)) = listener.accept().await {
                let target = {
                    let targets = targets.borrow();
                    targets[turn % targets.len()]
                };
                turn += 1;
                tokio::spawn(async move {
                    let mut onward = TcpStream::connect(target).await?;
                    copy_bidirectional(&mut stream, &mut onward).await.map(drop)
                });
            }
        });
        Self { address, ready }
    }
}

/// Replicas, an Envoy in front of a resource that asks them, and clients of it that are never refused.
pub struct Rolling {
    pub fleet: Fleet,
    service: Service,
    clients: JoinSet<()>,
    ends: Arc<AtomicBool>,
    passed: Arc<AtomicUsize>,
    _envoy: Envoy,
    _upstream: Upstream,
}

impl Rolling {
    /// Starts replicas of this binary, Envoy and the clients; `None` if etcd or Envoy is to be skipped.
    pub async fn start(binary: &Path) -> Option<Self> {
        let drains = |setup: &mut crate::support::server::Setup| {
            setup.tls = "  drain_delay: 1s\n  drain_timeout: 10s".to_owned();
            // The version before knows no others.
            ROLES.clone_into(&mut setup.roles);
        };
        let fleet = Fleet::start_of(binary, Options::default(), drains).await?;
        let resource = CreateProtectedResourceRequest { resource: Some(orders()), ..Default::default() };
        fleet.at(0).registry().create_protected_resource(resource).await.unwrap();
        let checkout = fleet.workload(0, "/checkout").await;
        let token = fleet.token(0, &checkout).await;
        for index in 0..COUNT {
            fleet.at(index).until_allowed(&token, &checkout).await;
        }
        let service = Service::to((0..COUNT).map(|index| fleet.address(index)).collect()).await;
        let upstream = Upstream::start().await;
        let proxy = fleet.setup.ca.svid("spiffe://prod.example/proxy").dns("localhost").issue();
        let envoy = EnvoySetup {
            local: None,
            svid: &proxy,
            bundle: &fleet.setup.ca.pem(),
            lanyard: service.address,
            upstream: upstream.address,
            changes: Vec::new(),
        };
        let envoy = envoy.start().await?;
        let (ends, passed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let mut clients = JoinSet::new();
        for _ in 0..3 {
            let connection = open(&fleet, envoy.address, &checkout).await;
            clients.spawn(request(connection, token.clone(), Arc::clone(&ends), Arc::clone(&passed)));
        }
        let rolling = Self { fleet, service, clients, ends, passed, _envoy: envoy, _upstream: upstream };
        rolling.more().await;
        Some(rolling)
    }

    /// Replaces a replica by one of this binary, as Kubernetes does.
    pub async fn replace(&mut self, index: usize, binary: &Path) {
        let Self { fleet, service, .. } = self;
        // A Service no longer names a pod that is to end; that goes on serving for the delay, and ends its connections.
        let others = (0..COUNT).filter(|other| *other != index).map(|other| fleet.address(other)).collect();
        service.ready.send_replace(others);
        binary.clone_into(&mut fleet.binary);
        block_in_place(|| {
            fleet.stop_replica(index);
            fleet.start_replica(index);
        });
        service.ready.send_replace((0..COUNT).map(|index| fleet.address(index)).collect());
        self.more().await;
    }

    /// Waits until some more requests have passed.
    pub async fn more(&self) {
        let wanted = self.passed.load(Ordering::Acquire) + REQUESTS;
        within(async {
            while self.passed.load(Ordering::Acquire) < wanted {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// Ends the clients, none of which was refused, and returns how many requests they made.
    pub async fn finish(mut self) -> (Fleet, usize) {
        self.ends.store(true, Ordering::Release);
        let clients = &mut self.clients;
        within(async { while clients.join_next().await.is_some_and(|ended| ended.map(|()| true).unwrap()) {} }).await;
        (self.fleet, self.passed.load(Ordering::Acquire))
    }
}

async fn open(fleet: &Fleet, envoy: SocketAddr, leaf: &Leaf) -> Http {
    let stream = connect(envoy, fleet.setup.tls(leaf)).await.unwrap();
    Http::two(stream).await
}

async fn request(mut connection: Http, token: String, ends: Arc<AtomicBool>, passed: Arc<AtomicUsize>) {
    while !ends.load(Ordering::Acquire) {
        let reply = connection.send(get("/orders/1", &token)).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        passed.fetch_add(1, Ordering::AcqRel);
    }
}
