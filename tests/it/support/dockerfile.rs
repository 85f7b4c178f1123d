//! The parts of the Dockerfile's and `.dockerignore`'s syntax that the repository uses. Everything else is refused: a
//! test that ignores an instruction says nothing about the image.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// A Dockerfile with one or more stages.
#[derive(Debug)]
pub struct Dockerfile {
    pub stages: Vec<Stage>,
}

/// `FROM base AS name`, and its instructions.
#[derive(Debug)]
pub struct Stage {
    pub base: String,
    pub name: Option<String>,
    pub steps: Vec<Step>,
}

/// An instruction that changes the files of a stage, or how it is run. Build arguments have their defaults.
#[derive(Debug, PartialEq)]
pub enum Step {
    WorkingDirectory(String),
    /// Copies the whole context to a folder.
    CopyContext(String),
    /// Copies a folder of another stage to the root.
    CopyStage {
        stage: String,
        folder: String,
    },
    /// Runs a line in the shell.
    Run(String),
    Labels(BTreeMap<String, String>),
    User(String),
    Expose(Vec<u16>),
    StopSignal(String),
    Entrypoint(Vec<String>),
    Command(Vec<String>),
}

impl Dockerfile {
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.lines().next().is_some_and(|line| line.starts_with('#') && line.contains('=')) {
            return Err("a directive for the parser".to_owned());
        }
        let (mut stages, mut global, mut local) = (Vec::<Stage>::new(), BTreeMap::new(), BTreeMap::new());
        for line in logical_lines(text)? {
            let (word, rest) = line.split_once(char::is_whitespace).ok_or_else(|| format!("nothing after {line}"))?;
            let rest = rest.trim();
            match (word, stages.last_mut()) {
                ("ARG", stage) => {
                    let (name, default) = rest.split_once('=').ok_or_else(|| format!("no default: {line}"))?;
                    let arguments = if stage.is_some() { &mut local } else { &mut global };
                    arguments.insert(name.to_owned(), default.to_owned());
                }
                ("FROM", _) => {
                    let stage = match expand(rest, &global)?.split_whitespace().collect::<Vec<_>>()[..] {
                        [base] => (base.to_owned(), None),
                        [base, "AS", name] => (base.to_owned(), Some(name.to_owned())),
                        _ => return Err(format!("not one stage: {line}")),
                    };
                    stages.push(Stage { base: stage.0, name: stage.1, steps: Vec::new() });
                    local.clear();
                }
                (_, None) => return Err(format!("before any stage: {line}")),
                // Arguments would be in its environment; here they are only for labels.
                ("RUN", Some(_)) if !local.is_empty() => return Err(format!("after an argument: {line}")),
                (_, Some(stage)) => stage.steps.push(step(word, rest, &local)?),
            }
        }
        if stages.is_empty() { Err("no stage".to_owned()) } else { Ok(Self { stages }) }
    }
}

/// The lines without comments, each line that ends in a backslash joined to the next.
fn logical_lines(text: &str) -> Result<Vec<String>, String> {
    let (mut lines, mut open) = (Vec::new(), String::new());
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(begun) = line.strip_suffix('\\') {
            open.push_str(begun);
        } else {
            lines.push(std::mem::take(&mut open) + line);
        }
    }
    if open.is_empty() { Ok(lines) } else { Err(format!("no end: {open}")) }
}

fn step(word: &str, rest: &str, arguments: &BTreeMap<String, String>) -> Result<Step, String> {
    let unsupported = || format!("not understood: {word} {rest}");
    let json = || serde_json::from_str::<Vec<String>>(rest).map_err(|_| unsupported());
    let plain = || if rest.contains(['$', ' ', '"']) { Err(unsupported()) } else { Ok(rest.to_owned()) };
    Ok(match word {
        "WORKDIR" if rest.starts_with('/') => Step::WorkingDirectory(plain()?),
        "COPY" => match rest.split_whitespace().collect::<Vec<_>>()[..] {
            [".", to] => Step::CopyContext(to.to_owned()),
            [from, folder, "/"] => {
                let stage = from.strip_prefix("--from=").ok_or_else(unsupported)?;
                Step::CopyStage { stage: stage.to_owned(), folder: folder.to_owned() }
            }
            _ => return Err(unsupported()),
        },
        "RUN" if !rest.starts_with(['[', '-']) && !rest.contains("<<") => Step::Run(rest.to_owned()),
        "LABEL" => Step::Labels(labels(&expand(rest, arguments)?).ok_or_else(unsupported)?),
        "USER" => Step::User(plain()?),
        "EXPOSE" => {
            Step::Expose(rest.split_whitespace().map(str::parse).collect::<Result<_, _>>().map_err(|_| unsupported())?)
        }
        "STOPSIGNAL" => Step::StopSignal(plain()?),
        "ENTRYPOINT" => Step::Entrypoint(json()?),
        "CMD" => Step::Command(json()?),
        _ => return Err(unsupported()),
    })
}

