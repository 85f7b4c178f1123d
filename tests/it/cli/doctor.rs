//! `lanyard doctor`: each fault is found by its name, and nothing in a healthy set-up.

use std::collections::BTreeMap;
use std::fs;
use std::fs::File;
use std::net::TcpListener;
use std::path::Path;
use std::time::SystemTime;

use lanyard::authority::backup::IMPORT;
use lanyard::authority::store::Expected;
use lanyard::authority::store::Store as _;

use crate::support::doctor::DoctorFixture;
use crate::support::doctor::Seen;
use crate::support::process::free_ports;
use crate::support::process::lanyard;
use crate::support::process::run;
use crate::support::process::shell;
use crate::support::process::text;
use crate::support::server::SEAL;
use crate::support::server::in_crate;
use crate::support::test_process::open;
use crate::support::tools;

/// All files below a directory, with what is in them and when they were last changed.
fn contents(directory: &Path) -> BTreeMap<String, (Vec<u8>, SystemTime)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else {
            let modified = fs::metadata(&path).unwrap().modified().unwrap();
            found.insert(text(&path).to_owned(), (fs::read(&path).unwrap(), modified));
        }
    }
    found
}

#[test]
fn in_a_healthy_set_up_whose_server_runs_nothing_is_found() {
    let fixture = DoctorFixture::new();
    let mut server = fixture.serve();
    let seen = fixture.seen();
    seen.healthy();
    // The process that holds the store has opened its keys, and knows its resources.
    assert_eq!(seen.checks("not_checked"), ["resource", "exchange", "key_encryption_key"], "{seen:#?}");
    assert_eq!(seen.checks("ok").iter().filter(|check| **check == "listener").count(), 3);
    assert!(seen.checks("ok").contains(&"clock"), "{seen:#?}");
    let reported = run(&mut fixture.doctor()).ok();
    assert!(reported.ends_with("0 errors, 0 warnings\n"), "{reported}");
    assert!(reported.lines().all(|line| !line.contains("next: ")), "{reported}");
    assert!(server.runs());
    // The doctor's connections cause no warning in the server's log.
    let (_, said) = server.end_by("TERM");
    assert!(!said.contains("WARN") && !said.contains("ERROR"), "{said}");
}

#[test]
fn a_healthy_installation_with_a_stopped_server_has_no_findings_and_is_unchanged() {
    let fixture = DoctorFixture::new().served();
    let before = contents(fixture.dir.path());
    let seen = fixture.seen();
    seen.healthy();
    assert_eq!(seen.checks("not_checked"), ["clock"], "{seen:#?}");
    assert!(seen.checks("ok").contains(&"key_encryption_key"), "{seen:#?}");
    assert!(contents(fixture.dir.path()) == before);
    // Nor where there is no store yet: none is made.
    let fixture = DoctorFixture::new();
    fixture.seen().healthy();
    assert!(!fixture.path("volume/data").exists());
}

#[test]
fn a_configuration_that_cannot_be_read_leaves_the_rest_unchecked() {
    let fixture = DoctorFixture::new();
    fixture.configure("issuer: ", "issuuer: ");
    let seen = fixture.seen();
    seen.only("CONFIGURATION_UNKNOWN_KEY");
    assert_eq!(seen.checks("not_checked").len(), seen.lines().count() - 1);
    fixture.configure("issuuer: https", "issuer: http");
    fixture.seen().only("CONFIGURATION_INVALID");
    fixture.configure("issuer: http:", "issuer: https:");
    fixture.seen().healthy();
    fixture.add("log: {level: 'lanyard=loud'}");
    fixture.seen().only("CONFIGURATION_INVALID");
    fixture.configure("log:", "lock:");
    fixture.seen().only("CONFIGURATION_UNKNOWN_KEY");
    fs::remove_file(fixture.path("lanyard.yaml")).unwrap();
    fixture.seen().only("CONFIGURATION_UNREADABLE");
}

#[test]
fn a_command_line_that_cannot_be_read_is_told_from_an_unhealthy_set_up() {
    let fixture = DoctorFixture::new();
    for flags in [&["--server", "lanyard.prod.example"][..], &["--min-free", "much"], &["--heal"]] {
        let finished = run(fixture.doctor().args(flags));
        assert_eq!((finished.code, finished.stdout.as_str()), (Some(2), ""), "{finished:?}");
    }
    assert_eq!(run(lanyard().arg("doctor")).code, Some(2));
}

#[test]
fn a_wrong_key_encryption_key_is_found_by_the_store_and_hides_nothing_else() {
    let fixture = DoctorFixture::new().served();
    fixture.write("key-encryption-key", "CAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAg=");
    fixture.seen().only("KEY_ENCRYPTION_KEY_WRONG");
    fixture.write("key-encryption-key", "CAgICA==");
    fixture.seen().only("KEY_ENCRYPTION_KEY_INVALID");
    fs::remove_file(fixture.path("key-encryption-key")).unwrap();
    let seen = fixture.seen();
    seen.only("KEY_ENCRYPTION_KEY_UNREADABLE");
    for still in ["server_certificate", "bundle", "store", "disk", "listener"] {
        assert!(seen.checks("ok").contains(&still), "{seen:#?}");
    }
    fixture.write("key-encryption-key", SEAL);
    fixture.seen().healthy();
    // The file is sealed, and a command opens it.
    let by = |command: &str| {
        format!("{{key_encryption_key_file: key-encryption-key, key_encryption_key_command: {command}}}")
    };
    fixture.configure("{key_encryption_key_file: key-encryption-key}", &by("[cat]"));
    fixture.seen().healthy();
    fixture.configure(&by("[cat]"), &by("[sh, -c, exit 1]"));
    fixture.seen().only("KEY_ENCRYPTION_KEY_INVALID");
}

