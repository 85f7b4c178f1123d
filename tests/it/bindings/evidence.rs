//! What callers of `ValidateBinding` may bring as evidence of a certificate, in which forms, and for which resources.

use lanyard::proto::Client;
use lanyard::proto::Decision;
use lanyard::proto::DenyReason;
use lanyard::proto::EvidenceGrade;
use lanyard::proto::Match;
use lanyard::proto::ValidateBindingRequest;
use lanyard::proto::ValidateBindingResponse;
use lanyard::proto::validate_binding_request::Evidence;
use tonic::Code;

use crate::support::ca::self_signed;
use crate::support::calls::refusal;
use crate::support::calls::self_signed_client;
use crate::support::calls::use_of;
use crate::support::check::hex;
use crate::support::check::url_encoded;
use crate::support::leaf::Leaf;
use crate::support::server::ORDERS;
use crate::support::server::Setup;
use crate::support::server::TestServer;
use crate::support::server::certificate_of;
use crate::support::server::spiffe_client;

const BILLING: &str = "https://billing.prod.example";

#[expect(clippy::unnecessary_wraps, reason = "this is what a request takes")]
fn forwarded(header: &str) -> Option<Evidence> {
    Some(Evidence::ForwardedClientCert(header.to_owned()))
}

/// A question with evidence, about the orders resource.
fn with(token: &str, evidence: Option<Evidence>) -> ValidateBindingRequest {
    ValidateBindingRequest { evidence, ..use_of(token) }
}

fn at(audience: &str, request: ValidateBindingRequest) -> ValidateBindingRequest {
    ValidateBindingRequest { audience: audience.to_owned(), ..request }
}

/// Every form in which evidence of a certificate can be presented, with its grade.
fn every_form(leaf: &Leaf, spiffe_id: &str) -> Vec<(Option<Evidence>, EvidenceGrade)> {
    let (hash, cert) = (hex(leaf), url_encoded(leaf));
    let (thumbprint, certificate) = (EvidenceGrade::Thumbprint, EvidenceGrade::Certificate);
    vec![
        (certificate_of(leaf), certificate),
        (Some(Evidence::CertificateThumbprint(leaf.thumbprint().as_bytes().to_vec())), thumbprint),
        (forwarded(&format!("By=spiffe://prod.example/proxy;Hash={hash}")), thumbprint),
        (forwarded(&format!("by=spiffe://prod.example/proxy;hash={}", hash.to_uppercase())), thumbprint),
        // All that an Istio sidecar sends by default.
        (forwarded(&format!("By=spiffe://prod.example/proxy;Hash={hash};Subject=\"\";URI={spiffe_id}")), thumbprint),
        (forwarded(&format!("By=spiffe://prod.example/proxy;Cert=\"{cert}\"")), certificate),
        (
            forwarded(&format!(
                "By=spiffe://prod.example/proxy;Hash={hash};Cert=\"{cert}\";Subject=\"\";URI={spiffe_id}"
            )),
            certificate,
        ),
        // What an earlier hop said is ignored.
        (forwarded(&format!("Hash={},By=spiffe://prod.example/proxy;Hash={hash}", "0".repeat(64))), thumbprint),
    ]
}

