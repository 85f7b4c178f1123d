//! Before and after each revocation, and after its end, all protocols say the same of the same token: `ValidateBinding` and
//! its stream, Envoy's check, and introspection over HTTP and gRPC.

use std::sync::Arc;
use std::time::Duration;

use lanyard::authority::clock::Clock;
use lanyard::authority::registration::MAX_TTL;
use lanyard::authority::state::RevocationRecord;
use lanyard::authority::state::Revoked;
use lanyard::authority::store::Expected;
use lanyard::authority::store::Store;
use lanyard::proto::AssignedRole;
use lanyard::proto::Client;
use lanyard::proto::DenyReason;
use lanyard::proto::IntrospectTokenRequest;
use lanyard::proto::ProtectedResource;
use lanyard::proto::RevokeTokenRequest;
use lanyard::proto::ValidateBindingRequest;
use lanyard::proto::revoke_token_request::Target;
use lanyard::store::memory::MemoryStore;
use serde_json::json;

use crate::support::binding_stream::BindingStream;
use crate::support::binding_stream::StreamOutcome;
use crate::support::calls::opened;
use crate::support::calls::use_of;
use crate::support::check;
use crate::support::check::Asked;
use crate::support::check::route;
use crate::support::door::within;
use crate::support::edge::Edge;
use crate::support::leaf::Leaf;
use crate::support::revocation::certificate;
use crate::support::revocation::client;
use crate::support::revocation::identities;
use crate::support::revocation::of;
use crate::support::revocation::trust_domain;
use crate::support::server::Setup;
use crate::support::server::TestServer;
use crate::support::server::certificate_of;
use crate::support::server::spiffe_client;

/// Those who ask are of another trust domain than those whom the revocations concern.
struct Protocols {
    server: TestServer,
    edge: Edge,
    proxy: Leaf,
    stream: BindingStream,
}

impl Protocols {
    async fn new() -> Self {
        Self::on(TestServer::start().await).await
    }

    async fn on(server: TestServer) -> Self {
        server.protect(ProtectedResource { routes: vec![route(&[], "/**", "")], ..check::orders() }).await.unwrap();
        let pattern = "spiffe://other.example/ns/*".to_owned();
        server.register(Client { client_id: "all".to_owned(), spiffe_id: pattern, ..spiffe_client("") }).await.unwrap();
        let proxy = server.svid("/proxy");
        let stream = BindingStream::open(server.bindings(&proxy)).await;
        let edge = Edge::start(&server, |_| {}).await;
        Self { server, edge, proxy, stream }
    }

    /// Why all of them refuse a token with its own certificate, if they do, here and at an edge.
    async fn answer(&mut self, name: &str, token: &str, leaf: &Leaf) -> Option<DenyReason> {
        let denied = answer_at(&self.server, &self.proxy, name, token, leaf).await;
        let question = ValidateBindingRequest { evidence: certificate_of(leaf), ..use_of(token) };
        let streamed = self.stream.ask(&question).await.unwrap();
        assert_eq!(streamed, denied.map_or(StreamOutcome::Allowed, StreamOutcome::Denied), "{name}");
        self.edge.knows_what(&self.server).await;
        let at_edge = answer_at(&self.edge.running, &self.proxy, name, token, leaf).await;
        assert_eq!(at_edge, denied, "{name}, at an edge");
        denied
    }
}

/// What one server answers by each of its protocols.
async fn answer_at(server: &TestServer, proxy: &Leaf, name: &str, token: &str, leaf: &Leaf) -> Option<DenyReason> {
    let question = ValidateBindingRequest { evidence: certificate_of(leaf), ..use_of(token) };
    let reason = server.ask(proxy, question.clone()).await.unwrap().reason();
    let denied = Some(reason).filter(|reason| *reason != DenyReason::Unspecified);
    let checked = server.check_as(proxy, Asked::with(token, leaf).to("GET", "/any")).await;
    let code = denied.map(|reason| reason.as_str_name().replace("DENY_REASON_", "")).unwrap_or_default();
    assert_eq!(checked.reason(), code, "{name}");
    let form = [("token", token)];
    let over_http = server.post(proxy, "/oauth2/introspect", &form).await.ok();
    assert_eq!(over_http["active"], json!(denied.is_none()), "{name}");
    let request = IntrospectTokenRequest { token: token.to_owned(), ..IntrospectTokenRequest::default() };
    let over_grpc = server.tokens(proxy).introspect_token(request).await.unwrap().into_inner();
    assert_eq!(over_grpc.active, denied.is_none(), "{name}");
    denied
}

