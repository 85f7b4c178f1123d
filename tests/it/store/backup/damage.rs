//! An export that was cut, changed or reordered is refused, and nothing of it is imported.

use std::fs;

use lanyard::authority::backup;
use lanyard::authority::backup::Problem;
use sha2::Digest as _;
use sha2::Sha256;

use crate::store::backup::config_of;
use crate::store::backup::export;
use crate::store::backup::stopped;
use crate::store::backup::store;
use crate::support::process::text;

/// These lines as a text.
fn joined(lines: &[String]) -> String {
    lines.join("\n") + "\n"
}

/// The text of these lines, with a last line that is right.
fn sealed(lines: &[String]) -> String {
    let text = joined(lines);
    let sum = hex::encode(Sha256::digest(&text));
    format!("{text}{{\"records\":{},\"sha256\":\"{sum}\"}}\n", lines.len() - 1)
}

fn problem(text: &[u8]) -> Problem {
    backup::read(text).unwrap_err().problem
}

#[tokio::test]
async fn an_export_that_is_not_as_it_was_written_is_refused_with_nothing_imported() {
    let setup = stopped().await;
    let (config, other, file) = (setup.path("lanyard.yaml"), config_of(&setup, "other"), setup.path("backup"));
    let lines = export(&config);
    let whole = joined(&lines);
    assert_eq!(sealed(&lines[..lines.len() - 1]), whole);
    let refused = |damaged: &str, why: &str| {
        fs::write(&file, damaged).unwrap();
        let import = store(&["import", text(&file), "--config", text(&other)]);
        import.refused(why, "nothing was imported");
        assert!(!setup.path("other").exists());
        let verify = store(&["verify", text(&file), "--config", text(&config)]);
        verify.refused(why, "nothing after that line was looked at");
    };
    // Cut after each line, and in the middle of each.
    let mut end = 0;
    for (number, line) in lines.iter().enumerate() {
        let why = if end == 0 { "no export" } else { "cut short" };
        refused(&whole[..end], why);
        refused(&whole[..end + line.len() / 2], if number == 0 { "cut short" } else { "" });
        end += line.len() + 1;
    }
    refused(&whole[..end - 1], "cut short");
    // Swapped, doubled, left out; with the old last line and with one that is right.
    let (first, second) = (&lines[1], &lines[2]);
    let with = |middle: &[&String]| -> Vec<String> {
        let middle = middle.iter().map(|line| (*line).clone());
        std::iter::once(lines[0].clone()).chain(middle).chain(lines[3..lines.len() - 1].iter().cloned()).collect()
    };
    for (middle, why, when_sealed) in [
        (vec![second, first], "out of order", Some("out of order")),
        (vec![first, first, second], "out of order", Some("out of order")),
        // With a right last line it is the export of another store.
        (vec![second], "records where the last line counts", None),
    ] {
        let lines_now = with(&middle);
        let text_now = joined(&lines_now);
        refused(&format!("{text_now}{}\n", lines[lines.len() - 1]), why);
        if let Some(why) = when_sealed {
            refused(&sealed(&lines_now), why);
        }
    }
    // Another format, no header, more after the end, and a record that no export has.
    let other_format = lines[0].replace("\"lanyard_export\":1", "\"lanyard_export\":2");
    let reformatted = [&[other_format], &lines[1..lines.len() - 1]].concat();
    refused(&sealed(&reformatted), "has format 2, which this version does not know");
    refused(&sealed(&lines[1..lines.len() - 1]), "no export");
    refused(&format!("{whole}\n"), "more after the last line");
    refused(&format!("{whole}{}\n", lines[1]), "more after the last line");
    let mark = "{\"key\":\"/import\",\"value\":{}}".to_owned();
    refused(&sealed(&[&[lines[0].clone(), mark], &lines[1..lines.len() - 1]].concat()), "/import is not the key");
    // What it was damaged from is imported.
    fs::write(&file, &whole).unwrap();
    store(&["import", text(&file), "--config", text(&other)]).ok();
}

#[tokio::test]
async fn each_byte_counts() {
    let setup = stopped().await;
    let lines = export(&setup.path("lanyard.yaml"));
    let whole = joined(&lines);
    let export = backup::read(whole.as_bytes()).unwrap();
    assert_eq!(export.records.len(), lines.len() - 2);
    let mut changed = whole.clone().into_bytes();
    for place in 0..changed.len() {
        let was = changed[place];
        for now in [was ^ 1, was ^ 0x80, b' ', b'\n'] {
            if now != was {
                changed[place] = now;
                assert!(backup::read(changed.as_slice()).is_err(), "byte {place} as {now}");
            }
        }
        changed[place] = was;
    }
    assert!(matches!(problem(b""), Problem::NotAnExport));
    assert!(matches!(problem(&vec![b'x'; 1 << 20]), Problem::TooLong));
    // A line that is longer than any record.
    let long = format!("{}\n{{\"key\":\"/clients/{}\"", lines[0], "x".repeat(1 << 20));
    assert!(matches!(problem(long.as_bytes()), Problem::TooLong));
}
