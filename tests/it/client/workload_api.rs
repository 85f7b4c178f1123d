//! The client library with an agent that hands out its certificate.

use std::time::Duration;

use lanyard::client::renewal::Event;
use lanyard::client::renewal::Renewal;
use lanyard::client::renewal::TokenSettings;
use lanyard::client::supply::Credentials;
use lanyard::client::token::TokenError;
use lanyard::proto::Match;
use spiffe::transport::Endpoint;
use tokio::task::spawn_blocking;

use crate::support::door::within;
use crate::support::leaf::Leaf;
use crate::support::process::lanyard;
use crate::support::process::run;
use crate::support::server::TestServer;
use crate::support::workload::CHECKOUT;
use crate::support::workload::Workload;
use crate::support::workload::svid;
use crate::support::workload::verdict;
use crate::support::workload_api::Agent;
use crate::support::workload_api::context;

const HOUR: Duration = Duration::from_hours(1);

fn renewal(workload: &Workload, agent: &Agent) -> Renewal {
    let endpoint = Endpoint::parse(&agent.endpoint()).unwrap();
    let credentials = Credentials::WorkloadApi { endpoint, ca: None };
    Renewal::new(TokenSettings { credentials, ..workload.settings() }).unwrap()
}

fn say(agent: &Agent, server: &TestServer, leaf: &Leaf) {
    agent.say(&context(leaf, CHECKOUT, &[&server.setup.ca], &[]));
}

/// What happens next besides complaints about the agent.
async fn next(renewal: &mut Renewal) -> Event {
    loop {
        let event = within(renewal.next()).await;
        if !matches!(event, Event::Unusable(TokenError::WorkloadApi(_))) {
            return event;
        }
    }
}

#[tokio::test]
async fn tokens_follow_the_svids_that_the_agent_streams_and_their_rotation_is_announced() {
    let (server, workload, first) = Workload::start("lineage", HOUR).await;
    let mut agent = Agent::start(workload.path("agent.sock"));
    agent.deny();
    let mut renewal = renewal(&workload, &agent);
    let event = within(renewal.next()).await;
    assert!(matches!(event, Event::Unusable(TokenError::WorkloadApi(_))), "{event:?}");
    say(&agent, &server, &first);
    let Event::Renewed(before) = next(&mut renewal).await else { panic!("no token") };
    assert_eq!(verdict(&server, before.as_str(), &first).await, Ok(Match::Exact));
    let second = svid(&server);
    say(&agent, &server, &second);
    let Event::Announced { certificate, .. } = next(&mut renewal).await else { panic!("not announced") };
    assert_eq!(&certificate, second.certificate());
    assert_eq!(verdict(&server, before.as_str(), &second).await, Ok(Match::Lineage));
    let Event::Renewed(after) = next(&mut renewal).await else { panic!("no token") };
    assert_eq!(verdict(&server, after.as_str(), &second).await, Ok(Match::Exact));
    // The agent is killed, and has another one when it is back.
    agent.kill().await;
    let event = within(renewal.next()).await;
    assert!(matches!(event, Event::Unusable(TokenError::WorkloadApi(_))), "{event:?}");
    let third = svid(&server);
    say(&agent, &server, &third);
    agent.restart();
    let Event::Announced { certificate, .. } = next(&mut renewal).await else { panic!("not announced") };
    assert_eq!(&certificate, third.certificate());
    let Event::Renewed(last) = next(&mut renewal).await else { panic!("no token") };
    assert_eq!(verdict(&server, last.as_str(), &third).await, Ok(Match::Exact));
}

#[tokio::test]
async fn the_server_is_trusted_by_the_bundle_of_the_agent_alone() {
    let (server, workload, first) = Workload::start("strict", HOUR).await;
    let agent = Agent::start(workload.path("agent.sock"));
    agent.say(&context(&first, CHECKOUT, &[&server.setup.other_ca], &[]));
    let mut renewal = renewal(&workload, &agent);
    let event = next(&mut renewal).await;
    let Event::Failed { error: TokenError::Connection(text, _), .. } = &event else { panic!("{event:?}") };
    assert!(text.contains("no TLS connection"), "{text}");
    say(&agent, &server, &first);
    // The certificate is the same: the next attempt goes over a connection that trusts the right roots.
    loop {
        let event = next(&mut renewal).await;
        if matches!(event, Event::Renewed(_)) {
            break;
        }
        assert!(matches!(event, Event::Failed { .. }), "{event:?}");
    }
}

#[tokio::test]
async fn commands_take_their_certificate_from_the_workload_api() {
    let (server, workload, first) = Workload::start("strict", HOUR).await;
    let agent = Agent::start(workload.path("agent.sock"));
    say(&agent, &server, &first);
    let get = |flag: &str| {
        let mut command = lanyard();
        command.args(["token", "get", "--server", &workload.server, flag]).env_remove("SPIFFE_ENDPOINT_SOCKET");
        command
    };
    let named = get(&format!("--workload-api={}", agent.endpoint()));
    let mut from_environment = get("--workload-api");
    from_environment.env("SPIFFE_ENDPOINT_SOCKET", agent.endpoint());
    for mut command in [named, from_environment] {
        let token = spawn_blocking(move || run(&mut command)).await.unwrap().ok();
        assert_eq!(verdict(&server, token.trim(), &first).await, Ok(Match::Exact));
    }
    let mut nowhere = get("--workload-api");
    spawn_blocking(move || run(&mut nowhere))
        .await
        .unwrap()
        .refused("no Workload API socket", "SPIFFE_ENDPOINT_SOCKET");
    let mut gone = get("--workload-api=unix:///nowhere/agent.sock");
    spawn_blocking(move || run(&mut gone)).await.unwrap().refused("the Workload API gives no certificate", "agent");
    // The variable alone, which every workload of a mesh has, changes nothing.
    let mut neither = lanyard();
    neither.args(["token", "get"]).env("SPIFFE_ENDPOINT_SOCKET", agent.endpoint());
    assert_eq!(spawn_blocking(move || run(&mut neither)).await.unwrap().code, Some(2));
}
