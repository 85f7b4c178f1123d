//! The threads that serve connections, one current-thread runtime each.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::authority::Authority;
use crate::server::stage::Stage;
use crate::server::transport::connection::Limits;
use crate::server::transport::connection::serve;
use crate::server::transport::door::Incoming;
use crate::tls::acceptor::Acceptor;

/// How long calls of the system that are under way at the end may take.
const LAST_CALLS: Duration = Duration::from_secs(1);

/// How many accepted connections may wait for a thread to take them up.
const QUEUE: usize = 1024;

/// All serving threads.
#[derive(Debug)]
pub(in crate::server) struct Workers {
    dispatcher: Dispatcher,
    finished: Vec<oneshot::Receiver<()>>,
    deadline: watch::Sender<Option<Duration>>,
}

/// Deals connections out to the threads in turn.
#[derive(Clone, Debug)]
pub(in crate::server) struct Dispatcher {
    queues: Arc<[mpsc::Sender<Incoming>]>,
    next: Arc<AtomicUsize>,
}

impl Dispatcher {
    /// Hands a connection to the next thread. `None` where no thread takes any more.
    pub(in crate::server) async fn deal(&self, incoming: Incoming) -> Option<()> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed).checked_rem(self.queues.len())?;
        self.queues.get(turn)?.send(incoming).await.ok()
    }
}

impl Workers {
    pub(in crate::server) fn start(
        threads: usize,
        acceptor: &Arc<Acceptor>,
        authority: &Arc<Authority>,
        limits: Limits,
        stages: &watch::Receiver<Stage>,
    ) -> io::Result<Self> {
        let (deadline, deadlines) = watch::channel(None);
        let (mut queues, mut finished) = (Vec::new(), Vec::new());
        for number in 0..threads.max(1) {
            let (sender, queue) = mpsc::channel(QUEUE);
            let (done, ended) = oneshot::channel::<()>();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let worker = Worker {
                acceptor: Arc::clone(acceptor),
                authority: Arc::clone(authority),
                limits,
                stages: stages.clone(),
                deadlines: deadlines.clone(),
            };
            thread::Builder::new().name(format!("lanyard-serve-{number}")).spawn(move || {
                runtime.block_on(worker.run(queue));
                // With it go the last tasks, and what they hold of the store: it can be opened again once this is done. What
                // only waits for the system, such as for a name, is not waited for.
                runtime.shutdown_timeout(LAST_CALLS);
                drop(done);
            })?;
            queues.push(sender);
            finished.push(ended);
        }
        let dispatcher = Dispatcher { queues: queues.into(), next: Arc::default() };
        Ok(Self { dispatcher, finished, deadline })
    }

    pub(in crate::server) fn dispatcher(&self) -> Dispatcher {
        self.dispatcher.clone()
    }

    /// Waits until every connection has ended, those that listeners still hand on among them, and cuts off those that have
    /// not after `limit`.
    pub(in crate::server) async fn finish(self, limit: Duration) {
        let Self { dispatcher, finished, deadline } = self;
        deadline.send_replace(Some(limit));
        drop(dispatcher);
        for ended in finished {
            // The sender is only ever dropped: that is the sign.
            drop(ended.await);
        }
    }
}

struct Worker {
    acceptor: Arc<Acceptor>,
    authority: Arc<Authority>,
    limits: Limits,
    stages: watch::Receiver<Stage>,
    deadlines: watch::Receiver<Option<Duration>>,
}

impl Worker {
    async fn run(self, mut queue: mpsc::Receiver<Incoming>) {
        let mut deadlines = self.deadlines.clone();
        let over = async {
            // A server that is dropped rather than stopped waits for nothing.
            let limit = deadlines.wait_for(Option::is_some).await.map_or(None, |limit| *limit);
            tokio::time::sleep(limit.unwrap_or_default()).await;
        };
        tokio::select! {
            () = self.serve_all(&mut queue) => {}
            () = over => tracing::warn!("connections were cut off that had not finished in time"),
        }
    }

    /// Serves until no listener hands on any more, and every connection has ended.
    async fn serve_all(&self, queue: &mut mpsc::Receiver<Incoming>) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                Some(incoming) = queue.recv() => {
                    let (acceptor, authority) = (Arc::clone(&self.acceptor), Arc::clone(&self.authority));
                    connections.spawn(serve(incoming, acceptor, authority, self.limits, self.stages.clone()));
                }
                Some(ended) = connections.join_next() => survived(ended, &self.authority),
                else => return,
            }
        }
    }
}

/// A panic outside of any request, such as in a handshake, ends its own connection and no other.
fn survived(ended: Result<(), tokio::task::JoinError>, authority: &Authority) {
    if let Err(error) = ended
        && error.is_panic()
    {
        authority.metrics().panicked();
        tracing::error!("a connection's task panicked");
    }
}
