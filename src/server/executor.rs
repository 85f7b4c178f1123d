//! Runs the requests of an HTTP/2 connection.

use std::task::Context;
use std::task::Waker;

use hyper::rt::Executor;

/// Runs each request at once within its connection's task, for as long as it waits for nothing. Most requests never wait:
/// a task for each, which is queued behind all others, would cost as much as the parsing of its frames, and under
/// overload also those that are refused would wait for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct AtOnce;

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for AtOnce {
    fn execute(&self, future: F) {
        let mut future = Box::pin(future);
        // What it waits for need not wake this task: one of its own asks again at once.
        if future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
            tokio::spawn(future);
        }
    }
}
