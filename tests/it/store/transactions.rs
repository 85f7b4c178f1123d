//! What every store promises of transactions: all or nothing, in one order, with one revision.

use std::collections::BTreeMap;
use std::sync::Arc;

use lanyard::authority::store::Batch;
use lanyard::authority::store::Expected;
use lanyard::authority::store::MAX_KEY_BYTES;
use lanyard::authority::store::MAX_TRANSACTION_BYTES;
use lanyard::authority::store::MAX_TRANSACTION_OPERATIONS;
use lanyard::authority::store::MAX_VALUE_BYTES;
use lanyard::authority::store::Revision;
use lanyard::authority::store::Store;
use lanyard::authority::store::StoreError;
use lanyard::authority::store::Transaction;
use tokio::task::JoinSet;

use crate::store::store_contract::changed;
use crate::store::store_contract::changed_at;
use crate::store::store_contract::conflict;
use crate::store::store_contract::contract;
use crate::store::store_contract::deleted;
use crate::store::store_contract::put;
use crate::support::test_process::Chance;

contract![
    all_writes_of_a_transaction_have_one_revision_and_come_in_one_batch,
    whichever_comparison_fails_it_is_named_and_nothing_is_changed,
    of_several_comparisons_that_fail_the_first_is_named,
    a_comparison_may_name_a_key_that_is_not_written,
    a_transaction_that_changes_nothing_returns_the_stores_revision,
    of_two_writes_to_one_key_the_later_counts,
    of_transactions_that_race_over_one_key_exactly_one_is_made_and_of_the_others_nothing,
    nobody_sees_half_of_a_transaction,
    as_many_operations_as_etcd_takes_are_taken_and_one_more_is_refused,
    as_many_bytes_as_are_allowed_are_taken_and_one_more_is_refused,
    a_key_that_is_too_large_to_be_written_is_too_large_to_be_compared,
    a_thousand_random_transactions_do_what_a_map_would,
];

/// These make transactions in the order in which they are asked for, also before an earlier one is acknowledged.
mod ordered {
    use crate::store::store_contract::contract_of_tables;
    use crate::store::transactions::a_transaction_sees_the_one_before_it;

    contract_of_tables![a_transaction_sees_the_one_before_it];
}

async fn all_writes_of_a_transaction_have_one_revision_and_come_in_one_batch(store: Arc<dyn Store>) {
    let before = store.put("/clients/old", b"0".to_vec(), Expected::Any).await.unwrap();
    let mut watch = store.watch("", before);
    let transaction = Transaction::default()
        .compare("/clients/old", Expected::At(before))
        .compare("/index/b", Expected::Absent)
        .put("/index/b", b"2".to_vec())
        .put("/clients/a", b"1".to_vec())
        .delete("/clients/old");
    let revision = store.transact(transaction).await.unwrap();
    assert_eq!(revision, Revision(before.0 + 1));
    for (key, value) in [("/clients/a", b"1"), ("/index/b", b"2")] {
        let read = store.get(key).await.unwrap().unwrap();
        assert_eq!((&*read.value, read.revision), (&value[..], revision));
    }
    assert_eq!(store.get("/clients/old").await.unwrap(), None);
    assert_eq!(store.list("").await.unwrap().revision, revision);
    let changes = vec![put("/clients/a", b"1"), deleted("/clients/old"), put("/index/b", b"2")];
    assert_eq!(changed(&mut watch).await, Some(Ok(Batch { revision, changes })));
    let next = store.put("/clients/c", b"3".to_vec(), Expected::Any).await.unwrap();
    assert_eq!(next, Revision(revision.0 + 1));
    assert_eq!(changed_at(&mut watch).await, next);
}

