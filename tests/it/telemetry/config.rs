//! The section `telemetry`: what it says where it says nothing, and what is refused, by which name.

use std::fs;
use std::time::Duration;

use lanyard::config;
use lanyard::config::Config;
use lanyard::config::ConfigError;

use crate::support::process::lanyard;
use crate::support::process::run;
use crate::support::server::Setup;

fn with(section: &str) -> Setup {
    let setup = Setup::default();
    setup.write();
    let path = setup.path("lanyard.yaml");
    let yaml = fs::read_to_string(&path).unwrap();
    fs::write(path, format!("{yaml}{section}\n")).unwrap();
    setup
}

fn load(section: &str) -> Result<Config, ConfigError> {
    config::load(&with(section).path("lanyard.yaml"))
}

#[test]
fn nothing_is_exported_unless_a_collector_is_named() {
    for section in ["", "telemetry: {}"] {
        assert_eq!(load(section).unwrap().otlp, None, "{section}");
    }
    let otlp = load("telemetry: {otlp: {endpoint: 'http://collector:4317'}}").unwrap().otlp.unwrap();
    assert_eq!((otlp.ca, otlp.metrics_interval), (None, Duration::from_mins(1)));
    assert!((otlp.sample_ratio - 1.0).abs() < f64::EPSILON);
    let setup = with(
        "telemetry: {otlp: {endpoint: 'https://c.example:1', ca: ca.pem, sample_ratio: 0.25, metrics_interval: 10s}}",
    );
    let otlp = config::load(&setup.path("lanyard.yaml")).unwrap().otlp.unwrap();
    assert_eq!((otlp.ca, otlp.metrics_interval), (Some(setup.path("ca.pem")), Duration::from_secs(10)));
    assert!((otlp.sample_ratio - 0.25).abs() < f64::EPSILON);
}

#[test]
fn what_cannot_stand_is_refused_by_its_key() {
    for (written, key) in [
        ("{}", "endpoint"),
        ("{endpoint: 'collector:4317'}", "telemetry.otlp.endpoint"),
        ("{endpoint: 'grpc://collector:4317'}", "telemetry.otlp.endpoint"),
        ("{endpoint: 'http://'}", "telemetry.otlp.endpoint"),
        ("{endpoint: 'http://me:secret@collector:4317'}", "telemetry.otlp.endpoint"),
        ("{endpoint: 'http://collector:4317/v1/traces'}", "telemetry.otlp.endpoint"),
        ("{endpoint: 'http://collector:4317/?x'}", "telemetry.otlp.endpoint"),
        ("{endpoint: 'http://collector:4317', ca: ca.pem}", "telemetry.otlp.ca"),
        ("{endpoint: 'http://collector:4317', sample_ratio: 1.1}", "telemetry.otlp.sample_ratio"),
        ("{endpoint: 'http://collector:4317', sample_ratio: -0.1}", "telemetry.otlp.sample_ratio"),
        ("{endpoint: 'http://collector:4317', sample_ratio: .nan}", "telemetry.otlp.sample_ratio"),
        ("{endpoint: 'http://collector:4317', metrics_interval: 10ms}", "telemetry.otlp.metrics_interval"),
        ("{endpoint: 'http://collector:4317', metrics_interval: 10}", "duration"),
        ("{endpoint: 'http://collector:4317', interval: 10s}", "interval"),
    ] {
        let problem = load(&format!("telemetry: {{otlp: {written}}}")).unwrap_err().to_string();
        assert!(problem.contains(key) && !problem.contains("secret"), "{written}: {problem}");
    }
}

#[test]
fn the_check_of_a_configuration_reads_the_collectors_ca() {
    let check = |ca: &str| {
        let setup = with(&format!("telemetry: {{otlp: {{endpoint: 'https://localhost:1', ca: {ca}}}}}"));
        run(lanyard().args(["config", "check", "--config"]).arg(setup.path("lanyard.yaml")))
    };
    check("ca.pem").ok();
    for wrong in ["server-key.pem", "nowhere.pem"] {
        let checked = check(wrong);
        assert!(checked.code == Some(1) && checked.stderr.contains(wrong), "{checked:?}");
    }
}

#[test]
fn the_audit_trail_goes_somewhere_and_what_is_said_of_a_file_goes_with_one() {
    assert!(load("").unwrap().audit.is_none());
    let setup = with("audit: {file: audit.jsonl, max_age: 24h}");
    let audit = config::load(&setup.path("lanyard.yaml")).unwrap().audit.unwrap();
    let file = audit.file.unwrap();
    assert_eq!((file.path, file.max_age), (setup.path("audit.jsonl"), Some(Duration::from_hours(24))));
    assert_eq!((file.max_bytes, file.keep, audit.stdout, audit.otlp.is_some()), (64 << 20, 30, false, false));
    let both = "audit: {stdout: true, otlp: true}\ntelemetry: {otlp: {endpoint: 'http://collector:4317'}}";
    let audit = load(both).unwrap().audit.unwrap();
    assert!(audit.file.is_none() && audit.stdout && audit.otlp.is_some());
    for (written, key) in [
        ("{}", "audit"),
        ("{stdout: false, key: audit-key.pem}", "audit"),
        ("{stdout: true, max_bytes: 1000}", "audit.max_bytes"),
        ("{stdout: true, max_age: 1h}", "audit.max_age"),
        ("{stdout: true, keep: 3}", "audit.keep"),
        ("{otlp: true}", "audit.otlp"),
        ("{file: audit.jsonl, max_age: 0s}", "duration"),
        ("{file: audit.jsonl, syslog: true}", "syslog"),
    ] {
        let problem = load(&format!("audit: {written}")).unwrap_err().to_string();
        assert!(problem.contains(key), "{written}: {problem}");
    }
}
