//! What happens at three in the morning, each answered by one command.

use lanyard::proto::envoy::service::auth::v3::check_response::HttpResponse;
use serde_json::Value;

use super::scene::Scene;
use crate::support::ca::TestCa;
use crate::support::check::Asked;
use crate::support::door::knock;
use crate::support::leaf::Leaf;
use crate::support::server::ORDERS;
use crate::support::server::TRUST_DOMAIN;

impl Scene {
    /// The refusals that an admin finds.
    async fn found(&self, arguments: &[&str]) -> Vec<Value> {
        let found = self.run("admin", &[&["why", "-o", "json"], arguments].concat()).await.json(0);
        found["refusals"].as_array().unwrap().clone()
    }

    /// What the holder of a certificate is told about a reference.
    async fn why(&self, who: &str, reference: &str) -> Value {
        self.run(who, &["why", reference, "-o", "json"]).await.json(0)
    }

    /// The reference of a denied check.
    async fn denied(&self, asked: Asked) -> String {
        let response =
            self.server.checks(&self.server.svid("/proxy")).check(asked.message()).await.unwrap().into_inner();
        let Some(HttpResponse::DeniedResponse(denied)) = response.http_response else { panic!("{response:?}") };
        let body: Value = serde_json::from_str(&denied.body).unwrap();
        body["reference"].as_str().unwrap().to_owned()
    }
}

fn x5t(leaf: &Leaf) -> String {
    leaf.thumbprint().to_string()
}

/// The last step, at which a decision ended.
fn last_step(refusal: &Value) -> (&str, &str, &str) {
    let steps = refusal["steps"].as_array().unwrap();
    let passed: Vec<bool> = steps.iter().map(|step| step["passed"].as_bool().unwrap()).collect();
    assert!(passed.iter().rev().skip(1).all(|passed| *passed) && passed.last() == Some(&false), "{steps:?}");
    let last = steps.last().unwrap();
    ["check", "found", "expected"].map(|member| last[member].as_str().unwrap()).into()
}

