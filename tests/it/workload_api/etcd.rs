//! A server whose certificate for etcd comes from the Workload API: what it presents, and which etcd it takes for its own.

use std::sync::Arc;
use std::time::Duration;

use lanyard::authority::clock::Clock as _;
use lanyard::authority::clock::ManualClock;
use lanyard::authority::clock::SystemClock;
use lanyard::config;
use lanyard::proto::CreateClientRequest;
use lanyard::proto::Decision;
use lanyard::proto::ValidateBindingRequest;
use lanyard::server::StartError;
use tonic::Code;

use crate::support::ca::TestCa;
use crate::support::calls::use_of;
use crate::support::door::within;
use crate::support::etcd::Cluster;
use crate::support::etcd::ETCD_ID;
use crate::support::etcd::Options;
use crate::support::leaf::Leaf;
use crate::support::server::Setup;
use crate::support::server::TRUST_DOMAIN;
use crate::support::server::TestServer;
use crate::support::server::certificate_of;
use crate::support::server::spiffe_client;
use crate::support::workload_api::Agent;
use crate::support::workload_api::LANYARD;
use crate::support::workload_api::X509Response;
use crate::support::workload_api::context;
use crate::support::workload_api::readyz;
use crate::support::workload_api::started;

const HOUR: Duration = Duration::from_hours(1);

/// etcd is proven by its CA's file.
fn by_file(cluster: &Cluster) -> String {
    format!("ca: {}, certificate: workload_api", cluster.files().0.display())
}

/// etcd is proven by its SPIFFE ID.
fn by_id(id: &str) -> String {
    format!("server_spiffe_id: '{id}', certificate: workload_api")
}

/// What an agent says of the trust domain that etcd's CA is the root of.
fn said(cluster: &Cluster, svid: &Leaf) -> X509Response {
    context(svid, LANYARD, &[cluster.ca()], &[])
}

/// An SVID that etcd accepts, valid for as long.
fn svid(cluster: &Cluster, valid: Duration) -> Leaf {
    cluster.ca().svid(LANYARD).valid_for(valid).issue()
}

/// An agent that says this, and a set-up whose store is etcd. The time is the real one: etcd compares with that.
fn set_up(cluster: &Cluster, tls: &str, say: &X509Response) -> (Agent, Setup) {
    let now = SystemClock.now();
    let setup = Setup {
        clock: Arc::new(ManualClock::new(now)),
        ca: TestCa::at(TRUST_DOMAIN, now),
        store: cluster.store_section_by("/lanyard/test", [0, 1, 2], tls),
        ..Setup::default()
    };
    let agent = Agent::start(setup.path("agent.sock"));
    agent.say(say);
    let workload_api = Some(format!("{{endpoint_socket: '{}', start_timeout: 1s}}", agent.endpoint()));
    (agent, Setup { workload_api, ..setup })
}

async fn decides(server: &TestServer, token: &str, holder: &Leaf) {
    let proxy = server.setup.ca.svid("spiffe://prod.example/proxy").valid_for(HOUR * 100).issue();
    let question = ValidateBindingRequest { evidence: certificate_of(holder), ..use_of(token) };
    let answer = server.bindings(&proxy).validate_binding(question).await.unwrap().into_inner();
    assert_eq!(answer.decision(), Decision::Allow, "{answer:?}");
}

/// Registers a workload; the code if that is refused.
async fn register(server: &TestServer, path: &str) -> Result<(), Code> {
    let admin = server.setup.ca.svid("spiffe://prod.example/admin").valid_for(HOUR * 100).issue();
    let client = Some(spiffe_client(&format!("spiffe://{TRUST_DOMAIN}{path}")));
    let request = CreateClientRequest { client, ..Default::default() };
    server.registry(&admin).create_client(request).await.map(drop).map_err(|status| status.code())
}

