//! What a destination that fails or is slow loses, and what the chain says of it.

use std::sync::mpsc;
use std::sync::mpsc::Receiver;
use std::sync::mpsc::Sender;

use super::*;
use crate::authority::clock::ManualClock;
use crate::telemetry::trail::chain::ChainEnd;
use crate::telemetry::trail::chain::STOPPED;
use crate::telemetry::trail::verify::Expected;
use crate::telemetry::trail::verify::Lost;
use crate::telemetry::trail::verify::Verified;
use crate::telemetry::trail::verify::verify;

/// Delivers as it is told, and keeps what it delivered.
struct Told {
    asked: Sender<()>,
    outcomes: Receiver<Result<(), NotDelivered>>,
    delivered: Sender<Vec<u8>>,
}

impl Deliver for Told {
    fn deliver(&mut self, batch: &[Arc<Lines>]) -> Result<(), NotDelivered> {
        self.asked.send(()).unwrap();
        self.outcomes.recv().unwrap()?;
        self.delivered.send(batch.iter().flat_map(|lines| lines.text().to_vec()).collect()).unwrap();
        Ok(())
    }
}

/// A chain with one destination.
struct Fixture {
    chain: ChainEnd,
    sequence: u64,
    destination: Arc<Destination>,
    asked: Receiver<()>,
    outcomes: Sender<Result<(), NotDelivered>>,
    delivered: Receiver<Vec<u8>>,
}

impl Fixture {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp(1)));
        let destination = Arc::new(Destination::new("stdout", clock, None));
        let ((outcomes, told), (kept, delivered)) = (mpsc::channel(), mpsc::channel());
        let (asks, asked) = mpsc::channel();
        destination.start(Told { asked: asks, outcomes: told, delivered: kept }).unwrap();
        let chain = ChainEnd::new("a-1-b", None);
        Self { chain, sequence: 0, destination, asked, outcomes, delivered }
    }

    fn push(&mut self, event: &'static str) {
        self.sequence += 1;
        self.chain.push_event(self.sequence, Timestamp(1), event);
        self.destination.push(&self.chain.take(BATCH)[0]);
    }

    fn push_gaps(&mut self, is_end: bool) -> Vec<(u64, u64)> {
        let gaps = self.destination.take_gaps(is_end);
        for gap in gaps.clone() {
            self.sequence += 1;
            self.chain.push_gap(self.sequence, Timestamp(1), gap);
            self.destination.push(&self.chain.take(BATCH)[0]);
        }
        gaps.into_iter().map(|gap| (gap.first, gap.last)).collect()
    }

    /// Ends the chain, with everything delivered from now on, and returns all that was delivered.
    fn finish(mut self) -> (Vec<u8>, Counts) {
        self.push(STOPPED);
        self.destination.close();
        // More than there can be batches.
        (0..1024).for_each(|_| drop(self.outcomes.send(Ok(()))));
        self.destination.wait(Duration::from_mins(1));
        (self.delivered.try_iter().flatten().collect(), self.destination.counts())
    }
}

fn judge(text: &[u8], from: &str) -> Verified {
    verify(&[("saved".to_owned(), text.to_vec())], Expected { key: None, heads: &[], from })
}

#[test]
fn what_a_full_queue_loses_is_counted_and_is_a_gap_that_the_chain_itself_explains() {
    let mut fixture = Fixture::new();
    fixture.push("started");
    // The thread is at work on the first line: the queue has room for as many as it takes.
    fixture.asked.recv_timeout(Duration::from_mins(1)).unwrap();
    for _ in 0..MAX_LINES + 100 {
        fixture.push("test");
    }
    let (first, last) = (MAX_LINES as u64 + 2, MAX_LINES as u64 + 101);
    assert_eq!(fixture.destination.counts().lost, 100);
    assert_eq!(fixture.push_gaps(false), [], "the line that says so would be lost, too");
    // One batch at a time, until half of the queue is free.
    let mut text = Vec::new();
    let mut gaps = Vec::new();
    while gaps.is_empty() {
        fixture.outcomes.send(Ok(())).unwrap();
        text.extend(fixture.delivered.recv_timeout(Duration::from_mins(1)).unwrap());
        gaps = fixture.push_gaps(false);
    }
    assert_eq!(gaps, [(first, last)]);
    fixture.push("test");
    let (rest, counts) = fixture.finish();
    text.extend(rest);
    assert_eq!((counts.lost, counts.written), (100, MAX_LINES as u64 + 4));
    let found = judge(&text, "stdout");
    assert_eq!((found.faults.as_slice(), found.chains[0].has_ended), (&[][..], true));
    assert_eq!(found.chains[0].not_copied, [Lost { first, last }]);
    // Another destination did get them.
    let problem = "the records before this one are missing, and it was another destination that did not get them";
    assert_eq!(judge(&text, "file").faults.first().map(|fault| fault.problem), Some(problem));
    // One more that is missing beside them is no gap of the chain's.
    let number = format!("\"sequence\":{},", first - 1);
    let lines = text.split_inclusive(|byte| *byte == b'\n');
    let less: Vec<u8> =
        lines.filter(|line| !String::from_utf8_lossy(line).contains(&number)).flatten().copied().collect();
    let problem = "the record before this one was removed, changed or moved";
    assert_eq!(judge(&less, "stdout").faults.first().map(|fault| fault.problem), Some(problem));
}

