//! What every store promises of records that expire.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lanyard::authority::clock::Clock as _;
use lanyard::authority::clock::ManualClock;
use lanyard::authority::clock::Timestamp;
use lanyard::authority::store::Batch;
use lanyard::authority::store::Expected;
use lanyard::authority::store::Revision;
use lanyard::authority::store::Store;
use lanyard::authority::store::Transaction;
use lanyard::store::instrumented::InstrumentedStore;
use lanyard::store::memory::MemoryStore;
use lanyard::store::sled::SledOptions;
use lanyard::store::sled::SledStore;

use crate::store::store_contract::changed;
use crate::store::store_contract::conflict;
use crate::store::store_contract::deleted;
use crate::store::store_contract::put;
use crate::support::NOW;
use crate::support::door::within;
use crate::support::test_process::Chance;

/// One test of each store that keeps a table in memory for each promise, with the clock that the store goes by.
macro_rules! contract_of_tables_over_time {
    ($($promise:ident),+ $(,)?) => {
        mod memory {
            $(#[tokio::test]
            async fn $promise() {
                let clock = super::new_clock();
                super::$promise(super::in_memory(&clock), clock).await;
            })+
        }

        mod instrumented {
            $(#[tokio::test]
            async fn $promise() {
                let clock = super::new_clock();
                let store = super::InstrumentedStore::new(super::in_memory(&clock));
                super::$promise(super::Arc::new(store), clock).await;
            })+
        }

        mod sled {
            $(#[tokio::test]
            async fn $promise() {
                let directory = tempfile::tempdir().unwrap();
                let clock = super::new_clock();
                super::$promise(super::Arc::new(super::on_disk(directory.path(), &clock)), clock).await;
            })+
        }
    };
}

/// One test of each store for each promise, with the clock that the store goes by.
macro_rules! contract_over_time {
    ($($promise:ident),+ $(,)?) => {
        contract_of_tables_over_time![$($promise),+];

        mod etcd {
            $(#[tokio::test]
            async fn $promise() {
                let clock = super::new_clock();
                let same = super::Arc::<super::ManualClock>::clone(&clock);
                if let Some(store) = crate::support::etcd::FromZero::start(same).await {
                    super::$promise(store, clock).await;
                }
            })+
        }
    };
}

fn new_clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(NOW))
}

fn in_memory(clock: &Arc<ManualClock>) -> Arc<dyn Store> {
    Arc::new(MemoryStore::with_clock(Arc::<ManualClock>::clone(clock)))
}

fn on_disk(directory: &Path, clock: &Arc<ManualClock>) -> SledStore {
    let clock = Arc::<ManualClock>::clone(clock);
    SledStore::open(directory, SledOptions { clock, ..SledOptions::default() }).unwrap()
}

fn until(key: &str, value: &[u8], expires: Timestamp) -> Transaction {
    Transaction::default().put_until(key, value.to_vec(), expires)
}

fn in_seconds(seconds: u64) -> Timestamp {
    NOW.after(Duration::from_secs(seconds))
}

contract_over_time![
    what_expires_is_there_until_its_moment_and_gone_from_then_on,
    what_has_expired_counts_as_absent,
    what_is_written_again_goes_by_its_new_end,
    what_random_writes_leave_at_each_moment_is_what_a_map_would,
];

/// etcd deletes by its own clock.
mod deletion {
    use super::*;

    contract_of_tables_over_time![
        the_removal_of_what_has_expired_is_told_as_a_deletion_with_a_revision,
        a_watch_of_another_prefix_has_what_has_expired_deleted_too,
        many_that_expire_at_once_are_deleted_bit_by_bit,
    ];
}

async fn what_expires_is_there_until_its_moment_and_gone_from_then_on(store: Arc<dyn Store>, clock: Arc<ManualClock>) {
    let revision = store.transact(until("/a", b"1", in_seconds(10)).put("/b", b"2".to_vec())).await.unwrap();
    let keys = async || {
        let entries = store.list("/").await.unwrap().entries;
        entries.into_iter().map(|(key, _)| key).collect::<Vec<_>>()
    };
    clock.advance(Duration::from_secs(9));
    let read = store.get("/a").await.unwrap().unwrap();
    assert_eq!((&*read.value, read.revision, read.expires), (&b"1"[..], revision, Some(in_seconds(10))));
    assert_eq!(store.get("/b").await.unwrap().unwrap().expires, None);
    assert_eq!(keys().await, ["/a", "/b"]);
    clock.advance(Duration::from_secs(1));
    assert_eq!(store.get("/a").await.unwrap(), None);
    assert_eq!(keys().await, ["/b"]);
    clock.advance(Duration::from_hours(24 * 365 * 100));
    assert!(store.get("/b").await.unwrap().is_some());
}

