//! kill -9 in the middle of an import, a migration and a compaction: the same command again finishes it, and no server
//! starts on a part of the records.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use lanyard::authority::backup;
use lanyard::authority::backup::IMPORT;
use lanyard::authority::store::Expected;
use lanyard::authority::store::Store as _;
use lanyard::authority::store::Transaction;
use sha2::Digest as _;
use sha2::Sha256;

use crate::store::backup::add_revocations;
use crate::store::backup::config_of;
use crate::store::backup::export;
use crate::store::backup::records;
use crate::store::backup::stopped;
use crate::store::backup::store;
use crate::support::process::lanyard;
use crate::support::process::run;
use crate::support::process::text;
use crate::support::server::Setup;
use crate::support::test_process::Chance;
use crate::support::test_process::let_pass;
use crate::support::test_process::open;

/// Kills a command at a random moment of its run, some of them after its end. Returns whether it had ended.
fn kill_within(arguments: &[&str], longest: Duration, chance: &mut Chance) -> bool {
    let mut command = lanyard();
    command.arg("store").args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let micros = u64::try_from(longest.as_micros()).unwrap();
    let_pass(Duration::from_micros(chance.below(micros)));
    let ended = child.try_wait().unwrap().is_some_and(|status| status.success());
    child.kill().unwrap();
    child.wait().unwrap();
    ended
}

/// How long a command takes.
fn duration(arguments: &[&str]) -> Duration {
    #[expect(clippy::disallowed_methods, reason = "it decides when a process is killed, and nothing is asserted of it")]
    let began = Instant::now();
    store(arguments).ok();
    began.elapsed()
}

/// Where a round of kills ended.
#[derive(Default, Debug)]
struct Found {
    nothing: usize,
    part: usize,
    all: usize,
}

async fn survives(rounds: u64, seed: u64) -> Found {
    let setup = stopped().await;
    add_revocations(&setup.path("data"), 3000).await;
    let (config, file) = (setup.path("lanyard.yaml"), setup.path("backup"));
    store(&["export", "--config", text(&config), "--out", text(&file)]).ok();
    let lines = export(&config);
    let mut chance = Chance::seeded(seed);
    let mut found = Found::default();
    let target = config_of(&setup, "target");
    let import: Vec<&str> = vec!["import", text(&file), "--trust-tokens", "--config", text(&target)];
    let migrate: Vec<&str> = vec!["migrate", "--from", text(&config), "--to", text(&target)];
    let longest = duration(&import) * 11 / 10;
    fs::remove_dir_all(setup.path("target")).unwrap();
    for round in 0..rounds {
        let command = if round % 2 == 0 { &import } else { &migrate };
        for _ in 0..=chance.below(2) {
            if kill_within(command, longest, &mut chance) {
                break;
            }
        }
        let state = state(&setup).await;
        match state {
            None | Some((0, false)) => found.nothing += 1,
            Some((_, true)) => found.part += 1,
            Some((count, false)) => {
                assert_eq!(count, lines.len() - 2, "round {round}: a part without the mark");
                found.all += 1;
            }
        }
        if let Some((count, true)) = state {
            let again = export_refused(&target);
            assert!(again.contains("was not finished"), "{again}");
            if chance.below(3) == 0 {
                let cleared = store(&["import", "--clear", "--config", text(&target), "-o", "json"]).json(0);
                assert_eq!(cleared["records"], count);
                assert_eq!(export(&target).len(), 2);
            }
        }
        if !matches!(state, Some((1.., false))) {
            store(command).ok();
        }
        assert_eq!(records(&export(&target)), records(&lines), "round {round}");
        // What was moved is what it was moved from.
        assert_eq!(records(&export(&config)), records(&lines), "round {round}");
        fs::remove_dir_all(setup.path("target")).unwrap();
    }
    found
}

fn export_refused(config: &Path) -> String {
    let refused = store(&["export", "--config", text(config)]);
    assert_eq!(refused.code, Some(1));
    refused.stderr
}

/// How many records the target has, and whether it has the mark; `None` where there is no store.
async fn state(setup: &Setup) -> Option<(usize, bool)> {
    if !setup.path("target").join("LOCK").exists() {
        return None;
    }
    let listing = open(&setup.path("target")).unwrap().list("").await.unwrap();
    let marked = listing.entries.iter().any(|(key, _)| key == IMPORT);
    Some((listing.entries.len() - usize::from(marked), marked))
}

