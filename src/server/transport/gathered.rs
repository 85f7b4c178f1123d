//! What HTTP writes to a connection while it is polled, sent together afterwards.
//!
//! h2 writes each DATA frame of more than 1,024 bytes by itself, in two pieces, and flushes after each: two TLS records and two
//! system calls for an answer. Whoever polls the connection knows when it has written all that it can, and sends it then.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;

/// The most that is gathered, in bytes: the largest TLS record.
const MOST: usize = 16 * 1024;

/// A stream, shared by the HTTP connection, which reads and writes, and by whoever polls the connection, which sends.
///
/// What has been gathered is not seen by those who count unread answers, so it is bounded; and nothing is gathered for a peer that
/// takes nothing.
#[derive(Debug)]
pub(super) struct Gathered<S>(Arc<Mutex<Output<S>>>);

#[derive(Debug)]
struct Output<S> {
    stream: S,
    /// What is to be sent; no allocation while there is nothing.
    pieces: Vec<u8>,
    /// How many bytes of it have been sent.
    sent: usize,
    /// Something was written since the stream was flushed.
    unflushed: bool,
    /// The stream has not taken all that was to be sent.
    stuck: bool,
}

impl<S> Gathered<S> {
    pub(super) fn new(stream: S) -> Self {
        Self(Arc::new(Mutex::new(Output { stream, pieces: Vec::new(), sent: 0, unflushed: false, stuck: false })))
    }

    /// The same stream. The two are never used at the same time.
    pub(super) fn shared(&self) -> Self {
        Self(Arc::clone(&self.0))
    }

    fn output(&self) -> MutexGuard<'_, Output<S>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: AsyncWrite + Unpin> Gathered<S> {
    /// Sends what has been written. To be called each time after the connection was polled.
    pub(super) fn poll_send(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut output = self.output();
        if output.unflushed { output.poll_flushed(context) } else { Poll::Ready(Ok(())) }
    }
}

impl<S: AsyncWrite + Unpin> Output<S> {
    /// Writes what has been gathered to the stream.
    fn poll_written(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, pieces, sent, stuck, .. } = self;
        while let Some(rest) = pieces.get(*sent..).filter(|rest| !rest.is_empty()) {
            *stuck = true;
            match ready!(Pin::new(&mut *stream).poll_write(context, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => *sent += count,
            }
        }
        (*pieces, *sent, *stuck) = (Vec::new(), 0, false);
        Poll::Ready(Ok(()))
    }

    fn poll_flushed(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_written(context))?;
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        self.unflushed = false;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gathered<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.output().stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gathered<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut output = self.output();
        if output.stuck || output.pieces.len() >= MOST {
            ready!(output.poll_written(context))?;
        }
        let (taken, _) = bytes.split_at_checked(MOST - output.pieces.len()).unwrap_or((bytes, &[]));
        output.pieces.extend_from_slice(taken);
        output.unflushed = true;
        Poll::Ready(Ok(taken.len()))
    }

    /// Nothing is sent: whoever polls the connection does that.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut output = self.output();
        ready!(output.poll_flushed(context))?;
        Pin::new(&mut output.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    /// A peer that takes so many bytes, and what it has got in which pieces.
    #[derive(Debug, Default)]
    struct Peer {
        takes: usize,
        pieces: Vec<usize>,
        flushed: usize,
        shut_down: bool,
    }

    impl AsyncWrite for Peer {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            let taken = bytes.len().min(self.takes);
            if taken == 0 {
                return Poll::Pending;
            }
            self.takes -= taken;
            self.pieces.push(taken);
            Poll::Ready(Ok(taken))
        }

        fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.flushed += 1;
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.shut_down = true;
            Poll::Ready(Ok(()))
        }
    }

    struct Connection {
        http: Gathered<Peer>,
        driver: Gathered<Peer>,
    }

    impl Connection {
        fn to(takes: usize) -> Self {
            let driver = Gathered::new(Peer { takes, ..Peer::default() });
            Self { http: driver.shared(), driver }
        }

        /// What HTTP may write of so many bytes.
        fn write(&mut self, bytes: usize) -> Option<usize> {
            let mut context = Context::from_waker(Waker::noop());
            let written = Pin::new(&mut self.http).poll_write(&mut context, &vec![0; bytes]);
            assert!(Pin::new(&mut self.http).poll_flush(&mut context).is_ready());
            match written {
                Poll::Ready(count) => Some(count.unwrap()),
                Poll::Pending => None,
            }
        }

        fn send(&self) -> bool {
            self.driver.poll_send(&mut Context::from_waker(Waker::noop())).map(Result::unwrap).is_ready()
        }

        fn takes(&self, bytes: usize) {
            self.driver.output().stream.takes += bytes;
        }

        fn got(&self) -> Vec<usize> {
            self.driver.output().stream.pieces.clone()
        }
    }

    #[test]
    fn what_is_written_in_one_poll_is_sent_in_one_piece_and_nothing_is_kept() {
        let mut connection = Connection::to(usize::MAX);
        assert_eq!(
            [50, 1500, 9, 1500].map(|bytes| connection.write(bytes)),
            [Some(50), Some(1500), Some(9), Some(1500)]
        );
        assert_eq!(connection.got(), [0; 0], "before the poll is over");
        assert!(connection.send());
        assert_eq!(connection.got(), [3059]);
        assert_eq!(connection.driver.output().pieces.capacity(), 0);
        assert_eq!(connection.driver.output().stream.flushed, 1);
        // Nothing was written since.
        assert!(connection.send());
        assert_eq!(connection.driver.output().stream.flushed, 1);
    }

    #[test]
    fn more_than_a_record_is_sent_as_it_comes() {
        let mut connection = Connection::to(usize::MAX);
        assert_eq!(connection.write(MOST - 1), Some(MOST - 1));
        assert_eq!(connection.write(100), Some(1), "the record is full");
        assert_eq!(connection.write(99), Some(99));
        assert_eq!(connection.got(), [MOST]);
        assert!(connection.send());
        assert_eq!(connection.got(), [MOST, 99]);
    }

    #[test]
    fn nothing_more_is_gathered_for_a_peer_that_takes_nothing_until_it_has_taken_all() {
        let mut connection = Connection::to(10);
        assert_eq!(connection.write(30), Some(30));
        assert!(!connection.send());
        assert_eq!(connection.write(1), None);
        connection.takes(19);
        assert_eq!(connection.write(1), None);
        assert!(!connection.send());
        connection.takes(1);
        assert_eq!(connection.write(5), Some(5));
        connection.takes(5);
        assert!(connection.send());
        assert_eq!(connection.got(), [10, 19, 1, 5]);
    }

    #[test]
    fn a_connection_is_shut_down_after_what_was_written() {
        let mut connection = Connection::to(10);
        assert_eq!(connection.write(30), Some(30));
        let mut context = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut connection.http).poll_shutdown(&mut context).is_pending());
        assert!(!connection.driver.output().stream.shut_down);
        connection.takes(20);
        assert!(Pin::new(&mut connection.http).poll_shutdown(&mut context).is_ready());
        assert!(connection.driver.output().stream.shut_down);
        assert_eq!(connection.got(), [10, 20]);
    }
}
