//! The measures as OTLP: the same as on the page, and delivered to a collector.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderValue;
use axum::http::header::ACCEPT;
use http_body_util::BodyExt as _;
use lanyard::authority::clock::Timestamp;
use lanyard::authority::observe::MetricsReader;
use lanyard::http::ops;
use lanyard::telemetry::ExportFailures;
use lanyard::telemetry::metrics::Push;
use lanyard::telemetry::metrics::request;
use lanyard::telemetry::metrics::resource;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsPartialSuccess;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::MetricsService;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::MetricsServiceServer;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::metrics::v1::AggregationTemporality;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::metrics::v1::NumberDataPoint;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::sync::watch;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::Request;
use tonic::Response;
use tonic::Status;
use tonic::transport::Endpoint;
use tower::ServiceExt as _;

use crate::support::NOW;
use crate::support::door::within;
use crate::support::http::get;
use crate::support::page::PROMETHEUS;
use crate::support::page::Page;
use crate::support::server::TestServer;
use crate::support::server::certificate_of;

const CUMULATIVE: i32 = AggregationTemporality::Cumulative as i32;
const STARTED: Timestamp = NOW;

/// Labels as the page has them.
fn labelled(name: &str, attributes: &[KeyValue], bound: Option<&str>) -> String {
    let bound = bound.map(|bound| format!("le=\"{bound}\""));
    let labels = attributes.iter().map(|one| format!("{}=\"{}\"", one.key, text(one)));
    let labels: Vec<String> = bound.into_iter().chain(labels).collect();
    if labels.is_empty() { name.to_owned() } else { format!("{name}{{{}}}", labels.join(",")) }
}

fn text(attribute: &KeyValue) -> &str {
    let Some(Value::StringValue(text)) = attribute.value.as_ref().and_then(|value| value.value.as_ref()) else {
        panic!("{attribute:?}")
    };
    text
}

fn number(point: &NumberDataPoint) -> f64 {
    let Some(number_data_point::Value::AsInt(value)) = point.value else { panic!("{point:?}") };
    value.to_string().parse().unwrap()
}

/// The series of a metric, as the page would have them.
fn series(metric: &Metric, into: &mut BTreeMap<String, f64>) {
    let Metric { name, data, .. } = metric;
    match data.as_ref().unwrap() {
        Data::Gauge(gauge) => {
            into.extend(gauge.data_points.iter().map(|point| (labelled(name, &point.attributes, None), number(point))));
        }
        Data::Sum(sum) => {
            assert_eq!((sum.is_monotonic, sum.aggregation_temporality), (true, CUMULATIVE));
            into.extend(sum.data_points.iter().map(|point| (labelled(name, &point.attributes, None), number(point))));
        }
        Data::Histogram(histogram) => {
            assert_eq!(histogram.aggregation_temporality, CUMULATIVE);
            for point in &histogram.data_points {
                let attributes = &point.attributes;
                let count = f64::from(u32::try_from(point.count).unwrap());
                into.insert(labelled(&format!("{name}_sum"), attributes, None), point.sum.unwrap());
                into.insert(labelled(&format!("{name}_count"), attributes, None), count);
                assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
                let mut below = 0.0;
                let bounds = point.explicit_bounds.iter().map(|bound| format!("{bound:?}"));
                for (bound, bucket) in bounds.chain(["+Inf".to_owned()]).zip(&point.bucket_counts) {
                    below += f64::from(u32::try_from(*bucket).unwrap());
                    into.insert(labelled(&format!("{name}_bucket"), attributes, Some(&bound)), below);
                }
                assert!((below - count).abs() < 0.5);
            }
        }
        other @ (Data::ExponentialHistogram(_) | Data::Summary(_)) => panic!("{other:?}"),
    }
}

