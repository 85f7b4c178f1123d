//! Damaged files: whatever was done to them, the store is intact or refused in so many words, never wrong, never silent.

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lanyard::authority::store::Expected;
use lanyard::authority::store::Listing;
use lanyard::authority::store::Store;
use lanyard::store::sled::Damage;
use lanyard::store::sled::Flaw;
use lanyard::store::sled::OpenError;
use lanyard::store::sled::SledOptions;
use lanyard::store::sled::SledStore;
use sha2::Digest as _;
use sha2::Sha256;

use crate::support::test_process::Chance;
use crate::support::test_process::Process;
use crate::support::test_process::open;
use crate::support::test_process::own_directory;
use crate::support::test_process::say;

pub(crate) fn copy_directory(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir_all(&target).unwrap();
            copy_directory(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// The content of a store in one line.
fn fingerprint(listing: &Listing) -> String {
    hex::encode(Sha256::digest(format!("{listing:?}")))
}

/// Opens the store it was started for and says what became of that.
#[tokio::test]
#[ignore = "a process that other tests start"]
async fn reading_process() {
    let Some(directory) = own_directory() else { return };
    let options = SledOptions { open_limit: Duration::from_secs(10), ..SledOptions::default() };
    let store = match SledStore::open(&directory, options) {
        Ok(store) => store,
        Err(error) => return say(&format!("refused: {error}")),
    };
    let opened = fingerprint(&store.list("").await.unwrap());
    // An intact store also accepts writes; a failure must be reported.
    if let Err(error) = store.put("/probe", b"1".to_vec(), Expected::Any).await {
        return say(&format!("refused: {error}"));
    }
    drop(store);
    say(&format!("opened: {opened}"));
}

#[derive(Clone, Copy, Debug)]
enum Blow {
    FlippedBit,
    Truncated,
    ZeroedPage,
}

impl Blow {
    fn strike(self, file: &Path, chance: &mut Chance) {
        let mut bytes = fs::read(file).unwrap();
        let place = usize::try_from(chance.below(bytes.len() as u64)).unwrap();
        match self {
            Self::FlippedBit => bytes[place] ^= 1 << chance.below(8),
            Self::Truncated => bytes.truncate(place),
            Self::ZeroedPage => {
                let page = place / 4096 * 4096;
                let end = bytes.len().min(page + 4096);
                bytes[page..end].fill(0);
            }
        }
        fs::write(file, bytes).unwrap();
    }
}

/// A store whose records were written, rewritten and deleted over three openings; and its content.
async fn worn_store(directory: &Path) -> String {
    let mut chance = Chance::seeded(1);
    for _ in 0..3 {
        let store = open(directory).unwrap();
        for _ in 0..300 {
            let key = format!("/clients/{}", chance.below(240));
            let pad = "x".repeat(usize::try_from(chance.below(3000)).unwrap());
            if chance.below(5) == 0 {
                store.delete(&key, Expected::Any).await.unwrap();
            } else {
                store.put(&key, format!("{{\"pad\":\"{pad}\"}}").into_bytes(), Expected::Any).await.unwrap();
            }
        }
    }
    fingerprint(&open(directory).unwrap().list("").await.unwrap())
}

fn snapshot_of(directory: &Path) -> String {
    let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.max_by_key(|name| name.starts_with("snap.")).unwrap()
}

/// One blow to one file of a copy of the store: whether it is still intact, or how that went wrong.
fn trial(original: &Path, content: &str, name: &str, blow: Blow, seed: u64) -> Result<bool, String> {
    let copy = tempfile::tempdir().unwrap();
    copy_directory(original, copy.path());
    blow.strike(&copy.path().join(name), &mut Chance::seeded(seed));
    let trial = format!("{blow:?} in {name}, seed {seed}");
    let Some((said, ended_well)) =
        Process::start("store::damage::reading_process", copy.path(), &[("RUST_BACKTRACE", "0".as_ref())]).finish()
    else {
        return Err(format!("{trial}: did not end"));
    };
    let place = copy.path().to_str().unwrap();
    match &said[..] {
        [line] if ended_well && *line == format!("opened: {content}") => Ok(true),
        [line] if ended_well && line.starts_with("refused: ") && line.contains(place) => Ok(false),
        _ => Err(format!("{trial}: {said:?}, ended well: {ended_well}")),
    }
}

/// Blows of each kind to each file, two at a time. Seeds are fixed; the log itself is never the same twice.
async fn every_blow_leaves_the_store_intact_or_refused(to_the_log: u64, to_the_others: u64) {
    let original = tempfile::tempdir().unwrap();
    let content = worn_store(original.path()).await;
    let snapshot = snapshot_of(original.path());
    let mut trials = Vec::new();
    for (name, count) in
        [("db", to_the_log), (snapshot.as_str(), to_the_others), ("conf", to_the_others), ("MARK", to_the_others)]
    {
        for blow in [Blow::FlippedBit, Blow::Truncated, Blow::ZeroedPage] {
            trials.extend((0..count).map(|seed| (name, blow, seed)));
        }
    }
    let next = AtomicUsize::new(0);
    let work = || {
        let mut outcomes = Vec::new();
        while let Some((name, blow, seed)) = trials.get(next.fetch_add(1, Ordering::Relaxed)) {
            outcomes.push(trial(original.path(), &content, name, *blow, *seed));
        }
        outcomes
    };
    let outcomes = std::thread::scope(|scope| {
        let workers = [scope.spawn(work), scope.spawn(work)];
        workers.map(|worker| worker.join().unwrap()).concat()
    });
    let wrong: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    let intact = outcomes.iter().filter(|outcome| **outcome == Ok(true)).count();
    println!("{intact} of {} intact, the others refused", outcomes.len());
    assert!(0 < intact && intact < outcomes.len(), "{intact} intact: this proves nothing");
}

#[tokio::test]
async fn a_blow_to_any_file_leaves_the_store_intact_or_refused() {
    every_blow_leaves_the_store_intact_or_refused(8, 3).await;
}

#[tokio::test]
#[ignore = "long: 100 blows of each kind to each file; .ci/run-long runs it"]
async fn a_long_row_of_blows_to_any_file_leaves_the_store_intact_or_refused() {
    every_blow_leaves_the_store_intact_or_refused(100, 100).await;
}

#[tokio::test]
async fn an_untouched_copy_is_intact() {
    let (original, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let content = worn_store(original.path()).await;
    copy_directory(original.path(), copy.path());
    let (said, ended_well) = Process::start("store::damage::reading_process", copy.path(), &[]).finish().unwrap();
    assert_eq!((said, ended_well), (vec![format!("opened: {content}")], true));
}

/// A store of five records, then `done` to its tree behind its back; what the opening says to that.
async fn refusal_after(done: impl FnOnce(&sled::Db)) -> Damage {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).unwrap();
    for n in 0..5 {
        store.put(&format!("/clients/{n}"), format!("{{\"n\":{n}}}").into_bytes(), Expected::Any).await.unwrap();
    }
    drop(store);
    let db = sled::open(directory.path()).unwrap();
    done(&db);
    db.flush().unwrap();
    drop(db);
    let refusal = open(directory.path()).unwrap_err();
    let OpenError::Damaged { damage, .. } = refusal else { panic!("{refusal}") };
    damage
}

/// Two records, with their places.
fn two_records(db: &sled::Db) -> [(Vec<u8>, String); 2] {
    let records = db.iter().map(Result::unwrap).filter(|(place, _)| **place != *b"ledger");
    let mut records = records.map(|(place, envelope)| (place.to_vec(), String::from_utf8(envelope.to_vec()).unwrap()));
    [records.next().unwrap(), records.next().unwrap()]
}

#[tokio::test]
async fn a_record_that_is_missing_is_noticed_though_all_others_are_sound() {
    let damage = refusal_after(|db| drop(db.remove(&two_records(db)[0].0).unwrap())).await;
    assert!(matches!(damage, Damage::Sum { counted: 5, found: 4 }), "{damage}");
}

#[tokio::test]
async fn a_record_that_was_changed_is_refused_by_its_key() {
    let damage = refusal_after(|db| {
        let [(place, envelope), _] = two_records(db);
        db.insert(place, envelope.replace("{\"n\":", "{\"m\":").as_bytes()).unwrap();
    })
    .await;
    assert!(damage.to_string().starts_with("the record /clients/"), "{damage}");
    assert!(matches!(damage, Damage::Record { flaw: Flaw::Checksum, .. }), "{damage}");
}

#[tokio::test]
async fn a_record_in_the_place_of_another_is_refused() {
    let damage = refusal_after(|db| {
        let [(place, _), (_, other)] = two_records(db);
        db.insert(place, other.as_bytes()).unwrap();
    })
    .await;
    assert!(matches!(damage, Damage::Record { flaw: Flaw::Misplaced, .. }), "{damage}");
}

#[tokio::test]
async fn a_chunk_that_belongs_to_no_record_is_refused() {
    let damage = refusal_after(|db| drop(db.insert(b"stray", b"1").unwrap())).await;
    assert!(matches!(damage, Damage::Record { flaw: Flaw::Unreadable, .. }), "{damage}");
}

#[tokio::test]
async fn records_without_their_ledger_are_refused() {
    let damage = refusal_after(|db| drop(db.remove(b"ledger").unwrap())).await;
    assert!(matches!(damage, Damage::Ledger), "{damage}");
}
