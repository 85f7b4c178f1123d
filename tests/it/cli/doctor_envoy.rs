//! `lanyard doctor --envoy`: the shipped configuration has no fault, and each fault is found in each form.

use std::fs;
use std::path::Path;

use serde_json::Map;
use serde_json::Value;
use serde_json::json;
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::support::doctor::DoctorFixture;
use crate::support::doctor::Seen;
use crate::support::http::Http;
use crate::support::http::get;
use crate::support::mesh::Mesh;
use crate::support::process::lanyard;
use crate::support::process::run;
use crate::support::process::text;
use crate::support::server::in_crate;
use crate::support::yaml;

const MANAGER: &str = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config";
const FILTERS: &str = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config/http_filters";
const MUTATION: &str =
    "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config/http_filters/0/typed_config/mutations";
const CHECK: &str = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config/http_filters/1/typed_config";
const DOWNSTREAM: &str = "/static_resources/listeners/0/filter_chains/0/transport_socket/typed_config";
const CLUSTER: &str = "/static_resources/clusters/1";
const UPSTREAM: &str = "/static_resources/clusters/1/transport_socket/typed_config/common_tls_context";

fn shipped() -> Value {
    yaml::value(&fs::read_to_string(in_crate("deploy/envoy/envoy.yaml")).unwrap())
}

/// The shipped configuration with one field set, or removed by null.
fn with(message: &str, name: &str, value: Value) -> Value {
    let mut config = shipped();
    let fields = config.pointer_mut(message).unwrap_or_else(|| panic!("no {message}")).as_object_mut().unwrap();
    if value.is_null() {
        assert!(fields.remove(name).is_some(), "{message} has no {name}");
    } else {
        fields.insert(name.to_owned(), value);
    }
    config
}

/// The same with the names that protobuf's JSON has. The names in a map stay, as does what is in `filter_metadata`.
fn camel_case(value: Value) -> Value {
    let rename = |name: &str| {
        if name.contains('.') {
            return name.to_owned();
        }
        let mut words = name.split('_');
        let first = words.next().unwrap().to_owned();
        words.fold(first, |name, word| name + &word[..1].to_uppercase() + &word[1..])
    };
    match value {
        Value::Object(fields) => {
            Value::Object(fields.into_iter().map(|(name, field)| (rename(&name), camel_case(field))).collect())
        }
        Value::Array(entries) => entries.into_iter().map(camel_case).collect(),
        scalar @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => scalar,
    }
}

/// What the admin interface prints of a static configuration: all of it twice.
fn dumped(config: &Value) -> Value {
    let of = |kind: &str, list: &str, one: &str| {
        let entries = config["static_resources"][kind].as_array().unwrap().iter();
        let entries: Vec<Value> =
            entries.map(|entry| Map::from_iter([(one.to_owned(), entry.clone())]).into()).collect();
        Map::from_iter([(list.to_owned(), entries.into())])
    };
    json!({"configs": [
        {"@type": "type.googleapis.com/envoy.admin.v3.BootstrapConfigDump", "bootstrap": config},
        of("clusters", "static_clusters", "cluster"),
        of("listeners", "static_listeners", "listener"),
    ]})
}

#[track_caller]
fn seen(path: &Path) -> Seen {
    Seen::new(&run(lanyard().args(["doctor", "--envoy"]).arg(path).args(["-o", "json"])))
}

/// The reports on a configuration in each form that it can have.
fn seen_in_each_form(config: &Value) -> [Seen; 4] {
    let folder = TempDir::new().unwrap();
    let forms = [
        yaml::to_string(config),
        config.to_string(),
        camel_case(config.clone()).to_string(),
        serde_json::to_string_pretty(&dumped(config)).unwrap(),
    ];
    forms.map(|form| {
        let path = folder.path().join("envoy");
        fs::write(&path, form).unwrap();
        seen(&path)
    })
}

