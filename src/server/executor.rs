//! Runs the requests of an HTTP/2 connection.

use std::fmt;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::task::Context;
use std::task::Waker;

use hyper::rt::Executor;

/// Runs requests within their connection's task, for as long as they wait for nothing. Most never wait: a task for each,
/// which is queued behind all others, would cost as much as the parsing of its frames, and under overload also those
/// that are refused would wait for it.
///
/// They run once everything that has arrived is read. To run each as soon as it is read would make its answer a write of
/// its own: hyper writes what there is before it takes the next request.
#[derive(Clone, Default)]
pub(super) struct Together(Arc<Mutex<Vec<Request>>>);

type Request = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Together {
    /// Polls a connection whose requests these are, and then them. Their answers wake the connection's task, which
    /// writes them.
    pub(super) fn poll<T>(&self, connection: impl FnOnce() -> T) -> T {
        let polled = connection();
        for mut request in mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)) {
            // What it waits for need not wake this task: one of its own asks again at once.
            if request.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
                tokio::spawn(request);
            }
        }
        polled
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Together {
    fn execute(&self, request: F) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Box::pin(request));
    }
}

impl fmt::Debug for Together {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Together").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::sync::atomic::Ordering;

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn requests_run_after_what_was_read_and_those_that_wait_go_on_by_themselves() {
        let (requests, ran) = (Together::default(), Arc::new(AtomicBool::new(false)));
        let runs = Arc::clone(&ran);
        requests.poll(|| {
            requests.execute(async move { runs.store(true, Ordering::Relaxed) });
            assert!(!ran.load(Ordering::Relaxed));
        });
        assert!(ran.load(Ordering::Relaxed));
        let (go, waits) = oneshot::channel::<()>();
        let (done, ended) = oneshot::channel();
        requests.poll(|| {
            requests.execute(async move {
                waits.await.unwrap();
                done.send(()).unwrap();
            });
        });
        go.send(()).unwrap();
        ended.await.unwrap();
    }
}
