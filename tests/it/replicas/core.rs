//! What a replica makes of its store, with a clock and a watch that the test moves.

use std::time::Duration;

use lanyard::authority::state::Difference;
use lanyard::authority::state::Undecidable;
use lanyard::authority::store::Batch;
use lanyard::authority::store::Expected;
use lanyard::authority::store::Revision;
use lanyard::authority::store::Store as _;
use lanyard::authority::store::Watch;
use tokio_stream::StreamExt as _;

use crate::support::authority::CHECKOUT;
use crate::support::authority::TestAuthority;
use crate::support::authority::spiffe_client;
use crate::support::door::within;

const BOUND: Duration = Duration::from_mins(1);

fn replica(name: &str) -> TestAuthority {
    let mut fixture = TestAuthority::with(|policy| policy.max_staleness = Some(BOUND), TestAuthority::keys());
    fixture.authority = fixture.authority.as_replica(name.to_owned());
    fixture
}

/// The next batch that has changes.
async fn changed(watch: &mut Watch) -> Batch {
    within(async {
        loop {
            let batch = watch.next().await.unwrap().unwrap();
            if !batch.changes.is_empty() {
                return batch;
            }
        }
    })
    .await
}

fn progress(revision: Revision) -> Batch {
    Batch { revision, changes: Vec::new() }
}

#[tokio::test]
async fn only_the_replicas_own_heartbeat_that_comes_back_makes_it_fresh_as_of_when_it_was_sent() {
    let fixture = replica("one");
    let (authority, clock) = (&fixture.authority, &fixture.clock);
    let loaded = authority.load().await.unwrap();
    let mut watch = fixture.store.watch("", loaded);
    clock.advance(BOUND);
    assert_eq!(authority.freshness(), Ok(()));
    clock.advance(Duration::from_secs(1));
    assert_eq!(authority.freshness(), Err(Undecidable::Stale));
    // Neither progress nor what others write proves anything: a member that is cut off reports both.
    authority.apply(&progress(loaded));
    fixture.store.put("/replicas/other", b"{\"schema\":1,\"beat\":1}".to_vec(), Expected::Any).await.unwrap();
    authority.apply(&changed(&mut watch).await);
    assert_eq!(authority.freshness(), Err(Undecidable::Stale));
    // Its own does, as of when it was sent.
    authority.beat().await.unwrap();
    clock.advance(Duration::from_secs(20));
    authority.apply(&changed(&mut watch).await);
    assert_eq!(authority.staleness(), Some(Duration::from_secs(20)));
    assert_eq!(authority.freshness(), Ok(()));
    // The same heartbeat again is no newer.
    let beat = fixture.store.get("/replicas/one").await.unwrap().unwrap();
    let written: serde_json::Value = serde_json::from_slice(&beat.value).unwrap();
    assert_eq!((&written["reads"]["/keys/"], &written["reads"]["/clients/"]), (&3.into(), &4.into()), "{written}");
    fixture.store.put("/replicas/one", beat.value.to_vec(), Expected::Any).await.unwrap();
    clock.advance(Duration::from_secs(41));
    authority.apply(&changed(&mut watch).await);
    assert_eq!(authority.freshness(), Err(Undecidable::Stale));
}

#[tokio::test]
async fn a_change_that_the_watch_has_lost_is_found_and_one_that_is_under_way_is_not() {
    let fixture = replica("one");
    let authority = &fixture.authority;
    let client = fixture.register(spiffe_client(CHECKOUT));
    let loaded = authority.load().await.unwrap();
    let page = fixture.store.key_revisions("", 100).await.unwrap();
    assert_eq!(authority.compare("", &page), Some(Vec::new()));

    // A deletion, and a record of another replica, that the watch does not deliver.
    let key = format!("/clients/{CHECKOUT}");
    let record = fixture.store.get(&key).await.unwrap().unwrap();
    assert_eq!(record.revision, client.revision);
    fixture.store.delete(&key, Expected::Any).await.unwrap();
    let lost = "/clients/spiffe:%2F%2Flost";
    let stored = fixture.store.put(lost, record.value.to_vec(), Expected::Any).await.unwrap();
    let page = fixture.store.key_revisions("", 100).await.unwrap();
    assert_eq!(authority.compare("", &page), None, "the watch is not as far yet");
    authority.apply(&progress(page.revision));
    let mut found = authority.compare("", &page).unwrap();
    found.sort_by(|one, other| one.key.cmp(&other.key));
    let mut expected = [
        Difference { key, stored: None, held: Some(record.revision) },
        Difference { key: lost.to_owned(), stored: Some(stored), held: None },
    ];
    expected.sort_by(|one, other| one.key.cmp(&other.key));
    assert_eq!(found, expected);
    // A part that has neither is the same.
    let rest = fixture.store.key_revisions("/keys/", 100).await.unwrap();
    assert_eq!(authority.compare("/keys/", &rest), Some(Vec::new()));
    assert!(loaded < page.revision);
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_no_lost_change() {
    let fixture = replica("one");
    let authority = &fixture.authority;
    let loaded = authority.load().await.unwrap();
    let mut watch = fixture.store.watch("", loaded);
    for key in ["/revocations/token/later", "/keys/later", "/clients/later"] {
        fixture.store.put(key, b"{\"schema\":99}".to_vec(), Expected::Any).await.unwrap();
        authority.apply(&changed(&mut watch).await);
        let page = fixture.store.key_revisions("", 100).await.unwrap();
        assert_eq!(authority.compare("", &page), Some(Vec::new()), "{key}");
    }
    // One that was written since then, and did not arrive, is.
    fixture.store.put("/keys/later", b"{\"schema\":100}".to_vec(), Expected::Any).await.unwrap();
    let page = fixture.store.key_revisions("", 100).await.unwrap();
    authority.apply(&progress(page.revision));
    assert_eq!(authority.compare("", &page).unwrap().len(), 1);
}

#[tokio::test]
async fn one_of_two_replicas_leads_until_its_lease_is_over() {
    let one = replica("one");
    let mut two = TestAuthority::on(std::sync::Arc::clone(&one.store), |_| {}, TestAuthority::keys());
    two.authority = two.authority.as_replica("two".to_owned());
    let (one, two) = (one.authority, two.authority);
    assert!(!one.leads() && !two.leads());
    one.stand().await.unwrap();
    two.stand().await.unwrap();
    assert!(one.leads() && !two.leads());
    // It renews its lease, and gives it up when it leaves.
    one.stand().await.unwrap();
    assert!(one.leads());
    one.beat().await.unwrap();
    one.leave().await.unwrap();
    assert!(!one.leads());
    two.stand().await.unwrap();
    assert!(two.leads());
}
