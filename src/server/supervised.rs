//! Tasks that last as long as the server. A panic must not end their work: otherwise withdrawn bundles or revocations
//! would go unnoticed and what they withdraw would stay in effect.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::task::JoinSet;

use crate::authority::Authority;

/// How long to wait before a task is restarted: the cause of the panic may persist.
const PAUSE: Duration = Duration::from_secs(1);

/// Runs a task to its end, and restarts it each time that it panics. Each panic is counted and logged. State that tasks
/// share is swapped or restored as a whole, so that the next run finds it consistent.
pub(super) fn spawn<T>(
    tasks: &mut JoinSet<()>,
    authority: &Arc<Authority>,
    name: &'static str,
    task: impl Fn() -> T + Send + 'static,
) where
    T: Future<Output = ()> + Send + 'static,
{
    let authority = Arc::clone(authority);
    tasks.spawn(run(name, task, move || authority.metrics().panicked()));
}

/// The same, before there is an authority that counts the panics.
pub(super) async fn run<T>(name: &'static str, task: impl Fn() -> T, panicked: impl Fn())
where
    T: Future<Output = ()>,
{
    while AssertUnwindSafe(task()).catch_unwind().await.is_err() {
        panicked();
        tracing::error!(task = name, "a task panicked and is restarted");
        tokio::time::sleep(PAUSE).await;
    }
}
