//! The same for what a resource demands: Envoy's check of a request says what `ValidateBinding` says of the scopes of its
//! route, whatever the evidence, the least evidence and the trust domains; introspection says it of the token alone.

use lanyard::proto::Client;
use lanyard::proto::Decision;
use lanyard::proto::IntrospectTokenRequest;
use lanyard::proto::IssueTokenRequest;
use lanyard::proto::ProtectedResource;
use lanyard::proto::ValidateBindingRequest;
use lanyard::proto::ValidateBindingResponse;
use lanyard::proto::validate_binding_request::Evidence;

use crate::support::check::Asked;
use crate::support::check::answer;
use crate::support::check::hex;
use crate::support::check::orders;
use crate::support::leaf::Leaf;
use crate::support::server::ORDERS;
use crate::support::server::TestServer;
use crate::support::server::spiffe_client;

/// A request, and the scopes of its route.
const REQUESTS: [(&str, &str, &str); 4] = [
    ("GET", "/orders/1", "orders.read"),
    ("POST", "/orders", "orders.write"),
    ("PUT", "/admin/a/b", "orders.admin"),
    ("GET", "/whoami", ""),
];

/// Without the reference, which differs from answer to answer.
fn unreferenced(answer: ValidateBindingResponse) -> ValidateBindingResponse {
    ValidateBindingResponse { reference: String::new(), ..answer }
}

/// One piece of evidence, as each of the two voices brings it.
struct Presented {
    name: &'static str,
    asked: Asked,
    evidence: Option<Evidence>,
}

fn presented(leaf: &Leaf, id: &str) -> Vec<Presented> {
    let thumbprint = leaf.thumbprint();
    let hash = hex(leaf);
    let header = format!("By=spiffe://prod.example/proxy;Hash={hash};Subject=\"\"");
    let anonymous = Asked::anonymous;
    vec![
        Presented {
            name: "certificate",
            asked: anonymous().certificate(leaf),
            evidence: Some(Evidence::Certificate(leaf.certificate().to_vec())),
        },
        Presented {
            name: "thumbprint",
            asked: anonymous().principal(id).header("x-forwarded-client-cert", &header),
            evidence: Some(Evidence::CertificateThumbprint(thumbprint.as_bytes().to_vec())),
        },
        Presented {
            name: "header",
            asked: anonymous().principal(id).header("x-forwarded-client-cert", &header),
            evidence: Some(Evidence::ForwardedClientCert(header)),
        },
        Presented {
            name: "SPIFFE ID",
            asked: anonymous().principal(id),
            evidence: Some(Evidence::SpiffeId(id.to_owned())),
        },
        Presented { name: "nothing", asked: anonymous(), evidence: None },
    ]
}

#[tokio::test]
async fn check_and_validate_binding_agree_about_every_route_evidence_and_demand() {
    let server = TestServer::with_local_proxy().await;
    let admin = Client { scope: "orders.read orders.admin".to_owned(), ..spiffe_client("spiffe://prod.example/lead") };
    server.register(admin).await.unwrap();
    let (checkout, thief, lead) =
        (server.workload("/checkout").await, server.workload("/thief").await, server.svid("/lead"));
    let mut tokens = vec![server.token(&lead).await];
    for scope in ["", "orders.read", "orders.write"] {
        let request = IssueTokenRequest { scope: scope.to_owned(), ..IssueTokenRequest::default() };
        tokens.push(server.tokens(&checkout).issue_token(request).await.unwrap().into_inner().access_token);
    }
    let holders = [
        (&checkout, "spiffe://prod.example/checkout"),
        (&thief, "spiffe://prod.example/thief"),
        (&lead, "spiffe://prod.example/lead"),
    ];
    let proxy = server.svid("/proxy");
    let (mut checks, mut bindings) = (server.checks(&proxy), server.bindings(&proxy));
    let (mut local_checks, mut local_bindings) = (server.local_checks(), server.local_bindings());
    let mut introspection = server.tokens(&proxy);
    let mut registered = server.protect(orders()).await.unwrap();
    let (mut allowed, mut denied) = (0, 0);
    for least in ["spiffe_id", "thumbprint", "certificate"] {
        for trust_domain in [None, Some("prod.example"), Some("other.example")] {
            let resource = ProtectedResource {
                least_evidence: least.to_owned(),
                trust_domains: trust_domain.into_iter().map(ToOwned::to_owned).collect(),
                etag: registered.etag.clone(),
                ..orders()
            };
            let request = lanyard::proto::UpdateProtectedResourceRequest {
                resource: Some(resource),
                ..lanyard::proto::UpdateProtectedResourceRequest::default()
            };
            let updated = server.registry(&server.svid("/admin")).update_protected_resource(request).await;
            registered = updated.unwrap().into_inner();
            for token in &tokens {
                let mut any = false;
                for (leaf, id) in holders {
                    for Presented { name, asked, evidence } in presented(leaf, id) {
                        for (method, path, scope) in REQUESTS {
                            let asked =
                                asked.clone().to(method, path).header("authorization", &format!("Bearer {token}"));
                            let message = asked.message();
                            let checked = answer(checks.check(message.clone()).await.unwrap().get_ref());
                            let local = answer(local_checks.check(message).await.unwrap().get_ref());
                            assert_eq!(local, checked, "{least} {trust_domain:?} {id} {name} {method} {path}");
                            let request = ValidateBindingRequest {
                                access_token: token.clone(),
                                evidence: evidence.clone(),
                                audience: ORDERS.to_owned(),
                                scope: scope.to_owned(),
                                receipt: false,
                            };
                            let evaluated = bindings.validate_binding(request.clone()).await.unwrap().into_inner();
                            let local = local_bindings.validate_binding(request).await.unwrap().into_inner();
                            assert_eq!(unreferenced(local), unreferenced(evaluated.clone()), "{id} {name} {path}");
                            let reason = evaluated.reason().as_str_name().strip_prefix("DENY_REASON_").unwrap();
                            let reason = if evaluated.decision() == Decision::Allow { "" } else { reason };
                            assert_eq!(
                                checked.reason(),
                                reason,
                                "{least} {trust_domain:?} {id} {name} {method} {path}"
                            );
                            any |= name == "certificate" && scope.is_empty() && reason.is_empty();
                            if reason.is_empty() { allowed += 1 } else { denied += 1 }
                        }
                    }
                }
                let request =
                    IntrospectTokenRequest { token: token.clone(), client_id: String::new(), ..Default::default() };
                let active = introspection.introspect_token(request).await.unwrap().into_inner().active;
                assert_eq!(active, any, "{least} {trust_domain:?}");
            }
        }
    }
    // A table that denied everything would agree too. The tokens open 3, 3, 2 and 2 of the routes; of the five kinds of
    // evidence 3, 3 and 1 are enough; and two of the three demands on the trust domain are met.
    assert_eq!((allowed, allowed + denied), (10 * 7 * 2, 3 * 3 * 4 * 3 * 5 * 4));
}