#[tokio::test]
async fn all_protocols_agree_before_and_after_each_revocation_and_after_its_end() {
    use DenyReason as Why;
    let mut protocols = Protocols::new().await;
    for (name, why, after) in [
        ("token", Why::TokenRevoked, None),
        ("issued", Why::TokenRevoked, None),
        ("client", Why::ClientRevoked, Some(Why::TokenRevoked)),
        ("registration", Why::ClientRevoked, Some(Why::TokenRevoked)),
        ("certificate", Why::CertificateRevoked, None),
        ("path", Why::IdentityRevoked, Some(Why::TokenRevoked)),
        ("trust domain", Why::IdentityRevoked, Some(Why::TokenRevoked)),
        ("role", Why::IdentityRevoked, Some(Why::TokenRevoked)),
    ] {
        let path = name.replace(' ', "-");
        let id = if name == "role" {
            "spiffe://other.example/proxy".to_owned()
        } else {
            format!("spiffe://other.example/ns/{path}/a")
        };
        if name == "role" {
            protocols.server.register(spiffe_client(&id)).await.unwrap();
        }
        let leaf = protocols.server.setup.other_ca.svid(&id).issue();
        let bystander = protocols.server.workload(&format!("/bystander/{path}")).await;
        let token = protocols.server.token(&leaf).await;
        let others = protocols.server.token(&bystander).await;
        assert_eq!(protocols.answer(name, &token, &leaf).await, None, "{name}");
        let target = match name {
            "token" => Target::Jti(opened(&token).1["jti"].as_str().unwrap().to_owned()),
            "issued" => Target::IssuedToClientId(id.clone()),
            "client" => client(&id),
            "registration" => client("all"),
            "certificate" => certificate(&leaf),
            "path" => identities("spiffe://other.example/ns/path/*"),
            "trust domain" => trust_domain("other.example"),
            // The proxy that asks here would be refused too, and asks no more.
            _ => Target::Role(AssignedRole::Proxy.into()),
        };
        if name == "role" {
            protocols.server.revoke(target.clone()).await;
            let form = [("token", token.as_str())];
            let active =
                protocols.server.post(&protocols.server.svid("/admin"), "/oauth2/introspect", &form).await.ok();
            assert_eq!(active["active"], json!(false));
            let own = protocols.server.ask(&bystander, use_of(&others)).await.unwrap();
            assert_eq!(own.reason(), Why::Unspecified);
            protocols.server.lift(target).await;
            protocols.stream = BindingStream::open(protocols.server.bindings(&protocols.proxy)).await;
        } else {
            protocols.server.revoke(target.clone()).await;
            assert_eq!(protocols.answer(name, &token, &leaf).await, Some(why), "{name}");
            assert_eq!(protocols.answer(name, &others, &bystander).await, None, "{name}");
            if name == "token" || name == "issued" {
                continue;
            }
            protocols.server.lift(target).await;
        }
        assert_eq!(protocols.answer(name, &token, &leaf).await, after, "{name}");
        protocols.server.advance(Duration::from_secs(1));
        let fresh = protocols.server.token(&leaf).await;
        assert_eq!(protocols.answer(name, &fresh, &leaf).await, None, "{name}");
        assert_eq!(protocols.answer(name, &others, &bystander).await, None, "{name}");
    }
}

#[tokio::test]
async fn all_protocols_refuse_what_was_issued_before_an_import_and_nothing_that_was_issued_after_it() {
    let setup = Setup::default();
    setup.write();
    let store: Arc<dyn Store> = Arc::new(MemoryStore::with_clock(Arc::clone(&setup.clock) as Arc<dyn Clock>));
    let server = setup.start_on(Arc::clone(&store)).await.unwrap();
    let mut protocols = Protocols::on(server).await;
    let leaf = protocols.server.workload("/checkout").await;
    let (old, now) = (protocols.server.token(&leaf).await, protocols.server.now());
    assert_eq!(protocols.answer("before", &old, &leaf).await, None);
    protocols.server.advance(Duration::from_secs(1));
    let new = protocols.server.token(&leaf).await;
    // What an import writes last.
    let cutoff = RevocationRecord::new(now, "an import", Some(now.after(MAX_TTL)));
    let key = Revoked::AllIssued.store_key();
    store.put(&key, cutoff.to_bytes().unwrap(), Expected::Absent).await.unwrap();
    let followed = async {
        while protocols.server.server.authority().view().snapshot.revocations.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    within(followed).await;
    assert_eq!(protocols.answer("old", &old, &leaf).await, Some(DenyReason::TokenRevoked));
    assert_eq!(protocols.answer("new", &new, &leaf).await, None);
}

#[tokio::test]
async fn all_protocols_agree_on_the_last_second_of_a_revocation_and_on_the_one_after_it() {
    let mut protocols = Protocols::new().await;
    let leaf = protocols.server.workload("/checkout").await;
    let token = protocols.server.token(&leaf).await;
    let until = i64::try_from(protocols.server.now().0 + 10).unwrap();
    let until = Some(prost_types::Timestamp { seconds: until, nanos: 0 });
    let request = RevokeTokenRequest { until, ..of(client("spiffe://prod.example/checkout")) };
    protocols.server.revoke_as(&protocols.server.svid("/admin"), request).await.unwrap();
    protocols.server.advance(Duration::from_secs(10));
    assert_eq!(protocols.answer("last", &token, &leaf).await, Some(DenyReason::ClientRevoked));
    protocols.server.advance(Duration::from_secs(1));
    assert_eq!(protocols.answer("after", &token, &leaf).await, Some(DenyReason::TokenRevoked));
    let fresh = protocols.server.token(&leaf).await;
    assert_eq!(protocols.answer("fresh", &fresh, &leaf).await, None);
}
