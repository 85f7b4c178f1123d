//! Who may import whom. The rules are read off the sources, and first off small samples that break them.

use std::fs;
use std::path::Path;

/// What the core may not name: it has no sockets, no runtime, no proto and no database.
const NOT_IN_THE_CORE: [&str; 9] =
    ["tokio", "tonic", "prost", "axum", "hyper", "rustls", "sled", "etcd_client", "opentelemetry"];

const ROOMS: [&str; 15] = [
    "authority",
    "cli",
    "client",
    "config",
    "grpc",
    "http",
    "proto",
    "server",
    "signer",
    "store",
    "telemetry",
    "tls",
    "trace_context",
    "trust",
    "yaml",
];

/// Commands that start a server, and those that inspect what one leaves behind: they reach beyond the core.
const COMMANDS_BEYOND: [&str; 5] = ["cli/serve", "cli/dev", "cli/config_check", "cli/doctor", "cli/store"];

const MOST_LINES: usize = 400;

/// The rooms that a file, `src/room/..` or `src/room.rs`, may import besides its own.
fn may_import(file: &str, room: &str) -> Option<Vec<&'static str>> {
    match room {
        "authority" | "proto" | "trace_context" | "yaml" => Some(vec![]),
        "store" | "signer" | "tls" | "http" => Some(vec!["authority"]),
        "trust" => Some(vec!["authority", "trace_context"]),
        "client" => Some(vec!["proto", "trace_context"]),
        "telemetry" => Some(vec!["authority", "tls", "trace_context"]),
        "config" => Some(vec!["authority", "store", "trust", "signer", "tls", "grpc", "http", "telemetry", "yaml"]),
        "cli" if COMMANDS_BEYOND.iter().any(|command| file.starts_with(&format!("src/{command}"))) => None,
        "grpc" => Some(vec!["authority", "proto", "trace_context"]),
        "cli" => Some(vec!["authority", "client", "proto", "trace_context", "yaml"]),
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

/// Whether `path` stands in a line as whole words.
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

#[test]
fn every_source_file_keeps_the_rules() {
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    assert!(files.len() > 30, "only {} files were found", files.len());
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
        ("src/trust/files.rs", "use crate::signer::local::LocalSigner;"),
        ("src/config.rs", "use crate::server::Server;"),
        ("src/yaml/node.rs", "use crate::config::Config;"),
        ("src/authority/token.rs", "use crate::yaml::Node;"),
        ("src/cli/token/get.rs", "use crate::server::Server;"),
        ("src/cli/validate.rs", "use crate::store::sled::SledStore;"),
        ("src/client/mod.rs", "use crate::authority::Authority;"),
        ("src/client/bearer.rs", "use crate::cli::connect::ConnectionArguments;"),
        ("src/grpc/tokens.rs", "use crate::client::connection::connect;"),
        ("src/grpc/mod.rs", "use crate::{authority, proto};"),
        ("src/server.rs", "use std::{fmt, io};"),
        ("src/server.rs", "use crate::tls::{\n    Acceptor,\n};"),
        ("src/cli/client/get.rs", "use super::super::connect;"),
        ("src/store/mod.rs", "use sled::Db;"),
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
        ("src/config.rs", "use crate::yaml::Node;"),
        ("src/cli/client/registered.rs", "use crate::yaml::Node;"),
        ("src/main.rs", "use lanyard::cli;"),
        ("src/authority/token.rs", &long_with_a_word),
    ] {
        assert_eq!(faults(file, source), Vec::<String>::new());
    }
}
