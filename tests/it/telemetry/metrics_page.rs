//! The page of metrics as Prometheus reads it, and `docs/metrics.md`, the table of all that there are.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use lanyard::proto::RotateSigningKeyRequest;
use lanyard::proto::key_service_client::KeyServiceClient;
use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::support::process::run;
use crate::support::process::run_with;
use crate::support::server::TestServer;
use crate::support::server::in_crate;
use crate::support::tools;
use crate::telemetry::alerts;

/// What Prometheus asks for.
const OPEN_METRICS: &str = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";

/// What older ones, and promtool, read.
const CLASSIC: &str = "text/plain;version=0.0.4";

/// Labels that Prometheus itself gives: those of the target, and the one of histograms.
const GIVEN: [&str; 5] = ["namespace", "job", "instance", "pod", "le"];

/// One metric, as the table or the page has it.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Metric {
    kind: String,
    labels: BTreeSet<String>,
}

/// The table, by the name in queries.
fn table() -> BTreeMap<String, Metric> {
    let page = fs::read_to_string(in_crate("docs/metrics.md")).unwrap();
    let mut metrics = BTreeMap::new();
    for row in page.lines().filter(|line| line.starts_with("| `lanyard_")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [_, name, kind, labels, unit, meaning, _] = cells[..] else { panic!("{row}") };
        assert!(!unit.is_empty() && !meaning.is_empty(), "{row}");
        let labels = labels.split(", ").filter(|label| *label != "-").map(|label| label.trim_matches('`').to_owned());
        let metric = Metric { kind: kind.to_owned(), labels: labels.collect() };
        assert_eq!(metrics.insert(name.trim_matches('`').to_owned(), metric), None, "{row}");
    }
    assert!(metrics.len() > 9);
    metrics
}

/// The metric of a series, which of a histogram has three.
fn family<'a>(table: &'a BTreeMap<String, Metric>, series: &str) -> Option<(String, &'a Metric)> {
    let parts = ["_bucket", "_sum", "_count"].into_iter().filter_map(|part| series.strip_suffix(part));
    let histogram = parts.filter_map(|name| table.get_key_value(name)).find(|(_, metric)| metric.kind == "histogram");
    let itself = table.get_key_value(series).filter(|(_, metric)| metric.kind != "histogram");
    itself.or(histogram).map(|(name, metric)| (name.clone(), metric))
}

/// A series in a query, with what it says of labels.
struct Selected {
    series: String,
    /// Label, operator, value.
    matchers: Vec<(String, String, String)>,
}

/// The series of ours that an expression selects.
fn selected(expr: &str) -> Vec<Selected> {
    let mut found = Vec::new();
    let mut rest = expr;
    while let Some(at) = rest.find("lanyard_") {
        rest = &rest[at..];
        let end = rest.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').unwrap_or(rest.len());
        let (series, after) = rest.split_at(end);
        rest = after;
        let mut matchers = Vec::new();
        if let Some((braces, after)) = after.strip_prefix('{').and_then(|after| after.split_once('}')) {
            rest = after;
            let quoted: Vec<&str> = braces.split('"').collect();
            for pair in quoted.chunks_exact(2) {
                let pattern = pair[0].trim_start_matches([',', ' ']);
                let (label, operator) = pattern.split_at(pattern.find(['=', '!']).unwrap());
                matchers.push((label.to_owned(), operator.to_owned(), pair[1].to_owned()));
            }
        }
        found.push(Selected { series: series.to_owned(), matchers });
    }
    found
}

/// The labels by which an expression groups or joins.
fn grouped(expr: &str) -> Vec<&str> {
    let words = ["by (", "on ("].into_iter().flat_map(|word| expr.split(word).skip(1));
    let lists = words.filter_map(|rest| rest.split_once(')')).map(|(list, _)| list);
    lists.flat_map(|list| list.split(',').map(str::trim)).filter(|label| !label.is_empty()).collect()
}

