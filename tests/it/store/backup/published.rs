//! What clients published is moved with everything else, and where it is damaged, nothing but it is lost.

use std::fs;

use lanyard::authority::store::Expected;
use lanyard::authority::store::Store as _;

use crate::published_jwks::jwks_uri::poll;
use crate::published_jwks::jwks_uri::publishing;
use crate::published_jwks::jwks_uri::token;
use crate::published_jwks::jwks_uri::written;
use crate::store::backup::config_of;
use crate::store::backup::export;
use crate::store::backup::records;
use crate::store::backup::store;
use crate::support::ca::self_signed;
use crate::support::process::text;
use crate::support::server::TestServer;
use crate::support::test_process::open;

#[tokio::test]
async fn what_clients_published_is_imported_and_a_damaged_one_is_named_and_left_out() {
    let (setup, publisher) = written("", |setup| setup.store = "{sled: {path: data}}".to_owned()).await;
    let server = setup.start().await.unwrap();
    let leaf = self_signed("billing").issue();
    publisher.publish(&[&leaf]);
    server.register(publishing(&publisher.uri())).await.unwrap();
    poll(&server).await;
    assert!(token(&server, &leaf).await.is_ok());
    let TestServer { server, setup, .. } = server;
    server.stop().await;
    publisher.answer(503, "", b"");

    let (config, file) = (setup.path("lanyard.yaml"), setup.path("backup"));
    let imported_into = |name: &str| {
        let other = config_of(&setup, name);
        store(&["export", "--config", text(&config), "--out", text(&file)]).ok();
        store(&["import", text(&file), "--config", text(&other), "--trust-tokens"]).ok();
        assert_eq!(records(&export(&other)), records(&export(&config)));
        other
    };
    let key = "/published-jwks/billing";
    let other = imported_into("other");
    assert!(records(&export(&other)).iter().any(|line| line.starts_with(&format!("{{\"key\":\"{key}\",\"expires\":"))));
    let verified = store(&["verify", "--config", text(&other)]).ok();
    assert!(verified.contains("/published-jwks/ 1"), "{verified}");

    open(&setup.path("data")).unwrap().put(key, b"{\"schema\":1}".to_vec(), Expected::Any).await.unwrap();
    let damaged = imported_into("damaged");
    let verified = store(&["verify", "--config", text(&damaged)]);
    assert_eq!(verified.code, Some(1));
    assert!(verified.stdout.contains(&format!("{key}: what is kept of a client's jwks_uri cannot be used")));

    let mut setup = setup;
    for (directory, accepted) in [("other", true), ("damaged", false)] {
        fs::remove_dir_all(setup.path("data")).unwrap();
        fs::rename(setup.path(directory), setup.path("data")).unwrap();
        let server = setup.start().await.unwrap();
        assert_eq!(token(&server, &leaf).await.is_ok(), accepted, "{directory}");
        let TestServer { server, setup: stopped, .. } = server;
        server.stop().await;
        setup = stopped;
    }
}
