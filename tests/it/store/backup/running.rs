//! Exports of running servers, who may have one, and what an import does to the tokens that were issued before it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lanyard::authority::backup;
use lanyard::authority::clock::Clock;
use lanyard::authority::clock::Timestamp;
use lanyard::authority::state::RevocationRecord;
use lanyard::authority::state::Revoked;
use lanyard::authority::store::Expected;
use lanyard::authority::store::Store;
use lanyard::authority::store::Transaction;
use lanyard::proto::DenyReason;
use lanyard::proto::ExportStoreRequest;
use lanyard::proto::admin_service_client::AdminServiceClient;
use lanyard::store::memory::MemoryStore;
use tempfile::TempDir;
use tonic::Code;
use tonic::Status;

use crate::store::backup::config_of;
use crate::store::backup::export;
use crate::store::backup::records;
use crate::store::backup::stopped;
use crate::store::backup::store;
use crate::support::calls::use_of;
use crate::support::dev::ANY;
use crate::support::dev::Files;
use crate::support::dev::LAST_LINE;
use crate::support::dev::dev;
use crate::support::dev::server;
use crate::support::leaf::Leaf;
use crate::support::process::Process;
use crate::support::process::lanyard;
use crate::support::process::run;
use crate::support::process::text;
use crate::support::server::Setup;
use crate::support::server::TestServer;
use crate::support::server::certificate_of;
use crate::support::server::reason_of;

impl TestServer {
    /// The export that a peer gets.
    async fn exported_to(&self, leaf: &Leaf) -> Result<String, Status> {
        let mut admin = AdminServiceClient::new(self.channel(leaf));
        let mut messages = admin.export_store(ExportStoreRequest {}).await?.into_inner();
        let mut bytes = Vec::new();
        while let Some(message) = messages.message().await? {
            bytes.extend(message.data);
        }
        Ok(String::from_utf8(bytes).unwrap())
    }
}

#[tokio::test]
async fn an_admin_gets_what_the_files_have_after_the_stop_and_nobody_else_does() {
    let setup = stopped().await;
    let config = setup.path("lanyard.yaml");
    let server = setup.start().await.unwrap();
    for path in ["/checkout", "/proxy", "/nobody"] {
        let refused = server.exported_to(&server.svid(path)).await.unwrap_err();
        assert_eq!((refused.code(), reason_of(&refused).as_str()), (Code::PermissionDenied, "WRONG_ROLE"), "{path}");
    }
    let exported = server.exported_to(&server.svid("/admin")).await.unwrap();
    let exported: Vec<String> = exported.lines().map(ToOwned::to_owned).collect();
    store(&["export", "--config", text(&config)]).refused("another process uses the store", "leave out --config");
    let TestServer { server, setup, .. } = server;
    server.stop().await;
    assert_eq!(records(&exported), records(&export(&config)));
    drop(setup);
}

#[tokio::test]
async fn all_records_of_an_export_are_as_they_were_at_one_revision_while_others_write() {
    let setup = Setup::default();
    setup.write();
    let store: Arc<dyn Store> = Arc::new(MemoryStore::with_clock(Arc::clone(&setup.clock) as Arc<dyn Clock>));
    let key = |name: &str| Revoked::token(name).unwrap().store_key();
    let value = |number: u64| RevocationRecord::new(Timestamp(number), &"x".repeat(200), None).to_bytes().unwrap();
    // More than a message holds, between the two that are only ever written together.
    for number in 0..2000 {
        store.put(&key(&format!("b{number}")), value(1), Expected::Absent).await.unwrap();
    }
    let server = setup.start_on(Arc::clone(&store)).await.unwrap();
    let writer = tokio::spawn(async move {
        for number in 0.. {
            let both = Transaction::default().put(&key("a"), value(number)).put(&key("c"), value(number));
            store.transact(both).await.unwrap();
            tokio::task::yield_now().await;
        }
    });
    let mut revisions = BTreeSet::new();
    while revisions.len() < 10 {
        let exported = server.exported_to(&server.svid("/admin")).await.unwrap();
        let export = backup::read(exported.as_bytes()).unwrap();
        let found = |name: &str| export.records.iter().find(|record| record.key.ends_with(name));
        assert_eq!(found("/a").map(|record| &record.value), found("/c").map(|record| &record.value));
        revisions.insert(export.revision);
    }
    writer.abort();
}

