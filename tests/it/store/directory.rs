//! What the embedded store takes for its own directory, and what it refuses to touch.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use lanyard::authority::store::Expected;
use lanyard::authority::store::Store;
use lanyard::store::sled::OpenError;
use lanyard::store::sled::SledOptions;
use lanyard::store::sled::SledStore;

use crate::store::damage::copy_directory;
use crate::support::test_process::Process;
use crate::support::test_process::open;

async fn filled(directory: &Path, records: usize) {
    let store = open(directory).unwrap();
    for n in 0..records {
        store.put(&format!("/clients/{n}"), format!("{{\"n\":{n}}}").into_bytes(), Expected::Any).await.unwrap();
    }
}

fn refusal(directory: &Path) -> OpenError {
    open(directory).unwrap_err()
}

fn remove_all_but(directory: &Path, kept: &[&str]) {
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            fs::remove_dir_all(entry.path()).unwrap();
        } else if !kept.contains(&entry.file_name().to_str().unwrap()) {
            fs::remove_file(entry.path()).unwrap();
        }
    }
}

#[tokio::test]
async fn a_new_store_is_made_in_a_directory_for_its_user_alone() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("a").join("store");
    filled(&directory, 1).await;
    assert_eq!(fs::metadata(&directory).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(open(&directory).unwrap().list("").await.unwrap().entries.len(), 1);
}

/// The files and folders below a directory that group or others have any right to.
fn shared(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
        let mode = entry.metadata().unwrap().permissions().mode();
        if mode & 0o077 != 0 {
            found.push(format!("{} {:04o}", entry.path().display(), mode & 0o777));
        }
        if entry.path().is_dir() {
            found.extend(shared(&entry.path()));
        }
    }
    found
}

/// A volume that Kubernetes mounts for a group (`fsGroup`) belongs to root, and its directory cannot be changed.
#[tokio::test]
async fn the_files_of_a_store_are_for_its_user_alone_in_a_directory_that_others_share() {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o2775)).unwrap();
    filled(directory.path(), 3).await;
    assert_eq!(shared(directory.path()), [""; 0]);
    assert!(["db", "conf", "blobs"].iter().all(|name| directory.path().join(name).exists()));

    // The next mount gives its group all rights to what is there.
    for entry in fs::read_dir(directory.path()).unwrap().map(Result::unwrap) {
        fs::set_permissions(entry.path(), fs::Permissions::from_mode(0o775)).unwrap();
    }
    assert!(shared(directory.path()).len() >= 5);
    let store = open(directory.path()).unwrap();
    assert_eq!(shared(directory.path()), [""; 0]);
    assert_eq!(store.list("").await.unwrap().entries.len(), 3);
    assert_eq!(fs::metadata(directory.path()).unwrap().permissions().mode() & 0o777, 0o775, "it is not the store's");
}

#[tokio::test]
async fn a_fresh_volume_with_lost_and_found_is_taken_for_empty() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("lost+found")).unwrap();
    filled(directory.path(), 1).await;
}

#[test]
fn a_directory_with_other_content_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("notes.txt"), "keep").unwrap();
    assert!(matches!(refusal(directory.path()), OpenError::Foreign { .. }));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn a_store_whose_log_was_removed_is_not_taken_for_a_new_one() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path(), 3).await;
    fs::remove_file(directory.path().join("db")).unwrap();
    let refusal = refusal(directory.path());
    assert!(matches!(refusal, OpenError::Emptied { missing: "db", .. }), "{refusal}");
    assert!(refusal.to_string().contains(directory.path().to_str().unwrap()));
    assert!(!directory.path().join("db").exists(), "nothing was made in its place");
}

#[tokio::test]
async fn a_store_whose_log_was_emptied_is_not_taken_for_a_new_one() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path(), 3).await;
    fs::write(directory.path().join("db"), "").unwrap();
    assert!(matches!(refusal(directory.path()), OpenError::Emptied { missing: "db", .. }));
}

#[tokio::test]
async fn a_store_of_which_only_the_mark_is_left_is_not_taken_for_a_new_one() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path(), 3).await;
    remove_all_but(directory.path(), &["MARK"]);
    assert!(matches!(refusal(directory.path()), OpenError::Emptied { missing: "db", .. }));
}

#[tokio::test]
async fn a_store_of_which_only_the_lock_is_left_is_not_taken_for_a_new_one() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path(), 3).await;
    remove_all_but(directory.path(), &["LOCK"]);
    assert!(matches!(refusal(directory.path()), OpenError::Emptied { missing: "MARK", .. }));
}

#[tokio::test]
async fn a_store_without_its_mark_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path(), 3).await;
    fs::remove_file(directory.path().join("MARK")).unwrap();
    assert!(matches!(refusal(directory.path()), OpenError::Emptied { missing: "MARK", .. }));
    fs::remove_file(directory.path().join("LOCK")).unwrap();
    assert!(matches!(refusal(directory.path()), OpenError::Foreign { .. }));
}

