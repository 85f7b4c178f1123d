//! In which order a write reaches the disk and is acknowledged, and what happens when the disk fails.

use std::future::poll_fn;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::mpsc;
use std::task::Poll;
use std::time::Duration;

use lanyard::authority::store::Expected;
use lanyard::authority::store::Revision;
use lanyard::authority::store::Store;
use lanyard::authority::store::StoreError;
use lanyard::store::sled::Disk;
use lanyard::store::sled::Durability;
use lanyard::store::sled::SledOptions;
use lanyard::store::sled::SledStore;

use crate::support::test_process::open;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Event {
    Asked,
    Flushed,
    Synced,
    Acknowledged,
}

type Journal = Arc<Mutex<Vec<Event>>>;

/// The real disk, noting what is done to it.
#[derive(Debug)]
struct Noted(Journal);

impl Durability for Noted {
    fn flush(&mut self, flush: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()> {
        Disk.flush(flush)?;
        self.0.lock().unwrap().push(Event::Flushed);
        Ok(())
    }

    fn sync(&mut self, sync: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()> {
        Disk.sync(sync)?;
        self.0.lock().unwrap().push(Event::Synced);
        Ok(())
    }
}

/// The mutant that acknowledges before it flushes: of 16 batches the last one's flush takes the others along.
#[derive(Debug)]
pub(crate) struct AcknowledgesBeforeTheFlush<D> {
    pub(crate) disk: D,
    pub(crate) batches: u32,
}

impl<D: Durability> Durability for AcknowledgesBeforeTheFlush<D> {
    fn flush(&mut self, flush: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()> {
        self.batches += 1;
        if self.batches.is_multiple_of(16) { self.disk.flush(flush) } else { Ok(()) }
    }

    fn sync(&mut self, sync: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()> {
        self.disk.sync(sync)
    }
}

/// The mutant that takes sled's flush for a sync.
#[derive(Debug)]
struct SkipsTheSync<D>(D);

impl<D: Durability> Durability for SkipsTheSync<D> {
    fn flush(&mut self, flush: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()> {
        self.0.flush(flush)
    }

    fn sync(&mut self, _: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()> {
        Ok(())
    }
}

/// A disk that fails at one step, and counts how often it was asked.
#[derive(Debug)]
struct Fails {
    at: Event,
    asked: Arc<Mutex<u32>>,
}

impl Fails {
    fn step(&mut self, step: Event, real: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()> {
        if self.at != step {
            return real();
        }
        let mut asked = self.asked.lock().unwrap();
        *asked += 1;
        if *asked == 2 { Err(io::Error::other("no space left")) } else { real() }
    }
}

impl Durability for Fails {
    fn flush(&mut self, flush: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()> {
        self.step(Event::Flushed, flush)
    }

    fn sync(&mut self, sync: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()> {
        self.step(Event::Synced, sync)
    }
}

/// A disk that does not answer until it is let go.
#[derive(Debug)]
struct Hangs(mpsc::Receiver<()>);

impl Durability for Hangs {
    fn flush(&mut self, flush: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()> {
        assert!(self.0.recv().is_err());
        flush()
    }
}

pub(crate) fn open_on(directory: &Path, durability: impl Durability + 'static) -> SledStore {
    SledStore::open(directory, SledOptions { durability: Box::new(durability), ..SledOptions::default() }).unwrap()
}

/// One write after the other, as the disk and the one who asked see them; what is wrong with that, if anything is.
async fn writes_on(disk: impl FnOnce(Noted) -> Box<dyn Durability>) -> Result<(), String> {
    let directory = tempfile::tempdir().unwrap();
    let journal = Journal::default();
    let options = SledOptions { durability: disk(Noted(Arc::clone(&journal))), ..SledOptions::default() };
    let store = SledStore::open(directory.path(), options).unwrap();
    for n in 0..20 {
        journal.lock().unwrap().push(Event::Asked);
        let (key, value) = (format!("/clients/{}", n % 3), vec![b'1'; n * 1000]);
        if n % 4 == 3 {
            store.delete(&key, Expected::Any).await.unwrap();
        } else {
            store.put(&key, value, Expected::Any).await.unwrap();
        }
        journal.lock().unwrap().push(Event::Acknowledged);
    }
    let journal = journal.lock().unwrap();
    let right = [Event::Asked, Event::Flushed, Event::Synced, Event::Acknowledged];
    match journal.chunks(4).find(|write| *write != right) {
        Some(wrong) => Err(format!("{wrong:?}")),
        None => Ok(()),
    }
}

#[tokio::test]
async fn every_write_is_flushed_then_synced_then_acknowledged() {
    assert_eq!(writes_on(|noted| Box::new(noted)).await, Ok(()));
}

#[tokio::test]
async fn a_store_that_acknowledges_before_the_flush_would_be_noticed() {
    writes_on(|disk| Box::new(AcknowledgesBeforeTheFlush { disk, batches: 0 })).await.unwrap_err();
}

#[tokio::test]
async fn a_store_that_skips_the_sync_would_be_noticed() {
    writes_on(|noted| Box::new(SkipsTheSync(noted))).await.unwrap_err();
}

#[tokio::test]
async fn the_mark_names_each_write_by_the_time_it_is_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).unwrap();
    for _ in 0..5 {
        let revision = store.put("/clients/a", b"1".to_vec(), Expected::Any).await.unwrap();
        let mark = std::fs::read_to_string(directory.path().join("MARK")).unwrap();
        assert!(mark.contains(&format!("\"revision\":{},", revision.0)), "{mark}");
    }
}

/// The second write meets the failure; the third must not reach the disk again.
async fn a_failed_step_stops_all_writes(at: Event) {
    let directory = tempfile::tempdir().unwrap();
    let asked = Arc::new(Mutex::new(0));
    let store = open_on(directory.path(), Fails { at, asked: Arc::clone(&asked) });
    let first = store.put("/clients/a", b"1".to_vec(), Expected::Any).await.unwrap();
    store.health().unwrap();

    let failed = store.put("/clients/a", b"2".to_vec(), Expected::Any).await.unwrap_err();
    assert_eq!(failed, StoreError::Unavailable("a write to the disk failed: no space left".to_owned()));
    assert_eq!(store.health(), Err(failed.clone()));
    assert_eq!(store.put("/clients/b", b"3".to_vec(), Expected::Any).await, Err(failed.clone()));
    assert_eq!(store.delete("/clients/a", Expected::Any).await, Err(failed));
    assert_eq!(*asked.lock().unwrap(), 2, "a failed step is never tried again");

    let read = store.get("/clients/a").await.unwrap().unwrap();
    assert_eq!((&*read.value, read.revision), (&b"1"[..], first), "reads go on, and show what was acknowledged");
    drop(store);
    let listing = open(directory.path()).unwrap().list("").await.unwrap();
    let (key, entry) = &listing.entries[0];
    assert!(key == "/clients/a" && (entry.revision == first || entry.revision == Revision(first.0 + 1)), "{listing:?}");
    assert_eq!(listing.entries.len(), 1);
}

#[tokio::test]
async fn a_failed_flush_stops_all_writes_until_the_store_is_opened_again() {
    a_failed_step_stops_all_writes(Event::Flushed).await;
}

#[tokio::test]
async fn a_failed_sync_stops_all_writes_until_the_store_is_opened_again() {
    a_failed_step_stops_all_writes(Event::Synced).await;
}

#[tokio::test]
async fn a_disk_that_hangs_fails_the_writes_that_wait_for_it_and_those_after() {
    let directory = tempfile::tempdir().unwrap();
    let (let_go, hung) = mpsc::channel();
    let options = SledOptions {
        flush_limit: Duration::from_millis(100),
        durability: Box::new(Hangs(hung)),
        ..SledOptions::default()
    };
    let store = SledStore::open(directory.path(), options).unwrap();
    let (first, second) = tokio::join!(
        store.put("/clients/a", b"1".to_vec(), Expected::Any),
        store.put("/clients/b", b"2".to_vec(), Expected::Any),
    );
    let slow = Err(StoreError::Unavailable("a write to the disk took longer than 100ms".to_owned()));
    assert_eq!((first, second), (slow.clone(), slow.clone()));
    assert_eq!(store.put("/clients/c", b"3".to_vec(), Expected::Any).await, slow);
    assert_eq!(store.health(), slow.map(drop));
    assert_eq!(store.list("").await.unwrap().entries, []);
    drop(let_go);
}

#[tokio::test]
async fn writes_that_are_queued_when_the_store_is_dropped_are_still_done() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).unwrap();
    for n in 0..100 {
        let key = format!("/clients/{n}");
        let mut put = store.put(&key, b"1".to_vec(), Expected::Any);
        // After its first poll it is in the queue. Nobody waits for the answer.
        poll_fn(|context| Poll::Ready(put.as_mut().poll(context).is_ready())).await;
    }
    drop(store);
    assert_eq!(open(directory.path()).unwrap().list("").await.unwrap().entries.len(), 100);
}

#[tokio::test]
async fn revisions_grow_over_restarts_and_deletions() {
    let directory = tempfile::tempdir().unwrap();
    let mut last = Revision(0);
    for round in 0..4 {
        let store = open(directory.path()).unwrap();
        assert_eq!(store.list("").await.unwrap().revision, last);
        assert!(round == 0 || store.put("/clients/a", b"0".to_vec(), Expected::At(last)).await.is_err());
        let put = store.put("/clients/a", b"1".to_vec(), Expected::Absent).await.unwrap();
        let deleted = store.delete("/clients/a", Expected::At(put)).await.unwrap();
        assert!(last < put && put < deleted);
        last = deleted;
    }
}
