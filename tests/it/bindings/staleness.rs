//! What is still decided while the store cannot be followed: everything up to the configured bound, and nothing beyond it.

use std::sync::Arc;
use std::time::Duration;

use lanyard::authority::state::Undecidable;
use lanyard::authority::store::Batch;
use lanyard::authority::store::Change;
use lanyard::authority::store::Revision;
use lanyard::authority::store::Store as _;
use lanyard::proto::Decision;
use lanyard::proto::IntrospectTokenRequest;
use lanyard::proto::IssueTokenRequest;
use lanyard::proto::ValidateBindingRequest;
use tokio_stream::StreamExt as _;
use tonic::Code;

use crate::support::NOW;
use crate::support::authority::TestAuthority;
use crate::support::binding_stream::BindingStream;
use crate::support::binding_stream::StreamOutcome;
use crate::support::calls::refusal;
use crate::support::calls::use_of;
use crate::support::hand_fed::HandFed;
use crate::support::http::post;
use crate::support::server::Setup;
use crate::support::server::TestServer;
use crate::support::server::certificate_of;

const BOUND: &str = "{memory: true, max_staleness: 60s}";

fn stale() -> (Code, String) {
    (Code::Unavailable, "SNAPSHOT_STALE".to_owned())
}

#[tokio::test]
async fn beyond_the_bound_no_protocol_decides_until_the_store_is_followed_again() {
    let server = TestServer::started(|setup| BOUND.clone_into(&mut setup.store)).await;
    let checkout = server.workload("/checkout").await;
    let token = server.token(&checkout).await;
    let question = ValidateBindingRequest { evidence: certificate_of(&checkout), ..use_of(&token) };
    let proxy = server.svid("/proxy");
    let mut bindings = server.bindings(&proxy);
    let mut stream = BindingStream::open(bindings.clone()).await;
    let mut http = server.http(&checkout).await;
    let mut proxy_http = server.http(&proxy).await;
    let introspect = IntrospectTokenRequest { token: token.clone(), client_id: String::new(), ..Default::default() };
    let id = "spiffe://prod.example/checkout";
    let proxy_id = "spiffe://prod.example/proxy";
    let grant = [("grant_type", "client_credentials"), ("client_id", id)];
    let introspection = [("token", token.as_str()), ("client_id", proxy_id)];

    let authority = server.server.authority();
    authority.mark_disconnected();
    server.advance(Duration::from_secs(30));
    // Lost again, which makes it no younger.
    authority.mark_disconnected();
    for moment in [30, 58, 60, 61, 100] {
        server.setup.clock.set(NOW.after(Duration::from_secs(moment)));
        if moment <= 60 {
            let evaluated = bindings.validate_binding(question.clone()).await.unwrap().into_inner();
            assert_eq!(evaluated.decision(), Decision::Allow);
            let until = u64::try_from(evaluated.cache_until.unwrap().seconds).unwrap() - NOW.0;
            assert_eq!(until, (moment + 5).min(60), "no longer than the bound");
            assert_eq!(stream.ask(&question).await.unwrap(), StreamOutcome::Allowed);
            assert!(server.tokens(&proxy).introspect_token(introspect.clone()).await.unwrap().into_inner().active);
            assert_eq!(proxy_http.send(post("/oauth2/introspect", &introspection)).await.ok()["active"], true);
            server.issue(&checkout, IssueTokenRequest::default()).await.unwrap();
            http.send(post("/oauth2/token", &grant)).await.ok();
        } else {
            assert_eq!(refusal(bindings.validate_binding(question.clone()).await), stale());
            let (code, reason) = stale();
            assert_eq!(stream.ask(&question).await.unwrap(), StreamOutcome::Failed(code, reason));
            assert_eq!(refusal(server.tokens(&proxy).introspect_token(introspect.clone()).await), stale());
            assert_eq!(refusal(server.issue(&checkout, IssueTokenRequest::default()).await), stale());
            let unavailable = (503, "temporarily_unavailable".to_owned());
            assert_eq!(proxy_http.send(post("/oauth2/introspect", &introspection)).await.error(), unavailable);
            assert_eq!(http.send(post("/oauth2/token", &grant)).await.error(), unavailable);
        }
    }
    authority.mark_synced();
    let evaluated = bindings.validate_binding(question.clone()).await.unwrap().into_inner();
    assert_eq!(evaluated.cache_until.unwrap().seconds, i64::try_from(NOW.0).unwrap() + 105);
    assert_eq!(stream.ask(&question).await.unwrap(), StreamOutcome::Allowed);
    server.issue(&checkout, IssueTokenRequest::default()).await.unwrap();
}

