//! From report to enforce, by one command each, against a running server.

use lanyard::proto::ProtectedResource;
use serde_json::Value;
use serde_json::json;

use crate::support::check::Asked;
use crate::support::check::orders;
use crate::support::server::ORDERS;
use crate::why::scene::Scene;

async fn in_report_mode() -> Scene {
    Scene::with(ProtectedResource { mode: "report".to_owned(), report_header: true, ..orders() }).await
}

impl Scene {
    async fn admin(&self, arguments: &[&str]) -> Value {
        self.run("admin", &[&["resource"], arguments, &["-o", "json"]].concat()).await.json(0)
    }

    async fn mode(&self) -> Value {
        self.admin(&["get", ORDERS]).await["mode"].clone()
    }

    /// Writes a document of the resource, as it is in YAML but for these changes.
    async fn document(&self, changes: &[(&str, &str)]) -> String {
        let mut yaml = self.run("admin", &["resource", "get", ORDERS]).await.ok();
        for (from, to) in changes {
            assert!(yaml.contains(from), "{from} in {yaml}");
            yaml = yaml.replace(from, to);
        }
        let path = self.files.path("new.yaml");
        std::fs::write(&path, yaml).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

/// Caller, whether it is registered, route, reason, count.
fn rows(report: &Value, outcome: &str) -> Vec<Value> {
    let requests = report["requests"].as_array().unwrap().iter().filter(|one| one["outcome"] == outcome);
    requests.map(|one| json!([one["caller"], one["registered"], one["route"], one["reason"], one["count"]])).collect()
}

#[tokio::test]
async fn who_would_break_how_often_since_when_and_what_to_do_is_answered_by_one_command() {
    let scene = in_report_mode().await;
    let server = &scene.server;
    let (checkout, batch) = (server.workload("/checkout").await, server.workload("/batch").await);
    let token = server.token(&checkout).await;
    for _ in 0..3 {
        server.check(Asked::with(&token, &checkout)).await;
    }
    for number in 0..2 {
        server.check(Asked::with(&token, &checkout).to("POST", &format!("/admin/{number}"))).await;
    }
    for _ in 0..5 {
        server.check(Asked::anonymous().certificate(&batch).to("GET", "/orders/1?token=secret")).await;
    }
    server.check(Asked::anonymous().certificate(&server.svid("/stranger"))).await;

    let report = scene.admin(&["report", ORDERS]).await;
    let [checkout_id, batch_id, stranger] =
        ["checkout", "batch", "stranger"].map(|name| format!("spiffe://prod.example/{name}"));
    assert_eq!(report["mode"], "report");
    assert_eq!(
        rows(&report, "let_through"),
        [
            json!([batch_id, true, "GET /orders/{id}", "TOKEN_MISSING", 5]),
            json!([checkout_id, true, "/admin/**", "INSUFFICIENT_SCOPE", 2]),
            json!([stranger, false, "GET /orders/{id}", "TOKEN_MISSING", 1]),
        ]
    );
    assert_eq!(rows(&report, "allowed"), [json!([checkout_id, true, "GET /orders/{id}", null, 3])]);
    assert_eq!(rows(&report, "denied"), Vec::<Value>::new());
    let first = &report["requests"][0];
    for time in [&first["first"], &first["last"], &report["since"]] {
        assert!(time.as_str().unwrap().starts_with("20") && time.as_str().unwrap().ends_with('Z'), "{time}");
    }
    assert_eq!(first["samples"], json!(["GET /orders/1"]));
    assert_eq!(report["requests"][1]["samples"], json!(["POST /admin/0", "POST /admin/1"]));
    assert!(first["fix"].as_str().unwrap().contains(&format!("lanyard token get --audience {ORDERS}")), "{first}");
    assert_eq!(report["others"]["let_through"], 0);
    for secret in [token.as_str(), "secret"] {
        assert!(!report.to_string().contains(secret), "{report}");
    }

    let text = scene.run("admin", &["resource", "report", ORDERS]).await.ok();
    let line = text.lines().find(|line| line.contains(&batch_id)).unwrap_or_else(|| panic!("{text}"));
    for word in ["GET /orders/{id}", "TOKEN_MISSING", "5", "lanyard token get"] {
        assert!(line.contains(word), "{word} in {line}");
    }
    assert!(
        text.contains(&format!("{stranger} (not registered)")) && text.contains("when the server started"),
        "{text}"
    );

    // An auditor reads it too; whoever only calls the resource does not, and what is not registered has none.
    scene.identity("auditor", &server.svid("/auditor"));
    scene.identity("checkout", &checkout);
    assert_eq!(scene.run("auditor", &["resource", "report", ORDERS, "-o", "json"]).await.json(0), report);
    scene.run("checkout", &["resource", "report", ORDERS]).await.refused("WRONG_ROLE", "Auditor");
    scene
        .run("admin", &["resource", "report", "urn:none"])
        .await
        .refused("RESOURCE_NOT_FOUND", "lanyard resource list");
}

#[tokio::test]
async fn enforce_is_refused_while_registered_callers_would_break_and_not_for_strangers() {
    let scene = in_report_mode().await;
    let server = &scene.server;
    let batch = server.workload("/batch").await;
    let enforce = async |flags: &[&str]| scene.run("admin", &[&["resource", "enforce", ORDERS], flags].concat()).await;
    let by_batch = || Asked::anonymous().certificate(&batch);
    server.check(by_batch()).await;

    let refused = enforce(&[]).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    for words in
        ["spiffe://prod.example/batch at GET /orders/{id}, 1 requests (TOKEN_MISSING)", "nothing was changed", "--yes"]
    {
        assert!(refused.stderr.contains(words), "{words} in {refused:?}");
    }
    assert_eq!(scene.mode().await, "report");
    assert_eq!(server.check(by_batch()).await.reason(), "");

    let told = enforce(&["--yes", "--reason", "the batch job is gone"]).await;
    assert!(told.stderr.contains("note: requests are counted since"), "{told:?}");
    assert_eq!(told.ok(), format!("{ORDERS} enforced\n"));
    assert_eq!(scene.mode().await, "enforce");
    assert_eq!(server.check(by_batch()).await.reason(), "TOKEN_MISSING");
    assert_eq!(enforce(&["-o", "json"]).await.json(0), json!({"audience": ORDERS, "result": "unchanged"}));
    let history = scene.run("admin", &["history", "resource", ORDERS]).await.ok();
    assert!(history.contains("the batch job is gone"), "{history}");

    // Back in report mode: nothing of a registered caller is let through any more once its registration is gone.
    let back = scene.document(&[("mode: enforce", "mode: report")]).await;
    scene.run("admin", &["resource", "apply", "-f", &back]).await.refused("REPORT_OVER_ENFORCE", "--allow-report");
    scene.run("admin", &["resource", "apply", "-f", &back, "--allow-report"]).await.ok();
    server.check(Asked::anonymous().certificate(&server.svid("/stranger"))).await;
    scene.run("admin", &["client", "delete", "spiffe://prod.example/batch"]).await.ok();
    assert_eq!(enforce(&[]).await.ok(), format!("{ORDERS} enforced\n"));
}

#[tokio::test]
async fn a_simulation_shows_what_a_document_would_change_and_applies_nothing() {
    let scene = in_report_mode().await;
    let server = &scene.server;
    let (checkout, batch) = (server.workload("/checkout").await, server.workload("/batch").await);
    let token = server.token(&checkout).await;
    server.check(Asked::with(&token, &checkout)).await;
    server.check(Asked::with(&token, &checkout).to("GET", "/whoami")).await;
    server.check(Asked::anonymous().certificate(&batch)).await;
    server.check(Asked::anonymous().to("GET", "/healthz")).await;

    let changes = [("mode: report", "mode: enforce"), ("report_header: true\n", ""), ("/whoami", "/me")];
    let narrowed = scene.document(&changes).await;
    let simulated = scene.admin(&["simulate", "-f", &narrowed]).await;
    let changes = simulated[0]["changes"].as_array().unwrap().iter().map(|one| {
        json!([
            one["caller"],
            one["route"],
            one["before"]["outcome"],
            one["after"]["outcome"],
            one["after"]["reason"],
            one["count"]
        ])
    });
    let mut changes: Vec<Value> = changes.collect();
    changes.sort_by_key(ToString::to_string);
    assert_eq!(
        changes,
        [
            json!(["spiffe://prod.example/batch", "GET /orders/{id}", "let_through", "denied", "TOKEN_MISSING", 1]),
            json!(["spiffe://prod.example/checkout", "GET /whoami", "allowed", "denied", "ROUTE_UNKNOWN", 1]),
        ]
    );
    assert_eq!((&simulated[0]["unchanged"], &simulated[0]["not_replayed"]), (&json!(2), &json!([])));
    assert_eq!(scene.mode().await, "report");
    let text = scene.run("admin", &["resource", "simulate", "-f", &narrowed]).await.ok();
    for words in
        ["let through (TOKEN_MISSING)  denied (TOKEN_MISSING)", "1 of 1", "GET /whoami", "would stay as they are: 2"]
    {
        assert!(text.contains(words), "{words} in {text}");
    }
    // What was public tells nothing of tokens.
    let closed = scene.document(&[("public: true", "scope: orders.read")]).await;
    let not = scene.admin(&["simulate", "-f", &closed]).await[0]["not_replayed"].clone();
    assert_eq!((&not[0]["reason"], &not[0]["count"]), (&json!("TOKEN_NOT_SEEN"), &json!(1)));
    // A document that says no mode keeps it, as when it is applied.
    let kept = scene.document(&[("mode: report\n", "")]).await;
    assert_eq!(scene.admin(&["simulate", "-f", &kept]).await[0]["changes"], json!([]));
    let invalid = scene.document(&[("/whoami", "/who*ami")]).await;
    scene
        .run("admin", &["resource", "simulate", "-f", &invalid])
        .await
        .refused("INVALID_RESOURCE", "correct the named field");
}
