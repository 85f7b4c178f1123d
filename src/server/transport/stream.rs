//! A wrapper around a connection's transport, below HTTP.

use std::io;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::task::ready;
use std::time::Duration;

use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;
use tokio::time::Sleep;

/// The beginning of the HTTP/2 connection preface (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How long input is still read after all output has been sent. Closing a socket with unread input resets the
/// connection, and a peer that is still sending may then lose the last output.
const LINGER: Duration = Duration::from_secs(1);

/// A stream without vectored writes, with a time limit for the peer to show its HTTP version.
///
/// A vectored write makes every HTTP/2 frame a TLS record of its own, which costs four tenths of the throughput of
/// issuing tokens. While hyper detects the HTTP version, none of its own time limits applies, so a peer that sends
/// nothing, or only the beginning of the preface, would be kept indefinitely.
#[derive(Debug)]
pub(in crate::server) struct Stream<S> {
    transport: S,
    opening: Option<Opening>,
    /// Runs from the time at which the server's side of the stream has ended.
    closing: Option<Pin<Box<Sleep>>>,
}

#[derive(Debug)]
struct Opening {
    limit: Pin<Box<Sleep>>,
    /// The rest of the preface.
    rest: &'static [u8],
}

impl<S> Stream<S> {
    pub(in crate::server) fn new(stream: S, limit: Duration) -> Self {
        Self {
            transport: stream,
            opening: Some(Opening { limit: Box::pin(tokio::time::sleep(limit)), rest: PREFACE }),
            closing: None,
        }
    }
}

impl Opening {
    /// Processes received bytes. `None` when the version is known: HTTP/1.1 has a time limit of its own.
    fn advance(self, bytes: &[u8]) -> Option<Self> {
        let rest = self.rest.strip_prefix(bytes).filter(|rest| !rest.is_empty())?;
        Some(Self { rest, ..self })
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Stream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.transport).poll_read(context, buffer);
        if let Some(mut opening) = self.opening.take() {
            if read.is_pending() && opening.limit.as_mut().poll(context).is_ready() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            self.opening = opening.advance(buffer.filled().get(before..).unwrap_or_default());
        }
        read
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.transport).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { transport, closing, .. } = &mut *self;
        if closing.is_none() {
            ready!(Pin::new(&mut *transport).poll_shutdown(context))?;
        }
        let limit = closing.get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER)));
        let mut discarded = [0; 4096];
        while limit.as_mut().poll(context).is_pending() {
            let mut buffer = ReadBuf::new(&mut discarded);
            let read = ready!(Pin::new(&mut *transport).poll_read(context, &mut buffer));
            if read.is_err() || buffer.filled().is_empty() {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }
}