/// One or more `name="value"`.
fn labels(mut text: &str) -> Option<BTreeMap<String, String>> {
    let mut labels = BTreeMap::new();
    while !text.is_empty() {
        let (name, after) = text.split_once("=\"")?;
        let (value, after) = after.split_once('"')?;
        let valid = !value.contains('\\') && !name.contains(char::is_whitespace);
        if !valid || labels.insert(name.to_owned(), value.to_owned()).is_some() {
            return None;
        }
        text = after.trim_start();
    }
    Some(labels)
}

/// The text with `${NAME}` replaced.
fn expand(text: &str, arguments: &BTreeMap<String, String>) -> Result<String, String> {
    let mut parts = text.split('$');
    let mut expanded = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let named = part.strip_prefix('{').and_then(|part| part.split_once('}'));
        let (name, after) = named.ok_or_else(|| format!("not understood: ${part}"))?;
        expanded += arguments.get(name).ok_or_else(|| format!("no such argument: {name}"))?;
        expanded += after;
    }
    Ok(expanded)
}

/// The patterns of a `.dockerignore`, each with whether it includes again what earlier ones exclude.
#[derive(Debug)]
pub struct Ignore(Vec<(String, bool)>);

impl Ignore {
    pub fn parse(text: &str) -> Result<Self, String> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let pattern = |line: &str| {
            let (pattern, through) = line.strip_prefix('!').map_or((line, false), |pattern| (pattern, true));
            let unsupported = pattern.contains(['[', '\\']) || pattern.starts_with('/') || pattern.contains("..");
            if unsupported { Err(format!("not understood: {line}")) } else { Ok((pattern.to_owned(), through)) }
        };
        lines.map(pattern).collect::<Result<_, _>>().map(Self)
    }

    /// The files in a folder that are sent to the builder, by their paths in it, in order. An excluded folder is not
    /// searched, except on the way to an included pattern.
    pub fn let_through(&self, folder: &Path) -> Vec<String> {
        let mut found = Vec::new();
        self.walk(folder, "", &mut found);
        found.sort();
        found
    }

    fn walk(&self, folder: &Path, above: &str, found: &mut Vec<String>) {
        for entry in fs::read_dir(folder.join(above)).unwrap().map(Result::unwrap) {
            let name = entry.file_name().into_string().unwrap();
            let path = if above.is_empty() { name } else { format!("{above}/{name}") };
            let kind = entry.file_type().unwrap();
            let out = self.keeps_out(&path);
            let beginning = format!("{path}/");
            if kind.is_dir()
                && (!out || self.0.iter().any(|(pattern, through)| *through && pattern.starts_with(&beginning)))
            {
                self.walk(folder, &path, found);
            } else if !kind.is_dir() && !out {
                assert!(kind.is_file(), "{path} is neither a file nor a folder");
                found.push(path);
            }
        }
    }

    /// The last pattern that matches the path, or a folder above it, decides.
    fn keeps_out(&self, path: &str) -> bool {
        let segments: Vec<&str> = path.split('/').collect();
        let matches = |pattern: &str| {
            let pattern: Vec<&str> = pattern.split('/').collect();
            (1..=segments.len()).any(|count| segments_match(&pattern, &segments[..count]))
        };
        self.0.iter().rev().find(|(pattern, _)| matches(pattern)).is_some_and(|(_, through)| !through)
    }
}

fn segments_match(pattern: &[&str], path: &[&str]) -> bool {
    match (pattern, path) {
        ([], []) => true,
        (["**", rest @ ..], _) => (0..=path.len()).any(|skipped| segments_match(rest, &path[skipped..])),
        ([first, rest @ ..], [name, below @ ..]) => {
            segment_matches(first.as_bytes(), name.as_bytes()) && segments_match(rest, below)
        }
        _ => false,
    }
}

fn segment_matches(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern, name) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => (0..=name.len()).any(|skipped| segment_matches(rest, &name[skipped..])),
        ([b'?', rest @ ..], [_, below @ ..]) => segment_matches(rest, below),
        ([first, rest @ ..], [byte, below @ ..]) => first == byte && segment_matches(rest, below),
        _ => false,
    }
}
