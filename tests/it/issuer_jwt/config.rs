//! The section `trusted_issuers`, and the feature that its registrations wait for.

use std::collections::BTreeMap;
use std::fs;

use lanyard::authority::records::RegistryError;
use lanyard::authority::registration::ClientMetadata;
use lanyard::authority::state::Feature;
use lanyard::authority::store::Store as _;
use lanyard::authority::trust::BundleDocument;
use lanyard::authority::trust::IssuerKeys;
use lanyard::authority::trust::MAX_ASSERTION_AGE;
use lanyard::authority::trust::Proves;
use lanyard::authority::trust::TrustBundles;
use lanyard::authority::trust::TrustedIssuer;
use lanyard::config;
use serde_json::Value;

use crate::issuer_jwt::cluster::CLUSTER;
use crate::issuer_jwt::cluster::Cluster;
use crate::issuer_jwt::cluster::SUBJECT;
use crate::support::as_of_now::AsOfNow as _;
use crate::support::authority::ADMIN;
use crate::support::authority::ORDERS;
use crate::support::authority::TestAuthority;
use crate::support::authority::ready;
use crate::support::server::ISSUER;
use crate::support::server::Setup;
use crate::support::unreferenced::Unreferenced as _;

const ENTRY: &str = "{name: prod, issuer: 'https://kubernetes.default.svc', jwks: prod.json}";

fn problem(entries: &str) -> String {
    let setup = Setup { trusted_issuers: entries.to_owned(), ..Setup::default() };
    setup.write();
    config::load(&setup.path("lanyard.yaml")).err().map(|error| error.to_string()).unwrap_or_default()
}

#[test]
fn an_entry_that_cannot_stand_is_refused_by_the_name_of_its_key() {
    let with = |from: &str, to: &str| {
        assert!(ENTRY.contains(from));
        format!("[{}]", ENTRY.replacen(from, to, 1))
    };
    for right in ["[]".to_owned(), format!("[{ENTRY}]"), with("jwks:", "max_age: 10m, audience: 'https://a', jwks:")] {
        assert_eq!(problem(&right), "", "{right}");
    }
    let own = format!("issuer: '{ISSUER}'");
    for (entries, said) in [
        (with("name: prod", "name: ''"), "trusted_issuers.name: "),
        (with("name: prod", "name: 'a:b'"), "trusted_issuers.name: "),
        (with("name: prod", "name: Prod"), "trusted_issuers.name: "),
        (with("name: prod, ", ""), "missing field `name`"),
        (with("'https://kubernetes.default.svc'", "''"), "trusted_issuers.issuer: "),
        (with("issuer: 'https://kubernetes.default.svc'", &own), "is this server's own issuer"),
        (with("jwks: prod.json", "jwks: prod.json, audience: ''"), "trusted_issuers.audience: "),
        // Its own tokens for itself are every pod's.
        (
            with("jwks: prod.json", "jwks: prod.json, audience: 'https://kubernetes.default.svc'"),
            "trusted_issuers.audience: ",
        ),
        (with("jwks: prod.json", "jwks: prod.json, max_age: 61m"), "trusted_issuers.max_age: must be from 1s to 1h"),
        (with(", jwks: prod.json", ""), "prod: needs either jwks, a file, or jwks_uri"),
        (with("jwks: prod.json", "jwks: prod.json, jwks_uri: 'https://a.example/'"), "needs either jwks"),
        (with("jwks: prod.json", "jwks_uri: 'http://a.example/'"), "trusted_issuers.jwks_uri: must be an https URL"),
        (with("jwks: prod.json", "jwks_uri: 'https://a.example/'"), "is not one of jwks_uri.allowed_hosts"),
        (with("jwks: prod.json", "jwks: prod.json, keys: a"), "unknown field `keys`"),
        (format!("[{ENTRY}, {ENTRY}]"), "appears here twice"),
        (format!("[{ENTRY}, {}]", ENTRY.replace("prod,", "other,")), "appears here twice"),
        (format!("[{ENTRY}, {}]", ENTRY.replace("default", "other")), "appears here twice"),
    ] {
        let problem = problem(&entries);
        assert!(problem.contains(said), "{said:?} is not in {problem:?} for {entries}");
    }
}

#[tokio::test]
async fn a_server_does_not_start_without_the_keys_that_a_file_should_hold() {
    for (contents, starts) in [
        (None, false),
        (Some(""), false),
        (Some("{\"keys\":[]}"), false),
        (Some("-----BEGIN PUBLIC KEY-----"), false),
        (Some(Cluster::new().jwks().as_str()), true),
    ] {
        let setup = Setup { trusted_issuers: format!("[{ENTRY}]"), ..Setup::default() };
        setup.write();
        if let Some(contents) = contents {
            fs::write(setup.path("prod.json"), contents).unwrap();
        }
        assert_eq!(setup.start().await.is_ok(), starts, "{contents:?}");
    }
}

#[test]
fn a_registration_waits_for_the_feature_and_has_a_schema_of_its_own() {
    let fixture = TestAuthority::new();
    let trusted = TrustedIssuer {
        name: "prod".to_owned(),
        issuer: CLUSTER.to_owned(),
        audience: ISSUER.to_owned(),
        max_age: MAX_ASSERTION_AGE,
        proves: Proves::Clients,
    };
    let keys = BundleDocument::parse(Cluster::new().jwks().as_bytes()).unwrap().signing;
    let keys = IssuerKeys { trusted: trusted.into(), keys, confirmed: None, good_until: None };
    let before = fixture.authority.trust().as_ref().clone();
    let issuers = BTreeMap::from([(CLUSTER.to_owned(), keys)]);
    fixture.authority.replace_trust(TrustBundles { issuers, ..before });
    let client = || ClientMetadata {
        client_id: "checkout".to_owned(),
        token_endpoint_auth_method: "issuer_jwt".to_owned(),
        issuer: Some(CLUSTER.to_owned()),
        subject: Some(SUBJECT.to_owned()),
        audience: vec![ORDERS.to_owned()],
        ..ClientMetadata::default()
    };
    let create = || ready(fixture.authority.create_client(&fixture.svid(ADMIN), client(), false)).map(drop);
    let refused = RegistryError::FeatureNotEnabled { field: "token_endpoint_auth_method", feature: "issuer-jwt" };
    assert_eq!(create(), Err(refused));
    let caller = fixture.authority.as_caller(&fixture.svid(ADMIN));
    ready(fixture.authority.enable_feature(&caller, Feature::IssuerJwt.name())).unreferenced().unwrap();
    create().unwrap();
    let stored = ready(fixture.store.get("/clients/checkout")).unwrap().unwrap();
    let stored: Value = serde_json::from_slice(&stored.value).unwrap();
    assert_eq!((&stored["schema"], &stored["metadata"]["subject"]), (&Value::from(4), &Value::from(SUBJECT)));
}