async fn what_has_expired_counts_as_absent(store: Arc<dyn Store>, clock: Arc<ManualClock>) {
    let first = store.transact(until("/a", b"1", in_seconds(10))).await.unwrap();
    assert_eq!(store.put("/a", b"2".to_vec(), Expected::Absent).await, Err(conflict("/a")));
    clock.advance(Duration::from_secs(10));
    assert_eq!(store.put("/a", b"2".to_vec(), Expected::At(first)).await, Err(conflict("/a")));
    let guarded = Transaction::default().compare("/a", Expected::Absent).put("/b", b"3".to_vec());
    store.transact(guarded).await.unwrap();
    let second = store.put("/a", b"2".to_vec(), Expected::Absent).await.unwrap();
    clock.advance(Duration::from_hours(1));
    let read = store.get("/a").await.unwrap().unwrap();
    assert_eq!((read.revision, read.expires), (second, None), "the first one's end is not the second one's");
}

async fn the_removal_of_what_has_expired_is_told_as_a_deletion_with_a_revision(
    store: Arc<dyn Store>,
    clock: Arc<ManualClock>,
) {
    let written = store.transact(until("/a", b"1", in_seconds(10)).put("/b", b"2".to_vec())).await.unwrap();
    let mut watch = store.watch("", Revision(0));
    let there = Batch { revision: written, changes: vec![put("/a", b"1"), put("/b", b"2")] };
    assert_eq!(within(changed(&mut watch)).await, Some(Ok(there)));
    clock.advance(Duration::from_secs(10));
    let revision = Revision(written.0 + 1);
    let gone = Batch { revision, changes: vec![deleted("/a")] };
    assert_eq!(within(changed(&mut watch)).await, Some(Ok(gone.clone())));
    assert_eq!(store.list("").await.unwrap().revision, revision);
    // Whoever watches from before hears of it too, and the next write has the next revision.
    assert_eq!(within(changed(&mut store.watch("/a", written))).await, Some(Ok(gone)));
    assert_eq!(store.put("/a", b"3".to_vec(), Expected::Absent).await, Ok(Revision(revision.0 + 1)));
}

async fn a_watch_of_another_prefix_has_what_has_expired_deleted_too(store: Arc<dyn Store>, clock: Arc<ManualClock>) {
    let written = store.transact(until("/a", b"1", in_seconds(10))).await.unwrap();
    let mut watch = store.watch("/b", written);
    clock.advance(Duration::from_secs(10));
    let removed = async {
        loop {
            use tokio_stream::StreamExt as _;
            let reported = watch.next().await.unwrap().unwrap();
            assert_eq!(reported.changes, []);
            if reported.revision > written {
                return reported.revision;
            }
        }
    };
    assert_eq!(within(removed).await, Revision(written.0 + 1));
}

async fn what_is_written_again_goes_by_its_new_end(store: Arc<dyn Store>, clock: Arc<ManualClock>) {
    for (key, second) in [("/longer", Some(in_seconds(20))), ("/endless", None), ("/shorter", Some(in_seconds(5)))] {
        store.transact(until(key, b"1", in_seconds(10))).await.unwrap();
        let again = match second {
            Some(end) => until(key, b"2", end),
            None => Transaction::default().put(key, b"2".to_vec()),
        };
        store.transact(again).await.unwrap();
    }
    store.transact(until("/deleted", b"1", in_seconds(10))).await.unwrap();
    let newest = store.delete("/deleted", Expected::Any).await.unwrap();
    let mut watch = store.watch("", newest);
    for (moment, gone) in [(5, "/shorter"), (20, "/longer")] {
        clock.set(in_seconds(moment - 1));
        assert!(store.get(gone).await.unwrap().is_some());
        clock.set(in_seconds(moment));
        assert_eq!(within(changed(&mut watch)).await.unwrap().unwrap().changes, [deleted(gone)]);
    }
    assert_eq!(store.list("").await.unwrap().entries.len(), 1);
}

