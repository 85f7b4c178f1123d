//! Two real Envoys in a row: a gateway, and behind it the proxy of the service, which asks.

use axum::body::Body;
use axum::http::Request;
use lanyard::proto::EvidenceFrom;
use lanyard::proto::ProtectedResource;
use lanyard::proto::UpdateProtectedResourceRequest;

use crate::support::check::orders;
use crate::support::envoy::EnvoySetup;
use crate::support::http::Http;
use crate::support::http::Reply;
use crate::support::leaf::Leaf;
use crate::support::mesh::Mesh;
use crate::support::mesh::get;
use crate::support::mesh::proxy;
use crate::support::mesh::reason;
use crate::support::mesh::seen;
use crate::support::mesh::with_header;
use crate::support::server::connect;

/// A gateway in front of the proxy of the service.
struct Row {
    mesh: Mesh,
    gateway: crate::support::envoy::Envoy,
}

impl Row {
    async fn start() -> Option<Self> {
        Self::with("/gateway", Vec::new()).await
    }

    /// With another gateway, or one that says something else.
    async fn with(path: &str, changes: Vec<(&'static str, String)>) -> Option<Self> {
        let append =
            ("forward_client_cert_details: SANITIZE_SET", "forward_client_cert_details: APPEND_FORWARD".to_owned());
        let via = |resource: &mut ProtectedResource| {
            let via = vec!["spiffe://prod.example/gateway".to_owned()];
            resource.evidence_from = Some(EvidenceFrom { via, header: false });
        };
        let mesh = Mesh::start(vec![append], via).await?;
        // The gateway checks nothing, and calls the inner proxy over mTLS as itself.
        let check =
            "check_settings:\n                      context_extensions: {resource: \"https://orders.prod.example\"}";
        let to_orders = "route: {cluster: orders}";
        let setup = EnvoySetup {
            local: None,
            svid: &proxy(&mesh.server, path),
            bundle: &mesh.server.setup.ca.pem(),
            // The cluster named lanyard is the one with mTLS: here it leads to the inner proxy.
            lanyard: mesh.envoy.address,
            upstream: mesh.upstream.address,
            changes: [(check, "disabled: true".to_owned()), (to_orders, "route: {cluster: lanyard}".to_owned())]
                .into_iter()
                .chain(changes)
                .collect(),
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
    let by_gateway = format!("By=spiffe://prod.example/gateway;Hash={hash}");
    let by_both = format!("{by_gateway},By=spiffe://prod.example/proxy;URI=spiffe://prod.example/gateway");
    for (forged, (status, reported)) in
        [(by_gateway, (401, "EVIDENCE_MISSING")), (by_both, (400, "EVIDENCE_MALFORMED"))]
    {
        // To the gateway, which throws it away.
        let request = || with_header(get("/orders/1", &mesh.token), "x-forwarded-client-cert", &forged);
        let stolen = row.send(&mesh.thief, request()).await;
        assert_eq!((stolen.status, reason(&stolen)), (401, "CERTIFICATE_MISMATCH".to_owned()), "{forged}");
        // Past the gateway, to the inner proxy, which appends to it: the peer is not the gateway, and the proxy writes once.
        let past = mesh.send(&mesh.thief, request()).await;
        assert_eq!((past.status, reason(&past)), (status, reported.to_owned()), "{forged}");
        let past = mesh.send(&mesh.checkout, request()).await;
        assert_eq!((past.status, reason(&past)), (status, reported.to_owned()), "{forged}");
    }
    assert_eq!(mesh.upstream.reached(), 1);
}

#[tokio::test]
async fn a_gateway_that_is_not_named_or_says_too_little_lets_nobody_pass() {
    let header =
        |mode: &str| ("forward_client_cert_details: SANITIZE_SET", format!("forward_client_cert_details: {mode}"));
    let details = "set_current_client_cert_details: {cert: true, uri: true}";
    let names_only = (details, "set_current_client_cert_details: {uri: true}".to_owned());
    for (path, changes, expected) in [
        ("/gateway", Vec::new(), ""),
        // Its hash is enough.
        ("/gateway", vec![names_only], ""),
        ("/another", Vec::new(), "EVIDENCE_MISSING"),
        ("/gateway", vec![header("SANITIZE")], "EVIDENCE_MISSING"),
        // What it passes on without a word of its own is what its client says.
        ("/gateway", vec![header("FORWARD_ONLY")], "EVIDENCE_MISSING"),
        // What it writes comes last, and is used.
        ("/gateway", vec![header("APPEND_FORWARD")], ""),
    ] {
        let Some(row) = Row::with(path, changes.clone()).await else { return };
        let hash = crate::support::check::hex(&row.mesh.checkout);
        let says = format!("By=spiffe://prod.example/checkout;Hash={hash}");
        let request = with_header(get("/orders/1", &row.mesh.token), "x-forwarded-client-cert", &says);
        let reply = row.send(&row.mesh.checkout, request).await;
        let status = if expected.is_empty() { 200 } else { 401 };
        assert_eq!((reply.status, reason(&reply).as_str()), (status, expected), "{path}, {changes:?}");
        let request = with_header(get("/orders/1", &row.mesh.token), "x-forwarded-client-cert", &says);
        let stolen = row.send(&row.mesh.thief, request).await;
        let expected = if expected.is_empty() { "CERTIFICATE_MISMATCH" } else { expected };
        assert_eq!((stolen.status, reason(&stolen).as_str()), (401, expected), "{path}, {changes:?}");
    }
}

#[tokio::test]
async fn where_the_resource_names_no_gateway_it_is_the_gateway_that_is_evaluated() {
    let Some(row) = Row::start().await else { return };
    let Row { mesh, .. } = &row;
    let reply = row.send(&mesh.checkout, get("/orders/1", &mesh.token)).await;
    let forwarded = seen(&reply, "x-forwarded-client-cert").join(",");
    let (first, last) = forwarded.split_once(',').unwrap();
    assert!(first.starts_with("By=spiffe://prod.example/gateway;"), "{forwarded}");
    assert!(last.starts_with("By=spiffe://prod.example/proxy;"), "{forwarded}");

    let etag = mesh.server.server.authority().resource("https://orders.prod.example").unwrap().revision.0.to_string();
    let resource = Some(ProtectedResource { etag, ..orders() });
    let update = UpdateProtectedResourceRequest { resource, ..UpdateProtectedResourceRequest::default() };
    mesh.server.registry(&mesh.server.svid("/admin")).update_protected_resource(update).await.unwrap();
    let reply = row.send(&mesh.checkout, get("/orders/1", &mesh.token)).await;
    assert_eq!((reply.status, reason(&reply)), (401, "CERTIFICATE_MISMATCH".to_owned()));
    assert_eq!(mesh.upstream.reached(), 1);
}
