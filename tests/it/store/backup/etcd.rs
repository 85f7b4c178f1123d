//! From sled to etcd and back.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use lanyard::authority::clock::SystemClock;
use lanyard::authority::state::REPLICAS;
use lanyard::authority::store::Expected;
use lanyard::authority::store::Store as _;

use crate::store::backup::config_of;
use crate::store::backup::export;
use crate::store::backup::records;
use crate::store::backup::stopped;
use crate::store::backup::store;
use crate::support::etcd::Single;
use crate::support::process::text;

#[tokio::test]
async fn what_is_moved_to_etcd_and_back_is_the_same() {
    let Some(etcd) = Single::start(&[]) else { return };
    let setup = stopped().await;
    let (sled, back) = (setup.path("lanyard.yaml"), config_of(&setup, "back"));
    let in_etcd = setup.path("etcd.yaml");
    let section = format!("{{etcd: {{endpoints: ['{}']}}}}", etcd.url);
    fs::write(&in_etcd, fs::read_to_string(&sled).unwrap().replace("{sled: {path: data}}", &section)).unwrap();
    let migrate = |from: &Path, to: &Path| store(&["migrate", "--from", text(from), "--to", text(to)]);

    let before = export(&sled);
    migrate(&sled, &in_etcd).ok();
    assert_eq!(records(&export(&in_etcd)), records(&before));
    let verified = store(&["verify", "--config", text(&in_etcd), "-o", "json"]).json(0);
    assert_eq!((&verified["faults"], &verified["records"]), (&serde_json::json!([]), &records(&before).len().into()));
    migrate(&in_etcd, &back).ok();
    assert_eq!(records(&export(&back)), records(&before));

    // It is not empty any more; and a running replica uses it.
    migrate(&sled, &in_etcd).refused("not empty", "name an empty store");
    let there = etcd.store("/lanyard", Arc::new(SystemClock)).await;
    there.put(&format!("{REPLICAS}other"), b"{}".to_vec(), Expected::Any).await.unwrap();
    store(&["export", "--config", text(&in_etcd)]).refused("is used by the replica other", "leave out --config");
    store(&["compact", "--config", text(&in_etcd)]).refused("the store is in etcd", "etcdctl");
}
