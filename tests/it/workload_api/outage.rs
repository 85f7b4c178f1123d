//! A Workload API that goes away: for a moment, for too long, or for this server alone.

use std::time::Duration;

use lanyard::authority::trust::Unproven;
use lanyard::proto::GetJwksRequest;
use lanyard::proto::key_service_client::KeyServiceClient;
use tonic::Code;

use crate::support::as_of_now::AsOfNow as _;
use crate::support::ca::TestCa;
use crate::support::door::knock;
use crate::support::door::within;
use crate::support::server::Setup;
use crate::support::server::TestServer;
use crate::support::server::reason_of;
use crate::support::workload_api::LANYARD;
use crate::support::workload_api::context;
use crate::support::workload_api::first_response;
use crate::support::workload_api::mesh;
use crate::support::workload_api::meshed;
use crate::support::workload_api::presented;
use crate::support::workload_api::readyz;
use crate::support::workload_api::server_svid;
use crate::support::workload_api::started;

const MAX_AGE: Duration = Duration::from_hours(1);

async fn call(keys: &mut KeyServiceClient<tonic::transport::Channel>) -> Result<(), (Code, String)> {
    let answer = keys.get_jwks(GetJwksRequest {}).await;
    answer.map(drop).map_err(|status| (status.code(), reason_of(&status)))
}

/// A certificate that outlives every bundle here.
fn long_lived(server: &TestServer, ca: &TestCa, id: &str) -> crate::support::leaf::Leaf {
    ca.svid(id).between(server.now(), server.now().after(MAX_AGE * 100)).issue()
}

#[tokio::test]
async fn an_agent_that_is_killed_and_restarted_is_found_again_without_an_interruption() {
    let (mut agent, server) = mesh().await;
    let checkout = server.svid("/checkout");
    let mut keys = KeyServiceClient::new(server.channel(&checkout));
    assert_eq!(call(&mut keys).await, Ok(()));
    let renewed = TestCa::new("prod.example");
    for _ in 0..3 {
        agent.kill().await;
        assert_eq!(call(&mut keys).await, Ok(()));
        assert!(knock(server.addresses.mtls, server.tls(&checkout)).await.is_jwks());
        assert_eq!(readyz(&server).await, (200, "ok".to_owned()));
        server.apply_update(|| agent.restart()).await;
        assert_eq!(call(&mut keys).await, Ok(()));
    }
    // What changed while it was away is taken in when it is back.
    agent.kill().await;
    agent.say(&context(&server_svid(&server.setup.ca), LANYARD, &[&renewed], &[]));
    assert_eq!(call(&mut keys).await, Ok(()));
    server.apply_update(|| agent.restart()).await;
    assert_eq!(call(&mut keys).await, Err((Code::Unauthenticated, "CERTIFICATE_NOT_PROVEN".to_owned())));
    assert_eq!(agent.unmarked(), 0);
}

#[tokio::test]
async fn what_was_last_known_counts_for_its_time_and_no_longer_and_the_probes_say_why() {
    let (mut agent, server) = mesh().await;
    let own = long_lived(&server, &server.setup.ca, "spiffe://prod.example/checkout");
    let other = long_lived(&server, &server.setup.other_ca, "spiffe://other.example/checkout");
    let mut open = [&own, &other].map(|leaf| KeyServiceClient::new(server.channel(leaf)));
    for keys in &mut open {
        assert_eq!(call(keys).await, Ok(()));
    }
    agent.kill().await;
    server.advance(MAX_AGE);
    for keys in &mut open {
        assert_eq!(call(keys).await, Ok(()));
    }
    server.wait_for_readiness(Ok(())).await;
    server.advance(Duration::from_secs(1));
    for (keys, leaf) in open.iter_mut().zip([&own, &other]) {
        assert_eq!(call(keys).await, Err((Code::Unauthenticated, "CERTIFICATE_NOT_PROVEN".to_owned())));
        assert_eq!(server.server.authority().prove_now(&leaf.chain).map(drop), Err(Unproven::StaleBundle));
        assert!(!knock(server.addresses.mtls, server.tls(leaf)).await.is_jwks());
    }
    server.wait_for_readiness(Err("bundle_stale")).await;
    assert_eq!(readyz(&server).await, (503, "bundle_stale".to_owned()));
    // The time since each bundle was confirmed is available to a caller.
    let trust = server.server.authority().trust();
    let ages: Vec<_> = trust.ages(server.now()).map(|(_, age)| age).collect();
    assert_eq!(ages, [Some(MAX_AGE + Duration::from_secs(1)); 2]);

    server.apply_update(|| agent.restart()).await;
    server.wait_for_readiness(Ok(())).await;
    for keys in &mut open {
        assert_eq!(call(keys).await, Ok(()));
    }
}

