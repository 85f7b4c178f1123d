//! What a server tells of itself: its connections, handshakes, certificate, keys, store and disk.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lanyard::authority::clock::Clock as _;
use lanyard::authority::observe::Samples;
use lanyard::authority::store::Expected;
use lanyard::authority::store::Store as _;
use lanyard::authority::store::StoreError;
use lanyard::config;
use lanyard::server::Environment;
use lanyard::server::Server;
use lanyard::server::Sockets;
use lanyard::store::disk::Disk;
use lanyard::store::instrumented::InstrumentedStore;
use lanyard::store::instrumented::Operations;
use lanyard::store::memory::MemoryStore;
use lanyard::store::sled::Durability;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::store::durability::open_on;
use crate::store::store_contract::conflict;
use crate::support::check::orders;
use crate::support::door::knock;
use crate::support::door::read_to_end;
use crate::support::http::get;
use crate::support::leaf::Leaf;
use crate::support::page::PROMETHEUS;
use crate::support::page::Page;
use crate::support::server::Setup;
use crate::support::server::TestServer;
use crate::support::server::connect;
use crate::support::terminator::Kind;
use crate::support::terminator::client_cert;
use crate::support::terminator::with_headers;

fn connections(page: &Page, listener: &str) -> [u64; 3] {
    ["lanyard_connections", "lanyard_connections_accepted_total", "lanyard_connections_refused_total"]
        .map(|name| page.get(&format!("{name}{{listener=\"{listener}\"}}")).unwrap())
}

fn handshakes(page: &Page, earlier: &Page) -> Vec<(String, f64)> {
    let prefix = "lanyard_handshakes_refused_total{reason=\"";
    let grown = page.grown_since(earlier).into_iter();
    let grown = grown.filter_map(|(name, count)| Some((name.strip_prefix(prefix)?.replace("\"}", ""), count)));
    grown.collect()
}

#[tokio::test]
async fn connections_are_counted_by_listener_and_refused_beyond_the_limit() {
    let server = TestServer::started(|setup| setup.tls = "  max_connections: 2".to_owned()).await;
    let page = server.page().await;
    // The one that asks for the page is one too.
    assert_eq!((connections(&page, "mtls"), connections(&page, "ops")), ([0; 3], [1, 1, 0]));
    assert_eq!(page.get("lanyard_connections{listener=\"forwarded\"}"), None);
    let leaf = server.svid("/checkout");
    let first = connect(server.addresses.mtls, server.tls(&leaf)).await.unwrap();
    let _second = connect(server.addresses.mtls, server.tls(&leaf)).await.unwrap();
    let mut third = TcpStream::connect(server.addresses.mtls).await.unwrap();
    assert_eq!(read_to_end(&mut third).await, b"");
    let page = server.page().await;
    assert_eq!((connections(&page, "mtls"), connections(&page, "public")), ([2, 2, 1], [0; 3]));
    drop(first);
    let page = server.page_where(|page| connections(page, "mtls")[0] < 2).await;
    assert_eq!(connections(&page, "mtls"), [1, 2, 1]);
}

#[tokio::test]
async fn a_handshake_that_fails_counts_under_why() {
    let server = TestServer::started(|setup| setup.tls = "  handshake_timeout: 300ms".to_owned()).await;
    let before = server.page().await;
    let mut stranger = TcpStream::connect(server.addresses.mtls).await.unwrap();
    stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    read_to_end(&mut stranger).await;
    assert!(!knock(server.addresses.mtls, server.tls_builder().with_no_client_auth()).await.is_jwks());
    let page = server.page_where(|page| !handshakes(page, &before).is_empty()).await;
    let page = if handshakes(&page, &before)[0].1 < 2.0 {
        server.page_where(|later| handshakes(later, &before) != handshakes(&page, &before)).await
    } else {
        page
    };
    assert_eq!(handshakes(&page, &before), [("HANDSHAKE_FAILED".to_owned(), 2.0)]);
    let mut silent = TcpStream::connect(server.addresses.public).await.unwrap();
    read_to_end(&mut silent).await;
    let later = server.page_where(|later| !handshakes(later, &page).is_empty()).await;
    assert_eq!(handshakes(&later, &page), [("TOO_SLOW".to_owned(), 1.0)]);
}

