//! `lanyard dev`, and `lanyard serve` on what it leaves: the real binary, as a newcomer runs it.

use std::fs;
use std::io::Read as _;
use std::io::Write as _;
use std::net::TcpListener;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use lanyard::authority::clock::Timestamp;
use serde_json::json;
use tempfile::TempDir;

use crate::support::ca::self_signed;
use crate::support::dev::ANY;
use crate::support::dev::AUDIENCE;
use crate::support::dev::Dev;
use crate::support::dev::Files;
use crate::support::dev::LAST_LINE;
use crate::support::dev::RELAY;
use crate::support::dev::dev;
use crate::support::dev::server;
use crate::support::process::Finished;
use crate::support::process::Process;
use crate::support::process::free_ports;
use crate::support::process::lanyard;
use crate::support::process::run;
use crate::support::process::shell;
use crate::support::server::SEAL;
use crate::support::tools;
use crate::support::unreferenced::without_references;

fn once(dir: &Path) -> Finished {
    run(dev(dir, ANY).arg("--once"))
}

/// The lines to copy, without the last one, which is for when the server has stopped.
fn commands(printed: &[String]) -> (Vec<&str>, &str) {
    let start = printed.iter().position(|line| line.contains("copy these")).unwrap();
    let to_copy = |line: &&str| !line.is_empty() && !line.starts_with('#');
    let mut lines: Vec<&str> = printed[start + 1..].iter().map(String::as_str).filter(to_copy).collect();
    let serve = lines.pop().unwrap();
    (lines, serve)
}

fn has_a_time(line: &str) -> bool {
    line.starts_with("cache until")
        || line.contains("access_token")
        || line.contains("exp ")
        || line.contains(" ago)")
        || line.contains("(in ")
}

#[test]
fn no_file_of_a_server_is_for_others_whatever_the_umask() {
    let directory = TempDir::new().unwrap();
    let mut command = Command::new("sh");
    let dev = dev(directory.path(), ANY);
    command.args(["-c", "umask 000; exec \"$@\"", "sh"]).arg(dev.get_program()).args(dev.get_args()).arg("--once");
    run(&mut command).ok();
    let data = fs::read_dir(directory.path().join("data")).unwrap().map(Result::unwrap);
    let modes: Vec<_> = data.map(|entry| (entry.file_name(), entry.metadata().unwrap().permissions().mode())).collect();
    assert!(modes.iter().any(|(name, _)| name == "db"), "{modes:?}");
    assert!(modes.iter().all(|(_, mode)| (mode & 0o777) & !0o700 == 0), "{modes:?}");
}

#[test]
fn once_tells_the_story_and_ends_with_0() {
    let directory = TempDir::new().unwrap();
    let finished = once(directory.path());
    assert_eq!(finished.stderr, "");
    let story = finished.ok();
    let mut rest = story.as_str();
    for part in [
        "\n1. ",
        "\n\n2. ",
        "ALLOW",
        "\n\n3. ",
        "DENY (CERTIFICATE_MISMATCH)",
        "opens nothing",
        "\n\n4. ",
        "ALLOW: lr1.",
        "\n\n5. ",
        "ALLOW: spiffe://dev.internal/relay acts for spiffe://dev.internal/workload",
        "\n\n6. ",
        "thief: UNAUTHORIZED_CLIENT, relay: SUBJECT_NOT_ACCEPTED",
        "\n\n7. ",
        "DENY (DELEGATION_BROKEN)",
    ] {
        (_, rest) = rest.split_once(part).unwrap_or_else(|| panic!("{part} in {story}"));
    }
    assert!(!story.contains("copy these"), "{story}");
}

#[test]
fn the_directory_and_all_secrets_are_for_their_owner_only() {
    let directory = TempDir::new().unwrap();
    let dir = directory.path().join("new");
    once(&dir).ok();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    for name in ["workload", "relay", "thief", "admin", "proxy", "selfsigned"] {
        assert!(dir.join(format!("{name}.pem")).is_file(), "{name}");
        assert_eq!(mode(&dir.join(format!("{name}-key.pem"))), 0o600, "{name}");
    }
    // Whatever has a secret in it, under whatever name.
    for entry in fs::read_dir(&dir).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_file()) {
        let secret = entry.file_name() == "key-encryption-key"
            || fs::read_to_string(entry.path()).unwrap().contains("PRIVATE KEY");
        assert!(!secret || mode(&entry.path()) == 0o600, "{}", entry.path().display());
    }
    assert_eq!(mode(&dir.join("data")), 0o700);
}

