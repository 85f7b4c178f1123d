//! Whether files of the audit trail are as they were written.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::authority::clock::Timestamp;
use crate::authority::observe::AuditHead;
use crate::telemetry::trail::chain::Gap;
use crate::telemetry::trail::chain::Link;
use crate::telemetry::trail::chain::NOT_COPIED;
use crate::telemetry::trail::chain::OfChain;
use crate::telemetry::trail::chain::SIGNED;
use crate::telemetry::trail::chain::STARTED;
use crate::telemetry::trail::chain::STOPPED;
use crate::telemetry::trail::chain::hash;
use crate::telemetry::trail::key::HeadVerifier;
use crate::telemetry::trail::read::record_in;

/// What is wrong with a line that begins as a record does and cannot be read.
const NO_RECORD: &str = "this is no record";

/// What was found in the files.
#[derive(Debug, Default, PartialEq)]
pub struct Verified {
    /// The chains, by their names.
    pub chains: Vec<Chain>,
    /// What is wrong, and where.
    pub faults: Vec<Fault>,
    /// The chains that the store has a head of, no older than the files, and that no file has a record of.
    pub missing: Vec<AuditHead>,
    /// The lines that are not of the trail, such as those of the log.
    pub others: Vec<Others>,
}

/// Lines of a file that are not of the trail.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Others {
    /// The file.
    pub file: String,
    /// The first of them, from 1 on.
    pub line: usize,
    /// How many there are.
    pub count: usize,
}

/// A chain, as far as the files have it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chain {
    /// Its name.
    pub name: String,
    /// The number of its first record in the files. Where it is not 1, those before are in other files.
    pub first: u64,
    /// The number of its last record in the files.
    pub last: u64,
    /// The number of the last record that a signature covers, which was verified; `None` without a key.
    pub signed: Option<u64>,
    /// The number of its last record that the store has, which is the one in the files; `None` where no head was given.
    pub kept: Option<u64>,
    /// Whether the server ended it. Where not, records after the last may be missing.
    pub has_ended: bool,
    /// The records that the server could not write anywhere: too many came at once.
    pub lost: Vec<Lost>,
    /// The records that these files have not got, as a later record says: they are elsewhere.
    pub not_copied: Vec<Lost>,
}

impl Chain {
    /// Whether a record is one that these files have not got, as the chain says.
    fn lacks(&self, sequence: u64) -> bool {
        self.not_copied.iter().any(|lost| (lost.first..=lost.last).contains(&sequence))
    }
}

/// Records that are missing, and of which the chain says so.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Lost {
    /// The first of them.
    pub first: u64,
    /// The last of them.
    pub last: u64,
}

/// A place where a file is not as it was written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Fault {
    /// The file.
    pub file: String,
    /// The line in it, from 1 on.
    pub line: usize,
    /// What is wrong there.
    pub problem: &'static str,
}

/// A line with the place where it is.
struct Placed<'a> {
    file: &'a str,
    line: usize,
    /// The line before it, which begins as a record does and is none.
    cut: Option<usize>,
    link: Link,
    of_chain: OfChain,
    hash: String,
}

#[derive(Deserialize)]
struct Read {
    #[serde(flatten)]
    link: Link,
    #[serde(flatten)]
    of_chain: OfChain,
}

/// What files are compared with.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The keys that signed them; `None`: no signature is verified.
    pub key: Option<&'a HeadVerifier>,
    /// The heads that the store has.
    pub heads: &'a [AuditHead],
    /// The destination that they are from, `file`, `stdout` or `otlp`: it alone may lack what it did not get.
    pub from: &'a str,
}