#[tokio::test]
async fn the_end_of_the_certificate_is_that_of_the_one_which_is_presented() {
    let server = TestServer::start().await;
    let end = async || server.page().await.get("lanyard_server_certificate_expiry_timestamp_seconds").unwrap();
    let write = |leaf: &Leaf| {
        fs::write(server.setup.path("server.pem"), leaf.chain_pem()).unwrap();
        fs::write(server.setup.path("server-key.pem"), leaf.key_pem()).unwrap();
    };
    let first = end().await;
    let last = server.now().after(Duration::from_hours(90 * 24));
    let next = server.setup.ca.server_certificate("localhost").between(server.now(), last).issue();
    write(&next);
    assert_eq!(end().await, first, "not before it is presented");
    server.server.reload();
    assert_eq!(end().await, last.0);
    assert!(end().await < first);
    fs::write(server.setup.path("server.pem"), "broken").unwrap();
    server.server.reload();
    assert_eq!(end().await, last.0);
}

#[tokio::test]
async fn the_age_of_the_signing_key_grows_by_the_clock_and_outlives_the_process() {
    let server = TestServer::started(|setup| setup.store = "{sled: {path: data}}".to_owned()).await;
    let ages = |page: &Page| {
        let ages = page.0.iter().filter(|(name, _)| name.starts_with("lanyard_signing_key_age_seconds{kid=\""));
        ages.map(|(name, age)| (name.clone(), *age)).collect::<Vec<_>>()
    };
    let first = ages(&server.page().await);
    assert_eq!(first.len(), 1);
    assert!(first[0].1.abs() < 0.5);
    server.advance(Duration::from_mins(5));
    let kid = first[0].0.clone();
    assert_eq!(ages(&server.page().await), [(kid.clone(), 300.0)]);
    let TestServer { server, setup, .. } = server;
    server.stop().await;
    setup.clock.advance(Duration::from_mins(1));
    let server = setup.start().await.unwrap();
    assert_eq!(ages(&server.page().await), [(kid, 360.0)]);
}

#[tokio::test]
async fn registrations_are_counted_by_kind() {
    let server = TestServer::start().await;
    let count = |page: &Page, kind: &str| page.get(&format!("lanyard_registrations{{kind=\"{kind}\"}}")).unwrap();
    let before = server.page().await;
    assert_eq!([count(&before, "client"), count(&before, "resource")], [0, 0]);
    server.workload("/checkout").await;
    server.workload("/billing").await;
    server.protect(orders()).await.unwrap();
    let after = server.page().await;
    assert_eq!([count(&after, "client"), count(&after, "resource")], [2, 1]);
    server.delete("spiffe://prod.example/billing").await;
    let after = server.page().await;
    assert_eq!([count(&after, "client"), count(&after, "resource")], [1, 1]);
}

#[tokio::test]
async fn it_is_ready_once_the_probe_says_so() {
    let setup = Setup::default();
    setup.write();
    let config = config::load(&setup.path("lanyard.yaml")).unwrap();
    let sockets = Sockets::bind(&config.listeners).await.unwrap();
    let clock = Arc::clone(&setup.clock) as Arc<dyn lanyard::authority::clock::Clock>;
    let environment = Environment { clock, threads: 1, ..Environment::default() };
    let server = Box::pin(Server::prepare(config, sockets, environment)).await.unwrap();
    let mut server = TestServer { addresses: server.addresses(), server, setup };
    assert_eq!(server.page().await.get("lanyard_ready"), Some(0));
    server.server.ready();
    assert_eq!(server.page().await.get("lanyard_ready"), Some(1));
    assert!(server.setup.clock.now().0 > 0);
}

#[tokio::test]
async fn peers_behind_a_terminator_are_looked_up_for_each_of_their_requests() {
    let server = TestServer::behind(Kind::Tcp).await;
    let mut http = server.terminator(Kind::Tcp).http().await;
    let header = client_cert(&server.svid("/checkout"));
    for _ in 0..3 {
        let request = with_headers(get("/oauth2/jwks"), &[("client-cert", header.clone())]);
        assert_eq!(http.send(request).await.status, 200);
    }
    let page = server.page().await;
    let count = |what: &str| page.get(&format!("lanyard_cache_{what}_total{{cache=\"forwarded_peers\"}}"));
    assert_eq!((count("hits"), count("misses")), (Some(2), Some(1)));
    assert_eq!(connections(&page, "forwarded"), [1, 1, 0]);
    assert_eq!(page.requests("/oauth2/jwks"), [3, 0, 0]);
}

#[tokio::test]
async fn the_disk_is_told_of_where_the_store_is_on_one() {
    let names = ["lanyard_store_disk_bytes", "lanyard_store_disk_free_bytes"];
    let server = TestServer::started(|setup| setup.store = "{sled: {path: data}}".to_owned()).await;
    let page = server.page().await;
    assert!(names.iter().all(|name| page.get(name).unwrap() > 0), "{page:?}");
    let page = TestServer::start().await.page().await;
    assert!(names.iter().all(|name| page.get(name).is_none()), "{page:?}");
}