#[tokio::test]
async fn an_agent_that_has_nothing_new_to_say_keeps_its_bundles_fresh() {
    let (agent, server) = mesh().await;
    let own = long_lived(&server, &server.setup.ca, "spiffe://prod.example/checkout");
    let mut keys = KeyServiceClient::new(server.channel(&own));
    for quarter in 2..6 {
        server.apply_update(|| server.advance(MAX_AGE / 4)).await;
        assert_eq!(call(&mut keys).await, Ok(()), "{quarter}");
        agent.asked_for_svids(quarter).await;
    }
    assert_eq!(readyz(&server).await, (200, "ok".to_owned()));
    // The agent still holds the connection, and says nothing more: that confirms nothing.
    agent.fall_silent();
    server.advance(MAX_AGE);
    assert_eq!(call(&mut keys).await, Ok(()));
    server.advance(Duration::from_secs(1));
    assert_eq!(call(&mut keys).await, Err((Code::Unauthenticated, "CERTIFICATE_NOT_PROVEN".to_owned())));
}

#[tokio::test]
async fn a_trust_domain_in_a_file_does_not_hang_on_the_agent_as_one_from_the_agent_does() {
    let (mut agent, setup) = meshed();
    let third = TestCa::new("third.example");
    agent.say(&context(&server_svid(&setup.ca), LANYARD, &[&setup.ca], &[("third.example", &[&third])]));
    let server = started(Setup { files: true, ..setup }).await.unwrap();
    let own = long_lived(&server, &server.setup.ca, "spiffe://prod.example/checkout");
    let federated = long_lived(&server, &third, "spiffe://third.example/checkout");
    let mut open = [&own, &federated].map(|leaf| KeyServiceClient::new(server.channel(leaf)));
    for keys in &mut open {
        assert_eq!(call(keys).await, Ok(()));
    }
    agent.kill().await;
    server.advance(MAX_AGE * 2);
    let [own_call, federated_call] = &mut open;
    assert_eq!(call(own_call).await, Ok(()));
    assert_eq!(call(federated_call).await, Err((Code::Unauthenticated, "CERTIFICATE_NOT_PROVEN".to_owned())));
    assert_eq!(server.server.authority().prove_now(&federated.chain).map(drop), Err(Unproven::StaleBundle));
}

#[tokio::test]
async fn jwt_authorities_no_longer_confirmed_are_dropped_while_the_roots_are_confirmed() {
    let (agent, setup) = meshed();
    agent.say_jwt(&[("prod.example", r#"{"keys":[{"kty":"EC","kid":"a"}]}"#)]);
    let server = started(setup).await.unwrap();
    let count = || {
        let trust = server.server.authority().trust();
        trust.trust_domains.values().flat_map(|bundle| bundle.jwt.all()).count()
    };
    assert_eq!(count(), 1);
    agent.fail_jwt();
    server.apply_update(|| server.advance(MAX_AGE / 2)).await;
    assert_eq!(count(), 1);
    let mut heard = server.server.trust_updates();
    server.advance(MAX_AGE);
    let own = long_lived(&server, &server.setup.ca, "spiffe://prod.example/checkout");
    let confirmed = |_: &u64| server.server.authority().prove_now(&own.chain).is_ok();
    within(heard.wait_for(|times| confirmed(times) && count() == 0)).await.unwrap();
}

#[tokio::test]
async fn an_svid_that_the_agent_takes_back_is_shown_no_more_until_there_is_another() {
    let (agent, server) = mesh().await;
    let checkout = server.svid("/checkout");
    let mut keys = KeyServiceClient::new(server.channel(&checkout));
    assert_eq!(call(&mut keys).await, Ok(()));
    agent.deny();
    server.wait_for_readiness(Err("server_certificate_missing")).await;
    assert_eq!(readyz(&server).await, (503, "server_certificate_missing".to_owned()));
    assert!(presented(&server, &checkout).await.is_err());
    // Who is connected has proven us, and itself, already; the bundles count for their time.
    assert_eq!(call(&mut keys).await, Ok(()));
    agent.asked_for_svids(3).await;
    let svid = server_svid(&server.setup.ca);
    server.apply_update(|| agent.say(&context(&svid, LANYARD, &[&server.setup.ca], &[]))).await;
    server.wait_for_readiness(Ok(())).await;
    assert_eq!(presented(&server, &checkout).await.unwrap(), *svid.certificate());
}

#[tokio::test]
async fn a_server_whose_svid_is_over_says_that_it_is_not_ready() {
    let (agent, server) = mesh().await;
    let end = server.now().after(Duration::from_mins(10));
    let svid = server.setup.ca.svid(LANYARD).dns("localhost").between(server.now(), end).issue();
    server.apply_update(|| agent.say(&context(&svid, LANYARD, &[&server.setup.ca], &[]))).await;
    server.setup.clock.set(end);
    server.wait_for_readiness(Ok(())).await;
    server.advance(Duration::from_secs(1));
    server.wait_for_readiness(Err("server_certificate_expired")).await;
    server.apply_update(|| agent.say(&first_response(&server.setup))).await;
    server.wait_for_readiness(Ok(())).await;
}
