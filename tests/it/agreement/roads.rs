//! The calls with a short road are answered over it as over the long one, by tonic: that is where a content type with a
//! suffix goes.

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::Method;
use axum::http::Request;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use hyper::body::Bytes;
use lanyard::proto::IssueTokenRequest;
use lanyard::proto::IssueTokenResponse;
use lanyard::proto::ProtectedResource;
use lanyard::proto::Route;
use lanyard::proto::RouteTxn;
use lanyard::proto::ValidateBindingRequest;
use lanyard::proto::ValidateBindingResponse;
use lanyard::proto::envoy::service::auth::v3::CheckResponse;
use prost::Message as _;

use crate::support::calls::use_of;
use crate::support::check::Answer;
use crate::support::check::Asked;
use crate::support::check::orders;
use crate::support::check::route;
use crate::support::door::connect_h2;
use crate::support::http::Http;
use crate::support::leaf::Leaf;
use crate::support::server::TestServer;
use crate::support::server::certificate_of;
use crate::support::unreferenced::without_references;

const SHORT: &str = "application/grpc";
const LONG: &str = "application/grpc+proto";

const VALIDATE: &str = "/lanyard.v1.BindingService/ValidateBinding";
const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";
const ISSUE: &str = "/lanyard.v1.TokenService/IssueToken";

/// What a caller sees of an answer.
#[derive(Debug, PartialEq)]
struct Seen {
    status: u16,
    headers: Vec<(String, String)>,
    message: String,
    trailers: Vec<(String, String)>,
}

impl Seen {
    /// The status of gRPC, wherever it is.
    fn grpc_status(&self) -> Option<&str> {
        let all = || self.headers.iter().chain(&self.trailers);
        all().find(|(name, _)| name == "grpc-status").map(|(_, value)| value.as_str())
    }
}

fn framed(compressed: u8, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[compressed], length.as_slice(), message].concat()
}

/// A request, and the pieces in which its body arrives.
struct Sent<'a> {
    name: &'a str,
    method: Method,
    fields: &'a [(&'a str, &'a str)],
    pieces: Vec<Vec<u8>>,
}

fn sent(name: &str, pieces: impl IntoIterator<Item = Vec<u8>>) -> Sent<'_> {
    Sent { name, method: Method::POST, fields: &[], pieces: pieces.into_iter().collect() }
}

/// The same message in every way in which it can be sent, and beside it what is no message.
fn ways(message: &[u8], most: usize) -> Vec<Sent<'static>> {
    let good = framed(0, message);
    let halves = |at: usize| [good[..at].to_vec(), good[at..].to_vec()];
    let mut ways = vec![
        sent("whole", [good.clone()]),
        sent("whole and an empty piece", [good.clone(), Vec::new()]),
        sent("an empty piece first", [Vec::new(), good.clone()]),
        sent("after its head", halves(5)),
        sent("within its head", halves(3)),
        sent("in two halves", halves(good.len() / 2)),
        // More of them would be a flood.
        sent("byte by byte", good[..100].iter().map(|byte| vec![*byte]).chain([good[100..].to_vec()])),
        sent("twice in one piece", [good.repeat(2)]),
        sent("twice", [good.clone(), good.clone()]),
        sent("and another that is not readable", [good.clone(), framed(0, b"\xff")]),
        sent("nothing", []),
        sent("an empty message", [framed(0, b"")]),
        sent("cut", [good[..good.len() - 1].to_vec()]),
        sent("cut within its head", [good[..4].to_vec()]),
        sent("longer than it says", [[good.as_slice(), b"x"].concat()]),
        sent("compressed", [framed(1, message)]),
        sent("with an unknown flag", [framed(2, message)]),
        sent("not UTF-8", [framed(0, b"\x0a\x01\xff")]),
        sent("with the wrong wire type", [framed(0, b"\x08\x01")]),
        sent("with field 0", [framed(0, b"\x02\x00")]),
        sent("with a group", [framed(0, &[message, b"\xfb\x01\xfc\x01"].concat())]),
        sent("with an unknown field", [framed(0, &[message, b"\xfa\x01\x01x"].concat())]),
        sent("too large", [framed(0, &vec![0; most + 1])]),
        sent("as large as it may be", [framed(0, &vec![0x80; most])]),
    ];
    let with = |name, method, fields| Sent { name, method, fields, pieces: vec![good.clone()] };
    ways.extend([
        with("GET", Method::GET, &[] as &[_]),
        with("an encoding", Method::POST, &[("grpc-encoding", "gzip")]),
        with("no encoding", Method::POST, &[("grpc-encoding", "identity")]),
        with("accepted encodings", Method::POST, &[("grpc-accept-encoding", "gzip,identity")]),
        with("a deadline", Method::POST, &[("grpc-timeout", "1n")]),
        with("an unreadable deadline", Method::POST, &[("grpc-timeout", "soon")]),
        with("metadata", Method::POST, &[("x-anything", "a"), ("user-agent", "b")]),
    ]);
    ways
}