async fn whichever_comparison_fails_it_is_named_and_nothing_is_changed(store: Arc<dyn Store>) {
    let there = store.put("/there", b"1".to_vec(), Expected::Any).await.unwrap();
    let later = store.put("/later", b"1".to_vec(), Expected::Any).await.unwrap();
    let before = store.list("").await.unwrap();
    let holding = [
        ("/there", Expected::At(there)),
        ("/later", Expected::At(later)),
        ("/nothing", Expected::Absent),
        ("/written", Expected::Absent),
        ("/there", Expected::Any),
    ];
    let failing = [
        ("/there", Expected::Absent),
        ("/there", Expected::At(later)),
        ("/later", Expected::At(there)),
        ("/nothing", Expected::At(there)),
        ("/written", Expected::At(Revision(0))),
    ];
    let of = |comparisons: &[(&str, Expected)]| {
        let transaction =
            comparisons.iter().fold(Transaction::default(), |made, (key, expected)| made.compare(key, *expected));
        transaction.put("/written", b"2".to_vec()).put("/later", b"2".to_vec()).delete("/there")
    };
    for (fails, expected) in failing {
        for place in 0..=holding.len() {
            let mut comparisons = holding.to_vec();
            comparisons.insert(place, (fails, expected));
            assert_eq!(store.transact(of(&comparisons)).await, Err(conflict(fails)), "{comparisons:?}");
            assert_eq!(store.list("").await.unwrap(), before, "{comparisons:?}");
        }
    }
    // The next revision is the first that a watch reports.
    let mut watch = store.watch("", before.revision);
    let revision = store.transact(of(&holding)).await.unwrap();
    assert_eq!(revision, Revision(before.revision.0 + 1));
    assert_eq!(changed(&mut watch).await.unwrap().unwrap().changes.len(), 3);
}

async fn of_several_comparisons_that_fail_the_first_is_named(store: Arc<dyn Store>) {
    let never = Expected::At(Revision(9));
    let transaction = Transaction::default().compare("/b", never).compare("/a", never).put("/a", b"1".to_vec());
    assert_eq!(store.transact(transaction).await, Err(conflict("/b")));
}

async fn a_comparison_may_name_a_key_that_is_not_written(store: Arc<dyn Store>) {
    let guard = store.put("/guard", b"1".to_vec(), Expected::Any).await.unwrap();
    let guarded =
        |value: &[u8]| Transaction::default().compare("/guard", Expected::At(guard)).put("/a", value.to_vec());
    let first = store.transact(guarded(b"1")).await.unwrap();
    let second = store.transact(guarded(b"2")).await.unwrap();
    assert!(first < second);
    store.put("/guard", b"2".to_vec(), Expected::Any).await.unwrap();
    assert_eq!(store.transact(guarded(b"3")).await, Err(conflict("/guard")));
    assert_eq!(&*store.get("/a").await.unwrap().unwrap().value, b"2");
}

async fn a_transaction_that_changes_nothing_returns_the_stores_revision(store: Arc<dyn Store>) {
    let newest = store.put("/a", b"1".to_vec(), Expected::Any).await.unwrap();
    let nothing = Transaction::default();
    assert_eq!(store.transact(nothing.clone()).await, Ok(newest));
    assert_eq!(store.transact(nothing.clone().compare("/a", Expected::At(newest))).await, Ok(newest));
    assert_eq!(store.transact(nothing.clone().delete("/b").delete("/c")).await, Ok(newest));
    assert_eq!(store.transact(nothing.compare("/a", Expected::Absent).delete("/b")).await, Err(conflict("/a")));
    assert_eq!(store.list("").await.unwrap().revision, newest);
}

async fn a_transaction_sees_the_one_before_it(store: Arc<dyn Store>) {
    // All of them are asked for before the first is acknowledged, so that they can meet in one group commit.
    let writes = (0..50_u64).map(|n| {
        let expected = if n == 0 { Expected::Absent } else { Expected::At(Revision(n)) };
        let transaction = Transaction::default().compare("/a", expected);
        store.transact(transaction.put("/a", n.to_string().into_bytes()).put(&format!("/b/{n}"), b"1".to_vec()))
    });
    let revisions = futures_util::future::join_all(writes).await;
    assert_eq!(revisions, (1..=50).map(|n| Ok(Revision(n))).collect::<Vec<_>>());
    assert_eq!(store.list("/b/").await.unwrap().entries.len(), 50);
}

async fn of_two_writes_to_one_key_the_later_counts(store: Arc<dyn Store>) {
    let twice = Transaction::default().put("/a", b"1".to_vec()).put("/a", b"2".to_vec());
    store.transact(twice).await.unwrap();
    assert_eq!(&*store.get("/a").await.unwrap().unwrap().value, b"2");
    store.transact(Transaction::default().put("/a", b"3".to_vec()).delete("/a")).await.unwrap();
    assert_eq!(store.get("/a").await.unwrap(), None);
}