/// What is wrong with an expression: metrics and labels that are not in the table.
pub fn faults(whose: &str, expr: &str) -> Vec<String> {
    let table = table();
    let mut faults = Vec::new();
    let mut labels: BTreeSet<&str> = GIVEN.into();
    let selected = selected(expr);
    if selected.is_empty() {
        faults.push(format!("{whose}: no metric of ours"));
    }
    for Selected { series, matchers } in &selected {
        let Some((_, metric)) = family(&table, series) else {
            faults.push(format!("{whose}: there is no {series}"));
            continue;
        };
        labels.extend(metric.labels.iter().map(String::as_str));
        for (label, ..) in matchers {
            if !metric.labels.contains(label) && !GIVEN.contains(&label.as_str()) {
                faults.push(format!("{whose}: {series} has no label {label}"));
            }
        }
    }
    let foreign = grouped(expr).into_iter().filter(|label| !labels.contains(label));
    faults.extend(foreign.map(|label| format!("{whose}: nothing has the label {label}")));
    faults
}

#[test]
fn what_is_not_in_the_table_is_found() {
    let found = |expr| faults("x", expr).len();
    assert_eq!(found("sum by (namespace, reason) (rate(lanyard_decisions_total{question=\"check\"}[5m])) > 0"), 0);
    assert_eq!(found("sum by (le) (rate(lanyard_request_duration_seconds_bucket{job=~\"a|b\"}[5m]))"), 0);
    for wrong in [
        "rate(lanyard_decision_total[5m])",
        "rate(lanyard_decisions[5m])",
        "lanyard_request_duration_seconds",
        "lanyard_ready_count",
        "lanyard_decisions_total{questions=\"check\"}",
        "lanyard_decisions_total{question=\"check\", verdict!~\"deny\"}",
        "sum by (verdict) (lanyard_decisions_total)",
        "lanyard_ready and on (kid) lanyard_build_info",
        "up == 0",
    ] {
        assert_eq!(found(wrong), 1, "{wrong}");
    }
}

/// The page for one who accepts these types.
async fn page(server: &TestServer, accept: &str) -> String {
    let mut stream = TcpStream::connect(server.addresses.ops).await.unwrap();
    // By HTTP/1.0 an answer is whole at its end, and in no chunks.
    stream.write_all(format!("GET /metrics HTTP/1.0\r\nAccept: {accept}\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, page) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.0 200") || head.starts_with("HTTP/1.1 200"), "{head}");
    page.to_owned()
}

/// The metrics of a page in the older format, by the name in queries.
fn metrics(classic: &str) -> BTreeMap<String, Metric> {
    let types = classic.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let metric = |kind: &str| Metric { kind: kind.to_owned(), labels: BTreeSet::new() };
    let mut metrics: BTreeMap<String, Metric> = types.map(|(name, kind)| (name.to_owned(), metric(kind))).collect();
    for line in classic.lines().filter(|line| !line.starts_with('#')) {
        let series = &selected(line)[0];
        let name = family(&metrics, &series.series).unwrap_or_else(|| panic!("{line}: of no family")).0;
        let labels = series.matchers.iter().map(|(label, ..)| label.clone()).filter(|label| label != "le");
        metrics.get_mut(&name).unwrap().labels.extend(labels);
    }
    metrics
}

#[tokio::test]
async fn promtool_has_no_complaint_about_the_page() {
    let Some(promtool) = tools::promtool() else { return };
    let server = TestServer::start().await;
    let checkout = server.workload("/checkout").await;
    server.token(&checkout).await;
    let page = page(&server, CLASSIC).await;
    let checked = |page: &str| run_with(Command::new(&promtool).args(["check", "metrics"]), page);
    let finished = checked(&page);
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""), "{finished:?}");
    // As a check of this test: what it would complain about.
    let without_help = page.replace("# HELP lanyard_panics_total", "# HELP lanyard_panic_total");
    assert_eq!(checked(&without_help).code, Some(3));
    assert_eq!(checked(&page.replacen(" counter", " number", 1)).code, Some(1));
}

#[tokio::test]
async fn prometheus_reads_the_page_as_open_metrics() {
    let Some(promtool) = tools::promtool() else { return };
    let server = TestServer::start().await;
    let page = page(&server, OPEN_METRICS).await;
    let folder = TempDir::new().unwrap();
    // What is read into a database needs the time in each line, which a page to be scraped has not.
    let timed = |line: &str| if line.starts_with('#') { format!("{line}\n") } else { format!("{line} 1700000000\n") };
    let read = |page: &str| {
        let file = folder.path().join("page");
        fs::write(&file, page.lines().map(timed).collect::<String>()).unwrap();
        let mut command = Command::new(&promtool);
        run(command.args(["tsdb", "create-blocks-from", "openmetrics"]).args([&file, &folder.path().join("blocks")]))
    };
    read(&page).ok();
    assert_eq!(read(page.strip_suffix("# EOF\n").unwrap()).code, Some(1));
    assert_eq!(read(&page.replacen(" counter", " number", 1)).code, Some(1));
}