fn metrics(request: &ExportMetricsServiceRequest) -> &[Metric] {
    let [resource] = request.resource_metrics.as_slice() else { panic!("{request:?}") };
    let [scope] = resource.scope_metrics.as_slice() else { panic!("{request:?}") };
    assert_eq!(scope.scope.as_ref().unwrap().name, "lanyard");
    &scope.metrics
}

fn all_series(request: &ExportMetricsServiceRequest) -> BTreeMap<String, f64> {
    let mut reported = BTreeMap::new();
    for metric in metrics(request) {
        series(metric, &mut reported);
    }
    reported
}

/// A server that has done something of everything.
async fn used() -> TestServer {
    let server = TestServer::start().await;
    let checkout = server.workload("/checkout").await;
    let token = server.token(&checkout).await;
    for leaf in [checkout, server.svid("/thief")] {
        server.validate(&token, certificate_of(&leaf)).await.unwrap();
    }
    server
}

#[tokio::test]
async fn a_request_holds_the_same_series_and_numbers_as_the_page() {
    let server = used().await;
    let families = server.server.metrics_reader().read();
    let request = request(&families, resource(), STARTED, STARTED.after(Duration::from_secs(9)));
    let reported = all_series(&request);
    // The page of this very snapshot.
    let (_ready, readiness) = watch::channel(Ok(()));
    let routes = ops::routes(readiness, watch::channel(None).1, MetricsReader::new(move || families.clone()));
    let mut question = get("/metrics");
    question.headers_mut().insert(ACCEPT, HeaderValue::from_static(PROMETHEUS));
    let page = routes.oneshot(question.map(Body::new)).await.unwrap().into_body().collect().await.unwrap().to_bytes();
    let page = Page::parsed(std::str::from_utf8(&page).unwrap());
    for (name, value) in &page.0 {
        let same = reported.get(name).is_some_and(|reported| (reported - value).abs() < 1e-9);
        assert!(same, "{name}: {value} on the page, {:?} in OTLP", reported.get(name));
    }
    assert_eq!(reported.keys().collect::<Vec<_>>(), page.names());
    assert!(page.requests("lanyard.v1.BindingService/ValidateBinding")[0] > 1);
}

#[tokio::test]
async fn a_request_says_who_tells_since_when_and_in_which_units() {
    let server = used().await;
    let request =
        request(&server.server.metrics_reader().read(), resource(), STARTED, STARTED.after(Duration::from_secs(9)));
    let resource = request.resource_metrics[0].resource.as_ref().unwrap();
    let mut attributes: Vec<(&str, &str)> =
        resource.attributes.iter().map(|one| (one.key.as_str(), text(one))).collect();
    let version = env!("CARGO_PKG_VERSION");
    attributes.sort_unstable();
    let [(instance, id), name, told_version] = attributes[..] else { panic!("{attributes:?}") };
    assert_eq!([name, told_version], [("service.name", "lanyard"), ("service.version", version)]);
    assert_eq!((instance, id.len()), ("service.instance.id", 32));
    let (start, end) = (STARTED.0 * 1_000_000_000, (STARTED.0 + 9) * 1_000_000_000);
    for metric in metrics(&request) {
        let spans: Vec<(u64, u64)> = match metric.data.as_ref().unwrap() {
            Data::Gauge(gauge) => {
                gauge.data_points.iter().map(|one| (one.start_time_unix_nano + start, one.time_unix_nano)).collect()
            }
            Data::Sum(sum) => {
                sum.data_points.iter().map(|one| (one.start_time_unix_nano, one.time_unix_nano)).collect()
            }
            Data::Histogram(all) => {
                all.data_points.iter().map(|one| (one.start_time_unix_nano, one.time_unix_nano)).collect()
            }
            other @ (Data::ExponentialHistogram(_) | Data::Summary(_)) => panic!("{other:?}"),
        };
        assert!(!spans.is_empty() && spans.iter().all(|span| *span == (start, end)), "{}: {spans:?}", metric.name);
        let unit = if metric.name.ends_with("_seconds") { "s" } else { "1" };
        assert_eq!(metric.unit, unit, "{}", metric.name);
        assert!(!metric.description.is_empty());
    }
}

