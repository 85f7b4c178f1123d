//! The alert rules: each is complete, is about metrics that there are, and does in promtool's own trials what it says.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::process::Finished;
use crate::support::process::run;
use crate::support::server::in_crate;
use crate::support::tools;
use crate::support::yaml;
use crate::telemetry::metrics_page::faults;

pub const RULES: &str = "helm/lanyard/files/alerts.yaml";

const CASES: &str = "tests/it/telemetry/alerts";

/// The alerts that are agreed on.
const ALERTS: [&str; 32] = [
    "LanyardAssertionReused",
    "LanyardAuditRecordsLost",
    "LanyardBundleStale",
    "LanyardConnectionsRefused",
    "LanyardDown",
    "LanyardDowngradeAttempts",
    "LanyardErrors",
    "LanyardHandshakesRefused",
    "LanyardIssuerKeysStale",
    "LanyardLogLinesDropped",
    "LanyardNewcomersDisplaced",
    "LanyardNotReady",
    "LanyardOverloaded",
    "LanyardPanic",
    "LanyardProposalWaiting",
    "LanyardQuotaExceeded",
    "LanyardRecordTooNew",
    "LanyardReloadFailing",
    "LanyardReportModeDenials",
    "LanyardServerCertificateExpiring",
    "LanyardShareExceeded",
    "LanyardSigningKeyOld",
    "LanyardSigningKeyStuck",
    "LanyardSigningTokenGone",
    "LanyardSlowChecks",
    "LanyardStolenTokenUsed",
    "LanyardStoreDiskFilling",
    "LanyardStoreDiverged",
    "LanyardStoreNotFollowed",
    "LanyardStoreSlow",
    "LanyardStoreUnwritable",
    "LanyardTelemetryNotExported",
];

fn read(path: &Path) -> Value {
    yaml::document(&fs::read_to_string(path).unwrap()).unwrap_or_else(|error| panic!("{path:?}: {error}"))
}

fn list<'a>(value: &'a Value, key: &str) -> &'a Vec<Value> {
    value[key].as_array().unwrap_or_else(|| panic!("no list {key}: {value:?}"))
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("no text {key}: {value:?}"))
}

/// The rules by the names of their alerts.
pub fn rules() -> BTreeMap<String, Value> {
    let file = read(&in_crate(RULES));
    let rules: Vec<&Value> = list(&file, "groups").iter().flat_map(|group| list(group, "rules")).collect();
    let named: BTreeMap<_, _> = rules.iter().map(|rule| (text(rule, "alert").to_owned(), (*rule).clone())).collect();
    assert_eq!(named.len(), rules.len(), "an alert has two rules");
    named
}

/// The files with cases, in order; each is for one alert, by the beginning of its name.
fn case_files() -> Vec<(String, PathBuf)> {
    let there = fs::read_dir(in_crate(CASES)).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = there.map(|path| (names(&path)[0].clone(), path)).collect();
    files.sort();
    files
}

/// The parts of a file's name.
fn names(path: &Path) -> Vec<String> {
    path.file_name().unwrap().to_str().unwrap().split('.').map(ToOwned::to_owned).collect()
}

/// What a case expects at one time: whether its alert fires.
fn fires(expected: &Value) -> bool {
    !list(expected, "exp_alerts").is_empty()
}

#[test]
fn each_alert_that_is_agreed_on_is_there_and_no_other() {
    assert_eq!(rules().into_keys().collect::<Vec<_>>(), ALERTS);
}

#[test]
fn each_alert_says_how_bad_it_is_and_what_to_do() {
    let index = fs::read_to_string(in_crate("docs/runbooks/README.md")).unwrap();
    for (alert, rule) in rules() {
        assert!(text(&rule, "for").ends_with(['s', 'm', 'h']), "{alert}");
        let severity = text(&rule["labels"], "severity");
        assert!(["page", "ticket"].contains(&severity), "{alert}: {severity}");
        let annotations = &rule["annotations"];
        assert!(text(annotations, "summary").ends_with('.'), "{alert}");
        assert!(text(annotations, "description").contains("{{"), "{alert}: the description has no values");
        assert_eq!(text(annotations, "runbook_url"), format!("RUNBOOK_BASE/{alert}.md"));
        let page = fs::read_to_string(in_crate(&format!("docs/runbooks/{alert}.md"))).unwrap();
        let begins = format!("# {alert}\n\n**{}** ({severity})", text(annotations, "summary"));
        assert!(page.starts_with(&begins), "{alert}: its page does not begin with: {begins}");
        for heading in
            ["## What it means", "## Who feels it", "## How to look", "## What to do", "## When it is nothing"]
        {
            assert_eq!(page.matches(&format!("\n{heading}\n")).count(), 1, "{alert}: {heading}");
        }
        assert!(index.contains(&format!("| [{alert}]({alert}.md) | {severity} |")), "{alert} is not in the index");
    }
}

