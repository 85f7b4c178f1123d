//! Which file of the crate imports which, and the loops among them.
//!
//! A path counts for the deepest file on it: an item that `identity/mod.rs` re-exports is imported from there. Paths from
//! `crate`, `self` and `super` count wherever they stand in the code, so that `crate::server::now()` imports as a `use` does.
//! A `mod` line imports nothing, and neither does a call of `child::f()` by the file that declares the module `child`.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::fmt;

/// The files that each file imports, all by their paths from the root of the repository.
pub(super) type Imports<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

/// The files by the paths of their modules; the root of the library has the empty path.
type Modules<'a> = BTreeMap<Vec<&'a str>, &'a str>;

/// Files each of which imports all the others, directly or through others.
pub(super) struct Loop<'a> {
    pub(super) files: Vec<&'a str>,
    /// The shortest path from a file back to itself; that file is both its first and its last element.
    pub(super) shortest: Vec<&'a str>,
}

impl fmt::Display for Loop<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { files, shortest } = self;
        write!(formatter, "{} files import each other: {}\n    {}", files.len(), files.join(" "), shortest.join(" -> "))
    }
}

/// What each of these files, `src/..`, imports of the others.
pub(super) fn imports(sources: &[(String, String)]) -> Imports<'_> {
    let modules: Modules<'_> = sources
        .iter()
        .filter(|(file, _)| file != "src/main.rs")
        .map(|(file, _)| (module_of(file), file.as_str()))
        .collect();
    sources.iter().map(|(file, source)| (file.as_str(), imports_of(file, source, &modules))).collect()
}

/// The path of a file's module.
fn module_of(file: &str) -> Vec<&str> {
    let path = file.trim_start_matches("src/").trim_end_matches(".rs");
    let mut segments: Vec<&str> = path.split('/').collect();
    if segments.last() == Some(&"mod") || ["lib", "main"].contains(&path) {
        segments.pop();
    }
    segments
}

fn imports_of<'a>(file: &str, source: &str, modules: &Modules<'a>) -> BTreeSet<&'a str> {
    let is_binary = file == "src/main.rs";
    let own = module_of(file);
    // The modules within the file that enclose a line, with the columns at which they begin.
    let mut within: Vec<(usize, &str)> = Vec::new();
    let mut found = BTreeSet::new();
    for line in source.lines() {
        let code = line.trim_start();
        let column = line.len() - code.len();
        if code.starts_with("//") {
            continue;
        }
        if code == "}" && within.last().is_some_and(|(begin, _)| *begin == column) {
            within.pop();
        }
        let here: Vec<&str> = own.iter().copied().chain(within.iter().map(|(_, name)| *name)).collect();
        let is_use = code.starts_with("use ") || code.starts_with("pub") && code.contains(" use ");
        for path in paths(code) {
            let Some((first, mut rest)) = path.split_first() else { continue };
            let child: Vec<&str> = here.iter().copied().chain([*first]).collect();
            let mut at = match *first {
                "crate" if !is_binary => Vec::new(),
                "lanyard" if is_binary => Vec::new(),
                "self" => here.clone(),
                "super" => here[..here.len().saturating_sub(1)].to_vec(),
                _ if is_use && modules.contains_key(&child) => child,
                _ => continue,
            };
            while let Some(("super", after)) = rest.split_first().map(|(segment, after)| (*segment, after)) {
                at.pop();
                rest = after;
            }
            at.extend(rest);
            let deepest = (0..=at.len()).rev().find_map(|length| modules.get(&at[..length]));
            found.extend(deepest.filter(|deepest| **deepest != file));
        }
        within.extend(opened(code).map(|name| (column, name)));
    }
    found
}

/// The name of the module that a line begins within its file.
fn opened(code: &str) -> Option<&str> {
    let (before, name) = code.strip_suffix(" {")?.rsplit_once("mod ")?;
    (before.is_empty() || before.starts_with("pub")).then_some(name)
}

/// The paths of two segments or more in a line of code, outside of comments; those that begin with `::` or in a string, and
/// what `pub(in path)` says, are none.
fn paths(code: &str) -> Vec<Vec<&str>> {
    let code = code.split(" // ").next().unwrap_or_default();
    let is_word = |character: char| character.is_alphanumeric() || character == '_';
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(begin) = code[at..].find(is_word).map(|found| at + found) {
        let mut path = Vec::new();
        let mut end = begin;
        loop {
            let length = code[end..].find(|character| !is_word(character)).unwrap_or(code.len() - end);
            path.push(&code[end..end + length]);
            end += length;
            let follows = code[end..].strip_prefix("::").is_some_and(|rest| rest.starts_with(is_word));
            if !follows {
                break;
            }
            end += 2;
        }
        let before = &code[..begin];
        // `self::*` and `sled::{..}` end in `::`.
        let is_path = path.len() > 1 || code[end..].starts_with("::");
        if is_path && !before.ends_with(['"', '$']) && !before.ends_with("::") && !before.ends_with("pub(in ") {
            found.push(path);
        }
        at = end;
    }
    found
}

/// The loops, each with all its files.
pub(super) fn loops<'a>(imports: &Imports<'a>) -> Vec<Loop<'a>> {
    let reached: BTreeMap<&str, BTreeMap<&str, &str>> =
        imports.keys().map(|file| (*file, reached_from(file, imports))).collect();
    let mut found: Vec<Loop<'a>> = Vec::new();
    for file in imports.keys() {
        if !reached[file].contains_key(file) || found.iter().any(|one| one.files.contains(file)) {
            continue;
        }
        let files: Vec<&str> =
            reached[file].keys().copied().filter(|other| reached[other].contains_key(file)).collect();
        let ways = files.iter().map(|from| way_back(from, &reached[from]));
        let shortest = ways.min_by_key(Vec::len).unwrap();
        found.push(Loop { files, shortest });
    }
    found
}

/// The files that are imported from this one, directly or through others, each with the one before it on a shortest way.
fn reached_from<'a>(from: &'a str, imports: &Imports<'a>) -> BTreeMap<&'a str, &'a str> {
    let mut before = BTreeMap::new();
    let mut next = VecDeque::from([from]);
    while let Some(file) = next.pop_front() {
        for imported in imports.get(file).into_iter().flatten() {
            before.entry(*imported).or_insert_with(|| {
                next.push_back(*imported);
                file
            });
        }
    }
    before
}

/// The way from a file of a loop to itself.
fn way_back<'a>(from: &'a str, before: &BTreeMap<&'a str, &'a str>) -> Vec<&'a str> {
    let mut way = vec![from];
    let mut at = from;
    loop {
        at = before[at];
        way.push(at);
        if at == from {
            break;
        }
    }
    way.reverse();
    way
}
