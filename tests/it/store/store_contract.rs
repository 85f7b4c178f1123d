//! What every store promises through the port: one body of tests over all of them.

use std::sync::Arc;

use lanyard::authority::store::Batch;
use lanyard::authority::store::Change;
use lanyard::authority::store::Expected;
use lanyard::authority::store::MAX_KEY_BYTES;
use lanyard::authority::store::MAX_VALUE_BYTES;
use lanyard::authority::store::Revision;
use lanyard::authority::store::Store;
use lanyard::authority::store::StoreError;
use lanyard::authority::store::Watch;
use lanyard::store::instrumented::InstrumentedStore;
use lanyard::store::memory::MemoryStore;
use tokio::task::JoinSet;
use tokio_stream::StreamExt;

/// One test of each store for each promise.
macro_rules! contract {
    ($($promise:ident),+ $(,)?) => {
        crate::store::store_contract::contract_of_tables![$($promise),+];

        mod etcd {
            $(#[tokio::test]
            async fn $promise() {
                let clock = std::sync::Arc::new(lanyard::authority::clock::SystemClock);
                if let Some(store) = crate::support::etcd::FromZero::start(clock).await {
                    super::$promise(store).await;
                }
            })+
        }
    };
}

/// One test of each store that keeps a table in memory for each promise.
macro_rules! contract_of_tables {
    ($($promise:ident),+ $(,)?) => {
        mod memory {
            $(#[tokio::test]
            async fn $promise() {
                super::$promise(crate::store::store_contract::in_memory()).await;
            })+
        }

        mod instrumented {
            $(#[tokio::test]
            async fn $promise() {
                super::$promise(crate::store::store_contract::instrumented()).await;
            })+
        }

        mod sled {
            $(#[tokio::test]
            async fn $promise() {
                let directory = tempfile::tempdir().unwrap();
                super::$promise(std::sync::Arc::new(crate::support::test_process::open(directory.path()).unwrap())).await;
            })+
        }
    };
}

pub(crate) use contract;
pub(crate) use contract_of_tables;

pub(crate) fn in_memory() -> Arc<dyn Store> {
    Arc::new(MemoryStore::new())
}

pub(crate) fn instrumented() -> Arc<dyn Store> {
    Arc::new(InstrumentedStore::new(in_memory()))
}

pub(crate) fn conflict(key: &str) -> StoreError {
    StoreError::Conflict { key: key.to_owned() }
}

/// The next batch that has changes, or the error that the watch ends with.
pub(crate) async fn changed(watch: &mut Watch) -> Option<Result<Batch, StoreError>> {
    loop {
        match watch.next().await {
            Some(Ok(batch)) if batch.changes.is_empty() => {}
            other => return other,
        }
    }
}

pub(crate) async fn changed_at(watch: &mut Watch) -> Revision {
    changed(watch).await.unwrap().unwrap().revision
}

pub(crate) fn put(key: &str, value: &[u8]) -> Change {
    Change { key: key.to_owned(), value: Some(value.into()) }
}

pub(crate) fn deleted(key: &str) -> Change {
    Change { key: key.to_owned(), value: None }
}

contract![
    what_was_put_is_read_back_with_the_revision_of_its_write,
    a_key_where_nothing_was_put_reads_as_nothing,
    values_come_back_byte_for_byte,
    a_put_over_nothing_is_refused_where_something_stands,
    a_put_over_a_revision_is_refused_where_another_or_nothing_stands,
    a_refused_write_changes_nothing,
    a_deletion_has_a_revision_of_its_own,
    a_deletion_of_another_revision_is_refused,
    deleting_what_is_not_there_changes_nothing_and_is_a_conflict_only_for_a_revision,
    of_many_racing_writers_exactly_one_wins,
    revisions_are_consecutive_over_all_keys,
    a_listing_holds_what_has_the_prefix_in_the_order_of_keys,
    a_value_of_the_largest_size_is_taken_and_one_byte_more_is_refused,
    a_key_of_the_largest_size_is_taken_and_one_byte_more_is_refused,
    a_watch_shows_what_was_written_before_and_then_what_is_written_after,
    a_watch_from_a_listing_misses_nothing_and_repeats_nothing,
    a_watch_from_a_revision_that_is_still_to_come_is_refused,
    a_watch_ends_with_its_store,
    key_revisions_come_in_pages_and_without_values,
    a_listing_is_the_sum_of_its_parts,
];

/// These keep the last 4,096 changes; etcd keeps all until it is compacted.
mod kept {
    use crate::store::store_contract::a_watcher_that_falls_too_far_behind_is_told_and_its_watch_ends;

