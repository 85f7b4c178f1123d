//! The examples for other languages, run as a reader would run them: code made of the protos, then a token and its use.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use serde_json::json;
use tempfile::TempDir;

use crate::support::dev::AUDIENCE;
use crate::support::dev::Dev;
use crate::support::process::run;
use crate::support::process::text;
use crate::support::server::in_crate;
use crate::support::tools;

const PROTOS: [&str; 2] = ["lanyard/v1/token.proto", "lanyard/v1/binding.proto"];

/// protoc with these options and protos, into this folder; `None` if python, which brings it, is to be skipped.
fn protoc(folder: &Path, options: &[&str], protos: &[&str]) -> Option<Command> {
    let mut command = Command::new(tools::protoc()?);
    command.current_dir(folder).args(["-m", "grpc_tools.protoc", "-I"]).arg(in_crate("proto"));
    command.args(options).args(protos);
    Some(command)
}

/// Builds the program of this module in a folder of the examples, with what is generated from these protos; `None` if go or python
/// is to be skipped.
pub fn go_program(folder: &Path, example: &str, module: &str, protos: &[&str]) -> Option<PathBuf> {
    for file in fs::read_dir(in_crate(example)).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), folder.join(file.file_name())).unwrap();
    }
    let mut plugins = Vec::new();
    for (name, package) in [
        ("protoc-gen-go", "google.golang.org/protobuf/cmd/protoc-gen-go"),
        ("protoc-gen-go-grpc", "google.golang.org/grpc/cmd/protoc-gen-go-grpc"),
    ] {
        run(tools::go_in(folder)?.args(["build", "-o", name, package])).ok();
        plugins.push(format!("--plugin={}", folder.join(name).display()));
    }
    let packages: Vec<String> = protos.iter().map(|proto| format!("M{proto}={module}/lanyardv1")).collect();
    let into = format!("module={module},{}", packages.join(","));
    let options = ["--go_out=.", "--go-grpc_out=.", &format!("--go_opt={into}"), &format!("--go-grpc_opt={into}")];
    let options: Vec<&str> = plugins.iter().map(String::as_str).chain(options).collect();
    run(&mut protoc(folder, &options, protos)?).ok();
    run(tools::go_in(folder)?.args(["build", "-o", "program", "."])).ok();
    Some(folder.join("program"))
}

/// Runs an example as the workload of `lanyard dev`, and as one that may have no token.
fn holds(example: impl Fn([&str; 5]) -> Command) {
    let Dev { files, .. } = &Dev::start();
    let as_whom = |who: &str| {
        let [ca, cert, key] = ["ca.pem", &format!("{who}.pem"), &format!("{who}-key.pem")].map(|name| files.path(name));
        let server = files.server.strip_prefix("https://").unwrap();
        run(&mut example([server, text(&ca), text(&cert), text(&key), AUDIENCE]))
    };
    // Maven ends its colours, of which there are none.
    let reported = as_whom("workload").ok().replace("\u{1b}[0m", "");
    let reported: Value = serde_json::from_str(&reported).unwrap_or_else(|error| panic!("{error}: {reported}"));
    let expected = json!({ "scope": "orders.read orders.write", "decision": "DECISION_ALLOW", "match": "MATCH_EXACT" });
    assert_eq!(reported, expected);
    let refused = as_whom("admin");
    assert_ne!(refused.code, Some(0), "{refused:?}");
    let said = (refused.stdout + &refused.stderr).to_lowercase();
    assert!(said.contains("unauthenticated"), "{said}");
}

#[test]
fn the_python_example_gets_a_token_and_uses_it() {
    let folder = TempDir::new().unwrap();
    let Some(mut protoc) = protoc(folder.path(), &["--python_out=.", "--grpc_python_out=."], &PROTOS) else { return };
    run(&mut protoc).ok();
    let Some(python) = tools::protoc() else { return };
    holds(|arguments| {
        let mut command = Command::new(&python);
        command.env("PYTHONPATH", folder.path()).arg(in_crate("examples/clients/python/client.py")).args(arguments);
        command
    });
}

#[test]
fn the_go_example_gets_a_token_and_uses_it() {
    let folder = TempDir::new().unwrap();
    let Some(program) = go_program(folder.path(), "examples/clients/go", "client", &PROTOS) else { return };
    holds(|arguments| {
        let mut command = Command::new(&program);
        command.args(arguments);
        command
    });
}

#[test]
fn the_java_example_gets_a_token_and_uses_it() {
    let folder = TempDir::new().unwrap();
    for file in ["pom.xml", "Client.java"] {
        fs::copy(in_crate("examples/clients/java").join(file), folder.path().join(file)).unwrap();
    }
    let protos = format!("-Dprotos={}", in_crate("proto").display());
    let Some(mut maven) = tools::maven(folder.path()) else { return };
    run(maven.args([&protos, "compile"])).ok();
    holds(|arguments| {
        let mut maven = tools::maven(folder.path()).unwrap();
        maven.args([&protos, "exec:java", &format!("-Dexec.args={}", arguments.join(" "))]);
        maven
    });
}
