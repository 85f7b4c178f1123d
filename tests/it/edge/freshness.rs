//! How old what an edge decides by may be.

use std::time::Duration;

use lanyard::authority::state::Undecidable;
use tonic::Code;

use crate::support::calls::refusal;
use crate::support::calls::use_of;
use crate::support::door::within;
use crate::support::edge::is_allowed;
use crate::support::scripted_centre::ScriptedCentre;
use crate::support::scripted_centre::ScriptedStream;
use crate::support::server::Setup;
use crate::support::server::TestServer;

/// An edge of a centre that lists nothing, and its stream.
async fn started(centre: &mut ScriptedCentre, change: impl FnOnce(&mut Setup)) -> (TestServer, ScriptedStream) {
    let store = format!("{{upstream: {{endpoints: ['{}']}}}}", centre.url());
    let starting = TestServer::started(|setup| {
        (setup.store, setup.keys) = (store, "{}".to_owned());
        change(setup);
    });
    let listing = async {
        let stream = centre.stream().await;
        stream.lists(&[], 4);
        stream
    };
    tokio::join!(starting, listing)
}

async fn until(is_so: impl Fn() -> bool) {
    within(async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn beyond_the_bound_an_edge_refuses_until_a_beat_is_answered() {
    let mut centre = ScriptedCentre::start().await;
    let (edge, mut stream) = started(&mut centre, |_| {}).await;
    let authority = edge.server.authority();
    assert_eq!(authority.freshness(), Ok(()));
    edge.advance(Duration::from_secs(59));
    assert_eq!(authority.freshness(), Ok(()));
    edge.advance(Duration::from_secs(2));
    // Changes go on coming, and prove nothing of what has not come.
    stream.changed(5, &[("/revocations/client/spiffe:%2F%2Fprod.example%2Fa", None)]);
    stream.progress(6, None, 0);
    assert_eq!(authority.freshness(), Err(Undecidable::Stale));
    let outcome = edge.bindings(&edge.svid("/proxy")).validate_binding(use_of("a.b.c")).await;
    assert_eq!(refusal(outcome), (Code::Unavailable, "SNAPSHOT_STALE".to_owned()));
    let mut readiness = edge.server.readiness();
    within(readiness.wait_for(|now| *now == Err("store_stale"))).await.unwrap();
    // A beat that was sent before the clock was moved proves too little, one that was sent since is enough.
    let mut beat = stream.beat().await;
    while stream.has_beat() {
        beat = stream.beat().await;
    }
    let next = stream.beat().await;
    stream.progress(6, Some(next), 0);
    until(|| authority.freshness() == Ok(())).await;
    assert!(beat < next);
    within(readiness.wait_for(Result::is_ok)).await.unwrap();
    let outcome = edge.bindings(&edge.svid("/proxy")).validate_binding(use_of("a.b.c")).await;
    assert!(!is_allowed(&outcome.unwrap().into_inner()));
}

#[tokio::test]
async fn the_age_of_the_centre_s_own_snapshot_counts() {
    let mut centre = ScriptedCentre::start().await;
    let (edge, mut stream) = started(&mut centre, |_| {}).await;
    let authority = edge.server.authority();
    let beat = stream.beat().await;
    // The clock stands still: what is known is as old as the centre says.
    stream.progress(4, Some(beat), 7_000);
    // What was delivered up to a later moment stays so.
    let beat = stream.beat().await;
    stream.progress(5, Some(beat), 3_000);
    edge.advance(Duration::from_secs(10));
    let beat = {
        let first = stream.beat().await;
        first.max(stream.beat().await)
    };
    stream.progress(6, Some(beat), 4_000);
    until(|| authority.staleness() == Some(Duration::from_secs(4))).await;
}

#[tokio::test]
async fn a_centre_that_is_gone_for_less_than_the_bound_changes_nothing() {
    let mut centre = ScriptedCentre::start().await;
    let (edge, stream) = started(&mut centre, |_| {}).await;
    let authority = edge.server.authority();
    let readiness = edge.server.readiness();
    stream.end(Code::Unavailable, "");
    edge.advance(Duration::from_secs(30));
    let mut stream = centre.stream().await;
    assert_eq!(stream.start.after_revision, Some(4));
    assert_eq!(authority.freshness(), Ok(()));
    stream.started(true);
    let beat = stream.beat().await;
    stream.progress(4, Some(beat), 0);
    until(|| authority.staleness() == Some(Duration::ZERO)).await;
    assert_eq!(*readiness.borrow(), Ok(()));
}

#[tokio::test]
async fn a_start_waits_for_the_first_server_that_lists() {
    let mut centre = ScriptedCentre::start().await;
    let store = format!("{{upstream: {{endpoints: ['{}']}}}}", centre.url());
    let starting = TestServer::started(|setup| (setup.store, setup.keys) = (store, "{}".to_owned()));
    let listing = async {
        for _ in 0..2 {
            let stream = centre.stream().await;
            stream.started(false);
            stream.end(Code::Unavailable, "");
        }
        let stream = centre.stream().await;
        stream.lists(&[], 4);
        stream
    };
    let (edge, _stream) = tokio::join!(starting, listing);
    assert_eq!(edge.server.authority().freshness(), Ok(()));
}
