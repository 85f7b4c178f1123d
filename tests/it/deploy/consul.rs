//! The configuration entries in `deploy/consul`, read by Consul's own code: as `consul config write` reads them, as a server
//! validates them, and as the extension in them becomes the sidecar's configuration. No Consul runs.

use std::fs;

use serde_json::Value;
use serde_json::json;
use tempfile::TempDir;

use crate::deploy::examples::file;
use crate::support::process::Finished;
use crate::support::process::run;
use crate::support::process::text;
use crate::support::tools;

/// What Consul makes of a file with one part of it replaced; `None` if go is to be skipped.
fn read(name: &str, (from, to): (&str, &str)) -> Option<Finished> {
    let before = fs::read_to_string(file(&format!("consul/{name}.hcl"))).unwrap();
    assert!(before.contains(from), "{name} has no '{from}'");
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("entry.hcl");
    fs::write(&path, before.replacen(from, to, 1)).unwrap();
    Some(run(tools::go("consul")?.args(["run", ".", "lanyard", text(&path)])))
}

/// The filters of the sidecar of `orders`.
fn filters(printed: &str) -> Value {
    let json = printed.strip_prefix("service-defaults orders ").unwrap_or_else(|| panic!("{printed}"));
    serde_json::from_str::<Value>(json).unwrap()["httpFilters"].clone()
}

#[test]
fn consul_takes_each_entry_and_has_the_sidecar_ask_as_it_must() {
    for (name, line) in
        [("lanyard", "service-defaults lanyard []\n"), ("intentions", "service-intentions lanyard []\n")]
    {
        let Some(finished) = read(name, ("", "")) else { return };
        assert_eq!(finished.ok(), line);
    }
    let filters = filters(&read("orders", ("", "")).unwrap().ok());
    assert_eq!(filters[1]["name"], "envoy.filters.http.router");
    let asks = &filters[0]["typedConfig"];
    assert_eq!(
        asks["grpcService"],
        json!({
            "envoyGrpc": {"clusterName": "lanyard.default.dc1.internal"},
            "timeout": "0.250s",
        })
    );
    assert_eq!(asks["transportApiVersion"], "V3");
    assert_eq!(asks["includePeerCertificate"], true);
    assert_eq!(asks["statusOnError"]["code"], "ServiceUnavailable");
    // Left out where it is false: a request is denied while Lanyard does not answer.
    assert_eq!(asks.get("failureModeAllow"), None);
}

#[test]
fn an_entry_that_is_a_little_wrong_is_refused_by_consul_or_does_something_else() {
    for (name, from, to, complaint) in [
        ("orders", "Required =", "Requirred =", "invalid config key"),
        ("orders", "\"inbound\"", "\"inbund\"", "unexpected ListenerType"),
        ("orders", "\"builtin/ext-authz\"", "\"builtin/ext-auth\"", "not a built-in extension"),
        ("orders", "250ms", "250", "failed to parse Target.Timeout"),
        ("orders", "Name = \"lanyard\"", "Name = \"lanyards\"", "no upstream definition found"),
        ("lanyard", "\"grpc\"", "\"grcp\"", "invalid value for protocol"),
        ("intentions", "\"allow\"", "\"allows\"", "must be set to 'allow' or 'deny'"),
    ] {
        let Some(finished) = read(name, (from, to)) else { return };
        assert_eq!(finished.code, Some(1), "{finished:?}");
        assert!(finished.stdout.contains(complaint), "{to}: {finished:?}");
    }
    // Consul ignores what it does not know in the arguments of an extension, so these are held to what becomes of them.
    let asks = |change| filters(&read("orders", change).unwrap().ok())[0]["typedConfig"].clone();
    assert_eq!(asks(("IncludePeerCertificate", "IncludePeerCertificates")).get("includePeerCertificate"), None);
    assert_eq!(asks(("Required = true", "Required = false"))["failureModeAllow"], true);
}
