//! Threads for signatures that take long. An RSA-2048 signature takes as long as some twenty checks, which would wait for it
//! on a serving thread.

use std::sync::Arc;
use std::sync::LazyLock;
use std::thread;

use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;
use tokio::sync::SemaphorePermit;
use tokio::task;

use crate::authority::keys::SigningFailed;

/// How many signatures may be made or waited for, for each thread that makes them: about a tenth of a second of work.
pub(super) const WAITING: usize = 128;

/// The pool of the whole process, which uses half of the machine's cores.
pub(super) static SHARED: LazyLock<Pool> =
    LazyLock::new(|| Pool::new(thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2)), WAITING));

/// A bound on signatures in progress, and on those that wait.
#[derive(Debug)]
pub(super) struct Pool {
    /// A permit for each signature that is made or waited for.
    places: Semaphore,
    /// A permit for each one that is made.
    threads: Arc<Semaphore>,
}

impl Pool {
    pub(super) fn new(threads: usize, waiting: usize) -> Self {
        let places = Semaphore::new(threads.saturating_mul(waiting));
        Self { places, threads: Arc::new(Semaphore::new(threads)) }
    }

    /// Signs on a thread that serves no requests. Where there is no runtime, and so no other request, it signs here.
    pub(super) async fn sign<T: Send + 'static>(
        &self,
        sign: impl FnOnce() -> Result<T, SigningFailed> + Send + 'static,
    ) -> Result<T, SigningFailed> {
        if Handle::try_current().is_err() {
            return sign();
        }
        self.turn().await?.sign(sign).await
    }

    /// Waits for a thread.
    pub(super) async fn turn(&self) -> Result<Turn<'_>, SigningFailed> {
        let place = self.places.try_acquire().map_err(|_| SigningFailed::Busy)?;
        let thread = Arc::clone(&self.threads).acquire_owned().await.map_err(|_| SigningFailed::Failed)?;
        Ok(Turn { _place: place, thread })
    }
}

/// A thread of the pool that waits for its work.
pub(super) struct Turn<'a> {
    _place: SemaphorePermit<'a>,
    thread: OwnedSemaphorePermit,
}

impl Turn<'_> {
    /// Signs on the thread.
    pub(super) async fn sign<T: Send + 'static>(
        self,
        sign: impl FnOnce() -> Result<T, SigningFailed> + Send + 'static,
    ) -> Result<T, SigningFailed> {
        let thread = self.thread;
        let signing = task::spawn_blocking(move || {
            let signature = sign();
            // Not before the signature is made, although its request may be gone by then.
            drop(thread);
            signature
        });
        signing.await.unwrap_or(Err(SigningFailed::Failed))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_signature_beyond_those_that_may_wait_is_refused_and_the_others_are_made() {
        let pool = Arc::new(Pool::new(1, 2));
        let (go, gate) = mpsc::channel::<()>();
        let (began, has_begun) = tokio::sync::oneshot::channel::<()>();
        let first = {
            let pool = Arc::clone(&pool);
            tokio::spawn(async move {
                let signing = pool.sign(move || {
                    began.send(()).unwrap();
                    gate.recv().unwrap();
                    Ok(vec![1])
                });
                signing.await
            })
        };
        has_begun.await.unwrap();
        // This thread still polls other tasks: it is not the one that signs.
        let mut second = Box::pin(pool.sign(|| Ok(vec![2])));
        assert!(futures_util::poll!(&mut second).is_pending());
        assert_eq!(pool.sign(|| Ok(vec![3])).await, Err(SigningFailed::Busy));
        go.send(()).unwrap();
        assert_eq!(first.await.unwrap(), Ok(vec![1]));
        assert_eq!(second.await, Ok(vec![2]));
        assert_eq!(pool.sign(|| Ok(vec![4])).await, Ok(vec![4]));
    }

    #[tokio::test]
    async fn a_request_that_ends_while_it_waits_gives_its_place_back() {
        let pool = Pool::new(1, 1);
        let (go, gate) = mpsc::channel::<()>();
        let mut abandoned = Box::pin(pool.sign(move || {
            gate.recv().unwrap();
            Ok(vec![4])
        }));
        assert!(futures_util::poll!(&mut abandoned).is_pending());
        drop(abandoned);
        // The place is free again, and the thread is not before its signature is made.
        let mut next = Box::pin(pool.sign(|| Ok(vec![5])));
        assert!(futures_util::poll!(&mut next).is_pending());
        go.send(()).unwrap();
        assert_eq!(next.await, Ok(vec![5]));
    }
}
