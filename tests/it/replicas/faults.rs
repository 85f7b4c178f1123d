//! Faults of etcd and of replicas under a constant mixed load: no answer is wrong, and nothing acknowledged is lost.

use std::time::Duration;

use crate::replicas::fleet::BOUND;
use crate::replicas::fleet::COUNT;
use crate::replicas::fleet::Fleet;
use crate::replicas::history::Counts;
use crate::replicas::load::Load;
use crate::support::etcd::Options;
use crate::support::test_process::Chance;

/// etcd takes no more writes once it is this large.
const QUOTA: u64 = 24 * 1024 * 1024;

/// What goes wrong.
#[derive(Clone, Copy, Debug)]
enum Fault {
    LeaderKilled,
    MemberFrozen,
    ReplicaCutOff,
    Compacted,
    ReplicaKilled,
    RestartedOneByOne,
    NoQuorum,
    Full,
    CertificateExpired,
}

const ALL: [Fault; 9] = [
    Fault::LeaderKilled,
    Fault::MemberFrozen,
    Fault::ReplicaCutOff,
    Fault::Compacted,
    Fault::ReplicaKilled,
    Fault::RestartedOneByOne,
    Fault::NoQuorum,
    Fault::Full,
    Fault::CertificateExpired,
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_fails_no_answer_is_wrong_and_nothing_acknowledged_is_lost() {
    let Some(mut fleet) = Fleet::start(Options { quota: QUOTA, ..Options::default() }).await else { return };
    let load = Load::start(&fleet, 0).await;
    for fault in ALL {
        let before = load.counts();
        happen(fault, &mut fleet, &load).await;
        recovered(&load).await;
        report(fault, before, load.counts());
    }
    println!("in all: {:?}", load.finish(&fleet).await);
}

/// The same for half an hour, in another order each time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes half an hour"]
async fn long_whatever_fails_no_answer_is_wrong_and_nothing_acknowledged_is_lost() {
    let Some(mut fleet) = Fleet::start(Options { quota: QUOTA, ..Options::default() }).await else { return };
    let seed = Chance::new_seed();
    let mut chance = Chance::seeded(seed);
    println!("seed {seed}");
    let end = tokio::time::Instant::now() + Duration::from_mins(30);
    for run in 0.. {
        if tokio::time::Instant::now() > end {
            break;
        }
        let load = Load::start(&fleet, run).await;
        for _ in 0..ALL.len() {
            let fault = ALL[usize::try_from(chance.below(u64::try_from(ALL.len()).unwrap())).unwrap()];
            let before = load.counts();
            happen(fault, &mut fleet, &load).await;
            recovered(&load).await;
            report(fault, before, load.counts());
        }
        println!("in all: {:?}", load.finish(&fleet).await);
    }
}

fn report(fault: Fault, before: Counts, after: Counts) {
    let Counts { allowed, denied, stale, unreachable, written, not_written } = after;
    println!(
        "{fault:?}: {} allowed, {} denied, {} stale, {} unreachable; {} written, {} not",
        allowed - before.allowed,
        denied - before.denied,
        stale - before.stale,
        unreachable - before.unreachable,
        written - before.written,
        not_written - before.not_written,
    );
}

/// All goes on as before.
async fn recovered(load: &Load) {
    load.until(6, |counts| counts.written).await;
    load.until(100, |counts| counts.allowed).await;
}

async fn happen(fault: Fault, fleet: &mut Fleet, load: &Load) {
    match fault {
        Fault::LeaderKilled => {
            let leader = fleet.cluster.leader();
            fleet.cluster.kill(leader);
            recovered(load).await;
            fleet.cluster.start_member(leader);
        }
        Fault::MemberFrozen => {
            for member in [fleet.cluster.leader(), 0] {
                fleet.cluster.freeze(member);
                recovered(load).await;
                fleet.cluster.thaw(member);
            }
        }
        Fault::ReplicaCutOff => {
            fleet.cut(1);
            load.until(20, |counts| counts.stale).await;
            fleet.mend(1);
        }
        Fault::Compacted => {
            // While one cannot follow.
            fleet.cut(0);
            load.until(5, |counts| counts.written).await;
            fleet.cluster.compact(1);
            fleet.mend(0);
        }
        Fault::ReplicaKilled => {
            fleet.kill_replica(2);
            load.until(20, |counts| counts.unreachable).await;
            fleet.start_replica(2);
            load.follow(fleet);
        }
        Fault::RestartedOneByOne => {
            for index in 0..COUNT {
                fleet.stop_replica(index);
                fleet.start_replica(index);
                load.follow(fleet);
                recovered(load).await;
            }
        }
        Fault::NoQuorum => {
            let leader = fleet.cluster.leader();
            let other = (leader + 1) % COUNT;
            fleet.cluster.kill(leader);
            fleet.cluster.kill(other);
            load.until(50, |counts| counts.stale).await;
            // An outage of etcd does not take the replicas out of service before the bound is over, and none is wrong
            // after it.
            fleet.cluster.start_member(leader);
            fleet.cluster.start_member(other);
        }
        Fault::Full => {
            fleet.cluster.fill();
            load.until(5, |counts| counts.not_written).await;
            // Reads, and so decisions, go on beyond the bound.
            tokio::time::sleep(BOUND + BOUND / 2).await;
            let stale = load.counts().stale;
            load.until(200, |counts| counts.allowed).await;
            assert_eq!(load.counts().stale, stale, "a full etcd can be followed");
            fleet.cluster.make_room();
        }
        Fault::CertificateExpired => {
            fleet.cluster.write_expired_client_certificate();
            // Open connections go on; a new one is refused.
            fleet.cut(1);
            load.until(5, |counts| counts.stale).await;
            fleet.mend(1);
            load.until(20, |counts| counts.stale).await;
            assert_ne!(fleet.metric(1, "lanyard_store_writable"), "1");
            fleet.cluster.write_client_certificate();
        }
    }
}
