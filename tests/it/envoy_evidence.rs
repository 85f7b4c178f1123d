//! What each kind of mesh can show of a certificate, as a real Envoy shows it; and two Envoys in a row.

use axum::body::Body;
use axum::http::Request;
use lanyard::proto::EvidenceFrom;
use lanyard::proto::ProtectedResource;

use crate::support::check::orders;
use crate::support::envoy::EnvoySetup;
use crate::support::http::Http;
use crate::support::http::Reply;
use crate::support::leaf::Leaf;
use crate::support::mesh::Mesh;
use crate::support::mesh::get;
use crate::support::mesh::proxy;
use crate::support::mesh::reason;
use crate::support::mesh::server_at_real_time;
use crate::support::mesh::with_header;
use crate::support::server::TestServer;
use crate::support::server::connect;
use crate::support::upstream::Upstream;

/// Nothing but what the header says.
fn without_peer_certificate() -> (&'static str, String) {
    ("include_peer_certificate: true", "include_peer_certificate: false".to_owned())
}

/// All that an Istio sidecar says by default.
fn hash_only() -> Vec<(&'static str, String)> {
    let details = "set_current_client_cert_details: {cert: true, uri: true}";
    vec![without_peer_certificate(), (details, "set_current_client_cert_details: {uri: true}".to_owned())]
}

fn certificate_in_the_header() -> Vec<(&'static str, String)> {
    vec![without_peer_certificate()]
}

/// No header at all: what is left is `source.principal`.
fn principal_only() -> Vec<(&'static str, String)> {
    let header = "forward_client_cert_details: SANITIZE_SET";
    vec![without_peer_certificate(), (header, "forward_client_cert_details: SANITIZE".to_owned())]
}

#[tokio::test]
async fn each_grade_of_evidence_is_allowed_and_refused_by_the_least_grade_of_the_resource() {
    let weak = "EVIDENCE_TOO_WEAK";
    for (name, changes, by_least) in [
        ("source.certificate", Vec::new(), ["", "", ""]),
        ("Cert in the header", certificate_in_the_header(), ["", "", ""]),
        ("Hash in the header", hash_only(), [weak, "", ""]),
        ("the principal", principal_only(), [weak, weak, "ROTATION_STRICT"]),
    ] {
        let Some(mesh) = Mesh::start(changes, |_| {}).await else { return };
        let mut etag = mesh.server.server.authority().resource("https://orders.prod.example").unwrap().revision.0;
        for (least, expected) in ["certificate", "thumbprint", "spiffe_id"].into_iter().zip(by_least) {
            let resource = ProtectedResource { least_evidence: least.to_owned(), etag: etag.to_string(), ..orders() };
            let request =
                lanyard::proto::UpdateProtectedResourceRequest { resource: Some(resource), ..Default::default() };
            let mut registry = mesh.server.registry(&mesh.server.svid("/admin"));
            etag = registry.update_protected_resource(request).await.unwrap().into_inner().etag.parse().unwrap();
            let rightful = mesh.rightful().await;
            let status = if expected.is_empty() { 200 } else { 401 };
            assert_eq!((rightful.status, reason(&rightful).as_str()), (status, expected), "{name}, {least}");
            // The same with a thief's certificate is never allowed, whatever the thief says of itself.
            let forged = format!("By=spiffe://prod.example/proxy;Hash={}", crate::support::check::hex(&mesh.checkout));
            let stolen = with_header(get("/orders/1", &mesh.token), "x-forwarded-client-cert", &forged);
            let stolen = mesh.send(&mesh.thief, stolen).await;
            let expected = if expected.is_empty() { "CERTIFICATE_MISMATCH" } else { expected };
            assert_eq!((stolen.status, reason(&stolen).as_str()), (401, expected), "{name}, {least}");
        }
        assert!(mesh.upstream.reached() <= 3);
    }
}

/// A gateway in front of the proxy of the service.
struct Row {
    mesh: Mesh,
    gateway: crate::support::envoy::Envoy,
}