#[test]
fn each_page_is_an_alerts() {
    for entry in fs::read_dir(in_crate("docs/runbooks")).unwrap() {
        let name = names(&entry.unwrap().path())[0].clone();
        assert!(name == "README" || ALERTS.contains(&name.as_str()), "{name}");
    }
}

#[test]
fn each_alert_is_about_metrics_and_labels_that_there_are() {
    let rules = rules();
    let faults: Vec<_> = rules.iter().flat_map(|(alert, rule)| faults(alert, text(rule, "expr"))).collect();
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn each_alert_has_a_case_where_it_fires_and_a_near_one_where_it_does_not() {
    let mut found: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for (alert, path) in case_files() {
        let file = read(&path);
        assert_eq!(list(&file, "rule_files"), &[Value::from(format!("../../../../{RULES}"))], "{path:?}");
        for case in list(&file, "tests") {
            let expected = list(case, "alert_rule_test");
            assert!(expected.iter().all(|expected| text(expected, "alertname") == alert), "{path:?}");
            let (firing, silent) = found.entry(alert.clone()).or_default();
            let here = expected.iter().filter(|expected| fires(expected)).count();
            assert!(here == 0 || here == expected.len(), "{path:?}: {}", text(case, "name"));
            *(if here > 0 { firing } else { silent }) += 1;
        }
    }
    assert_eq!(found.keys().collect::<Vec<_>>(), ALERTS.iter().collect::<Vec<_>>());
    let lacking: Vec<_> = found.iter().filter(|(_, (firing, silent))| *firing == 0 || *silent == 0).collect();
    assert!(lacking.is_empty(), "{lacking:?}");
}

/// Runs cases by promtool.
fn tried(promtool: &Path, files: &[PathBuf]) -> Finished {
    run(Command::new(promtool).args(["test", "rules"]).args(files))
}

#[test]
fn prometheus_takes_the_rules() {
    let Some(promtool) = tools::promtool() else { return };
    let checked =
        run(Command::new(promtool).args(["check", "rules", "--lint=all", "--lint-fatal"]).arg(in_crate(RULES)));
    assert!(checked.ok().contains(&format!("SUCCESS: {} rules found", ALERTS.len())));
}

#[test]
fn every_case_comes_out_as_it_says() {
    let Some(promtool) = tools::promtool() else { return };
    let files: Vec<_> = case_files().into_iter().map(|(_, path)| path).collect();
    let said = tried(&promtool, &files).ok();
    assert_eq!(said.matches("SUCCESS").count(), files.len(), "{said}");
}

/// The cases of each alert, or those that `keep` takes, with other rules in place of ours: whether promtool lets each pass.
fn tried_with(promtool: &Path, expr: &str, keep: impl Fn(&Value) -> bool) -> BTreeMap<String, bool> {
    let folder = TempDir::new().unwrap();
    let rule = |alert: &String| format!("  - {{alert: {alert}, expr: {expr}, for: 0s}}\n");
    let rules: String = rules().keys().map(rule).collect();
    fs::write(folder.path().join("rules.yaml"), format!("groups:\n- name: other\n  rules:\n{rules}")).unwrap();
    let mut passed = BTreeMap::new();
    for (alert, path) in case_files() {
        let mut file = read(&path);
        file["rule_files"] = vec![Value::from("rules.yaml")].into();
        file["tests"].as_array_mut().unwrap().retain(|case| list(case, "alert_rule_test").iter().all(&keep));
        let written = folder.path().join("cases.yaml");
        fs::write(&written, yaml::to_string(&file)).unwrap();
        let finished = tried(promtool, &[written]);
        assert!(finished.code == Some(0) || finished.stderr.contains("FAILED"), "{finished:?}");
        *passed.entry(alert).or_default() |= !list(&file, "tests").is_empty() && finished.code == Some(0);
    }
    passed
}

#[test]
fn an_alert_that_never_fires_and_one_that_always_does_would_be_found() {
    let Some(promtool) = tools::promtool() else { return };
    let unnoticed = |expr, keep: fn(&Value) -> bool| {
        let passed = tried_with(&promtool, expr, keep);
        passed.into_iter().filter(|(_, passed)| *passed).map(|(alert, _)| alert).collect::<Vec<_>>()
    };
    assert_eq!(unnoticed("vector(1) > 1", fires), Vec::<String>::new());
    assert_eq!(unnoticed("vector(1)", |expected| !fires(expected)), Vec::<String>::new());
    // As a check of this test: what never fires passes where nothing should.
    assert_eq!(unnoticed("vector(1) > 1", |expected| !fires(expected)), ALERTS);
}
