//! What each kind of mesh can show of a certificate, as a real Envoy shows it.

use lanyard::proto::ProtectedResource;

use crate::support::check::orders;
use crate::support::envoy::EnvoySetup;
use crate::support::http::Http;
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

/// The same, behind whatever else was sent.
fn appended_hash() -> Vec<(&'static str, String)> {
    let mut changes = hash_only();
    let header = "forward_client_cert_details: SANITIZE_SET";
    changes.push((header, "forward_client_cert_details: APPEND_FORWARD".to_owned()));
    changes
}

/// The evidence grade that Lanyard reports to Envoy, as other filters and the access log may use it.
fn grade_in_the_response() -> (&'static str, String) {
    let value = "%DYNAMIC_METADATA(envoy.filters.http.ext_authz:evidence_grade)%";
    let domains = "domains: [\"*\"]";
    (
        domains,
        format!("{domains}\n              response_headers_to_add: [{{header: {{key: x-grade, value: \"{value}\"}}}}]"),
    )
}

/// No header at all: what is left is `source.principal`.
fn principal_only() -> Vec<(&'static str, String)> {
    let header = "forward_client_cert_details: SANITIZE_SET";
    vec![without_peer_certificate(), (header, "forward_client_cert_details: SANITIZE".to_owned())]
}

#[tokio::test]
async fn each_grade_of_evidence_is_allowed_and_refused_by_the_least_grade_of_the_resource() {
    let weak = "EVIDENCE_TOO_WEAK";
    for (name, grade, mut changes, by_least) in [
        ("source.certificate", "certificate", Vec::new(), ["", "", ""]),
        ("Cert in the header", "certificate", certificate_in_the_header(), ["", "", ""]),
        ("Hash in the header", "thumbprint", hash_only(), [weak, "", ""]),
        ("Hash below the client's own", "thumbprint", appended_hash(), [weak, "", ""]),
        ("the principal", "spiffe_id", principal_only(), [weak, weak, "ROTATION_STRICT"]),
    ] {
        changes.push(grade_in_the_response());
        let Some(mesh) = Mesh::start(changes, |_| {}).await else { return };
        let mut etag = mesh.server.server.authority().resource("https://orders.prod.example").unwrap().revision.0;
        for (least, expected) in ["certificate", "thumbprint", "spiffe_id"].into_iter().zip(by_least) {
            let resource = ProtectedResource { least_evidence: least.to_owned(), etag: etag.to_string(), ..orders() };
            let request =
                lanyard::proto::UpdateProtectedResourceRequest { resource: Some(resource), ..Default::default() };
            let mut registry = mesh.server.registry(&mesh.server.svid("/admin"));
            etag = registry.update_protected_resource(request).await.unwrap().into_inner().etag.parse().unwrap();
            let rightful = mesh.legitimate().await;
            let status = if expected.is_empty() { 200 } else { 401 };
            assert_eq!((rightful.status, reason(&rightful).as_str()), (status, expected), "{name}, {least}");
            let reported = rightful.headers.get("x-grade").map(|grade| grade.to_str().unwrap());
            assert_eq!(reported, expected.is_empty().then_some(grade), "{name}, {least}");
            // The same with a thief's certificate is never allowed, whatever the thief says of itself.
            let forged = format!("By=spiffe://prod.example/proxy;Hash={}", crate::support::check::hex(&mesh.checkout));
            let stolen = with_header(get("/orders/1", &mesh.token), "x-forwarded-client-cert", &forged);
            let stolen = mesh.send(&mesh.thief, stolen).await;
            let expected = match expected {
                // Two elements that say to be the proxy's are one too many.
                _ if name == "Hash below the client's own" => (400, "EVIDENCE_MALFORMED"),
                "" => (401, "CERTIFICATE_MISMATCH"),
                reason => (401, reason),
            };
            assert_eq!((stolen.status, reason(&stolen).as_str()), expected, "{name}, {least}");
        }
        assert!(mesh.upstream.reached() <= 3);
    }
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
            local: None,
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
