//! Each kind of tampering with the trail, and where it is found.

use std::fs;
use std::slice;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lanyard::authority::clock::Timestamp;
use lanyard::authority::observe::AuditHead;
use lanyard::telemetry::trail::Expected;
use lanyard::telemetry::trail::Fault;
use lanyard::telemetry::trail::HeadVerifier;
use lanyard::telemetry::trail::Lost;
use lanyard::telemetry::trail::Verified;
use lanyard::telemetry::trail::verify;
use serde_json::Value;
use serde_json::json;

use crate::telemetry::trail::Trail;
use crate::telemetry::trail::hash;
use crate::telemetry::trail::records;
use crate::telemetry::trail::relinked;
use crate::telemetry::trail::stop;

const REMOVED: &str = "the record before this one was removed, changed or moved";
const NOT_FIRST: &str = "this is not the first record of its chain";
const NUMBER: &str = "the number of this record is not after that of the record before";
const SIGNATURE: &str = "the signature is not that of the key over the record before";
const NO_RECORD: &str = "this is no record";
const AFTER_END: &str = "this record is after the end of its chain";
const CUT_OFF: &str = "the records after this one were cut off: the store has the hash of a later one";
const NOT_KEPT: &str = "this is not the record of that number that the store has the hash of";

/// What is done to the lines of a chain, where that is found, and by which words. Lines are counted from 1, records from 0.
type Kind = (&'static str, fn(&mut Vec<String>), fn(usize) -> usize, &'static str);

const KINDS: [Kind; 14] = [
    ("a value is changed", |lines| lines[4] = lines[4].replace("WRONG_ROLE", "NO_SUCH_ROLE"), |_| 6, REMOVED),
    ("a space is added", |lines| lines[4] = lines[4].replacen("\"event\"", " \"event\"", 1), |_| 6, REMOVED),
    ("a record is removed", |lines| drop(lines.remove(4)), |_| 5, REMOVED),
    ("the first record is another", |lines| lines[0] = lines[0].replace("started", "stopped"), |_| 1, NOT_FIRST),
    ("two records change places", |lines| lines.swap(4, 5), |_| 5, REMOVED),
    ("a record is there twice", |lines| lines.insert(5, lines[4].clone()), |_| 6, REMOVED),
    ("a record of elsewhere is added", |lines| lines.insert(5, lines[8].clone()), |_| 6, REMOVED),
    ("a number is changed, and the rest linked anew", renumber, |_| 6, NUMBER),
    ("a record is changed, and the rest linked anew", rewrite, |count| count, SIGNATURE),
    ("the same, where no key is at hand", rewrite, |count| count, NOT_KEPT),
    ("a signature is another's", resign, |count| count, SIGNATURE),
    ("a record is cut in the middle", |lines| lines[4].truncate(200), |_| 5, NO_RECORD),
    ("a record is added after the end", append, |count| count + 1, AFTER_END),
    ("the tail is cut off", |lines| lines.truncate(6), |_| 6, CUT_OFF),
];

fn renumber(lines: &mut Vec<String>) {
    lines[5] = lines[5].replace("\"sequence\":6,", "\"sequence\":4,");
    *lines = relinked(lines);
}

fn rewrite(lines: &mut Vec<String>) {
    lines[4] = lines[4].replace("WRONG_ROLE", "NO_SUCH_ROLE");
    *lines = relinked(lines);
}

fn resign(lines: &mut Vec<String>) {
    let last = lines.pop().unwrap();
    let signed: Value = serde_json::from_str(&last).unwrap();
    lines.push(last.replace(signed["signature"].as_str().unwrap(), &URL_SAFE_NO_PAD.encode([1; 64])));
}

fn append(lines: &mut Vec<String>) {
    let more = lines[4].replace("\"sequence\":5,", &format!("\"sequence\":{},", lines.len() + 1));
    lines.push(more);
    *lines = relinked(lines);
}

fn judge(lines: &[String], key: Option<&HeadVerifier>, heads: &[AuditHead]) -> Verified {
    let text = lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect::<String>();
    verify(&[("file".to_owned(), text.into_bytes())], Expected { key, heads, from: "file" })
}

/// A trail that a server wrote, its lines and the key that it was signed with.
async fn written() -> (Trail, Vec<String>, HeadVerifier) {
    let trail = Trail::new("");
    let serve = trail.serve();
    trail.use_it(&serve, 8).await;
    stop(serve);
    let text = fs::read_to_string(trail.path("audit.jsonl")).unwrap();
    let key = HeadVerifier::open(&trail.path("audit-public.pem")).unwrap();
    (trail, text.lines().map(ToOwned::to_owned).collect(), key)
}

#[tokio::test]
async fn each_kind_of_tampering_is_found_and_placed() {
    let (trail, lines, key) = written().await;
    let count = lines.len();
    let last = records(&trail.path("audit.jsonl")).pop().unwrap();
    // The record that the store has is the last one.
    let line = lines.last().unwrap();
    let head = AuditHead {
        chain: last["chain"].as_str().unwrap().to_owned(),
        sequence: count as u64,
        hash: hash(line),
        time: Timestamp(last["time"].as_u64().unwrap()),
        has_ended: true,
    };
    assert!(count > 10, "{lines:?}");
    let whole = judge(&lines, Some(&key), slice::from_ref(&head));
    assert_eq!((whole.faults.as_slice(), whole.chains[0].kept), (&[][..], Some(count as u64)));
    for (what, change, place, problem) in KINDS {
        let mut changed = lines.clone();
        change(&mut changed);
        let by_store = [CUT_OFF, NOT_KEPT].contains(&problem);
        let heads = if by_store { slice::from_ref(&head) } else { &[] };
        let key = Some(&key).filter(|_| problem != NOT_KEPT);
        let found = judge(&changed, key, heads).faults;
        let expected = Fault { file: "file".to_owned(), line: place(count), problem };
        assert!(found.contains(&expected), "{what}: not {expected:?} but {found:?}");
        println!("{what}: line {}: {problem}", expected.line);
    }
}

#[tokio::test]
async fn what_a_crash_a_rotation_or_a_flood_leaves_is_no_tampering() {
    let (_trail, lines, key) = written().await;
    let judge = |lines: &[String]| judge(lines, Some(&key), &[]);
    // Without the first one the rest begins at 2, as where the files before were deleted.
    assert_eq!((judge(&lines[1..]).chains[0].first, judge(&lines[1..]).faults), (2, vec![]));
    // A tail that is cut off leaves a chain without an end, and says up to where it is signed.
    let cut = judge(&lines[..6]);
    assert_eq!((cut.faults.as_slice(), cut.chains[0].has_ended, cut.chains[0].signed), (&[][..], false, None));
    assert_eq!(cut.chains[0].last, 6);
    // What the server could not write anywhere is missing in the sequence alone.
    let mut lost = lines[..5].to_vec();
    lost.push(lines[7].clone());
    let lost = judge(&relinked(&lost));
    assert_eq!((lost.faults.as_slice(), lost.chains[0].lost.as_slice()), (&[][..], &[Lost { first: 6, last: 7 }][..]));
    // Lines of something else are passed over, and counted.
    let mut mixed = lines.clone();
    mixed.insert(3, json!({"level": "INFO"}).to_string());
    let mixed = judge(&mixed);
    assert_eq!((mixed.faults.as_slice(), mixed.others[0].line, mixed.others[0].count), (&[][..], 4, 1));
}
