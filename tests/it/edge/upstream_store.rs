//! The store of an edge: what it makes of what an upstream sends.

use std::sync::Arc;
use std::time::Duration;

use lanyard::authority::clock::Clock;
use lanyard::authority::clock::ManualClock;
use lanyard::authority::clock::SystemEntropy;
use lanyard::authority::store::Batch;
use lanyard::authority::store::Change;
use lanyard::authority::store::Expected;
use lanyard::authority::store::Revision;
use lanyard::authority::store::Store;
use lanyard::authority::store::StoreError;
use lanyard::authority::store::Watch;
use lanyard::store::upstream::UpstreamConfig;
use lanyard::store::upstream::UpstreamStore;
use tokio_stream::StreamExt as _;
use tonic::Code;

use crate::support::NOW;
use crate::support::door::within;
use crate::support::scripted_centre::ScriptedCentre;
use crate::support::scripted_centre::ScriptedStream;
use crate::support::server::ISSUER;

struct Edge {
    store: Arc<UpstreamStore>,
    clock: Arc<ManualClock>,
}

/// A store that follows these.
fn edge_of(centres: &[&ScriptedCentre]) -> Edge {
    let clock = Arc::new(ManualClock::new(NOW));
    let config = UpstreamConfig { endpoints: centres.iter().map(|centre| centre.url()).collect(), tls: None };
    let time = Arc::clone(&clock) as Arc<dyn Clock>;
    let store = UpstreamStore::open(&config, None, ISSUER, time, Arc::new(SystemEntropy::default())).unwrap();
    Edge { store: Arc::new(store), clock }
}

impl Edge {
    /// Reads everything, while the stream is played.
    async fn listed(
        &self,
        centre: &mut ScriptedCentre,
        play: impl FnOnce(&ScriptedStream),
    ) -> (Revision, ScriptedStream) {
        let reading = tokio::spawn({
            let store = Arc::clone(&self.store);
            async move { store.list("/clients/").await }
        });
        let stream = centre.stream().await;
        play(&stream);
        (within(reading).await.unwrap().unwrap().revision, stream)
    }

    fn delivered_until(&self) -> Duration {
        self.store.delivered_until().unwrap()
    }
}

/// The next batch, of several in a row that say the same the last.
async fn next(watch: &mut Watch) -> Result<Batch, StoreError> {
    within(watch.next()).await.expect("the watch goes on")
}

fn batch(revision: u64, changes: &[(&str, Option<&str>)]) -> Batch {
    let changes = changes
        .iter()
        .map(|(key, value)| Change { key: (*key).to_owned(), value: value.map(|value| value.as_bytes().into()) });
    Batch { revision: Revision(revision), changes: changes.collect() }
}

#[tokio::test]
async fn one_stream_lists_in_parts_and_then_delivers_each_change() {
    let mut centre = ScriptedCentre::start().await;
    let edge = edge_of(&[&centre]);
    let reading = tokio::spawn({
        let store = Arc::clone(&edge.store);
        async move {
            let first = store.list_part("/clients/", "", 2).await.unwrap();
            let second = store.list_part("/clients/", "/clients/b", 2).await.unwrap();
            let keys = store.list_part("/keys/", "", 2).await.unwrap();
            let none = store.list_part("/resources/", "", 2).await.unwrap();
            // What is read twice of one listing has nothing new.
            let again = store.list_part("/keys/", "", 2).await.unwrap();
            [first, second, keys, none, again]
        }
    });
    let stream = centre.stream().await;
    assert_eq!(stream.start.after_revision, None);
    stream.started(false);
    stream.listed(&[("/keys/k", "k", 3), ("/clients/c", "c", 7)]);
    stream.listed(&[("/clients/a", "a", 5), ("/clients/b", "b", 6)]);
    stream.progress(9, None, 0);
    let parts = within(reading).await.unwrap();
    let read = parts.each_ref().map(|part| {
        let entries = part.listing.entries.iter();
        let entries: Vec<_> = entries.map(|(key, entry)| (key.as_str(), &*entry.value, entry.revision.0)).collect();
        (entries, part.more, part.listing.revision)
    });
    assert_eq!(read[0], (vec![("/clients/a", &b"a"[..], 5), ("/clients/b", b"b", 6)], true, Revision(9)));
    assert_eq!(read[1], (vec![("/clients/c", &b"c"[..], 7)], false, Revision(9)));
    assert_eq!(read[2], (vec![("/keys/k", &b"k"[..], 3)], false, Revision(9)));
    assert_eq!(read[3], (vec![], false, Revision(9)));
    assert_eq!(read[4], read[3]);
    let mut watch = edge.store.watch("", Revision(9));
    stream.changed(11, &[("/clients/b", None), ("/clients/a", Some("new"))]);
    assert_eq!(next(&mut watch).await, Ok(batch(11, &[("/clients/a", Some("new")), ("/clients/b", None)])));
    // What was delivered is not delivered again.
    stream.changed(11, &[("/clients/a", Some("old"))]);
    stream.changed(12, &[("/keys/k", None)]);
    assert_eq!(next(&mut watch).await, Ok(batch(12, &[("/keys/k", None)])));
    assert!(!centre.has_stream(), "there was only one stream");
}