async fn of_transactions_that_race_over_one_key_exactly_one_is_made_and_of_the_others_nothing(store: Arc<dyn Store>) {
    let mut race = JoinSet::new();
    for n in 0..32 {
        let store = Arc::clone(&store);
        race.spawn(async move {
            let own = format!("/clients/{n}");
            let transaction = Transaction::default().compare("/index/one", Expected::Absent);
            store.transact(transaction.put(&own, b"1".to_vec()).put("/index/one", own.clone().into_bytes())).await
        });
    }
    let (won, lost): (Vec<_>, Vec<_>) = race.join_all().await.into_iter().partition(Result::is_ok);
    assert_eq!((won.len(), lost.len()), (1, 31));
    assert!(lost.iter().all(|lost| *lost == Err(conflict("/index/one"))));
    let owner = store.get("/index/one").await.unwrap().unwrap().value;
    let clients = store.list("/clients/").await.unwrap().entries;
    assert_eq!(clients.iter().map(|(key, _)| key.as_bytes()).collect::<Vec<_>>(), [&*owner]);
}

/// Amounts are moved between accounts: in every listing, and after every batch, their sum is the same.
async fn nobody_sees_half_of_a_transaction(store: Arc<dyn Store>) {
    const ACCOUNTS: u64 = 5;
    let account = |n: u64| format!("/account/{n}");
    let opened = (0..ACCOUNTS).fold(Transaction::default(), |made, n| made.put(&account(n), b"100".to_vec()));
    let opened = store.transact(opened).await.unwrap();
    let mut watch = store.watch("/account/", Revision(0));
    let mut movers = JoinSet::new();
    for seed in 0..4 {
        let store = Arc::clone(&store);
        movers.spawn(async move {
            let mut chance = Chance::seeded(seed);
            let mut moved = 0;
            while moved < 25 {
                let from = chance.below(ACCOUNTS);
                let to = (from + 1 + chance.below(ACCOUNTS - 1)) % ACCOUNTS;
                let mut transaction = Transaction::default();
                for (n, gets) in [(from, -1), (to, 1)] {
                    let present = store.get(&account(n)).await.unwrap().unwrap();
                    let amount = amount(&present.value) + gets;
                    transaction = transaction.compare(&account(n), Expected::At(present.revision));
                    transaction = transaction.put(&account(n), amount.to_string().into_bytes());
                }
                moved += u64::from(store.transact(transaction).await.is_ok());
                let listing = store.list("/account/").await.unwrap();
                assert_eq!(listing.entries.iter().map(|(_, entry)| amount(&entry.value)).sum::<i64>(), 500);
            }
        });
    }
    movers.join_all().await;
    let mut seen = BTreeMap::new();
    for n in 0..=100 {
        let batch = changed(&mut watch).await.unwrap().unwrap();
        assert_eq!(batch.revision, Revision(opened.0 + n));
        seen.extend(batch.changes.into_iter().map(|change| (change.key, amount(&change.value.unwrap()))));
        assert_eq!(seen.values().sum::<i64>(), 500);
    }
}

fn amount(value: &[u8]) -> i64 {
    std::str::from_utf8(value).unwrap().parse().unwrap()
}

async fn as_many_operations_as_etcd_takes_are_taken_and_one_more_is_refused(store: Arc<dyn Store>) {
    let key = |n: usize| format!("/{n}");
    let compares = |count| (0..count).fold(Transaction::default(), |made, n| made.compare(&key(n), Expected::Absent));
    let writes = |made, count| (0..count).fold(made, |made: Transaction, n| made.put(&key(n), b"1".to_vec()));
    let limit = MAX_TRANSACTION_OPERATIONS;
    assert_eq!(limit, 128);
    let too_many = Err(StoreError::TooMany { count: limit + 1, limit });
    assert_eq!(store.transact(compares(limit + 1).put("/a", b"1".to_vec())).await, too_many);
    assert_eq!(store.transact(writes(Transaction::default(), limit + 1)).await, too_many);
    assert_eq!(store.list("").await.unwrap().entries, []);
    store.transact(writes(compares(limit), limit)).await.unwrap();
    assert_eq!(store.list("").await.unwrap().entries.len(), limit);
}

