//! deploy/envoy/README.md, followed as it is written: Lanyard and Envoy, started by that page alone. Only ports differ, and
//! how long Envoy waits for an answer.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::support::dev::ANY;
use crate::support::dev::LAST_LINE;
use crate::support::dev::dev;
use crate::support::process::Process;
use crate::support::process::free_ports;
use crate::support::process::lanyard;
use crate::support::process::run;
use crate::support::server::in_crate;
use crate::support::tools;
use crate::support::upstream::Upstream;

/// The ports in the page and in the files.
const PORTS: [&str; 6] = ["8080", "8443", "8444", "9464", "9901", "10443"];

/// The commands of a page, in their order.
fn commands(page: &str) -> String {
    let fenced = page.split("\n```").skip(1).step_by(2);
    fenced.map(|block| block.strip_prefix("sh\n").expect("a block of commands")).collect::<Vec<_>>().join("\n")
}

/// Copies deploy/envoy, with these changes to every file.
fn copied(folder: &Path, change: impl Fn(&str) -> String) {
    fs::create_dir_all(folder).unwrap();
    for entry in fs::read_dir(in_crate("deploy/envoy")).unwrap().map(Result::unwrap) {
        let text = fs::read_to_string(entry.path()).unwrap();
        // Longer than any operation takes on a machine that is busy with other tests.
        let text = change(&text)
            .replace("timeout: 0.25s", "timeout: 20s")
            .replace("connect_timeout: 1s", "connect_timeout: 30s");
        fs::write(folder.join(entry.file_name()), text).unwrap();
    }
}

/// A shell in this folder, with `lanyard` and `envoy` on its path; `None` if Envoy, curl or openssl is to be skipped.
fn shell(folder: &Path, script: &str) -> Option<Command> {
    let (envoy, _, _) = (tools::envoy()?, tools::curl()?, tools::openssl()?);
    let programs = folder.join("programs");
    fs::create_dir_all(&programs).unwrap();
    for (name, program) in [("envoy", envoy.as_path()), ("lanyard", Path::new(lanyard().get_program()))] {
        std::os::unix::fs::symlink(program, programs.join(name)).unwrap();
    }
    let ended = "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT";
    let path = format!("export PATH={}:$PATH", programs.display());
    let mut bash = Command::new("bash");
    bash.current_dir(folder).arg("-c").arg(format!("set -e -m -o pipefail\n{ended}\n{path}\n{script}"));
    Some(bash)
}

#[test]
fn the_page_starts_lanyard_and_envoy_and_the_stolen_token_opens_nothing() {
    let folder = TempDir::new().unwrap();
    let free: [u16; 6] = free_ports();
    let here = |text: &str| {
        // In two steps: a free port may contain the digits of another.
        let marked =
            PORTS.iter().enumerate().fold(text.to_owned(), |text, (at, port)| text.replace(port, &format!("<{at}>")));
        free.iter().enumerate().fold(marked, |text, (at, free)| text.replace(&format!("<{at}>"), &free.to_string()))
    };
    let files = folder.path().join("envoy");
    copied(&files, here);
    let page = fs::read_to_string(in_crate("deploy/envoy/README.md")).unwrap();
    let Some(mut bash) = shell(&files, &here(&commands(&page))) else { return };
    run(&mut bash).ok();
}

#[test]
fn every_line_of_the_files_with_a_name_to_replace_is_marked() {
    for name in ["envoy.yaml", "lanyard.yaml", "clients.yaml", "resources.yaml"] {
        let text = fs::read_to_string(in_crate("deploy/envoy").join(name)).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        for (number, line) in lines.iter().enumerate() {
            let code = line.split(" #").next().unwrap();
            let own = ["prod.example", "lanyard.lanyard.svc", "/etc/", "/var/", "team-shop", "orders."];
            if code.trim_start().starts_with('#') || !own.iter().any(|own| code.contains(own)) {
                continue;
            }
            // At the line, or above the list that it is in.
            let marked = lines[number.saturating_sub(3)..=number].iter().any(|line| line.contains("CHANGE"));
            assert!(marked, "{name}:{}: {line}", number + 1);
        }
    }
}

#[tokio::test]
async fn dev_prints_how_to_put_it_behind_envoy() {
    let folder = TempDir::new().unwrap();
    let upstream = Upstream::start().await;
    let dir = folder.path().join("it's mine & yours");
    let process = Process::start(&mut dev(&dir, ANY));
    let printed = process.until(LAST_LINE);
    let lines: Vec<&str> = printed.iter().filter_map(|line| line.strip_prefix("#   ")).collect();
    let [sed, envoy, curl] = lines[..] else { panic!("{printed:#?}") };
    let token = printed.iter().find(|line| line.contains(" token get ")).unwrap();

    let [admin, door]: [u16; 2] = free_ports();
    let here = |text: &str| {
        let text = text.replace("port_value: 9901", &format!("port_value: {admin}"));
        let text = text.replace("port_value: 8080", &format!("port_value: {}", upstream.address.port()));
        text.replace("port_value: 10443", &format!("port_value: {door}")).replace(":10443/", &format!(":{door}/"))
    };
    copied(&folder.path().join("deploy/envoy"), here);
    let ready = format!("curl --silent --retry 30 --retry-delay 1 --retry-connrefused http://127.0.0.1:{admin}/ready");
    let script = format!("{token}\n{sed}\n({envoy}) &\n{ready}\n{}", here(curl));
    let Some(mut bash) = shell(folder.path(), &script) else { return };
    let finished = tokio::task::spawn_blocking(move || run(&mut bash)).await.unwrap();
    let answered = finished.ok();
    assert!(
        answered.contains("x-lanyard-subject") && answered.contains("spiffe://dev.internal/workload"),
        "{answered}"
    );
}
