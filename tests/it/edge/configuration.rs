//! The configuration of an edge.

use lanyard::config;
use lanyard::config::StoreConfig;

use crate::support::process::lanyard;
use crate::support::process::run;
use crate::support::server::SEAL;
use crate::support::server::Setup;

const SOUND: &str =
    "endpoints: ['https://a.example:8443', 'https://b.example:8443'], ca: ca.pem, certificate: c.pem, key: k.pem";

fn edge(upstream: &str) -> Setup {
    Setup { store: format!("{{upstream: {{{upstream}}}}}"), keys: "{}".to_owned(), ..Setup::default() }
}

fn problem(setup: &Setup) -> Result<(), String> {
    setup.write();
    config::load(&setup.path("lanyard.yaml")).map(drop).map_err(|error| error.to_string())
}

#[test]
fn an_edge_needs_no_key_and_decides_by_the_last_minute() {
    let setup = edge(SOUND);
    setup.write();
    let config = config::load(&setup.path("lanyard.yaml")).unwrap();
    let StoreConfig::Upstream(upstream) = &config.store else { panic!("{:?}", config.store) };
    assert_eq!(upstream.endpoints, ["https://a.example:8443/", "https://b.example:8443/"]);
    assert_eq!(config.policy.max_staleness, Some(std::time::Duration::from_mins(1)));
    // Without one, whoever issues does not start.
    let issuing = Setup { keys: "{}".to_owned(), ..Setup::default() };
    assert!(problem(&issuing).unwrap_err().contains("keys.key_encryption_key_file: is missing"));
}

#[test]
fn what_an_edge_would_not_do_is_refused_and_so_is_a_server_that_anybody_could_be() {
    for (unsound, said) in [
        ("endpoints: []", "store.upstream.endpoints: names no server"),
        ("endpoints: ['http://a.example:8443']", "is not https://HOST:PORT"),
        ("endpoints: ['https://a.example']", "is not https://HOST:PORT"),
        ("endpoints: ['https://a.example:8443', 'http://127.0.0.1:1'], ca: ca.pem", "must all be https"),
        ("endpoints: ['https://a.example:8443'], certificate: c.pem, key: k.pem", "store.upstream.ca: is missing"),
        ("endpoints: ['https://a.example:8443'], ca: ca.pem", "store.upstream.certificate: is missing"),
        ("endpoints: ['https://a.example:8443'], ca: ca.pem, certificate: c.pem", "store.upstream.key: is missing"),
        (
            "endpoints: ['https://a.example:8443'], ca: ca.pem, certificate: workload_api",
            "store.upstream.certificate: needs the section workload_api",
        ),
    ] {
        let problem = problem(&edge(unsound)).unwrap_err();
        assert!(problem.contains(said), "{unsound}: {problem}");
    }
    assert_eq!(problem(&edge("endpoints: ['http://127.0.0.1:8443']")), Ok(()));
    let with = |change: fn(&mut Setup)| {
        let mut setup = edge(SOUND);
        change(&mut setup);
        problem(&setup)
    };
    assert_eq!(with(|setup| setup.keys = "{algorithm: RS256}".to_owned()), Ok(()));
    let refused = |change: fn(&mut Setup), said: &str| {
        let problem = with(change).unwrap_err();
        assert!(problem.contains(said), "{problem}");
    };
    refused(
        |setup| setup.keys = format!("{{key_encryption_key: {SEAL}}}"),
        "keys.key_encryption_key: is not for an edge",
    );
    refused(|setup| setup.registration = "admins".to_owned(), "registration: is not for an edge");
    refused(|setup| setup.exchange = "{}\nhistory: {keep: 1h}".to_owned(), "history.keep: is not for an edge");
    refused(
        |setup| setup.exchange = "{}\ndual_control: {changes: [{kind: client}]}".to_owned(),
        "dual_control: is not for an edge",
    );
    refused(|setup| setup.store = "{memory: true, upstream: {endpoints: []}}".to_owned(), "store: name one of");
}

#[test]
fn the_short_form_insists_on_an_edge() {
    let setup = Setup::default();
    setup.write();
    let command = |name: &[&str]| run(lanyard().args(name).arg("--config").arg(setup.path("lanyard.yaml")));
    command(&["edge"]).refused("not the configuration of an edge", "store.upstream");
    let setup = edge(SOUND);
    setup.write();
    let command = |name: &[&str]| run(lanyard().args(name).arg("--config").arg(setup.path("lanyard.yaml")));
    assert_eq!(command(&["config", "check"]).ok(), "the configuration is valid\n");
    command(&["store", "verify"]).refused("the configuration of an edge", "a server of the centre");
}