#[test]
fn a_key_that_every_user_may_read_is_warned_of() {
    let fixture = DoctorFixture::new();
    for key in ["server-key.pem", "key-encryption-key"] {
        fixture.allow(key, 0o644);
        fixture.seen().only_warns("KEY_FILE_READABLE_BY_OTHERS");
        // As a Secret is mounted for a group.
        fixture.allow(key, 0o440);
        fixture.seen().healthy();
    }
}

#[test]
fn a_limit_of_file_descriptors_below_the_connections_is_warned_of() {
    let fixture = DoctorFixture::new();
    let with = |descriptors: &str| {
        let doctor = fixture.doctor();
        let mut limited = shell("ulimit -n \"$0\"; exec \"$@\"");
        limited.arg(descriptors).arg(doctor.get_program()).args(doctor.get_args()).args(["-o", "json"]);
        limited.env("TMPDIR", fixture.path("scratch"));
        Seen::new(&run(&mut limited))
    };
    with("1024").only_warns("DESCRIPTORS_FEW");
    with("16384").healthy();
    fixture.configure("tls: {", "tls: {max_connections: 600, ");
    with("1024").healthy();
}

#[test]
fn no_key_is_shown_whatever_is_wrong_with_it() {
    let fixture = DoctorFixture::new();
    let key = fs::read_to_string(fixture.path("server-key.pem")).unwrap();
    let shown = |fixture: &DoctorFixture| {
        let (text, json) = (run(&mut fixture.doctor()), run(fixture.doctor().args(["-o", "json"])));
        [text.stdout, text.stderr, json.stdout, json.stderr].concat()
    };
    fixture.configure("{key_encryption_key_file: key-encryption-key}", &format!("{{key_encryption_key: {SEAL}=}}"));
    assert!(!shown(&fixture).contains(SEAL));
    fixture.seen().only("KEY_ENCRYPTION_KEY_INVALID");
    fixture.configure(&format!("{{key_encryption_key: {SEAL}=}}"), SEAL);
    assert!(!shown(&fixture).contains(SEAL));
    fixture.seen().only("CONFIGURATION_INVALID");
    fixture.write("server.pem", &key);
    fixture.write("server-key.pem", &key[..key.len() / 2]);
    let lines: Vec<&str> = key.lines().filter(|line| !line.starts_with("-----")).collect();
    assert!(!lines.is_empty() && lines.iter().all(|line| !shown(&fixture).contains(line)));
}

#[test]
fn a_damaged_store_is_found_and_not_touched() {
    let fixture = DoctorFixture::new().served();
    let log = fixture.path("volume/data/db");
    let mut bytes = fs::read(&log).unwrap();
    let middle = bytes.len().min(4096) / 2;
    bytes[..middle].fill(0xff);
    fs::write(&log, bytes).unwrap();
    let before = contents(&fixture.path("volume"));
    let seen = fixture.seen();
    seen.only("STORE_DAMAGED");
    assert_eq!(seen.checks("not_checked"), ["resource", "exchange", "key_encryption_key", "clock"]);
    assert!(contents(&fixture.path("volume")) == before);
    fs::remove_file(log).unwrap();
    fixture.seen().only("STORE_DAMAGED");
}

#[tokio::test]
async fn an_import_that_was_interrupted_is_found() {
    let fixture = DoctorFixture::new().served();
    let store = open(&fixture.path("volume/data")).unwrap();
    store.put(IMPORT, b"{}".to_vec(), Expected::Absent).await.unwrap();
    drop(store);
    fixture.seen().only("STORE_IMPORT_UNFINISHED");
}

#[test]
fn a_directory_that_is_no_store_and_a_store_in_memory_are_told_apart() {
    let fixture = DoctorFixture::new();
    fs::create_dir(fixture.path("volume/data")).unwrap();
    fixture.seen().healthy();
    fs::write(fixture.path("volume/data/notes.txt"), "not a store").unwrap();
    fixture.seen().only("STORE_FOREIGN");
    fixture.configure("volume/data", "lanyard.yaml");
    let seen = fixture.seen();
    assert!(seen.codes("error").contains(&"STORE_UNREADABLE"), "{seen:#?}");
    fixture.configure("{sled: {path: lanyard.yaml}}", "{memory: true}");
    fixture.seen().only_warns("STORE_IN_MEMORY");
    let running = fixture.serve();
    let seen = fixture.seen();
    seen.only_warns("STORE_IN_MEMORY");
    assert!(seen.checks("ok").contains(&"clock"), "{seen:#?}");
    drop(running);
}

