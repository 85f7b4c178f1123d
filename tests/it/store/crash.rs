//! kill -9 in the middle of writing and of opening: what was acknowledged is there, and nothing that was not asked for.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lanyard::authority::store::Expected;
use lanyard::authority::store::Revision;
use lanyard::authority::store::Store;
use lanyard::authority::store::Transaction;
use lanyard::store::sled::Disk;
use tokio::task::JoinSet;

use crate::store::durability::AcknowledgesBeforeTheFlush;
use crate::store::durability::open_on;
use crate::support::test_process::Chance;
use crate::support::test_process::Process;
use crate::support::test_process::let_pass;
use crate::support::test_process::open;
use crate::support::test_process::own_directory;
use crate::support::test_process::say;

const WRITERS: u64 = 8;
const KEYS: u64 = 12;
/// How many keys each writer only ever writes together.
const TOGETHER: u64 = 4;
const SEED: &str = "LANYARD_TEST_SEED";
const MUTANT: &str = "LANYARD_TEST_MUTANT";

/// The value that is meant by a number and a length: both sides can make it.
fn value(number: u64, length: u64) -> Vec<u8> {
    format!("{{\"number\":{number},\"pad\":\"{}\"}}", "x".repeat(usize::try_from(length).unwrap())).into_bytes()
}

/// The keys under a name that are only ever written together.
fn keys_of(together: &str) -> impl Iterator<Item = String> {
    (0..TOGETHER).map(move |n| format!("{together}/{n}"))
}

/// Eight writers that never stop. Each has keys of its own, and says what it is about to do and what was acknowledged.
#[test]
#[ignore = "a process that other tests start"]
fn writer_process() {
    let Some(directory) = own_directory() else { return };
    let seed = std::env::var_os(SEED).unwrap().into_string().unwrap().parse::<u64>().unwrap();
    say("opening");
    let store = if std::env::var_os(MUTANT).is_some() {
        open_on(&directory, AcknowledgesBeforeTheFlush { disk: Disk, batches: 0 })
    } else {
        open_on(&directory, Disk)
    };
    say("opened");
    let store: Arc<dyn Store> = Arc::new(store);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            writers.spawn(write_for_ever(Arc::clone(&store), writer, Chance::seeded(seed * WRITERS + writer)));
        }
        writers.join_all().await;
    });
}

async fn write_for_ever(store: Arc<dyn Store>, writer: u64, mut chance: Chance) {
    loop {
        if chance.below(4) == 0 {
            write_together(&*store, &format!("/{writer}/all"), &mut chance).await;
            continue;
        }
        let key = format!("/{writer}/{}", chance.below(KEYS));
        let present = store.get(&key).await.unwrap().map(|entry| entry.revision);
        let expected = present.map_or(Expected::Absent, Expected::At);
        let revision = if present.is_some() && chance.below(4) == 0 {
            say(&format!("delete {key}"));
            store.delete(&key, expected).await.unwrap()
        } else {
            let longest = if chance.below(20) == 0 { 60_000 } else { 2_000 };
            let (number, length) = (chance.below(1 << 40), chance.below(longest));
            say(&format!("put {key} {number} {length}"));
            store.put(&key, value(number, length), expected).await.unwrap()
        };
        say(&format!("done {key} {}", revision.0));
    }
}

/// One transaction over all keys under a name: all of them get one value, or are deleted.
async fn write_together(store: &dyn Store, name: &str, chance: &mut Chance) {
    let mut transaction = Transaction::default();
    let deletes = store.get(&format!("{name}/0")).await.unwrap().is_some() && chance.below(4) == 0;
    let longest = if chance.below(20) == 0 { 60_000 } else { 2_000 };
    let (number, length) = (chance.below(1 << 40), chance.below(longest));
    for key in keys_of(name) {
        let present = store.get(&key).await.unwrap().map(|entry| entry.revision);
        transaction = transaction.compare(&key, present.map_or(Expected::Absent, Expected::At));
        transaction = if deletes { transaction.delete(&key) } else { transaction.put(&key, value(number, length)) };
    }
    say(&if deletes { format!("delete-all {name}") } else { format!("put-all {name} {number} {length}") });
    let revision = store.transact(transaction).await.unwrap();
    say(&format!("done-all {name} {}", revision.0));
}

type State = BTreeMap<String, (Vec<u8>, u64)>;

/// What the store must hold: what was acknowledged, or at a key where more was asked for, that.
#[derive(Default)]
struct Oracle {
    state: State,
    /// The values asked for at a key since its last acknowledgement; `None` for a deletion. More than one if several
    /// processes were killed in a row.
    asked: BTreeMap<String, Vec<Option<Vec<u8>>>>,
    newest: u64,
}

