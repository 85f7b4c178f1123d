//! What a proxy on this machine writes into `x-forwarded-client-cert` counts where the configuration says as whom it writes.

use lanyard::proto::Decision;
use lanyard::proto::DenyReason;
use lanyard::proto::ValidateBindingRequest;
use lanyard::proto::validate_binding_request::Evidence;
use serde_json::Value;

use crate::support::calls::use_of;
use crate::support::check::Asked;
use crate::support::check::answer;
use crate::support::check::hex;
use crate::support::check::orders;
use crate::support::local::listen_locally;
use crate::support::server::TestServer;
use crate::support::terminator::own_uid;

#[tokio::test]
async fn a_header_is_evidence_only_in_the_name_that_the_configuration_gives_its_writer() {
    for (written_as, allowed) in [(Some("/proxy"), true), (Some("/other"), false), (None, false)] {
        let server = TestServer::started(|setup| {
            let id = written_as.map(|path| format!(", spiffe_id: spiffe://prod.example{path}"));
            listen_locally(setup, &format!("resources: ['*']{}", id.unwrap_or_default()));
        })
        .await;
        server.protect(orders()).await.unwrap();
        let checkout = server.workload("/checkout").await;
        let token = server.token(&checkout).await;
        let header = format!("By=spiffe://prod.example/proxy;Hash={};Subject=\"\"", hex(&checkout));
        let evidence = Some(Evidence::ForwardedClientCert(header.clone()));
        let question = ValidateBindingRequest { evidence, ..use_of(&token) };
        let decided = server.local_bindings().validate_binding(question).await.unwrap().into_inner();
        assert_eq!(decided.decision() == Decision::Allow, allowed, "{written_as:?}: {decided:?}");
        if !allowed {
            assert_eq!(decided.reason(), DenyReason::EvidenceMissing);
        }
        let asked = Asked::anonymous()
            .header("authorization", &format!("Bearer {token}"))
            .header("x-forwarded-client-cert", &header)
            .principal("spiffe://prod.example/checkout");
        let checked = answer(server.local_checks().check(asked.message()).await.unwrap().get_ref());
        // What the proxy reports beside the header names no certificate.
        let reason = if allowed { "" } else { "EVIDENCE_TOO_WEAK" };
        assert_eq!(checked.reason(), reason, "{written_as:?}: {checked:?}");
    }
}

#[tokio::test]
async fn refusals_name_the_user_and_no_name_of_the_clients() {
    let server = TestServer::with_local_proxy().await;
    server.protect(orders()).await.unwrap();
    let (checkout, thief) = (server.workload("/checkout").await, server.workload("/thief").await);
    let token = server.token(&checkout).await;
    let asked = Asked::with(&token, &thief).header("x-lanyard-subject", "spiffe://prod.example/admin");
    let denied = server.local_checks().check(asked.message()).await.unwrap().into_inner();
    assert_eq!(answer(&denied).reason(), "CERTIFICATE_MISMATCH");
    let Some(lanyard::proto::envoy::service::auth::v3::check_response::HttpResponse::DeniedResponse(denied)) =
        denied.http_response
    else {
        panic!("not denied")
    };
    let body: Value = serde_json::from_str(&denied.body).unwrap();
    let mut explanations = lanyard::proto::explanation_service_client::ExplanationServiceClient::new(
        server.channel(&server.svid("/admin")),
    );
    let reference = body["reference"].as_str().unwrap().to_owned();
    let request = lanyard::proto::ExplainRefusalRequest { reference };
    let explained = explanations.explain_refusal(request).await.unwrap().into_inner();
    let sender = format!("uid:{}", own_uid(&server.setup));
    assert!(format!("{explained:?}").contains(&format!("\"{sender}\"")), "{explained:?}");
}
