//! SIGTERM's way through the server ends within its limit although the store answers nothing.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use lanyard::authority::store::Revision;
use lanyard::authority::store::Store;
use lanyard::authority::store::StoreError;
use lanyard::authority::store::StoreFuture;
use lanyard::authority::store::Transaction;
use lanyard::authority::store::Watch;
use lanyard::proto::Decision;
use lanyard::proto::revoke_token_request::Target;
use lanyard::store::memory::MemoryStore;
use tokio::sync::Notify;

use crate::support::door::within;
use crate::support::revocation::of;
use crate::support::server::Setup;
use crate::support::server::certificate_of;
use crate::support::stores::reads_of_the_store;

/// A store that takes no write any more, and does not say so either.
#[derive(Debug, Default)]
struct Hanging {
    store: MemoryStore,
    hangs: AtomicBool,
    asked: Notify,
}

impl Store for Hanging {
    reads_of_the_store!();

    fn transact(&self, transaction: Transaction) -> StoreFuture<'_, Revision> {
        if self.hangs.load(Ordering::Relaxed) {
            self.asked.notify_one();
            return Box::pin(std::future::pending());
        }
        self.store.transact(transaction)
    }

    fn watch(&self, prefix: &str, from: Revision) -> Watch {
        self.store.watch(prefix, from)
    }

    fn health(&self) -> Result<(), StoreError> {
        self.store.health()
    }
}

#[tokio::test]
async fn a_server_whose_store_takes_no_write_serves_decisions_and_stops_within_its_limit() {
    let store = Arc::new(Hanging::default());
    let setup = Setup { tls: "  drain_timeout: 1s".to_owned(), ..Setup::default() };
    setup.write();
    let server = setup.start_on(Arc::<Hanging>::clone(&store)).await.unwrap();
    let checkout = server.workload("/checkout").await;
    let token = server.token(&checkout).await;
    store.hangs.store(true, Ordering::Relaxed);
    let mut tokens = server.tokens(&server.svid("/admin"));
    let request = of(Target::Jti("any".to_owned()));
    let waiting = tokio::spawn(async move { tokens.revoke_token(request).await });
    within(store.asked.notified()).await;
    // Decisions come from memory.
    let allowed = within(server.validate(&token, certificate_of(&checkout))).await.unwrap();
    assert_eq!(allowed.decision(), Decision::Allow);
    within(server.server.stop()).await;
    // Whoever waits for the store is not told that it is revoked.
    within(waiting).await.unwrap().unwrap_err();
}
