//! What a proxy reports of its immediate peer, and a header that says something else.

use lanyard::proto::Client;
use lanyard::proto::EvidenceFrom;
use lanyard::proto::ProtectedResource;
use lanyard::proto::UpdateProtectedResourceRequest;
use tokio::net::TcpStream;

use crate::support::ca::self_signed;
use crate::support::calls::opened;
use crate::support::calls::pki_client;
use crate::support::calls::self_signed_client;
use crate::support::calls::spiffe_uri_client;
use crate::support::check::Asked;
use crate::support::check::hex;
use crate::support::check::orders;
use crate::support::check::url_encoded;
use crate::support::http::Http;
use crate::support::leaf::Leaf;
use crate::support::mesh::Mesh;
use crate::support::mesh::get;
use crate::support::mesh::reason;
use crate::support::mesh::with_header;
use crate::support::server::ORDERS;
use crate::support::server::TestServer;
use crate::support::server::spiffe_client;

const CHECKOUT: &str = "spiffe://prod.example/checkout";
const GATEWAY: &str = "spiffe://prod.example/gateway";
const PROXY: &str = "spiffe://prod.example/proxy";
const THIEF: &str = "spiffe://prod.example/thief";

/// A server with the orders resource, which takes its evidence from this source.
async fn server(least: &str, evidence_from: Option<EvidenceFrom>) -> TestServer {
    let server = TestServer::start().await;
    let resource = ProtectedResource { least_evidence: least.to_owned(), evidence_from, ..orders() };
    server.protect(resource).await.unwrap();
    server
}

/// Changes the orders resource.
async fn replace(server: &TestServer, resource: ProtectedResource) {
    let etag = server.server.authority().resource(ORDERS).unwrap().revision.0.to_string();
    let resource = Some(ProtectedResource { etag, ..resource });
    let update = UpdateProtectedResourceRequest { resource, ..UpdateProtectedResourceRequest::default() };
    server.registry(&server.svid("/admin")).update_protected_resource(update).await.unwrap();
}

fn via_gateway() -> EvidenceFrom {
    EvidenceFrom { via: vec![GATEWAY.to_owned()], header: false }
}

fn by_header() -> EvidenceFrom {
    EvidenceFrom { via: Vec::new(), header: true }
}

/// A use of a token at a proxy that reports this principal, and passes this header on.
fn used(token: &str, principal: &str, forwarded: &str) -> Asked {
    let asked = Asked::anonymous().header("authorization", &format!("Bearer {token}")).principal(principal);
    asked.header("x-forwarded-client-cert", forwarded)
}

async fn reason_for(server: &TestServer, asked: Asked) -> String {
    server.check(asked).await.reason().to_owned()
}

/// Where Envoy passes the client's header on, the header is the thief's own text, in the proxy's name.
#[tokio::test]
async fn a_header_in_the_proxy_s_name_opens_nothing_to_another_peer() {
    let server = server("thumbprint", None).await;
    let checkout = server.workload("/checkout").await;
    let token = server.token(&checkout).await;
    let hash = format!("By={PROXY};Hash={}", hex(&checkout));
    let named = format!("{hash};URI={CHECKOUT}");
    let whole = format!("{hash};Cert=\"{}\"", url_encoded(&checkout));
    for (principal, forwarded, reason) in [
        (CHECKOUT, &hash, ""),
        (CHECKOUT, &named, ""),
        (CHECKOUT, &whole, ""),
        (THIEF, &hash, "CERTIFICATE_MISMATCH"),
        ("spiffe://prod.example/checkout/", &hash, "CERTIFICATE_MISMATCH"),
        ("spiffe://prod.example/check", &hash, "CERTIFICATE_MISMATCH"),
        ("spiffe://other.example/checkout", &hash, "CERTIFICATE_MISMATCH"),
        // The principal is a DNS name or the subject only where the certificate has no URI name, so it is no SVID.
        ("thief.prod.example", &hash, "CERTIFICATE_MISMATCH"),
        ("CN=thief", &hash, "CERTIFICATE_MISMATCH"),
        ("https://prod.example/checkout", &hash, "CERTIFICATE_MISMATCH"),
        // Here the header itself contradicts the principal.
        (THIEF, &named, "EVIDENCE_MALFORMED"),
        (THIEF, &whole, "EVIDENCE_MALFORMED"),
        ("CN=thief", &named, "EVIDENCE_MALFORMED"),
        ("thief.prod.example", &whole, "EVIDENCE_MALFORMED"),
        ("thief.prod.example", &format!("By={PROXY};URI={CHECKOUT}"), "EVIDENCE_MALFORMED"),
        // No peer at all: plaintext, where ALWAYS_FORWARD_ONLY passes the header on too.
        ("", &hash, "EVIDENCE_MISSING"),
        ("", &named, "EVIDENCE_MISSING"),
        ("", &whole, "EVIDENCE_MISSING"),
    ] {
        assert_eq!(reason_for(&server, used(&token, principal, forwarded)).await, reason, "{principal}: {forwarded}");
    }
    // The certificate that the proxy reports counts, and not the header beside it.
    let thief = server.workload("/thief").await;
    let mut reported = used(&token, "", &hash);
    reported.source().certificate = url_encoded(&checkout);
    assert_eq!(reason_for(&server, reported.clone()).await, "");
    reported.source().certificate = url_encoded(&thief);
    assert_eq!(reason_for(&server, reported).await, "CERTIFICATE_MISMATCH");
    // A header that cannot be read is malformed, whether it would count or not: here the JSON of newer Envoys.
    for principal in [CHECKOUT, ""] {
        let json = format!("[{{\"By\":[\"{PROXY}\"],\"Hash\":\"{}\"}}]", hex(&checkout));
        assert_eq!(reason_for(&server, used(&token, principal, &json)).await, "EVIDENCE_MALFORMED");
    }
}

