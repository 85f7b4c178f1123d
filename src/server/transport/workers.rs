//! The threads that serve connections, with one current-thread runtime each.

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
use crate::server::middleware::ThreadLimits;
use crate::server::stage::Stage;
use crate::server::transport::connection::serve;
use crate::server::transport::door::Incoming;
use crate::server::transport::time_limits::Limits;
use crate::tls::acceptor::Acceptor;

/// How long blocking calls that are under way at shutdown may take.
const LAST_CALLS: Duration = Duration::from_secs(1);

/// How many accepted connections may wait for a thread.
const QUEUE: usize = 1024;

/// All serving threads.
#[derive(Debug)]
pub(in crate::server) struct Workers {
    dispatcher: Dispatcher,
    finished: Vec<oneshot::Receiver<()>>,
    deadline: watch::Sender<Option<Duration>>,
}

/// Distributes connections among the threads in turn.
#[derive(Clone, Debug)]
pub(in crate::server) struct Dispatcher {
    queues: Arc<[mpsc::Sender<Incoming>]>,
    next: Arc<AtomicUsize>,
}

impl Dispatcher {
    /// Hands a connection to the next thread. `None` where that thread accepts no more.
    pub(in crate::server) async fn dispatch(&self, incoming: Incoming) -> Option<()> {
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
        thread_limits: impl Fn() -> ThreadLimits,
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
                thread: thread_limits(),
                stages: stages.clone(),
                deadlines: deadlines.clone(),
            };
            thread::Builder::new().name(format!("lanyard-serve-{number}")).spawn(move || {
                runtime.block_on(worker.run(queue));
                // This drops the last tasks and their references to the store, which can be opened again afterwards.
                // Blocking calls, such as name resolution, are only waited for up to the limit.
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

    /// Waits until every connection has ended, including those that listeners still hand over, and closes the rest
    /// after `limit`.
    pub(in crate::server) async fn finish(self, limit: Duration) {
        let Self { dispatcher, finished, deadline } = self;
        deadline.send_replace(Some(limit));
        drop(dispatcher);
        for ended in finished {
            // The sender never sends; dropping it is the signal.
            drop(ended.await);
        }
    }
}

struct Worker {
    acceptor: Arc<Acceptor>,
    authority: Arc<Authority>,
    limits: Limits,
    thread: ThreadLimits,
    stages: watch::Receiver<Stage>,
    deadlines: watch::Receiver<Option<Duration>>,
}

impl Worker {
    async fn run(self, mut queue: mpsc::Receiver<Incoming>) {
        let mut deadlines = self.deadlines.clone();
        // A task like those of the connections, which waits as long as they do. It ends with the runtime.
        tokio::spawn(Arc::clone(&self.thread.admission).run());
        let over = async {
            // A server that is dropped without being stopped waits for nothing.
            let limit = deadlines.wait_for(Option::is_some).await.map_or(None, |limit| *limit);
            tokio::time::sleep(limit.unwrap_or_default()).await;
        };
        tokio::select! {
            () = self.serve_all(&mut queue) => {}
            () = over => tracing::warn!("connections were cut off that had not finished in time"),
        }
    }

    /// Serves until no listener hands over connections any more, and every connection has ended.
    async fn serve_all(&self, queue: &mut mpsc::Receiver<Incoming>) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                Some(incoming) = queue.recv() => {
                    let (acceptor, authority) = (Arc::clone(&self.acceptor), Arc::clone(&self.authority));
                    let thread = self.thread.clone();
                    let stages = self.stages.clone();
                    connections.spawn(serve(incoming, acceptor, authority, self.limits, thread, stages));
                }
                Some(ended) = connections.join_next() => log_panic(ended, &self.authority),
                else => return,
            }
        }
    }
}

/// A panic outside of any request, such as in a handshake, ends only its own connection.
fn log_panic(ended: Result<(), tokio::task::JoinError>, authority: &Authority) {
    if let Err(error) = ended
        && error.is_panic()
    {
        authority.metrics().panicked();
        tracing::error!("a connection's task panicked");
    }
}
