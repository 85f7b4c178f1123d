//! SVIDs and bundles that are replaced without a pause, while workloads get tokens and proxies ask about them.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lanyard::proto::Decision;
use lanyard::proto::IssueTokenRequest;
use lanyard::proto::ValidateBindingRequest;

use crate::support::as_of_now::AsOfNow as _;
use crate::support::ca::TestCa;
use crate::support::calls::use_of;
use crate::support::door::knock;
use crate::support::leaf::Leaf;
use crate::support::server::TestServer;
use crate::support::server::certificate_of;
use crate::support::server::spiffe_client;
use crate::support::workload_api::Agent;
use crate::support::workload_api::LANYARD;
use crate::support::workload_api::context;
use crate::support::workload_api::mesh;
use crate::support::workload_api::server_svid;

/// Sends requests in sequence, on one connection and on new ones, until `over` is set. None of them may fail.
async fn load(server: Arc<TestServer>, over: Arc<AtomicBool>, asked: Arc<AtomicUsize>) {
    let (checkout, proxy) = (server.svid("/checkout"), server.svid("/proxy"));
    let (mut tokens, mut bindings) = (server.tokens(&checkout), server.bindings(&proxy));
    while !over.load(Ordering::SeqCst) {
        let issued = tokens.issue_token(IssueTokenRequest::default()).await.unwrap().into_inner();
        let question = ValidateBindingRequest { evidence: certificate_of(&checkout), ..use_of(&issued.access_token) };
        let answer = bindings.validate_binding(question).await.unwrap().into_inner();
        assert_eq!(answer.decision(), Decision::Allow, "{answer:?}");
        // A newcomer, whose handshake shows it the SVID of the moment.
        assert!(knock(server.addresses.mtls, server.tls(&checkout)).await.is_jwks());
        asked.fetch_add(3, Ordering::SeqCst);
    }
}

/// One more SVID for the server, one more root beside its trust domain's own, and a federated bundle that comes and goes.
async fn rotate(agent: &Agent, server: &TestServer, round: usize) {
    let setup = &server.setup;
    let beside = TestCa::new("prod.example");
    let federated = [("other.example", &[&setup.other_ca][..])];
    let federated = if round.is_multiple_of(2) { &federated[..] } else { &[] };
    let svid = server_svid(&setup.ca);
    server.apply_update(|| agent.say(&context(&svid, LANYARD, &[&setup.ca, &beside], federated))).await;
    let admitted = |leaf: &Leaf| server.server.authority().prove_now(&leaf.chain).is_ok();
    assert!(admitted(&beside.svid("spiffe://prod.example/checkout").issue()), "round {round}");
    let foreign = setup.other_ca.svid("spiffe://other.example/checkout").issue();
    assert_eq!(admitted(&foreign), round.is_multiple_of(2), "round {round}");
}

/// Rotates while others ask, for as long as `goes_on`, with this pause between two rounds.
async fn rotate_under_load(goes_on: impl Fn(usize, usize) -> bool, pause: Duration) {
    let (agent, server) = mesh().await;
    server.register(spiffe_client("spiffe://prod.example/checkout")).await.unwrap();
    let (server, over, asked) = (Arc::new(server), Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
    let askers: Vec<_> =
        (0..4).map(|_| tokio::spawn(load(Arc::clone(&server), Arc::clone(&over), Arc::clone(&asked)))).collect();
    let mut rounds = 0;
    while goes_on(rounds, asked.load(Ordering::SeqCst)) {
        assert!(askers.iter().all(|asker| !asker.is_finished()), "a request failed in round {rounds}");
        rotate(&agent, &server, rounds).await;
        rounds += 1;
        tokio::time::sleep(pause).await;
    }
    over.store(true, Ordering::SeqCst);
    for asker in askers {
        asker.await.unwrap();
    }
    println!("{rounds} rotations, {} requests, none failed", asked.load(Ordering::SeqCst));
}

#[tokio::test]
async fn rotations_without_a_pause_fail_no_request() {
    rotate_under_load(|rounds, asked| rounds < 100 || asked < 300, Duration::ZERO).await;
}

#[tokio::test]
#[ignore = "long: a minute of rotations; .ci/run-long runs it"]
async fn rotations_over_a_long_minute_of_load_fail_no_request() {
    let start = tokio::time::Instant::now();
    rotate_under_load(|_, _| start.elapsed() < Duration::from_mins(1), Duration::from_millis(250)).await;
}