#[test]
fn the_shipped_configuration_of_envoy_has_no_fault_in_any_form() {
    let mut count = 0;
    for entry in fs::read_dir(in_crate("deploy/envoy")).unwrap() {
        let path = entry.unwrap().path();
        if fs::read_to_string(&path).unwrap().contains("static_resources:") {
            seen(&path).healthy();
            count += 1;
        }
    }
    assert!(count > 0);
    for report in seen_in_each_form(&shipped()) {
        report.healthy();
        assert_eq!(report.checks("ok"), ["envoy"], "{report:#?}");
    }
    // Beside a server.
    let fixture = DoctorFixture::new();
    let both = fixture.seen_with(&["--envoy", text(&in_crate("deploy/envoy/envoy.yaml"))]);
    both.healthy();
    assert!(both.checks("ok").contains(&"envoy") && both.checks("ok").contains(&"store"), "{both:#?}");
}

#[test]
fn each_fault_of_an_envoy_is_found_once_in_each_form() {
    let header = "forward_client_cert_details";
    let details = "set_current_client_cert_details";
    let removing = |matcher: Value| json!([{"remove_on_match": {"key_matcher": matcher}}]);
    let matched = json!({"matcher_list": {"on_match": {"action": {"typed_config": {header: "FORWARD_ONLY"}}}}});
    for (message, name, value, code, is_error) in [
        (MANAGER, header, json!("FORWARD_ONLY"), "ENVOY_HEADER_PASSED_ON", true),
        (MANAGER, header, json!("ALWAYS_FORWARD_ONLY"), "ENVOY_HEADER_PASSED_ON", true),
        (MANAGER, header, json!(4), "ENVOY_HEADER_PASSED_ON", true),
        (MANAGER, "forward_client_cert_matcher", matched, "ENVOY_HEADER_PASSED_ON", true),
        (MANAGER, details, json!({"cert": true, "uri": true, "format": "JSON"}), "ENVOY_HEADER_FORMAT", true),
        (DOWNSTREAM, "disable_stateless_session_resumption", Value::Null, "ENVOY_TLS_RESUMPTION", false),
        (DOWNSTREAM, "disable_stateful_session_resumption", Value::Null, "ENVOY_TLS_RESUMPTION", false),
        (DOWNSTREAM, "disable_stateful_session_resumption", json!(false), "ENVOY_TLS_RESUMPTION", false),
        (MUTATION, "request_mutations", json!([]), "ENVOY_IDENTITY_HEADERS", false),
        (MUTATION, "request_mutations", removing(json!({"prefix": "x-other-"})), "ENVOY_IDENTITY_HEADERS", false),
        // A regular expression matches the whole name.
        (
            MUTATION,
            "request_mutations",
            removing(json!({"safe_regex": {"regex": "x[-_]lanyard[-_]"}})),
            "ENVOY_IDENTITY_HEADERS",
            false,
        ),
        (MUTATION, "request_mutations", json!([{"remove": "x-lanyard-scope"}]), "ENVOY_IDENTITY_HEADERS", false),
        (CHECK, "failure_mode_allow", json!(true), "ENVOY_FAILURE_MODE_ALLOW", false),
        (UPSTREAM, "tls_certificates", Value::Null, "ENVOY_WITHOUT_CERTIFICATE", true),
        (UPSTREAM, "tls_certificates", json!([]), "ENVOY_WITHOUT_CERTIFICATE", true),
        (CLUSTER, "transport_socket", Value::Null, "ENVOY_WITHOUT_CERTIFICATE", true),
    ] {
        for report in seen_in_each_form(&with(message, name, value.clone())) {
            if is_error { report.only(code) } else { report.only_warns(code) }
        }
    }
    // After the check the mutation removes what Lanyard has added, and not what it should.
    let mut late = shipped();
    late.pointer_mut(FILTERS).unwrap().as_array_mut().unwrap().swap(0, 1);
    for report in seen_in_each_form(&late) {
        report.only_warns("ENVOY_IDENTITY_HEADERS");
    }
    // YAML 1.1, which Envoy reads, has more words than `true`.
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("envoy.yaml");
    let written = fs::read_to_string(in_crate("deploy/envoy/envoy.yaml")).unwrap();
    fs::write(&path, written.replace("failure_mode_allow: false", "failure_mode_allow: yes")).unwrap();
    seen(&path).only_warns("ENVOY_FAILURE_MODE_ALLOW");
}