/// A server on the store that an import of an export makes, with these flags.
async fn restored(setup: Setup, exported: &str, flags: &[&str]) -> TestServer {
    let file = setup.path("backup");
    fs::write(&file, exported).unwrap();
    let other = config_of(&setup, "other");
    store(&[&["import", text(&file), "--config", text(&other)], flags].concat()).ok();
    fs::rename(setup.path("data"), setup.path("before")).unwrap();
    fs::rename(setup.path("other"), setup.path("data")).unwrap();
    setup.start().await.unwrap()
}

#[tokio::test]
async fn tokens_from_before_an_import_are_refused_and_new_ones_are_not_unless_they_are_trusted() {
    for trusted in [false, true] {
        let server = stopped().await.start().await.unwrap();
        let leaf = server.svid("/checkout");
        let old = server.token(&leaf).await;
        let exported = server.exported_to(&server.svid("/admin")).await.unwrap();
        let TestServer { server, setup, .. } = server;
        server.stop().await;
        let flags: &[&str] = if trusted { &["--trust-tokens"] } else { &[] };
        let server = restored(setup, &exported, flags).await;
        let asked = async |token: &str| server.validate(token, certificate_of(&leaf)).await.unwrap().reason();
        let expected = if trusted { DenyReason::Unspecified } else { DenyReason::TokenRevoked };
        assert_eq!(asked(&old).await, expected);
        server.advance(Duration::from_secs(1));
        let new = server.token(&leaf).await;
        assert_eq!(asked(&new).await, DenyReason::Unspecified);
        assert_eq!(asked(&old).await, expected);
        // Its own connection's holder is refused as well.
        let own = server.ask(&leaf, use_of(&old)).await.unwrap().reason();
        assert_eq!(own, expected);
    }
}

/// `lanyard dev`, which serves a store in its directory.
pub(super) fn developing() -> (TempDir, Process, Files) {
    let directory = TempDir::new().unwrap();
    let process = Process::start(&mut dev(directory.path(), ANY));
    let printed = process.until(LAST_LINE);
    let files = Files { dir: directory.path().to_owned(), server: server(&printed) };
    (directory, process, files)
}

#[test]
fn the_command_exports_from_a_running_server_into_a_file_that_is_whole_or_not_there() {
    let (directory, process, files) = developing();
    let out = files.path("backup");
    let printed = files.run("admin", &["store", "export", "--out", text(&out)]).ok();
    assert!(printed.contains("records exported, as of revision"), "{printed}");
    let by_stdout = files.run("admin", &["store", "export"]).ok();
    let lines = |text: &str| text.lines().map(ToOwned::to_owned).collect::<Vec<_>>();
    assert_eq!(records(&lines(&fs::read_to_string(&out).unwrap())), records(&lines(&by_stdout)));
    fs::remove_file(&out).unwrap();
    files.run("workload", &["store", "export", "--out", text(&out)]).refused("(WRONG_ROLE)", "role Admin");
    let names = || fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
    assert!(!names().iter().any(|name| name.to_string_lossy().contains("backup")), "{:?}", names());
    files.run("admin", &["store", "export", "--out", "/nowhere/backup"]).refused("cannot write", "--out");
    files.run("admin", &["store", "export", "--out", text(directory.path())]).refused("is not a file", "--out");
    let without = run(lanyard().args(["store", "export"]));
    assert_eq!(without.code, Some(2), "{without:?}");
    process.end_by("TERM");
    let config = files.path("lanyard.yaml");
    assert_eq!(records(&export(&config)), records(&lines(&by_stdout)));
    restored_by(&files.path("copy"), &config, &by_stdout);
}

/// Imports an export as another server's.
fn restored_by(file: &Path, config: &Path, exported: &str) {
    fs::write(file, exported).unwrap();
    let yaml = fs::read_to_string(config).unwrap();
    let other: PathBuf = config.with_file_name("other.yaml");
    fs::write(&other, yaml.replace("path: data", "path: other").replace("path: \"data\"", "path: other")).unwrap();
    store(&["import", text(file), "--config", text(&other)]).ok();
    let imported = export(&other);
    assert!(imported.iter().any(|line| line.contains("\"/revocations/all-issued/*\"")), "{imported:?}");
}
