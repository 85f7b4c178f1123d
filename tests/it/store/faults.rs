//! A server on a store whose operations fail: before they are carried out, after it, or without ever answering. What was
//! acknowledged counts, what was not is repeated without harm, and decisions go on meanwhile.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use futures_util::StreamExt as _;
use lanyard::authority::clock::Clock;
use lanyard::authority::store::Expected;
use lanyard::authority::store::KeyRevisions;
use lanyard::authority::store::Listing;
use lanyard::authority::store::Revision;
use lanyard::authority::store::Store;
use lanyard::authority::store::StoreError;
use lanyard::authority::store::StoreFuture;
use lanyard::authority::store::Transaction;
use lanyard::authority::store::Versioned;
use lanyard::authority::store::Watch;
use lanyard::proto::Decision;
use lanyard::proto::IssueTokenRequest;
use tokio::sync::watch;
use tokio::time::Duration;
use tokio::time::timeout;
use tonic::Code;

use crate::store::store_contract::in_memory;
use crate::support::door::within;
use crate::support::etcd::FromZero;
use crate::support::leaf::Leaf;
use crate::support::revocation::client;
use crate::support::revocation::of;
use crate::support::server::Setup;
use crate::support::server::TestServer;
use crate::support::server::certificate_of;
use crate::support::server::spiffe_client;
use crate::support::test_process::open;

/// When an operation fails.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fault {
    /// It is not carried out.
    Before,
    /// It is carried out, and the answer is lost.
    After,
    /// It is not carried out, and there is no answer.
    Never,
}

/// Which operation fails.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Verb {
    Get,
    List,
    Transact,
}

/// A store with a fault in one of its operations, as long as one is set.
#[derive(Debug)]
struct Faulty {
    store: Arc<dyn Store>,
    fault: Mutex<Option<(Verb, Fault)>>,
    /// How often an operation has failed.
    failed: AtomicUsize,
    /// Ends the watches.
    breaks: watch::Sender<()>,
}

impl Faulty {
    fn set(&self, fault: Option<(Verb, Fault)>) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = fault;
    }

    fn fault_of(&self, verb: Verb) -> Option<Fault> {
        let fault = *self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        fault.filter(|(faulty, _)| *faulty == verb).map(|(_, fault)| fault)
    }

    fn run<'a, T: Send + 'a>(&'a self, verb: Verb, operation: StoreFuture<'a, T>) -> StoreFuture<'a, T> {
        Box::pin(async move {
            let Some(fault) = self.fault_of(verb) else { return operation.await };
            self.failed.fetch_add(1, Ordering::AcqRel);
            match fault {
                Fault::Before => {}
                Fault::After => drop(operation.await),
                Fault::Never => std::future::pending().await,
            }
            Err(StoreError::Unavailable("a fault was set".to_owned()))
        })
    }

    async fn has_failed(&self) {
        let before = self.failed.load(Ordering::Acquire);
        while self.failed.load(Ordering::Acquire) == before {
            tokio::task::yield_now().await;
        }
    }
}

impl Store for Faulty {
    fn get<'a>(&'a self, key: &'a str) -> StoreFuture<'a, Option<Versioned<Arc<[u8]>>>> {
        self.run(Verb::Get, self.store.get(key))
    }

    fn list<'a>(&'a self, prefix: &'a str) -> StoreFuture<'a, Listing> {
        self.run(Verb::List, self.store.list(prefix))
    }

    fn key_revisions<'a>(&'a self, after: &'a str, limit: usize) -> StoreFuture<'a, KeyRevisions> {
        self.store.key_revisions(after, limit)
    }

    fn transact(&self, transaction: Transaction) -> StoreFuture<'_, Revision> {
        self.run(Verb::Transact, self.store.transact(transaction))
    }

    fn watch(&self, prefix: &str, from: Revision) -> Watch {
        let mut breaks = self.breaks.subscribe();
        let broken = async move { drop(breaks.changed().await) };
        let error = futures_util::stream::iter([Err(StoreError::Unavailable("a fault was set".to_owned()))]);
        Box::pin(self.store.watch(prefix, from).take_until(Box::pin(broken)).chain(error))
    }

    fn health(&self) -> Result<(), StoreError> {
        self.store.health()
    }
}