async fn survives_with_a_new_seed(rounds: u64) -> Found {
    let seed = Chance::new_seed();
    println!("seed {seed}");
    let found = survives(rounds, seed).await;
    println!("{found:?}");
    found
}

#[tokio::test]
async fn an_import_and_a_migration_that_are_killed_are_finished_by_the_same_command() {
    survives_with_a_new_seed(6).await;
}

#[tokio::test]
#[ignore = "long: 200 rounds; .ci/run-long runs it"]
async fn long_rows_of_kills_of_imports_and_migrations_are_survived() {
    let found = survives_with_a_new_seed(200).await;
    assert!(found.part > 20, "{found:?}");
}

/// The state that a kill leaves, made: a mark, and a part of the records.
#[tokio::test]
async fn no_server_starts_on_a_part_and_only_the_same_import_or_its_end_goes_on() {
    let setup = stopped().await;
    let (config, file, another) = (setup.path("lanyard.yaml"), setup.path("backup"), setup.path("another"));
    let target = config_of(&setup, "target");
    store(&["export", "--config", text(&config), "--out", text(&file)]).ok();
    add_revocations(&setup.path("data"), 1).await;
    store(&["export", "--config", text(&config), "--out", text(&another)]).ok();
    let import = |file: &Path, flags: &[&str]| {
        store(&[&["import", text(file), "--trust-tokens", "--config", text(&target)], flags].concat())
    };
    interrupted(&setup, &file).await;
    import(&another, &[]).refused("an import of other records", "--clear");
    import(&another, &["--merge"]).refused("an import of other records", "--clear");
    let verified = store(&["verify", "--config", text(&target)]);
    assert!(
        verified.code == Some(1) && verified.stdout.starts_with("/import: an import was not finished"),
        "{verified:?}"
    );
    for command in [&["export"][..], &["migrate", "--to", text(&config), "--from"]] {
        let flag: &[&str] = if command[0] == "export" { &["--config"] } else { &[] };
        let refused = store(&[command, flag, &[text(&target)]].concat());
        refused.refused("was not finished", "by the same command again");
    }
    fs::rename(setup.path("data"), setup.path("source")).unwrap();
    fs::rename(setup.path("target"), setup.path("data")).unwrap();
    let served = run(lanyard().args(["serve", "--config", text(&config)]));
    assert!(served.stderr.contains("was not finished") && served.stderr.contains("--clear"), "{served:?}");
    fs::rename(setup.path("data"), setup.path("target")).unwrap();
    let finished = import(&file, &["-o", "json"]).json(0);
    assert_eq!(finished["resumed"], true);
    fs::rename(setup.path("source"), setup.path("data")).unwrap();

    fs::remove_dir_all(setup.path("target")).unwrap();
    interrupted(&setup, &file).await;
    let cleared = store(&["import", "--clear", "--config", text(&target), "-o", "json"]).json(0);
    assert_eq!(cleared["records"], 3);
    store(&["import", "--clear", "--config", text(&target)]).refused("no import", "nothing needs");
    import(&another, &[]).ok();
    assert_eq!(records(&export(&target)), records(&export(&config)));
}

/// Makes a target that an import of this file left after three records.
async fn interrupted(setup: &Setup, file: &Path) {
    let export = backup::read(fs::read(file).unwrap().as_slice()).unwrap();
    let some = export.records[..3].to_vec();
    let lines: Vec<Vec<u8>> = export.into_lines().map(Result::unwrap).collect();
    let sum = hex::encode(Sha256::digest(lines[1..lines.len() - 1].concat()));
    let store = open(&setup.path("target")).unwrap();
    let mark = format!("{{\"schema\":1,\"sha256\":\"{sum}\",\"began\":5}}");
    store.put(IMPORT, mark.into_bytes(), Expected::Absent).await.unwrap();
    for record in some {
        let write = Transaction::default().compare(&record.key, Expected::Absent);
        let value = record.value.to_vec();
        let write = match record.expires {
            Some(expires) => write.put_until(&record.key, value, expires),
            None => write.put(&record.key, value),
        };
        store.transact(write).await.unwrap();
    }
}
