//! What `lanyard doctor` finds where it asks others: the server's clock, agents, bundle endpoints, hosts of clients.

use std::fs::File;
use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Write as _;
use std::net::TcpListener;
use std::thread;

use crate::issuer_jwt::cluster::Cluster;
use crate::support::bundle::document;
use crate::support::ca::TestCa;
use crate::support::doctor::DoctorFixture;
use crate::support::doctor::HOST;
use crate::support::doctor::LANYARD;
use crate::support::doctor::Seen;
use crate::support::process::free_ports;
use crate::support::process::run;
use crate::support::process::shell;
use crate::support::process::text;
use crate::support::publisher::Publisher;
use crate::support::workload_api::Agent;
use crate::support::workload_api::context;

/// The time, so many seconds from now, as HTTP has it.
fn date(seconds: i64) -> String {
    run(&mut shell(&format!("LC_ALL=C date -u -d '{seconds} seconds' '+%a, %d %b %Y %H:%M:%S GMT'")))
        .ok()
        .trim()
        .to_owned()
}

/// Answers each request by what it asks for.
fn answer(listener: TcpListener, answer: impl Fn(&str) -> String + Send + 'static) {
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let head = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let lines: Vec<String> = head.take_while(|line| !line.is_empty()).collect();
            let asked = lines.first().cloned().unwrap_or_default();
            let _gone = stream.write_all(answer(&asked).as_bytes()).is_err();
        }
    });
}