#[tokio::test]
async fn the_page_has_the_metrics_of_the_table_with_their_types_and_labels_and_no_others() {
    let server = TestServer::started(|setup| "{sled: {path: data}}".clone_into(&mut setup.store)).await;
    let table = table();
    let page = metrics(&page(&server, CLASSIC).await);
    assert!(page.len() > 8);
    for (name, metric) in &page {
        let mut reported = table.get(name).unwrap_or_else(|| panic!("docs/metrics.md lacks {name}")).clone();
        if metric.labels.is_empty() {
            // Of what has no series yet no labels are seen.
            reported.labels.clear();
        }
        assert_eq!(*metric, reported, "{name}");
    }
    let lacking: Vec<&String> = table.keys().filter(|name| !page.contains_key(*name)).collect();
    assert!(lacking.is_empty(), "the page lacks {lacking:?}");
}

/// The series of a page in the older format: each with its labels, and its value.
fn values(classic: &str) -> Vec<(&str, &str)> {
    classic.lines().filter(|line| !line.starts_with('#')).map(|line| line.rsplit_once(' ').unwrap()).collect()
}

#[tokio::test]
async fn each_alert_asks_for_values_of_labels_that_there_are() {
    let server = TestServer::start().await;
    let mut keys = KeyServiceClient::new(server.channel(&server.svid("/admin")));
    keys.rotate_signing_key(RotateSigningKeyRequest {}).await.unwrap();
    let page = page(&server, CLASSIC).await;
    let mut there: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
    for (series, _) in values(&page) {
        for Selected { series, matchers } in selected(series) {
            for (label, _, value) in matchers {
                there.entry((series.clone(), label)).or_default().insert(value);
            }
        }
    }
    let mut looked = 0;
    for (alert, rule) in alerts::rules() {
        for Selected { series, matchers } in selected(rule["expr"].as_str().unwrap()) {
            // Those of a histogram are there once there was a request.
            let histogram = ["_bucket", "_sum", "_count"].iter().any(|part| series.ends_with(part));
            for (label, _, asked) in matchers.into_iter().filter(|_| !histogram) {
                let Some(known) = there.get(&(series.clone(), label)) else { continue };
                for value in asked.split('|') {
                    assert!(known.contains(value), "{alert}: no {series} has {value}");
                    looked += 1;
                }
            }
        }
    }
    assert!(looked >= 2, "{looked}");
}

#[tokio::test]
async fn a_server_that_is_not_asked_raises_no_alert_and_neither_does_its_restart() {
    let Some(promtool) = tools::promtool() else { return };
    let server = TestServer::start().await;
    let page = page(&server, CLASSIC).await;
    let mut cases = format!(
        "rule_files: ['{}']\nevaluation_interval: 1m\ntests:\n- interval: 1m\n  input_series:\n",
        in_crate(alerts::RULES).display()
    );
    for (series, value) in values(&page) {
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        for (instance, times) in [("one", format!("{value}x60 stale")), ("two", format!("_x61 {value}x60"))] {
            let series = format!("{name}{{job=\"lanyard\",instance=\"{instance}\",{labels}").replace('\'', "\'\'");
            writeln!(cases, "  - {{series: '{series}', values: '{times}'}}").unwrap();
        }
    }
    cases.push_str("  alert_rule_test:\n");
    for (alert, _) in alerts::rules() {
        for time in ["20m", "60m", "64m", "70m", "120m"] {
            writeln!(cases, "  - {{eval_time: {time}, alertname: {alert}, exp_alerts: []}}").unwrap();
        }
    }
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("idle.yaml");
    fs::write(&file, cases).unwrap();
    assert!(run(Command::new(promtool).args(["test", "rules"]).arg(file)).ok().contains("SUCCESS"));
}