    contract_of_tables![a_watcher_that_falls_too_far_behind_is_told_and_its_watch_ends];
}

async fn key_revisions_come_in_pages_and_without_values(store: Arc<dyn Store>) {
    let mut written = Vec::new();
    for key in ["/a", "/b", "/b/c", "/d"] {
        written.push((key.to_owned(), store.put(key, b"1".to_vec(), Expected::Any).await.unwrap()));
    }
    let newest = store.delete("/d", Expected::Any).await.unwrap();
    written.pop();
    let all = store.key_revisions("", 3).await.unwrap();
    assert_eq!((all.keys, all.more, all.revision), (written.clone(), false, newest));
    let first = store.key_revisions("", 2).await.unwrap();
    assert_eq!((first.keys, first.more), (written[..2].to_vec(), true));
    let rest = store.key_revisions("/b", 2).await.unwrap();
    assert_eq!((rest.keys, rest.more), (written[2..].to_vec(), false));
    assert_eq!(store.key_revisions("/b/c", 2).await.unwrap().keys, []);
}

async fn a_listing_is_the_sum_of_its_parts(store: Arc<dyn Store>) {
    for key in ["/a/9", "/b/1", "/b/2", "/b/3", "/b/4", "/b/5", "/c/1"] {
        store.put(key, key.as_bytes().to_vec(), Expected::Absent).await.unwrap();
    }
    let (mut listed, mut after, mut more) = (Vec::new(), String::new(), true);
    while more {
        let part = store.list_part("/b/", &after, 2).await.unwrap();
        more = part.more;
        after = part.listing.entries.last().unwrap().0.clone();
        listed.extend(part.listing.entries);
    }
    assert_eq!(listed, store.list("/b/").await.unwrap().entries);
    assert_eq!(store.list_part("/b/", "/b/5", 2).await.unwrap().listing.entries, []);
    assert!(!store.list_part("/d/", "", 2).await.unwrap().more);
}

async fn what_was_put_is_read_back_with_the_revision_of_its_write(store: Arc<dyn Store>) {
    let first = store.put("/clients/a", b"{\"n\":1}".to_vec(), Expected::Any).await.unwrap();
    let second = store.put("/clients/a", b"{\"n\":2}".to_vec(), Expected::Any).await.unwrap();
    assert!(second > first);
    let read = store.get("/clients/a").await.unwrap().unwrap();
    assert_eq!((&*read.value, read.revision), (&b"{\"n\":2}"[..], second));
}

async fn a_key_where_nothing_was_put_reads_as_nothing(store: Arc<dyn Store>) {
    store.put("/clients/ab", b"1".to_vec(), Expected::Any).await.unwrap();
    assert_eq!(store.get("/clients/a").await.unwrap(), None);
}

async fn values_come_back_byte_for_byte(store: Arc<dyn Store>) {
    for value in [&b"{ \"a\" : 1 }"[..], b"null", b" 1\n", b"", b"\x00\xff not JSON"] {
        store.put("/keys/a", value.to_vec(), Expected::Any).await.unwrap();
        assert_eq!(&*store.get("/keys/a").await.unwrap().unwrap().value, value);
    }
}

async fn a_put_over_nothing_is_refused_where_something_stands(store: Arc<dyn Store>) {
    store.put("/clients/a", b"1".to_vec(), Expected::Absent).await.unwrap();
    let again = store.put("/clients/a", b"2".to_vec(), Expected::Absent).await;
    assert_eq!(again, Err(conflict("/clients/a")));
    store.delete("/clients/a", Expected::Any).await.unwrap();
    store.put("/clients/a", b"3".to_vec(), Expected::Absent).await.unwrap();
}

async fn a_put_over_a_revision_is_refused_where_another_or_nothing_stands(store: Arc<dyn Store>) {
    let first = store.put("/clients/a", b"1".to_vec(), Expected::Any).await.unwrap();
    let second = store.put("/clients/a", b"2".to_vec(), Expected::At(first)).await.unwrap();
    let stale = store.put("/clients/a", b"3".to_vec(), Expected::At(first)).await;
    assert_eq!(stale, Err(conflict("/clients/a")));
    store.delete("/clients/a", Expected::At(second)).await.unwrap();
    let gone = store.put("/clients/a", b"4".to_vec(), Expected::At(second)).await;
    assert_eq!(gone, Err(conflict("/clients/a")));
}