async fn as_many_bytes_as_are_allowed_are_taken_and_one_more_is_refused(store: Arc<dyn Store>) {
    // Three keys of two bytes with the largest values, and what is left for a fourth.
    let large =
        ["/a", "/b", "/c"].iter().fold(Transaction::default(), |made, key| made.put(key, vec![7; MAX_VALUE_BYTES]));
    let rest = MAX_TRANSACTION_BYTES - large.bytes() - 2;
    let larger = large.clone().put("/d", vec![7; rest + 1]);
    let (bytes, limit) = (MAX_TRANSACTION_BYTES + 1, MAX_TRANSACTION_BYTES);
    assert_eq!(store.transact(larger).await, Err(StoreError::TooLarge { bytes, limit }));
    assert_eq!(store.list("").await.unwrap().entries, []);
    store.transact(large.put("/d", vec![7; rest])).await.unwrap();
    assert_eq!(store.list("").await.unwrap().entries.len(), 4);
}

async fn a_key_that_is_too_large_to_be_written_is_too_large_to_be_compared(store: Arc<dyn Store>) {
    let compared = Transaction::default().compare(&"k".repeat(MAX_KEY_BYTES + 1), Expected::Absent);
    let refused = StoreError::TooLarge { bytes: MAX_KEY_BYTES + 1, limit: MAX_KEY_BYTES };
    assert_eq!(store.transact(compared.put("/a", b"1".to_vec())).await, Err(refused));
    assert_eq!(store.get("/a").await.unwrap(), None);
}

type Model = BTreeMap<String, (Vec<u8>, Revision)>;

/// Compared with a map: what each transaction came to, what is there after it, and what the watch makes of it all.
async fn a_thousand_random_transactions_do_what_a_map_would(store: Arc<dyn Store>) {
    let seed = Chance::new_seed();
    println!("seed {seed}");
    let mut chance = Chance::seeded(seed);
    let mut watch = store.watch("/1", Revision(0));
    let (mut model, mut newest, mut reported) = (Model::new(), Revision(0), Model::new());
    for _ in 0..1000 {
        let key = |chance: &mut Chance| format!("/{}/{}", chance.below(2), chance.below(4));
        let mut transaction = Transaction::default();
        for _ in 0..chance.below(4) {
            let key = key(&mut chance);
            let present = model.get(&key).map_or(Expected::Absent, |(_, revision)| Expected::At(*revision));
            let expected = match chance.below(12) {
                0 => Expected::Absent,
                1 => Expected::At(Revision(chance.below(newest.0 + 2))),
                2 => Expected::Any,
                _ => present,
            };
            transaction = transaction.compare(&key, expected);
        }
        for _ in 0..chance.below(5) {
            let key = key(&mut chance);
            transaction = match chance.below(3) {
                0 => transaction.delete(&key),
                _ => transaction.put(&key, chance.below(1 << 30).to_string().into_bytes()),
            };
        }
        let expected = model_of(&mut model, &mut newest, &transaction);
        assert_eq!(store.transact(transaction).await, expected);
        let listing = store.list("").await.unwrap();
        let entries = listing.entries.into_iter().map(|(key, entry)| (key, (entry.value.to_vec(), entry.revision)));
        assert_eq!((entries.collect::<Model>(), listing.revision), (model.clone(), newest));
    }
    store.put("/1/end", b"0".to_vec(), Expected::Any).await.unwrap();
    while !reported.contains_key("/1/end") {
        let Batch { revision, changes } = changed(&mut watch).await.unwrap().unwrap();
        for change in changes {
            match change.value {
                Some(value) => drop(reported.insert(change.key, (value.to_vec(), revision))),
                None => assert!(reported.remove(&change.key).is_some(), "{} was not there", change.key),
            }
        }
    }
    reported.remove("/1/end");
    model.retain(|key, _| key.starts_with("/1"));
    assert_eq!(reported, model);
}

fn model_of(model: &mut Model, newest: &mut Revision, transaction: &Transaction) -> Result<Revision, StoreError> {
    use lanyard::authority::store::Write;
    for (key, expected) in transaction.comparisons() {
        let holds = match (expected, model.get(key)) {
            (Expected::Any, _) | (Expected::Absent, None) => true,
            (Expected::At(revision), Some((_, present))) => revision == present,
            (Expected::Absent, Some(_)) | (Expected::At(_), None) => false,
        };
        if !holds {
            return Err(conflict(key));
        }
    }
    let next = Revision(newest.0 + 1);
    let mut changes = false;
    for (key, write) in transaction.writes() {
        changes |= match write {
            Write::Put { value, .. } => {
                model.insert(key.clone(), (value.to_vec(), next));
                true
            }
            Write::Delete => model.remove(key).is_some(),
        };
    }
    if changes {
        *newest = next;
    }
    Ok(*newest)
}
