//! Requests to the URL at which a client publishes its keys: only to listed hosts, at addresses that were checked, and
//! without reading more of a response than is needed.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use lanyard::authority::clock::SystemClock;
use lanyard::authority::registration::AllowedHosts;
use lanyard::authority::registration::JwksUri;
use lanyard::authority::registration::MAX_PUBLISHED_BYTES;
use lanyard::tls::outbound;
use lanyard::trust_sources::https::FetchError;
use lanyard::trust_sources::https::GuardedClient;
use lanyard::trust_sources::network::Answer;
use lanyard::trust_sources::network::Network;
use lanyard::trust_sources::network::SystemNetwork;
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::support::ca::TestCa;
use crate::support::door::within;
use crate::support::publisher::Publisher;

/// A public address that represents the publisher on this machine.
const PUBLIC: &str = "93.184.215.14";

/// Names resolve to what the test says, each time to the next; connections are counted, and public addresses are here.
#[derive(Debug, Default)]
struct TestNetwork {
    names: Mutex<HashMap<String, Vec<Vec<String>>>>,
    connected: Mutex<Vec<SocketAddr>>,
    publisher: Option<SocketAddr>,
}

impl TestNetwork {
    fn of(publisher: &Publisher, names: &[(&str, &[&[&str]])]) -> Arc<Self> {
        let owned =
            |answers: &[&[&str]]| answers.iter().map(|one| one.iter().map(ToString::to_string).collect()).collect();
        let names = names.iter().map(|(name, answers)| ((*name).to_owned(), owned(answers))).collect();
        Arc::new(Self { names: Mutex::new(names), publisher: Some(publisher.address), ..Self::default() })
    }

    fn connected(&self) -> Vec<SocketAddr> {
        self.connected.lock().unwrap().clone()
    }
}

impl Network for TestNetwork {
    fn resolve(&self, host: &str, port: u16) -> Answer<Vec<SocketAddr>> {
        if let Some(answers) = self.names.lock().unwrap().get_mut(host) {
            let answer = if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() };
            let addresses = answer.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), port)).collect();
            return Box::pin(async move { Ok(addresses) });
        }
        SystemNetwork.resolve(host, port)
    }

    fn connect(&self, address: SocketAddr) -> Answer<TcpStream> {
        self.connected.lock().unwrap().push(address);
        let publisher = self.publisher.filter(|_| address.ip().to_string() == PUBLIC);
        Box::pin(async move { TcpStream::connect(publisher.ok_or_else(|| io::Error::other("no such place"))?).await })
    }
}

/// A client that trusts one CA.
pub fn client(ca: &TestCa, hosts: &[&str], network: Arc<dyn Network>) -> GuardedClient {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("ca.pem");
    std::fs::write(&path, ca.pem()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
    GuardedClient {
        tls: Arc::new(outbound::config(Some(&path), provider, Arc::new(SystemClock)).unwrap()),
        allowed_hosts: AllowedHosts::parse(&hosts).unwrap(),
        allow_private_addresses: false,
        // Only what hangs waits for it.
        timeout: Duration::from_secs(10),
        network,
    }
}

fn uri(text: &str) -> JwksUri {
    JwksUri::parse(text).unwrap_or_else(|| panic!("{text}"))
}

async fn get(client: &GuardedClient, text: &str) -> Result<Vec<u8>, FetchError> {
    within(client.get(&uri(text))).await.map(|document| document.to_vec())
}

#[tokio::test]
async fn a_document_is_fetched_from_a_listed_host_at_a_public_address() {
    let ca = TestCa::new("web");
    let publisher = Publisher::named(&ca, "keys.example").await;
    let network = TestNetwork::of(&publisher, &[("keys.example", &[&[PUBLIC]]), ("other.example", &[&[PUBLIC]])]);
    let client = client(&ca, &["keys.example"], network.clone());
    assert_eq!(get(&client, "https://keys.example/jwks").await.unwrap(), b"{\"keys\":[]}");
    assert_eq!(network.connected(), [SocketAddr::new(PUBLIC.parse().unwrap(), 443)]);
    for unlisted in ["https://other.example/", "https://keys.example:444/", "https://keys.example.evil.example/"] {
        assert!(matches!(get(&client, unlisted).await, Err(FetchError::Host(_))), "{unlisted}");
    }
    assert_eq!(network.connected().len(), 1);
}

#[tokio::test]
async fn a_name_that_turns_to_a_private_address_is_not_followed_there() {
    let ca = TestCa::new("web");
    let publisher = Publisher::named(&ca, "keys.example").await;
    for private in ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1"] {
        let network = TestNetwork::of(&publisher, &[("keys.example", &[&[PUBLIC], &[private]])]);
        let client = client(&ca, &["keys.example"], network.clone());
        // Were the name looked at twice for one fetch, this one would go to the second address.
        assert!(get(&client, "https://keys.example/").await.is_ok());
        assert!(matches!(get(&client, "https://keys.example/").await, Err(FetchError::Address(_))), "{private}");
        assert_eq!(network.connected(), [SocketAddr::new(PUBLIC.parse().unwrap(), 443)]);
    }
    // Of several addresses only the public ones are asked.
    let network = TestNetwork::of(&publisher, &[("keys.example", &[&["127.0.0.1", PUBLIC, "10.0.0.1"]])]);
    assert!(get(&client(&ca, &["keys.example"], network.clone()), "https://keys.example/").await.is_ok());
    assert_eq!(network.connected(), [SocketAddr::new(PUBLIC.parse().unwrap(), 443)]);
}