/// A collector, which answers each batch as the test sets it to.
struct Collector {
    answers: watch::Receiver<Answer>,
    batches: mpsc::UnboundedSender<ExportMetricsServiceRequest>,
}

#[derive(Clone, Copy, Debug)]
enum Answer {
    Taken,
    Rejected,
    Failed,
    Never,
}

#[tonic::async_trait]
impl MetricsService for Collector {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        drop(self.batches.send(request.into_inner()));
        let answer = *self.answers.borrow();
        let rejected = |rejected_data_points| {
            let partly = ExportMetricsPartialSuccess { rejected_data_points, error_message: String::new() };
            Ok(Response::new(ExportMetricsServiceResponse { partial_success: Some(partly) }))
        };
        match answer {
            Answer::Taken => rejected(0),
            Answer::Rejected => rejected(3),
            Answer::Failed => Err(Status::unavailable("full")),
            Answer::Never => std::future::pending().await,
        }
    }
}

fn failures(page: &Page) -> [u64; 2] {
    ["metrics", "traces"]
        .map(|signal| page.get(&format!("lanyard_export_failures_total{{signal=\"{signal}\"}}")).unwrap())
}

#[tokio::test]
async fn a_collector_gets_the_measures_and_what_it_does_not_take_is_counted() {
    let server = used().await;
    let (answer, answers) = watch::channel(Answer::Taken);
    let (batches, mut delivered) = mpsc::unbounded_channel();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let collector = MetricsServiceServer::new(Collector { answers, batches });
    let serving = tonic::transport::Server::builder().add_service(collector);
    tokio::spawn(serving.serve_with_incoming(TcpListenerStream::new(listener)));
    let push = Push {
        channel: Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy(),
        interval: Duration::from_millis(500),
        metrics: server.server.metrics_reader(),
        started: STARTED,
        clock: Arc::clone(server.server.authority().clock()),
        failures: Arc::clone(server.server.export_failures()),
    };
    let pushing = tokio::spawn(push.run());
    let batch = within(delivered.recv()).await.unwrap();
    let issued = metrics(&batch).iter().find(|metric| metric.name == "lanyard_tokens_issued_total").unwrap();
    let Some(Data::Sum(sum)) = &issued.data else { panic!("{issued:?}") };
    assert!((number(&sum.data_points[0]) - 1.0).abs() < 0.1);
    for wrong in [Answer::Failed, Answer::Rejected, Answer::Never] {
        answer.send_replace(wrong);
        let [before, traces] = failures(&server.page().await);
        let page = server.page_where(|page| failures(page)[0] > before).await;
        assert_eq!(failures(&page)[1], traces, "{wrong:?}");
    }
    answer.send_replace(Answer::Taken);
    // What was not taken is in the next one too: counts are from the start on.
    while delivered.try_recv().is_ok() {}
    let batch = within(delivered.recv()).await.unwrap();
    let names: Vec<&str> = metrics(&batch).iter().map(|metric| metric.name.as_str()).collect();
    assert!(names.contains(&"lanyard_tokens_issued_total") && names.contains(&"lanyard_export_failures_total"));
    pushing.abort();
}

#[test]
fn export_failures_count_by_signal() {
    let failures = ExportFailures::default();
    failures.lost_spans();
    failures.lost_spans();
    failures.lost_metrics();
    (0..3).for_each(|_| failures.lost_logs());
    let request = request(&[failures.family()], resource(), STARTED, STARTED);
    let reported = all_series(&request);
    let series = |signal: &str| format!("lanyard_export_failures_total{{signal=\"{signal}\"}}");
    let expected = [(series("traces"), 2.0), (series("metrics"), 1.0), (series("logs"), 3.0)];
    assert_eq!(reported, BTreeMap::from(expected));
}
