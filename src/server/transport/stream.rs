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

use crate::server::bounds::HEAD_TIME;
use crate::server::bounds::UNREAD_TIME;
use crate::server::transport::control_frames::ControlFrames;

/// The beginning of the HTTP/2 connection preface (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How long and how many bytes input is still read after all output has been sent. Closing a socket with unread input
/// resets the connection, and a peer that is still sending may then lose the last output.
const LINGER: (Duration, usize) = (Duration::from_secs(1), 1024 * 1024);

/// A stream without vectored writes, with time limits for the peer to show its HTTP version and to take output, and
/// with a bound for control frames.
///
/// A vectored write makes every HTTP/2 frame a TLS record of its own, which costs four tenths of the throughput of
/// issuing tokens. While hyper detects the HTTP version, none of its own time limits applies, so a peer that sends
/// nothing, or only the beginning of the preface, would be kept indefinitely.
#[derive(Debug)]
pub(super) struct Stream<S> {
    transport: S,
    version: Version,
    /// Runs while the peer takes no output.
    untaken: Option<Pin<Box<Sleep>>>,
    /// The peer has sent too many control frames: nothing more is read.
    refused: bool,
    /// Runs from the time at which the server's side of the stream has ended.
    closing: Option<Closing>,
}

/// The version of HTTP that the peer speaks.
#[derive(Debug)]
enum Version {
    /// Not known yet: the time for it, and the rest of the preface.
    Open {
        limit: Pin<Box<Sleep>>,
        rest: &'static [u8],
    },
    /// HTTP/1.1 has a time limit of its own.
    Http1,
    Http2(ControlFrames),
}

#[derive(Debug)]
struct Closing {
    limit: Pin<Box<Sleep>>,
    bytes: usize,
}

impl<S> Stream<S> {
    pub(super) fn new(stream: S) -> Self {
        let limit = Box::pin(tokio::time::sleep(HEAD_TIME));
        Self {
            transport: stream,
            version: Version::Open { limit, rest: PREFACE },
            untaken: None,
            refused: false,
            closing: None,
        }
    }

    /// An error where the peer takes no output for too long.
    fn taken<T>(&mut self, polled: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.untaken = None;
            return polled;
        }
        let limit = self.untaken.get_or_insert_with(|| Box::pin(tokio::time::sleep(UNREAD_TIME)));
        ready!(limit.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl Version {
    /// Processes received bytes. `false` where there are too many control frames.
    fn received(&mut self, bytes: &[u8]) -> bool {
        match self {
            Self::Http1 => true,
            Self::Http2(frames) => frames.received(bytes),
            Self::Open { rest, .. } => {
                let (here, after) = bytes.split_at_checked(rest.len()).unwrap_or((bytes, &[]));
                match rest.strip_prefix(here) {
                    None => *self = Self::Http1,
                    Some([]) => {
                        let mut frames = ControlFrames::new();
                        let calm = frames.received(after);
                        *self = Self::Http2(frames);
                        return calm;
                    }
                    Some(left) => *rest = left,
                }
                true
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Stream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        if !this.refused {
            let read = Pin::new(&mut this.transport).poll_read(context, buffer);
            if let Version::Open { limit, .. } = &mut this.version
                && read.is_pending()
                && limit.as_mut().poll(context).is_ready()
            {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            if this.version.received(buffer.filled().get(before..).unwrap_or_default()) {
                return read;
            }
            this.refused = true;
            buffer.set_filled(before);
            if let Version::Http2(frames) = &this.version
                && let Some(goaway) = frames.goaway()
            {
                // Whether it can be written now or not, the connection ends.
                drop(Pin::new(&mut this.transport).poll_write(context, &goaway));
            }
        }
        ready!(self.poll_shutdown(context))?;
        Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.refused {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let written = Pin::new(&mut this.transport).poll_write(context, bytes);
        if let (Version::Http2(frames), Poll::Ready(Ok(count))) = (&mut this.version, &written) {
            frames.sent(bytes.get(..*count).unwrap_or_default());
        }
        this.taken(written, context)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let flushed = Pin::new(&mut this.transport).poll_flush(context);
        this.taken(flushed, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.closing.is_none() {
            let shut_down = Pin::new(&mut this.transport).poll_shutdown(context);
            ready!(this.taken(shut_down, context))?;
        }
        let (time, bytes) = LINGER;
        let Self { transport, closing, .. } = this;
        let closing = closing.get_or_insert_with(|| Closing { limit: Box::pin(tokio::time::sleep(time)), bytes });
        let mut discarded = [0; 4096];
        while closing.bytes > 0 && closing.limit.as_mut().poll(context).is_pending() {
            let mut buffer = ReadBuf::new(&mut discarded);
            let read = ready!(Pin::new(&mut *transport).poll_read(context, &mut buffer));
            if read.is_err() || buffer.filled().is_empty() {
                break;
            }
            closing.bytes = closing.bytes.saturating_sub(buffer.filled().len());
        }
        Poll::Ready(Ok(()))
    }
}
