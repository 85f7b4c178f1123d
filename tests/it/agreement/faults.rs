//! Over forty faults at each protocol, of the question, of the token and of the server: no protocol ever answers allow.

use std::sync::Arc;
use std::time::Duration;

use axum::http::Method;
use axum::http::Request;
use axum::http::header::CONTENT_TYPE;
use lanyard::authority::clock::Clock;
use lanyard::authority::store::Batch;
use lanyard::authority::store::Change;
use lanyard::authority::store::Revision;
use lanyard::proto::Client;
use lanyard::proto::Decision;
use lanyard::proto::IntrospectTokenResponse;
use lanyard::proto::RevokeTokenRequest;
use lanyard::proto::ValidateBindingResponse;
use lanyard::proto::ValidateBindingsResponse;
use lanyard::proto::envoy::config::core::v3::HeaderMap;
use lanyard::proto::envoy::config::core::v3::HeaderValue;
use lanyard::proto::envoy::service::auth::v3::CheckResponse;
use lanyard::proto::envoy::service::auth::v3::check_response::HttpResponse;
use lanyard::proto::revoke_token_request::Target;
use lanyard::proto::validate_bindings_response::Outcome;
use percent_encoding::NON_ALPHANUMERIC;
use percent_encoding::percent_encode;
use prost::Message;
use serde_json::Value;
use tonic::transport::Channel;

use crate::support::ca::TestCa;
use crate::support::check::Asked;
use crate::support::check::orders;
use crate::support::check::route;
use crate::support::http::FORM;
use crate::support::http::Http;
use crate::support::leaf::Leaf;
use crate::support::panicking_clock::PanickingClock;
use crate::support::raw;
use crate::support::server::ORDERS;
use crate::support::server::Setup;
use crate::support::server::TestServer;
use crate::support::server::connect;
use crate::support::server::reason_of;
use crate::support::server::spiffe_client;

const CLIENT: &str = "spiffe://prod.example/checkout";

/// A `ValidateBindingRequest` whose token may be any bytes.
#[derive(Clone, PartialEq, Message)]
struct Question {
    #[prost(bytes = "vec", tag = "1")]
    access_token: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    certificate: Vec<u8>,
    #[prost(string, tag = "7")]
    audience: String,
}

/// The same of an `IntrospectTokenRequest`.
#[derive(Clone, PartialEq, Message)]
struct Introspection {
    #[prost(bytes = "vec", tag = "1")]
    token: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Protocol {
    Validate,
    Stream,
    Introspect,
    Http,
    Check,
}

const PROTOCOLS: [Protocol; 5] =
    [Protocol::Validate, Protocol::Stream, Protocol::Introspect, Protocol::Http, Protocol::Check];

/// What is done to the bytes of a question.
type Corruption = fn(Vec<u8>) -> Vec<u8>;

struct FaultFixture {
    server: TestServer,
    clock: Arc<PanickingClock>,
    proxy: Leaf,
    leaf: Leaf,
    token: String,
}

impl FaultFixture {
    async fn new() -> Self {
        let store = "{memory: true, max_staleness: 30s}".to_owned();
        let setup = Setup { store, ..Setup::default() };
        setup.write();
        let clock = PanickingClock::new(&setup.clock);
        let server = setup.start_by(Arc::clone(&clock) as Arc<dyn Clock>).await.unwrap();
        let mut resource = orders();
        resource.routes = vec![route(&[], "/**", "")];
        server.protect(resource).await.unwrap();
        let leaf = server.workload("/checkout").await;
        let token = server.token(&leaf).await;
        let proxy = server.svid("/proxy");
        Self { server, clock, proxy, leaf, token }
    }

    /// The bytes that ask in a protocol about a token.
    fn question(&self, protocol: Protocol, token: &[u8]) -> Vec<u8> {
        match protocol {
            Protocol::Validate | Protocol::Stream => {
                let certificate = self.leaf.certificate().to_vec();
                Question { access_token: token.to_vec(), certificate, audience: ORDERS.to_owned() }.encode_to_vec()
            }
            Protocol::Introspect => Introspection { token: token.to_vec() }.encode_to_vec(),
            Protocol::Http => format!("token={}", percent_encode(token, NON_ALPHANUMERIC)).into_bytes(),
            Protocol::Check => {
                let mut asked = Asked::anonymous().certificate(&self.leaf);
                let raw_value = [b"Bearer ", token].concat();
                let header = HeaderValue { key: "authorization".to_owned(), value: String::new(), raw_value };
                asked.http().header_map = Some(HeaderMap { headers: vec![header] });
                asked.message().encode_to_vec()
            }
        }
    }

