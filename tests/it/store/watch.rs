//! What every store promises of watches: their prefix and nothing else, and that they tell how far they have come.

use std::sync::Arc;

use lanyard::authority::store::Batch;
use lanyard::authority::store::Expected;
use lanyard::authority::store::Revision;
use lanyard::authority::store::Store;
use lanyard::authority::store::StoreError;
use lanyard::authority::store::Transaction;
use tokio_stream::StreamExt as _;

use crate::store::store_contract::changed;
use crate::store::store_contract::contract;
use crate::store::store_contract::put;
use crate::support::door::within;

contract![
    a_watch_sees_what_is_under_its_prefix_and_nothing_else,
    of_a_transaction_a_watch_sees_what_is_under_its_prefix,
    a_watch_tells_that_it_has_passed_what_is_not_under_its_prefix,
    a_watch_that_has_nothing_to_say_tells_its_progress_again_and_again,
    progress_comes_after_all_that_it_says_has_been_delivered,
];

/// etcd keeps all changes until it is compacted.
mod kept {
    use crate::store::store_contract::contract_of_tables;
    use crate::store::watch::a_watch_from_a_revision_that_is_no_longer_kept_is_refused_whatever_its_prefix;

    contract_of_tables![a_watch_from_a_revision_that_is_no_longer_kept_is_refused_whatever_its_prefix];
}

fn progress(revision: Revision) -> Batch {
    Batch { revision, changes: Vec::new() }
}

async fn a_watch_sees_what_is_under_its_prefix_and_nothing_else(store: Arc<dyn Store>) {
    let mut watch = store.watch("/clients/", Revision(0));
    for key in ["/client", "/clients", "/clients0", "/keys/a", "/a/clients/", "/clients/a", "/", "/clients/b/c"] {
        store.put(key, b"1".to_vec(), Expected::Any).await.unwrap();
        store.delete(key, Expected::Any).await.unwrap();
    }
    store.put("/clients/end", b"1".to_vec(), Expected::Any).await.unwrap();
    let mut seen = Vec::new();
    while seen.last().is_none_or(|key| key != "/clients/end") {
        let batch = changed(&mut watch).await.unwrap().unwrap();
        seen.extend(batch.changes.into_iter().map(|change| change.key));
    }
    assert_eq!(seen, ["/clients/a", "/clients/a", "/clients/b/c", "/clients/b/c", "/clients/end"]);
}

async fn of_a_transaction_a_watch_sees_what_is_under_its_prefix(store: Arc<dyn Store>) {
    let mut watch = store.watch("/clients/", Revision(0));
    let both = Transaction::default().put("/index/a", b"1".to_vec()).put("/clients/a", b"2".to_vec());
    let revision = store.transact(both).await.unwrap();
    let seen = changed(&mut watch).await;
    assert_eq!(seen, Some(Ok(Batch { revision, changes: vec![put("/clients/a", b"2")] })));
}

async fn a_watch_tells_that_it_has_passed_what_is_not_under_its_prefix(store: Arc<dyn Store>) {
    let mut watch = store.watch("/clients/", Revision(0));
    store.put("/keys/a", b"1".to_vec(), Expected::Any).await.unwrap();
    let passed = store.put("/keys/b", b"1".to_vec(), Expected::Any).await.unwrap();
    assert_eq!(watch.next().await, Some(Ok(progress(passed))));
    let seen = store.put("/clients/a", b"1".to_vec(), Expected::Any).await.unwrap();
    let seen = Batch { revision: seen, changes: vec![put("/clients/a", b"1")] };
    assert_eq!(changed(&mut watch).await, Some(Ok(seen)));
}

async fn a_watch_that_has_nothing_to_say_tells_its_progress_again_and_again(store: Arc<dyn Store>) {
    let revision = store.put("/keys/a", b"1".to_vec(), Expected::Any).await.unwrap();
    let mut watch = store.watch("/clients/", revision);
    for _ in 0..3 {
        assert_eq!(within(watch.next()).await, Some(Ok(progress(revision))));
    }
}

async fn progress_comes_after_all_that_it_says_has_been_delivered(store: Arc<dyn Store>) {
    let writer = tokio::spawn({
        let store = Arc::clone(&store);
        async move {
            for n in 0..300 {
                let key = if n % 3 == 0 { "/clients/a" } else { "/keys/a" };
                store.put(key, b"1".to_vec(), Expected::Any).await.unwrap();
            }
        }
    });
    let mut watch = store.watch("/clients/", Revision(0));
    let (mut come, mut seen) = (Revision(0), Vec::new());
    while come.0 < 300 {
        let batch = watch.next().await.unwrap().unwrap();
        if batch.changes.is_empty() {
            assert!(batch.revision >= come, "{batch:?} after {come:?}");
        } else {
            assert!(batch.revision > come, "{batch:?} after {come:?}");
            seen.push(batch.revision.0);
        }
        come = batch.revision;
        let delivered = (1..=come.0).filter(|revision| revision % 3 == 1);
        assert!(delivered.eq(seen.iter().copied()), "{come:?}: {seen:?}");
    }
    writer.await.unwrap();
}

async fn a_watch_from_a_revision_that_is_no_longer_kept_is_refused_whatever_its_prefix(store: Arc<dyn Store>) {
    let full = |n: u64| {
        (0..128)
            .fold(Transaction::default(), |made, key| made.put(&format!("/clients/{key}"), n.to_string().into_bytes()))
    };
    let writes = (0..33).map(|n| store.transact(full(n)));
    for written in futures_util::future::join_all(writes).await {
        written.unwrap();
    }
    // 4096 changes are kept: 32 transactions of 128.
    let mut kept = store.watch("/clients/", Revision(1));
    assert_eq!(changed(&mut kept).await.unwrap().unwrap().revision, Revision(2));
    for prefix in ["/clients/", "/keys/"] {
        let mut lost = store.watch(prefix, Revision(0));
        assert_eq!(lost.next().await, Some(Err(StoreError::Compacted)));
        assert_eq!(lost.next().await, None);
    }
}