async fn ask(caller: &mut Http, path: &str, content_type: &str, sent: &Sent<'_>) -> Seen {
    let mut request = Request::builder().method(sent.method.clone()).uri(path);
    for (name, value) in sent.fields.iter().chain(&[("content-type", content_type), ("te", "trailers")]) {
        request = request.header(*name, *value);
    }
    let body = match sent.pieces.as_slice() {
        // The last piece says that it is the last.
        [only] => Body::from(only.clone()),
        pieces => {
            let pieces = pieces.iter().map(|piece| Ok(Bytes::from(piece.clone())));
            Body::from_stream(futures_util::stream::iter(pieces.collect::<Vec<Result<_, std::io::Error>>>()))
        }
    };
    let answer = caller.exchange(request.body(body).unwrap()).await;
    let (head, body) = answer.unwrap_or_else(|error| panic!("{path}, {}: {error}", sent.name)).into_parts();
    let fields = |fields: &HeaderMap| {
        let text = |(name, value): (&axum::http::HeaderName, &axum::http::HeaderValue)| {
            let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
            // The details have the reference, which differs from answer to answer.
            let details =
                (name == "grpc-status-details-bin").then(|| STANDARD_NO_PAD.decode(text.trim_end_matches('=')));
            let details = details.map(|bytes| without_references(&String::from_utf8_lossy(&bytes.unwrap())));
            (name.to_string(), details.unwrap_or(text))
        };
        let mut fields: Vec<_> = fields.iter().map(text).filter(|(name, _)| name != "date").collect();
        fields.sort();
        fields
    };
    let trailers = body.trailers().map(fields).unwrap_or_default();
    let bytes = body.to_bytes();
    let message = match bytes.get(5..) {
        None => String::new(),
        Some(message) if path == CHECK => format!("{:?}", CheckResponse::decode(message).unwrap()),
        Some(message) if path == ISSUE => {
            let issued = IssueTokenResponse::decode(message).unwrap();
            assert_eq!(issued.access_token.split('.').count(), 3, "{}", sent.name);
            // Each is another one.
            format!("{:?}", IssueTokenResponse { access_token: String::new(), ..issued })
        }
        Some(message) => format!("{:?}", ValidateBindingResponse::decode(message).unwrap()),
    };
    Seen {
        status: head.status.as_u16(),
        headers: fields(&head.headers),
        message: without_references(&message),
        trailers,
    }
}

/// Asks over both roads, and returns what both answer.
async fn both(caller: &mut Http, path: &str, sent: &Sent<'_>) -> Seen {
    let short = ask(caller, path, SHORT, sent).await;
    assert_eq!(short, ask(caller, path, LONG, sent).await, "{path}: {}", sent.name);
    short
}

#[tokio::test]
async fn every_message_and_what_is_none_is_answered_alike_over_both_roads() {
    let server = TestServer::with_local_proxy().await;
    server.protect(orders()).await.unwrap();
    let (holder, thief) = (server.workload("/checkout").await, server.svid("/thief"));
    let token = server.token(&holder).await;
    let question = |leaf: &Leaf| ValidateBindingRequest { evidence: certificate_of(leaf), ..use_of(&token) };
    let mut proxy = Http::two(connect_h2(&server, &server.svid("/proxy")).await).await;
    let mut workload = Http::two(connect_h2(&server, &holder).await).await;
    let mut local = server.local_http().await;
    for leaf in [&holder, &thief] {
        let validate = question(leaf).encode_to_vec();
        let check = Asked::with(&token, leaf).header("x-lanyard-subject", "me").message().encode_to_vec();
        for (path, message, most) in [(VALIDATE, validate, 256 * 1024), (CHECK, check, 1024 * 1024)] {
            for sent in ways(&message, most) {
                let answer = both(&mut proxy, path, &sent).await;
                let is_good = ["whole", "byte by byte", "a deadline", "with an unknown field"].contains(&sent.name);
                if is_good || path == CHECK {
                    assert_eq!(answer.grpc_status(), Some("0"), "{path}: {}", sent.name);
                    assert!(!answer.message.is_empty(), "{path}: {}", sent.name);
                }
                if path == VALIDATE && ["cut", "too large", "compressed", "nothing", "not UTF-8"].contains(&sent.name) {
                    assert!(!matches!(answer.grpc_status(), Some("0") | None), "{}", sent.name);
                }
                // A proxy on this machine asks over a socket.
                assert_eq!(both(&mut local, path, &sent).await, answer, "{path}: {}", sent.name);
                // Without the role Proxy.
                both(&mut workload, path, &sent).await;
            }
        }
    }
}

