//! Who may import whom. The rules are read off the sources, and first off small samples that break them.

mod graph;
mod rooms;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// What the core may not name: it has no sockets, no runtime, no proto and no database.
const NOT_IN_THE_CORE: [&str; 9] =
    ["tokio", "tonic", "prost", "axum", "hyper", "rustls", "sled", "etcd_client", "opentelemetry"];

const ROOMS: [&str; 19] = [
    "apply",
    "authority",
    "cli",
    "client",
    "config",
    "fuzzing",
    "grpc",
    "http",
    "limits",
    "messages",
    "proto",
    "server",
    "signer",
    "store",
    "telemetry",
    "tls",
    "trace_context",
    "trust_sources",
    "yaml",
];

/// Commands that start a server, and those that inspect what one leaves behind or reads: they reach beyond the core.
const COMMANDS_BEYOND: [&str; 7] =
    ["cli/audit", "cli/serve", "cli/dev", "cli/config_check", "cli/doctor", "cli/documents/lint", "cli/store"];

/// Records of the audit trail are made where things are decided, and their lines written by one sink.
const AUDIT_TRAIL: [(&str, &str); 2] =
    [("AuditRecord::new(", "src/authority/api/"), ("\"lanyard::audit\"", "src/authority/observe/audit/log.rs")];

const MOST_LINES: usize = 400;

/// The rooms that a file, `src/room/..` or `src/room.rs`, may import besides its own.
fn may_import(file: &str, room: &str) -> Option<Vec<&'static str>> {
    match room {
        "authority" | "proto" | "trace_context" | "yaml" => Some(vec![]),
        "signer" | "tls" | "http" | "limits" => Some(vec!["authority"]),
        "trust_sources" => Some(vec!["authority", "trace_context"]),
        "client" => Some(vec!["proto", "trace_context"]),
        "telemetry" => Some(vec!["authority", "tls", "trace_context"]),
        "config" => {
            let own =
                ["authority", "grpc", "http", "limits", "signer", "store", "telemetry", "tls", "trust_sources", "yaml"];
            Some(own.to_vec())
        }
        "cli" if COMMANDS_BEYOND.iter().any(|command| file.starts_with(&format!("src/{command}"))) => None,
        "messages" | "store" => Some(vec!["authority", "proto"]),
        "apply" => Some(vec!["authority", "messages", "proto"]),
        "grpc" => Some(vec!["authority", "limits", "messages", "proto", "trace_context"]),
        "cli" => Some(vec!["apply", "authority", "client", "messages", "proto", "trace_context", "yaml"]),
        // The composition root, and what is above all rooms: main.rs and lib.rs.
        _ => None,
    }
}

/// What is wrong with one source file.
fn faults(file: &str, source: &str) -> Vec<String> {
    let room = file.trim_start_matches("src/").split(['/', '.']).next().unwrap_or_default();
    let code: Vec<&str> = source.lines().map(str::trim).filter(|line| !line.starts_with("//")).collect();
    let mut found = Vec::new();
    for imported in ROOMS.iter().filter(|imported| **imported != room) {
        let allowed = may_import(file, room).is_none_or(|rooms| rooms.contains(imported));
        let paths = ["crate", "super", "lanyard"].map(|root| format!("{root}::{imported}"));
        if !allowed && code.iter().any(|line| paths.iter().any(|path| names(line, path))) {
            found.push(format!("{file}: {room} imports {imported}"));
        }
    }
    if room == "authority" {
        for foreign in NOT_IN_THE_CORE {
            if code.iter().any(|line| names(line, foreign) && (line.contains("::") || line.starts_with("use "))) {
                found.push(format!("{file}: the core names {foreign}"));
            }
        }
    }
    for (made, by) in AUDIT_TRAIL {
        if !file.starts_with(by) && code.iter().any(|line| line.contains(made)) {
            found.push(format!("{file}: `{made}` is for {by} alone"));
        }
    }
    let mut in_use = false;
    for line in &code {
        in_use |= line.starts_with("use ") || line.starts_with("pub use ");
        if in_use && line.contains('{') {
            found.push(format!("{file}: `{line}`: one path a use"));
        }
        in_use &= !line.contains(';');
        if line.contains("super::super") {
            found.push(format!("{file}: `{line}`: super::super"));
        }
    }
    if file == "src/store/mod.rs" && code.iter().any(|line| line.starts_with("use sled")) {
        found.push(format!("{file}: a bare sled is the local module"));
    }
    let lines = source.lines().count();
    let excused = source.lines().any(|line| line.starts_with("//") && line.contains("400 lines"));
    if lines > MOST_LINES && !excused {
        found.push(format!("{file}: {lines} lines, and no word why"));
    }
    found
}

