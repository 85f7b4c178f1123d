//! A server that has its certificate and all bundles from the Workload API: how it starts, and what it takes in.

use lanyard::authority::trust::Unproven;
use lanyard::config;
use lanyard::proto::GetJwksRequest;
use lanyard::proto::key_service_client::KeyServiceClient;
use lanyard::server::StartError;
use lanyard::trust_sources::workload_api::parse_endpoint;
use serde_json::Value;
use spiffe::TrustDomain;
use tonic::Status;

use crate::support::as_of_now::AsOfNow as _;
use crate::support::ca::TestCa;
use crate::support::door::knock;
use crate::support::process::lanyard;
use crate::support::process::run;
use crate::support::server::Setup;
use crate::support::server::TestServer;
use crate::support::workload_api::Agent;
use crate::support::workload_api::LANYARD;
use crate::support::workload_api::context;
use crate::support::workload_api::first_response;
use crate::support::workload_api::mesh;
use crate::support::workload_api::meshed;
use crate::support::workload_api::presented;
use crate::support::workload_api::readyz;
use crate::support::workload_api::server_svid;
use crate::support::workload_api::started;

#[tokio::test]
async fn a_server_starts_from_the_workload_api_alone() {
    let (agent, setup) = meshed();
    let svid = server_svid(&setup.ca);
    agent.say(&context(&svid, LANYARD, &[&setup.ca], &[("other.example", &[&setup.other_ca])]));
    let server = started(setup).await.unwrap();
    assert!(!server.setup.path("ca.pem").exists() && !server.setup.path("server.pem").exists());
    assert_eq!(readyz(&server).await, (200, "ok".to_owned()));
    assert_eq!(presented(&server, &server.svid("/x")).await.unwrap(), *svid.certificate());
    server.advance(std::time::Duration::from_secs(7));
    let ops = tokio::net::TcpStream::connect(server.addresses.ops).await.unwrap();
    let counts = crate::support::wire::http1(ops, "GET /metrics").await.body;
    for trust_domain in ["prod.example", "other.example"] {
        let age = format!("lanyard_bundle_age_seconds{{trust_domain=\"{trust_domain}\"}} 7");
        assert!(counts.lines().any(|line| line == age), "{counts}");
    }
    let checkout = server.workload("/checkout").await;
    assert!(!server.token(&checkout).await.is_empty());
    let other = server.setup.other_ca.svid("spiffe://other.example/checkout").issue();
    assert!(knock(server.addresses.mtls, server.tls(&other)).await.is_jwks());
    // Neither CA is accepted for the other's trust domain, nor for one that is not configured.
    for (ca, id) in [
        (&server.setup.other_ca, "spiffe://prod.example/checkout"),
        (&server.setup.ca, "spiffe://other.example/checkout"),
        (&server.setup.ca, "spiffe://third.example/checkout"),
    ] {
        let leaf = ca.svid(id).issue();
        assert!(!knock(server.addresses.mtls, server.tls(&leaf)).await.is_jwks(), "{id}");
    }
}

#[tokio::test]
async fn every_request_bears_the_metadata_that_tells_it_from_a_forged_one() {
    let (agent, server) = mesh().await;
    agent.asked_for_svids(1).await;
    assert_eq!(agent.unmarked(), 0);
    let mut paths = agent.requests();
    paths.sort();
    assert_eq!(paths, ["/SpiffeWorkloadAPI/FetchJWTBundles", "/SpiffeWorkloadAPI/FetchX509SVID"]);
    drop(server);
}

/// Why a server does not start from what this agent says.
async fn refusal(agent: &Agent, mut setup: Setup) -> String {
    setup.workload_api = Some(format!("{{endpoint_socket: '{}', start_timeout: 1s}}", agent.endpoint()));
    match started(setup).await {
        Err(error @ StartError::WorkloadApi(_)) => error.to_string(),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it started"),
    }
}

