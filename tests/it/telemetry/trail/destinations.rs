//! Standard output and a collector as destinations of the trail: the same chain, which `verify` reads as well.

use std::fs;
use std::fs::File;
use std::net::TcpListener;

use lanyard::proto::IssueTokenRequest;
use lanyard::proto::token_service_client::TokenServiceClient;
use opentelemetry_proto::tonic::common::v1::any_value::Value as OtlpValue;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::logs::v1::SeverityNumber;
use serde_json::Value;
use serde_json::json;

use crate::support::child::Serve;
use crate::support::collector::Collector;
use crate::support::collector::texts;
use crate::support::observed::numbered;
use crate::support::observed::parent;
use crate::support::observed::within_trace;
use crate::support::process::Finished;
use crate::support::process::lanyard;
use crate::support::process::run;
use crate::support::process::text;
use crate::support::server::TRUST_DOMAIN;
use crate::support::server::channel;
use crate::telemetry::trail::Trail;
use crate::telemetry::trail::accounts::counted;
use crate::telemetry::trail::records;
use crate::telemetry::trail::stop;

/// Verifies a text as what came from a destination.
fn verified(trail: &Trail, from: &str, saved: &str) -> Finished {
    let file = trail.path("saved.log");
    fs::write(&file, saved).unwrap();
    let key = trail.path("audit-public.pem");
    run(lanyard().args(["audit", "verify", "-o", "json", "--from", from, "--key", text(&key), text(&file)]))
}

fn body(record: &LogRecord) -> String {
    match record.body.as_ref().and_then(|body| body.value.clone()) {
        Some(OtlpValue::StringValue(line)) => line,
        other => panic!("the body is {other:?}"),
    }
}

fn bodies(collector: &Collector) -> String {
    collector.logs().iter().map(|record| body(record) + "\n").collect()
}

#[tokio::test]
async fn standard_output_has_the_lines_of_the_file_and_verifies_with_lines_of_the_log_between_them() {
    let trail = Trail::new(", stdout: true");
    let out = File::create(trail.path("stdout")).unwrap();
    let serve = Serve::start_into(out, &[("LANYARD_AUDIT", &trail.section())], &trail.setup, 1024);
    trail.use_it(&serve, 6).await;
    assert_eq!(counted(&serve, "lanyard_audit_records_total{destination=\"stdout\",outcome=\"lost\"}"), 0);
    stop(serve);
    let printed = fs::read_to_string(trail.path("stdout")).unwrap();
    assert_eq!(printed, fs::read_to_string(trail.path("audit.jsonl")).unwrap());

    // As a container runtime and `kubectl logs --prefix` give it, with the log in text and as JSON.
    let log = "2026-11-30T18:00:00Z  INFO lanyard::audit: check denied path=\"/a {\\\"chain\\\":\\\"x\\\"}\"";
    let json = json!({"level": "INFO", "chain": "of another program", "message": " {\"chain\":\"x\"}"});
    let between = |prefix: &str| -> String {
        printed.lines().map(|line| format!("{log}\n{prefix}{line}\n{json}\n\n")).collect::<Vec<_>>().concat()
    };
    let count = printed.lines().count();
    for prefix in ["", "2026-11-30T18:00:00.1Z stdout F ", "[pod/lanyard-0/lanyard] "] {
        let found = verified(&trail, "stdout", &between(prefix)).json(0);
        let chain = &found["chains"][0];
        assert_eq!((&chain["last"], &chain["has_ended"]), (&json!(count), &json!(true)), "{found}");
        assert_eq!((&chain["signed"], &found["other_lines"]), (&json!(count - 1), &json!(3 * count)), "{found}");
    }
    // One that is missing among them is placed: the log, the removed record, and the three lines before the next one.
    let removed = between("").replace(&format!("{}\n", printed.lines().nth(4).unwrap()), "");
    let found = verified(&trail, "stdout", &removed).json(1);
    assert_eq!(found["faults"].as_array().map(Vec::len), Some(1), "{found}");
    assert_eq!(found["faults"][0]["line"], json!(4 * 4 + 3 + 2), "{found}");
    // What is searched is what is verified.
    let saved = trail.path("saved.log");
    let search = run(lanyard().args(["audit", "search", text(&saved), "--reason", "WRONG_ROLE", "-o", "json"]));
    assert_eq!(search.json(0)["records"].as_array().map(Vec::len), Some(5));
}

