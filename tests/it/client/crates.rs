//! What a workload links with the feature `client`: few crates, and none of the server's.

use std::collections::BTreeSet;
use std::process::Command;

use crate::support::process::run;
use crate::support::server::in_crate;

/// Crates that only the server needs.
const OF_THE_SERVER: [&str; 13] = [
    "axum",
    "clap",
    "mimalloc",
    "opentelemetry-otlp",
    "prometheus-client",
    "rcgen",
    "rustls-native-certs",
    "serde",
    "serde_json",
    "sled",
    "tonic-health",
    "tonic-reflection",
    "unicode-normalization",
];

/// Crates of the feature `opentelemetry`.
const OF_TRACING: [&str; 4] = ["opentelemetry", "opentelemetry_sdk", "tracing-opentelemetry", "tracing-subscriber"];

/// 132 when it was written; a minor update of a dependency may bring a few.
const MOST_CRATES: usize = 140;

/// The crates that reading JSON takes.
const MOST_OF_JSON: usize = 7;

/// The crates that are linked, each with its version.
fn crates(features: &[&str]) -> BTreeSet<String> {
    let mut tree = Command::new(env!("CARGO"));
    tree.current_dir(in_crate("")).args(["tree", "--locked", "--offline", "--edges", "normal", "--prefix", "none"]);
    let printed = run(tree.args(["--format", "{p}"]).args(features)).ok();
    let lines = printed.lines().map(|line| line.trim_end_matches(" (*)").to_owned());
    lines.filter(|line| !line.is_empty() && !line.starts_with("lanyard ")).collect()
}

/// Which of these crates are linked.
fn linked<'a>(crates: &BTreeSet<String>, names: &[&'a str]) -> Vec<&'a str> {
    let is_linked = |name: &&str| crates.iter().any(|one| one.split(' ').next() == Some(name));
    names.iter().copied().filter(is_linked).collect()
}

#[test]
fn the_client_links_few_crates_and_none_of_the_server() {
    let client = crates(&["--no-default-features", "--features", "client"]);
    assert_eq!(linked(&client, &OF_THE_SERVER), Vec::<&str>::new());
    assert_eq!(linked(&client, &OF_TRACING), Vec::<&str>::new());
    assert_eq!(linked(&client, &["rustls", "spiffe", "tonic"]), ["rustls", "spiffe", "tonic"]);
    assert!(client.len() <= MOST_CRATES, "{}: {client:#?}", client.len());
}

#[test]
fn with_tracing_the_client_links_opentelemetry_and_nothing_of_the_server() {
    let client = crates(&["--no-default-features", "--features", "client,opentelemetry"]);
    assert_eq!(linked(&client, &OF_THE_SERVER), Vec::<&str>::new());
    assert_eq!(linked(&client, &OF_TRACING), OF_TRACING);
}

#[test]
fn with_the_verifier_the_client_links_what_reads_json_and_nothing_else_of_the_server() {
    let client = crates(&["--no-default-features", "--features", "client"]);
    let verifier = crates(&["--no-default-features", "--features", "verifier"]);
    assert_eq!(linked(&verifier, &OF_THE_SERVER), ["serde", "serde_json"]);
    assert_eq!(linked(&verifier, &OF_TRACING), Vec::<&str>::new());
    assert!(verifier.len() <= client.len() + MOST_OF_JSON, "{verifier:#?}");
}

#[test]
fn the_default_features_link_all_that_the_client_must_not() {
    let server = crates(&[]);
    assert_eq!(linked(&server, &OF_THE_SERVER), OF_THE_SERVER);
    assert_eq!(linked(&server, &OF_TRACING), OF_TRACING);
}