#[tokio::test]
async fn a_server_does_not_start_without_an_answer_and_says_why() {
    let (mut agent, setup) = meshed();
    agent.kill().await;
    let said = refusal(&agent, setup).await;
    assert!(said.contains(&agent.endpoint()), "{said}");

    let (agent, setup) = meshed();
    agent.fall_silent();
    let said = refusal(&agent, setup).await;
    assert!(said.contains("no answer came in time"), "{said}");

    let (agent, setup) = meshed();
    agent.deny();
    let said = refusal(&agent, setup).await;
    assert!(said.contains("no identity issued"), "{said}");

    let (agent, setup) = meshed();
    agent.say(&context(&server_svid(&setup.ca), LANYARD, &[], &[]));
    let said = refusal(&agent, setup).await;
    assert!(said.contains("X509SVID.bundle"), "{said}");

    let (agent, setup) = meshed();
    let mut unlike = first_response(&setup);
    unlike.svids[0].x509_svid_key = server_svid(&setup.ca).key;
    agent.say(&unlike);
    // There are bundles, but no certificate to show: it lives, and is not ready.
    let server = started(setup).await.unwrap();
    assert_eq!(readyz(&server).await, (503, "server_certificate_missing".to_owned()));
    assert!(presented(&server, &server.svid("/x")).await.is_err());
}

#[tokio::test]
async fn a_workload_api_that_does_not_take_our_requests_is_not_asked_again() {
    let (agent, setup) = meshed();
    agent.fail(&Status::invalid_argument("security header missing from request"));
    let said = refusal(&agent, setup).await;
    assert!(said.contains("security header missing"), "{said}");

    // Of two streams that fail, one in this way, only the other is asked for again.
    let (agent, setup) = meshed();
    agent.fail_jwt();
    let server = started(setup).await.unwrap();
    agent.fail_x509(Status::invalid_argument("security header missing from request"));
    agent.asked_for_jwt_bundles(6).await;
    let requests = agent.requests();
    assert_eq!(requests.iter().filter(|path| path.ends_with("FetchX509SVID")).count(), 1);
    assert_eq!(readyz(&server).await, (200, "ok".to_owned()));
}

#[test]
fn an_endpoint_is_an_absolute_path_or_an_ip_address_with_a_port_and_nothing_else() {
    for sound in ["unix:///run/spire/agent.sock", "unix:///a", "tcp://127.0.0.1:8081", "tcp://[::1]:8081"] {
        assert!(parse_endpoint(sound).is_ok(), "{sound}");
    }
    for malformed in [
        "",
        "/run/spire/agent.sock",
        "unix:",
        "unix://",
        "unix:///",
        "unix:/run/agent.sock",
        "unix:agent.sock",
        "unix://run/agent.sock",
        "unix://agent.sock",
        "unix:///run/../agent.sock",
        "unix:///run/a b.sock",
        "unix:///run/agent.sock?a=b",
        "unix:///run/agent.sock#a",
        "unix://user@/run/agent.sock",
        "UNIX:///run/agent.sock",
        " unix:///run/agent.sock",
        "tcp://127.0.0.1",
        "tcp://127.0.0.1:",
        "tcp://127.0.0.1:0",
        "tcp://127.0.0.1:65536",
        "tcp://127.0.0.1:8081/",
        "tcp://127.0.0.1:8081/path",
        "tcp://127.0.0.1:8081?a=b",
        "tcp://user@127.0.0.1:8081",
        "tcp://localhost:8081",
        "tcp://agent.internal:8081",
        "tcp://127.1:8081",
        "tcp://::1:8081",
        "tcp:127.0.0.1:8081",
        "http://127.0.0.1:8081",
        "https://127.0.0.1:8081",
        "unix:///a\0b",
    ] {
        assert!(parse_endpoint(malformed).is_err(), "{malformed:?}");
    }
}

