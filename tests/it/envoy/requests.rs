//! What a client can do with its connection and its headers, and how little of it reaches a service behind a real Envoy.

use axum::http::HeaderName;
use axum::http::HeaderValue;
use rustls::HandshakeKind;
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;

use crate::support::door::Outcome;
use crate::support::door::read_to_end;
use crate::support::door::request;
use crate::support::door::within;
use crate::support::envoy::EnvoySetup;
use crate::support::http::Reply;
use crate::support::http::http1_only;
use crate::support::mesh::Mesh;
use crate::support::mesh::get;
use crate::support::mesh::proxy;
use crate::support::mesh::reason;
use crate::support::mesh::server_at_real_time;
use crate::support::mesh::with_header;
use crate::support::server::connect;

const CHECKOUT: &str = "spiffe://prod.example/checkout";

/// Lets pass what cannot be checked, makes no path plain, and takes headers of any size and number, as they came or made
/// text of.
fn careless(raw_headers: bool) -> Vec<(&'static str, String)> {
    let version = "transport_api_version: V3";
    let stat_prefix = "stat_prefix: orders";
    let limits = "max_request_headers_kb: 8192\n          common_http_protocol_options: {max_headers_count: 50000}";
    vec![
        ("failure_mode_allow: false", "failure_mode_allow: true".to_owned()),
        ("normalize_path: true", "normalize_path: false".to_owned()),
        ("merge_slashes: true", "merge_slashes: false".to_owned()),
        ("with_escaped_slashes_action: REJECT_REQUEST", "with_escaped_slashes_action: KEEP_UNCHANGED".to_owned()),
        (version, format!("{version}\n              encode_raw_headers: {raw_headers}")),
        (stat_prefix, format!("{stat_prefix}\n          {limits}")),
    ]
}

#[tokio::test]
async fn the_example_is_valid_and_a_misspelt_one_is_not() {
    let server = server_at_real_time().await;
    for (changes, code) in [
        (Vec::new(), 0),
        (vec![("failure_mode_allow", "failure_mode_alow".to_owned())], 1),
        (vec![("trust_bundle", "trust_bundel".to_owned())], 1),
    ] {
        let setup = EnvoySetup {
            local: None,
            svid: &proxy(&server, "/proxy"),
            bundle: &server.setup.ca.pem(),
            lanyard: server.addresses.mtls,
            upstream: server.addresses.ops,
            changes,
        };
        let Some(finished) = setup.validate() else { return };
        assert_eq!(finished.code, Some(code), "{finished:?}");
    }
}

