//! What would happen, asked over the wire and by the command line: who may ask about whom, and what each is told.

use std::fs;

use lanyard::proto::AskedIdentity;
use lanyard::proto::Client;
use lanyard::proto::Decision;
use lanyard::proto::EvidenceGrade;
use lanyard::proto::ExplainCheckRequest;
use lanyard::proto::ExplainCheckResponse;
use lanyard::proto::ExplainIdentityRequest;
use lanyard::proto::ExplainIdentityResponse;
use lanyard::proto::explanation_service_client::ExplanationServiceClient;
use serde_json::Value;
use tonic::Code;
use tonic::Status;
use tonic_types::StatusExt as _;

use super::scene::Scene;
use crate::support::ca::TestCa;
use crate::support::ca::self_signed;
use crate::support::calls::refusal;
use crate::support::calls::refused_field;
use crate::support::calls::self_signed_client;
use crate::support::check::orders;
use crate::support::leaf::Leaf;
use crate::support::server::ORDERS;
use crate::support::server::TestServer;
use crate::support::server::spiffe_client;
use crate::support::unreferenced::is_reference;

const CHECKOUT: &str = "spiffe://prod.example/checkout";

fn by_id(id: &str) -> AskedIdentity {
    AskedIdentity { spiffe_id: id.to_owned(), ..AskedIdentity::default() }
}

fn by_certificate(leaf: &Leaf) -> AskedIdentity {
    AskedIdentity { certificates: vec![leaf.certificate().to_vec()], ..AskedIdentity::default() }
}

/// A question about a request for an order.
fn order(identity: AskedIdentity) -> ExplainCheckRequest {
    let [method, path, resource] = ["GET", "/orders/1", ORDERS].map(str::to_owned);
    ExplainCheckRequest { identity: Some(identity), method, path, resource, ..ExplainCheckRequest::default() }
}

async fn check(server: &TestServer, caller: &Leaf, asked: ExplainCheckRequest) -> Result<ExplainCheckResponse, Status> {
    let answer = ExplanationServiceClient::new(server.channel(caller)).explain_check(asked).await;
    answer.map(tonic::Response::into_inner)
}

async fn identity(
    server: &TestServer,
    caller: &Leaf,
    identity: AskedIdentity,
) -> Result<ExplainIdentityResponse, Status> {
    let asked = ExplainIdentityRequest { identity: Some(identity) };
    let answer = ExplanationServiceClient::new(server.channel(caller)).explain_identity(asked).await;
    answer.map(tonic::Response::into_inner)
}

async fn with_orders() -> TestServer {
    let server = TestServer::started(|setup| {
        let holder = |name: &str| format!("[{{spiffe_id: spiffe://prod.example/{name}}}]");
        setup.roles = format!(
            "{{admins: {}, auditors: {}, revokers: {}, proxies: [{{spiffe_id: spiffe://prod.example/proxy, resources: ['*']}}]}}",
            holder("admin"),
            holder("auditor"),
            holder("revoker")
        );
    })
    .await;
    server.protect(orders()).await.unwrap();
    server
}

#[tokio::test]
async fn admins_and_auditors_ask_about_anybody_and_any_other_caller_about_itself_alone() {
    let server = with_orders().await;
    let checkout = server.workload("/checkout").await;
    let renewed = server.svid("/checkout");
    let strangers = [self_signed("stranger").issue(), renewed.clone(), server.svid("/other")];
    for caller in ["/admin", "/auditor"] {
        let caller = server.svid(caller);
        for asked in [by_id(CHECKOUT), by_certificate(&checkout), by_certificate(&renewed)] {
            let explained = check(&server, &caller, order(asked.clone())).await.unwrap();
            assert_eq!((explained.decision(), explained.claims.len()), (Decision::Allow, 1), "{explained:?}");
            let explained = identity(&server, &caller, asked).await.unwrap();
            assert!(explained.proven && explained.tokens[0].granted, "{explained:?}");
            assert_eq!((explained.tokens[0].registration.as_str(), explained.claims.len()), (CHECKOUT, 1));
        }
    }
    // About itself, by its name or its certificate. Of others' registrations it is told nothing.
    for asked in [by_id(CHECKOUT), by_certificate(&checkout)] {
        let explained = check(&server, &checkout, order(asked.clone())).await.unwrap();
        assert_eq!(explained.decision(), Decision::Allow, "{explained:?}");
        assert_eq!((explained.registration.as_str(), explained.claims.len()), (CHECKOUT, 0));
        let explained = identity(&server, &checkout, asked).await.unwrap();
        assert!(explained.proven && explained.tokens[0].granted && explained.claims.is_empty(), "{explained:?}");
    }
    // The nearest: another certificate with its own name, and names of others.
    for caller in ["/checkout", "/proxy", "/revoker", "/other"] {
        let caller = if caller == "/checkout" { checkout.clone() } else { server.svid(caller) };
        let mut others: Vec<AskedIdentity> = strangers.iter().map(by_certificate).collect();
        others.extend([by_id("spiffe://prod.example/checkout2"), by_id("spiffe://other.example/checkout")]);
        for asked in others {
            let refused = check(&server, &caller, order(asked.clone())).await;
            let reference =
                refused.as_ref().unwrap_err().get_details_error_info().unwrap().metadata["reference"].clone();
            assert!(is_reference(&reference));
            assert_eq!(refusal(refused), (Code::PermissionDenied, "NOT_YOURS".to_owned()));
            let refused = identity(&server, &caller, asked).await;
            assert_eq!(refusal(refused), (Code::PermissionDenied, "NOT_YOURS".to_owned()));
        }
    }
}