impl Row {
    async fn start() -> Option<Self> {
        let append =
            ("forward_client_cert_details: SANITIZE_SET", "forward_client_cert_details: APPEND_FORWARD".to_owned());
        let via = |resource: &mut ProtectedResource| {
            resource.evidence_from = Some(EvidenceFrom { via: vec!["spiffe://prod.example/gateway".to_owned()] });
        };
        let mesh = Mesh::start(vec![append], via).await?;
        // The gateway checks nothing, and calls the inner proxy over mTLS as itself.
        let check =
            "check_settings:\n                      context_extensions: {resource: \"https://orders.prod.example\"}";
        let to_orders = "route: {cluster: orders}";
        let setup = EnvoySetup {
            svid: &proxy(&mesh.server, "/gateway"),
            bundle: &mesh.server.setup.ca.pem(),
            // The cluster named lanyard is the one with mTLS: here it leads to the inner proxy.
            lanyard: mesh.envoy.address,
            upstream: mesh.upstream.address,
            changes: vec![(check, "disabled: true".to_owned()), (to_orders, "route: {cluster: lanyard}".to_owned())],
        };
        let gateway = setup.start().await?;
        Some(Self { mesh, gateway })
    }

    async fn send(&self, leaf: &Leaf, request: Request<Body>) -> Reply {
        let config = self.mesh.server.tls(leaf);
        Http::two(connect(self.gateway.address, config).await.unwrap()).await.send(request).await
    }
}

#[tokio::test]
async fn behind_a_gateway_the_certificate_that_the_gateway_saw_counts() {
    let Some(row) = Row::start().await else { return };
    let Row { mesh, .. } = &row;
    let rightful = row.send(&mesh.checkout, get("/orders/1", &mesh.token)).await;
    assert_eq!((rightful.status, reason(&rightful)), (200, String::new()), "{rightful:?}");
    let stolen = row.send(&mesh.thief, get("/orders/1", &mesh.token)).await;
    assert_eq!((stolen.status, reason(&stolen)), (401, "CERTIFICATE_MISMATCH".to_owned()));
    let hash = crate::support::check::hex(&mesh.checkout);
    for forged in [
        format!("By=spiffe://prod.example/gateway;Hash={hash}"),
        format!(
            "By=spiffe://prod.example/gateway;Hash={hash},By=spiffe://prod.example/proxy;URI=spiffe://prod.example/gateway"
        ),
    ] {
        // To the gateway, which throws it away.
        let request = || with_header(get("/orders/1", &mesh.token), "x-forwarded-client-cert", &forged);
        let stolen = row.send(&mesh.thief, request()).await;
        assert_eq!((stolen.status, reason(&stolen)), (401, "CERTIFICATE_MISMATCH".to_owned()), "{forged}");
        // Past the gateway, to the inner proxy, which appends to it: the peer is not the gateway.
        let past = mesh.send(&mesh.thief, request()).await;
        assert_eq!((past.status, reason(&past)), (401, "EVIDENCE_MISSING".to_owned()), "{forged}");
        let past = mesh.send(&mesh.checkout, request()).await;
        assert_eq!((past.status, reason(&past)), (401, "EVIDENCE_MISSING".to_owned()), "{forged}");
    }
    assert_eq!(mesh.upstream.reached(), 1);
}

#[tokio::test]
async fn a_proxy_without_the_role_lets_nothing_through_though_failures_may_pass() {
    let server: TestServer = server_at_real_time().await;
    server.protect(orders()).await.unwrap();
    let checkout = server.workload("/checkout").await;
    let token = server.token(&checkout).await;
    let upstream = Upstream::start().await;
    for allow_on_error in ["false", "true"] {
        let setup = EnvoySetup {
            svid: &proxy(&server, "/nobody"),
            bundle: &server.setup.ca.pem(),
            lanyard: server.addresses.mtls,
            upstream: upstream.address,
            changes: vec![("failure_mode_allow: false", format!("failure_mode_allow: {allow_on_error}"))],
        };
        let Some(envoy) = setup.start().await else { return };
        let stream = connect(envoy.address, server.tls(&checkout)).await.unwrap();
        let reply = Http::two(stream).await.send(get("/orders/1", &token)).await;
        assert_eq!((reply.status, reason(&reply)), (403, "NOT_A_PROXY".to_owned()), "{allow_on_error}");
    }
    assert_eq!(upstream.reached(), 0);
}
