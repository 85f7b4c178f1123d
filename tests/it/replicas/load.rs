//! A constant mixed load on all replicas, whose answers are checked.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use lanyard::proto::revoke_token_request::Target;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio::time::timeout;
use tonic::Status;

use crate::replicas::fleet::COUNT;
use crate::replicas::fleet::Fleet;
use crate::replicas::fleet::Replica;
use crate::replicas::history::Counts;
use crate::replicas::history::History;
use crate::support::leaf::Leaf;
use crate::support::server::TRUST_DOMAIN;
use crate::support::test_process::Chance;

/// How many tokens there are. Each is revoked once at most, so that some are good to the end.
const TOKENS: usize = 240;

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(8);

/// How long each client rests between two requests: the load is there for the answers, not for its size.
const REST: Duration = Duration::from_millis(4);

/// The load, while it runs.
pub struct Load {
    shared: Arc<Shared>,
    clients: JoinSet<()>,
}

struct Shared {
    holder: Leaf,
    tokens: Vec<String>,
    replicas: watch::Sender<Vec<Replica>>,
    history: Mutex<History>,
    ends: watch::Sender<bool>,
}

impl Shared {
    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Load {
    /// Starts clients that validate, revoke and register at all replicas. Each run has a number of its own.
    pub async fn start(fleet: &Fleet, run: usize) -> Self {
        let holder = fleet.workload(0, &format!("/checkout/{run}")).await;
        let mut tokens = Vec::with_capacity(TOKENS);
        for number in 0..TOKENS {
            tokens.push(fleet.token(number % COUNT, &holder).await);
        }
        let replicas = watch::Sender::new((0..COUNT).map(|index| fleet.at(index)).collect());
        let shared =
            Arc::new(Shared { holder, tokens, replicas, history: Mutex::default(), ends: watch::Sender::new(false) });
        let mut clients = JoinSet::new();
        for seed in 0..4 {
            clients.spawn(validate(Arc::clone(&shared), seed));
        }
        clients.spawn(revoke(Arc::clone(&shared)));
        clients.spawn(register(Arc::clone(&shared), run));
        Self { shared, clients }
    }

    /// Goes on with the replicas as they are now: one that was started again has another address.
    pub fn follow(&self, fleet: &Fleet) {
        self.shared.replicas.send_replace((0..COUNT).map(|index| fleet.at(index)).collect());
    }

    pub fn counts(&self) -> Counts {
        self.shared.history().counts
    }

    /// Waits until as many more answers of some kind have come.
    pub async fn until(&self, more: usize, count: impl Fn(Counts) -> usize) {
        let wanted = count(self.counts()) + more;
        let waiting = async {
            while count(self.counts()) < wanted {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(Duration::from_mins(1), waiting).await.unwrap_or_else(|_| panic!("{:?}", self.counts()));
    }

    /// Ends the load, and checks that everything acknowledged is known to every replica.
    pub async fn finish(mut self, fleet: &Fleet) -> Counts {
        self.shared.ends.send_replace(true);
        while let Some(ended) = self.clients.join_next().await {
            ended.unwrap();
        }
        let (revoked, registered, good, counts) = {
            let history = self.shared.history();
            let good: Vec<usize> = (0..TOKENS).filter(|token| history.is_good(*token)).collect();
            (history.all_revoked(), history.registered.clone(), good, history.counts)
        };
        for index in 0..COUNT {
            let mut replica = fleet.at(index);
            let holder = &self.shared.holder;
            let reason = lanyard::proto::DenyReason::TokenRevoked;
            for token in &revoked {
                replica.until_denied(&self.shared.tokens[*token], holder, reason).await;
            }
            for token in &good {
                let answer = replica.validate(&self.shared.tokens[*token], holder).await.unwrap();
                assert_eq!(answer.decision(), lanyard::proto::Decision::Allow);
            }
            for client in &registered {
                let request = lanyard::proto::GetClientRequest { client_id: client.clone() };
                replica.registry().get_client(request).await.unwrap();
            }
        }
        counts
    }
}

async fn patiently<T>(call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    timeout(PATIENCE, call).await.unwrap_or_else(|_| Err(Status::deadline_exceeded("the client lost patience")))
}

async fn validate(shared: Arc<Shared>, seed: u64) {
    let mut chance = Chance::seeded(seed);
    while !*shared.ends.borrow() {
        let index = usize::try_from(chance.below(u64::try_from(COUNT).unwrap())).unwrap();
        let token = usize::try_from(chance.below(u64::try_from(TOKENS).unwrap())).unwrap();
        let mut replica = shared.replicas.borrow()[index].clone();
        let asked = Instant::now();
        let answer = patiently(replica.validate(&shared.tokens[token], &shared.holder)).await;
        shared.history().check(token, asked, &answer);
        tokio::time::sleep(REST).await;
    }
}

/// Revokes every second token, one after the other, at replicas in turn.
async fn revoke(shared: Arc<Shared>) {
    for token in (0..TOKENS).step_by(2) {
        if *shared.ends.borrow() {
            return;
        }
        let replica = shared.replicas.borrow()[token / 2 % COUNT].clone();
        shared.history().asks_to_revoke(token);
        let outcome = patiently(replica.revoke(Target::Token(shared.tokens[token].clone()))).await;
        shared.history().wrote(&outcome);
        if outcome.is_ok() {
            shared.history().revoked(token);
        }
        tokio::time::sleep(REST * 100).await;
    }
}

async fn register(shared: Arc<Shared>, run: usize) {
    let mut number = 0;
    while !*shared.ends.borrow() {
        let id = format!("spiffe://{TRUST_DOMAIN}/load/{run}/{number}");
        let replica = shared.replicas.borrow()[number % COUNT].clone();
        let outcome = patiently(replica.register(&id)).await;
        shared.history().wrote(&outcome);
        if outcome.is_ok() {
            shared.history().registered.push(id);
        }
        number += 1;
        tokio::time::sleep(REST * 50).await;
    }
}