#[tokio::test]
async fn via_a_gateway_the_principal_is_compared_with_the_gateways_alone() {
    let server = server("thumbprint", Some(via_gateway())).await;
    let checkout = server.workload("/checkout").await;
    let token = server.token(&checkout).await;
    let first = format!("By={GATEWAY};Hash={}", hex(&checkout));
    let gateway = server.svid("/gateway");
    let hash = format!("{first},By={PROXY};Hash={}", hex(&gateway));
    let named = format!("{hash};URI={GATEWAY}");
    for (principal, forwarded, reason) in [
        (GATEWAY, &hash, ""),
        (GATEWAY, &named, ""),
        // The token's own holder is no gateway.
        (CHECKOUT, &hash, "EVIDENCE_MISSING"),
        (THIEF, &hash, "EVIDENCE_MISSING"),
        ("CN=thief", &hash, "EVIDENCE_MISSING"),
        ("CN=thief", &named, "EVIDENCE_MALFORMED"),
        (THIEF, &named, "EVIDENCE_MALFORMED"),
        ("", &named, "EVIDENCE_MISSING"),
    ] {
        assert_eq!(reason_for(&server, used(&token, principal, forwarded)).await, reason, "{principal}: {forwarded}");
    }
}

/// A waypoint of an ambient mesh reports no principal.
#[tokio::test]
async fn a_header_alone_is_evidence_where_the_resource_says_so() {
    let server = server("spiffe_id", Some(by_header())).await;
    let rotating = Client { rotation: "identity".to_owned(), ..spiffe_client(CHECKOUT) };
    server.register(rotating).await.unwrap();
    let checkout = server.svid("/checkout");
    let token = server.token(&checkout).await;
    let thief = server.workload("/thief").await;
    for (principal, forwarded, reason) in [
        ("", format!("By={PROXY};URI={CHECKOUT}"), ""),
        ("", format!("By={PROXY};Hash={}", hex(&checkout)), ""),
        ("", format!("By={PROXY};URI={THIEF}"), "CERTIFICATE_MISMATCH"),
        ("", format!("By={PROXY};Hash={}", hex(&thief)), "CERTIFICATE_MISMATCH"),
        ("", format!("By={GATEWAY};URI={CHECKOUT}"), "EVIDENCE_MISSING"),
        // What is reported besides the header must still agree.
        (CHECKOUT, format!("By={PROXY};Hash={}", hex(&checkout)), ""),
        (THIEF, format!("By={PROXY};Hash={}", hex(&checkout)), "CERTIFICATE_MISMATCH"),
        (THIEF, format!("By={PROXY};URI={CHECKOUT}"), "EVIDENCE_MALFORMED"),
    ] {
        assert_eq!(reason_for(&server, used(&token, principal, &forwarded)).await, reason, "{principal}: {forwarded}");
    }
    // Without that, the same header is none.
    replace(&server, ProtectedResource { least_evidence: "spiffe_id".to_owned(), ..orders() }).await;
    let asked = used(&token, "", &format!("By={PROXY};URI={CHECKOUT}"));
    assert_eq!(reason_for(&server, asked).await, "EVIDENCE_MISSING");
}

/// Issues a token of a client whose name is not its SPIFFE ID. Returns it with its claim about that.
async fn token_of(server: &TestServer, leaf: &Leaf, client_id: &str) -> (String, Option<String>) {
    let token = server.issue_as(leaf, client_id).await.unwrap().access_token;
    let claim = opened(&token).1["lanyard_spiffe_id"].as_str().map(ToOwned::to_owned);
    (token, claim)
}