fn response(status: u16, date: &str, body: &str) -> String {
    format!("HTTP/1.1 {status} X\r\ndate: {date}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

/// A server whose clock is so many seconds ahead; its URL.
fn clock(seconds: i64) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    answer(listener, move |_| response(200, &date(seconds), "ok"));
    url
}

/// The doctor in a thread of its own, while the test answers it.
async fn seen(fixture: &DoctorFixture, flags: &[&str]) -> Seen {
    let mut doctor = fixture.doctor();
    doctor.args(flags).args(["-o", "json"]);
    let finished = tokio::task::spawn_blocking(move || run(&mut doctor)).await.unwrap();
    Seen::new(&finished)
}

#[test]
fn a_skewed_clock_is_found_in_either_direction() {
    let fixture = DoctorFixture::new();
    let at = |seconds| fixture.seen_with(&["--server", &clock(seconds)]);
    for (seconds, direction) in [(-120, "behind"), (120, "ahead of"), (3 * 3600, "ahead of")] {
        let seen = at(seconds);
        seen.only("CLOCK_SKEWED");
        let line = seen.lines().find(|line| line["status"] == "error").unwrap();
        assert!(line["message"].as_str().unwrap().contains(direction), "{line}");
    }
    let seen = at(0);
    seen.healthy();
    assert!(seen.checks("ok").contains(&"clock"), "{seen:#?}");
}

#[tokio::test]
async fn a_skewed_clock_is_found_over_https_where_the_server_is_the_right_one() {
    let fixture = DoctorFixture::new();
    let web = TestCa::at("web", fixture.now);
    fixture.write("web.pem", &web.pem());
    let ca = fixture.path("web.pem");
    let publisher = Publisher::start(&web).await;
    let url = format!("https://localhost:{}", publisher.address.port());
    publisher.answer(200, &format!("date: {}\r\n", date(-60)), b"");
    seen(&fixture, &["--server", &url, "--ca", text(&ca)]).await.only("CLOCK_SKEWED");
    publisher.answer(404, &format!("date: {}\r\n", date(0)), b"");
    seen(&fixture, &["--server", &url, "--ca", text(&ca)]).await.healthy();
    // Somebody else's time says nothing.
    publisher.answer(200, &format!("date: {}\r\n", date(-60)), b"");
    let stranger = seen(&fixture, &["--server", &url, "--ca", text(&fixture.path("other.pem"))]).await;
    stranger.only("SERVER_UNREACHABLE");
    let [nobody] = free_ports();
    fixture.seen_with(&["--server", &format!("http://127.0.0.1:{nobody}")]).only("SERVER_UNREACHABLE");
}

#[tokio::test]
async fn a_federation_endpoint_that_gives_no_bundle_is_found() {
    let fixture = DoctorFixture::new();
    let (web, partner) = (TestCa::at("web", fixture.now), TestCa::at("partner.example", fixture.now));
    fixture.write("web.pem", &web.pem());
    let publisher = Publisher::start(&web).await;
    let [nobody] = free_ports();
    fixture.add(&format!(
        "federation: [{{trust_domain: partner.example, bundle_endpoint: '{}', profile: https_web, ca: web.pem}}]",
        publisher.uri()
    ));
    publisher.answer(200, "", &document(&[&partner], 1));
    seen(&fixture, &[]).await.healthy();
    publisher.answer(200, "", b"<html>");
    seen(&fixture, &[]).await.only("FEDERATION_INVALID");
    publisher.answer(503, "", b"");
    seen(&fixture, &[]).await.only("FEDERATION_UNREACHABLE");
    publisher.answer(200, "", &document(&[&partner], 1));
    fixture.write("web.pem", &partner.pem());
    seen(&fixture, &[]).await.only("FEDERATION_UNREACHABLE");
    // A file that cannot be used is reported once.
    fixture.write("web.pem", "");
    let without_ca = seen(&fixture, &[]).await;
    without_ca.only("ROOTS_EMPTY");
    assert!(without_ca.checks("not_checked").contains(&"federation"), "{without_ca:#?}");
    fixture.write("web.pem", &web.pem());
    fixture.configure(&publisher.host(), &format!("localhost:{nobody}"));
    seen(&fixture, &[]).await.only("FEDERATION_UNREACHABLE");
}

#[tokio::test]
async fn a_trusted_issuer_whose_keys_cannot_be_read_or_fetched_is_found() {
    let fixture = DoctorFixture::new();
    let web = TestCa::at("web", fixture.now);
    fixture.write("web.pem", &web.pem());
    let publisher = Publisher::start(&web).await;
    let jwks = Cluster::new().jwks();
    fixture.write("jwks.json", &jwks);
    fixture.add(&format!(
        "jwks_uri: {{allowed_hosts: ['{}'], ca: web.pem, allow_private_addresses: true}}\n\
         trusted_issuers: [{{name: file, issuer: 'https://a.example', jwks: jwks.json}}, \
         {{name: fetched, issuer: 'https://b.example', jwks_uri: '{}'}}]",
        publisher.host(),
        publisher.uri()
    ));
    publisher.answer(200, "", jwks.as_bytes());
    let healthy = seen(&fixture, &[]).await;
    healthy.healthy();
    assert!(healthy.checks("ok").contains(&"trusted_issuer"), "{healthy:#?}");
    for body in [&b"{\"keys\":[]}"[..], b"<html>"] {
        publisher.answer(200, "", body);
        seen(&fixture, &[]).await.only("ISSUER_KEYS_INVALID");
    }
    publisher.answer(403, "", b"");
    seen(&fixture, &[]).await.only("ISSUER_UNREACHABLE");
    publisher.answer(200, "", jwks.as_bytes());
    fixture.write("jwks.json", "{\"keys\":[]}");
    seen(&fixture, &[]).await.only("ISSUER_KEYS_INVALID");
}

#[tokio::test]
async fn a_workload_api_that_is_not_there_or_gives_nothing_is_found() {
    let fixture = DoctorFixture::new();
    let socket = fixture.path("agent.sock");
    fixture.configure("tls: {certificate: server.pem, key: server-key.pem}\n", "");
    fixture.add(&format!("workload_api: {{endpoint_socket: 'unix://{}'}}", text(&socket)));
    let missing = seen(&fixture, &[]).await;
    missing.only("WORKLOAD_API_UNREACHABLE");
    assert!(missing.checks("not_checked").contains(&"server_certificate"), "{missing:#?}");
    let agent = Agent::start(socket);
    let svid = fixture.certificate().issue();
    agent.say(&context(&svid, LANYARD, &[&fixture.ca], &[]));
    let healthy = seen(&fixture, &[]).await;
    healthy.healthy();
    assert!(healthy.checks("ok").contains(&"server_certificate"), "{healthy:#?}");
    // A certificate from the Workload API is checked like one from a file.
    let expired = fixture.intermediate.svid(LANYARD).dns(HOST).expired().issue();
    agent.say(&context(&expired, LANYARD, &[&fixture.ca], &[]));
    seen(&fixture, &[]).await.only("SERVER_CERTIFICATE_EXPIRED");
    let stranger = TestCa::at("prod.example", fixture.now);
    agent.say(&context(&svid, LANYARD, &[&stranger], &[]));
    seen(&fixture, &[]).await.only("SERVER_CERTIFICATE_CHAIN_INCOMPLETE");
    agent.deny();
    seen(&fixture, &[]).await.only("WORKLOAD_API_DENIED");
    assert_eq!(agent.unmarked(), 0);
}

#[test]
fn a_host_of_clients_that_cannot_be_asked_is_found() {
    let fixture = DoctorFixture::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    fixture.write("web.pem", &TestCa::at("web", fixture.now).pem());
    fixture
        .add(&format!("jwks_uri: {{allowed_hosts: ['127.0.0.1:{port}'], ca: web.pem, allow_private_addresses: true}}"));
    fixture.seen().healthy();
    fixture.configure("allow_private_addresses: true", "allow_private_addresses: false");
    fixture.seen().only("JWKS_HOST_PRIVATE");
    fixture.configure("allow_private_addresses: false", "allow_private_addresses: true");
    drop(listener);
    fixture.seen().only("JWKS_HOST_UNREACHABLE");
    fixture.configure(&format!("127.0.0.1:{port}"), "keys.lanyard.invalid");
    fixture.seen().only("JWKS_HOST_UNREACHABLE");
}

#[test]
fn a_collector_that_takes_no_connection_is_found() {
    let fixture = DoctorFixture::new();
    let collector = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = collector.local_addr().unwrap();
    fixture.add(&format!("telemetry: {{otlp: {{endpoint: 'http://{address}'}}}}"));
    fixture.seen().healthy();
    drop(collector);
    fixture.seen().only("OTLP_UNREACHABLE");
}

#[test]
fn a_server_that_is_not_ready_or_has_another_time_is_found_by_its_probes() {
    let fixture = DoctorFixture::new().served();
    let lock = File::open(fixture.path("volume/data/LOCK")).unwrap();
    lock.lock().unwrap();
    // Another set of listeners for each, since the first goes on answering.
    let mut fixture = fixture;
    let mut stands = |status: u16, seconds: i64| {
        let ports = free_ports();
        for (old, new) in fixture.ports.iter().zip(ports) {
            fixture.configure(&format!(":{old}'"), &format!(":{new}'"));
        }
        fixture.ports = ports;
        let [mtls, public, ops] = ports.map(|port| TcpListener::bind(("127.0.0.1", port)).unwrap());
        answer(ops, move |asked| {
            let (status, body) =
                if asked.contains("/metrics") { (200, "lanyard_build_info 1") } else { (status, "store_failed") };
            response(status, &date(seconds), body)
        });
        let seen = fixture.seen();
        drop((mtls, public));
        seen
    };
    let not_ready = stands(503, 0);
    not_ready.only("SERVER_NOT_READY");
    let line = not_ready.lines().find(|line| line["status"] == "error").unwrap();
    assert!(line["message"].as_str().unwrap().ends_with("store_failed"), "{line}");
    stands(200, 90).only("CLOCK_SKEWED");
    stands(200, 0).healthy();
}
