//! A start on a full disk: there is no space, and nothing is damaged.

use std::path::Path;

use lanyard::authority::store::Expected;
use lanyard::authority::store::Store as _;

use crate::support::process::Finished;
use crate::support::process::run;
use crate::support::process::shell;
use crate::support::process::text;
use crate::support::test_process::open;
use crate::support::test_process::own_directory;
use crate::support::test_process::say;
use crate::support::tools;

/// Opens the store that it was started for, and says what became of that.
#[tokio::test]
#[ignore = "a process that other tests start"]
async fn opening_process() {
    let Some(directory) = own_directory() else { return };
    let store = match open(&directory) {
        Ok(store) => store,
        Err(error) => return say(&format!("refused: {error}")),
    };
    if store.get("/clients/checkout").await.unwrap().is_some() {
        return say("opened: all is there");
    }
    let written = store.put("/clients/checkout", b"{}".to_vec(), Expected::Any).await;
    say(&written.map_or_else(|error| format!("not written: {error}"), |_| "written".to_owned()));
}

/// Runs a script with a file system of 1 MiB, which only it sees, at `$VOLUME`; `$OPEN` opens a store in its `data`.
fn on_a_small_disk(volume: &Path, options: &str, script: &str) -> Finished {
    let open = format!(
        "LANYARD_TEST_STORE=\"$VOLUME/data\" {} --exact store::full_disk::opening_process --ignored --nocapture",
        text(&std::env::current_exe().unwrap())
    );
    let script = format!("mount -t tmpfs -o size=1m,mode=700{options} none \"$VOLUME\" && {script}");
    let mut command = shell("exec unshare -rm sh -c \"$SCRIPT\"");
    run(command.env("SCRIPT", script.replace("OPEN", &open)).env("VOLUME", volume))
}

/// What the openings said.
fn said(finished: &Finished) -> Vec<&str> {
    let lines = finished.stderr.lines();
    lines
        .filter(|line| ["refused: ", "opened: ", "not written: ", "written"].iter().any(|word| line.starts_with(word)))
        .collect()
}

#[test]
fn a_full_disk_at_the_start_is_no_space_and_with_space_everything_is_there() {
    if !tools::namespaces() {
        return;
    }
    let volume = tempfile::tempdir().unwrap();
    let fill = "dd if=/dev/zero of=\"$VOLUME/filler\" bs=4096 2>/dev/null";
    let script = format!("OPEN; {fill}; OPEN; OPEN; rm \"$VOLUME/filler\"; OPEN");
    let finished = on_a_small_disk(volume.path(), "", &script);
    let said = said(&finished);
    let [first, refused, again, freed] = said[..] else { panic!("{finished:?}") };
    assert_eq!((first, freed), ("written", "opened: all is there"), "{finished:?}");
    for refused in [refused, again] {
        assert!(refused.contains("no space is left on its disk"), "{refused}");
        assert!(!refused.contains("damaged") && !refused.contains("restore it"), "{refused}");
    }
}

#[test]
fn a_first_start_without_inodes_is_no_space_and_leaves_nothing_in_the_way() {
    if !tools::namespaces() {
        return;
    }
    for inodes in 2..9 {
        let volume = tempfile::tempdir().unwrap();
        let script = "mkdir \"$VOLUME/data\"; OPEN; mount -o remount,nr_inodes=64 \"$VOLUME\"; OPEN";
        let finished = on_a_small_disk(volume.path(), &format!(",nr_inodes={inodes}"), script);
        let said = said(&finished);
        let [first, then] = said[..] else { panic!("{inodes}: {finished:?}") };
        if first == "written" {
            // There were enough.
            assert_eq!(then, "opened: all is there");
        } else {
            assert!(first.contains("no space is left on its disk"), "{inodes}: {first}");
            assert_eq!(then, "written", "{inodes}: {first}");
        }
    }
}
