//! A store that is rewritten holds what it held, at the same revisions, whenever that is interrupted.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use lanyard::authority::store::Expected;
use lanyard::authority::store::Listing;
use lanyard::authority::store::Store as _;
use lanyard::store::sled::compact;

use crate::store::backup::add_revocations;
use crate::store::backup::stopped;
use crate::store::backup::store;
use crate::store::damage::copy_directory;
use crate::support::process::lanyard;
use crate::support::process::text;
use crate::support::test_process::Chance;
use crate::support::test_process::let_pass;
use crate::support::test_process::open;

async fn listing(directory: &Path) -> Listing {
    open(directory).unwrap().list("").await.unwrap()
}

/// A store in which most of what was written was deleted again.
async fn worn(directory: &Path) {
    add_revocations(directory, 2000).await;
    let store = open(directory).unwrap();
    for number in 0..1900 {
        store.delete(&format!("/revocations/token/token-{number}"), Expected::Any).await.unwrap();
    }
}

#[tokio::test]
async fn a_compacted_store_is_smaller_and_holds_the_same_at_the_same_revisions() {
    let setup = stopped().await;
    let (data, config) = (setup.path("data"), setup.path("lanyard.yaml"));
    worn(&data).await;
    let before = listing(&data).await;
    let compacted = store(&["compact", "--config", text(&config), "-o", "json"]).json(0);
    assert_eq!(compacted["records"], before.entries.len());
    let [was, is] = ["bytes_before", "bytes_after"].map(|name| compacted[name].as_u64().unwrap());
    assert!(is < was / 2, "{compacted}");
    assert_eq!(listing(&data).await, before);
    // It goes on where it was.
    let next = open(&data).unwrap().put("/probe", b"1".to_vec(), Expected::Absent).await.unwrap();
    assert_eq!(next.0, before.revision.0 + 1);
    open(&data).unwrap().delete("/probe", Expected::Any).await.unwrap();
    compact(&data).unwrap();
    let held = open(&data).unwrap();
    store(&["compact", "--config", text(&config)]).refused("another process uses the store", "stop that server");
    drop(held);
    let server = setup.start().await.unwrap();
    server.token(&server.svid("/checkout")).await;
}

async fn survives(rounds: u64, seed: u64) {
    let setup = stopped().await;
    let (data, config) = (setup.path("data"), setup.path("lanyard.yaml"));
    worn(&data).await;
    let before = listing(&data).await;
    let worn = setup.path("worn");
    fs::create_dir(&worn).unwrap();
    copy_directory(&data, &worn);
    let mut chance = Chance::seeded(seed);
    for round in 0..rounds {
        let mut command = lanyard();
        command.args(["store", "compact", "--config", text(&config)]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let_pass(Duration::from_micros(chance.below(120_000)));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(listing(&data).await, before, "round {round}, seed {seed}");
        for left in ["compact.new", "compact.ready"] {
            assert!(!data.join(left).exists(), "round {round}, seed {seed}: {left}");
        }
        if chance.below(2) == 0 {
            fs::remove_dir_all(&data).unwrap();
            fs::create_dir(&data).unwrap();
            copy_directory(&worn, &data);
        }
    }
}

async fn survives_with_a_new_seed(rounds: u64) {
    let seed = Chance::new_seed();
    println!("seed {seed}");
    survives(rounds, seed).await;
}

#[tokio::test]
async fn a_compaction_that_is_killed_loses_nothing() {
    survives_with_a_new_seed(6).await;
}

#[tokio::test]
#[ignore = "long: 200 rounds; .ci/run-long runs it"]
async fn long_rows_of_kills_of_compactions_lose_nothing() {
    survives_with_a_new_seed(200).await;
}

/// Each state between the steps in which the new log takes the place of the old one, made.
#[tokio::test]
async fn each_step_of_the_replacement_can_be_repeated_and_an_outdated_log_replaces_nothing() {
    let setup = stopped().await;
    let data = setup.path("data");
    worn(&data).await;
    let before = listing(&data).await;
    let rewritten = setup.path("rewritten");
    fs::create_dir(&rewritten).unwrap();
    copy_directory(&data, &rewritten);
    compact(&rewritten).unwrap();
    let mark = fs::read_to_string(data.join("MARK")).unwrap();
    let mark: serde_json::Value =
        serde_json::from_str(mark.lines().next().unwrap().trim_end_matches('\0').trim()).unwrap();
    let replaces = format!("{} {}\n", mark["store"].as_str().unwrap(), mark["revision"]);
    for (moved, replaces, smaller) in [
        (&[][..], replaces.clone(), true),
        (&["conf"], replaces.clone(), true),
        (&["conf", "db"], replaces.clone(), true),
        (&[], "another 5\n".to_owned(), false),
        (&[], replaces.replace('\n', "0\n"), false),
    ] {
        let state = setup.path("state");
        let ready = state.join("compact.ready");
        fs::create_dir_all(&ready).unwrap();
        copy_directory(&data, &state);
        fs::write(ready.join("REPLACES"), &replaces).unwrap();
        for name in ["conf", "db"] {
            let to = if moved.contains(&name) { state.join(name) } else { ready.join(name) };
            fs::copy(rewritten.join(name), to).unwrap();
        }
        if moved.contains(&"conf") {
            for snapshot in fs::read_dir(&state).unwrap().map(|entry| entry.unwrap()) {
                if snapshot.file_name().to_string_lossy().starts_with("snap.") {
                    fs::remove_file(snapshot.path()).unwrap();
                }
            }
        }
        assert_eq!(listing(&state).await, before, "{moved:?} {replaces}");
        let size = |directory: &Path| fs::metadata(directory.join("db")).unwrap().len();
        assert_eq!(size(&state) < size(&data), smaller, "{moved:?} {replaces}");
        assert!(!ready.exists());
        fs::remove_dir_all(&state).unwrap();
    }
}