#[tokio::test]
async fn what_was_read_once_is_listed_anew() {
    let mut centre = ScriptedCentre::start().await;
    let edge = edge_of(&[&centre]);
    let (first, _) = edge.listed(&mut centre, |stream| stream.lists(&[("/clients/a", "a", 1)], 4)).await;
    let (second, _) = edge.listed(&mut centre, |stream| stream.lists(&[("/clients/a", "b", 5)], 5)).await;
    assert_eq!((first, second), (Revision(4), Revision(5)));
}

#[tokio::test]
async fn a_stream_that_ends_goes_on_at_its_revision() {
    let mut centre = ScriptedCentre::start().await;
    let edge = edge_of(&[&centre]);
    let (revision, stream) = edge.listed(&mut centre, |stream| stream.lists(&[], 4)).await;
    let mut watch = edge.store.watch("", revision);
    stream.changed(6, &[("/clients/a", Some("a"))]);
    assert_eq!(next(&mut watch).await, Ok(batch(6, &[("/clients/a", Some("a"))])));
    stream.end(Code::Unavailable, "CONNECTION_OVER");
    let stream = centre.stream().await;
    assert_eq!(stream.start.after_revision, Some(6));
    stream.started(true);
    stream.changed(8, &[("/clients/a", None)]);
    assert_eq!(next(&mut watch).await, Ok(batch(8, &[("/clients/a", None)])));
}

#[tokio::test]
async fn where_it_cannot_go_on_everything_is_to_be_listed_again() {
    let mut centre = ScriptedCentre::start().await;
    let edge = edge_of(&[&centre]);
    let (revision, stream) = edge.listed(&mut centre, |stream| stream.lists(&[], 4)).await;
    let mut watch = edge.store.watch("", revision);
    stream.end(Code::Aborted, "LIST_AGAIN");
    assert_eq!(next(&mut watch).await, Err(StoreError::Compacted));
    assert_eq!(within(watch.next()).await, None);
    // The same where an upstream lists although it was to go on.
    let mut watch = edge.store.watch("", revision);
    let stream = centre.stream().await;
    assert_eq!(stream.start.after_revision, Some(4));
    stream.lists(&[], 9);
    assert_eq!(next(&mut watch).await, Err(StoreError::Compacted));
    let (revision, _) = edge.listed(&mut centre, |stream| stream.lists(&[], 9)).await;
    assert_eq!(revision, Revision(9));
}

