//! The section `federation`: which endpoints can stand in it, and that there is no other way to name one.

use std::fs;

use lanyard::authority::registration::ClientMetadata;
use lanyard::authority::trust::Unproven;
use lanyard::config;
use lanyard::server::StartError;
use lanyard::trust_sources::bundle_endpoint::EndpointRoots;
use lanyard::trust_sources::bundle_endpoint::Profile;
use serde_json::json;
use spiffe::TrustDomain;

use crate::support::as_of_now::AsOfNow as _;
use crate::support::bundle::document;
use crate::support::ca::TestCa;
use crate::support::dcr::metadata;
use crate::support::dcr::register;
use crate::support::publisher::Publisher;
use crate::support::server::Setup;
use crate::support::server::TestServer;
use crate::support::yaml;

const WEB: &str = "{trust_domain: a.example, bundle_endpoint: 'https://a.example/bundle', profile: https_web}";

fn written(federation: &str) -> Setup {
    let setup = Setup { federation: federation.to_owned(), ..Setup::default() };
    setup.write();
    setup
}

fn problem(federation: &str) -> String {
    match config::load(&written(federation).path("lanyard.yaml")) {
        Ok(_) => panic!("this must not be a configuration: {federation}"),
        Err(error) => error.to_string(),
    }
}

// SPIFFE Federation sections 4.2 and 5.1
#[test]
fn an_endpoint_is_configured_by_trust_domain_url_and_profile() {
    let setup = written(&format!(
        "[{WEB}, {{trust_domain: b.example, bundle_endpoint: 'https://10.0.0.1:8443', profile: https_spiffe, \
         endpoint_spiffe_id: 'spiffe://b.example/endpoint', bundle: b.pem, max_age: 1m}}]"
    ));
    let config = config::load(&setup.path("lanyard.yaml")).unwrap();
    let [web, spiffe] = config.federation.as_slice() else { panic!("{:?}", config.federation) };
    assert_eq!((web.trust_domain.as_str(), web.url.as_str()), ("a.example", "https://a.example/bundle"));
    assert_eq!((&web.profile, web.max_age.as_secs()), (&Profile::HttpsWeb { ca: None }, 3600));
    assert_eq!((spiffe.trust_domain.as_str(), spiffe.url.as_str()), ("b.example", "https://10.0.0.1:8443"));
    let Profile::HttpsSpiffe { endpoint_spiffe_id, roots } = &spiffe.profile else { panic!("{spiffe:?}") };
    assert_eq!(endpoint_spiffe_id.to_string(), "spiffe://b.example/endpoint");
    assert_eq!((roots, spiffe.max_age.as_secs()), (&EndpointRoots::Fetched(setup.path("b.pem")), 60));
}

// SPIFFE Federation section 5.2.2: the endpoint may be in another trust domain than the bundle.
#[test]
fn an_endpoint_of_another_trust_domain_has_the_roots_of_a_file_or_those_that_are_known_here() {
    for (endpoint, bundle, expected) in [
        ("spiffe://b.example/endpoint", ", bundle: b.pem", None),
        ("spiffe://prod.example/endpoint", "", Some("prod.example")),
        ("spiffe://other.example/endpoint", "", Some("other.example")),
        ("spiffe://c.example/endpoint", "", Some("c.example")),
    ] {
        let web = WEB.replace("a.example", "c.example");
        let spiffe = format!("profile: https_spiffe, endpoint_spiffe_id: '{endpoint}'{bundle}");
        let setup = written(&format!("[{}, {web}]", WEB.replace("profile: https_web", &spiffe)));
        let config = config::load(&setup.path("lanyard.yaml")).unwrap_or_else(|error| panic!("{endpoint}: {error}"));
        let Profile::HttpsSpiffe { roots, .. } = &config.federation[0].profile else { panic!("{endpoint}") };
        let expected = match expected {
            Some(name) => EndpointRoots::BundleOf(TrustDomain::new(name).unwrap()),
            None => EndpointRoots::File(setup.path("b.pem")),
        };
        assert_eq!(*roots, expected, "{endpoint}");
    }
}