async fn many_that_expire_at_once_are_deleted_bit_by_bit(store: Arc<dyn Store>, clock: Arc<ManualClock>) {
    const MANY: usize = 300;
    for n in 0..3 {
        let keys = (0..MANY / 3).map(|key| format!("/{n}/{key:03}"));
        let made = keys.fold(Transaction::default(), |made, key| made.put_until(&key, b"1".to_vec(), in_seconds(10)));
        store.transact(made).await.unwrap();
    }
    let mut watch = store.watch("", Revision(3));
    clock.advance(Duration::from_secs(10));
    assert_eq!(store.list("").await.unwrap().entries, []);
    let mut gone = Vec::new();
    while gone.len() < MANY {
        let batch = within(changed(&mut watch)).await.unwrap().unwrap();
        assert!(batch.changes.len() <= 128 && batch.changes.is_sorted_by_key(|change| change.key.clone()), "{batch:?}");
        gone.extend(batch.changes.into_iter().map(|change| (change.key, change.value)));
    }
    gone.sort();
    gone.dedup();
    assert_eq!(gone.len(), MANY);
}

async fn what_random_writes_leave_at_each_moment_is_what_a_map_would(store: Arc<dyn Store>, clock: Arc<ManualClock>) {
    let seed = Chance::new_seed();
    println!("seed {seed}");
    let mut chance = Chance::seeded(seed);
    let mut model: BTreeMap<String, (Vec<u8>, Option<Timestamp>)> = BTreeMap::new();
    // With a watcher that sweeps at moments of its own.
    let mut watch = store.watch("", Revision(0));
    let watcher = tokio::spawn(async move { while changed(&mut watch).await.is_some() {} });
    for _ in 0..500 {
        let key = format!("/{}", chance.below(6));
        let value = chance.below(1000).to_string().into_bytes();
        let expected = if model.contains_key(&key) { Err(conflict(&key)) } else { Ok(()) };
        let end = (chance.below(3) > 0).then(|| clock.now().after(Duration::from_secs(chance.below(8))));
        let write = match (chance.below(5), end) {
            (0, _) => Transaction::default().delete(&key),
            (_, None) => Transaction::default().put(&key, value.clone()),
            (_, Some(end)) => until(&key, &value, end),
        };
        let deletes = matches!(write.writes()[&key], lanyard::authority::store::Write::Delete);
        if chance.below(2) == 0 {
            let outcome = store.transact(write.compare(&key, Expected::Absent)).await;
            assert_eq!(outcome.map(drop), expected);
            if expected.is_ok() && !deletes {
                model.insert(key, (value, end));
            }
        } else {
            store.transact(write).await.unwrap();
            if deletes { drop(model.remove(&key)) } else { drop(model.insert(key, (value, end))) }
        }
        clock.advance(Duration::from_secs(chance.below(3)));
        let now = clock.now();
        model.retain(|_, (_, end)| end.is_none_or(|end| end > now));
        let entries = store.list("").await.unwrap().entries;
        let entries = entries.into_iter().map(|(key, entry)| (key, (entry.value.to_vec(), entry.expires)));
        assert_eq!(entries.collect::<BTreeMap<_, _>>(), model);
    }
    watcher.abort();
}

#[tokio::test]
async fn an_end_outlives_a_restart_and_so_does_the_deletion() {
    let directory = tempfile::tempdir().unwrap();
    let clock = new_clock();
    let store = on_disk(directory.path(), &clock);
    store.transact(until("/a", &vec![b'1'; 60_000], in_seconds(10)).put("/b", b"2".to_vec())).await.unwrap();
    drop(store);
    clock.advance(Duration::from_secs(9));
    let store = on_disk(directory.path(), &clock);
    assert_eq!(store.get("/a").await.unwrap().unwrap().expires, Some(in_seconds(10)));
    drop(store);
    // It expires while no process has the store.
    clock.advance(Duration::from_secs(1));
    let store = on_disk(directory.path(), &clock);
    assert_eq!(store.get("/a").await.unwrap(), None);
    let removal = within(changed(&mut store.watch("", Revision(1)))).await.unwrap().unwrap();
    assert_eq!(removal, Batch { revision: Revision(2), changes: vec![deleted("/a")] });
    drop(store);
    clock.set(NOW);
    let listing = on_disk(directory.path(), &clock).list("").await.unwrap();
    assert_eq!((listing.entries.len(), listing.revision), (1, Revision(2)), "it is deleted, not only hidden");
}