#[tokio::test]
async fn a_fresh_log_beside_the_mark_is_refused() {
    let (directory, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    filled(directory.path(), 3).await;
    drop(sled::open(other.path()).unwrap());
    remove_all_but(directory.path(), &["MARK", "LOCK"]);
    copy_directory(other.path(), directory.path());
    let refusal = refusal(directory.path());
    assert!(matches!(refusal, OpenError::Emptied { missing: "everything in the log", .. }), "{refusal}");
}

#[tokio::test]
async fn an_older_log_in_the_place_of_the_newer_is_refused() {
    let (directory, older) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    filled(directory.path(), 3).await;
    copy_directory(directory.path(), older.path());
    filled(directory.path(), 1).await;
    let mark = fs::read(directory.path().join("MARK")).unwrap();
    remove_all_but(directory.path(), &[]);
    copy_directory(older.path(), directory.path());
    assert_eq!(open(directory.path()).unwrap().list("").await.unwrap().entries.len(), 3, "a whole copy is a backup");
    fs::write(directory.path().join("MARK"), mark).unwrap();
    let refusal = refusal(directory.path());
    assert!(matches!(refusal, OpenError::RolledBack { found: 3, marked: 4, .. }), "{refusal}");
}

#[tokio::test]
async fn the_log_of_another_store_is_refused() {
    let (directory, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    filled(directory.path(), 3).await;
    filled(other.path(), 5).await;
    fs::copy(directory.path().join("MARK"), other.path().join("MARK")).unwrap();
    assert!(matches!(refusal(other.path()), OpenError::RolledBack { found: 5, marked: 3, .. }));
}

#[tokio::test]
async fn a_store_that_is_open_is_refused_to_a_second_process_until_it_is_closed() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).unwrap();
    let refused = Process::start("store::damage::reading_process", directory.path(), &[]).finish().unwrap();
    let text = format!("refused: another process uses the store in {}", directory.path().display());
    assert_eq!(refused, (vec![text], true));
    assert!(matches!(refusal(directory.path()), OpenError::InUse { .. }));
    store.put("/clients/a", b"1".to_vec(), Expected::Any).await.unwrap();
    drop(store);
    open(directory.path()).unwrap();
}

#[tokio::test]
async fn a_store_can_be_closed_and_opened_again_while_other_processes_are_started() {
    let directory = tempfile::tempdir().unwrap();
    let done = Arc::new(AtomicBool::new(false));
    // Up to its `exec` a new process shares all files of this one, and with them their locks.
    let starting = [Arc::clone(&done), Arc::clone(&done)].map(|done| {
        thread::spawn(move || {
            while !done.load(Ordering::Relaxed) {
                assert!(Command::new("true").status().unwrap().success());
            }
        })
    });
    for round in 0..30 {
        let store = open(directory.path()).unwrap();
        assert_eq!(store.list("").await.unwrap().entries.len(), round);
        store.put(&format!("/clients/{round}"), b"1".to_vec(), Expected::Absent).await.unwrap();
    }
    done.store(true, Ordering::Relaxed);
    for thread in starting {
        thread.join().unwrap();
    }
}

#[tokio::test]
async fn an_opening_waits_for_an_engine_that_is_still_closing() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path(), 3).await;
    let log = fs::File::open(directory.path().join("db")).unwrap();
    log.lock().unwrap();
    let (sender, opened) = mpsc::channel();
    let path = directory.path().to_owned();
    let opening = thread::spawn(move || sender.send(open(&path).map(drop)).unwrap());
    assert!(opened.recv_timeout(Duration::from_millis(200)).is_err(), "it is still waiting");
    log.unlock().unwrap();
    opened.recv().unwrap().unwrap();
    opening.join().unwrap();
}

#[tokio::test]
async fn an_unfinished_snapshot_does_not_keep_the_store_from_opening() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path(), 3).await;
    fs::write(directory.path().join("snap.7FFFFFFFFFFFFFFF.generating"), "torn").unwrap();
    assert_eq!(open(directory.path()).unwrap().list("").await.unwrap().entries.len(), 3);
    assert!(!directory.path().join("set-aside").exists(), "it was removed, not tried");
}

#[tokio::test]
async fn a_damaged_snapshot_is_set_aside_and_the_store_opens_from_its_log() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path(), 3).await;
    filled(directory.path(), 5).await;
    let name = "snap.7FFFFFFFFFFFFFFF";
    fs::write(directory.path().join(name), "torn, but longer than a header").unwrap();
    assert_eq!(open(directory.path()).unwrap().list("").await.unwrap().entries.len(), 5);
    assert!(directory.path().join("set-aside").join(name).exists());
}

#[tokio::test]
async fn a_damaged_log_is_refused_and_its_snapshot_stays() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path(), 200).await;
    drop(open(directory.path()).unwrap());
    let log = directory.path().join("db");
    let mut bytes = fs::read(&log).unwrap();
    bytes[10_000..30_000].fill(0);
    fs::write(&log, bytes).unwrap();
    assert!(matches!(refusal(directory.path()), OpenError::Damaged { .. }));
    let names: Vec<_> = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(names.iter().any(|name| name.to_str().unwrap().starts_with("snap.")), "{names:?}");
    assert!(!names.iter().any(|name| name == "trial" || name == "set-aside"), "{names:?}");
}

#[tokio::test]
async fn large_values_leave_no_files_beside_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).unwrap();
    for n in 0..200 {
        let value = format!("\"{}\"", "x".repeat(60_000)).into_bytes();
        store.put(&format!("/clients/{}", n % 20), value, Expected::Any).await.unwrap();
    }
    drop(store);
    assert_eq!(fs::read_dir(directory.path().join("blobs")).unwrap().count(), 0);
    assert_eq!(open(directory.path()).unwrap().list("").await.unwrap().entries.len(), 20);
}

#[tokio::test]
async fn an_opening_that_hangs_is_given_up_with_the_name_of_the_directory() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path(), 3).await;
    // sled reads this file first, and reading a pipe without a writer blocks.
    let conf = directory.path().join("conf");
    fs::remove_file(&conf).unwrap();
    assert!(Command::new("mkfifo").arg(&conf).status().unwrap().success());
    let options = SledOptions { open_limit: Duration::from_millis(200), ..SledOptions::default() };
    let refusal = SledStore::open(directory.path(), options).unwrap_err();
    assert!(matches!(refusal, OpenError::Stuck { .. }), "{refusal}");
    assert!(refusal.to_string().contains(directory.path().to_str().unwrap()));
}
