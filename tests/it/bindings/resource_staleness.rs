//! Bounds of staleness that resources set for themselves: each protocol goes by that of the resource in question.

use std::time::Duration;

use lanyard::proto::Client;
use lanyard::proto::Decision;
use lanyard::proto::DeleteProtectedResourceRequest;
use lanyard::proto::IntrospectTokenRequest;
use lanyard::proto::IssueTokenRequest;
use lanyard::proto::ProtectedResource;
use lanyard::proto::ValidateBindingRequest;
use tokio::net::TcpStream;
use tonic::Code;

use crate::support::NOW;
use crate::support::binding_stream::BindingStream;
use crate::support::binding_stream::StreamOutcome;
use crate::support::calls::refusal;
use crate::support::calls::refused_field;
use crate::support::calls::use_of;
use crate::support::check::Asked;
use crate::support::check::answer;
use crate::support::check::route;
use crate::support::door::within;
use crate::support::leaf::Leaf;
use crate::support::server::ORDERS;
use crate::support::server::TestServer;
use crate::support::server::certificate_of;
use crate::support::server::spiffe_client;
use crate::support::wire::http1;

const BOUND: &str = "{memory: true, max_staleness: 60s}";

fn stale() -> (Code, String) {
    (Code::Unavailable, "SNAPSHOT_STALE".to_owned())
}

/// A resource that defines the scopes of [`spiffe_client`]s, whose every path needs a token.
fn bounded(audience: &str, max_staleness: Option<u64>) -> ProtectedResource {
    let max_staleness = max_staleness.map(|seconds| prost_types::Duration { seconds: seconds.cast_signed(), nanos: 0 });
    let routes = vec![route(&[], "/**", "")];
    ProtectedResource { audience: audience.to_owned(), max_staleness, routes, ..ProtectedResource::default() }
}

/// A server with a bound of a minute, and resources with less, more and none of their own.
struct Bounded {
    server: TestServer,
    leaf: Leaf,
    proxy: Leaf,
    /// For each of the three.
    tokens: [String; 3],
    /// For all three.
    token: String,
}

const LESS: &str = "https://less.prod.example";
const MORE: &str = "https://more.prod.example";
const DEFAULT: &str = "https://default.prod.example";
const RESOURCES: [(&str, Option<u64>, u64); 3] = [(LESS, Some(20), 20), (MORE, Some(90), 90), (DEFAULT, None, 60)];

impl Bounded {
    async fn new() -> Self {
        let server = TestServer::started(|setup| BOUND.clone_into(&mut setup.store)).await;
        for (audience, own, _) in RESOURCES {
            server.protect(bounded(audience, own)).await.unwrap();
        }
        let (leaf, proxy) = (server.svid("/checkout"), server.svid("/proxy"));
        let audience = RESOURCES.map(|(audience, ..)| audience.to_owned()).to_vec();
        server.register(Client { audience, ..spiffe_client("spiffe://prod.example/checkout") }).await.unwrap();
        let mut bounded = Self { server, leaf, proxy, tokens: Default::default(), token: String::new() };
        bounded.token = bounded.issue(&[]).await.unwrap();
        for (index, (audience, ..)) in RESOURCES.iter().enumerate() {
            bounded.tokens[index] = bounded.issue(&[audience]).await.unwrap();
        }
        bounded
    }

    async fn issue(&self, audience: &[&str]) -> Result<String, (Code, String)> {
        let audience = audience.iter().map(|&audience| audience.to_owned()).collect();
        let issued = self.server.issue(&self.leaf, IssueTokenRequest { audience, ..Default::default() }).await;
        match issued {
            Ok(issued) => Ok(issued.access_token),
            Err(status) => Err(refusal::<()>(Err(status))),
        }
    }

    async fn introspect(&self, token: &str) -> Result<bool, (Code, String)> {
        let request = IntrospectTokenRequest { token: token.to_owned(), ..Default::default() };
        let answer = self.server.tokens(&self.proxy).introspect_token(request).await;
        answer.map(|answer| answer.into_inner().active).map_err(|status| refusal::<()>(Err(status)))
    }

    /// Whether each protocol decides about the resource, `age` seconds after the last news of the store.
    async fn decides(&self, index: usize, age: u64) {
        let (audience, _, bound) = RESOURCES[index];
        let token = &self.tokens[index];
        let question = ValidateBindingRequest {
            evidence: certificate_of(&self.leaf),
            audience: audience.to_owned(),
            ..use_of(token)
        };
        let mut bindings = self.server.bindings(&self.proxy);
        let mut stream = BindingStream::open(bindings.clone()).await;
        let proxy_id = "spiffe://prod.example/proxy";
        let introspection = [("token", token.as_str()), ("client_id", proxy_id)];
        let grant = [
            ("grant_type", "client_credentials"),
            ("client_id", "spiffe://prod.example/checkout"),
            ("resource", audience),
        ];
        let asked = Asked::with(token, &self.leaf).resource(audience).message();
        let checked = self.server.checks(&self.proxy).check(asked).await;
        let validated = bindings.validate_binding(question.clone()).await;
        let streamed = stream.ask(&question).await.unwrap();
        let introspected = self.server.post(&self.proxy, "/oauth2/introspect", &introspection).await;
        let granted = self.server.post(&self.leaf, "/oauth2/token", &grant).await;
        if age <= bound {
            let evaluated = validated.unwrap().into_inner();
            assert_eq!(evaluated.decision(), Decision::Allow, "{audience} at {age}");
            let until = u64::try_from(evaluated.cache_until.unwrap().seconds).unwrap() - NOW.0;
            assert_eq!(until, (age + 5).min(bound), "{audience} at {age}: no longer than its bound");
            assert_eq!(streamed, StreamOutcome::Allowed);
            assert_eq!(answer(&checked.unwrap().into_inner()).http(), 200, "{audience} at {age}");
            assert_eq!(self.introspect(token).await, Ok(true), "{audience} at {age}");
            assert_eq!(introspected.ok()["active"], true);
            self.issue(&[audience]).await.unwrap();
            granted.ok();
        } else {
            let (code, reason) = stale();
            assert_eq!(refusal(validated), stale(), "{audience} at {age}");
            assert_eq!(streamed, StreamOutcome::Failed(code, reason), "{audience} at {age}");
            assert_eq!(checked.unwrap_err().code(), Code::Unavailable, "{audience} at {age}");
            assert_eq!(self.introspect(token).await, Err(stale()), "{audience} at {age}");
            assert_eq!(self.issue(&[audience]).await, Err(stale()), "{audience} at {age}");
            let unavailable = (503, "temporarily_unavailable".to_owned());
            assert_eq!([introspected.error(), granted.error()], [unavailable.clone(), unavailable]);
        }
    }
}