#[tokio::test]
async fn a_thief_learns_nothing_of_whose_token_it_has_and_nobody_what_another_client_is() {
    let server = with_orders().await;
    let checkout = server.workload("/checkout").await;
    let spiffe_id = "spiffe://prod.example/ns/*".to_owned();
    server.register(Client { client_id: "checkout-pattern".to_owned(), spiffe_id, ..spiffe_client("") }).await.unwrap();
    let access_token = server.token(&checkout).await;
    let thief = server.svid("/thief");
    let stolen =
        |leaf: &Leaf| ExplainCheckRequest { access_token: access_token.clone(), ..order(by_certificate(leaf)) };
    let told = check(&server, &thief, stolen(&thief)).await.unwrap();
    assert_eq!((told.decision(), told.reason.as_str()), (Decision::Deny, "CERTIFICATE_MISMATCH"));
    assert_eq!((told.resource.as_str(), told.route.as_str()), (ORDERS, "/orders/{id}"));
    let text = format!("{told:?}");
    assert!(!text.contains("checkout") && !text.contains(&checkout.thumbprint().to_string()), "{text}");
    // Who may know is told, and so is the token's own client.
    let admins = check(&server, &server.svid("/admin"), stolen(&thief)).await.unwrap();
    assert_eq!((admins.reason.as_str(), admins.client_id.as_str()), ("CERTIFICATE_MISMATCH", CHECKOUT));
    assert!(admins.fix.contains(CHECKOUT) && admins.steps.last().unwrap().expected.contains("rotation strict"));
    let own = check(&server, &checkout, stolen(&checkout)).await.unwrap();
    assert_eq!((own.decision(), own.registration.as_str()), (Decision::Allow, CHECKOUT));

    // Whether a client is registered that the caller does not prove to be.
    let mut answers = Vec::new();
    for client_id in [CHECKOUT, "spiffe://prod.example/nobody", "spiffe://prod.example/ns/a", "checkout-pattern", "no"]
    {
        let asked =
            ExplainCheckRequest { client_id: client_id.to_owned(), ..order(by_id("spiffe://prod.example/thief")) };
        let mut told = check(&server, &thief, asked).await.unwrap();
        assert_eq!(told.reason, "invalid_client");
        told.token.as_mut().unwrap().client_id.clear();
        answers.push(told);
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
}

#[tokio::test]
async fn a_question_that_cannot_be_read_is_refused_by_its_field() {
    let server = with_orders().await;
    let (admin, leaf) = (server.svid("/admin"), server.svid("/checkout"));
    let both = AskedIdentity { spiffe_id: CHECKOUT.to_owned(), ..by_certificate(&leaf) };
    let garbage = AskedIdentity { certificates: vec![b"garbage".to_vec()], ..AskedIdentity::default() };
    for (asked, field) in [
        (AskedIdentity::default(), "identity.spiffe_id"),
        (by_id("checkout"), "identity.spiffe_id"),
        (by_id("spiffe://PROD.example/checkout"), "identity.spiffe_id"),
        (garbage, "identity.certificates"),
        (both, "identity"),
    ] {
        assert_eq!(refused_field(identity(&server, &admin, asked.clone()).await), field);
        assert_eq!(refused_field(check(&server, &admin, order(asked)).await), field);
    }
    let asked = || order(by_id(CHECKOUT));
    for (asked, field) in [
        (ExplainCheckRequest { identity: None, ..asked() }, "identity"),
        (ExplainCheckRequest { access_token: "t".to_owned(), scope: "a".to_owned(), ..asked() }, "access_token"),
        (ExplainCheckRequest { access_token: "t".to_owned(), client_id: "a".to_owned(), ..asked() }, "access_token"),
        (ExplainCheckRequest { evidence_grade: 9, ..asked() }, "evidence_grade"),
    ] {
        assert_eq!(refused_field(check(&server, &admin, asked).await), field);
    }
    // The nearest that can be.
    let asked = ExplainCheckRequest { access_token: "t".to_owned(), ..asked() };
    assert_eq!(check(&server, &admin, asked).await.unwrap().reason, "TOKEN_MALFORMED");
}

#[tokio::test]
async fn what_a_proxy_shows_and_where_a_resource_is_found_are_parts_of_the_question() {
    let server = with_orders().await;
    server.workload("/checkout").await;
    let admin = server.svid("/admin");
    let shown = |grade: EvidenceGrade| ExplainCheckRequest { evidence_grade: grade.into(), ..order(by_id(CHECKOUT)) };
    for (asked, reason) in [
        (shown(EvidenceGrade::Certificate), ""),
        (shown(EvidenceGrade::Thumbprint), ""),
        (shown(EvidenceGrade::SpiffeId), "EVIDENCE_TOO_WEAK"),
        (
            ExplainCheckRequest { resource: String::new(), authority: "nowhere".to_owned(), ..order(by_id(CHECKOUT)) },
            "RESOURCE_UNKNOWN",
        ),
        (ExplainCheckRequest { method: "PUT".to_owned(), ..order(by_id(CHECKOUT)) }, "ROUTE_UNKNOWN"),
        (ExplainCheckRequest { scope: "orders.write".to_owned(), ..order(by_id(CHECKOUT)) }, "INSUFFICIENT_SCOPE"),
        (ExplainCheckRequest { scope: "orders.admin".to_owned(), ..order(by_id(CHECKOUT)) }, "invalid_scope"),
        (order(by_id("spiffe://unknown.example/a")), "UNKNOWN_TRUST_DOMAIN"),
    ] {
        let told = check(&server, &admin, asked).await.unwrap();
        assert_eq!(told.reason, reason, "{told:?}");
        assert_eq!((told.steps.last().unwrap().passed, told.fix.is_empty()), (reason.is_empty(), reason.is_empty()));
    }
}

fn member<'a>(of: &'a Value, path: &str) -> &'a str {
    of.pointer(path).and_then(Value::as_str).unwrap_or_else(|| panic!("no {path} in {of}"))
}