#[tokio::test]
async fn evidence_of_the_bound_certificate_is_allowed_in_every_form_and_of_another_denied() {
    let server = TestServer::start().await;
    let checkout = server.workload("/checkout").await;
    let token = server.token(&checkout).await;
    let thief = server.workload("/thief").await;
    let mut proxy = server.bindings(&server.svid("/proxy"));
    for (evidence, grade) in every_form(&checkout, "spiffe://prod.example/checkout") {
        let answer = proxy.validate_binding(with(&token, evidence.clone())).await.unwrap().into_inner();
        assert_eq!(answer.decision(), Decision::Allow, "{evidence:?}");
        assert_eq!((answer.r#match(), answer.evidence_grade()), (Match::Exact, grade), "{evidence:?}");
    }
    for (evidence, grade) in every_form(&thief, "spiffe://prod.example/thief") {
        let answer = proxy.validate_binding(with(&token, evidence.clone())).await.unwrap().into_inner();
        assert_eq!(answer.reason(), DenyReason::CertificateMismatch, "{evidence:?}");
        assert_eq!((answer.r#match(), answer.evidence_grade()), (Match::Unspecified, grade), "{evidence:?}");
    }
}

#[tokio::test]
async fn of_several_forwarded_elements_only_the_last_counts() {
    let server = TestServer::start().await;
    let checkout = server.workload("/checkout").await;
    let token = server.token(&checkout).await;
    let (own, other) = (hex(&checkout), hex(&server.svid("/thief")));
    for (header, reason) in [
        (format!("Hash={other},By=spiffe://prod.example/proxy;Hash={own}"), DenyReason::Unspecified),
        (format!("Hash={own},By=spiffe://prod.example/proxy;Hash={other}"), DenyReason::CertificateMismatch),
        (format!("Hash={own},By=spiffe://prod.example/proxy"), DenyReason::EvidenceMissing),
    ] {
        assert_eq!(server.validate(&token, forwarded(&header)).await.unwrap().reason(), reason, "{header}");
    }
}

// What the caller's own proxy did not write proves nothing, though it names the very certificate
#[tokio::test]
async fn an_element_that_the_caller_did_not_write_is_no_evidence() {
    let server = TestServer::start().await;
    let checkout = server.workload("/checkout").await;
    let (token, hash) = (server.token(&checkout).await, hex(&checkout));
    let own = "By=spiffe://prod.example/proxy";
    for (header, reason) in [
        (format!("{own};Hash={hash}"), DenyReason::Unspecified),
        (format!("by=spiffe://prod.example/proxy;hash={hash}"), DenyReason::Unspecified),
        (format!("Hash={hash}"), DenyReason::EvidenceMissing),
        (format!("By=;Hash={hash}"), DenyReason::EvidenceMissing),
        (format!("By=spiffe://prod.example/orders-proxy;Hash={hash}"), DenyReason::EvidenceMissing),
        (format!("By=spiffe://prod.example/proxy/;Hash={hash}"), DenyReason::EvidenceMissing),
        (format!("By=SPIFFE://prod.example/proxy;Hash={hash}"), DenyReason::EvidenceMissing),
        (format!("{own};By=spiffe://prod.example/orders-proxy;Hash={hash}"), DenyReason::EvidenceMissing),
        (format!("{own};Hash={hash},By=spiffe://prod.example/orders-proxy;Hash={hash}"), DenyReason::EvidenceMissing),
    ] {
        assert_eq!(server.validate(&token, forwarded(&header)).await.unwrap().reason(), reason, "{header}");
    }
}

#[tokio::test]
async fn a_spiffe_id_alone_is_too_weak_even_if_it_is_the_right_one() {
    let server = TestServer::start().await;
    let checkout = server.workload("/checkout").await;
    let token = server.token(&checkout).await;
    for evidence in [
        Some(Evidence::SpiffeId("spiffe://prod.example/checkout".to_owned())),
        forwarded("By=spiffe://prod.example/proxy;URI=spiffe://prod.example/checkout"),
        Some(Evidence::SpiffeId("spiffe://prod.example/thief".to_owned())),
    ] {
        let answer = server.validate(&token, evidence).await.unwrap();
        assert_eq!(answer.reason(), DenyReason::EvidenceTooWeak);
        assert_eq!(answer.evidence_grade(), EvidenceGrade::SpiffeId);
    }
}

#[tokio::test]
async fn a_proxy_that_brings_nothing_is_never_evaluated_by_its_own_connection() {
    let server = TestServer::start().await;
    // As in a sidecar mesh, where the proxy holds its workload's certificate.
    let sidecar = server.workload("/proxy").await;
    let token = server.token(&sidecar).await;
    for nothing in [
        None,
        Some(Evidence::OwnConnection(false)),
        forwarded(""),
        forwarded("By=spiffe://prod.example/proxy"),
        forwarded("By=spiffe://prod.example/proxy;URI="),
        forwarded("By=spiffe://prod.example/proxy;Subject=\"CN=checkout\""),
        forwarded("By=spiffe://prod.example/proxy;DNS=checkout.prod.example"),
    ] {
        let answer = server.ask(&sidecar, with(&token, nothing.clone())).await.unwrap();
        assert_eq!(answer.decision(), Decision::Deny, "{nothing:?}");
        assert_eq!(answer.reason(), DenyReason::EvidenceMissing, "{nothing:?}");
        assert_eq!(answer.evidence_grade(), EvidenceGrade::Unspecified, "{nothing:?}");
    }
    let own = server.ask(&sidecar, with(&token, Some(Evidence::OwnConnection(true)))).await.unwrap();
    assert_eq!((own.decision(), own.evidence_grade()), (Decision::Allow, EvidenceGrade::Certificate));
}

#[tokio::test]
async fn a_workload_is_evaluated_by_its_own_connection_whether_it_says_so_or_nothing() {
    let server = TestServer::start().await;
    let checkout = server.workload("/checkout").await;
    let thief = server.workload("/thief").await;
    let token = server.token(&checkout).await;
    for nothing in [None, Some(Evidence::OwnConnection(true)), Some(Evidence::OwnConnection(false))] {
        let own = server.ask(&checkout, with(&token, nothing.clone())).await.unwrap();
        assert_eq!((own.decision(), own.r#match()), (Decision::Allow, Match::Exact), "{nothing:?}");
        assert_eq!(own.evidence_grade(), EvidenceGrade::Certificate);
        let stolen = server.ask(&thief, with(&token, nothing)).await.unwrap();
        assert_eq!(stolen.reason(), DenyReason::CertificateMismatch);
    }
}

#[tokio::test]
async fn only_a_proxy_may_bring_evidence_and_be_it_of_its_own_certificate() {
    let server = TestServer::start().await;
    let checkout = server.workload("/checkout").await;
    let token = server.token(&checkout).await;
    let refused = (Code::PermissionDenied, "NOT_A_PROXY".to_owned());
    let forms = every_form(&checkout, "spiffe://prod.example/checkout").into_iter().map(|(evidence, _)| evidence);
    let weak = Some(Evidence::SpiffeId("spiffe://prod.example/checkout".to_owned()));
    for evidence in forms.chain([weak, forwarded("By=spiffe://prod.example/proxy")]) {
        for caller in [&checkout, &server.svid("/thief"), &server.svid("/admin"), &server.svid("/proxy/x")] {
            let outcome = server.ask(caller, with(&token, evidence.clone())).await;
            assert_eq!(refusal(outcome), refused, "{evidence:?}");
        }
    }
}

#[tokio::test]
async fn evidence_that_cannot_be_read_is_refused_and_nothing_guessed_from_it() {
    let server = TestServer::start().await;
    let checkout = server.workload("/checkout").await;
    let token = server.token(&checkout).await;
    let der = checkout.certificate().to_vec();
    let (hash, cert) = (hex(&checkout), url_encoded(&checkout));
    let certificate = |bytes: Vec<u8>| Some(Evidence::Certificate(bytes));
    let thumbprint = |bytes: &[u8]| Some(Evidence::CertificateThumbprint(bytes.to_vec()));
    let spiffe_id = |text: &str| Some(Evidence::SpiffeId(text.to_owned()));
    let digest = *checkout.thumbprint().as_bytes();
    let own = |rest: &str| forwarded(&format!("By=spiffe://prod.example/proxy;{rest}"));
    let unreadable = [
        certificate(Vec::new()),
        certificate(der[..der.len() - 1].to_vec()),
        certificate([der.clone(), vec![0]].concat()),
        certificate([der.clone(), der].concat()),
        certificate(checkout.pem().into_bytes()),
        certificate(vec![0x30; 17 * 1024]),
        thumbprint(&[]),
        thumbprint(&digest[..31]),
        thumbprint(&[digest.as_slice(), &[0]].concat()),
        thumbprint(checkout.thumbprint().to_string().as_bytes()),
        thumbprint(hash.as_bytes()),
        spiffe_id(""),
        spiffe_id("prod.example/checkout"),
        spiffe_id("SPIFFE://prod.example/checkout"),
        spiffe_id("spiffe://prod.example/checkout/"),
        spiffe_id("spiffe://prod.example//checkout"),
        forwarded("Hash="),
        forwarded(&hash),
        forwarded(&format!("Hash={}", &hash[..62])),
        forwarded(&format!("Hash={hash};Hash={hash}")),
        forwarded(&format!("Hash={hash},")),
        forwarded(&format!("Hash={hash};Fingerprint={hash}")),
        forwarded(&format!("Hash={};Cert=\"{cert}\"", "0".repeat(64))),
        own(&format!("Cert=\"{cert}\";URI=spiffe://prod.example/thief")),
        forwarded(&format!("URI=spiffe://prod.example/checkout;Hash={hash}")),
        own("URI=spiffe://prod.example/checkout;URI=spiffe://prod.example/thief"),
        own("URI=https://prod.example/checkout"),
        forwarded(&format!("Cert=\"{}\"", &cert[..cert.len() / 2])),
    ];
    let mut proxy = server.bindings(&server.svid("/proxy"));
    for evidence in unreadable {
        let outcome = proxy.validate_binding(with(&token, evidence.clone())).await;
        assert_eq!(refusal(outcome), (Code::InvalidArgument, "EVIDENCE_MALFORMED".to_owned()), "{evidence:?}");
    }
}

#[tokio::test]
async fn a_proxy_may_ask_about_the_resources_that_it_fronts_and_no_other() {
    let server = TestServer::start().await;
    let client = Client {
        audience: vec![ORDERS.to_owned(), BILLING.to_owned()],
        ..spiffe_client("spiffe://prod.example/checkout")
    };
    server.register(client).await.unwrap();
    let checkout = server.svid("/checkout");
    let token = server.token(&checkout).await;
    let question = with(&token, certificate_of(&checkout));
    let federated = server.setup.other_ca.svid("spiffe://other.example/proxy").issue();
    for (proxy, audience, fronted) in [
        (server.svid("/proxy"), ORDERS, true),
        (server.svid("/proxy"), BILLING, true),
        (server.svid("/orders-proxy"), ORDERS, true),
        (server.svid("/orders-proxy"), BILLING, false),
        (server.svid("/orders-proxy"), "https://orders.prod.example/", false),
        (server.svid("/orders-proxy"), "https://ORDERS.prod.example", false),
        (federated.clone(), ORDERS, true),
        (federated, BILLING, false),
    ] {
        let outcome = server.ask(&proxy, at(audience, question.clone())).await;
        if fronted {
            assert_eq!(outcome.unwrap().decision(), Decision::Allow, "{audience}");
        } else {
            assert_eq!(refusal(outcome), (Code::PermissionDenied, "FOREIGN_RESOURCE".to_owned()), "{audience}");
        }
    }
    // A foreign resource is refused before the token is looked at.
    let outcome = server.ask(&server.svid("/orders-proxy"), at(BILLING, use_of("garbage"))).await;
    assert_eq!(refusal(outcome), (Code::PermissionDenied, "FOREIGN_RESOURCE".to_owned()));
}

#[tokio::test]
async fn the_audience_follows_only_from_a_proxy_that_fronts_exactly_one_resource() {
    let server = TestServer::start().await;
    let checkout = server.workload("/checkout").await;
    let token = server.token(&checkout).await;
    let question = at("", with(&token, certificate_of(&checkout)));
    let tied = server.ask(&server.svid("/orders-proxy"), question.clone()).await.unwrap();
    assert_eq!(tied.decision(), Decision::Allow);
    let elsewhere = Client { audience: vec![BILLING.to_owned()], ..spiffe_client("spiffe://prod.example/cart") };
    server.register(elsewhere).await.unwrap();
    let cart = server.svid("/cart");
    let for_billing = with(&server.token(&cart).await, certificate_of(&cart));
    let tied = server.ask(&server.svid("/orders-proxy"), at("", for_billing)).await.unwrap();
    assert_eq!(tied.reason(), DenyReason::WrongAudience);

    let missing = (Code::InvalidArgument, "AUDIENCE_MISSING".to_owned());
    let of_two = server.setup.other_ca.svid("spiffe://other.example/proxy").issue();
    for proxy in [server.svid("/proxy"), of_two] {
        assert_eq!(refusal(server.ask(&proxy, question.clone()).await), missing);
    }
    let own = ValidateBindingRequest { evidence: None, ..question };
    assert_eq!(refusal(server.ask(&checkout, own).await), missing);
}

#[tokio::test]
async fn a_proxy_is_one_by_exact_id_by_pattern_or_by_thumbprint_and_its_neighbour_is_none() {
    let (named, neighbour) = (self_signed("proxy").issue(), self_signed("proxy").issue());
    let setup = Setup {
        roles: format!(
            "{{admins: [{{spiffe_id: spiffe://prod.example/admin}}], proxies: [\
             {{spiffe_id: 'spiffe://prod.example/gateways/*', resources: ['{ORDERS}']}}, \
             {{certificate_thumbprint: '{}', resources: ['*']}}]}}",
            named.thumbprint()
        ),
        ..Setup::default()
    };
    setup.write();
    let server = setup.start().await.unwrap();
    let checkout = server.workload("/checkout").await;
    let question = with(&server.token(&checkout).await, certificate_of(&checkout));
    // Accepted because of its registration, it is a workload only.
    server.register(self_signed_client("neighbour", &neighbour.pem())).await.unwrap();
    let allowed = |answer: Result<ValidateBindingResponse, _>| answer.map(|answer| answer.decision());
    for proxy in [server.svid("/gateways/a"), server.svid("/gateways/a/b"), named] {
        assert_eq!(allowed(server.ask(&proxy, question.clone()).await).unwrap(), Decision::Allow);
    }
    let foreign = server.setup.other_ca.svid("spiffe://other.example/gateways/a").issue();
    for peer in [server.svid("/gateways"), server.svid("/gateways2/a"), foreign, neighbour] {
        let outcome = server.ask(&peer, question.clone()).await;
        assert_eq!(refusal(outcome), (Code::PermissionDenied, "NOT_A_PROXY".to_owned()));
    }
}

#[tokio::test]
async fn of_all_pairs_of_certificate_and_token_only_those_that_match_are_allowed() {
    const CLIENTS: usize = 40;
    let server = TestServer::start().await;
    let mut registry = server.registry(&server.svid("/admin"));
    let mut holders = Vec::new();
    for number in 0..CLIENTS {
        let id = format!("spiffe://prod.example/w/{number}");
        let request = lanyard::proto::CreateClientRequest { client: Some(spiffe_client(&id)), ..Default::default() };
        registry.create_client(request).await.unwrap();
        let leaf = server.svid(&format!("/w/{number}"));
        let token = server.token(&leaf).await;
        holders.push((leaf, token));
    }
    let proxy = server.bindings(&server.svid("/proxy"));
    let mut asked = tokio::task::JoinSet::new();
    for (row, (leaf, _)) in holders.iter().enumerate() {
        let mut proxy = proxy.clone();
        let questions: Vec<_> = holders.iter().map(|(_, token)| with(token, certificate_of(leaf))).collect();
        asked.spawn(async move {
            let mut allowed = Vec::new();
            for (column, question) in questions.into_iter().enumerate() {
                let answer = proxy.validate_binding(question).await.unwrap().into_inner();
                match answer.decision() {
                    Decision::Allow => allowed.push(column),
                    Decision::Deny => assert_eq!(answer.reason(), DenyReason::CertificateMismatch),
                    Decision::Unspecified => panic!("no decision"),
                }
            }
            (row, allowed)
        });
    }
    let rows = asked.join_all().await;
    assert_eq!(rows.len(), CLIENTS);
    for (row, allowed) in rows {
        assert_eq!(allowed, [row]);
    }
}