    /// Whether a protocol answers allow. Everything else, from a denial to no connection, is not that.
    async fn allows(&self, protocol: Protocol, bytes: Vec<u8>) -> bool {
        match protocol {
            Protocol::Validate => {
                let path = "/lanyard.v1.BindingService/ValidateBinding";
                let answer = raw::call::<ValidateBindingResponse>(self.channel(), path, bytes).await;
                answer.is_ok_and(|answer| answer.decision() == Decision::Allow)
            }
            Protocol::Stream => {
                let path = "/lanyard.v1.BindingService/ValidateBindings";
                let answer = raw::call::<ValidateBindingsResponse>(self.channel(), path, bytes).await;
                answer.is_ok_and(|answer| match answer.outcome {
                    Some(Outcome::Judged(evaluated)) => evaluated.decision() == Decision::Allow,
                    Some(Outcome::Error(_)) | None => false,
                })
            }
            Protocol::Introspect => {
                let path = "/lanyard.v1.TokenService/IntrospectToken";
                let answer = raw::call::<IntrospectTokenResponse>(self.channel(), path, bytes).await;
                answer.is_ok_and(|answer| answer.active)
            }
            Protocol::Check => {
                let path = "/envoy.service.auth.v3.Authorization/Check";
                let answer = raw::call::<CheckResponse>(self.channel(), path, bytes).await;
                // An error is allowed only where the connection fails or the server's snapshot is stale.
                let nobody = answer.as_ref().is_err_and(|status| {
                    std::error::Error::source(status).is_some() || reason_of(status) == "SNAPSHOT_STALE"
                });
                assert!(answer.is_ok() || nobody, "{answer:?}");
                answer.is_ok_and(|answer| matches!(answer.http_response, Some(HttpResponse::OkResponse(_))))
            }
            Protocol::Http => {
                let Ok(stream) = connect(self.server.addresses.mtls, self.server.tls(&self.proxy)).await else {
                    return false;
                };
                let request = Request::builder().method(Method::POST).uri("/oauth2/introspect");
                let request = request.header(CONTENT_TYPE, FORM).body(bytes.into()).unwrap();
                let Ok(reply) = Http::two(stream).await.try_send(request).await else { return false };
                let body: Value = serde_json::from_str(&reply.body).unwrap_or_default();
                reply.status == 200 && body["active"] == true
            }
        }
    }

    fn channel(&self) -> Channel {
        self.server.channel(&self.proxy)
    }

    async fn allows_token(&self, protocol: Protocol, token: &[u8]) -> bool {
        self.allows(protocol, self.question(protocol, token)).await
    }