#[tokio::test]
async fn a_stranger_without_a_token_is_found_by_the_resource_the_time_and_a_pattern_of_its_name() {
    let scene = Scene::new().await;
    let stranger = scene.server.svid("/batch/stranger");
    let reference = scene.denied(Asked::anonymous().certificate(&stranger)).await;
    scene.denied(Asked::anonymous().certificate(&scene.server.svid("/other"))).await;
    let pattern = "spiffe://prod.example/batch/*";
    let found = scene.found(&["--resource", ORDERS, "--since", "1h", "--caller", pattern]).await;
    let [refusal] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((&refusal["reference"], &refusal["reason"]), (&reference.as_str().into(), &"TOKEN_MISSING".into()));
    assert_eq!(refusal["caller"], "spiffe://prod.example/proxy");
    assert_eq!((&refusal["evidence"]["x5t#S256"], &refusal["route"]), (&x5t(&stranger).into(), &"/orders/{id}".into()));
    assert_eq!(refusal["evidence"]["names"], serde_json::json!(["spiffe://prod.example/batch/stranger"]));
    assert_eq!(last_step(refusal).0, "access_token");
    let steps: Vec<&str> =
        refusal["steps"].as_array().unwrap().iter().map(|step| step["check"].as_str().unwrap()).collect();
    assert_eq!(steps, ["resource", "resource_record", "path", "route", "access_token"]);
    assert!(refusal["fix"].as_str().unwrap().contains(&format!("lanyard token get --audience {ORDERS}")), "{refusal}");
    // And what is asked for beside it is not there.
    for other in
        [["--resource", "urn:other"], ["--caller", "spiffe://prod.example/batch"], ["--reason", "TOKEN_EXPIRED"]]
    {
        assert_eq!(scene.found(&other).await, Vec::<Value>::new(), "{other:?}");
    }
    let text = scene.run("admin", &["why", "--caller", pattern]).await.ok();
    for line in [
        &format!("reference     {reference}"),
        "reason        TOKEN_MISSING",
        "  no  access token",
        "fix           send",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
}

#[tokio::test]
async fn a_failed_handshake_is_found_by_the_name_in_its_certificate_which_proves_nothing() {
    let scene = Scene::new().await;
    let id = "spiffe://prod.example/checkout";
    let forged = TestCa::at(TRUST_DOMAIN, scene.server.now()).svid(id).issue();
    assert!(!knock(scene.server.addresses.mtls, scene.server.tls(&forged)).await.is_jwks());
    // The client may learn of it before it is recorded.
    let mut found = Vec::new();
    while found.is_empty() {
        found = scene.found(&["--since", "1h", "--caller", id]).await;
    }
    let [refusal] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((&refusal["reason"], &refusal["event"]), (&"NO_PATH".into(), &"handshake_refused".into()));
    assert_eq!((&refusal["caller"], &refusal["connection"]["x5t#S256"]), (&Value::Null, &x5t(&forged).into()));
    assert!(refusal["remote"].as_str().unwrap().starts_with("127.0.0.1:"), "{refusal}");
    assert_eq!(last_step(refusal).0, "handshake");
    assert!(refusal["fix"].as_str().unwrap().contains("lanyard doctor"), "{refusal}");
    assert_eq!(scene.found(&["--caller", "127.0.0.1:*"]).await.len(), 1);
    let text = scene.run("admin", &["why", "--caller", id]).await.ok();
    assert!(text.contains("(nothing of it is proven)"), "{text}");
    // Not even the one whose name it is learns of it.
    scene.identity("checkout", &scene.server.workload("/checkout").await);
    let reference = refusal["reference"].as_str().unwrap();
    scene.run("checkout", &["why", reference]).await.refused("REFUSAL_NOT_FOUND", "audit trail");
}

#[tokio::test]
async fn a_mismatch_after_a_renewal_names_both_certificates_to_its_own_workload_and_to_no_other() {
    let scene = Scene::new().await;
    let first = scene.server.workload("/checkout").await;
    let token = scene.server.token(&first).await;
    let renewed = scene.server.svid("/checkout");
    let reference = scene.denied(Asked::with(&token, &renewed)).await;
    scene.identity("checkout", &renewed);
    scene.identity("other", &scene.server.workload("/other").await);
    for who in ["admin", "checkout"] {
        let refusal = scene.why(who, &reference).await;
        assert_eq!(refusal["reason"], "CERTIFICATE_RENEWED", "{who}");
        assert_eq!(refusal["evidence"]["x5t#S256"], x5t(&renewed), "{who}");
        assert_eq!(refusal["registration"], "spiffe://prod.example/checkout", "{who}");
        let (check, found, expected) = last_step(&refusal);
        assert_eq!(check, "bound_certificate");
        assert_eq!(found, format!("x5t#S256:{}, of the same SPIFFE ID", x5t(&renewed)));
        assert_eq!(expected, format!("x5t#S256:{}, rotation strict", x5t(&first)));
        assert!(refusal["fix"].as_str().unwrap().contains("lanyard token get"), "{refusal}");
        // The connection is the proxy's.
        assert_eq!(refusal["connection"].is_null(), who == "checkout", "{refusal}");
        assert_eq!(refusal["claims"].as_array().unwrap().len(), usize::from(who == "admin"), "{refusal}");
    }
    let claim = &scene.why("admin", &reference).await["claims"][0];
    assert_eq!((&claim["client_id"], &claim["applies"]), (&"spiffe://prod.example/checkout".into(), &true.into()));
    // The proxy sent the check, and sees of it what is its own.
    let refusal = scene.why("proxy", &reference).await;
    assert_eq!((&refusal["reason"], &refusal["route"]), (&"CERTIFICATE_RENEWED".into(), &"/orders/{id}".into()));
    assert_eq!((&refusal["evidence"], &refusal["client_id"]), (&Value::Null, &Value::Null));
    assert_eq!(last_step(&refusal), ("bound_certificate", "", ""));
    scene.run("other", &["why", &reference]).await.refused("REFUSAL_NOT_FOUND", "audit trail");
}

#[tokio::test]
async fn a_mismatch_after_a_theft_shows_the_admin_whose_token_it_is_and_the_thief_nothing_of_it() {
    let scene = Scene::new().await;
    let checkout = scene.server.workload("/checkout").await;
    let token = scene.server.token(&checkout).await;
    let thief = scene.server.svid("/thief");
    let reference = scene.denied(Asked::with(&token, &thief)).await;
    scene.identity("thief", &thief);
    scene.identity("checkout", &checkout);

    let found = scene.found(&["--since", "1h", "--caller", "spiffe://prod.example/thief"]).await;
    let [refusal] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!(
        (&refusal["reason"], &refusal["reference"]),
        (&"CERTIFICATE_MISMATCH".into(), &reference.clone().into())
    );
    assert_eq!(refusal["client_id"], "spiffe://prod.example/checkout");
    let (check, found, expected) = last_step(refusal);
    assert_eq!((check, found), ("bound_certificate", format!("x5t#S256:{}", x5t(&thief)).as_str()));
    assert_eq!(expected, format!("x5t#S256:{}, rotation strict", x5t(&checkout)));
    let revoke = "lanyard token revoke --issued-to spiffe://prod.example/checkout";
    assert!(refusal["fix"].as_str().unwrap().contains(revoke), "{refusal}");
    // It holds in the same way for the token's client.
    assert_eq!(scene.found(&["--caller", "spiffe://prod.example/checkout"]).await.len(), 1);

    let told = scene.why("thief", &reference).await;
    assert_eq!((&told["reason"], &told["evidence"]["x5t#S256"]), (&"CERTIFICATE_MISMATCH".into(), &x5t(&thief).into()));
    assert_eq!(last_step(&told), ("bound_certificate", "", ""));
    let told = told.to_string();
    for secret in ["checkout", x5t(&checkout).as_str(), refusal["jti"].as_str().unwrap()] {
        assert!(!told.contains(secret), "{secret} in {told}");
    }
    // The one that it was stolen from did not ask. A reference that there never was is no other thing.
    let of_other = scene.run("checkout", &["why", &reference]).await;
    let never = format!("{}-000000000000", &reference[..3]);
    assert_eq!(of_other.stderr, scene.run("checkout", &["why", &never]).await.stderr);
    of_other.refused("REFUSAL_NOT_FOUND", "audit trail");
    // And only an admin lists what others were refused.
    scene.run("thief", &["why", "--since", "1h"]).await.refused("WRONG_ROLE", "role Admin");
    scene.run("thief", &["why", "none"]).await.refused("REFERENCE_MALFORMED", "x-lanyard-reference");
}
