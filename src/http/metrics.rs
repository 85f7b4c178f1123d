//! `GET /metrics`: the counts as text for Prometheus. What is counted, and under which labels, is settled by
//! [`crate::authority::tally`]; nothing that a caller sent is on this page.

use std::fmt;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse as _;
use axum::response::Response;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::encoding::text;
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::authority::Authority;
use crate::authority::tally::Voice;

/// The media type of the page.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub(super) async fn metrics(State(registry): State<Arc<Registry>>) -> Response {
    let mut page = String::new();
    match text::encode(&mut page, &registry) {
        Ok(()) => ([(CONTENT_TYPE, OPEN_METRICS)], page).into_response(),
        Err(fmt::Error) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// All that the page tells.
pub(super) fn registry(authority: Arc<Authority>) -> Registry {
    let mut registry = Registry::default();
    let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("lanyard_build", "The version that runs", build);
    registry.register_collector(Box::new(Counts(authority)));
    registry
}

#[derive(Debug)]
struct Counts(Arc<Authority>);

impl Collector for Counts {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let tally = self.0.tally();
        let decisions = Voice::ALL.into_iter().flat_map(|voice| {
            let labels = move |decision, reason| [("voice", voice.label()), ("decision", decision), ("reason", reason)];
            let denied = tally.denied(voice).map(move |(reason, count)| (labels("deny", reason), count));
            std::iter::once((labels("allow", ""), tally.allowed(voice))).chain(denied)
        });
        counter(&mut encoder, "lanyard_decisions", "Uses of tokens that were judged", decisions)?;
        let reasons = [
            (
                "lanyard_report_mode_denials",
                "Denials that were let through in report mode",
                "reason",
                tally.report_denials().collect::<Vec<_>>(),
            ),
            ("lanyard_grants_refused", "Token requests that were refused", "error", tally.grants_refused().collect()),
            ("lanyard_calls_refused", "Calls that were not admitted", "reason", tally.calls_refused().collect()),
            (
                "lanyard_handshakes_refused",
                "Handshakes ended because no rule proves the certificate",
                "reason",
                tally.handshakes_refused().collect(),
            ),
        ];
        for (name, help, label, counts) in reasons {
            counter(&mut encoder, name, help, counts.into_iter().map(|(reason, count)| ([(label, reason)], count)))?;
        }
        let (trust, now) = (self.0.trust(), self.0.clock().now());
        let name = "lanyard_bundle_age_seconds";
        let help = "How long ago the source of a trust domain's bundle last confirmed it";
        let mut ages = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (trust_domain, age) in trust.ages(now) {
            // Those from files stand until they are replaced.
            let Some(age) = age else { continue };
            ages.encode_family(&[("trust_domain", trust_domain.as_str())])?.encode_gauge(&age.as_secs())?;
        }
        for (name, help, count) in [
            ("lanyard_tokens_issued", "Tokens issued", tally.issued()),
            ("lanyard_panics", "Requests and handshakes that ended in a panic", tally.panics()),
        ] {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            metric.encode_counter::<[(&str, &str); 0], _, u64>(&count, None)?;
        }
        Ok(())
    }
}

/// One series a set of labels. Those of which nothing was counted yet are there too: a rate can only be told of a series
/// that was seen before it grew.
fn counter<const LABELS: usize>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    counts: impl Iterator<Item = ([(&'static str, &'static str); LABELS], u64)>,
) -> Result<(), fmt::Error> {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (labels, count) in counts {
        metric.encode_family(&labels)?.encode_counter::<[(&str, &str); 0], _, u64>(&count, None)?;
    }
    Ok(())
}