#[test]
fn a_directory_that_was_open_to_others_is_closed() {
    let directory = TempDir::new().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    once(directory.path()).ok();
    assert_eq!(fs::metadata(directory.path()).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn what_has_expired_is_made_anew_and_the_rest_is_kept() {
    let directory = TempDir::new().unwrap();
    let path = |name: &str| directory.path().join(name);
    let read = |name: &str| fs::read_to_string(path(name)).unwrap();
    once(directory.path()).ok();
    let expired = self_signed("expired").between(Timestamp(0), Timestamp(86_400)).issue();
    let thief = read("thief.pem");

    for name in ["workload", "selfsigned", "proxy", "server"] {
        fs::write(path(&format!("{name}.pem")), expired.pem()).unwrap();
        fs::write(path(&format!("{name}-key.pem")), expired.key_pem()).unwrap();
    }
    once(directory.path()).ok();
    assert_eq!(read("thief.pem"), thief);
    for name in ["workload", "selfsigned", "proxy", "server"] {
        assert_ne!(read(&format!("{name}.pem")), expired.pem(), "{name}");
        assert_ne!(read(&format!("{name}-key.pem")), expired.key_pem(), "{name}");
    }

    // With the CA goes all that it issued.
    fs::write(path("ca.pem"), expired.pem()).unwrap();
    once(directory.path()).ok();
    assert_ne!(read("ca.pem"), expired.pem());
    assert_ne!(read("thief.pem"), thief);
}

#[test]
fn every_printed_command_works_when_pasted_and_serve_goes_on_where_it_stopped() {
    let folder = TempDir::new().unwrap();
    // A name that a shell would fall over.
    let dir = folder.path().join("it's mine & yours");
    let ports = free_ports();
    let process = Process::start(&mut dev(&dir, ports));
    let printed = process.until(LAST_LINE);
    let (mut lines, serve) = commands(&printed);
    let mut expected = vec![0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0];
    if tools::curl().is_none() {
        lines.truncate(9);
        expected.truncate(9);
    }
    let outcomes: Vec<Finished> = lines.iter().map(|line| run(&mut shell(line))).collect();
    let codes: Vec<Option<i32>> = outcomes.iter().map(|outcome| outcome.code).collect();
    assert_eq!(codes, expected.into_iter().map(Some).collect::<Vec<_>>(), "{lines:#?}\n{outcomes:#?}");
    assert!(outcomes[4].stdout.contains("would be issued"), "{}", outcomes[4].stdout);
    let clients = &outcomes[5].stdout;
    for name in
        ["spiffe://dev.internal/workload", "spiffe://dev.internal/relay", "spiffe://dev.internal/thief", "selfsigned"]
    {
        assert!(clients.contains(name), "{clients}");
    }
    assert!(!outcomes[6].stdout.contains("created"), "{}", outcomes[6].stdout);
    assert!(outcomes[7].stdout.contains(AUDIENCE), "{}", outcomes[7].stdout);
    assert_eq!(outcomes[8].stdout, format!("{AUDIENCE} unchanged\n{RELAY} unchanged\n"));
    if let [token, jwks, ready] = &outcomes[9..] {
        assert!(token.stdout.starts_with("{\"access_token\":\""), "{token:?}");
        assert!(jwks.stdout.contains("\"kid\""), "{jwks:?}");
        assert_eq!(ready.stdout, "ok");
    }

    let (code, said) = process.end_by("TERM");
    assert_eq!(code, Some(0), "{said}");
    let process = Process::start(&mut shell(&format!("exec {serve}")));
    process.until("serving");
    // All but the first, which would overwrite the token that was issued before.
    for (line, before) in lines.iter().zip(&outcomes).skip(1) {
        let now = run(&mut shell(line));
        assert_eq!(now.code, before.code, "{line}: {now:?}");
        // The same token, decisions (but for how long they may be kept), clients and keys.
        let stable_lines = |text: &str| {
            let lines: Vec<&str> = text.lines().filter(|line| !has_a_time(line)).collect();
            without_references(&lines.join("\n"))
        };
        assert_eq!(stable_lines(&now.stdout), stable_lines(&before.stdout), "{line}");
    }
    let (code, said) = process.end_by("INT");
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn commands_name_the_binary_as_it_was_called() {
    for (called, named) in [("lanyard", "lanyard "), ("./lanyard", "/")] {
        let directory = TempDir::new().unwrap();
        let process = Process::start(dev(directory.path(), ANY).arg0(called));
        let printed = process.until(LAST_LINE);
        let (lines, serve) = commands(&printed);
        let own: Vec<&&str> = lines.iter().filter(|line| !line.starts_with("curl ")).chain([&serve]).collect();
        assert!(own.iter().all(|line| line.starts_with(named)), "{own:#?}");
    }
}

#[test]
fn a_second_run_keeps_the_data_of_the_first() {
    let directory = TempDir::new().unwrap();
    let ports = free_ports();
    let first = Process::start(&mut dev(directory.path(), ports));
    let files = Files { dir: directory.path().to_owned(), server: server(&first.until(LAST_LINE)) };
    let own = "client_id: spiffe://dev.internal/mine\ntoken_endpoint_auth_method: spiffe_x509\n\
        audience: [https://orders.dev.internal]\nowner: me\n";
    assert!(files.apply(own).ok().contains("created"));
    let token = files.token("workload", &[]);
    assert_eq!(first.end_by("INT").0, Some(0));

    let second = Process::start(&mut dev(directory.path(), ports));
    second.until(LAST_LINE);
    assert!(files.apply(own).ok().contains("unchanged"));
    files.validate(&token, "workload.pem").ok();
    assert_eq!(files.validate(&token, "thief.pem").code, Some(3));
    assert_eq!(second.end_by("TERM").0, Some(0));
}

#[test]
fn a_sample_that_was_changed_stays_changed() {
    let directory = TempDir::new().unwrap();
    let start = || {
        let process = Process::start(&mut dev(directory.path(), ANY));
        let printed = process.until(LAST_LINE);
        (process, Files { dir: directory.path().to_owned(), server: server(&printed) })
    };
    let (first, files) = start();
    let documents = fs::read_to_string(files.path("clients.yaml")).unwrap();
    let narrowed = documents.replacen("scope: orders.read orders.write", "scope: orders.read", 1);
    fs::write(files.path("clients.yaml"), &narrowed).unwrap();
    let applied = files.run("admin", &["client", "apply", "-f", files.path("clients.yaml").to_str().unwrap()]).ok();
    assert!(applied.contains("workload updated"), "{applied}");
    files.run("admin", &["client", "delete", "selfsigned"]).ok();
    // Another one is changed beside the file.
    let thief = documents.split("---\n").find(|document| document.contains("spiffe://dev.internal/thief")).unwrap();
    let owned = files.apply(&format!("{thief}owner: me\n")).ok();
    assert!(owned.contains("thief updated"), "{owned}");
    assert_eq!(first.end_by("INT").0, Some(0));

    let (second, files) = start();
    assert_eq!(fs::read_to_string(files.path("clients.yaml")).unwrap(), narrowed);
    let scope = |name: &str| files.run("admin", &["client", "get", name, "-o", "json"]).json(0)["scope"].clone();
    assert_eq!(scope("spiffe://dev.internal/workload"), "orders.read relay.call");
    let thief = files.run("admin", &["client", "get", "spiffe://dev.internal/thief", "-o", "json"]).json(0);
    assert_eq!(thief["owner"], "me");
    // One that is not there is registered again.
    assert_eq!(scope("selfsigned"), "orders.read orders.write");
    assert_eq!(second.end_by("TERM").0, Some(0));
}

#[test]
fn its_addresses_and_decisions_are_one_json_document_if_asked_for() {
    let directory = TempDir::new().unwrap();
    let shown = run(dev(directory.path(), ANY).args(["--once", "-o", "json"])).json(0);
    assert!(shown["mtls"].as_str().unwrap().starts_with("https://localhost:"), "{shown}");
    assert_eq!(shown["demonstration"]["workload"], "ALLOW");
    assert_eq!(shown["demonstration"]["thief"], "DENY (CERTIFICATE_MISMATCH)");
    assert_eq!(shown["demonstration"]["relay"], "ALLOW");
    assert_eq!(shown["demonstration"]["copied"], json!(["UNAUTHORIZED_CLIENT", "SUBJECT_NOT_ACCEPTED"]));
    assert_eq!(shown["demonstration"]["revoked"], "DENY (DELEGATION_BROKEN)");
}

#[test]
fn it_is_ready_only_when_the_samples_are_registered() {
    let directory = TempDir::new().unwrap();
    let ports: [u16; 3] = free_ports();
    let mut process = Process::start(&mut dev(directory.path(), ports));
    let mut answers = Vec::new();
    while !answers.last().is_some_and(|answer: &String| answer.ends_with("\r\n\r\nok")) {
        assert!(process.runs());
        // Refused until it listens.
        if let Ok(mut probe) = TcpStream::connect(("127.0.0.1", ports[2])) {
            let mut answer = String::new();
            probe.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
            probe.read_to_string(&mut answer).unwrap();
            answers.push(answer);
        }
    }
    let files = Files { dir: directory.path().to_owned(), server: format!("https://localhost:{}", ports[0]) };
    let list = files.run("admin", &["client", "list", "-o", "json"]).json(0);
    assert_eq!(list.as_array().unwrap().len(), 4);
    let early = answers.iter().find(|answer| !answer.ends_with("ok"));
    let early = early.unwrap_or_else(|| panic!("it was never found starting: {answers:?}"));
    assert!(early.starts_with("HTTP/1.1 503") && early.ends_with("starting"), "{early}");
    process.until(LAST_LINE);
}

#[test]
fn a_port_in_use_is_named_with_the_flag_that_chooses_another() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    for ports in [[port, 0, 0], [0, port, 0], [0, 0, port]] {
        let directory = TempDir::new().unwrap();
        let problem = format!("cannot listen on 127.0.0.1:{port}: ");
        run(&mut dev(directory.path(), ports)).refused(&problem, "--listen-mtls");
    }
}

#[test]
fn a_second_server_on_the_same_directory_is_refused_and_disturbs_nothing() {
    let first = Dev::start();
    let config = fs::read_to_string(first.files.path("lanyard.yaml")).unwrap();
    run(&mut dev(&first.files.dir, ANY)).refused("another process uses the store", "--dir");
    assert_eq!(fs::read_to_string(first.files.path("lanyard.yaml")).unwrap(), config);
    first.files.token("workload", &[]);
}

#[test]
fn it_listens_on_loopback_only() {
    let directory = TempDir::new().unwrap();
    for flag in ["--listen-mtls", "--listen-public", "--listen-ops"] {
        let dir = directory.path().join("never-made");
        let mut command = lanyard();
        command.args(["dev", "--once", "--dir"]).arg(&dir).args([flag, "0.0.0.0:0"]);
        run(&mut command).refused(&format!("{flag} 0.0.0.0:0 is not a loopback address"), "127.0.0.1");
        assert!(!dir.exists());
    }
    once(directory.path()).ok();
    let path = directory.path().join("lanyard.yaml");
    let config = fs::read_to_string(&path).unwrap();
    let wider = config.lines().map(|line| if line.starts_with("  mtls: ") { "  mtls: 0.0.0.0:0" } else { line });
    fs::write(&path, wider.collect::<Vec<_>>().join("\n")).unwrap();
    run(lanyard().args(["serve", "--config"]).arg(&path)).refused("loopback addresses only", "");
}

#[test]
fn an_emptied_or_damaged_store_and_lost_keys_are_refused() {
    let directory = TempDir::new().unwrap();
    let original = directory.path().join("original");
    once(&original).ok();
    let copy = |name: &str| {
        let copy = directory.path().join(name);
        assert_eq!(run(&mut shell(&format!("cp -a '{}' '{}'", original.display(), copy.display()))).code, Some(0));
        copy
    };
    let worth = "worth keeping";

    let emptied = copy("emptied");
    fs::remove_file(emptied.join("data/db")).unwrap();
    once(&emptied).refused("was emptied", worth);
    assert!(!emptied.join("data/db").exists());

    let damaged = copy("damaged");
    let mut log = fs::read(damaged.join("data/db")).unwrap();
    let name = b"/clients/";
    let record = log.windows(name.len()).position(|bytes| bytes == name).unwrap();
    log[record] ^= 1;
    fs::write(damaged.join("data/db"), &log).unwrap();
    once(&damaged).refused("restore it from an export or a backup", worth);

    let keyless = copy("keyless");
    fs::write(keyless.join("key-encryption-key"), "").unwrap();
    once(&keyless).refused("not a key-encryption key", worth);
    fs::write(keyless.join("key-encryption-key"), SEAL).unwrap();
    once(&keyless).refused("not the one that it was sealed with", worth);
    fs::remove_file(keyless.join("key-encryption-key")).unwrap();
    once(&keyless).refused("not the one that it was sealed with", worth);

    once(&original).ok();
}

#[test]
fn no_directory_to_write_to_is_said_with_the_flag_that_chooses_another() {
    once(Path::new("/proc/lanyard")).refused("cannot write /proc/lanyard: ", "--dir");
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    once(&file).refused("cannot write", "--dir");
}