async fn a_refused_write_changes_nothing(store: Arc<dyn Store>) {
    let revision = store.put("/clients/a", b"1".to_vec(), Expected::Any).await.unwrap();
    let before = store.list("").await.unwrap();
    store.put("/clients/a", b"2".to_vec(), Expected::Absent).await.unwrap_err();
    store.delete("/clients/a", Expected::At(Revision(revision.0 + 1))).await.unwrap_err();
    assert_eq!(store.list("").await.unwrap(), before);
}

async fn a_deletion_has_a_revision_of_its_own(store: Arc<dyn Store>) {
    let put = store.put("/clients/a", b"1".to_vec(), Expected::Any).await.unwrap();
    let deleted = store.delete("/clients/a", Expected::At(put)).await.unwrap();
    assert!(deleted > put);
    assert_eq!(store.get("/clients/a").await.unwrap(), None);
    assert_eq!(store.list("").await.unwrap().revision, deleted);
}

async fn a_deletion_of_another_revision_is_refused(store: Arc<dyn Store>) {
    let first = store.put("/clients/a", b"1".to_vec(), Expected::Any).await.unwrap();
    store.put("/clients/a", b"2".to_vec(), Expected::Any).await.unwrap();
    assert_eq!(store.delete("/clients/a", Expected::At(first)).await, Err(conflict("/clients/a")));
    assert_eq!(store.delete("/clients/a", Expected::Absent).await, Err(conflict("/clients/a")));
    assert!(store.get("/clients/a").await.unwrap().is_some());
}

async fn deleting_what_is_not_there_changes_nothing_and_is_a_conflict_only_for_a_revision(store: Arc<dyn Store>) {
    let newest = store.put("/clients/b", b"1".to_vec(), Expected::Any).await.unwrap();
    assert_eq!(store.delete("/clients/a", Expected::Any).await, Ok(newest));
    assert_eq!(store.delete("/clients/a", Expected::Absent).await, Ok(newest));
    assert_eq!(store.delete("/clients/a", Expected::At(newest)).await, Err(conflict("/clients/a")));
    assert_eq!(store.list("").await.unwrap().revision, newest);
}

async fn of_many_racing_writers_exactly_one_wins(store: Arc<dyn Store>) {
    let start = store.put("/clients/a", b"0".to_vec(), Expected::Any).await.unwrap();
    let mut race = JoinSet::new();
    for writer in 0..32 {
        let store = Arc::clone(&store);
        race.spawn(async move {
            let value = format!("{writer}").into_bytes();
            store.put("/clients/a", value.clone(), Expected::At(start)).await.map(|_| value)
        });
    }
    let outcomes = race.join_all().await;
    let (winners, losers): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert_eq!(winners.len(), 1);
    assert!(losers.iter().all(|loser| *loser == Err(conflict("/clients/a"))));
    assert_eq!(&*store.get("/clients/a").await.unwrap().unwrap().value, winners[0].as_deref().unwrap());
}

async fn revisions_are_consecutive_over_all_keys(store: Arc<dyn Store>) {
    let mut writes = JoinSet::new();
    for writer in 0..100 {
        let store = Arc::clone(&store);
        writes.spawn(async move {
            store.put(&format!("/clients/{}", writer % 10), b"1".to_vec(), Expected::Any).await.unwrap().0
        });
    }
    let mut revisions = writes.join_all().await;
    revisions.sort_unstable();
    assert_eq!(revisions, (1..=100).collect::<Vec<_>>());
}

async fn a_listing_holds_what_has_the_prefix_in_the_order_of_keys(store: Arc<dyn Store>) {
    for key in ["/clients/b", "/clients/a", "/clients", "/clients0", "/client/c", "/keys/a", "/clients/a/b"] {
        store.put(key, b"1".to_vec(), Expected::Any).await.unwrap();
    }
    let listing = store.list("/clients/").await.unwrap();
    let keys: Vec<&str> = listing.entries.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, ["/clients/a", "/clients/a/b", "/clients/b"]);
    assert_eq!(listing.revision, Revision(7));
    assert_eq!(store.list("/resources/").await.unwrap().entries, []);
}

async fn a_value_of_the_largest_size_is_taken_and_one_byte_more_is_refused(store: Arc<dyn Store>) {
    let largest = format!("\"{}\"", "x".repeat(MAX_VALUE_BYTES - 2)).into_bytes();
    store.put("/clients/a", largest.clone(), Expected::Any).await.unwrap();
    let larger = store.put("/clients/a", vec![0; MAX_VALUE_BYTES + 1], Expected::Any).await;
    assert_eq!(larger, Err(StoreError::TooLarge { bytes: MAX_VALUE_BYTES + 1, limit: MAX_VALUE_BYTES }));
    assert_eq!(&*store.get("/clients/a").await.unwrap().unwrap().value, largest);
}

