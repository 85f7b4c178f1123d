//! The rooms within the core, `src/authority/`: their order, and that each keeps its files to itself.

use std::collections::BTreeSet;

use super::graph;

/// The rooms from the top floor down: a folder or a file of `src/authority/` each, `mod` being its `mod.rs`. A file imports
/// from its own room and from those below. The rooms of the last floor are the ground, and may import one another.
const FLOORS: [&[&str]; 20] = [
    &["fuzzing"],
    &["api"],
    &["mod"],
    &["caches"],
    &["backup"],
    &["observe"],
    &["policy"],
    &["edges"],
    &["decision"],
    &["state"],
    &["resources"],
    &["access"],
    &["trust"],
    &["tokens"],
    &["registration"],
    &["evidence"],
    &["keys"],
    &["identity"],
    &["records"],
    &["clock", "deny_reason", "json", "reference", "scope", "store"],
];

/// What is wrong with the files of the core among these.
pub(super) fn faults(sources: &[(String, String)]) -> Vec<String> {
    let mut found = Vec::new();
    let mut rooms_without_face = BTreeSet::new();
    for (file, source) in sources {
        let Some(room) = room_of(file) else { continue };
        if floor_of(room).is_none() {
            found.push(format!("{file}: {room} is not in the table of rooms, FLOORS in layering/rooms.rs"));
        }
        if let Some(folder) = folder_of(file) {
            let face = format!("{folder}/mod.rs");
            if !sources.iter().any(|(other, _)| *other == face) {
                rooms_without_face.insert(face);
            }
            found.extend(open_modules(source).map(|line| {
                format!("{file}: `{line}`: a room keeps its files private, or says why above: `// open: ...`")
            }));
        }
    }
    found.extend(rooms_without_face.iter().map(|face| format!("{face} is missing: the face of the room")));
    for (file, imported) in graph::imports(sources) {
        for other in imported {
            if is_upward(file, other) {
                found.push(format!("{file} imports {other}, which is above it"));
            }
        }
    }
    found
}

/// The room of a file of the core.
fn room_of(file: &str) -> Option<&str> {
    file.strip_prefix("src/authority/")?.split(['/', '.']).next()
}

/// The folder of a room that has one.
fn folder_of(file: &str) -> Option<&str> {
    let (room, _) = file.strip_prefix("src/authority/")?.split_once('/')?;
    file.get(.."src/authority/".len() + room.len())
}

fn floor_of(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

/// Whether both are files of the core, and the second is on a higher floor than the first.
fn is_upward(file: &str, imported: &str) -> bool {
    let floors = room_of(file).and_then(floor_of).zip(room_of(imported).and_then(floor_of));
    floors.is_some_and(|(own, other)| other < own)
}

/// The lines that open a module to others, without a comment above that says why.
fn open_modules(source: &str) -> impl Iterator<Item = &str> {
    let mut above = "";
    source.lines().map(str::trim).filter(move |line| {
        let before = std::mem::replace(&mut above, line);
        let reason = before.strip_prefix("// open:").map(str::trim);
        let is_open = line.starts_with("pub") && line.split([' ', ')']).any(|word| word == "mod");
        is_open && reason.is_none_or(str::is_empty)
    })
}