#[tokio::test]
async fn the_command_line_asks_by_a_url_and_prints_each_step_and_what_to_do() {
    let scene = Scene::new().await;
    let checkout = scene.server.workload("/checkout").await;
    scene.identity("checkout", &checkout);
    fs::write(scene.files.path("token"), scene.server.token(&checkout).await).unwrap();
    let (token, pem) = (format!("@{}", scene.files.path("token").display()), scene.files.path("checkout.pem"));
    let pem = pem.to_str().unwrap();
    let url = "https://orders.prod.example/orders/1?secret=x";
    let asked = ["explain", "request", "GET", url, "--resource", ORDERS, "--as"];
    let ask = async |who: &str, more: &[&str]| scene.run(who, &[asked.as_slice(), more].concat()).await;

    let allowed = ask("admin", &[CHECKOUT, "-o", "json"]).await.json(0);
    assert_eq!((member(&allowed, "/decision"), member(&allowed, "/route")), ("DECISION_ALLOW", "/orders/{id}"));
    assert_eq!(
        (member(&allowed, "/token/scope"), &allowed["token"]["granted"]),
        ("orders.read orders.write", &true.into())
    );
    for more in [
        [pem, "-o", "json"].as_slice(),
        &[pem, "--token", &token, "-o", "json"],
        &[CHECKOUT, "--token", &token, "-o", "json"],
    ] {
        assert_eq!(member(&ask("checkout", more).await.json(0), "/decision"), "DECISION_ALLOW", "{more:?}");
    }
    let text = ask("admin", &[CHECKOUT, "--scope", "orders.write"]).await;
    assert_eq!(text.code, Some(3), "{text:?}");
    for line in [
        "decision      DENY",
        "reason        INSUFFICIENT_SCOPE",
        "request       GET orders.prod.example/orders/1\n",
        "registration  spiffe://prod.example/checkout",
        "token         would be issued",
        "  bound       to the certificate",
        "steps of the token request",
        "steps of the check",
        "  ok  bound certificate  its certificate; expected: its certificate, rotation strict",
        "  no  scope",
        "registrations that claim the client",
        "  yes  spiffe://prod.example/checkout",
        "fix           get a token with the scope",
    ] {
        assert!(text.stdout.contains(line), "{line} in {}", text.stdout);
    }
    assert!(!text.stdout.contains("secret"), "{}", text.stdout);

    let other = "spiffe://prod.example/other";
    ask("checkout", &[other]).await.refused("NOT_YOURS", "Admin or Auditor");
    ask("admin", &["nothing.pem"]).await.refused("nothing.pem", "path");
    let unreadable = scene.run("admin", &["explain", "request", "GET", "/orders/1", "--as", other]).await;
    assert_eq!(unreadable.code, Some(2), "{unreadable:?}");

    let known = scene.run("admin", &["explain", "identity", CHECKOUT, "-o", "json"]).await.json(0);
    assert_eq!((&known["proven"], member(&known, "/tokens/0/audience/0")), (&true.into(), ORDERS));
    assert_eq!(member(&known, "/claims/0/outcome"), "applies: it is the most specific one");
    let unknown = scene.run("admin", &["explain", "identity", other]).await.ok();
    for line in [
        "proven        by a certificate",
        "reason      invalid_client",
        "cause       no such client",
        "lanyard client apply",
    ] {
        assert!(unknown.contains(line), "{line} in {unknown}");
    }
    let foreign = scene.run("admin", &["explain", "identity", "spiffe://unknown.example/a"]).await.ok();
    for line in ["proven        no", "reason        UNKNOWN_TRUST_DOMAIN", "fix           configure the bundle"] {
        assert!(foreign.contains(line), "{line} in {foreign}");
    }
}

