//! Traces through a real Envoy: its own, and those of its clients where it has none.

use lanyard::proto::CreateProtectedResourceRequest;

use crate::support::check::orders;
use crate::support::collector::Collector;
use crate::support::envoy::Envoy;
use crate::support::envoy::EnvoySetup;
use crate::support::http::Http;
use crate::support::http::Reply;
use crate::support::leaf::Leaf;
use crate::support::mesh::get;
use crate::support::mesh::seen;
use crate::support::observed::Observed;
use crate::support::observed::SPAN;
use crate::support::observed::numbered;
use crate::support::observed::parent;
use crate::support::observed::with_parent;
use crate::support::server::connect;
use crate::support::upstream::Upstream;

/// What Envoy needs to trace to a collector.
const TRACING: &str = "          tracing:
            provider:
              name: envoy.tracers.opentelemetry
              typed_config:
                \"@type\": type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig
                service_name: envoy
                grpc_service: {timeout: 5s, envoy_grpc: {cluster_name: collector}}
          stat_prefix: orders
";

struct Traced {
    server: Observed,
    envoy: Envoy,
    checkout: Leaf,
    token: String,
    thief: Leaf,
    _upstream: Upstream,
}

impl Traced {
    /// `None` without Envoy.
    async fn start(collector: &Collector, changes: Vec<(&'static str, String)>) -> Option<Self> {
        let server = Observed::start(&collector.section(""));
        let request = CreateProtectedResourceRequest { resource: Some(orders()), ..Default::default() };
        server.registry(&server.svid("/admin")).create_protected_resource(request).await.unwrap();
        let (checkout, token) = server.workload("/checkout").await;
        let (thief, _) = server.workload("/thief").await;
        let upstream = Upstream::start().await;
        let proxy = server.setup.ca.svid("spiffe://prod.example/proxy").dns("localhost").issue();
        let (bundle, lanyard) = (&server.setup.ca.pem(), server.mtls);
        let setup = EnvoySetup { local: None, svid: &proxy, bundle, lanyard, upstream: upstream.address, changes };
        let envoy = setup.start().await?;
        Some(Self { server, envoy, checkout, token, thief, _upstream: upstream })
    }

    async fn send(&self, leaf: &Leaf, end: &str) -> Reply {
        let stream = connect(self.envoy.address, self.server.tls(leaf)).await.unwrap();
        Http::two(stream).await.send(with_parent(get("/orders/1", &self.token), &parent(end))).await
    }
}

#[tokio::test]
async fn a_check_of_an_envoy_that_does_not_trace_is_a_part_of_its_clients_trace() {
    let collector = Collector::start();
    let Some(mesh) = Traced::start(&collector, Vec::new()).await else { return };
    assert_eq!(mesh.send(&mesh.checkout, "a1").await.status, 200);
    assert_eq!(mesh.send(&mesh.thief, "a2").await.status, 401);
    for (end, decision, reason) in [("a1", "allow", ""), ("a2", "deny", "CERTIFICATE_MISMATCH")] {
        let check = collector.span(|span| span.trace() == numbered(end)).await;
        assert_eq!(
            (check.parent().as_str(), check.span.name.as_str()),
            (SPAN, "envoy.service.auth.v3.Authorization/Check")
        );
        assert_eq!([check.attribute("lanyard.decision"), check.attribute("lanyard.reason")], [decision, reason]);
    }
    let line = mesh.server.process.until("check denied").pop().unwrap();
    assert!(line.ends_with(&format!(" trace_id={}", numbered("a2"))), "{line}");
}

#[tokio::test]
async fn a_check_of_an_envoy_that_traces_is_a_child_of_its_span() {
    let collector = Collector::start();
    let address = collector.address;
    let cluster = format!(
        "  clusters:
  - name: collector
    type: STATIC
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        \"@type\": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{http2_protocol_options: {{}}}}
    load_assignment:
      cluster_name: collector
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: {}, port_value: {}}}}}}}
",
        address.ip(),
        address.port()
    );
    let changes = vec![("          stat_prefix: orders\n", TRACING.to_owned()), ("  clusters:\n", cluster)];
    let Some(mesh) = Traced::start(&collector, changes).await else { return };
    let reply = mesh.send(&mesh.checkout, "b1").await;
    assert_eq!(reply.status, 200);
    let check =
        collector.span(|span| span.trace() == numbered("b1") && span.resource["service.name"] == "lanyard").await;
    let parent = collector.span(|span| span.id() == check.parent()).await;
    assert_eq!((parent.resource["service.name"].as_str(), parent.trace()), ("envoy", numbered("b1")));
    assert!(seen(&reply, "traceparent")[0].contains(&numbered("b1")));
}