#[test]
fn the_configuration_takes_a_workload_api_in_the_place_of_files() {
    let problem = |section: Option<&str>, tls: &str| {
        let setup = Setup { files: false, workload_api: section.map(str::to_owned), ..Setup::default() };
        setup.write();
        let path = setup.path("lanyard.yaml");
        let yaml = std::fs::read_to_string(&path).unwrap() + tls;
        std::fs::write(&path, yaml).unwrap();
        config::load(&path).err().map(|error| error.to_string()).unwrap_or_default()
    };
    let sound = "{endpoint_socket: 'unix:///run/agent.sock'}";
    assert_eq!(problem(Some(sound), ""), "");
    assert_eq!(problem(Some("{endpoint_socket: 'tcp://127.0.0.1:1', max_age: 1m, start_timeout: 1s}"), ""), "");
    assert_eq!(problem(Some(sound), "tls: {certificate: a, key: b}"), "");
    for (section, tls, said) in [
        (None, "", "tls.certificate: is missing"),
        (Some(sound), "tls: {certificate: a}", "tls.key: is missing"),
        (Some(sound), "tls: {key: b}", "tls.certificate: is missing"),
        (Some("{endpoint_socket: 'unix:/run/agent.sock'}"), "", "workload_api.endpoint_socket: must be unix:///PATH"),
        (Some("{endpoint_socket: 'tcp://agent:1'}"), "", "workload_api.endpoint_socket: must be"),
        (Some("{endpoint_socket: 'unix:///a', max_age: 59s}"), "", "workload_api.max_age: must be 1m or longer"),
        (Some("{socket: 'unix:///a'}"), "", "unknown field `socket`"),
    ] {
        let problem = problem(section, tls);
        assert!(problem.contains(said), "{section:?} {tls}: {problem}");
    }
}

#[test]
fn the_environment_names_the_endpoint_where_the_section_does_not_and_only_there() {
    let check = |section: Option<&str>, environment: &[(&str, &str)]| {
        let setup = Setup { files: section.is_none(), workload_api: section.map(str::to_owned), ..Setup::default() };
        setup.write();
        let mut command = lanyard();
        command.env_remove("SPIFFE_ENDPOINT_SOCKET").envs(environment.iter().copied());
        run(command.args(["config", "check", "--config"]).arg(setup.path("lanyard.yaml")))
    };
    let named = "{endpoint_socket: 'unix:///run/agent.sock'}";
    let (sound, malformed) = ("unix:///run/other.sock", "unix:/run/other.sock");
    check(Some(named), &[]).ok();
    check(Some("{}"), &[("SPIFFE_ENDPOINT_SOCKET", sound)]).ok();
    check(Some("{}"), &[("LANYARD_WORKLOAD_API__ENDPOINT_SOCKET", sound)]).ok();
    check(Some(named), &[("SPIFFE_ENDPOINT_SOCKET", malformed)]).ok();
    check(None, &[("SPIFFE_ENDPOINT_SOCKET", malformed)]).ok();
    for (section, environment, said) in [
        ("{}", &[][..], "workload_api.endpoint_socket: is missing"),
        ("{}", &[("SPIFFE_ENDPOINT_SOCKET", malformed)][..], "SPIFFE_ENDPOINT_SOCKET: must be unix:///PATH"),
        (named, &[("LANYARD_WORKLOAD_API__ENDPOINT_SOCKET", malformed)][..], "workload_api.endpoint_socket: must be"),
    ] {
        check(Some(section), environment).refused(said, "check again");
    }
}

/// The `kid`s of a trust domain's JWT authorities.
fn kids(server: &TestServer, trust_domain: &str) -> Vec<String> {
    let trust = server.server.authority().trust();
    let bundle = trust.trust_domains.get(&TrustDomain::new(trust_domain).unwrap());
    bundle.iter().flat_map(|bundle| bundle.jwt.all()).map(|(kid, _): (&str, &Value)| kid.to_owned()).collect()
}

