//! Commands that are built from a Go module and a few lines of our own, once, in fixed versions.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::image::copy;
use crate::support::tools::done;
use crate::support::tools::go_program;
use crate::support::tools::remedy;

/// The name among the tools for a module.
pub fn entry_of(module: &str) -> String {
    module.replace(['/', '@'], "-")
}

/// Builds the program whose `main.go` is in the folder `source`. It has no other requirement than `module`. `skip` is its
/// name in `LANYARD_SKIP`.
pub fn build_program(name: &str, source: &Path, module: &str, folder: &Path, skip: &str) {
    let copied = folder.join("source");
    copy(&source.join("main.go"), &copied.join("main.go"));
    let run = |arguments: &[&str]| run_go(go_command(arguments, skip).current_dir(&copied), skip);
    run(&["mod", "init", "lanyard.invalid/tests"]);
    run(&["mod", "edit", &format!("-require={module}")]);
    run(&["mod", "tidy"]);
    run_go(
        go_command(&["build", "-ldflags", "-s -w", "-o"], skip).arg(folder.join(name)).arg(".").current_dir(&copied),
        skip,
    );
    fs::remove_dir_all(copied).unwrap();
}

/// A command of Go.
pub fn go_command(arguments: &[&str], skip: &str) -> Command {
    let mut go = Command::new(go_program(&remedy("golang; Kubernetes wants Go 1.24, etcd Go 1.26 or later", skip)));
    go.args(arguments).env("GOTOOLCHAIN", "local").env("CGO_ENABLED", "0");
    go.env("GOFLAGS", "-mod=mod -buildvcs=false -trimpath");
    go
}

/// Runs a command of Go, and returns what it prints.
pub fn run_go(command: &mut Command, skip: &str) -> String {
    let network = format!(
        "its modules come from the Go module proxy, which must be in reach once; or leave them out with LANYARD_SKIP={skip}"
    );
    done(command, &network).stdout
}