#[tokio::test]
async fn an_identity_by_its_certificate_is_told_with_what_is_wrong_with_that() {
    let server = with_orders().await;
    let admin = server.svid("/admin");
    server.workload("/checkout").await;
    let own = self_signed("own").issue();
    server.register(self_signed_client("own", &own.pem())).await.unwrap();
    let pattern =
        Client { client_id: "all".to_owned(), spiffe_id: "spiffe://prod.example/*".to_owned(), ..spiffe_client("") };
    server.register(Client { disabled: true, ..pattern }).await.unwrap();

    // A wider registration that is disabled refuses also what has one of its own.
    let told = identity(&server, &admin, by_id(CHECKOUT)).await.unwrap();
    let claims: Vec<(&str, bool, &str)> =
        told.claims.iter().map(|claim| (claim.client_id.as_str(), claim.applies, claim.outcome.as_str())).collect();
    let refuses = ("all", false, "refuses the client: it is disabled");
    assert_eq!(claims, [(CHECKOUT, false, "does not apply: a wider one refuses the client"), refuses]);
    assert_eq!(
        (told.tokens[0].reason.as_str(), told.tokens[0].cause.as_str()),
        ("invalid_client", "the client is disabled")
    );

    let told = identity(&server, &admin, by_certificate(&own)).await.unwrap();
    let certificate = told.certificate.unwrap();
    assert_eq!(certificate.thumbprint, own.thumbprint().as_bytes());
    assert!(told.proven && told.tokens[0].granted && told.spiffe_id.is_empty(), "{:?}", told.tokens);
    assert_eq!((told.tokens.len(), told.tokens[0].client_id.as_str()), (1, "own"));

    let forged = TestCa::at("prod.example", server.now()).svid(CHECKOUT).issue();
    let expired = server.setup.ca.svid(CHECKOUT).expired().issue();
    let guest = server.setup.corp.client_certificate().dns("guest.corp.example").issue();
    for (leaf, proven, reason) in [
        (forged, false, "NO_PATH"),
        (expired, false, "EXPIRED"),
        (self_signed("stranger").issue(), false, "UNKNOWN"),
        (guest, true, "WRONG_ROLE"),
    ] {
        let told = identity(&server, &admin, by_certificate(&leaf)).await.unwrap();
        assert_eq!((told.proven, told.reason.as_str(), told.tokens.len()), (proven, reason, 0), "{told:?}");
        assert!(!told.fix.is_empty() && !told.cause.is_empty());
    }
}
