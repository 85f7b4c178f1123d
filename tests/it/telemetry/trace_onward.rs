//! A trace goes on from here: to where clients publish, and from our own client and command line to the server.

use lanyard::client::files::ConnectionFiles;
use lanyard::client::renewal::Event;
use lanyard::client::renewal::Renewal;
use lanyard::client::renewal::TokenSettings;
use lanyard::client::supply::Credentials;
use lanyard::proto::IssueTokenRequest;
use opentelemetry::trace::TraceContextExt as _;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Instrument as _;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::layer::SubscriberExt as _;

use crate::published_jwks::jwks_uri::publishing;
use crate::published_jwks::jwks_uri::server;
use crate::support::ca::self_signed;
use crate::support::collector::Collector;
use crate::support::door::within;
use crate::support::observed::Observed;
use crate::support::observed::SPAN;
use crate::support::observed::numbered;
use crate::support::observed::parent;
use crate::support::observed::within_trace;
use crate::support::process::lanyard;
use crate::support::process::run;

#[tokio::test]
async fn what_is_fetched_for_a_request_is_a_part_of_its_trace_and_what_is_polled_is_not() {
    let (server, publisher) = server(", discovery: on_demand").await;
    let leaf = self_signed("billing").issue();
    publisher.publish(&[&leaf]);
    server.register(publishing(&publisher.uri())).await.unwrap();
    let request = IssueTokenRequest { client_id: "billing".to_owned(), ..IssueTokenRequest::default() };
    let mut request = within_trace(request, &parent("a1"));
    request.metadata_mut().insert("tracestate", "vendor=secret".parse().unwrap());
    server.tokens(&leaf).issue_token(request).await.unwrap();
    server.server.poll_jwks_uris().await;
    let heads = publisher.requests();
    assert_eq!(heads.len(), 2, "{heads:?}");
    assert!(heads[0].contains(&format!("\r\ntraceparent: {}\r\n", parent("a1"))), "{heads:?}");
    assert!(!heads[0].contains("tracestate"), "{heads:?}");
    assert!(!heads[1].contains("traceparent"), "{heads:?}");
}

fn files(server: &Observed, name: &str) -> ConnectionFiles {
    let leaf = server.svid(&format!("/{name}"));
    let [cert, key] = [server.setup.path("me.pem"), server.setup.path("me-key.pem")];
    std::fs::write(&cert, leaf.chain_pem()).unwrap();
    std::fs::write(&key, leaf.key_pem()).unwrap();
    ConnectionFiles { ca: server.setup.path("ca.pem"), cert, key }
}

#[tokio::test]
async fn the_client_library_is_a_part_of_the_trace_of_its_program() {
    let collector = Collector::start();
    let server = Observed::start(&collector.section(""));
    server.workload("/checkout").await;
    let tracer = SdkTracerProvider::builder().build().tracer("program");
    let layer = tracing_opentelemetry::layer().with_tracer(tracer);
    let _subscriber = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
    let span = tracing::info_span!("work of the program");
    let settings = TokenSettings {
        server: format!("https://localhost:{}", server.mtls.port()).parse().unwrap(),
        credentials: Credentials::Files(files(&server, "checkout")),
        request: IssueTokenRequest::default(),
        assertion: None,
    };
    let mut renewal = Renewal::new(settings).unwrap();
    let event = within(renewal.next().instrument(span.clone())).await;
    assert!(matches!(event, Event::Renewed(_)), "{event:?}");
    let context = span.context().span().span_context().clone();
    let issued = collector.span(|span| span.parent() == context.span_id().to_string()).await;
    assert_eq!(issued.trace(), context.trace_id().to_string());
    assert_eq!(issued.span.name, "lanyard.v1.TokenService/IssueToken");
}

#[tokio::test]
async fn the_command_line_is_a_part_of_the_trace_in_its_environment() {
    let collector = Collector::start();
    let server = Observed::start(&collector.section(""));
    server.workload("/checkout").await;
    let ConnectionFiles { ca, cert, key } = files(&server, "checkout");
    let get = |traceparent: &str| {
        let mut command = lanyard();
        command.args(["token", "get", "--server"]).arg(format!("https://localhost:{}", server.mtls.port()));
        command.arg("--ca").arg(&ca).arg("--cert").arg(&cert).arg("--key").arg(&key).env("TRACEPARENT", traceparent);
        run(&mut command).ok()
    };
    get("nonsense");
    get(&parent("b1"));
    let issued = collector.span(|span| span.trace() == numbered("b1")).await;
    assert_eq!((issued.parent().as_str(), issued.span.name.as_str()), (SPAN, "lanyard.v1.TokenService/IssueToken"));
}
