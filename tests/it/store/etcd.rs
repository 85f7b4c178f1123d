//! What the store in etcd does beside the contract of all stores.

use std::sync::Arc;
use std::time::Duration;

use lanyard::authority::clock::Clock as _;
use lanyard::authority::clock::SystemClock;
use lanyard::authority::store::Expected;
use lanyard::authority::store::Revision;
use lanyard::authority::store::Store as _;
use lanyard::authority::store::StoreError;
use lanyard::authority::store::Transaction;
use lanyard::store::etcd::EtcdConfig;
use lanyard::store::etcd::EtcdStore;
use tokio_stream::StreamExt as _;

use crate::store::store_contract::changed;
use crate::store::store_contract::conflict;
use crate::store::store_contract::deleted;
use crate::store::store_contract::put;
use crate::support::door::within;
use crate::support::etcd::Single;
use crate::support::process::run;
use crate::support::process::shell;

fn clock() -> Arc<SystemClock> {
    Arc::new(SystemClock)
}

#[tokio::test]
async fn two_prefixes_do_not_see_each_other_also_where_one_begins_with_the_other() {
    let Some(etcd) = Single::start(&[]) else { return };
    let prefixes = ["/a", "/a/clients", "/ab"];
    let mut stores = Vec::new();
    for prefix in prefixes {
        stores.push(etcd.store(prefix, clock()).await);
    }
    let mut watches: Vec<_> = stores.iter().map(|store| store.watch("", Revision(0))).collect();
    for (store, prefix) in stores.iter().zip(prefixes) {
        store.put("/clients/x", prefix.into(), Expected::Absent).await.unwrap();
    }
    for ((store, watch), prefix) in stores.iter().zip(&mut watches).zip(prefixes) {
        let entries = store.list("").await.unwrap().entries;
        assert_eq!(
            entries.iter().map(|(key, entry)| (&**key, &*entry.value)).collect::<Vec<_>>(),
            [("/clients/x", prefix.as_bytes())]
        );
        let batch = within(changed(watch)).await.unwrap().unwrap();
        assert_eq!(batch.changes, [put("/clients/x", prefix.as_bytes())]);
        let keys = store.key_revisions("", 9).await.unwrap();
        assert_eq!((keys.keys.len(), keys.more), (1, false));
    }
}

#[tokio::test]
async fn what_expires_is_deleted_by_etcd_and_told_to_watchers() {
    let Some(etcd) = Single::start(&[]) else { return };
    let store = etcd.store("/lanyard", clock()).await;
    let expires = SystemClock.now().after(Duration::from_secs(1));
    let written = store.transact(Transaction::default().put_until("/a", b"1".to_vec(), expires)).await.unwrap();
    store.put("/b", b"2".to_vec(), Expected::Absent).await.unwrap();
    let mut watch = store.watch("/a", written);
    let batch = within(changed(&mut watch)).await.unwrap().unwrap();
    assert_eq!(batch.changes, [deleted("/a")]);
    assert!(store.get("/b").await.unwrap().is_some());
}

#[tokio::test]
async fn a_watch_from_before_a_compaction_is_told_so() {
    let Some(etcd) = Single::start(&[]) else { return };
    let store = etcd.store("/lanyard", clock()).await;
    let first = store.put("/a", b"1".to_vec(), Expected::Any).await.unwrap();
    let second = store.put("/a", b"2".to_vec(), Expected::Any).await.unwrap();
    let third = store.put("/a", b"3".to_vec(), Expected::Any).await.unwrap();
    let compact = format!("curl -sf {}/v3/kv/compaction -d '{{\"revision\": {}}}'", etcd.url, third.0);
    run(&mut shell(&compact)).ok();
    for earlier in [first, second] {
        assert_eq!(within(store.watch("", earlier).next()).await, Some(Err(StoreError::Compacted)));
    }
    assert!(within(store.watch("", third).next()).await.unwrap().is_ok());
    // What is there is read as always.
    assert_eq!(store.list("").await.unwrap().entries.len(), 1);
}

#[tokio::test]
async fn what_another_program_wrote_is_named_and_not_taken_for_a_record() {
    let Some(etcd) = Single::start(&[]) else { return };
    let store = etcd.store("/lanyard", clock()).await;
    // /lanyard:/clients/x, and x.
    let foreign = r#"{"key": "L2xhbnlhcmQ6L2NsaWVudHMveA==", "value": "eA=="}"#;
    run(&mut shell(&format!("curl -sf {}/v3/kv/put -d '{foreign}'", etcd.url))).ok();
    for error in [store.list("").await.unwrap_err(), store.get("/clients/x").await.unwrap_err()] {
        assert!(error.to_string().contains("/lanyard:/clients/x"), "{error}");
    }
    assert_eq!(store.get("/clients/y").await, Ok(None));
}

/// The comparison is made again where the compared record changed between its reading and the writes.
#[tokio::test]
async fn of_a_thousand_writers_that_race_over_one_counter_none_is_lost() {
    let Some(etcd) = Single::start(&[]) else { return };
    let stores = [etcd.store("/lanyard", clock()).await, etcd.store("/lanyard", clock()).await];
    stores[0].put("/n", b"0".to_vec(), Expected::Absent).await.unwrap();
    let count = async |store: &EtcdStore| {
        let mut won = 0;
        while won < 500 {
            let present = store.get("/n").await.unwrap().unwrap();
            let next = std::str::from_utf8(&present.value).unwrap().parse::<u32>().unwrap() + 1;
            match store.put("/n", next.to_string().into_bytes(), Expected::At(present.revision)).await {
                Ok(_) => won += 1,
                Err(error) => assert_eq!(error, conflict("/n")),
            }
        }
    };
    tokio::join!(count(&stores[0]), count(&stores[1]));
    assert_eq!(&*stores[1].get("/n").await.unwrap().unwrap().value, b"1000");
}

#[tokio::test]
async fn an_etcd_that_is_not_there_is_an_error_that_names_each_endpoint() {
    let endpoints = vec!["http://127.0.0.1:1".to_owned(), "http://localhost:2".to_owned()];
    let config = EtcdConfig { endpoints, prefix: "/lanyard".to_owned(), tls: None, timeout: Duration::from_secs(3) };
    let error = EtcdStore::open(&config, None, clock()).await.unwrap_err().to_string();
    for named in ["127.0.0.1:1", "localhost:2", "refused"] {
        assert!(error.contains(named), "{error}");
    }
}