#[tokio::test]
async fn without_a_bound_what_is_known_counts_for_ever() {
    let server = TestServer::start().await;
    let checkout = server.workload("/checkout").await;
    server.server.authority().mark_disconnected();
    server.advance(Duration::from_mins(30));
    let token = server.token(&checkout).await;
    let evaluated = server.validate(&token, certificate_of(&checkout)).await.unwrap();
    assert_eq!(evaluated.decision(), Decision::Allow);
}

#[test]
fn the_bound_is_a_duration() {
    for store in ["{memory: true, max_staleness: 60}", "{memory: true, max_staleness: 0s}"] {
        let setup = Setup { store: store.to_owned(), ..Setup::default() };
        setup.write();
        let error = lanyard::config::load(&setup.path("lanyard.yaml")).unwrap_err().to_string();
        assert!(error.contains("max_staleness") || error.contains("duration"), "{error}");
    }
}

#[tokio::test]
async fn a_watch_that_hangs_grows_stale_and_one_that_tells_its_progress_never_does() {
    let setup = Setup { store: BOUND.to_owned(), ..Setup::default() };
    setup.write();
    let store = HandFed::new();
    let server = setup.start_on(Arc::<HandFed>::clone(&store)).await.unwrap();
    let checkout = server.workload("/checkout").await;
    let token = server.token(&checkout).await;
    let question = ValidateBindingRequest { evidence: certificate_of(&checkout), ..use_of(&token) };
    let mut bindings = server.bindings(&server.svid("/proxy"));
    // The store is idle for two minutes and reports progress after each.
    for _ in 0..2 {
        server.advance(Duration::from_mins(1));
        let evaluated = bindings.validate_binding(question.clone()).await.unwrap().into_inner();
        assert_eq!(evaluated.decision(), Decision::Allow);
        assert_eq!(evaluated.cache_until.unwrap().seconds, i64::try_from(server.now().0).unwrap(), "the bound's end");
        store.deliver_progress().await;
    }
    // Now it hangs: it neither says anything nor ends.
    server.advance(Duration::from_mins(1));
    assert_eq!(bindings.validate_binding(question.clone()).await.unwrap().into_inner().decision(), Decision::Allow);
    server.advance(Duration::from_secs(1));
    assert_eq!(refusal(bindings.validate_binding(question.clone()).await), stale());
    assert_eq!(refusal(server.issue(&checkout, IssueTokenRequest::default()).await), stale());
    // A change is as good as progress.
    let revision = Revision(store.list("").await.unwrap().revision.0 + 1);
    let change = Change { key: "/keys/other".to_owned(), value: None };
    store.deliver(Batch { revision, changes: vec![change] }).await;
    assert_eq!(bindings.validate_binding(question).await.unwrap().into_inner().decision(), Decision::Allow);
    server.issue(&checkout, IssueTokenRequest::default()).await.unwrap();
}

#[tokio::test]
async fn an_idle_store_never_grows_stale() {
    let fixture =
        TestAuthority::with(|policy| policy.max_staleness = Some(Duration::from_mins(1)), TestAuthority::keys());
    let loaded = fixture.authority.load().await.unwrap();
    let mut watch = fixture.store.watch("", loaded);
    for _ in 0..4 {
        fixture.clock.advance(Duration::from_mins(1));
        assert_eq!(fixture.authority.freshness(), Ok(()));
        fixture.authority.apply(&watch.next().await.unwrap().unwrap());
    }
    fixture.clock.advance(Duration::from_secs(61));
    assert_eq!(fixture.authority.freshness(), Err(Undecidable::Stale));
}