/// Registers workloads until one is. A name is not tried twice: what was refused may have been written all the same.
async fn until_registered(server: &TestServer, path: &str) {
    let mut number = 0;
    let registering = async {
        while register(server, &format!("{path}/{number}")).await.is_err() {
            number += 1;
        }
    };
    within(registering).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_newest_svid_is_presented_and_one_that_has_expired_is_not() {
    let Some(mut cluster) = Cluster::start(Options::default()) else { return };
    let (mut agent, setup) = set_up(&cluster, &by_file(&cluster), &said(&cluster, &svid(&cluster, HOUR)));
    let server = started(setup).await.unwrap();
    register(&server, "/checkout").await.unwrap();
    let checkout = server.setup.ca.svid("spiffe://prod.example/checkout").valid_for(HOUR * 100).issue();
    decides(&server, &server.token(&checkout).await, &checkout).await;

    // The first SVID expires. The member that it was shown to is lost: the next one is shown its successor.
    agent.say(&said(&cluster, &svid(&cluster, 3 * HOUR)));
    server.advance(2 * HOUR);
    cluster.kill(0);
    until_registered(&server, "/later").await;
    server.is_fresh_again().await;
    decides(&server, &server.token(&checkout).await, &checkout).await;
    cluster.start_member(0);

    // The successor expires while the agent is away: no connection without a certificate, and none with an old one.
    // Whichever member it is connected to, that connection ends; then all members run again.
    agent.kill().await;
    server.advance(2 * HOUR);
    for member in 0..3 {
        cluster.kill(member);
    }
    for member in 0..3 {
        cluster.start_member(member);
    }
    cluster.leader();
    within(async { while register(&server, "/too-late").await != Err(Code::Unavailable) {} }).await;
    within(async { while readyz(&server).await.1 == "ok" {} }).await;
    for again in 0..10 {
        assert_eq!(register(&server, &format!("/too-late/{again}")).await, Err(Code::Unavailable));
    }
    agent.say(&said(&cluster, &svid(&cluster, 9 * HOUR)));
    agent.restart();
    until_registered(&server, "/in-time").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_is_proven_by_its_spiffe_id_in_the_bundle_of_its_trust_domain() {
    let Some(cluster) = Cluster::start(Options::default()) else { return };
    let valid = svid(&cluster, HOUR);
    let (_agent, setup) = set_up(&cluster, &by_id(ETCD_ID), &said(&cluster, &valid));
    let server = started(setup).await.unwrap();
    register(&server, "/checkout").await.unwrap();
    drop(server);

    // Another workload of the trust domain, another trust domain, and a bundle without etcd's CA.
    let refused = async |id: &str, say: &X509Response| refusal(&cluster, &by_id(id), say).await;
    let error = refused("spiffe://prod.example/other", &said(&cluster, &valid)).await;
    assert!(error.contains("NotValidForName"), "{error}");
    let error = refused("spiffe://other.example/etcd", &said(&cluster, &valid)).await;
    assert!(error.contains("the Workload API has no bundle of other.example"), "{error}");
    let stranger = TestCa::at(TRUST_DOMAIN, SystemClock.now());
    let error = refused(ETCD_ID, &context(&valid, LANYARD, &[&stranger], &[])).await;
    assert!(error.contains("invalid peer certificate"), "{error}");
}

/// Why a server does not start.
async fn refusal(cluster: &Cluster, tls: &str, say: &X509Response) -> String {
    let (_agent, setup) = set_up(cluster, tls, say);
    let error = started(setup).await.map(drop).unwrap_err();
    assert!(matches!(error, StartError::Etcd(_)), "{error}");
    error.to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_does_not_start_without_a_valid_svid_that_etcd_accepts_and_says_why() {
    let Some(cluster) = Cluster::start(Options::default()) else { return };
    let tls = by_file(&cluster);
    let error = refusal(&cluster, &tls, &said(&cluster, &cluster.ca().svid(LANYARD).expired().issue())).await;
    assert!(error.contains("X509-SVID expired"), "{error}");
    let foreign = TestCa::at("other.example", SystemClock.now());
    let stranger = foreign.svid("spiffe://other.example/lanyard").valid_for(HOUR).issue();
    let error = refusal(&cluster, &tls, &context(&stranger, "spiffe://other.example/lanyard", &[&foreign], &[])).await;
    assert!(error.contains("it may not accept the client certificate"), "{error}");

    let (agent, setup) = set_up(&cluster, &tls, &said(&cluster, &svid(&cluster, HOUR)));
    agent.deny();
    let error = started(setup).await.map(drop).unwrap_err();
    assert!(matches!(error, StartError::WorkloadApi(_)) && error.to_string().contains("no identity issued"), "{error}");
    let (agent, setup) = set_up(&cluster, &tls, &said(&cluster, &svid(&cluster, HOUR)));
    agent.fall_silent();
    let error = started(setup).await.map(drop).unwrap_err();
    assert!(error.to_string().contains("no answer came in time"), "{error}");
}

#[test]
fn the_workload_api_goes_without_a_key_and_not_without_its_section() {
    let problem = |tls: &str, section: Option<&str>| {
        let store = format!("{{etcd: {{endpoints: ['https://127.0.0.1:1'], {tls}}}}}");
        let setup = Setup { store, workload_api: section.map(str::to_owned), ..Setup::default() };
        setup.write();
        config::load(&setup.path("lanyard.yaml")).map(drop).map_err(|error| error.to_string())
    };
    let section = Some("{endpoint_socket: 'unix:///run/agent.sock'}");
    for sound in ["ca: a.pem, certificate: workload_api", "server_spiffe_id: 'spiffe://a.example/etcd'"] {
        assert_eq!(problem(sound, section), Ok(()));
        assert!(problem(sound, None).unwrap_err().contains("needs the section workload_api"), "{sound}");
    }
    for (unsound, said) in [
        ("ca: a.pem, certificate: workload_api, key: k.pem", "store.etcd.key: goes with a file"),
        ("ca: a.pem, server_spiffe_id: 'spiffe://a.example/etcd'", "exclude each other"),
        ("server_spiffe_id: 'spiffe://a.example'", "must be the SPIFFE ID of a workload"),
        ("certificate: workload_api", "store.etcd.ca: is missing"),
    ] {
        let problem = problem(unsound, section).unwrap_err();
        assert!(problem.contains(said), "{unsound}: {problem}");
    }
}
