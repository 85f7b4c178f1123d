//! Exports, imports, migrations, and the check of a store.

mod compaction;
mod crash;
mod damage;
mod etcd;
mod faults;
mod granted;
mod moves;
mod newer;
mod published;
mod replays;
mod running;

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use lanyard::authority::clock::Timestamp;
use lanyard::authority::state::RevocationRecord;
use lanyard::authority::state::Revoked;
use lanyard::authority::store::Expected;
use lanyard::authority::store::Store as _;
use lanyard::proto::Client;
use lanyard::proto::ProtectedResource;

use crate::support::check;
use crate::support::process::Finished;
use crate::support::process::lanyard;
use crate::support::process::run;
use crate::support::process::text;
use crate::support::revocation::client;
use crate::support::server::Setup;
use crate::support::server::TestServer;
use crate::support::server::spiffe_client;
use crate::support::test_process::open;

/// Runs `lanyard store`.
fn store(arguments: &[&str]) -> Finished {
    run(lanyard().arg("store").args(arguments))
}

/// A stopped server whose store, in `data`, has records of most kinds.
async fn stopped() -> Setup {
    let server = TestServer::started(|setup| setup.store = "{sled: {path: data}}".to_owned()).await;
    server.workload("/checkout").await;
    let pattern = "spiffe://prod.example/ns/*".to_owned();
    server.register(Client { client_id: "all".to_owned(), spiffe_id: pattern, ..spiffe_client("") }).await.unwrap();
    let authorities = vec!["orders.prod.example".to_owned()];
    server.protect(ProtectedResource { authorities, ..check::orders() }).await.unwrap();
    server.revoke(client("spiffe://prod.example/somebody")).await;
    let TestServer { server, setup, .. } = server;
    server.stop().await;
    setup
}

/// Adds this many revocations of tokens to the store in a directory.
async fn add_revocations(directory: &Path, count: u64) {
    let store = open(directory).unwrap();
    for number in 0..count {
        let record = RevocationRecord::new(Timestamp(number), &"x".repeat(200), Some(Timestamp(u64::MAX / 2)));
        let key = Revoked::token(&format!("token-{number}")).unwrap().store_key();
        store.put(&key, record.to_bytes().unwrap(), Expected::Absent).await.unwrap();
    }
}

/// The configuration of another server that differs by its store, in this directory.
fn config_of(setup: &Setup, directory: &str) -> PathBuf {
    let yaml = fs::read_to_string(setup.path("lanyard.yaml")).unwrap();
    assert!(yaml.contains("{path: data}"));
    let path = setup.path(&format!("{directory}.yaml"));
    fs::write(&path, yaml.replace("{path: data}", &format!("{{path: {directory}}}"))).unwrap();
    path
}

/// Exports the store of a stopped server, and returns the lines.
fn export(config: &Path) -> Vec<String> {
    let exported = store(&["export", "--config", text(config)]).ok();
    exported.lines().map(ToOwned::to_owned).collect()
}

/// The lines of the records alone: without the header, and the last line with the checksum that covers it.
fn records(lines: &[String]) -> &[String] {
    &lines[1..lines.len() - 1]
}