#[tokio::test]
async fn the_next_upstream_is_asked_where_one_ends_or_is_behind() {
    let (mut one, mut other) = (ScriptedCentre::start().await, ScriptedCentre::start().await);
    let edge = edge_of(&[&one, &other]);
    let mut watch = edge.store.watch("", Revision(4));
    let mut seen = [0, 0];
    for (turn, reason) in ["", "BEHIND", "CONNECTION_OVER", "BEHIND"].into_iter().enumerate() {
        let (which, stream) = within(async {
            loop {
                if one.has_stream() {
                    return (0, one.stream().await);
                }
                if other.has_stream() {
                    return (1, other.stream().await);
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
        seen[which] += 1;
        let revision = 4 + u64::try_from(turn).unwrap();
        assert_eq!(stream.start.after_revision, Some(revision));
        stream.started(true);
        stream.changed(revision + 1, &[("/clients/a", Some(reason))]);
        assert_eq!(next(&mut watch).await, Ok(batch(revision + 1, &[("/clients/a", Some(reason))])));
        stream.end(Code::Unavailable, reason);
    }
    assert_eq!(seen, [2, 2], "they take turns");
}

#[tokio::test]
async fn a_listing_that_breaks_off_is_taken_from_the_next_upstream_as_a_whole() {
    let (mut one, mut other) = (ScriptedCentre::start().await, ScriptedCentre::start().await);
    let edge = edge_of(&[&one, &other]);
    let reading = tokio::spawn({
        let store = Arc::clone(&edge.store);
        async move { store.list("").await }
    });
    let stream = tokio::select! { stream = one.stream() => stream, stream = other.stream() => stream };
    stream.started(false);
    stream.listed(&[("/clients/gone", "of the first", 2)]);
    stream.end(Code::Unavailable, "");
    let stream = tokio::select! { stream = one.stream() => stream, stream = other.stream() => stream };
    stream.lists(&[("/clients/a", "of the second", 3)], 3);
    let listing = within(reading).await.unwrap().unwrap();
    let keys: Vec<_> = listing.entries.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, ["/clients/a"]);
}

#[tokio::test]
async fn only_an_answered_beat_that_was_taken_moves_the_moment() {
    let mut centre = ScriptedCentre::start().await;
    let edge = edge_of(&[&centre]);
    assert_eq!(edge.delivered_until(), Duration::ZERO);
    let begun = edge.clock.elapsed();
    let (revision, mut stream) = edge
        .listed(&mut centre, |stream| {
            stream.started(false);
            stream.progress(4, None, 3_000);
        })
        .await;
    // The listing: from when it was asked for, less the age of the server's own snapshot.
    assert_eq!(edge.delivered_until(), begun.checked_sub(Duration::from_secs(3)).unwrap());
    let mut watch = edge.store.watch("", revision);
    // The beats after the first are sent at this moment or later.
    let first = stream.beat().await;
    edge.clock.advance(Duration::from_secs(20));
    let mut second = stream.beat().await;
    // One may have been on its way when the clock was moved.
    second = second.max(stream.beat().await);
    // A change proves nothing, and neither does a progress without a beat, or with one that was never sent.
    stream.changed(6, &[("/clients/a", Some("a"))]);
    stream.progress(6, None, 0);
    stream.progress(6, Some(9_999), 0);
    for expected in [batch(6, &[("/clients/a", Some("a"))]), batch(6, &[]), batch(6, &[])] {
        assert_eq!(next(&mut watch).await, Ok(expected));
        assert_eq!(edge.delivered_until(), begun.checked_sub(Duration::from_secs(3)).unwrap());
    }
    edge.clock.advance(Duration::from_secs(100));
    stream.progress(7, Some(first), 0);
    stream.progress(8, Some(second), 4_000);
    stream.progress(8, Some(second), 0);
    // The first beat was sent when the listing had begun.
    assert_eq!(next(&mut watch).await, Ok(batch(7, &[])));
    assert_eq!(edge.delivered_until(), begun);
    // The later one has long arrived, and counts from here on.
    assert_eq!(next(&mut watch).await, Ok(batch(8, &[])));
    assert_eq!(edge.delivered_until(), begun + Duration::from_secs(16));
    // A beat is answered once.
    assert_eq!(next(&mut watch).await, Ok(batch(8, &[])));
    assert_eq!(edge.delivered_until(), begun + Duration::from_secs(16));
}

#[tokio::test]
async fn an_upstream_that_falls_silent_is_left() {
    let (mut one, mut other) = (ScriptedCentre::start().await, ScriptedCentre::start().await);
    let edge = edge_of(&[&one, &other]);
    let mut watch = edge.store.watch("", Revision(4));
    let mut stuck = tokio::select! { stream = one.stream() => stream, stream = other.stream() => stream };
    stuck.started(true);
    stuck.progress(4, None, 0);
    assert_eq!(next(&mut watch).await, Ok(batch(4, &[])));
    assert!(edge.store.health().is_ok());
    let stream = tokio::select! { stream = one.stream() => stream, stream = other.stream() => stream };
    assert!(stuck.is_left().await);
    assert!(matches!(edge.store.health(), Err(StoreError::Unavailable(cause)) if cause.contains("silent")));
    stream.started(true);
    stream.changed(5, &[("/clients/a", None)]);
    assert_eq!(next(&mut watch).await, Ok(batch(5, &[("/clients/a", None)])));
    assert!(edge.store.health().is_ok());
}

#[tokio::test]
async fn another_issuer_is_never_followed() {
    let mut centre = ScriptedCentre::start().await;
    let edge = edge_of(&[&centre]);
    let reading = tokio::spawn({
        let store = Arc::clone(&edge.store);
        async move { store.list("").await }
    });
    let mut stream = centre.stream().await;
    stream.started_of("https://lanyard.other.example", false);
    stream.listed(&[("/clients/a", "a", 2)]);
    stream.progress(3, None, 0);
    let error = within(reading).await.unwrap().unwrap_err();
    let StoreError::Unavailable(cause) = &error else { panic!("{error}") };
    assert!(cause.contains("https://lanyard.other.example") && cause.contains(ISSUER), "{cause}");
    assert!(stream.is_left().await);
    assert_eq!(edge.delivered_until(), Duration::ZERO);
    assert_eq!(edge.store.health(), Err(error));
}

#[tokio::test]
async fn an_upstream_that_refuses_the_edge_is_named_with_its_sentence() {
    let centre = ScriptedCentre::start().await;
    centre.refuse();
    let edge = edge_of(&[&centre]);
    let error = within(edge.store.list("")).await.unwrap_err();
    let StoreError::Unavailable(cause) = &error else { panic!("{error}") };
    assert!(cause.contains(&centre.url()) && cause.contains("none of the roles"), "{cause}");
    assert_eq!(edge.store.health(), Err(error));
}

#[tokio::test]
async fn what_does_not_belong_into_a_stream_ends_it() {
    let large = "x".repeat(64 * 1024 + 1);
    let long = format!("/clients/{}", "x".repeat(4 * 1024));
    let parts: [&dyn Fn(&ScriptedStream); 5] = [
        // A record, or a key, that is larger than records are.
        &|stream| stream.changed(5, &[("/clients/a", Some(&large))]),
        &|stream| stream.changed(5, &[(&long, Some("a"))]),
        // Two values of one record.
        &|stream| stream.changed(5, &[("/clients/a", Some("a")), ("/clients/a", None)]),
        // A listing where the stream goes on, and an earlier revision.
        &|stream| stream.listed(&[("/clients/a", "a", 1)]),
        &|stream| stream.progress(3, None, 0),
    ];
    for (number, part) in parts.into_iter().enumerate() {
        let mut centre = ScriptedCentre::start().await;
        let edge = edge_of(&[&centre]);
        let mut watch = edge.store.watch("", Revision(4));
        let stream = centre.stream().await;
        stream.started(true);
        part(&stream);
        // The largest that records may be.
        let again = centre.stream().await;
        assert_eq!(again.start.after_revision, Some(4), "{number}");
        again.started(true);
        again.changed(6, &[("/clients/b", Some(&large[1..]))]);
        assert_eq!(next(&mut watch).await, Ok(batch(6, &[("/clients/b", Some(&large[1..]))])), "{number}");
    }
}

#[tokio::test]
async fn a_reader_that_takes_nothing_makes_the_stream_wait() {
    let mut centre = ScriptedCentre::start().await;
    let edge = edge_of(&[&centre]);
    let (revision, stream) = edge.listed(&mut centre, |stream| stream.lists(&[], 4)).await;
    let value = "x".repeat(32 * 1024);
    for change in 1..=2_000 {
        stream.changed(4 + change, &[("/clients/a", Some(&value))]);
    }
    // All of it comes, in its order, once the reader reads.
    let mut watch = edge.store.watch("", revision);
    for change in 1..=2_000 {
        assert_eq!(next(&mut watch).await.unwrap().revision, Revision(4 + change));
    }
}

#[tokio::test]
async fn nothing_is_written_and_nothing_else_is_read() {
    let centre = ScriptedCentre::start().await;
    let edge = edge_of(&[&centre]);
    let refused = |error: StoreError| matches!(error, StoreError::Unavailable(cause) if cause.contains("an edge"));
    assert!(refused(edge.store.put("/clients/a", b"a".to_vec(), Expected::Any).await.unwrap_err()));
    assert!(refused(edge.store.delete("/clients/a", Expected::Any).await.unwrap_err()));
    assert!(refused(edge.store.get("/clients/a").await.unwrap_err()));
    assert!(refused(edge.store.key_revisions("", 1).await.unwrap_err()));
    assert!(!centre.has_stream());
}
