//! Each refusal has a reference, in the form of its protocol, and by it an admin finds the same refusal.

use axum::http::HeaderMap;
use lanyard::proto::Client;
use lanyard::proto::ExplainRefusalRequest;
use lanyard::proto::IssueTokenRequest;
use lanyard::proto::ListClientsRequest;
use lanyard::proto::Refusal;
use lanyard::proto::ValidateBindingRequest;
use lanyard::proto::envoy::service::auth::v3::CheckRequest;
use lanyard::proto::envoy::service::auth::v3::CheckResponse;
use lanyard::proto::envoy::service::auth::v3::check_response::HttpResponse;
use lanyard::proto::explanation_service_client::ExplanationServiceClient;
use serde_json::Value;
use tonic::Status;
use tonic_types::StatusExt as _;

use crate::support::calls::use_of;
use crate::support::check::Asked;
use crate::support::check::metadata;
use crate::support::check::orders;
use crate::support::http::post;
use crate::support::leaf::Leaf;
use crate::support::server::TestServer;
use crate::support::server::certificate_of;
use crate::support::server::reason_of;
use crate::support::server::spiffe_client;
use crate::support::unreferenced::is_reference;

/// The reference in the detail of a gRPC error.
fn of_status(status: &Status) -> String {
    status.get_details_error_info().unwrap().metadata["reference"].clone()
}

/// The reference of a denied check, which is in its body, a header and the metadata for the access log.
fn of_denial(response: &CheckResponse) -> String {
    let Some(HttpResponse::DeniedResponse(denied)) = &response.http_response else { panic!("{response:?}") };
    let body: Value = serde_json::from_str(&denied.body).unwrap();
    let reference = body["reference"].as_str().unwrap().to_owned();
    let header = denied.headers.iter().filter_map(|option| option.header.as_ref());
    let header: Vec<&str> =
        header.filter(|header| header.key == "x-lanyard-reference").map(|header| header.value.as_str()).collect();
    assert_eq!(header, [reference.as_str()]);
    assert_eq!(metadata(response, "reference").as_deref(), Some(reference.as_str()));
    reference
}

fn of_headers(headers: &HeaderMap) -> String {
    headers["x-lanyard-reference"].to_str().unwrap().to_owned()
}

async fn explained(server: &TestServer, caller: &Leaf, reference: &str) -> Result<Refusal, Status> {
    let request = ExplainRefusalRequest { reference: reference.to_owned() };
    let answer = ExplanationServiceClient::new(server.channel(caller)).explain_refusal(request).await;
    answer.map(|answer| answer.into_inner().refusal.unwrap())
}

