//! kill -9 while keys are sealed anew: each opens with one of the two key-encryption keys.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lanyard::authority::Authority;
use lanyard::authority::clock::SystemEntropy;
use lanyard::authority::keys::KEYS;
use lanyard::authority::keys::SigningAlgorithm;
use lanyard::authority::keys::SigningKeys;
use lanyard::authority::store::Expected;
use lanyard::authority::store::Store;

use super::reseal::sealed_under;
use crate::support::NOW;
use crate::support::as_of_now::AsOfNow as _;
use crate::support::authority::ADMIN;
use crate::support::authority::TestAuthority;
use crate::support::keys::new_record;
use crate::support::keys::put;
use crate::support::test_process::Chance;
use crate::support::test_process::Process;
use crate::support::test_process::let_pass;
use crate::support::test_process::open;
use crate::support::test_process::own_directory;
use crate::support::test_process::say;

/// The key-encryption keys of the process: the one that seals, then the one before.
const ORDER: &str = "LANYARD_TEST_KEYS";

const KEY_COUNT: usize = 40;

/// Seals all keys of a store anew, and says when it begins and ends.
#[test]
#[ignore = "a process that other tests start"]
fn resealing_process() {
    let Some(directory) = own_directory() else { return };
    let order = std::env::var_os(ORDER).unwrap().into_string().unwrap();
    let order: Vec<u8> = order.bytes().map(|digit| digit - b'0').collect();
    let fixture = TestAuthority::new();
    let (policy, trust) = (fixture.authority.policy().clone(), (*fixture.authority.trust()).clone());
    let store: Arc<dyn Store> = Arc::new(open(&directory).unwrap());
    let (clock, entropy) = (Arc::clone(&fixture.clock), Arc::new(SystemEntropy::default()));
    let keys = SigningKeys::new(SigningAlgorithm::Es256);
    let authority = Authority::new(policy, clock, entropy, store, keys, sealed_under(&order), trust);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let done = runtime.block_on(async {
        authority.load().await.unwrap();
        let admin = authority.as_caller(&fixture.svid(ADMIN));
        say("begins");
        authority.reseal_keys(&admin).await.unwrap()
    });
    assert_eq!(done.resealed + done.already, KEY_COUNT);
    say("ends");
}

/// How many keys open with these key-encryption keys.
async fn opened(directory: &Path, order: &[u8]) -> usize {
    let (store, sealer) = (open(directory).unwrap(), sealed_under(order));
    let entries = store.list(KEYS).await.unwrap().entries;
    assert_eq!(entries.len(), KEY_COUNT);
    entries.iter().filter(|(key, stored)| sealer.open(key, &stored.value).is_ok()).count()
}

#[tokio::test]
async fn after_kill_9_at_any_moment_each_key_opens_with_one_of_the_two() {
    survives(8).await;
}

#[tokio::test]
#[ignore = "long: 200 rounds; .ci/run-long runs it"]
async fn long_after_each_of_many_kills_each_key_opens_with_one_of_the_two() {
    println!("of 200 rounds {} were killed before the last key was sealed", survives(200).await);
}

/// Returns how many rounds ended before all keys were sealed anew.
async fn survives(rounds: usize) -> usize {
    let folder = tempfile::TempDir::new().unwrap();
    let directory = folder.path().join("data");
    {
        let store = open(&directory).unwrap();
        for _ in 0..KEY_COUNT {
            put(&store, &new_record(&sealed_under(&[1]), SigningAlgorithm::Es256, NOW).0, Expected::Absent).await;
        }
    }
    let seed = Chance::new_seed();
    let mut chance = Chance::seeded(seed);
    let (mut order, mut unfinished) = ([2, 1], 0);
    for round in 0..rounds {
        let text = order.map(|byte| byte.to_string()).concat();
        let variables = [(ORDER, text.as_ref())];
        let process = Process::start("keys::reseal_crash::resealing_process", &directory, &variables);
        while process.next_line().expect("it begins") != "begins" {}
        let_pass(Duration::from_millis(chance.below(40)));
        let printed = process.kill();
        let done = printed.iter().any(|line| line == "ends");
        let mut before = order;
        before.reverse();
        for both in [order, before] {
            assert_eq!(opened(&directory, &both).await, KEY_COUNT, "round {round} of seed {seed}");
        }
        if done {
            assert_eq!(opened(&directory, &order[..1]).await, KEY_COUNT, "round {round} of seed {seed}");
        } else {
            unfinished += 1;
        }
        // The next one goes on, or goes back.
        if done || chance.below(2) == 0 {
            order.reverse();
        }
    }
    // To its end.
    let text = order.map(|byte| byte.to_string()).concat();
    let last = Process::start("keys::reseal_crash::resealing_process", &directory, &[(ORDER, text.as_ref())]);
    assert!(last.finish().is_some_and(|(lines, succeeded)| succeeded && lines.iter().any(|line| line == "ends")));
    assert_eq!(opened(&directory, &order[..1]).await, KEY_COUNT);
    unfinished
}