    /// Every protocol allows, as long as nothing is wrong.
    async fn is_sound(&self) {
        for protocol in PROTOCOLS {
            assert!(self.allows_token(protocol, self.token.as_bytes()).await, "{protocol:?}");
        }
    }
}

const CORRUPTIONS: [(&str, Corruption); 16] = [
    ("empty", |_| Vec::new()),
    ("cut in half", |bytes| bytes[..bytes.len() / 2].to_vec()),
    ("the last byte gone", |bytes| bytes[..bytes.len() - 1].to_vec()),
    ("the first byte gone", |bytes| bytes[1..].to_vec()),
    ("the first byte changed", |bytes| changed(bytes, 0)),
    ("a byte of the token changed", |bytes| changed(bytes, 120)),
    ("a byte of the token that is no UTF-8", |mut bytes| {
        bytes[100] = 0xff;
        bytes
    }),
    ("a NUL in it", |mut bytes| {
        bytes.insert(100, 0);
        bytes
    }),
    ("zeros", |bytes| vec![0; bytes.len()]),
    ("ones", |bytes| vec![0xff; bytes.len()]),
    ("backwards", |bytes| bytes.into_iter().rev().collect()),
    ("a length beyond the end", |_| vec![0x0a, 0xff, 0xff, 0xff, 0x0f, 1, 2, 3]),
    ("a number where text is", |bytes| [&[0x08, 0x01], &bytes[..]].concat()),
    ("groups in groups", |bytes| [vec![0x0b; 5_000], bytes].concat()),
    ("larger than any", |bytes| [bytes, b"&x=".to_vec(), vec![b'a'; 2 * 1024 * 1024]].concat()),
    ("a head of another kind", |bytes| [b"{\"token\":\"".to_vec(), bytes].concat()),
];

fn changed(mut bytes: Vec<u8>, at: usize) -> Vec<u8> {
    bytes[at] ^= 0x15;
    bytes
}

#[tokio::test]
async fn no_protocol_allows_what_a_question_that_is_broken_asks() {
    let fixture = FaultFixture::new().await;
    fixture.is_sound().await;
    for (name, corrupt) in CORRUPTIONS {
        for protocol in PROTOCOLS {
            let bytes = corrupt(fixture.question(protocol, fixture.token.as_bytes()));
            assert!(!fixture.allows(protocol, bytes).await, "{name}: {protocol:?}");
        }
    }
    fixture.is_sound().await;
}

#[tokio::test]
async fn no_protocol_allows_a_token_that_is_broken() {
    let fixture = FaultFixture::new().await;
    fixture.is_sound().await;
    let token = &fixture.token;
    let (message, signature) = token.rsplit_once('.').unwrap();
    let (header, payload) = message.split_once('.').unwrap();
    let other = TestServer::start().await;
    let foreign = other.token(&other.workload("/checkout").await).await;
    let broken: [(&str, Vec<u8>); 14] = [
        ("empty", Vec::new()),
        ("cut", token.as_bytes()[..token.len() - 2].to_vec()),
        ("without its signature", format!("{message}.").into()),
        ("with another's signature", format!("{message}.{}", foreign.rsplit_once('.').unwrap().1).into()),
        ("with its payload twice", format!("{header}.{payload}{payload}.{signature}").into()),
        ("without a header", format!(".{payload}.{signature}").into()),
        ("of another server", foreign.clone().into()),
        ("twice", format!("{token}{token}").into()),
        ("padded", format!("{token}=").into()),
        ("with a line end", format!("{token}\n").into()),
        ("with a NUL", format!("{token}\0").into()),
        ("in another case", token.to_uppercase().into()),
        ("not UTF-8", [token.as_bytes(), b"\xff"].concat()),
        ("endless", format!("{token}{}", "a".repeat(60_000)).into()),
    ];
    for (name, token) in broken {
        for protocol in PROTOCOLS {
            assert!(!fixture.allows_token(protocol, &token).await, "{name}: {protocol:?}");
        }
    }
    fixture.is_sound().await;
}

const SERVER_FAULTS: [&str; 16] = [
    "the snapshot is too old",
    "the token has expired",
    "the clock is a century ahead",
    "the clock breaks",
    "the client is gone",
    "the client is disabled",
    "the client is another",
    "the client's record cannot be read",
    "the token is revoked",
    "the client is revoked",
    "the certificate is revoked",
    "what was issued is revoked",
    "the proxy's certificate is revoked",
    "the proxy's certificate has expired",
    "the trust domain has another root",
    "the server is gone",
];

#[tokio::test]
async fn no_protocol_allows_anything_while_something_is_wrong_with_the_server() {
    for fault in SERVER_FAULTS {
        let mut fixture = FaultFixture::new().await;
        fixture.is_sound().await;
        fixture = Box::pin(fixture.break_by(fault)).await;
        for protocol in PROTOCOLS {
            if fault == "the clock breaks" {
                fixture.clock.arm();
            }
            assert!(!fixture.allows_token(protocol, fixture.token.as_bytes()).await, "{fault}: {protocol:?}");
            assert!(!fixture.clock.is_armed(), "{fault}: {protocol:?}");
        }
    }
}

impl FaultFixture {
    async fn break_by(self, fault: &str) -> Self {
        let server = &self.server;
        let revoke = async |target: Target| {
            let request = RevokeTokenRequest { target: Some(target), ..RevokeTokenRequest::default() };
            server.tokens(&server.svid("/admin")).revoke_token(request).await.unwrap();
        };
        let thumbprint = |leaf: &Leaf| Target::CertificateThumbprint(leaf.thumbprint().as_bytes().to_vec());
        match fault {
            "the token has expired" => {
                server.advance(Duration::from_mins(5));
                server.is_fresh_again().await;
            }
            "the clock is a century ahead" => {
                server.advance(Duration::from_hours(24 * 365 * 100));
                server.is_fresh_again().await;
            }
            "the clock breaks" => {}
            "the snapshot is too old" => {
                server.server.authority().mark_disconnected();
                server.advance(Duration::from_secs(31));
            }
            "the client is gone" => server.delete(CLIENT).await,
            "the client is disabled" => {
                let present = server.server.authority().client(CLIENT).unwrap();
                let etag = present.revision.0.to_string();
                server.update(Client { disabled: true, etag, ..spiffe_client(CLIENT) }).await.map(drop).unwrap();
            }
            "the client is another" => {
                server.delete(CLIENT).await;
                server.register(spiffe_client(CLIENT)).await.map(drop).unwrap();
            }
            "the client's record cannot be read" => server.server.authority().apply(&Batch {
                revision: Revision(1_000),
                changes: vec![Change { key: format!("/clients/{CLIENT}"), value: Some(b"{".as_slice().into()) }],
            }),
            "the token is revoked" => revoke(Target::Token(self.token.clone())).await,
            "the client is revoked" => revoke(Target::RevokedClientId(CLIENT.to_owned())).await,
            "the certificate is revoked" => revoke(thumbprint(&self.leaf)).await,
            "what was issued is revoked" => revoke(Target::IssuedToClientId(CLIENT.to_owned())).await,
            "the proxy's certificate is revoked" => revoke(thumbprint(&self.proxy)).await,
            "the proxy's certificate has expired" => {
                let proxy = server.setup.ca.svid("spiffe://prod.example/proxy").expired().issue();
                return Self { proxy, ..self };
            }
            "the trust domain has another root" => {
                std::fs::write(server.setup.path("ca.pem"), TestCa::new("prod.example").pem()).unwrap();
                server.server.reload();
            }
            "the server is gone" => {
                let Self { server: TestServer { server, addresses, setup }, clock, proxy, leaf, token } = self;
                server.stop().await;
                // Another one that is never asked.
                let TestServer { server, .. } = TestServer::start().await;
                return Self { server: TestServer { server, addresses, setup }, clock, proxy, leaf, token };
            }
            other => panic!("{other}"),
        }
        self
    }
}