async fn a_key_of_the_largest_size_is_taken_and_one_byte_more_is_refused(store: Arc<dyn Store>) {
    let (largest, larger) = ("\u{1}".repeat(MAX_KEY_BYTES), "k".repeat(MAX_KEY_BYTES + 1));
    store.put(&largest, vec![0xff; MAX_VALUE_BYTES], Expected::Any).await.unwrap();
    let refused = StoreError::TooLarge { bytes: MAX_KEY_BYTES + 1, limit: MAX_KEY_BYTES };
    assert_eq!(store.put(&larger, b"1".to_vec(), Expected::Any).await, Err(refused.clone()));
    assert_eq!(store.delete(&larger, Expected::Any).await, Err(refused));
    assert!(store.get(&largest).await.unwrap().is_some());
}

async fn a_watch_shows_what_was_written_before_and_then_what_is_written_after(store: Arc<dyn Store>) {
    let first = store.put("/clients/a", b"1".to_vec(), Expected::Any).await.unwrap();
    let mut all = store.watch("", Revision(0));
    let mut later = store.watch("", first);
    let second = store.delete("/clients/a", Expected::Any).await.unwrap();
    let there = Batch { revision: first, changes: vec![put("/clients/a", b"1")] };
    let gone = Batch { revision: second, changes: vec![deleted("/clients/a")] };
    assert_eq!(all.next().await, Some(Ok(there)));
    assert_eq!(all.next().await, Some(Ok(gone.clone())));
    assert_eq!(later.next().await, Some(Ok(gone)));
    let waiting = tokio::spawn(async move { changed_at(&mut later).await });
    let third = store.put("/clients/b", b"2".to_vec(), Expected::Any).await.unwrap();
    assert_eq!(waiting.await.unwrap(), third);
}

async fn a_watch_from_a_listing_misses_nothing_and_repeats_nothing(store: Arc<dyn Store>) {
    let writer = tokio::spawn({
        let store = Arc::clone(&store);
        async move {
            for n in 0..200 {
                store.put("/clients/a", format!("{n}").into_bytes(), Expected::Any).await.unwrap();
            }
        }
    });
    store.put("/clients/b", b"1".to_vec(), Expected::Any).await.unwrap();
    let listing = store.list("").await.unwrap();
    let mut watch = store.watch("", listing.revision);
    let mut changes = Vec::new();
    while changes.last() != Some(&201) && listing.revision.0 < 201 {
        changes.push(changed_at(&mut watch).await.0);
    }
    writer.await.unwrap();
    assert_eq!(changes, (listing.revision.0 + 1..=201).collect::<Vec<_>>());
}

async fn a_watch_from_a_revision_that_is_still_to_come_is_refused(store: Arc<dyn Store>) {
    let newest = store.put("/clients/a", b"1".to_vec(), Expected::Any).await.unwrap();
    let mut watch = store.watch("", Revision(newest.0 + 1));
    assert_eq!(watch.next().await, Some(Err(StoreError::Compacted)));
    assert_eq!(watch.next().await, None);
}

async fn a_watcher_that_falls_too_far_behind_is_told_and_its_watch_ends(store: Arc<dyn Store>) {
    let mut slow = store.watch("", Revision(0));
    put_many(&store, 4096).await;
    assert_eq!(changed_at(&mut slow).await, Revision(1));
    put_many(&store, 2).await;
    assert_eq!(slow.next().await, Some(Err(StoreError::Compacted)));
    assert_eq!(slow.next().await, None);
    let mut at_the_edge = store.watch("", Revision(2));
    assert_eq!(changed_at(&mut at_the_edge).await, Revision(3));
    let mut beyond_it = store.watch("", Revision(1));
    assert_eq!(beyond_it.next().await, Some(Err(StoreError::Compacted)));
}

async fn put_many(store: &Arc<dyn Store>, count: usize) {
    let mut writes = JoinSet::new();
    for _ in 0..count {
        let store = Arc::clone(store);
        writes.spawn(async move { store.put("/clients/a", b"1".to_vec(), Expected::Any).await.unwrap() });
    }
    writes.join_all().await;
}

async fn a_watch_ends_with_its_store(store: Arc<dyn Store>) {
    let mut watch = store.watch("", Revision(0));
    store.put("/clients/a", b"1".to_vec(), Expected::Any).await.unwrap();
    assert_eq!(changed_at(&mut watch).await, Revision(1));
    drop(store);
    assert_eq!(watch.next().await, None);
}