#[test]
fn what_was_refused_is_said_once_lines_are_delivered_again_and_what_failed_is_sent_again() {
    let mut fixture = Fixture::new();
    let refused = || Err(NotDelivered::Ever("refused".to_owned(), Delivered::NOTHING));
    fixture.outcomes.send(refused()).unwrap();
    fixture.push("started");
    // Until the batch was refused.
    while fixture.destination.counts().lost == 0 {
        thread::yield_now();
    }
    assert_eq!(fixture.push_gaps(false), []);
    fixture.outcomes.send(Err(NotDelivered::Yet("away".to_owned()))).unwrap();
    fixture.outcomes.send(Ok(())).unwrap();
    fixture.push("test");
    let text = fixture.delivered.recv_timeout(Duration::from_mins(1)).unwrap();
    while fixture.destination.counts().written == 0 {
        thread::yield_now();
    }
    assert_eq!(fixture.push_gaps(false), [(1, 1)]);
    assert_eq!(String::from_utf8_lossy(&text).lines().count(), 1);
    assert_eq!(fixture.destination.last().map(|(line, _)| line.about.sequence), Some(2));
    let (_, counts) = fixture.finish();
    assert_eq!((counts.written, counts.lost), (3, 1));
}

#[test]
fn a_gap_that_the_chain_tells_in_two_pieces_is_no_removal_and_one_piece_alone_does_not_explain_it() {
    let mut chain = ChainEnd::new("a-1-b", None);
    let mut next = |add: &dyn Fn(&mut ChainEnd)| {
        add(&mut chain);
        chain.take(BATCH).remove(0)
    };
    let event = |number: u64, event: &'static str| {
        move |chain: &mut ChainEnd| {
            chain.push_event(number, Timestamp(1), event);
        }
    };
    let lines =
        [(1, "started"), (2, "test"), (3, "test"), (4, "test")].map(|(number, name)| next(&event(number, name)));
    let hash = |number: usize| lines[number - 1].last().unwrap().hash.to_text();
    let gap = |first: usize, last: usize| Gap {
        destination: "stdout".to_owned(),
        first: first as u64,
        last: last as u64,
        before: hash(first - 1),
        hash: hash(last),
    };
    let told = |number: u64, gap: Gap| {
        move |chain: &mut ChainEnd| {
            chain.push_gap(number, Timestamp(1), gap.clone());
        }
    };
    let (one, other) = (next(&told(5, gap(2, 3))), next(&told(6, gap(4, 4))));
    let stopped = next(&event(7, STOPPED));
    let text = [&lines[0], &one, &other, &stopped].map(|lines| lines.text().to_vec()).concat();
    let found = judge(&text, "stdout");
    assert_eq!(found.faults, []);
    assert_eq!(found.chains[0].not_copied, [Lost { first: 2, last: 3 }, Lost { first: 4, last: 4 }]);
    let problem = "the records before this one are missing, and it was another destination that did not get them";
    assert_eq!(judge(&text, "file").faults.first().map(|fault| fault.problem), Some(problem));
    // Without the line that tells of the second piece.
    let text = [&lines[0], &one, &stopped].map(|lines| lines.text().to_vec()).concat();
    let problem = "the record before this one was removed, changed or moved";
    assert_eq!(judge(&text, "stdout").faults.first().map(|fault| fault.problem), Some(problem));
}

#[test]
fn of_a_batch_that_was_delivered_in_part_only_the_rest_is_told_as_missing() {
    for (delivered, gap) in [(Delivered::First(3), (5, 5)), (Delivered::AllBut(1), (2, 5))] {
        let mut fixture = Fixture::new();
        fixture.push("started");
        fixture.asked.recv_timeout(Duration::from_mins(1)).unwrap();
        // They wait for the first one, and are one batch.
        (0..4).for_each(|_| fixture.push("test"));
        fixture.outcomes.send(Ok(())).unwrap();
        fixture.outcomes.send(Err(NotDelivered::Ever("refused".to_owned(), delivered))).unwrap();
        while fixture.destination.counts().lost == 0 {
            thread::yield_now();
        }
        assert_eq!(fixture.destination.counts(), Counts { written: 4, lost: 1 });
        fixture.outcomes.send(Ok(())).unwrap();
        fixture.push("test");
        while fixture.destination.counts().written < 5 {
            thread::yield_now();
        }
        assert_eq!(fixture.push_gaps(false), [gap], "{delivered:?}");
        assert_eq!(fixture.finish().1, Counts { written: 7, lost: 1 });
    }
}

#[test]
fn the_part_of_a_line_that_arrived_before_a_gap_is_no_record_that_was_changed() {
    let mut chain = ChainEnd::new("a-1-b", None);
    let lines = [(1, "started"), (2, "test"), (3, "test")].map(|(number, event)| {
        chain.push_event(number, Timestamp(1), event);
        chain.take(BATCH).remove(0)
    });
    let hash = |number: usize| lines[number - 1].last().unwrap().hash.to_text();
    let gap = Gap { destination: "stdout".to_owned(), first: 2, last: 3, before: hash(1), hash: hash(3) };
    chain.push_gap(4, Timestamp(1), gap);
    chain.push_event(5, Timestamp(1), STOPPED);
    let (part, rest) = (&lines[1].text()[..40], chain.take(BATCH).remove(0));
    let text = [lines[0].text(), part, b"\n", rest.text()].concat();
    let found = judge(&text, "stdout");
    assert_eq!(
        (found.faults.as_slice(), found.chains[0].not_copied.as_slice()),
        (&[][..], &[Lost { first: 2, last: 3 }][..])
    );
    // Another destination was not cut off there, and where nothing is missing a part of a line was put in.
    let places = |text: &[u8], from| judge(text, from).faults.iter().map(|fault| fault.line).collect::<Vec<_>>();
    assert_eq!(places(&text, "file"), [2, 3]);
    let whole = [lines[0].text(), part, b"\n", lines[1].text(), lines[2].text(), rest.text()].concat();
    assert_eq!(places(&whole, "stdout"), [2]);
}
