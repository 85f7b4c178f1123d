//! The dashboard for Grafana: every query on it can be read, and is about metrics that there are.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::process::run;
use crate::support::server::in_crate;
use crate::support::tools;
use crate::telemetry::metrics_page::faults;

fn dashboard() -> Value {
    serde_json::from_str(&fs::read_to_string(in_crate("helm/lanyard/files/dashboard.json")).unwrap()).unwrap()
}

fn list<'a>(value: &'a Value, key: &str) -> &'a Vec<Value> {
    value[key].as_array().unwrap_or_else(|| panic!("no list {key}: {value}"))
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("no text {key}: {value}"))
}

/// The panels with queries; the others are headings.
fn panels(dashboard: &Value) -> Vec<&Value> {
    list(dashboard, "panels").iter().filter(|panel| panel["type"] != "row").collect()
}

/// Every query, with the title of its panel, and with Grafana's own intervals filled in.
fn queries() -> Vec<(String, String)> {
    let mut queries = Vec::new();
    for panel in panels(&dashboard()) {
        for target in list(panel, "targets") {
            let expr = text(target, "expr").replace("$__rate_interval", "5m").replace("$__range", "1h");
            queries.push((text(panel, "title").to_owned(), expr));
        }
    }
    queries
}

#[test]
fn each_panel_has_a_number_a_place_a_title_and_the_data_source_that_is_chosen() {
    let dashboard = dashboard();
    assert!(dashboard["schemaVersion"].as_u64().is_some_and(|version| version >= 39));
    assert!(dashboard["id"].is_null() && text(&dashboard, "uid") == "lanyard");
    let variables: Vec<&str> =
        list(&dashboard["templating"], "list").iter().map(|variable| text(variable, "name")).collect();
    assert_eq!(variables, ["datasource", "namespace", "job"]);
    let mut numbers = BTreeSet::new();
    let mut places: Vec<[u64; 4]> = Vec::new();
    for panel in list(&dashboard, "panels") {
        let title = text(panel, "title");
        assert!(numbers.insert(panel["id"].as_u64().unwrap()), "{title}: its number is another's");
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap());
        assert!(x + w <= 24, "{title}");
        let over = places
            .iter()
            .any(|other| x < other[0] + other[2] && other[0] < x + w && y < other[1] + other[3] && other[1] < y + h);
        assert!(!over, "{title} lies over another panel");
        places.push([x, y, w, h]);
    }
    for panel in panels(&dashboard) {
        let title = text(panel, "title");
        assert!(!text(panel, "description").is_empty() && !list(panel, "targets").is_empty(), "{title}");
        assert!(!text(&panel["fieldConfig"]["defaults"], "unit").is_empty(), "{title} has no unit");
        let mut letters = BTreeSet::new();
        for part in list(panel, "targets").iter().chain([panel]) {
            assert_eq!(part["datasource"]["uid"], "${datasource}", "{title}");
        }
        assert!(list(panel, "targets").iter().all(|target| letters.insert(text(target, "refId"))), "{title}");
    }
}

#[test]
fn each_query_is_about_metrics_and_labels_that_there_are_and_the_chosen_job() {
    let faults: Vec<_> = queries().iter().flat_map(|(title, expr)| faults(title, expr)).collect();
    assert!(faults.is_empty(), "{faults:#?}");
    for (title, expr) in queries() {
        let chosen = r#"namespace=~"$namespace",job=~"$job""#;
        assert_eq!(expr.matches("lanyard_").count(), expr.matches(chosen).count(), "{title}: {expr}");
    }
}

#[test]
fn each_metric_of_the_table_is_on_the_dashboard() {
    let all: String = queries().into_iter().map(|(_, expr)| expr).collect();
    let table = fs::read_to_string(in_crate("docs/metrics.md")).unwrap();
    let names = table.lines().filter_map(|line| line.strip_prefix("| `lanyard_")?.split_once('`'));
    let lacking: Vec<_> =
        names.map(|(name, _)| name).filter(|name| !all.contains(&format!("lanyard_{name}"))).collect();
    assert!(lacking.is_empty(), "{lacking:?}");
}

#[test]
fn prometheus_reads_each_query() {
    let Some(promtool) = tools::promtool() else { return };
    let folder = TempDir::new().unwrap();
    let checked = |queries: &[(String, String)]| {
        let mut rules = "groups:\n- name: dashboard\n  rules:\n".to_owned();
        for (number, (_, expr)) in queries.iter().enumerate() {
            writeln!(rules, "  - {{record: 'query:{number}', expr: '{expr}'}}").unwrap();
        }
        let file = folder.path().join("rules.yaml");
        fs::write(&file, rules).unwrap();
        run(Command::new(&promtool).args(["check", "rules"]).arg(file))
    };
    let queries = queries();
    assert!(checked(&queries).ok().contains(&format!("SUCCESS: {} rules found", queries.len())));
    for broken in ["sum(lanyard_ready", "rate(lanyard_ready)", "lanyard_ready[$__rate]"] {
        assert_eq!(checked(&[(String::new(), broken.to_owned())]).code, Some(1), "{broken}");
    }
}