// SPIFFE Federation sections 4.2, 5.1 and 5.2.1
#[test]
fn an_endpoint_that_cannot_stand_is_refused_by_the_name_of_its_key() {
    let with = |from: &str, to: &str| {
        assert!(WEB.contains(from));
        format!("[{}]", WEB.replacen(from, to, 1))
    };
    let spiffe = "profile: https_spiffe, endpoint_spiffe_id: 'spiffe://a.example/endpoint', bundle: a.pem";
    assert!(config::load(&written(&with("profile: https_web", spiffe)).path("lanyard.yaml")).is_ok());
    let id = |id: &str| with("profile: https_web", &spiffe.replace("spiffe://a.example/endpoint", id));
    for (federation, said) in [
        (with("https://a", "http://a"), "federation.bundle_endpoint: must be an https URL"),
        (with("https://a", "https://user@a"), "federation.bundle_endpoint: must be an https URL"),
        (with("https://a", "https://user:secret@a"), "federation.bundle_endpoint: must be an https URL"),
        (with("/bundle", "/bundle#a"), "federation.bundle_endpoint: must be an https URL"),
        (with("https://a.example/bundle", "a.example"), "federation.bundle_endpoint: must be an https URL"),
        (with("a.example,", "'spiffe://a.example',"), "federation.trust_domain: "),
        (with("a.example,", "A.example,"), "federation.trust_domain: "),
        (with("a.example,", "prod.example,"), "prod.example: is the server's own trust domain"),
        (with("a.example,", "other.example,"), "other.example: has a file in trust.bundles already"),
        (format!("[{WEB}, {WEB}]"), "a.example: appears here twice"),
        (with("profile: https_web", "profile: http"), "unknown variant `http`"),
        (with(", profile: https_web", ""), "missing field `profile`"),
        (with("https_web", "https_web, bundle: a.pem"), "federation.profile: https_web goes without"),
        (with("https_web", "https_web, endpoint_spiffe_id: 'spiffe://a.example/e'"), "https_web goes without"),
        (with("https_web", "https_spiffe"), "federation.profile: https_spiffe needs"),
        (with("https_web", "https_spiffe, bundle: a.pem"), "federation.profile: https_spiffe needs"),
        (with("profile: https_web", &spiffe.replace(", bundle: a.pem", "")), "federation.bundle: is needed"),
        (with("profile: https_web", &format!("{spiffe}, ca: a.pem")), "goes without ca"),
        (id("spiffe://a.example"), "federation.endpoint_spiffe_id: "),
        (id("spiffe://b.example/endpoint").replace(", bundle: a.pem", ""), "federation.bundle: is needed"),
        (
            with("https_web", "https_web, redirect_hosts: ['https://b.example']"),
            "federation.redirect_hosts: must be HOST",
        ),
        (with("https_web", "https_web, redirect_hosts: ['b.example/x']"), "federation.redirect_hosts: must be HOST"),
        (id("https://a.example/endpoint"), "federation.endpoint_spiffe_id: "),
        (with("https_web", "https_web, max_age: 59s"), "federation.max_age: must be 1m or longer"),
        (with("https_web", "https_web, keep: 1h"), "unknown field `keep`"),
    ] {
        let problem = problem(&federation);
        assert!(problem.contains(said), "{said:?} is not in {problem:?} for {federation}");
    }
}

#[tokio::test]
async fn a_bundle_that_an_endpoint_is_bootstrapped_with_must_be_there_at_start() {
    let federation = "[{trust_domain: a.example, bundle_endpoint: 'https://localhost:1/', profile: https_spiffe, \
         endpoint_spiffe_id: 'spiffe://a.example/endpoint', bundle: a.pem}]";
    let ca = TestCa::new("a.example");
    let without_roots = br#" {"keys": []}"#.to_vec();
    for broken in [None, Some(b"".to_vec()), Some(b"{".to_vec()), Some(without_roots)] {
        let setup = written(federation);
        if let Some(broken) = &broken {
            fs::write(setup.path("a.pem"), broken).unwrap();
        }
        let error = setup.start().await.err().unwrap_or_else(|| panic!("it started with {broken:?}"));
        assert!(matches!(&error, StartError::Trust(_)), "{error}");
        assert!(error.to_string().contains("a.pem"), "{error}");
    }
    for good in [ca.pem().into_bytes(), [b"\n".to_vec(), document(&[&ca], 1)].concat()] {
        let setup = written(federation);
        fs::write(setup.path("a.pem"), good).unwrap();
        setup.start().await.unwrap().server.stop().await;
    }
}

// SPIFFE Federation section 5.1
#[tokio::test]
async fn a_bundle_endpoint_that_a_client_names_is_never_asked_and_vouches_for_nobody() {
    let evil = TestCa::new("evil.example");
    let publisher = Publisher::start(&evil).await;
    publisher.answer(200, "", &document(&[&evil], 1));
    let server = TestServer::started(|setup| setup.registration = "admins".to_owned()).await;
    let named = metadata(json!({
        "spiffe_id": "spiffe://evil.example/shop",
        "spiffe_bundle_endpoint": publisher.uri(),
        "scope": "orders.read",
        "audience": ["https://orders.prod.example"],
    }));
    // RFC 7591 section 2: metadata that is not understood is ignored.
    let reply = register(&server, &server.svid("/admin"), &named).await;
    assert_eq!(reply.status, 201, "{reply:?}");
    assert_eq!(reply.json().get("spiffe_bundle_endpoint"), None);
    server.server.refresh_federation().await;
    server.server.poll_jwks_uris().await;
    let leaf = evil.svid("spiffe://evil.example/shop").issue();
    assert_eq!(server.server.authority().prove_now(&leaf.chain).unwrap_err(), Unproven::UnknownTrustDomain);
    assert_eq!(publisher.connections(), 0);
    // An operator's file is refused by name: there nothing is ignored.
    let text = "client_id: spiffe://evil.example/shop\nspiffe_bundle_endpoint: https://evil.example/";
    let error = yaml::document::<ClientMetadata>(text).unwrap_err().to_string();
    assert!(error.contains("unknown field `spiffe_bundle_endpoint`"), "{error}");
}
