//! The image of the store: what it held when it was closed, read at the next opening instead of the log. It is never a second
//! truth.

use std::fs;
use std::path::Path;

use lanyard::authority::clock::Timestamp;
use lanyard::authority::store::Expected;
use lanyard::authority::store::Listing;
use lanyard::authority::store::Store;
use lanyard::authority::store::StoreError;
use lanyard::authority::store::Transaction;
use lanyard::store::sled::Disk;
use lanyard::store::sled::OpenError;
use lanyard::store::sled::SledOptions;
use lanyard::store::sled::SledStore;
use lanyard::store::sled::compact;

use crate::store::damage::copy_directory;
use crate::support::door::within;
use crate::support::test_process::Chance;
use crate::support::test_process::Process;
use crate::support::test_process::own_directory;
use crate::support::test_process::say;

/// Enough for the log to have pages that are not touched by an opening.
const RECORDS: usize = 600;

fn open(directory: &Path, image_from: Option<u64>) -> Result<SledStore, OpenError> {
    let options = SledOptions { durability: Box::new(Disk), image_from, ..SledOptions::default() };
    SledStore::open(directory, options)
}

async fn write(store: &SledStore, records: std::ops::Range<usize>, text: &str) {
    for begin in records.clone().step_by(50) {
        let mut transaction = Transaction::default();
        for number in begin..records.end.min(begin + 50) {
            let value = format!("{{\"schema\":1,\"text\":\"{text}\",\"number\":{number}}}").into_bytes();
            let key = format!("/clients/{number}");
            transaction = match number % 10 {
                0 => transaction.put_until(&key, value, Timestamp(1 << 40)),
                1 => transaction.put(&key, format!("\"{}\"", text.repeat(500)).into_bytes()),
                2 => transaction.put(&key, vec![0xff, b'"']),
                _ => transaction.put(&key, value),
            };
        }
        store.transact(transaction).await.unwrap();
    }
}

async fn listing(store: &SledStore) -> Listing {
    store.list("").await.unwrap()
}

/// What a directory holds by its log alone.
async fn by_log(directory: &Path) -> Listing {
    let copy = tempfile::tempdir().unwrap();
    copy_directory(directory, copy.path());
    listing(&open(copy.path(), None).unwrap()).await
}

fn image(directory: &Path) -> Option<Vec<u8>> {
    fs::read(directory.join("IMAGE")).ok()
}

/// A store that was closed with an image.
async fn closed_store(directory: &Path) -> Listing {
    let store = open(directory, Some(0)).unwrap();
    write(&store, 0..RECORDS, "first").await;
    listing(&store).await
}

/// Damages the record with this number in sled's log, which has its envelope as it is.
fn damage_log(directory: &Path, number: usize) {
    let path = directory.join("db");
    let mut log = fs::read(&path).unwrap();
    let wanted = format!("\"number\":{number}}}}}").into_bytes();
    let found: Vec<usize> =
        log.windows(wanted.len()).enumerate().filter(|(_, piece)| *piece == wanted).map(|(at, _)| at).collect();
    assert!(!found.is_empty());
    for at in found {
        log[at + 3] ^= 1;
    }
    fs::write(path, log).unwrap();
}

#[tokio::test]
async fn an_image_is_written_at_the_close_from_so_many_records_on() {
    for (image_from, is_written) in [(None, false), (Some(4), false), (Some(3), true), (Some(0), true)] {
        let directory = tempfile::tempdir().unwrap();
        let store = open(directory.path(), image_from).unwrap();
        write(&store, 3..6, "first").await;
        assert!(image(directory.path()).is_none());
        drop(store);
        assert_eq!(image(directory.path()).is_some(), is_written, "{image_from:?}");
    }
}

#[tokio::test]
async fn what_is_read_from_the_image_is_what_the_log_says() {
    let directory = tempfile::tempdir().unwrap();
    let content = closed_store(directory.path()).await;
    assert_eq!(by_log(directory.path()).await, content);
    let store = open(directory.path(), Some(0)).unwrap();
    assert_eq!(listing(&store).await, content);
    // And it is written to as before.
    write(&store, 100..200, "second").await;
    store.delete("/clients/7", Expected::Absent).await.unwrap_err();
    store.delete("/clients/7", Expected::Any).await.unwrap();
    let changed = listing(&store).await;
    assert_ne!(changed, content);
    drop(store);
    assert_eq!(by_log(directory.path()).await, changed);
    assert_eq!(listing(&open(directory.path(), Some(0)).unwrap()).await, changed);
}

