//! Spans as a collector gets them: whose they are, what they say, and what becomes of them without a collector.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use axum::body::Body;
use lanyard::authority::clock::Clock as _;
use lanyard::authority::clock::SystemClock;
use lanyard::proto::IssueTokenRequest;
use lanyard::proto::ListClientsRequest;
use lanyard::proto::ValidateBindingRequest;
use lanyard::proto::binding_service_client::BindingServiceClient;
use lanyard::proto::envoy::service::auth::v3::CheckRequest;
use lanyard::proto::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use lanyard::telemetry::otlp;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use tokio::net::TcpListener;
use tokio::net::TcpStream;

use crate::support::binding_stream::BindingStream;
use crate::support::binding_stream::StreamOutcome;
use crate::support::ca::TestCa;
use crate::support::calls::use_of;
use crate::support::child::real_time;
use crate::support::collector::Collector;
use crate::support::collector::Exported;
use crate::support::http::get;
use crate::support::http::post;
use crate::support::observed::Observed;
use crate::support::observed::SPAN;
use crate::support::observed::numbered;
use crate::support::observed::parent;
use crate::support::observed::with_parent;
use crate::support::observed::within_trace;
use crate::support::server::ORDERS;
use crate::support::server::certificate_of;
use crate::support::wire::http1;

const CHECKOUT: &str = "spiffe://prod.example/checkout";

async fn of_trace(collector: &Collector, end: &str) -> Exported {
    collector.span(|span| span.trace() == numbered(end)).await
}