mod memory {
    #[tokio::test]
    async fn whatever_fails_of_the_store_nothing_acknowledged_is_lost_and_decisions_go_on() {
        super::survives(super::in_memory()).await;
    }
}

mod sled {
    #[tokio::test]
    async fn whatever_fails_of_the_store_nothing_acknowledged_is_lost_and_decisions_go_on() {
        let directory = tempfile::tempdir().unwrap();
        super::survives(std::sync::Arc::new(super::open(directory.path()).unwrap())).await;
    }
}

mod etcd {
    #[tokio::test]
    async fn whatever_fails_of_the_store_nothing_acknowledged_is_lost_and_decisions_go_on() {
        let setup = super::Setup::default();
        let clock = std::sync::Arc::clone(&setup.clock) as std::sync::Arc<dyn super::Clock>;
        if let Some(store) = super::FromZero::start(clock).await {
            super::survives(store).await;
        }
    }
}

async fn survives(store: Arc<dyn Store>) {
    let faulty = Arc::new(Faulty {
        store,
        fault: Mutex::new(None),
        failed: AtomicUsize::new(0),
        breaks: watch::Sender::new(()),
    });
    let setup = Setup::default();
    setup.write();
    let server = setup.start_on(Arc::<Faulty>::clone(&faulty)).await.unwrap();
    let checkout = server.workload("/checkout").await;
    let token = server.token(&checkout).await;
    for fault in [Fault::Before, Fault::After, Fault::Never] {
        let name = format!("spiffe://prod.example/{fault:?}").to_lowercase();
        faulty.set(Some((Verb::Transact, fault)));
        // Nobody is told that it was stored.
        let registering = timeout(Duration::from_millis(300), server.register(spiffe_client(&name)));
        match registering.await {
            Ok(answer) => assert_eq!(answer.unwrap_err().code(), Code::Unavailable, "{fault:?}"),
            Err(_) => assert_eq!(fault, Fault::Never),
        }
        let mut admin = server.tokens(&server.svid("/admin"));
        let revoking = timeout(Duration::from_millis(300), admin.revoke_token(of(client(&name))));
        if let Ok(answer) = revoking.await {
            assert_eq!(answer.unwrap_err().code(), Code::Unavailable, "{fault:?}");
        }
        // Decisions and tokens need no store.
        let allowed = server.validate(&token, certificate_of(&checkout)).await.unwrap();
        assert_eq!(allowed.decision(), Decision::Allow, "{fault:?}");
        server.issue(&checkout, IssueTokenRequest::default()).await.unwrap();
        faulty.set(None);
        // The same again does no harm, and is true then.
        if let Err(status) = server.register(spiffe_client(&name)).await {
            assert_eq!((status.code(), fault), (Code::AlreadyExists, Fault::After));
        }
        server.revoke(client(&name)).await;
        // Its certificate is refused in the handshake.
        server.issue_as(&server.svid(name.trim_start_matches("spiffe://prod.example")), &name).await.unwrap_err();
    }
    for fault in [Fault::Before, Fault::After] {
        followed_again(&server, &faulty, &checkout, fault).await;
    }
}

/// The watch ends, and reading everything again fails at first: what happens meanwhile is known afterwards.
async fn followed_again(server: &TestServer, faulty: &Arc<Faulty>, holder: &Leaf, fault: Fault) {
    let listing = faulty.store.list("/clients/").await.unwrap();
    let (key, stored) = listing.entries.into_iter().find(|(key, _)| key.ends_with("checkout")).unwrap();
    server.issue(holder, IssueTokenRequest::default()).await.unwrap();
    faulty.set(Some((Verb::List, fault)));
    faulty.breaks.send_replace(());
    within(faulty.has_failed()).await;
    // Another replica deletes the client.
    faulty.store.delete(&key, Expected::Any).await.unwrap();
    server.issue(holder, IssueTokenRequest::default()).await.unwrap();
    within(faulty.has_failed()).await;
    faulty.set(None);
    within(async {
        while server.issue(holder, IssueTokenRequest::default()).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    // And now the watch is followed again.
    faulty.store.put(&key, stored.value.to_vec(), Expected::Absent).await.unwrap();
    within(async {
        while server.issue(holder, IssueTokenRequest::default()).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