#[tokio::test]
async fn every_refusal_has_a_reference_by_which_an_admin_finds_it() {
    let server = TestServer::start().await;
    server.protect(orders()).await.unwrap();
    let (checkout, proxy) = (server.workload("/checkout").await, server.svid("/proxy"));
    let (thief, admin) = (server.svid("/thief"), server.svid("/admin"));
    let token = server.token(&checkout).await;
    let mut references: Vec<(String, &str)> = Vec::new();

    let allowed = server.validate(&token, certificate_of(&checkout)).await.unwrap();
    assert_eq!(allowed.reference, "");
    let denied = server.validate(&token, certificate_of(&thief)).await.unwrap();
    references.push((denied.reference, "CERTIFICATE_MISMATCH"));
    let refused = server.validate("", certificate_of(&thief)).await.unwrap_err();
    references.push((of_status(&refused), "TOKEN_MISSING"));
    let question = ValidateBindingRequest { evidence: certificate_of(&checkout), ..use_of(&token) };
    let refused = server.bindings(&checkout).validate_binding(question).await.unwrap_err();
    references.push((of_status(&refused), "NOT_A_PROXY"));

    let mut checks = server.checks(&proxy);
    let mut check = async |request: CheckRequest| checks.check(request).await.unwrap().into_inner();
    references.push((of_denial(&check(Asked::with(&token, &thief).message()).await), "CERTIFICATE_MISMATCH"));
    references.push((of_denial(&check(Asked::anonymous().message()).await), "TOKEN_MISSING"));
    references.push((of_denial(&check(CheckRequest::default()).await), "REQUEST_MALFORMED"));
    let allowed = check(Asked::with(&token, &checkout).message()).await;
    assert!(matches!(allowed.http_response, Some(HttpResponse::OkResponse(_))), "{allowed:?}");
    assert_eq!(metadata(&allowed, "reference"), None);
    let denied = server.checks(&checkout).check(Asked::anonymous().message()).await.unwrap().into_inner();
    references.push((of_denial(&denied), "WRONG_ROLE"));

    let refused = server.tokens(&thief).issue_token(IssueTokenRequest::default()).await.unwrap_err();
    references.push((of_status(&refused), "invalid_client"));
    let refused = server.registry(&checkout).list_clients(ListClientsRequest::default()).await.unwrap_err();
    references.push((of_status(&refused), "WRONG_ROLE"));
    for (path, form, reason) in [
        ("/oauth2/token", vec![("grant_type", "client_credentials"), ("client_id", "nobody")], "invalid_client"),
        ("/oauth2/token", vec![("grant_type", "password")], "unsupported_grant_type"),
        ("/oauth2/revoke", vec![("client_id", "spiffe://prod.example/checkout")], "invalid_request"),
    ] {
        let refused = server.send(&checkout, post(path, &form)).await;
        // It is in the body too, or this fails.
        refused.error();
        references.push((of_headers(&refused.headers), reason));
    }
    let refused = server.send(&checkout, post("/lanyard.v1.RegistryService/ListClients", &[])).await;
    assert_eq!(refused.status, 403);
    references.push((of_headers(&refused.headers), "WRONG_ROLE"));

    for (reference, reason) in &references {
        assert!(is_reference(reference), "{reference}");
        let refusal = explained(&server, &admin, reference).await.unwrap();
        assert_eq!((&refusal.reference, refusal.reason.as_str()), (reference, *reason));
        assert!(!refusal.fix.is_empty() && refusal.steps.last().is_some_and(|step| !step.passed), "{refusal:?}");
    }
    let mut distinct: Vec<&String> = references.iter().map(|(reference, _)| reference).collect();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), references.len());
    // Whoever asked finds it as well, and another does not.
    let (reference, _) = &references[7];
    assert_eq!(explained(&server, &thief, reference).await.unwrap().reason, "invalid_client");
    assert_eq!(reason_of(&explained(&server, &checkout, reference).await.unwrap_err()), "REFUSAL_NOT_FOUND");
}

/// What a reference must not tell: the answer itself is the same for both.
#[tokio::test]
async fn a_caller_learns_by_no_reference_whether_a_client_that_it_is_not_is_registered() {
    let server = TestServer::start().await;
    let spiffe_id = "spiffe://prod.example/other".to_owned();
    server.register(Client { client_id: "other".to_owned(), spiffe_id, ..spiffe_client("") }).await.unwrap();
    server.workload("/another").await;
    let (stranger, admin) = (server.svid("/stranger"), server.svid("/admin"));
    let mut told = Vec::new();
    let mut causes = Vec::new();
    for client_id in ["spiffe://prod.example/another", "spiffe://prod.example/nobody", "other", "nobody"] {
        let refused = server.issue_as(&stranger, client_id).await.unwrap_err();
        let reference = of_status(&refused);
        causes.push(explained(&server, &admin, &reference).await.unwrap().cause);
        let own = explained(&server, &stranger, &reference).await.unwrap();
        told.push(Refusal { reference: String::new(), remote: String::new(), ..own });
    }
    assert!(told.iter().all(|one| *one == told[0]), "{told:?}");
    assert!(causes.contains(&"no such client".to_owned()) && causes.iter().any(|cause| cause.contains("certificate")));
}

#[tokio::test]
async fn an_inactive_token_has_no_reference_since_that_would_tell_why() {
    let server = TestServer::start().await;
    let checkout = server.workload("/checkout").await;
    let form = [("client_id", "spiffe://prod.example/checkout"), ("token", "x")];
    let inactive = server.send(&checkout, post("/oauth2/introspect", &form)).await;
    assert_eq!((inactive.status, inactive.body.as_str()), (200, "{\"active\":false}"));
    assert!(!inactive.headers.contains_key("x-lanyard-reference"));
}

#[tokio::test]
async fn a_reference_of_another_replica_is_told_from_one_that_is_not_known() {
    let server = TestServer::start().await;
    let admin = server.svid("/admin");
    let refused = server.validate("", None).await.unwrap_err();
    let own = of_status(&refused);
    let other = format!("{}{}", if own.starts_with('0') { '1' } else { '0' }, &own[1..]);
    assert_eq!(explained(&server, &admin, &own).await.unwrap().reason, "TOKEN_MISSING");
    assert_eq!(reason_of(&explained(&server, &admin, &other).await.unwrap_err()), "OTHER_REPLICA");
    assert_eq!(reason_of(&explained(&server, &admin, "x").await.unwrap_err()), "REFERENCE_MALFORMED");
}
