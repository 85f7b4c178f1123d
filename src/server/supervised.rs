//! Tasks that last as long as the server does. A panic in one must not be the end of what it does: what is never looked at
//! again, such as a withdrawn bundle or a revocation, would go on counting without anybody hearing of it.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::task::JoinSet;

use crate::authority::Authority;

/// How long to wait before a task starts anew: what broke it may still be there.
const PAUSE: Duration = Duration::from_secs(1);

/// Runs a task to its end, and again from its start each time that it panics. Each panic is counted and logged. What tasks
/// share is swapped or put back whole, so that the next run finds it in order.
pub(super) fn spawn<T>(
    tasks: &mut JoinSet<()>,
    authority: &Arc<Authority>,
    name: &'static str,
    task: impl Fn() -> T + Send + 'static,
) where
    T: Future<Output = ()> + Send + 'static,
{
    let authority = Arc::clone(authority);
    tasks.spawn(async move {
        while AssertUnwindSafe(task()).catch_unwind().await.is_err() {
            authority.metrics().panicked();
            tracing::error!(task = name, "a task panicked, and starts anew");
            tokio::time::sleep(PAUSE).await;
        }
    });
}
