//! The examples for other languages, run as a reader would run them: code made of the protos, then a token and its use.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::json;
use tempfile::TempDir;

use crate::support::dev::AUDIENCE;
use crate::support::dev::Dev;
use crate::support::process::run;
use crate::support::server::in_crate;
use crate::support::tools;

const PROTOS: [&str; 2] = ["lanyard/v1/token.proto", "lanyard/v1/binding.proto"];

/// protoc with these options, into this folder; `None` if python, which brings it, is to be skipped.
fn protoc(folder: &Path, options: &[&str]) -> Option<Command> {
    let mut command = Command::new(tools::protoc()?);
    command.current_dir(folder).args(["-m", "grpc_tools.protoc", "-I"]).arg(in_crate("proto"));
    command.args(options).args(PROTOS);
    Some(command)
}

/// Runs an example as the workload of `lanyard dev`, and as one that may have no token.
fn holds(mut example: impl FnMut() -> Command) {
    let Dev { files, .. } = &Dev::start();
    let mut as_whom = |who: &str| {
        let mut command = example();
        command.arg(files.server.strip_prefix("https://").unwrap()).arg(files.path("ca.pem"));
        command.args([files.path(&format!("{who}.pem")), files.path(&format!("{who}-key.pem"))]).arg(AUDIENCE);
        run(&mut command)
    };
    let told = as_whom("workload").json(0);
    let expected = json!({ "scope": "orders.read orders.write", "decision": "DECISION_ALLOW", "match": "MATCH_EXACT" });
    assert_eq!(told, expected);
    let refused = as_whom("admin");
    assert_ne!(refused.code, Some(0), "{refused:?}");
    assert!(refused.stderr.to_lowercase().contains("unauthenticated"), "{refused:?}");
}

#[test]
fn the_python_example_gets_a_token_and_uses_it() {
    let folder = TempDir::new().unwrap();
    let Some(mut protoc) = protoc(folder.path(), &["--python_out=.", "--grpc_python_out=."]) else { return };
    run(&mut protoc).ok();
    let Some(python) = tools::protoc() else { return };
    holds(|| {
        let mut command = Command::new(&python);
        command.env("PYTHONPATH", folder.path()).arg(in_crate("examples/clients/python/client.py"));
        command
    });
}

#[test]
fn the_go_example_gets_a_token_and_uses_it() {
    let folder = TempDir::new().unwrap();
    for file in ["go.mod", "go.sum", "main.go"] {
        fs::copy(in_crate("examples/clients/go").join(file), folder.path().join(file)).unwrap();
    }
    let mut plugins = Vec::new();
    for (name, package) in [
        ("protoc-gen-go", "google.golang.org/protobuf/cmd/protoc-gen-go"),
        ("protoc-gen-go-grpc", "google.golang.org/grpc/cmd/protoc-gen-go-grpc"),
    ] {
        let Some(mut go) = tools::go_in(folder.path()) else { return };
        run(go.args(["build", "-o", name, package])).ok();
        plugins.push(format!("--plugin={}", folder.path().join(name).display()));
    }
    let into = "module=client,Mlanyard/v1/token.proto=client/lanyardv1,Mlanyard/v1/binding.proto=client/lanyardv1";
    let options = ["--go_out=.", "--go-grpc_out=.", &format!("--go_opt={into}"), &format!("--go-grpc_opt={into}")];
    let options: Vec<&str> = plugins.iter().map(String::as_str).chain(options).collect();
    let Some(mut protoc) = protoc(folder.path(), &options) else { return };
    run(&mut protoc).ok();
    let Some(mut go) = tools::go_in(folder.path()) else { return };
    run(go.args(["build", "-o", "client", "."])).ok();
    holds(|| Command::new(folder.path().join("client")));
}