fn used(disk: &Disk) -> Option<u64> {
    let [used, free] = disk.families();
    let Samples::Gauges(samples) = used.samples else { panic!("{used:?}") };
    let Samples::Gauges(free) = free.samples else { panic!("{free:?}") };
    assert_eq!(samples.len(), free.len());
    samples.first().map(|sample| sample.value)
}

#[test]
fn all_files_of_a_directory_count_and_no_more_often_than_it_is_looked_at() {
    let directory = TempDir::new().unwrap();
    let write = |name: &str| {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut random = crate::support::Xorshift::new(7);
        fs::write(&path, (0..1 << 17).flat_map(|_| random.next().to_le_bytes()).collect::<Vec<_>>()).unwrap();
        fs::File::open(&path).unwrap().sync_all().unwrap();
    };
    let always = Disk::new(directory.path().to_owned(), Duration::ZERO);
    let seldom = Disk::new(directory.path().to_owned(), Duration::from_hours(1));
    let (first, kept) = (used(&always).unwrap(), used(&seldom).unwrap());
    write("a");
    write("blobs/b");
    assert!(used(&always).unwrap() >= first + (2 << 20), "{first}");
    assert_eq!(used(&seldom).unwrap(), kept);
    // Without a directory to measure, no value is reported.
    assert_eq!(used(&Disk::new(directory.path().join("none"), Duration::ZERO)), None);
}

/// How many operations of each kind were well, and how many failed.
fn counted(operations: &Operations) -> Vec<String> {
    let Samples::Histograms(samples) = operations.family().samples else { panic!() };
    let counted = samples.iter().filter(|sample| sample.value.count() > 0);
    counted
        .map(|sample| {
            let labels: Vec<&str> = sample.labels.iter().map(|(_, value)| &**value).collect();
            format!("{} {}", labels.join(" "), sample.value.count())
        })
        .collect()
}

#[tokio::test]
async fn each_operation_of_the_store_counts_and_a_refused_write_is_no_error() {
    let store = InstrumentedStore::new(Arc::new(MemoryStore::new()));
    store.put("/a", b"1".to_vec(), Expected::Absent).await.unwrap();
    assert_eq!(store.put("/a", b"2".to_vec(), Expected::Absent).await, Err(conflict("/a")));
    store.get("/a").await.unwrap();
    store.list("/").await.unwrap();
    store.list("/b").await.unwrap();
    store.delete("/a", Expected::Any).await.unwrap();
    assert_eq!(counted(&store.operations()), ["get ok 1", "scan ok 2", "commit ok 3"]);
}

/// A disk that takes nothing.
#[derive(Debug)]
struct Full;

impl Durability for Full {
    fn flush(&mut self, _: &mut dyn FnMut() -> std::io::Result<()>) -> std::io::Result<()> {
        Err(std::io::Error::other("no space left"))
    }
}

fn broken(directory: &Path) -> InstrumentedStore {
    InstrumentedStore::new(Arc::new(open_on(directory, Full)))
}

#[tokio::test]
async fn a_write_that_does_not_reach_the_disk_counts_as_an_error() {
    let directory = TempDir::new().unwrap();
    let store = broken(directory.path());
    assert!(matches!(store.put("/a", b"1".to_vec(), Expected::Any).await, Err(StoreError::Unavailable(_))));
    store.get("/a").await.unwrap();
    assert_eq!(counted(&store.operations()), ["get ok 1", "commit error 1"]);
}

#[tokio::test]
async fn the_page_is_in_the_format_that_is_asked_for_and_says_the_same() {
    let server = TestServer::start().await;
    let old = "text/plain; version=0.0.4; charset=utf-8";
    let new = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    for (accept, expected) in [
        (None, old),
        (Some("*/*"), old),
        (Some("text/plain"), old),
        (Some("text/plain;version=0.0.4;q=1,*/*;q=0.1"), old),
        (Some("application/openmetrics-text;q=0, text/plain"), old),
        (Some("application/openmetrics-text-x"), old),
        (Some(PROMETHEUS), new),
        (Some("text/plain, application/OpenMetrics-Text; version=1.0.0"), new),
    ] {
        let reply = server.metrics(accept).await;
        assert_eq!((reply.status, reply.header("content-type")), (200, expected), "{accept:?}");
        assert_eq!(reply.body.ends_with("# EOF\n"), expected == new, "{accept:?}");
    }
    let (page, new) = (server.metrics(None).await.body, server.page().await);
    assert_eq!(Page::of(&page).names(), new.names());
    // There a counter has its suffix in its family's name.
    assert!(page.contains("\n# TYPE lanyard_tokens_issued_total counter\nlanyard_tokens_issued_total 0\n"), "{page}");
    assert!(page.contains("\n# TYPE lanyard_ready gauge\nlanyard_ready 1\n"), "{page}");
}