#[tokio::test]
async fn a_token_is_issued_or_refused_alike_over_both_roads() {
    let server = TestServer::start().await;
    let (holder, stranger) = (server.workload("/checkout").await, server.svid("/stranger"));
    let asked = IssueTokenRequest { scope: "orders.read".to_owned(), ..Default::default() }.encode_to_vec();
    // Enough to be sent byte by byte, in a field that nobody knows.
    let asked = [asked.as_slice(), b"\xfa\x01\x64", &[b'x'; 100]].concat();
    let beyond = IssueTokenRequest { scope: "nothing.of.this".to_owned(), ..Default::default() }.encode_to_vec();
    for (leaf, is_registered) in [(&holder, true), (&stranger, false)] {
        let mut caller = Http::two(connect_h2(&server, leaf).await).await;
        for sent in ways(&asked, 256 * 1024) {
            let answer = both(&mut caller, ISSUE, &sent).await;
            if ["whole", "byte by byte", "a deadline", "with an unknown field"].contains(&sent.name) {
                assert_eq!(answer.grpc_status() == Some("0"), is_registered, "{}", sent.name);
            }
            if ["cut", "too large", "compressed", "nothing", "not UTF-8"].contains(&sent.name) {
                assert!(!matches!(answer.grpc_status(), Some("0") | None), "{}", sent.name);
            }
        }
        let refused = both(&mut caller, ISSUE, &sent("beyond", [framed(0, &beyond)])).await;
        assert!(!matches!(refused.grpc_status(), Some("0") | None));
    }
}

// Each reason about a transaction token that a request can have
#[tokio::test]
async fn a_check_that_looks_at_transactions_is_answered_alike_over_both_roads() {
    let server = TestServer::started(|setup| {
        setup.exchange = "{enabled: true}\ntxn_tokens: {trust_domain: prod.example}".to_owned();
    })
    .await;
    let txn = RouteTxn {
        scope: "order.cancel".to_owned(),
        details: [("order".to_owned(), "{id}".to_owned())].into(),
        context: vec![],
    };
    let routes = vec![
        Route { txn: Some(txn), ..route(&["POST"], "/orders/{id}/cancel", "") },
        Route { txn_scope: "order.cancel".to_owned(), ..route(&[], "/cancelled", "") },
        Route { txn_scope: "order.pay".to_owned(), ..route(&[], "/paid", "") },
    ];
    let resource = ProtectedResource { txn_token: "require".to_owned(), routes, ..orders() };
    server.protect(resource).await.unwrap();
    let holder = server.workload("/checkout").await;
    let token = server.token(&holder).await;
    let Answer::Through { set, .. } = server.check(Asked::with(&token, &holder).to("POST", "/orders/7/cancel")).await
    else {
        panic!("denied")
    };
    let own = set["txn-token"].clone();
    let mut proxy = Http::two(connect_h2(&server, &server.svid("/proxy")).await).await;
    let long = format!("/orders/{}/cancel", "x".repeat(257));
    let cut = own.rsplit_once('.').unwrap().0.to_owned();
    for (path, txn_token, said) in [
        ("/cancelled", Some(own.as_str()), "x-lanyard-txn"),
        ("/cancelled", None, "TXN_TOKEN_MISSING"),
        ("/cancelled", Some("a,b"), "TXN_TOKEN_MALFORMED"),
        ("/cancelled", Some(&cut), "TXN_TOKEN_INVALID"),
        ("/cancelled", Some(&token), "TXN_TOKEN_INVALID"),
        ("/paid", Some(&own), "TXN_SCOPE_MISSING"),
        (&long, None, "TXN_CONTEXT_REFUSED"),
    ] {
        let asked = Asked::with(&token, &holder).to("POST", path);
        let asked = txn_token.into_iter().fold(asked, |asked, text| asked.header("txn-token", text));
        let message = framed(0, &asked.message().encode_to_vec());
        let answer = both(&mut proxy, CHECK, &sent(said, [message])).await;
        assert!(answer.message.contains(said), "{path} {txn_token:?}: {answer:?}");
    }
    server.advance(std::time::Duration::from_mins(1));
    server.is_fresh_again().await;
    let asked = Asked::with(&token, &holder).to("POST", "/cancelled").header("txn-token", &own);
    let message = framed(0, &asked.message().encode_to_vec());
    let answer = both(&mut proxy, CHECK, &sent("expired", [message])).await;
    assert!(answer.message.contains("TXN_TOKEN_EXPIRED"), "{answer:?}");
}
