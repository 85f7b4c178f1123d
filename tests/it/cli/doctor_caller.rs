//! `lanyard doctor --client`: each thing that keeps a workload from its tokens, found from its own machine.

use std::fs;
use std::process::Command;

use lanyard::authority::clock::Timestamp;
use serde_json::Value;

use crate::support::ca::self_signed;
use crate::support::dev::Dev;
use crate::support::dev::Files;
use crate::support::process::free_ports;
use crate::support::process::lanyard;
use crate::support::process::run;
use crate::support::process::text;

/// A doctor for the files of this name, of which some are replaced.
fn doctor(files: &Files, who: &str, replaced: &[(&str, &str)]) -> Command {
    let path = |name: &str| text(&files.path(name)).to_owned();
    let settings = [
        ("--server", files.server.clone()),
        ("--ca", path("ca.pem")),
        ("--cert", path(&format!("{who}.pem"))),
        ("--key", path(&format!("{who}-key.pem"))),
    ];
    let mut command = lanyard();
    command.args(["doctor", "--client", "-o", "json"]);
    for (flag, value) in settings {
        let other = replaced.iter().find(|(name, _)| *name == flag).map(|(_, other)| (*other).to_owned());
        command.args([flag, &other.unwrap_or(value)]);
    }
    command
}

/// The faults that it finds, and its report.
fn faults(files: &Files, who: &str, replaced: &[(&str, &str)]) -> (Vec<String>, Value) {
    let finished = run(&mut doctor(files, who, replaced));
    let report: Value = serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {finished:?}"));
    assert_eq!(finished.code, Some(i32::from(report["errors"] != 0)), "{finished:?}");
    let checks = report["checks"].as_array().unwrap();
    for check in checks {
        assert_eq!(check["code"].is_null(), check["next"].is_null(), "{check}");
    }
    (checks.iter().filter_map(|check| check["code"].as_str()).map(ToOwned::to_owned).collect(), report)
}

#[track_caller]
fn found(files: &Files, who: &str, replaced: &[(&str, &str)], code: &str, next: &str) {
    let (codes, report) = faults(files, who, replaced);
    assert!(codes.iter().any(|one| one == code), "{code}: {report:#}");
    let said = report["checks"]
        .as_array()
        .unwrap()
        .iter()
        .any(|check| check["code"] == code && check["next"].as_str().is_some_and(|text| text.contains(next)));
    assert!(said, "{next}: {report:#}");
}

#[test]
fn a_workload_that_gets_tokens_has_nothing_wrong() {
    let Dev { files, .. } = &Dev::start();
    let (codes, report) = faults(files, "workload", &[]);
    assert_eq!(codes, [""; 0], "{report:#}");
    let checks: Vec<(&str, &str)> = report["checks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|check| (check["check"].as_str().unwrap(), check["status"].as_str().unwrap()))
        .collect();
    let names = [
        "caller_files",
        "caller_certificate",
        "server_address",
        "server_connection",
        "caller_registration",
        "caller_token",
        "clock",
    ];
    assert_eq!(checks, names.map(|name| (name, "ok")), "{report:#}");
    // The token is not shown.
    assert!(!report.to_string().contains("eyJ"), "{report}");
    assert!(report.to_string().contains("spiffe://dev.internal/workload"), "{report}");
    // A certificate that is registered itself, which has no SPIFFE ID.
    assert_eq!(faults(files, "selfsigned", &[]).0, [""; 0]);

    // From the variables and a context.
    let contexts = files.path("contexts.yaml");
    let paths = ["ca", "cert", "key"].map(|field| match field {
        "ca" => "ca: ca.pem".to_owned(),
        "cert" => "cert: workload.pem".to_owned(),
        _ => "key: workload-key.pem".to_owned(),
    });
    let context = format!("contexts: {{shop: {{server: '{}', {}}}}}\n", files.server, paths.join(", "));
    fs::write(&contexts, context).unwrap();
    let mut by_context = lanyard();
    by_context.args(["doctor", "--client", "--context", "shop"]).env("LANYARD_CONTEXTS", &contexts);
    assert!(run(&mut by_context).ok().ends_with("0 errors, 0 warnings\n"));
    run(lanyard().args(["doctor", "--client"])).refused("--client needs --ca", "--context");
}

#[test]
fn each_fault_of_the_files_is_named_with_the_next_step() {
    let Dev { files, .. } = &Dev::start();
    let path = |name: &str| text(&files.path(name)).to_owned();
    found(files, "workload", &[("--cert", "/nowhere.pem")], "CALLER_FILE_UNUSABLE", "path is right");
    found(
        files,
        "workload",
        &[("--key", &path("proxy-key.pem"))],
        "CALLER_FILE_UNUSABLE",
        "that the certificate was issued for",
    );
    for (name, from, to, code) in [
        ("past", 0, 86_400, "CALLER_CERTIFICATE_EXPIRED"),
        ("future", 4_000_000_000, 4_100_000_000, "CALLER_CERTIFICATE_NOT_YET_VALID"),
    ] {
        let certificate = self_signed(name).between(Timestamp(from), Timestamp(to)).issue();
        fs::write(files.path(&format!("{name}.pem")), certificate.pem()).unwrap();
        fs::write(files.path(&format!("{name}-key.pem")), certificate.key_pem()).unwrap();
        found(files, name, &[], code, "certificate");
    }
}

#[test]
fn each_fault_on_the_way_and_at_the_server_is_named_with_the_next_step() {
    let Dev { files, .. } = &Dev::start();
    let nowhere = [("--server", "https://no-such-host.invalid:8443")];
    found(files, "workload", &nowhere, "SERVER_NAME_UNRESOLVED", "DNS");
    let [closed] = free_ports();
    let closed = format!("https://localhost:{closed}");
    found(files, "workload", &[("--server", &closed)], "SERVER_UNREACHABLE", "firewall");
    let selfsigned = text(&files.path("selfsigned.pem")).to_owned();
    found(files, "workload", &[("--ca", &selfsigned)], "SERVER_TLS_FAILED", "--ca");

    let stranger = self_signed("stranger").between(Timestamp(0), Timestamp(4_000_000_000)).issue();
    fs::write(files.path("stranger.pem"), stranger.pem()).unwrap();
    fs::write(files.path("stranger-key.pem"), stranger.key_pem()).unwrap();
    found(files, "stranger", &[], "CALLER_CERTIFICATE_REFUSED", "registered first");
    // One that the server accepts, and that nothing is registered for.
    found(files, "admin", &[], "CALLER_NOT_REGISTERED", "lanyard client apply");
    let registered = files.run("admin", &["client", "get", "spiffe://dev.internal/workload"]).ok();
    files.apply(&format!("{registered}\ndisabled: true\n")).ok();
    found(files, "workload", &[], "CALLER_GETS_NO_TOKEN", "lanyard client get");
}