#[tokio::test]
async fn an_older_image_and_that_of_another_store_are_ignored() {
    let [directory, other] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    closed_store(directory.path()).await;
    closed_store(other.path()).await;
    let older = image(directory.path()).unwrap();
    // A version that does not know the image writes, and leaves it there.
    let store = open(directory.path(), None).unwrap();
    write(&store, 0..10, "second").await;
    let content = listing(&store).await;
    drop(store);
    assert_eq!(image(directory.path()), Some(older.clone()));
    for wrong in [older, image(other.path()).unwrap()] {
        fs::write(directory.path().join("IMAGE"), &wrong).unwrap();
        assert_eq!(listing(&open(directory.path(), Some(0)).unwrap()).await, content);
        // It was replaced at the close.
        assert_ne!(image(directory.path()), Some(wrong));
    }
}

#[tokio::test]
async fn a_damaged_image_is_ignored_and_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let content = closed_store(directory.path()).await;
    let whole = image(directory.path()).unwrap();
    let mut chance = Chance::seeded(3);
    for blow in 0..12 {
        let mut damaged = whole.clone();
        let place = usize::try_from(chance.below(whole.len() as u64)).unwrap();
        match blow % 3 {
            0 => damaged[place] ^= 1 << chance.below(8),
            1 => damaged.truncate(place),
            _ => damaged[place..whole.len().min(place + 512)].fill(0),
        }
        fs::write(directory.path().join("IMAGE"), &damaged).unwrap();
        let store = open(directory.path(), Some(0)).unwrap();
        assert_eq!(listing(&store).await, content, "blow {blow} at {place}");
        drop(store);
        assert_ne!(image(directory.path()), Some(damaged), "blow {blow} at {place}");
    }
}

#[tokio::test]
async fn damage_to_the_log_that_the_image_hides_stops_the_writes_and_is_found_by_who_reads_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let content = closed_store(directory.path()).await;
    // sled reads at its opening what was written since the one before, and finds damage there by itself.
    drop(open(directory.path(), Some(0)).unwrap());
    // In another page than the ledger, which every opening reads.
    let damaged = [3, 103, 203, 304, 405, 505, 553, 554, 555].into_iter().find_map(|number| {
        let copy = tempfile::tempdir().unwrap();
        copy_directory(directory.path(), copy.path());
        damage_log(copy.path(), number);
        open(copy.path(), Some(0)).ok().map(|store| (copy, store))
    });
    let (directory, store) = damaged.unwrap();
    assert_eq!(listing(&store).await, content, "all of it can still be exported");
    let found = within(async {
        loop {
            // Each attempt waits for the writer, which reads on meanwhile.
            if let Err(error) = store.put("/probe", b"1".to_vec(), Expected::Any).await {
                return error;
            }
        }
    });
    let StoreError::Unavailable(problem) = found.await else { panic!("another error") };
    assert!(problem.contains("the log is damaged"), "{problem}");
    assert!(store.health().is_err());
    drop(store);
    // No image says that it is well: the next opening reads the log.
    assert!(matches!(open(directory.path(), Some(0)), Err(OpenError::Damaged { .. })));
}

#[tokio::test]
async fn a_compacted_store_still_has_its_image() {
    let directory = tempfile::tempdir().unwrap();
    let content = closed_store(directory.path()).await;
    let before = image(directory.path());
    compact(directory.path()).unwrap();
    assert_eq!(image(directory.path()), before);
    assert_eq!(by_log(directory.path()).await, content);
    assert_eq!(listing(&open(directory.path(), Some(0)).unwrap()).await, content);
}

/// Opens the store, says so, writes, and is killed.
#[tokio::test]
#[ignore = "a process that other tests start"]
async fn writing_process() {
    let Some(directory) = own_directory() else { return };
    let store = open(&directory, Some(0)).unwrap();
    for number in 0.. {
        store.put(&format!("/written/{number}"), b"1".to_vec(), Expected::Absent).await.unwrap();
        say(&number.to_string());
    }
}

#[tokio::test]
async fn after_a_kill_everything_that_was_acknowledged_is_read_from_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let content = closed_store(directory.path()).await;
    let older = image(directory.path());
    let process = Process::start("store::image::writing_process", directory.path(), &[]);
    let mut acknowledged = 0;
    while acknowledged < 25 {
        acknowledged = process.next_line().unwrap().parse().unwrap();
    }
    for line in process.kill() {
        acknowledged = line.parse().unwrap();
    }
    assert_eq!(image(directory.path()), older);
    // As where it was killed while it wrote an image.
    fs::write(directory.path().join("IMAGE.new"), b"lanyard image 1\n").unwrap();
    let found = listing(&open(directory.path(), Some(0)).unwrap()).await;
    assert!(!directory.path().join("IMAGE.new").exists());
    let written = found.entries.len() - content.entries.len();
    assert!(written > acknowledged, "{written} are there, and {acknowledged} was acknowledged");
    assert_eq!(listing(&open(directory.path(), Some(0)).unwrap()).await, found);
}
