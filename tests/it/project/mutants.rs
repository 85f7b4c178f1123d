//! The threats of token exchange: each has guards that can be taken out, and tests that miss them. `.ci/mutants` takes them out.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;

use crate::support::server::in_crate;

/// The threats of the design, X1 to X33.
const THREATS: u32 = 33;

/// A guard, what comes of it, and the test that misses it.
#[derive(Default)]
struct Mutant {
    name: String,
    threat: String,
    guard: String,
    test: String,
    edits: Vec<Edit>,
}

#[derive(Default)]
struct Edit {
    file: String,
    find: Vec<String>,
    put: Vec<String>,
}

impl Mutant {
    /// The number of the threat.
    fn number(&self) -> u32 {
        self.name[1..].trim_end_matches(char::is_alphabetic).parse().unwrap()
    }

    /// Its row in the page for reviewers.
    fn row(&self) -> String {
        format!("| {} | {} | {} | `{}` |", self.name, self.threat, self.guard, self.test)
    }
}

fn mutants() -> Vec<Mutant> {
    let mut mutants: Vec<Mutant> = Vec::new();
    let mut file = String::new();
    for line in fs::read_to_string(in_crate("tests/mutants/exchange.txt")).unwrap().lines() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (word, rest) = line.split_once(' ').unwrap();
        if word.starts_with('X') {
            let (name, threat) = (word.to_owned(), rest.to_owned());
            mutants.push(Mutant { name, threat, ..Mutant::default() });
            continue;
        }
        let mutant = mutants.last_mut().unwrap();
        match word {
            "guard:" => rest.clone_into(&mut mutant.guard),
            "test:" => rest.clone_into(&mut mutant.test),
            "in" => rest.clone_into(&mut file),
            "-" => {
                if mutant.edits.last().is_none_or(|edit| !edit.put.is_empty()) {
                    mutant.edits.push(Edit { file: file.clone(), ..Edit::default() });
                }
                mutant.edits.last_mut().unwrap().find.push(rest.to_owned());
            }
            "+" => mutant.edits.last_mut().unwrap().put.push(rest.to_owned()),
            other => panic!("what is {other}? {line}"),
        }
    }
    mutants
}

#[test]
fn each_guard_that_a_mutant_takes_out_is_in_the_sources() {
    let mut sources: BTreeMap<String, String> = BTreeMap::new();
    for mutant in mutants() {
        let name = &mutant.name;
        assert!(!mutant.edits.is_empty(), "{name} takes nothing out");
        for Edit { file, find, put } in &mutant.edits {
            let read = || fs::read_to_string(in_crate(file)).unwrap_or_else(|_| panic!("{name}: there is no {file}"));
            let source = sources.entry(file.clone()).or_insert_with(read);
            let (find, put) = (find.join("\n"), put.join("\n"));
            assert_eq!(source.matches(&find).count(), 1, "{name}: in {file}, how often there is {find}");
            assert!(put.contains("MUTANT") || mutant.edits.len() > 1, "{name}: it is there for every mutant");
            *source = source.replacen(&find, &put.replace("MUTANT", &format!("is_out({name})")), 1);
        }
    }
}

#[test]
fn each_threat_of_exchange_has_a_mutant_and_its_row_for_reviewers() {
    let mutants = mutants();
    let numbers: BTreeSet<u32> = mutants.iter().map(Mutant::number).collect();
    let expected: BTreeSet<u32> = (1..=THREATS).collect();
    assert_eq!(numbers, expected);
    let names: BTreeSet<&str> = mutants.iter().map(|mutant| mutant.name.as_str()).collect();
    assert_eq!(names.len(), mutants.len());
    let page = fs::read_to_string(in_crate("docs/security.md")).unwrap();
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| X")).collect();
    let expected: Vec<String> = mutants.iter().map(Mutant::row).collect();
    assert_eq!(rows, expected, "the rows are:\n{}", expected.join("\n"));
}