impl Oracle {
    fn hear(&mut self, line: &str) -> Result<(), String> {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["opening" | "opened"] => {}
            ["delete", key] => self.ask(key.to_owned(), None),
            ["put", key, number, length] => {
                let value = value(number.parse().unwrap(), length.parse().unwrap());
                self.ask(key.to_owned(), Some(value));
            }
            ["done", key, revision] => self.acknowledge(key, revision.parse().unwrap()),
            ["delete-all", name] => keys_of(name).for_each(|key| self.ask(key, None)),
            ["put-all", name, number, length] => {
                let value = value(number.parse().unwrap(), length.parse().unwrap());
                keys_of(name).for_each(|key| self.ask(key, Some(value.clone())));
            }
            ["done-all", name, revision] => {
                keys_of(name).for_each(|key| self.acknowledge(&key, revision.parse().unwrap()));
            }
            _ => return Err(format!("the writer said: {line}")),
        }
        Ok(())
    }

    fn ask(&mut self, key: String, value: Option<Vec<u8>>) {
        self.asked.entry(key).or_default().push(value);
    }

    fn acknowledge(&mut self, key: &str, revision: u64) {
        match self.asked.remove(key).unwrap().pop().unwrap() {
            Some(value) => drop(self.state.insert(key.to_owned(), (value, revision))),
            None => drop(self.state.remove(key)),
        }
        self.newest = self.newest.max(revision);
    }

    /// Compares, and takes over what became of the writes that were not acknowledged.
    async fn check(&mut self, store: &dyn Store) -> Result<(), String> {
        let listing = store.list("").await.unwrap();
        if listing.revision.0 < self.newest {
            return Err(format!("revision {} where {} was acknowledged", listing.revision.0, self.newest));
        }
        let present = listing.entries.into_iter().map(|(key, entry)| (key, (entry.value.to_vec(), entry.revision.0)));
        let mut present: State = present.collect();
        // Acknowledged or not, a transaction is there whole or not at all.
        for name in (0..WRITERS).map(|writer| format!("/{writer}/all")) {
            let mut found = keys_of(&name).map(|key| present.get(&key));
            let first = found.next().unwrap();
            if found.any(|other| other != first) {
                return Err(format!("under {name} there is a part of a transaction"));
            }
        }
        for (key, asked) in std::mem::take(&mut self.asked) {
            let found = present.get(&key);
            if found == self.state.get(&key) {
                continue;
            }
            let newer = found.is_none_or(|(_, revision)| *revision > self.newest_at(&key));
            let found_value = found.map(|(value, _)| value);
            if !asked.iter().any(|asked| asked.as_ref() == found_value) || !newer {
                return Err(format!("{key} is neither as it was acknowledged nor as it was asked for"));
            }
            match present.get(&key).cloned() {
                Some(found) => drop(self.state.insert(key, found)),
                None => drop(self.state.remove(&key)),
            }
        }
        for (key, expected) in &self.state {
            if present.remove(key).as_ref() != Some(expected) {
                return Err(format!("{key} is not as it was acknowledged"));
            }
        }
        if let Some(key) = present.keys().next() {
            return Err(format!("{key} is there and was not asked for"));
        }
        let next = store.put("/probe", b"1".to_vec(), Expected::Any).await.map_err(|error| error.to_string())?;
        if next != Revision(listing.revision.0 + 1) {
            return Err(format!("revision {} came after {}", next.0, listing.revision.0));
        }
        self.newest = next.0;
        self.state.insert("/probe".to_owned(), (b"1".to_vec(), next.0));
        Ok(())
    }

    fn newest_at(&self, key: &str) -> u64 {
        self.state.get(key).map_or(0, |(_, revision)| *revision)
    }
}

/// Kills writers of one store at `rounds` random moments, some of them while they are opening, and checks after each.
async fn survives(rounds: u64, seed: u64, mutant: bool) -> Result<(), String> {
    let directory = tempfile::tempdir().unwrap();
    let mut chance = Chance::seeded(seed);
    let mut oracle = Oracle::default();
    for round in 0..rounds {
        for _ in 0..chance.below(3) {
            let process = start(directory.path(), &mut chance, mutant);
            hear_until_opening(&process, &mut oracle)?;
            let_pass(Duration::from_micros(chance.below(20_000)));
            hear_all(&process.kill(), &mut oracle)?;
        }
        let process = start(directory.path(), &mut chance, mutant);
        let mut acknowledged = chance.below(300);
        while acknowledged > 0 {
            let line = process.next_line().ok_or("the writer fell silent")?;
            oracle.hear(&line)?;
            acknowledged -= u64::from(line.starts_with("done"));
        }
        let_pass(Duration::from_micros(chance.below(3_000)));
        hear_all(&process.kill(), &mut oracle)?;
        let store = open(directory.path()).map_err(|error| format!("round {round}: {error}"))?;
        oracle.check(&store).await.map_err(|wrong| format!("round {round}: {wrong}"))?;
    }
    Ok(())
}

fn start(directory: &Path, chance: &mut Chance, mutant: bool) -> Process {
    let seed = chance.below(1 << 40).to_string();
    let mut variables = vec![(SEED, seed.as_ref())];
    if mutant {
        variables.push((MUTANT, "1".as_ref()));
    }
    Process::start("store::crash::writer_process", directory, &variables)
}

fn hear_until_opening(process: &Process, oracle: &mut Oracle) -> Result<(), String> {
    let line = process.next_line().ok_or("the writer fell silent")?;
    if line == "opening" { Ok(()) } else { oracle.hear(&line) }
}

fn hear_all(lines: &[String], oracle: &mut Oracle) -> Result<(), String> {
    lines.iter().try_for_each(|line| oracle.hear(line))
}

async fn survives_with_a_new_seed(rounds: u64) {
    let seed = Chance::new_seed();
    println!("seed {seed}");
    assert_eq!(survives(rounds, seed, false).await, Ok(()), "seed {seed}");
}

#[tokio::test]
async fn what_was_acknowledged_outlives_kill_9_while_writing_and_while_opening() {
    survives_with_a_new_seed(10).await;
}

#[tokio::test]
#[ignore = "long: 200 rounds; .ci/run-long runs it"]
async fn what_was_acknowledged_outlives_a_long_row_of_kills() {
    survives_with_a_new_seed(200).await;
}

#[tokio::test]
async fn a_store_that_acknowledges_before_the_flush_does_not_outlive_kill_9() {
    survives(10, 1, true).await.unwrap_err();
}