/// Verifies files, each with its name, in any order.
pub fn verify(files: &[(String, Vec<u8>)], expected: Expected<'_>) -> Verified {
    let heads = expected.heads;
    let mut found = Verified::default();
    let heads: BTreeMap<&str, &AuditHead> = heads.iter().map(|head| (head.chain.as_str(), head)).collect();
    // The files that have a part of each chain, by the number with which the part begins.
    let mut parts: BTreeMap<String, Vec<Vec<Placed<'_>>>> = BTreeMap::new();
    for (file, text) in files {
        let (of_file, others) = parts_of(file, text, &mut found.faults);
        found.others.extend(others);
        for part in of_file {
            if let Some(first) = part.first() {
                parts.entry(first.link.chain.clone()).or_default().push(part);
            }
        }
    }
    let begin = parts.values().flatten().flatten().map(|placed| placed.link.time).min();
    let absent = heads.values().filter(|head| !parts.contains_key(&head.chain));
    // The files from before may have been deleted, as configured.
    let absent = absent.filter(|head| begin.is_none_or(|begin: Timestamp| head.time >= begin));
    found.missing = absent.map(|head| AuditHead::clone(head)).collect();
    for (name, mut parts) in parts {
        parts.sort_by_key(|part| part.first().map_or(0, |first| first.link.sequence));
        let head = heads.get(name.as_str()).copied();
        let chain = chain_of(name, parts.into_iter().flatten(), (expected, head), &mut found.faults);
        found.chains.push(chain);
    }
    found.faults.sort_by(|one, other| (&one.file, one.line).cmp(&(&other.file, other.line)));
    found
}

/// The lines of a file, apart for each run of lines of one chain, and those that are not of the trail.
fn parts_of<'a>(file: &'a str, text: &[u8], faults: &mut Vec<Fault>) -> (Vec<Vec<Placed<'a>>>, Option<Others>) {
    let mut parts: Vec<Vec<Placed<'_>>> = Vec::new();
    let mut others: Option<Others> = None;
    let mut lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    // After the end of the last line there is nothing.
    if lines.last().is_some_and(|last| last.is_empty()) {
        lines.pop();
    }
    let mut cut = None;
    for (number, line) in lines.into_iter().enumerate() {
        let mut wrong = |line, problem| faults.push(Fault { file: file.to_owned(), line, problem });
        let Some(line) = record_in(line) else {
            others.get_or_insert_with(|| Others { file: file.to_owned(), line: number + 1, count: 0 }).count += 1;
            continue;
        };
        let Ok(Read { link, of_chain }) = serde_json::from_slice::<Read>(line) else {
            // A crash cuts off the last line of its chain. Whether this one is the last shows with the next.
            if let Some(before) = cut.replace(number + 1) {
                wrong(before, NO_RECORD);
            }
            continue;
        };
        let cut = cut.take().filter(|_| of_chain.event != STARTED);
        let placed = Placed { file, line: number + 1, cut, hash: hash(line), link, of_chain };
        match parts.last_mut() {
            Some(part) if part.last().is_some_and(|last| last.link.chain == placed.link.chain) => part.push(placed),
            Some(_) | None => parts.push(vec![placed]),
        }
    }
    (parts, others)
}

/// What is wrong with the end of a chain, where the record that the store has the hash of is not in the files. `has_number`:
/// whether there is one of its number.
fn missing(chain: &Chain, head: &AuditHead, has_number: bool) -> Option<&'static str> {
    if head.sequence > chain.last {
        Some("the records after this one were cut off: the store has the hash of a later one")
    } else if !has_number && head.sequence >= chain.first && !chain.lacks(head.sequence) {
        Some("the record that the store has the hash of is missing before this one")
    } else if head.has_ended && chain.last > head.sequence {
        Some("this record is after the one with which the server ended the chain, by the store")
    } else {
        None
    }
}

/// A line that does not follow the one before it.
struct Break<'a> {
    file: &'a str,
    line: usize,
    /// The line before it, which begins as a record does and is none.
    cut: Option<usize>,
    /// The hash of the line before it.
    before: String,
    /// The hash that it names.
    until: String,
}

impl Break<'_> {
    /// What is missing here, if these gaps say that it was not delivered: in one piece, or in several that follow one another.
    fn told<'g>(&self, gaps: &(impl Iterator<Item = &'g Gap> + Clone)) -> Option<Vec<Lost>> {
        let (mut at, mut told) = (&self.before, Vec::new());
        // No more pieces than gaps: what was forged may lead in a circle.
        for _ in gaps.clone() {
            let gap = gaps.clone().find(|gap| gap.before == *at)?;
            told.push(Lost { first: gap.first, last: gap.last });
            at = &gap.hash;
            if *at == self.until {
                return Some(told);
            }
        }
        None
    }
}