#[test]
fn other_configurations_without_a_fault_are_left_alone() {
    let named = |names: &[&str]| names.iter().map(|name| json!({"remove": name})).collect::<Value>();
    let ours = [
        "x-lanyard-client-id",
        "x-lanyard-subject",
        "x-lanyard-actor",
        "X-Lanyard-Scope",
        "x-lanyard-binding",
        "x-lanyard-receipt",
        "x-lanyard-txn",
        "x-lanyard-txn-subject",
    ];
    let secret = json!([{"name": "default", "sds_config": {"ads": {}}}]);
    let prefix = json!([{"remove_on_match": {"key_matcher": {"prefix": "x-lanyard-"}}}]);
    for (message, name, value) in [
        (MANAGER, "forward_client_cert_details", json!("APPEND_FORWARD")),
        (MANAGER, "forward_client_cert_details", json!("SANITIZE")),
        (MANAGER, "forward_client_cert_details", Value::Null),
        (MANAGER, "set_current_client_cert_details", json!({"cert": true, "format": "TEXT"})),
        (MUTATION, "request_mutations", named(&ours)),
        (MUTATION, "request_mutations", prefix),
        (CHECK, "failure_mode_allow", Value::Null),
        (UPSTREAM, "tls_certificate_sds_secret_configs", secret),
    ] {
        for report in seen_in_each_form(&with(message, name, value.clone())) {
            report.healthy();
        }
    }
    // A context that takes no certificates of clients may resume sessions.
    let mut plain = with(DOWNSTREAM, "require_client_certificate", Value::Null);
    let context = plain.pointer_mut(DOWNSTREAM).unwrap().as_object_mut().unwrap();
    context.remove("disable_stateful_session_resumption").unwrap();
    let common = context["common_tls_context"].as_object_mut().unwrap();
    common.remove("validation_context").unwrap();
    for report in seen_in_each_form(&plain) {
        report.healthy();
    }
}

#[test]
fn what_is_no_configuration_of_an_asking_envoy_is_named() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("envoy.yaml");
    let seen_of = |text: &str| {
        fs::write(&path, text).unwrap();
        seen(&path)
    };
    for no_envoy in ["", "null", "{}", "[", "a: {", "issuer: https://lanyard.prod.example\n", "{\"configs\": []}"] {
        seen_of(no_envoy).only("ENVOY_INVALID");
    }
    fs::write(&path, b"\xff").unwrap();
    seen(&path).only("ENVOY_UNREADABLE");
    seen(folder.path()).only("ENVOY_UNREADABLE");
    seen(&folder.path().join("nowhere.yaml")).only("ENVOY_UNREADABLE");
    // A gateway in front of the proxy that asks.
    let mut gateway = shipped();
    gateway.pointer_mut(FILTERS).unwrap().as_array_mut().unwrap().remove(1);
    seen_of(&gateway.to_string()).only_warns("ENVOY_WITHOUT_CHECKS");
    // The cluster may come by xDS, which only a dump has.
    let mut without_cluster = shipped();
    without_cluster.pointer_mut("/static_resources/clusters").unwrap().as_array_mut().unwrap().remove(1);
    let report = seen_of(&without_cluster.to_string());
    report.healthy();
    assert_eq!(report.checks("not_checked"), ["envoy"], "{report:#?}");
}

#[tokio::test]
async fn the_dump_of_a_running_envoy_is_read() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("dump.json");
    let passes_on =
        ("forward_client_cert_details: SANITIZE_SET", "forward_client_cert_details: FORWARD_ONLY".to_owned());
    for (changes, code) in [(Vec::new(), None), (vec![passes_on], Some("ENVOY_HEADER_PASSED_ON"))] {
        let Some(mesh) = Mesh::start(changes, |_| {}).await else { return };
        let admin = TcpStream::connect(mesh.envoy.admin).await.unwrap();
        let dump = Http::one(admin).await.send(get("/config_dump")).await.body;
        assert!(dump.contains("envoy.admin.v3.ListenersConfigDump"), "{dump}");
        fs::write(&path, dump).unwrap();
        let report = seen(&path);
        match code {
            None => report.healthy(),
            Some(code) => {
                report.only(code);
                let line = report.lines().find(|line| line["code"] == code).unwrap();
                assert!(line["subject"].as_str().unwrap().ends_with("dump.json, listener orders"), "{line}");
            }
        }
    }
}
