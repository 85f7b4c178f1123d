//! The commands of a cluster, built from their Go modules once, in fixed versions.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::support::go_programs::build_program;
use crate::support::go_programs::entry_of;
use crate::support::go_programs::go_command;
use crate::support::go_programs::run_go;
use crate::support::image::copy;
use crate::support::server::in_crate;
use crate::support::tools::built;
use crate::support::tools::done;
use crate::support::tools::skipped;

/// The version of Kubernetes.
const KUBERNETES: &str = "1.33.13";

/// The name in `LANYARD_SKIP`.
const SKIP: &str = "kubernetes";

/// Where the version of a command of Kubernetes is set.
const VERSION: &str = "k8s.io/component-base/version";

/// The commands of Kubernetes that a control plane consists of, and kubectl.
const COMMANDS: [&str; 4] = ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl"];

/// cert-manager, by its Go module.
const CERT_MANAGER: &str = "github.com/cert-manager/cert-manager@v1.19.0";

/// A folder with the commands of a control plane and kubectl; `None` if kubernetes is to be skipped. The first build takes
/// about ten minutes of two processors.
pub fn kubernetes() -> Option<PathBuf> {
    (!skipped("kubernetes")).then(|| built(&format!("kubernetes-{KUBERNETES}"), build_kubernetes))
}

fn build_kubernetes(folder: &Path) {
    let source = folder.join("source");
    copy_module(&module(&format!("k8s.io/kubernetes@v{KUBERNETES}")), &source);
    // Its go.mod replaces modules by folders in ./staging, which the published module does not contain: they are
    // published too, with the version 0 of the same minor and patch.
    let manifest = fs::read_to_string(source.join("go.mod")).unwrap();
    let published = KUBERNETES.replacen("1.", "v0.", 1);
    let mut edit = go(&["mod", "edit"]);
    for line in manifest.lines() {
        if let Some((module, _)) = line.trim().split_once(" => ./staging/") {
            edit.arg(format!("-dropreplace={module}"));
            if manifest.lines().any(|line| line.trim().starts_with(&format!("{module} v0.0.0"))) {
                edit.arg(format!("-require={module}@{published}"));
            }
        }
    }
    make(edit.current_dir(&source));
    let minor = KUBERNETES.split('.').nth(1).unwrap();
    let stamp =
        format!("-s -w -X {VERSION}.gitVersion=v{KUBERNETES} -X {VERSION}.gitMajor=1 -X {VERSION}.gitMinor={minor}");
    let mut build = go(&["build", "-ldflags", &stamp, "-o"]);
    build.arg(folder).args(COMMANDS.map(|command| format!("./cmd/{command}")));
    make(build.current_dir(&source));
    fs::remove_dir_all(source).unwrap();
}

/// A folder with cert-manager, and in `definitions` those of its kinds; `None` if kubernetes is to be skipped.
pub fn cert_manager() -> Option<PathBuf> {
    let build = |folder: &Path| {
        build_program(
            "cert-manager",
            &in_crate("tests/it/support/kubernetes/cert-manager"),
            CERT_MANAGER,
            folder,
            SKIP,
        );
        for file in fs::read_dir(module(CERT_MANAGER).join("deploy/crds")).unwrap().map(|entry| entry.unwrap().path()) {
            if file.extension().is_some_and(|extension| extension == "yaml") {
                copy(&file, &folder.join("definitions").join(file.file_name().unwrap()));
            }
        }
    };
    (!skipped("kubernetes")).then(|| built(&entry_of(CERT_MANAGER), build))
}

/// A command of Go.
fn go(arguments: &[&str]) -> Command {
    go_command(arguments, SKIP)
}

/// Runs a command of Go.
fn make(command: &mut Command) -> String {
    run_go(command, SKIP)
}

/// The folder of a module in Go's cache.
fn module(module: &str) -> PathBuf {
    let found: Value = serde_json::from_str(&make(&mut go(&["mod", "download", "-json", module]))).unwrap();
    PathBuf::from(found["Dir"].as_str().unwrap())
}

/// Copies a module out of Go's cache, in which nothing can be written, without the copies of its dependencies.
fn copy_module(from: &Path, to: &Path) {
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    done(Command::new("cp").args(["-r", "--no-preserve=mode"]).arg(from).arg(to), "there must be room for it");
    for left_out in ["vendor", "go.work", "go.work.sum"] {
        let path = to.join(left_out);
        if path.is_dir() {
            fs::remove_dir_all(path).unwrap();
        } else if path.exists() {
            fs::remove_file(path).unwrap();
        }
    }
}