fn chain_of<'a>(
    name: String,
    lines: impl Iterator<Item = Placed<'a>>,
    (Expected { key, from, .. }, head): (Expected<'_>, Option<&AuditHead>),
    faults: &mut Vec<Fault>,
) -> Chain {
    let mut chain = Chain { name, ..Chain::default() };
    let mut before: Option<(u64, String)> = None;
    let (mut last, mut has_number) = (None, false);
    let (mut breaks, mut gaps): (Vec<Break<'_>>, Vec<Gap>) = (Vec::new(), Vec::new());
    for Placed { file, line, cut, link, of_chain, hash } in lines {
        let Link { sequence, previous, .. } = link;
        let begins = of_chain.event == STARTED;
        // The line that a destination got in part, and those behind it, are missing between the records on both sides of it.
        let is_broken = before.as_ref().is_some_and(|(_, expected)| *expected != previous);
        if let Some(line) = cut.filter(|_| !is_broken) {
            faults.push(Fault { file: file.to_owned(), line, problem: NO_RECORD });
        }
        let mut wrong = |problem| faults.push(Fault { file: file.to_owned(), line, problem });
        match &before {
            None => {
                chain.first = sequence;
                if (sequence == 1) != begins || (sequence == 1) != previous.is_empty() {
                    wrong("this is not the first record of its chain");
                }
            }
            Some((last, expected)) => {
                if previous != *expected {
                    // Whether a destination did not get what is missing says a later record.
                    breaks.push(Break { file, line, cut, before: expected.clone(), until: previous });
                } else if sequence <= *last || begins {
                    wrong("the number of this record is not after that of the record before");
                } else if sequence > last + 1 {
                    chain.lost.push(Lost { first: last + 1, last: sequence - 1 });
                }
            }
        }
        if chain.has_ended && of_chain.event != SIGNED {
            wrong("this record is after the end of its chain");
        }
        chain.has_ended |= of_chain.event == STOPPED;
        if let (SIGNED, Some(key), Some((last, expected))) = (of_chain.event.as_str(), key, &before) {
            let (name, signature) = (of_chain.key.unwrap_or_default(), of_chain.signature.unwrap_or_default());
            if key.has_signed(&name, &chain.name, (*last, expected), &signature) {
                chain.signed = Some(*last);
            } else {
                wrong("the signature is not that of the key over the record before");
            }
        }
        gaps.extend(of_chain.gap.filter(|_| of_chain.event == NOT_COPIED));
        if let Some(head) = head.filter(|head| head.sequence == sequence) {
            has_number = true;
            if head.hash == hash {
                chain.kept = Some(sequence);
            } else {
                wrong("this is not the record of that number that the store has the hash of");
            }
        }
        chain.last = chain.last.max(sequence);
        last = Some((file, line));
        before = Some((sequence, hash));
    }
    for found in breaks {
        if let Some(told) = found.told(&gaps.iter().filter(|gap| gap.destination == from)) {
            chain.not_copied.extend(told);
            continue;
        }
        let of_another = gaps.iter().filter(|gap| gap.destination != from);
        let is_anothers = of_another.clone().any(|gap| {
            let destination = &gap.destination;
            found.told(&of_another.clone().filter(|gap| gap.destination == *destination)).is_some()
        });
        let problem = if is_anothers {
            "the records before this one are missing, and it was another destination that did not get them"
        } else {
            "the record before this one was removed, changed or moved"
        };
        let cut = found.cut.map(|line| (line, NO_RECORD));
        let problems = cut.into_iter().chain([(found.line, problem)]);
        faults.extend(problems.map(|(line, problem)| Fault { file: found.file.to_owned(), line, problem }));
    }
    if let (Some(head), Some((file, line))) = (head, last)
        && let Some(problem) = missing(&chain, head, has_number)
    {
        faults.push(Fault { file: file.to_owned(), line, problem });
    }
    chain
}