#[test]
fn a_store_that_somebody_holds_without_answering_is_found() {
    let fixture = DoctorFixture::new().served();
    let lock = File::open(fixture.path("volume/data/LOCK")).unwrap();
    lock.lock().unwrap();
    let seen = fixture.seen();
    seen.only("SERVER_UNREACHABLE");
    assert_eq!(seen.checks("not_checked").iter().filter(|check| **check == "listener").count(), 3);
    lock.unlock().unwrap();
    fixture.seen().healthy();
}

#[test]
fn a_full_disk_is_found() {
    if !tools::namespaces() {
        return;
    }
    let fixture = DoctorFixture::new();
    // A file system of 8 MiB, which only this shell and its children see; the lost+found of a fresh volume fills it.
    let volume = fixture.path("volume");
    let full = |fill: &str| {
        let doctor = format!(
            "exec {} doctor --config {} --min-free 1 -o json",
            env!("CARGO_BIN_EXE_lanyard"),
            text(&fixture.path("lanyard.yaml"))
        );
        let script = format!("mount -t tmpfs -o size=8m none {0} && mkdir {0}/data && {fill}; {doctor}", text(&volume));
        Seen::new(&run(shell("exec unshare -rm sh -c \"$SCRIPT\"").env("SCRIPT", script)))
    };
    full("true").healthy();
    full(&format!("dd if=/dev/zero of={}/filler bs=1M count=6 2>/dev/null", text(&volume))).only_warns("DISK_FILLING");
    full(&format!("dd if=/dev/zero of={}/filler bs=1M 2>/dev/null", text(&volume))).only("DISK_FULL");
}

#[test]
fn limits_beyond_the_memory_are_found() {
    let fixture = DoctorFixture::new();
    fixture.add("limits: {buffered_bytes: 1073741824}");
    fixture.seen().healthy();
    // An exbibyte is more than any machine has.
    fixture.configure("1073741824", "1152921504606846976");
    fixture.seen().only_warns("LIMITS_BEYOND_MEMORY");
}

#[test]
fn what_counts_as_full_is_the_operators_to_say() {
    let fixture = DoctorFixture::new();
    let exbibyte = (1_u64 << 40).to_string();
    fixture.seen_with(&["--min-free", &exbibyte]).only("DISK_FULL");
    fixture.seen_with(&["--min-free", "0"]).healthy();
}

#[test]
fn a_port_that_somebody_else_uses_is_found() {
    let fixture = DoctorFixture::new();
    for port in fixture.ports {
        let somebody = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let seen = fixture.seen();
        seen.only("LISTENER_ADDRESS_IN_USE");
        let line = seen.lines().find(|line| line["status"] == "error").unwrap();
        assert!(line["subject"].as_str().unwrap().contains(&port.to_string()), "{line}");
        drop(somebody);
    }
    fixture.seen().healthy();
    fixture.configure(&format!("public: '127.0.0.1:{}'", fixture.ports[1]), "public: '192.0.2.1:8444'");
    fixture.seen().only("LISTENER_ADDRESS_UNUSABLE");
}

#[test]
fn a_server_that_was_started_before_its_listeners_changed_is_found() {
    let fixture = DoctorFixture::new();
    let _server = fixture.serve();
    fixture.seen().healthy();
    let [other] = free_ports();
    fixture.configure(&format!("public: '127.0.0.1:{}'", fixture.ports[1]), &format!("public: '127.0.0.1:{other}'"));
    fixture.seen().only("LISTENER_UNREACHABLE");
}

#[test]
fn people_are_told_each_fault_with_its_code_and_what_to_do() {
    let fixture = DoctorFixture::new();
    fixture.write("ca.pem", "");
    let finished = run(&mut fixture.doctor());
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(1), ""));
    let lines: Vec<&str> = finished.stdout.lines().collect();
    let at = lines.iter().position(|line| line.starts_with("ERROR")).unwrap();
    assert!(lines[at].contains("bundle") && lines[at].contains("prod.example"), "{lines:#?}");
    assert!(lines[at].ends_with("the file is empty (ROOTS_EMPTY)"), "{lines:#?}");
    assert!(lines[at + 1].trim_start().starts_with("next: put the CA certificates there"), "{lines:#?}");
    assert_eq!(lines.last().unwrap(), &"1 error, 0 warnings");
}

#[test]
fn the_documentation_has_every_code_and_no_other() {
    let in_capitals =
        |word: &&str| word.contains('_') && word.chars().all(|one| one.is_ascii_uppercase() || one == '_');
    let source = fs::read_to_string(in_crate("src/cli/doctor/fault.rs")).unwrap();
    let mut codes: Vec<&str> = source.split('"').filter(in_capitals).collect();
    let page = fs::read_to_string(in_crate("docs/doctor.md")).unwrap();
    let mut reported: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    reported.retain(|word| in_capitals(word));
    codes.sort_unstable();
    reported.sort_unstable();
    assert!(codes.len() > 40, "{codes:?}");
    assert_eq!(codes, reported);
}