#[tokio::test]
async fn no_spelling_of_a_private_address_is_connected_to_although_it_is_listed() {
    let ca = TestCa::new("web");
    let publisher = Publisher::named(&ca, "localhost").await;
    let network = TestNetwork::of(&publisher, &[]);
    let port = publisher.address.port();
    let mut tried = 0;
    for host in [
        "localhost",
        "LOCALHOST",
        "127.0.0.1",
        "127.0.0.2",
        "127.1",
        "127.0.1",
        "127.000.000.001",
        "0177.0.0.1",
        "0x7f.0.0.1",
        "0x7f.1",
        "0x7f000001",
        "2130706433",
        "017700000001",
        "127.0.0.1.",
        "127.0.0.0x1",
        "0",
        "0.0.0.0",
        "00.0.0.0",
        "10.0.0.1",
        "10.1",
        "167772161",
        "172.16.0.1",
        "192.168.0.1",
        "192.168.1",
        "3232235521",
        "169.254.169.254",
        "169.254.43518",
        "2852039166",
        "0xa9fea9fe",
        "0251.0376.0251.0376",
        "100.64.0.1",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "[::1]",
        "[0:0:0:0:0:0:0:1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[::ffff:169.254.169.254]",
        "[::ffff:a9fe:a9fe]",
        "[64:ff9b::127.0.0.1]",
        "[64:ff9b::a9fe:a9fe]",
        "[64:ff9b:1::1]",
        "[2002:7f00:1::]",
        "[2002:a9fe:a9fe::1]",
        "[2001::1]",
        "[fe80::1]",
        "[fe80::1%25eth0]",
        "[fc00::1]",
        "[fd00:ec2::254]",
        "[fec0::1]",
        "[ff02::1]",
        "[::ffff:0:127.0.0.1]",
        "[2001:db8::1]",
        "[v1.127]",
        "%31%32%37.0.0.1",
        "127%2e0%2e0%2e1",
        "1\u{ff0e}1.1.1",
        "",
    ] {
        tried += 1;
        let Some(uri) = JwksUri::parse(&format!("https://{host}:{port}/")) else { continue };
        let client = client(&ca, &[&uri.authority()], network.clone());
        let refused = within(client.get(&uri)).await;
        assert!(matches!(refused, Err(FetchError::Address(_))), "{host}: {refused:?}");
    }
    assert!(tried >= 60, "{tried}");
    assert_eq!(network.connected(), []);
    assert_eq!(publisher.connections(), 0);
}

#[tokio::test]
async fn private_addresses_are_asked_where_the_operator_lets_them_but_never_reserved_ones() {
    let ca = TestCa::new("web");
    let publisher = Publisher::start(&ca).await;
    let host = publisher.host();
    let lenient =
        |hosts: &[&str]| GuardedClient { allow_private_addresses: true, ..client(&ca, hosts, Arc::new(SystemNetwork)) };
    assert!(get(&lenient(&[&host]), &publisher.uri()).await.is_ok());
    for reserved in ["169.254.169.254", "0.0.0.0", "224.0.0.1", "[::]", "[fe80::1]", "[::ffff:127.0.0.1]"] {
        let authority = format!("{reserved}:{}", publisher.address.port());
        let refused = get(&lenient(&[&authority]), &format!("https://{authority}/")).await;
        assert!(matches!(refused, Err(FetchError::Address(_))), "{reserved}");
    }
}