/// Whether a line contains `path` as whole words.
fn names(line: &str, path: &str) -> bool {
    let is_word = |character: char| character.is_alphanumeric() || character == '_';
    line.match_indices(path).any(|(at, _)| {
        let (before, after) = (line[..at].chars().next_back(), line[at + path.len()..].chars().next());
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

fn sources(dir: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap().to_str().unwrap().to_owned();
            found.push((name, fs::read_to_string(&path).unwrap()));
        }
    }
}

/// All source files of the crate, with their texts.
pub(super) fn crate_sources() -> Vec<(String, String)> {
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    assert!(files.len() > 30, "only {} files were found", files.len());
    files.sort();
    files
}

/// Samples of source files as if they were on the disk.
fn samples(files: &[(&str, &str)]) -> Vec<(String, String)> {
    files.iter().map(|(file, source)| ((*file).to_owned(), (*source).to_owned())).collect()
}

#[test]
fn every_source_file_keeps_the_rules() {
    let files = crate_sources();
    let found: Vec<String> = files.iter().flat_map(|(name, source)| faults(name, source)).collect();
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn each_rule_finds_what_breaks_it() {
    let long = "fn one() {}\n".repeat(401);
    for (file, source) in [
        ("src/authority/token.rs", "use crate::store::memory::MemoryStore;"),
        ("src/authority/token.rs", "fn now() { crate::server::now() }"),
        ("src/authority/mod.rs", "use super::tls::acceptor::Acceptor;"),
        ("src/authority/token.rs", "use tokio::sync::Mutex;"),
        ("src/authority/token.rs", "use rustls::ServerConfig;"),
        ("src/authority/token.rs", "fn spawn() { tokio::spawn(async {}) }"),
        ("src/authority/token.rs", "type Client = ::etcd_client::Client;"),
        ("src/store/sled.rs", "use crate::tls::acceptor::Acceptor;"),
        ("src/grpc/tokens.rs", "use crate::http::ops;"),
        ("src/http/mod.rs", "use crate::proto::Client;"),
        ("src/tls/acceptor.rs", "use crate::config::Config;"),
        ("src/trust_sources/files.rs", "use crate::signer::local::LocalSigner;"),
        ("src/config.rs", "use crate::server::Server;"),
        ("src/cli/token/get.rs", "use crate::server::Server;"),
        ("src/cli/validate.rs", "use crate::store::sled::SledStore;"),
        ("src/client/mod.rs", "use crate::authority::Authority;"),
        ("src/client/bearer.rs", "use crate::cli::connect::ConnectionArguments;"),
        ("src/grpc/tokens.rs", "use crate::client::connection::connect;"),
        ("src/grpc/registry.rs", "use crate::apply::Document;"),
        ("src/messages/client.rs", "use crate::grpc::status;"),
        ("src/apply/documents.rs", "use crate::cli::error::CommandError;"),
        ("src/grpc/mod.rs", "use crate::{authority, proto};"),
        ("src/server.rs", "use std::{fmt, io};"),
        ("src/server.rs", "use crate::tls::{\n    Acceptor,\n};"),
        ("src/cli/client/get.rs", "use super::super::connect;"),
        ("src/store/mod.rs", "use sled::Db;"),
        ("src/yaml/node.rs", "use crate::config::Config;"),
        ("src/authority/token.rs", "use crate::yaml::Node;"),
        ("src/grpc/tokens.rs", "fn refused() { AuditRecord::new(event, severity, outcome) }"),
        ("src/authority/decision/grant.rs", "let record = AuditRecord::new(event, severity, outcome);"),
        ("src/server.rs", "tracing::info!(target: \"lanyard::audit\", \"served\");"),
        ("src/server.rs", &long),
    ] {
        assert!(!faults(file, source).is_empty(), "{file}: {source:.60}");
    }
}

#[test]
fn no_rule_finds_what_keeps_it() {
    let long_with_a_word =
        format!("// More than 400 lines: one table that is read as a whole.\n{}", "fn one() {}\n".repeat(401));
    for (file, source) in [
        ("src/authority/token.rs", "use crate::authority::keys::KeyId;\nuse rustls_pki_types::CertificateDer;"),
        ("src/authority/token.rs", "// tokio::spawn is for the server\n/// like rustls::ServerConfig"),
        ("src/authority/token.rs", "fn f() { let tokio = 1; }"),
        ("src/store/sled.rs", "use crate::authority::store::Store;\nuse sled::Db;"),
        ("src/store/mod.rs", "use ::sled::Db;\npub mod sled;"),
        ("src/grpc/tokens.rs", "use crate::proto::IssueTokenRequest;\nuse crate::authority::Authority;"),
        ("src/server.rs", "use crate::tls::acceptor::Acceptor;\nuse crate::store::memory::MemoryStore;"),
        ("src/cli/dev/story.rs", "use crate::config::Listeners;"),
        ("src/cli/serve.rs", "use crate::server::Server;"),
        ("src/cli/connect.rs", "use crate::client::connection::connect;"),
        ("src/http/mod.rs", "use tokio::net::TcpListener;\nfn f() { match x { _ => {} } }"),
        ("src/main.rs", "use lanyard::cli;"),
        ("src/messages/client.rs", "use crate::authority::registration::ClientMetadata;\nuse crate::proto::Client;"),
        ("src/cli/documents/apply.rs", "use crate::apply::Document;"),
        ("src/authority/token.rs", &long_with_a_word),
    ] {
        assert_eq!(faults(file, source), Vec::<String>::new());
    }
}

#[test]
fn no_two_files_import_each_other_in_a_loop() {
    let files = crate_sources();
    let imports = graph::imports(&files);
    let edges: usize = imports.values().map(BTreeSet::len).sum();
    assert!(edges > files.len(), "only {edges} imports were found among {} files", files.len());
    let found: Vec<String> = graph::loops(&imports).iter().map(ToString::to_string).collect();
    assert!(found.is_empty(), "{} loops\n{}", found.len(), found.join("\n"));
}

#[test]
fn each_loop_of_imports_is_found_with_all_its_files() {
    let cases: [&[(&str, &str)]; 11] = [
        &[("src/a.rs", "use crate::b::B;"), ("src/b.rs", "use crate::a::A;")],
        &[("src/a.rs", "use super::b::B;"), ("src/b.rs", "use crate::a::A as Other;")],
        &[
            ("src/a/one.rs", "use super::two::Two;"),
            ("src/a/two.rs", "use crate::b::*;"),
            ("src/b.rs", "pub(crate) use crate::a::one::One;"),
        ],
        // A folder's face and a file within, in both forms of a folder.
        &[("src/a/mod.rs", "mod b;\n\npub use self::b::B;"), ("src/a/b.rs", "use super::A;")],
        &[("src/a/mod.rs", "mod b;\n\npub use b::B;"), ("src/a/b.rs", "use crate::a::A;")],
        &[("src/a.rs", "pub use crate::a::b::B;"), ("src/a/b.rs", "use crate::a::A;")],
        // A name that is re-exported is imported from the face.
        &[
            ("src/a/mod.rs", "pub use self::b::B;"),
            ("src/a/b.rs", "use crate::c::C;"),
            ("src/c.rs", "use crate::a::B;"),
        ],
        &[("src/lib.rs", "pub mod a;\npub use a::A;"), ("src/a.rs", "use crate::VERSION;")],
        // Not only in `use` lines.
        &[("src/a.rs", "fn f() -> crate::b::B { todo() }"), ("src/b.rs", "fn f() { super::a::f() }")],
        // In a module within the file `super` is the file itself, and `super::super` what is above it.
        &[("src/a.rs", "mod tests {\n    use super::super::b::B;\n}"), ("src/b.rs", "use crate::a::A;")],
        &[("src/a.rs", "mod tests {\n    use super::*;\n}\nuse super::b::B;"), ("src/b.rs", "use crate::a::A;")],
    ];
    for case in cases {
        // Files beside the loop are none of it.
        let beside = [("src/top.rs", "use crate::a::A;"), ("src/a/ground.rs", "use std::fmt;")];
        let files = samples(&[case, &beside].concat());
        let imports = graph::imports(&files);
        let found = graph::loops(&imports);
        let mut expected: Vec<&str> = case.iter().map(|(file, _)| *file).collect();
        expected.sort_unstable();
        assert_eq!(found.iter().map(|one| one.files.clone()).collect::<Vec<_>>(), [expected], "{case:?}");
    }
}

#[test]
fn two_loops_are_told_apart_and_the_shortest_way_is_shown() {
    let files = samples(&[
        ("src/a.rs", "use crate::b::B;"),
        ("src/b.rs", "use crate::c::C;\nuse crate::d::D;"),
        ("src/c.rs", "use crate::a::A;\nuse crate::b::B;"),
        ("src/d.rs", "use crate::e::E;"),
        ("src/e.rs", "use crate::d::D;"),
    ]);
    let imports = graph::imports(&files);
    let found: Vec<String> = graph::loops(&imports).iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        [
            "3 files import each other: src/a.rs src/b.rs src/c.rs\n    src/b.rs -> src/c.rs -> src/b.rs",
            "2 files import each other: src/d.rs src/e.rs\n    src/d.rs -> src/e.rs -> src/d.rs",
        ]
    );
}

#[test]
fn what_imports_in_one_direction_only_is_no_loop() {
    let cases: [&[(&str, &str)]; 9] = [
        // A `mod` line imports nothing, nor does a call into a file's own module.
        &[("src/a/mod.rs", "mod b;\nfn f() { b::f() }"), ("src/a/b.rs", "use crate::a::A;")],
        &[("src/a/mod.rs", "pub mod b;\npub(crate) mod c;"), ("src/a/b.rs", "use crate::a::A;")],
        // Files of a folder name each other directly, not through its face.
        &[
            ("src/a/mod.rs", "mod b;\nmod c;\npub use self::b::B;\npub use self::c::C;"),
            ("src/a/b.rs", "use crate::a::c::C;"),
            ("src/a/c.rs", "use std::fmt;"),
        ],
        &[("src/a.rs", "// use crate::b::B;\n/// crate::b::B"), ("src/b.rs", "use crate::a::A;")],
        &[("src/a.rs", "fn f() {} // crate::b::f\n"), ("src/b.rs", "use crate::a::A;")],
        &[("src/a/b.rs", "pub(in crate::a) fn f() {}"), ("src/a/mod.rs", "pub use self::b::f;")],
        &[("src/a/mod.rs", "pub use self::b::B;"), ("src/a/b.rs", "mod tests {\n    use super::B;\n}")],
        &[("src/a/mod.rs", "pub use self::sled::S;"), ("src/a/sled.rs", "use ::a::A;\nuse sled::Db;")],
        &[("src/main.rs", "fn main() { lanyard::a::f() }"), ("src/a.rs", "const TARGET: &str = \"lanyard::main\";")],
    ];
    for case in cases {
        let files = samples(case);
        let imports = graph::imports(&files);
        let found: Vec<String> = graph::loops(&imports).iter().map(ToString::to_string).collect();
        assert!(found.is_empty(), "{found:?}");
    }
}

#[test]
fn the_rooms_of_the_core_import_downward_and_keep_their_files_private() {
    let found = rooms::faults(&crate_sources());
    assert!(found.is_empty(), "{} faults\n{}", found.len(), found.join("\n"));
}

/// Files of the core that keep the rules, to which samples are added.
const CORE: [(&str, &str); 5] = [
    ("src/authority/mod.rs", "mod api;\npub mod keys;\npub mod clock;\nuse crate::authority::tokens::IssuedToken;"),
    ("src/authority/api/mod.rs", "mod tokens;"),
    ("src/authority/tokens/mod.rs", "mod issued;\n\npub use self::issued::IssuedToken;"),
    ("src/authority/keys/mod.rs", "mod jwk;\n\npub use self::jwk::PublicJwk;"),
    ("src/authority/clock.rs", "use std::time::Duration;"),
];

#[test]
fn what_breaks_the_order_of_the_core_is_found() {
    assert_eq!(rooms::faults(&samples(&CORE)), Vec::<String>::new());
    for (file, source) in [
        ("src/authority/keys/jwk.rs", "use crate::authority::tokens::IssuedToken;"),
        ("src/authority/keys/jwk.rs", "fn f() -> crate::authority::tokens::IssuedToken { g() }"),
        ("src/authority/keys/jwk.rs", "use crate::authority::Authority;"),
        ("src/authority/scope.rs", "use super::keys::PublicJwk;"),
        ("src/authority/store/port.rs", "use crate::authority::api::tokens;"),
        // A room that is not in the table, as a file and as a folder; a folder without a face.
        ("src/authority/lineage.rs", "use std::fmt;"),
        ("src/authority/lineage/mod.rs", "use std::fmt;"),
        ("src/authority/identity/peer.rs", "use std::fmt;"),
        ("src/authority/identity.rs", "mod peer;"),
        // Modules that are open without a reason.
        ("src/authority/identity/mod.rs", "pub mod peer;"),
        ("src/authority/identity/mod.rs", "pub(crate) mod peer;"),
        ("src/authority/identity/mod.rs", "// open:\npub mod peer;"),
        ("src/authority/identity/mod.rs", "// Who somebody is.\npub mod peer;"),
        ("src/authority/identity/mod.rs", "// open: fuzzed\npub mod name;\npub mod peer;"),
        ("src/authority/keys/jwk.rs", "pub(super) mod parameters {\n}"),
    ] {
        let mut files = samples(&CORE);
        if file == "src/authority/identity.rs" {
            files.extend(samples(&[("src/authority/identity/peer.rs", "use std::fmt;")]));
        }
        if file == "src/authority/store/port.rs" {
            files.extend(samples(&[("src/authority/store/mod.rs", "mod port;")]));
        }
        files.extend(samples(&[(file, source)]));
        assert_eq!(rooms::faults(&files).len(), 1, "{file}: {source}: {:?}", rooms::faults(&files));
    }
}

#[test]
fn what_keeps_the_order_of_the_core_is_not_found() {
    for (file, source) in [
        ("src/authority/api/tokens.rs", "use crate::authority::Authority;\nuse crate::authority::tokens::IssuedToken;"),
        (
            "src/authority/tokens/issued.rs",
            "use crate::authority::keys::PublicJwk;\nuse crate::authority::clock::Clock;",
        ),
        ("src/authority/keys/jwk.rs", "use crate::authority::keys::SigningKeys;\n// crate::authority::Authority"),
        ("src/authority/scope.rs", "use crate::authority::clock::Clock;\nmod tests {\n    use super::Scope;\n}"),
        ("src/authority/identity/mod.rs", "mod peer;\n// open: the fuzzer calls it\npub mod name;"),
        ("src/authority/policy.rs", "pub struct Mod;\npub fn module() {}"),
        ("src/server/mod.rs", "pub mod socket;\nuse crate::authority::api;"),
    ] {
        let mut files = samples(&CORE);
        files.extend(samples(&[(file, source)]));
        assert_eq!(rooms::faults(&files), Vec::<String>::new(), "{file}: {source}");
    }
}