/// All that a server might take for headers of ours, in order.
fn identity(reply: &Reply) -> Vec<(String, Value)> {
    assert_eq!(reply.status, 200, "{reply:?}");
    let seen: Value = serde_json::from_str(&reply.body).unwrap();
    let headers = seen["headers"].as_object().unwrap();
    headers
        .iter()
        .filter(|(name, _)| name.contains("lanyard"))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

#[tokio::test]
async fn our_headers_from_clients_are_removed_by_envoy_and_by_lanyard_each_alone() {
    let filter = "regex: \"x[-_]lanyard[-_].*\"";
    for changes in [Vec::new(), vec![(filter, "regex: \"nothing\"".to_owned())]] {
        let Some(mesh) = Mesh::start(changes, |_| {}).await else { return };
        let forged = |path: &str, token: &str| {
            let mut request = get(path, token);
            for name in [
                "x-lanyard-client-id",
                "x-lanyard-client-id",
                "x-lanyard-subject",
                "x-lanyard-scope",
                "x-lanyard-binding",
                "x-lanyard-",
                "x-lanyard-of-a-later-version",
                "x_lanyard_client_id",
                "x-lanyard_subject",
            ] {
                request = with_header(request, name, "admin");
            }
            request
        };
        for http2 in [true, false] {
            let mut connection = mesh.open(&mesh.checkout, http2).await;
            let expected = [
                ("x-lanyard-binding", "exact"),
                ("x-lanyard-client-id", CHECKOUT),
                ("x-lanyard-scope", "orders.read orders.write"),
                ("x-lanyard-subject", CHECKOUT),
            ];
            let expected = expected.map(|(name, value)| (name.to_owned(), Value::from(vec![value])));
            assert_eq!(identity(&connection.send(forged("/orders/1", &mesh.token)).await), expected);
            // No client is identified on a public route.
            assert_eq!(identity(&connection.send(forged("/healthz", &mesh.token)).await), []);
        }
    }
}

#[tokio::test]
async fn the_token_is_taken_out_where_the_resource_is_not_to_have_it() {
    for removes in [true, false] {
        let Some(mesh) = Mesh::start(Vec::new(), |resource| resource.remove_authorization = removes).await else {
            return;
        };
        let reply = mesh.legitimate().await;
        assert_eq!((reply.status, reply.body.contains(&mesh.token)), (200, !removes));
    }
}

#[tokio::test]
async fn no_session_is_resumed_where_the_example_is_followed() {
    let on = "disable_stateless_session_resumption: false".to_owned();
    for (changes, resumed) in [(Vec::new(), false), (vec![("disable_stateless_session_resumption: true", on)], true)] {
        let Some(mesh) = Mesh::start(changes, |_| {}).await else { return };
        let tls = http1_only(mesh.server.tls(&mesh.checkout));
        let mut handshakes = Vec::new();
        for _ in 0..2 {
            let mut stream = connect(mesh.envoy.address, tls.clone()).await.unwrap();
            // By the end of an answer a ticket, if there is one, has come too.
            assert!(matches!(within(request(&mut stream, "/healthz")).await, Outcome::Answered(_)));
            handshakes.push(stream.get_ref().1.handshake_kind().unwrap() == HandshakeKind::Resumed);
        }
        assert_eq!(handshakes, [false, resumed]);
    }
}

#[tokio::test]
async fn a_path_is_made_plain_before_it_is_checked_or_refused() {
    let Some(mesh) = Mesh::start(Vec::new(), |_| {}).await else { return };
    for (path, status) in [
        ("/orders/../orders/1", 200),
        ("//orders//1", 200),
        ("/%2e%2e/orders/./%31", 200),
        // To where the token does not reach.
        ("/orders/../admin/x", 403),
        ("/orders/%2e%2e/admin/x", 403),
        ("/healthz/../admin/x", 403),
        ("/orders/..%2fadmin%2fx", 400),
        ("/orders/..%5cadmin%5cx", 400),
    ] {
        let before = mesh.upstream.reached();
        let reply = mesh.send(&mesh.checkout, get(path, &mesh.token)).await;
        assert_eq!((reply.status, mesh.upstream.reached() > before), (status, status == 200), "{path}: {reply:?}");
        // The service reads what was checked.
        assert!(status != 200 || reply.body.contains("\"path\":\"/orders/1\""), "{path}: {reply:?}");
    }
}

#[tokio::test]
async fn no_header_of_a_client_keeps_lanyard_from_denying() {
    for raw_headers in [true, false] {
        let Some(mesh) = Mesh::start(careless(raw_headers), |_| {}).await else { return };
        let token = format!("Bearer {}", mesh.token);
        let cases: Vec<(&str, Vec<u8>, u16)> = vec![
            ("authorization", [token.as_bytes(), b"\xc3\x28"].concat(), 400),
            ("authorization", b"\xff\xfe".to_vec(), if raw_headers { 400 } else { 401 }),
            ("authorization", Vec::new(), 401),
            ("authorization", [b"Bearer ".to_vec(), vec![b'a'; 100_000]].concat(), 401),
            // More than Lanyard reads of a check.
            ("authorization", [b"Bearer ".to_vec(), vec![b'a'; 2_000_000]].concat(), 400),
            ("x-large", vec![b'a'; 900_000], 401),
            ("x-large", vec![b'a'; 6_000_000], 400),
            ("x-strange", (0x80..=0xff).collect(), 401),
            ("x-lanyard-subject", vec![0xff; 100], 401),
            ("te", b"trailers".to_vec(), 401),
            ("grpc-timeout", b"1n".to_vec(), 401),
            ("x-envoy-upstream-rq-timeout-ms", b"1".to_vec(), 401),
            ("x-envoy-expected-rq-timeout-ms", b"1".to_vec(), 401),
            ("x-envoy-retry-on", b"5xx,retriable-4xx".to_vec(), 401),
            ("x-envoy-original-path", b"/healthz".to_vec(), 401),
            ("x-original-url", b"/healthz".to_vec(), 401),
            ("x-http-method-override", b"OPTIONS".to_vec(), 401),
            ("traceparent", b"00-\xff".to_vec(), 401),
        ];
        // Each as the thief, who would like to pass with whatever comes of it.
        for http2 in [true, false] {
            for (name, value, status) in &cases {
                let mut request = get("/orders/1", &mesh.token);
                let line = HeaderValue::from_bytes(value).unwrap();
                request.headers_mut().insert(name.parse::<HeaderName>().unwrap(), line);
                let about = String::from_utf8_lossy(&value[..value.len().min(40)]);
                match mesh.open(&mesh.thief, http2).await.try_send(request).await {
                    Ok(reply) => {
                        assert_eq!(reply.status, *status, "{name}: {about}: {reply:?}");
                        // By Lanyard, not by Envoy for it.
                        assert_ne!(reason(&reply), "", "{name}: {about}: {reply:?}");
                    }
                    // Over HTTP/2 so much is not even read.
                    Err(_) if http2 && value.len() > 500_000 => {}
                    Err(error) => panic!("{name}: {about}: {error}"),
                }
            }
            for (count, status) in [(3000, 401), (9000, 400)] {
                let mut many = get("/orders/1", &mesh.token);
                for place in 0..count {
                    let name = format!("x-header-{place}").parse::<HeaderName>().unwrap();
                    many.headers_mut().append(name, HeaderValue::from_bytes(&[b'x'; 100]).unwrap());
                }
                let reply = mesh.open(&mesh.thief, http2).await.send(many).await;
                assert_eq!((reply.status, reason(&reply).is_empty()), (status, false), "{count} headers: {reply:?}");
            }
        }
        assert_eq!(mesh.upstream.reached(), 0);
        assert_eq!(mesh.legitimate().await.status, 200);
    }
}

#[tokio::test]
async fn no_path_of_a_client_keeps_lanyard_from_denying() {
    for raw_headers in [true, false] {
        let Some(mesh) = Mesh::start(careless(raw_headers), |_| {}).await else { return };
        let long = [b"/orders/".to_vec(), vec![b'a'; 5_000_000]].concat();
        // The rightful holder requests paths that its token does not cover or that are ambiguous.
        for path in [
            "/orders/../admin/x".as_bytes(),
            b"/orders/%2E./admin/x",
            b"/orders/..%2fadmin/x",
            b"/orders%2F1",
            b"/orders%5c1",
            b"/orders\\1",
            b"//orders/1",
            b"/orders/1/",
            b"/orders/./1",
            b"/orders/%00",
            b"/orders/%zz",
            b"/orders/\xff\xfe",
            b"/orders/\xc3\x28?\x80",
            b"/orders/1;/../../admin/x",
            b"/HEALTHZ",
            b"/admin/x",
            b"*",
            b"http://localhost/admin/x",
            b"",
            &long,
        ] {
            let head = [b"GET ", path, b" HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"].concat();
            let fields = format!("authorization: Bearer {}\r\n\r\n", mesh.token);
            let mut stream = connect(mesh.envoy.address, http1_only(mesh.server.tls(&mesh.checkout))).await.unwrap();
            // It may be refused before it was read to its end.
            drop(stream.write_all(&[&head, fields.as_bytes()].concat()).await);
            drop(stream.flush().await);
            let answer = String::from_utf8_lossy(&read_to_end(&mut stream).await).into_owned();
            let refused = ["HTTP/1.1 400 ", "HTTP/1.1 403 "].iter().any(|status| answer.starts_with(status));
            assert!(refused, "{}: {answer}", String::from_utf8_lossy(&path[..path.len().min(40)]));
        }
        assert_eq!(mesh.upstream.reached(), 0);
        assert_eq!(mesh.legitimate().await.status, 200);
    }
}
