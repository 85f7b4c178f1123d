//! The section `keys` of the configuration: the schedule, and where the key-encryption keys come from.

use std::fs;
use std::time::Duration;

use lanyard::config;
use lanyard::config::Config;

use crate::support::http::get;
use crate::support::server::SEAL;
use crate::support::server::Setup;

/// Reads the section, with these files beside the configuration.
fn read_with(keys: &str, files: &[(&str, &str)]) -> Result<Config, String> {
    let setup = Setup { keys: keys.to_owned(), ..Setup::default() };
    setup.write();
    for (name, contents) in files {
        fs::write(setup.path(name), contents).unwrap();
    }
    config::load(&setup.path("lanyard.yaml")).map_err(|error| error.to_string())
}

fn read(keys: &str) -> Result<Config, String> {
    read_with(&format!("{{key_encryption_key: {SEAL}, {keys}}}"), &[])
}

#[test]
fn a_period_is_off_or_an_hour_at_least_and_not_shorter_than_verifiers_may_wait() {
    for (keys, period, cache) in [
        ("", None, 600),
        ("rotation_period: off", None, 600),
        ("rotation_period: 1h", Some(3600), 600),
        ("rotation_period: 30d, verifier_cache_time: 1d", Some(30 * 86400), 86400),
    ] {
        let policy = read(keys).unwrap().policy.keys;
        assert_eq!(policy.rotation_period, period.map(Duration::from_secs), "{keys}");
        assert_eq!(policy.verifier_cache_time, Duration::from_secs(cache), "{keys}");
    }
    for (keys, key) in [
        ("rotation_period: 59m", "keys.rotation_period"),
        ("rotation_period: 0s", "keys.rotation_period"),
        ("rotation_period: never", "keys.rotation_period"),
        ("rotation_period: 30", "keys.rotation_period"),
        ("verifier_cache_time: 0s", "keys.verifier_cache_time"),
        ("rotation_period: 1h, verifier_cache_time: 61m", "keys.rotation_period"),
        ("previous: {}", "keys.previous"),
        ("previous: [{}]", "keys.previous"),
        ("previous: [{key_encryption_key: AAAA}]", "keys.previous"),
        ("previous: [{file: x}]", "unknown field"),
        ("key_encryption_key_command: [cat]", "keys.key_encryption_key_command"),
    ] {
        let problem = read(keys).unwrap_err();
        assert!(problem.contains(key) && !problem.contains(SEAL), "{keys}: {problem}");
    }
    let many = vec![format!("{{key_encryption_key: {SEAL}}}"); 9].join(", ");
    assert!(read(&format!("previous: [{many}]")).unwrap_err().contains("more than 8"));
}

#[test]
fn each_former_key_comes_from_a_file_the_configuration_or_a_command() {
    let keys = format!(
        "{{key_encryption_key_file: new, previous: [{{key_encryption_key_file: old}}, {{key_encryption_key: {SEAL}}}, \
         {{key_encryption_key_file: sealed, key_encryption_key_command: [cat]}}]}}"
    );
    let files = [("new", SEAL), ("old", SEAL), ("sealed", SEAL)];
    assert_eq!(read_with(&keys, &files).unwrap().key_encryption_keys.previous.len(), 3);
    for missing in 0..files.len() {
        let files: Vec<_> =
            files.iter().enumerate().filter(|(place, _)| *place != missing).map(|(_, file)| *file).collect();
        let problem = read_with(&keys, &files).unwrap_err();
        assert!(problem.contains("cannot read"), "{problem}");
    }
}

/// A section whose key is opened by a shell script.
fn by_script(script: &str) -> String {
    format!("{{key_encryption_key_file: sealed, key_encryption_key_command: [sh, -c, '{script}']}}")
}

#[test]
fn what_the_command_prints_must_be_a_key_and_no_message_has_it() {
    let sealed = [("sealed", &*format!("x{SEAL}"))];
    read_with(&by_script("tail -c +2"), &sealed).unwrap();
    for (script, why) in [
        ("cat", "not a key-encryption key"),
        ("tail -c +3", "not a key-encryption key"),
        ("tail -c +2 | base64 -d", "not a key-encryption key"),
        ("tail -c +2; exit 4", "exit status: 4"),
        ("tail -c +2; echo the service refuses >&2; exit 4", "it said: the service refuses"),
        ("yes", "more than 1024 bytes"),
        ("true", "not a key-encryption key"),
        ("kill -9 $$", "signal: 9"),
    ] {
        let problem = read_with(&by_script(script), &sealed).unwrap_err();
        assert!(problem.starts_with("keys.key_encryption_key_command: "), "{problem}");
        assert!(problem.contains(why) && !problem.contains(&SEAL[1..8]), "{script}: {problem}");
    }
}

#[tokio::test]
async fn the_command_runs_at_the_start_and_not_while_the_server_serves() {
    let server = {
        let mut setup = Setup::default();
        let runs = setup.path("runs").display().to_string();
        setup.keys = by_script(&format!("echo >> {runs}; cat"));
        setup.write();
        fs::write(setup.path("sealed"), SEAL).unwrap();
        setup.start().await.unwrap()
    };
    let runs = || fs::read_to_string(server.setup.path("runs")).unwrap().lines().count();
    assert_eq!(runs(), 1);
    for _ in 0..3 {
        server.server.reload();
    }
    assert_eq!(runs(), 1);
    assert_eq!(server.send(&server.svid("/somebody"), get("/oauth2/jwks")).await.status, 200);
}