#[tokio::test]
async fn a_resource_may_bear_less_staleness_or_more_in_every_protocol() {
    let bounded = Bounded::new().await;
    bounded.server.server.authority().mark_disconnected();
    for age in [0, 20, 21, 60, 61, 90, 91] {
        bounded.server.setup.clock.set(NOW.after(Duration::from_secs(age)));
        for index in 0..RESOURCES.len() {
            bounded.decides(index, age).await;
        }
        // Of several the one counts that bears the least.
        let expected = |bound: u64| if age <= bound { Ok(()) } else { Err(stale()) };
        assert_eq!(bounded.issue(&[]).await.map(drop), expected(20), "{age}");
        assert_eq!(bounded.issue(&[MORE, DEFAULT]).await.map(drop), expected(60), "{age}");
        assert_eq!(bounded.introspect(&bounded.token).await.map(drop), expected(20), "{age}");
        // What is not registered has the default: for an audience, for a host, and for what is refused.
        let unknown = ValidateBindingRequest {
            evidence: certificate_of(&bounded.leaf),
            audience: "https://unknown.prod.example".to_owned(),
            ..use_of(&bounded.token)
        };
        let validated = bounded.server.ask(&bounded.proxy, unknown).await;
        assert_eq!(validated.map(drop).map_err(|status| refusal::<()>(Err(status))), expected(60), "{age}");
        let unknown = Asked::with(&bounded.token, &bounded.leaf).resource("https://unknown.prod.example");
        let checked = bounded.server.checks(&bounded.proxy).check(unknown.message()).await;
        assert_eq!(checked.map(drop).map_err(|status| status.code()), expected(60).map_err(|(code, _)| code), "{age}");
        let refused = if age <= 60 { (Code::InvalidArgument, "INVALID_TARGET".to_owned()) } else { stale() };
        assert_eq!(bounded.issue(&["https://unknown.prod.example"]).await, Err(refused), "{age}");
        assert_eq!(bounded.introspect("no token").await, expected(60).map(|()| false), "{age}");
    }
}

#[tokio::test]
async fn a_server_is_ready_up_to_the_longest_bound_and_degraded_beyond_the_shortest() {
    let bounded = Bounded::new().await;
    let (server, registry) = (&bounded.server, bounded.server.registry(&bounded.server.svid("/admin")));
    let mut readiness = server.server.readiness();
    server.server.authority().mark_disconnected();
    for (age, expected) in [(20, "ok"), (21, "degraded: store_stale"), (90, "degraded: store_stale")] {
        server.setup.clock.set(NOW.after(Duration::from_secs(age)));
        within(async {
            loop {
                let connection = TcpStream::connect(server.addresses.ops).await.unwrap();
                let page = http1(connection, "GET /readyz").await;
                assert_eq!(page.status, 200, "{age}");
                if page.body.trim() == expected {
                    break;
                }
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
    server.setup.clock.set(NOW.after(Duration::from_secs(91)));
    within(readiness.wait_for(|readiness| *readiness == Err("store_stale"))).await.unwrap();
    server.setup.clock.set(NOW.after(Duration::from_secs(90)));
    within(readiness.wait_for(Result::is_ok)).await.unwrap();
    // Without that resource, the default is the longest.
    let request = DeleteProtectedResourceRequest { audience: MORE.to_owned(), ..Default::default() };
    registry.clone().delete_protected_resource(request).await.unwrap();
    within(readiness.wait_for(|readiness| *readiness == Err("store_stale"))).await.unwrap();
}

#[tokio::test]
async fn without_a_bound_of_the_server_that_of_a_resource_has_no_effect() {
    let server = TestServer::start().await;
    server.protect(bounded(ORDERS, Some(5))).await.unwrap();
    let checkout = server.workload("/checkout").await;
    server.server.authority().mark_disconnected();
    server.advance(Duration::from_mins(30));
    let token = server.token(&checkout).await;
    let evaluated = server.validate(&token, certificate_of(&checkout)).await.unwrap();
    assert_eq!(evaluated.decision(), Decision::Allow);
}

#[tokio::test]
async fn the_bound_of_a_resource_is_whole_seconds_from_five_to_a_day() {
    let server = TestServer::start().await;
    for seconds in [5, 86_400] {
        server.protect(bounded(&format!("urn:{seconds}"), Some(seconds))).await.unwrap();
    }
    for seconds in [0, 4, 86_401] {
        assert_eq!(refused_field(server.protect(bounded("urn:refused", Some(seconds))).await), "max_staleness");
    }
    let half = prost_types::Duration { seconds: 6, nanos: 500_000_000 };
    let half = ProtectedResource { max_staleness: Some(half), ..bounded("urn:refused", None) };
    assert_eq!(refused_field(server.protect(half).await), "max_staleness");
}