fn jwks(keys: &[(&str, &str)]) -> String {
    let key = |(kid, usage): &(&str, &str)| {
        let usage = if usage.is_empty() { String::new() } else { format!(r#","use":"{usage}""#) };
        format!(r#"{{"kty":"EC","crv":"P-256","x":"AA","y":"AA","kid":"{kid}"{usage}}}"#)
    };
    format!(r#"{{"keys":[{}]}}"#, keys.iter().map(key).collect::<Vec<_>>().join(","))
}

#[tokio::test]
async fn jwt_bundles_are_for_jwt_svids_only_and_x509_bundles_for_x509_svids_only() {
    let (agent, setup) = meshed();
    let third = TestCa::new("third.example");
    // SPIRE leaves `use` out; what says that it is for something else is not for JWT-SVIDs.
    let own = jwks(&[("a", ""), ("b", "jwt-svid"), ("c", "x509-svid"), ("d", "wit-svid")]);
    agent.say_jwt(&[("prod.example", &own), ("third.example", &jwks(&[("t", "")]))]);
    let server = started(setup).await.unwrap();
    assert_eq!(kids(&server, "prod.example"), ["a", "b"]);
    assert_eq!(kids(&server, "other.example"), [""; 0]);
    assert_eq!(kids(&server, "third.example"), ["t"]);
    // Known for its JWT-SVIDs does not mean known for its X509-SVIDs.
    let prove = |ca: &TestCa, id: &str| {
        let proven = server.server.authority().prove_now(&ca.svid(id).issue().chain);
        proven.map(|peer| peer.to_string())
    };
    assert_eq!(prove(&third, "spiffe://third.example/a"), Err(Unproven::NoPath));
    assert!(prove(&server.setup.other_ca, "spiffe://other.example/a").is_ok());

    // A message about the ones leaves the others as they are.
    server.apply_update(|| agent.say(&first_response(&server.setup))).await;
    assert_eq!(kids(&server, "prod.example"), ["a", "b"]);
    server.apply_update(|| agent.say_jwt(&[("prod.example", &jwks(&[("e", "")]))])).await;
    assert_eq!(kids(&server, "prod.example"), ["e"]);
    assert_eq!(kids(&server, "third.example"), [""; 0]);
    assert_eq!(prove(&third, "spiffe://third.example/a"), Err(Unproven::UnknownTrustDomain));
    assert!(prove(&server.setup.ca, "spiffe://prod.example/a").is_ok());
}

#[tokio::test]
async fn an_svid_that_is_renewed_is_shown_to_newcomers_while_open_connections_go_on() {
    let (agent, server) = mesh().await;
    let checkout = server.svid("/checkout");
    let mut keys = KeyServiceClient::new(server.channel(&checkout));
    keys.get_jwks(GetJwksRequest {}).await.unwrap();
    let old = presented(&server, &checkout).await.unwrap();
    let new = server_svid(&server.setup.ca);
    server.apply_update(|| agent.say(&context(&new, LANYARD, &[&server.setup.ca], &[]))).await;
    assert_eq!(presented(&server, &checkout).await.unwrap(), *new.certificate());
    assert_ne!(old, *new.certificate());
    keys.get_jwks(GetJwksRequest {}).await.unwrap();

    // One whose key is another's is not taken.
    let mut unlike = first_response(&server.setup);
    unlike.svids[0].x509_svid_key = server_svid(&server.setup.ca).key;
    server.apply_update(|| agent.say(&unlike)).await;
    assert_eq!(presented(&server, &checkout).await.unwrap(), *new.certificate());
    assert_eq!(readyz(&server).await, (200, "ok".to_owned()));
}

#[tokio::test]
async fn files_come_before_the_workload_api_and_are_not_merged_with_it() {
    let (agent, setup) = meshed();
    let renewed = TestCa::new("prod.example");
    agent.say(&context(&server_svid(&renewed), LANYARD, &[&renewed], &[("third.example", &[&renewed])]));
    let setup = Setup { files: true, ..setup };
    let server = started(setup).await.unwrap();
    // The file of prod.example says the old root, the agent another one.
    let prove = |ca: &TestCa, id: &str| server.server.authority().prove_now(&ca.svid(id).issue().chain).map(drop);
    assert_eq!(prove(&server.setup.ca, "spiffe://prod.example/a"), Ok(()));
    assert_eq!(prove(&renewed, "spiffe://prod.example/a"), Err(Unproven::NoPath));
    assert_eq!(prove(&renewed, "spiffe://third.example/a"), Ok(()));
    // So is the certificate the one in the file, whatever the agent does.
    agent.deny();
    agent.asked_for_svids(2).await;
    assert!(presented(&server, &server.svid("/x")).await.is_ok());
    assert_eq!(readyz(&server).await, (200, "ok".to_owned()));
}