#[tokio::test]
async fn the_peer_is_compared_with_the_certificate_whatever_the_client_is_called() {
    let server = server("thumbprint", None).await;
    server.register(spiffe_uri_client("checkout", CHECKOUT)).await.unwrap();
    let by_dns = Client { tls_client_auth_san_dns: "shop.corp.example".to_owned(), ..pki_client("shop") };
    server.register(by_dns).await.unwrap();
    let pinned = self_signed("pinned").issue();
    server.register(self_signed_client("pinned", &pinned.pem())).await.unwrap();
    let svid = server.svid("/checkout");
    let shop = server.setup.corp.client_certificate().dns("shop.corp.example").issue();
    for (leaf, client_id, claim, own, others) in [
        (&svid, "checkout", CHECKOUT, CHECKOUT, vec![THIEF, "CN=thief", "thief.corp.example"]),
        // Of another DNS name or subject nothing is known, so that only a SPIFFE ID contradicts.
        (&shop, "shop", "", "shop.corp.example", vec![THIEF, CHECKOUT]),
        (&pinned, "pinned", "", "CN=pinned", vec![THIEF, CHECKOUT]),
    ] {
        let (token, claimed) = token_of(&server, leaf, client_id).await;
        assert_eq!(claimed.as_deref(), Some(claim), "{client_id}");
        let hash = format!("By={PROXY};Hash={}", hex(leaf));
        assert_eq!(reason_for(&server, used(&token, own, &hash)).await, "", "{client_id}");
        for other in others {
            let reason = reason_for(&server, used(&token, other, &hash)).await;
            assert_eq!(reason, "CERTIFICATE_MISMATCH", "{client_id}: {other}");
        }
    }
    // A SPIFFE client's name says it already.
    let cart = server.workload("/cart").await;
    let claims = opened(&server.token(&cart).await).1;
    assert!(claims["client_id"] == "spiffe://prod.example/cart" && claims.get("lanyard_spiffe_id").is_none());
}

/// A shipped Envoy that passes on what clients write, and reports no certificate.
fn passing_on(mode: &str) -> Vec<(&'static str, String)> {
    vec![
        ("include_peer_certificate: true", "include_peer_certificate: false".to_owned()),
        ("forward_client_cert_details: SANITIZE_SET", format!("forward_client_cert_details: {mode}")),
    ]
}

#[tokio::test]
async fn an_envoy_that_passes_the_client_s_header_on_opens_nothing_to_a_thief() {
    for mode in ["FORWARD_ONLY", "ALWAYS_FORWARD_ONLY"] {
        let Some(mesh) = Mesh::start(passing_on(mode), |_| {}).await else { return };
        let forged = format!("By={PROXY};Hash={}", hex(&mesh.checkout));
        let request = || with_header(get("/orders/1", &mesh.token), "x-forwarded-client-cert", &forged);
        let stolen = mesh.send(&mesh.thief, request()).await;
        assert_eq!((stolen.status, reason(&stolen)), (401, "CERTIFICATE_MISMATCH".to_owned()), "{mode}");
        let named = format!("{forged};URI={CHECKOUT}");
        let stolen = with_header(get("/orders/1", &mesh.token), "x-forwarded-client-cert", &named);
        let stolen = mesh.send(&mesh.thief, stolen).await;
        assert_eq!((stolen.status, reason(&stolen)), (400, "EVIDENCE_MALFORMED".to_owned()), "{mode}");
        // The rightful client, whose word agrees with the connection.
        let rightful = mesh.send(&mesh.checkout, request()).await;
        assert_eq!((rightful.status, reason(&rightful)), (200, String::new()), "{mode}");
        assert_eq!(mesh.upstream.reached(), 1);
    }
}

/// The JSON format of newer Envoys is another language in the same header. In the text format the same goes through.
#[tokio::test]
async fn an_envoy_that_writes_the_header_as_json_is_refused() {
    for (format, expected) in [("JSON", (400, "EVIDENCE_MALFORMED")), ("TEXT", (200, ""))] {
        let details = "set_current_client_cert_details: {cert: true, uri: true";
        let mut changes = passing_on("SANITIZE_SET");
        changes.push((details, format!("{details}, format: {format}")));
        let Some(mesh) = Mesh::start(changes, |_| {}).await else { return };
        let reply = mesh.legitimate().await;
        assert_eq!((reply.status, reason(&reply).as_str()), expected, "{format}");
    }
}

/// Without TLS there is no peer to report, and `ALWAYS_FORWARD_ONLY` passes the header on all the same.
#[tokio::test]
async fn an_envoy_without_tls_that_passes_a_header_on_opens_nothing() {
    let mut changes = passing_on("ALWAYS_FORWARD_ONLY");
    // The TLS settings become metadata, which has no effect.
    changes.push((
        "- transport_socket:\n        name: envoy.transport_sockets.tls\n        typed_config:",
        "- metadata:\n        filter_metadata:\n         unused:".to_owned(),
    ));
    let Some(mesh) = Mesh::start(changes, |_| {}).await else { return };
    let forged = format!("By={PROXY};Hash={}", hex(&mesh.checkout));
    let request = || with_header(get("/orders/1", &mesh.token), "x-forwarded-client-cert", &forged);
    let mut client = Http::two(TcpStream::connect(mesh.envoy.address).await.unwrap()).await;
    let stolen = client.send(request()).await;
    assert_eq!((stolen.status, reason(&stolen)), (401, "EVIDENCE_MISSING".to_owned()));
    // A resource that takes the header alone relies on the proxy, which must not be this one.
    replace(&mesh.server, ProtectedResource { evidence_from: Some(by_header()), ..orders() }).await;
    let believed = client.send(request()).await;
    assert_eq!((believed.status, reason(&believed)), (200, String::new()));
}