#[tokio::test]
async fn a_collector_gets_each_record_as_a_log_record_whose_body_is_the_line() {
    let collector = Collector::start();
    let trail = Trail::new(", otlp: true");
    let endpoint = format!("{{otlp: {{endpoint: 'http://{}'}}}}", collector.address);
    let environment = [("LANYARD_AUDIT", &*trail.section()), ("LANYARD_TELEMETRY", &endpoint)];
    let serve = Serve::start_in(&environment, &trail.setup, 1024);
    let token = trail.use_it(&serve, 1).await;
    let svid = trail.setup.ca.svid(&format!("spiffe://{TRUST_DOMAIN}/checkout")).issue();
    let mut tokens = TokenServiceClient::new(channel(serve.mtls, trail.setup.tls(&svid)));
    tokens.issue_token(within_trace(IssueTokenRequest::default(), &parent("a1"))).await.unwrap();
    stop(serve);
    let written = fs::read_to_string(trail.path("audit.jsonl")).unwrap();
    assert_eq!(bodies(&collector), written);
    assert!(!written.contains(&token));
    let logs = collector.logs();
    let traced = logs.iter().find(|record| hex::encode(&record.trace_id) == numbered("a1")).unwrap();
    let line: Value = serde_json::from_str(&body(traced)).unwrap();
    assert_eq!(line["trace_id"], numbered("a1"));
    let attributes = texts(&traced.attributes);
    let named = |name: &str| attributes[&format!("lanyard.audit.{name}")].clone();
    assert_eq!(named("event"), "token_issued");
    assert_eq!((json!(named("chain")), named("sequence")), (line["chain"].clone(), line["sequence"].to_string()));
    assert_eq!(traced.time_unix_nano, line["time"].as_u64().unwrap() * 1_000_000_000);
    assert_eq!((traced.severity_number(), &*traced.severity_text), (SeverityNumber::Info, "INFO"));
    verified(&trail, "otlp", &bodies(&collector)).json(0);
}

#[tokio::test]
async fn a_collector_that_is_away_gates_nothing_and_gets_everything_when_it_is_there() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let trail = Trail::new(", otlp: true");
    let endpoint = format!("{{otlp: {{endpoint: 'http://{address}'}}}}");
    let environment = [("LANYARD_AUDIT", &*trail.section()), ("LANYARD_TELEMETRY", &endpoint)];
    let serve = Serve::start_in(&environment, &trail.setup, 1024);
    trail.use_it(&serve, 3).await;
    while counted(&serve, "lanyard_export_failures_total{signal=\"logs\"}") == 0 {
        tokio::task::yield_now().await;
    }
    // The file has them all meanwhile.
    while records(&trail.path("audit.jsonl")).len() < 6 {
        tokio::task::yield_now().await;
    }
    assert_eq!(counted(&serve, "lanyard_audit_records_total{destination=\"otlp\""), 0, "nothing is lost yet");
    let collector = Collector::at(address);
    collector.until(|| (collector.logs().len() >= 6).then_some(())).await;
    stop(serve);
    assert_eq!(bodies(&collector), fs::read_to_string(trail.path("audit.jsonl")).unwrap());
}

#[tokio::test]
async fn without_its_collector_and_its_reader_a_server_ends_in_time_and_the_file_is_whole() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let trail = Trail::new(", otlp: true, stdout: true");
    let endpoint = format!("{{otlp: {{endpoint: 'http://{address}'}}}}");
    let environment = [("LANYARD_AUDIT", &*trail.section()), ("LANYARD_TELEMETRY", &endpoint)];
    // It takes nothing.
    let full = File::options().write(true).open("/dev/full").unwrap();
    let serve = Serve::start_into(full, &environment, &trail.setup, 1024);
    trail.use_it(&serve, 3).await;
    stop(serve);
    let found = trail.verified(&trail.files()).json(0);
    assert_eq!((&found["chains"][0]["has_ended"], &found["faults"]), (&json!(true), &json!([])), "{found}");
    // The chain says what standard output did not get.
    let missing: Vec<Value> = records(&trail.path("audit.jsonl"));
    let missing: Vec<&Value> = missing.iter().filter(|record| record["event"] == "not_copied").collect();
    assert!(missing.iter().any(|record| record["destination"] == "stdout" && record["first"] == 1), "{missing:?}");
}
