//! Replicas that are restarted one by one behind a real Envoy.

use std::path::Path;

use crate::replicas::fleet::COUNT;
use crate::replicas::rolling::Rolling;
use crate::support::child::BINARY;

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn no_request_fails_while_all_replicas_are_restarted_behind_envoy() {
    let Some(mut rolling) = Rolling::start(Path::new(BINARY)).await else { return };
    for index in 0..COUNT {
        rolling.replace(index, Path::new(BINARY)).await;
    }
    let (_, passed) = rolling.finish().await;
    println!("{passed} requests through Envoy while {COUNT} replicas were restarted, none failed");
}