fn attributes(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[tokio::test]
async fn a_span_over_grpc_has_its_callers_as_parent_and_says_what_was_decided() {
    let collector = Collector::start();
    let server = Observed::start(&collector.section(""));
    let (checkout, token) = server.workload("/checkout").await;
    let (proxy, thief) = (server.svid("/proxy"), server.svid("/thief"));

    server.tokens(&checkout).issue_token(within_trace(IssueTokenRequest::default(), &parent("a1"))).await.unwrap();
    let issued = of_trace(&collector, "a1").await;
    assert_eq!((issued.parent().as_str(), issued.span.name.as_str()), (SPAN, "lanyard.v1.TokenService/IssueToken"));
    assert_eq!(issued.span.kind(), SpanKind::Server);
    let rpc = |method, status| [("rpc.system", "grpc"), ("rpc.method", method), ("rpc.grpc.status_code", status)];
    let mut expected = attributes(&rpc("IssueToken", "0"));
    expected.extend(attributes(&[
        ("rpc.service", "lanyard.v1.TokenService"),
        ("lanyard.client_id", CHECKOUT),
        ("lanyard.resource", ORDERS),
        ("lanyard.decision", "allow"),
    ]));
    assert_eq!(issued.attributes(), expected);
    assert!(!issued.failed());
    assert_eq!(issued.resource["service.name"], "lanyard");
    assert_eq!(issued.resource["service.version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(issued.resource["service.instance.id"].len(), 32);

    for (end, leaf, decision, reason) in
        [("b1", &checkout, "allow", ""), ("b2", &thief, "deny", "CERTIFICATE_MISMATCH")]
    {
        let question = ValidateBindingRequest { evidence: certificate_of(leaf), ..use_of(&token) };
        server.bindings(&proxy).validate_binding(within_trace(question, &parent(end))).await.unwrap();
        let evaluated = of_trace(&collector, end).await;
        assert_eq!(
            (evaluated.parent().as_str(), evaluated.span.name.as_str()),
            (SPAN, "lanyard.v1.BindingService/ValidateBinding")
        );
        let said =
            ["client_id", "resource", "decision", "reason"].map(|name| evaluated.attribute(&format!("lanyard.{name}")));
        assert_eq!(said, [CHECKOUT, ORDERS, decision, reason]);
        assert!(!evaluated.failed());
    }

    drop(
        server.tokens(&thief).issue_token(within_trace(IssueTokenRequest::default(), &parent("c1"))).await.unwrap_err(),
    );
    let refused = of_trace(&collector, "c1").await;
    assert_eq!(refused.attribute("rpc.grpc.status_code"), "16");
    assert_eq!(refused.attribute("lanyard.reason"), "invalid_client");
    drop(
        server
            .registry(&checkout)
            .list_clients(within_trace(ListClientsRequest::default(), &parent("c2")))
            .await
            .unwrap_err(),
    );
    let refused = of_trace(&collector, "c2").await;
    assert_eq!(refused.attribute("rpc.grpc.status_code"), "7");
    assert_eq!(
        (refused.attribute("lanyard.decision"), refused.attribute("lanyard.reason")),
        ("deny".into(), "WRONG_ROLE".into())
    );
    assert!(!refused.failed(), "it is the caller's own fault");
    let mut checks = AuthorizationClient::new(server.channel(&proxy));
    checks.check(within_trace(CheckRequest::default(), &parent("c3"))).await.unwrap();
    drop(server.bindings(&proxy).validate_binding(within_trace(use_of(""), &parent("c4"))).await.unwrap_err());
    for (end, reason) in [("c3", "REQUEST_MALFORMED"), ("c4", "TOKEN_MISSING")] {
        let refused = of_trace(&collector, end).await;
        assert_eq!([refused.attribute("lanyard.decision"), refused.attribute("lanyard.reason")], ["deny", reason]);
        assert!(!refused.failed());
    }
    for span in collector.spans() {
        assert!(!format!("{span:?}").contains(&token[..30]));
    }
}

#[tokio::test]
async fn a_span_over_http_has_its_callers_as_parent_and_no_path_of_a_callers() {
    let collector = Collector::start();
    let server = Observed::start(&collector.section(""));
    let (checkout, _) = server.workload("/checkout").await;
    let form = [("grant_type", "client_credentials"), ("client_id", CHECKOUT)];
    let mut http = server.http(&checkout).await;
    assert_eq!(http.send(with_parent(post("/oauth2/token", &form), &parent("a1"))).await.status, 200);
    let issued = of_trace(&collector, "a1").await;
    assert_eq!((issued.parent().as_str(), issued.span.name.as_str()), (SPAN, "POST /oauth2/token"));
    let expected = attributes(&[
        ("http.request.method", "POST"),
        ("http.route", "/oauth2/token"),
        ("http.response.status_code", "200"),
        ("lanyard.client_id", CHECKOUT),
        ("lanyard.resource", ORDERS),
        ("lanyard.decision", "allow"),
    ]);
    assert_eq!(issued.attributes(), expected);

    let odd = hyper::Request::builder().method("BREW").uri("/secret/of/mine?x=1").body(Body::empty()).unwrap();
    assert_eq!(http.send(with_parent(odd, &parent("a2"))).await.status, 404);
    let odd = of_trace(&collector, "a2").await;
    assert_eq!((odd.span.name.as_str(), odd.attribute("http.request.method").as_str()), ("HTTP", "_OTHER"));
    assert_eq!(
        (odd.attribute("http.route"), odd.attribute("lanyard.reason")),
        (String::new(), "NO_SUCH_METHOD".into())
    );
    assert!(!format!("{odd:?}").contains("secret"));

    // The public listener too, where no client has a certificate; probes are not part of a trace.
    assert_eq!(http1(TcpStream::connect(server.ops).await.unwrap(), "GET /livez").await.status, 200);
    let tls = server.setup.tls_builder(rustls::DEFAULT_VERSIONS).with_no_client_auth();
    let stream = crate::support::server::connect(server.public, tls).await.unwrap();
    let mut public = crate::support::http::Http::one(stream).await;
    assert_eq!(public.send(with_parent(get("/oauth2/jwks"), &parent("a3"))).await.status, 200);
    assert_eq!(of_trace(&collector, "a3").await.span.name, "GET /oauth2/jwks");
    assert!(collector.spans().iter().all(|span| !format!("{span:?}").contains("livez")));
}

#[tokio::test]
async fn each_question_of_a_stream_is_a_span_within_the_streams() {
    let collector = Collector::start();
    let server = Observed::start(&collector.section(""));
    let (checkout, token) = server.workload("/checkout").await;
    let mut stream = BindingStream::open(BindingServiceClient::new(server.channel(&server.svid("/proxy")))).await;
    let question = ValidateBindingRequest { evidence: certificate_of(&checkout), ..use_of(&token) };
    assert_eq!(stream.ask(&question).await.unwrap(), StreamOutcome::Allowed);
    let question = collector.span(|span| span.span.name == "question").await;
    assert_eq!(
        (question.attribute("lanyard.decision").as_str(), question.attribute("lanyard.client_id").as_str()),
        ("allow", CHECKOUT)
    );
    drop(stream);
    let whole = collector.span(|span| span.id() == question.parent()).await;
    assert_eq!(whole.span.name, "lanyard.v1.BindingService/ValidateBindings");
    assert_eq!(whole.trace(), question.trace());
}

#[tokio::test]
async fn a_callers_decision_not_to_sample_is_followed_and_a_malformed_parent_ignored() {
    let collector = Collector::start();
    let server = Observed::start(&collector.section(""));
    let (checkout, _) = server.workload("/checkout").await;
    let mut tokens = server.tokens(&checkout);
    let unsampled = parent("d1").replace("-01", "-00");
    for parent in [unsampled.as_str(), &parent("d2").to_uppercase(), &parent("d3").replace("00-", "ff-"), &parent("d4")]
    {
        tokens.issue_token(within_trace(IssueTokenRequest::default(), parent)).await.unwrap();
    }
    let last = of_trace(&collector, "d4").await;
    let issued: Vec<Exported> = collector.spans().into_iter().filter(|span| span.span.name == last.span.name).collect();
    // The one of the set-up, the two that begin a trace, and the last one.
    assert_eq!(issued.len(), 4);
    assert!(issued.iter().all(|span| span.trace() != numbered("d1")));
    assert_eq!(issued.iter().filter(|span| span.parent().is_empty()).count(), 3);
}

#[tokio::test]
async fn of_traces_that_begin_here_none_is_exported_at_a_ratio_of_nothing() {
    let collector = Collector::start();
    let server = Observed::start(&collector.section(", sample_ratio: 0"));
    let (checkout, _) = server.workload("/checkout").await;
    server.tokens(&checkout).issue_token(within_trace(IssueTokenRequest::default(), &parent("e1"))).await.unwrap();
    of_trace(&collector, "e1").await;
    assert_eq!(collector.spans().len(), 1);
}

#[tokio::test]
async fn without_its_collector_a_server_serves_on_says_so_once_and_ends_in_time() {
    // Nobody listens there any more.
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let section = format!("telemetry: {{otlp: {{endpoint: 'http://{gone}'}}}}\n");
    let small = [("OTEL_BSP_MAX_QUEUE_SIZE", "64"), ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "32")];
    let server = Observed::start_on(real_time(), &section, &small);
    let (checkout, _) = server.workload("/checkout").await;
    let mut tokens = server.tokens(&checkout);
    // More than the queue holds.
    for _ in 0..300 {
        tokens.issue_token(IssueTokenRequest::default()).await.unwrap();
    }
    server.process.until("traces cannot be delivered to the collector");
    tokens.issue_token(IssueTokenRequest::default()).await.unwrap();
    let (code, said) = server.process.end_by("TERM");
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains("traces cannot be delivered"), "{said}");
}

#[tokio::test]
async fn the_last_spans_are_sent_when_the_server_stops() {
    let collector = Collector::start();
    // They would wait for ten minutes.
    let server = Observed::start_on(real_time(), &collector.section(""), &[("OTEL_BSP_SCHEDULE_DELAY", "600000")]);
    let (checkout, _) = server.workload("/checkout").await;
    server.tokens(&checkout).issue_token(within_trace(IssueTokenRequest::default(), &parent("f1"))).await.unwrap();
    assert!(collector.spans().is_empty());
    let (code, said) = server.process.end_by("TERM");
    assert_eq!(code, Some(0), "{said}");
    of_trace(&collector, "f1").await;
}

#[tokio::test]
async fn a_collector_by_https_is_the_one_that_the_ca_vouches_for() {
    let cas = ["right", "wrong"].map(|name| TestCa::at(name, SystemClock.now()));
    for (ca, vouched) in [(&cas[0], true), (&cas[1], false)] {
        let collector = Collector::with_tls(&ca.server_certificate("localhost").issue());
        let (port, setup) = (collector.address.port(), real_time());
        fs::write(setup.path("collector.pem"), cas[0].pem()).unwrap();
        let section = format!("telemetry: {{otlp: {{endpoint: 'https://localhost:{port}', ca: collector.pem}}}}\n");
        let server = Observed::start_on(setup, &section, &[]);
        let (checkout, _) = server.workload("/checkout").await;
        server.tokens(&checkout).issue_token(within_trace(IssueTokenRequest::default(), &parent("ab"))).await.unwrap();
        if vouched {
            of_trace(&collector, "ab").await;
        } else {
            server.process.until("traces cannot be delivered to the collector");
            assert!(collector.spans().is_empty());
        }
    }
}

#[tokio::test]
async fn metrics_reach_the_collector_over_the_same_kind_of_channel() {
    let ca = TestCa::at("collector", SystemClock.now());
    let collector = Collector::with_tls(&ca.server_certificate("localhost").issue());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("collector.pem");
    fs::write(&file, ca.pem()).unwrap();
    let config = otlp::Config {
        endpoint: format!("https://localhost:{}", collector.address.port()).parse().unwrap(),
        ca: Some(file),
        sample_ratio: 1.0,
        metrics_interval: Duration::from_mins(1),
    };
    let mut metrics = MetricsServiceClient::new(otlp::channel(&config).unwrap());
    metrics.export(ExportMetricsServiceRequest::default()).await.unwrap();
    assert_eq!(collector.metrics(), [ExportMetricsServiceRequest::default()]);
}