#[tokio::test]
async fn a_redirect_is_under_the_rules_of_the_first_url() {
    let ca = TestCa::new("web");
    let publisher = Publisher::named(&ca, "keys.example").await;
    let names: &[(&str, &[&[&str]])] =
        &[("keys.example", &[&[PUBLIC]]), ("inside.example", &[&["127.0.0.1"]]), ("other.example", &[&[PUBLIC]])];
    let network = TestNetwork::of(&publisher, names);
    let client = client(&ca, &["keys.example", "inside.example"], network.clone());
    let public = SocketAddr::new(PUBLIC.parse().unwrap(), 443);
    let mut asked = 0;
    for (location, is_refused) in [
        ("https://inside.example/", (|error| matches!(error, FetchError::Address(_))) as fn(&FetchError) -> bool),
        ("https://other.example/", |error| matches!(error, FetchError::Host(_))),
        ("https://keys.example:8443/", |error| matches!(error, FetchError::Host(_))),
        ("//other.example/", |error| matches!(error, FetchError::Host(_))),
        ("https://127.0.0.1/", |error| matches!(error, FetchError::Host(_))),
        ("http://keys.example/", |error| matches!(error, FetchError::Redirect)),
        ("https://user@keys.example/", |error| matches!(error, FetchError::Redirect)),
        ("file:///etc/passwd", |error| matches!(error, FetchError::Redirect)),
        ("https://2130706433/", |error| matches!(error, FetchError::Redirect)),
        ("", |error| matches!(error, FetchError::Redirect)),
        ("\u{1}", |error| matches!(error, FetchError::Http(_))),
    ] {
        publisher.redirect(location);
        let refused = get(&client, "https://keys.example/jwks").await.unwrap_err();
        assert!(is_refused(&refused), "{location}: {refused:?}");
        // An empty one leads to where it came from, and so on.
        asked += if location.is_empty() { 4 } else { 1 };
        assert_eq!(network.connected(), vec![public; asked], "{location}");
    }
    publisher.answer(302, "", b"");
    assert!(matches!(get(&client, "https://keys.example/jwks").await, Err(FetchError::Status(_))));

    // Allowed: to another path of a listed host.
    publisher.redirect_once("/elsewhere");
    assert_eq!(get(&client, "https://keys.example/jwks").await.unwrap(), b"{\"keys\":[]}");
    assert!(publisher.requests().pop().unwrap().starts_with("GET /elsewhere HTTP/1.1\r\nhost: keys.example\r\n"));
}

#[tokio::test]
async fn an_answer_is_cut_off_at_the_limit() {
    let ca = TestCa::new("web");
    let publisher = Publisher::named(&ca, "keys.example").await;
    let network = TestNetwork::of(&publisher, &[("keys.example", &[&[PUBLIC]])]);
    let client = client(&ca, &["keys.example"], network);
    publisher.answer(200, "", &vec![b' '; MAX_PUBLISHED_BYTES]);
    assert_eq!(get(&client, "https://keys.example/").await.unwrap().len(), MAX_PUBLISHED_BYTES);
    publisher.answer(200, "", &vec![b' '; MAX_PUBLISHED_BYTES + 1]);
    assert!(matches!(get(&client, "https://keys.example/").await, Err(FetchError::Body)));
    publisher.answer_without_end();
    assert!(matches!(get(&client, "https://keys.example/").await, Err(FetchError::Body)));
    publisher.answer(200, &format!("x: {}\r\n", "a".repeat(200 * 1024)), b"");
    let refused = get(&client, "https://keys.example/").await;
    assert!(matches!(refused, Err(FetchError::Http(_))), "{refused:?}");
    publisher.answer(200, "content-encoding: gzip\r\n", b"\x1f\x8b");
    assert_eq!(get(&client, "https://keys.example/").await.unwrap(), b"\x1f\x8b", "nothing is unpacked");
}

#[tokio::test]
async fn an_answer_that_takes_too_long_is_given_up() {
    let ca = TestCa::new("web");
    let publisher = Publisher::named(&ca, "keys.example").await;
    let network = TestNetwork::of(&publisher, &[("keys.example", &[&[PUBLIC]])]);
    let client = GuardedClient { timeout: Duration::from_millis(200), ..client(&ca, &["keys.example"], network) };
    for start in [&b""[..], b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{"] {
        publisher.answer_and_fall_silent(start);
        assert!(
            matches!(get(&client, "https://keys.example/").await, Err(FetchError::Slow)),
            "{}",
            start.escape_ascii()
        );
    }
}

#[tokio::test]
async fn a_server_that_does_not_prove_the_name_is_not_asked() {
    let (ca, stranger) = (TestCa::new("web"), TestCa::new("stranger"));
    let publisher = Publisher::named(&ca, "keys.example").await;
    let names: &[(&str, &[&[&str]])] = &[("keys.example", &[&[PUBLIC]]), ("other.example", &[&[PUBLIC]])];
    let hosts = ["keys.example", "other.example"];
    let trusting_another = client(&stranger, &hosts, TestNetwork::of(&publisher, names));
    let trusting = client(&ca, &hosts, TestNetwork::of(&publisher, names));
    assert!(matches!(get(&trusting_another, "https://keys.example/").await, Err(FetchError::Connection(_))));
    assert!(matches!(get(&trusting, "https://other.example/").await, Err(FetchError::Connection(_))));
    assert_eq!(publisher.requests().len(), 0);
    assert!(get(&trusting, "https://keys.example/").await.is_ok());
}
