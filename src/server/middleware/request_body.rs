//! The body of a request: it arrives within its time and at a least rate, and what is held of it is bounded.
//!
//! The body of a method that takes a stream of messages may pause between them for as long as it likes, and nothing is
//! held meanwhile. The same holds for it that holds for a whole body, for each message.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::OnceLock;
use std::task::Context;
use std::task::Poll;
use std::task::ready;
use std::time::Duration;

use axum::body::Body;
use hyper::Request;
use hyper::body::Body as HttpBody;
use hyper::body::Bytes;
use hyper::body::Frame;
use hyper::body::Incoming;
use hyper::body::SizeHint;
use tokio::time::Instant;
use tokio::time::Sleep;
use tonic::Status;

use crate::authority::access::CalledMethod;
use crate::authority::access::Exceeded;
use crate::grpc::status;
use crate::limits::Share;
use crate::server::bounds::BODY_RATE;
use crate::server::bounds::BODY_TIME;
use crate::server::bounds::MAX_BODY_TIME;
use crate::server::bounds::PIECE_BYTES;
use crate::server::middleware::buffers::Buffers;
use crate::server::middleware::buffers::Held;
use crate::server::middleware::messages::Messages;

/// Why a body was not read to its end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Cut {
    /// It did not arrive within its time.
    TooSlow,
    /// The caller or the connection already holds as much as it may.
    NoRoom(Exceeded),
}

impl From<Cut> for Status {
    fn from(cut: Cut) -> Self {
        match cut {
            Cut::TooSlow => Self::deadline_exceeded("the request did not arrive in time"),
            Cut::NoRoom(exceeded) => status::not_admitted(exceeded.into()),
        }
    }
}

/// Why the body of a request was cut, once it was.
#[derive(Clone, Debug, Default)]
pub(in crate::server) struct WhyCut(Arc<OnceLock<Cut>>);

impl WhyCut {
    pub(super) fn cut(&self) -> Option<Cut> {
        self.0.get().copied()
    }
}

/// A body as it arrives. Many requests have none.
pub(in crate::server) fn arrived(body: Incoming) -> Body {
    if body.is_end_stream() { Body::empty() } else { Body::new(body) }
}

/// A body of which this has been taken already.
pub(super) fn after(taken: Bytes, body: Incoming) -> Body {
    if taken.is_empty() { arrived(body) } else { Body::new(Taken { taken, body }) }
}

struct Taken {
    taken: Bytes,
    body: Incoming,
}

impl HttpBody for Taken {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if self.taken.is_empty() {
            return Pin::new(&mut self.body).poll_frame(context);
        }
        Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.taken)))))
    }

    fn is_end_stream(&self) -> bool {
        self.taken.is_empty() && self.body.is_end_stream()
    }
}

/// Puts the body of a request for this method within its bounds. What is held of it counts for this share.
pub(in crate::server) fn within_bounds(
    mut request: Request<Body>,
    method: CalledMethod,
    share: &Arc<Share>,
) -> (Request<Body>, WhyCut) {
    let why = WhyCut::default();
    let request = match request.extensions_mut().remove::<Arc<Buffers>>() {
        Some(buffers) if !request.body().is_end_stream() => {
            let (kind, held) = (Kind::of(method), buffers.hold(share));
            request.map(|body| Body::new(RequestBody::new(body, kind, held, why.clone())))
        }
        _ => request.map(|_| Body::empty()),
    };
    (request, why)
}

/// A body within its bounds. The error is a [`Status`], which gRPC sends as it is.
#[derive(Debug)]
struct RequestBody<B = Body> {
    body: B,
    kind: Kind,
    held: Held,
    /// How many of the bytes that are held have been announced and have not arrived.
    announced: usize,
    /// How many of the bytes that are held belong to a message that has begun. The others are read once more is asked
    /// for.
    begun: Option<usize>,
    time: Option<Time>,
    why: WhyCut,
}

/// How a body is read.
#[derive(Debug)]
enum Kind {
    /// As pieces that are kept until it is whole.
    Whole,
    /// As one message in gRPC's framing, for which the reader makes room once its length is known.
    Message(Messages),
    /// As messages, one after the other.
    Stream(Messages),
}

impl Kind {
    fn of(method: CalledMethod) -> Self {
        if method.entry().is_some_and(|entry| entry.takes_a_stream) {
            Self::Stream(Messages::default())
        } else if method.is_grpc() {
            Self::Message(Messages::default())
        } else {
            Self::Whole
        }
    }
}

/// The longest message that any method reads, in bytes. The reader refuses a longer one, and makes no room for it.
const LONGEST: usize = 1024 * 1024;

/// The time that is left.
#[derive(Debug)]
struct Time {
    limit: Pin<Box<Sleep>>,
    /// The end, however much arrives.
    end: Instant,
}

impl Time {
    fn new() -> Self {
        let begun = Instant::now();
        Self { limit: Box::pin(tokio::time::sleep_until(begun + BODY_TIME)), end: begun + MAX_BODY_TIME }
    }

    fn extend(&mut self, bytes: usize) {
        let more = Duration::from_secs(1) / BODY_RATE * u32::try_from(bytes).unwrap_or(u32::MAX);
        let extended = self.limit.deadline() + more.min(MAX_BODY_TIME);
        self.limit.as_mut().reset(extended.min(self.end));
    }
}

impl<B> RequestBody<B> {
    fn new(body: B, kind: Kind, held: Held, why: WhyCut) -> Self {
        Self { body, kind, held, announced: 0, begun: None, time: None, why }
    }

    fn cut(&mut self, cut: Cut) -> Status {
        self.held.keep(0);
        // The first reason is kept.
        self.why.0.get_or_init(|| cut);
        cut.into()
    }

    /// Whether something has begun that has to end.
    fn has_begun(&self) -> bool {
        match &self.kind {
            Kind::Whole | Kind::Message(_) => true,
            Kind::Stream(messages) => messages.has_begun(),
        }
    }

    /// Counts what arrived.
    fn arrived(&mut self, data: &Bytes) -> Result<(), Cut> {
        let before = self.announced;
        match &mut self.kind {
            Kind::Whole => {}
            Kind::Message(messages) => {
                messages.advance(data);
                self.announced = messages.announced().filter(|bytes| *bytes <= LONGEST).unwrap_or_default();
            }
            Kind::Stream(messages) => {
                if let Some(begun) = messages.advance(data) {
                    self.time = None;
                    self.begun = Some(if begun == 0 { 0 } else { begun.saturating_add(PIECE_BYTES) });
                }
            }
        }
        if data.is_empty() {
            return Ok(());
        }
        // What was announced and has arrived is held already.
        let held = data.len().saturating_add(PIECE_BYTES).saturating_add(self.announced).saturating_sub(before);
        self.held.add(held).map_err(Cut::NoRoom)?;
        if let Some(time) = &mut self.time {
            time.extend(data.len());
        }
        Ok(())
    }
}

impl<B: HttpBody<Data = Bytes, Error: Into<axum::BoxError>> + Unpin> HttpBody for RequestBody<B> {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        let this = &mut *self;
        if let Some(begun) = this.begun.take() {
            this.held.keep(begun);
        }
        let polled = Pin::new(&mut this.body).poll_frame(context);
        if polled.is_pending() && this.has_begun() {
            // Most bodies arrive with their head, and need no timer.
            ready!(this.time.get_or_insert_with(Time::new).limit.as_mut().poll(context));
            return Poll::Ready(Some(Err(this.cut(Cut::TooSlow).into())));
        }
        let Some(frame) = ready!(polled) else {
            this.held.keep(0);
            return Poll::Ready(None);
        };
        let frame = frame.map_err(Into::into)?;
        if let Some(data) = frame.data_ref()
            && let Err(cut) = this.arrived(data)
        {
            return Poll::Ready(Some(Err(this.cut(cut).into())));
        }
        // A piece that is kept must not keep all that was read with it from the connection.
        let is_kept = matches!(this.kind, Kind::Whole) && !this.body.is_end_stream();
        Poll::Ready(Some(Ok(if is_kept { frame.map_data(|data| Bytes::copy_from_slice(&data)) } else { frame })))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;
    use crate::authority::access::Limit;
    use crate::server::middleware::buffers::tests::share;

    /// A body of these pieces, after which nothing more comes.
    struct Pieces(Vec<&'static [u8]>);

    impl HttpBody for Pieces {
        type Data = Bytes;
        type Error = hyper::Error;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
            if self.0.is_empty() { Poll::Pending } else { Poll::Ready(Some(Ok(Frame::data(self.0.remove(0).into())))) }
        }
    }

    /// Reads a body as far as it comes. Returns it, and the status that it ended with.
    fn read(kind: Kind, memory: usize, pieces: &[&'static [u8]]) -> (RequestBody<Pieces>, Option<Status>) {
        let share = share(memory);
        let held = Buffers::of(Arc::clone(&share)).hold(&share);
        let mut body = RequestBody::new(Pieces(pieces.to_vec()), kind, held, WhyCut::default());
        let mut context = Context::from_waker(Waker::noop());
        loop {
            match Pin::new(&mut body).poll_frame(&mut context) {
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(error))) => return (body, Some(*error.downcast::<Status>().unwrap())),
                Poll::Ready(None) | Poll::Pending => return (body, None),
            }
        }
    }

    fn stream() -> Kind {
        Kind::Stream(Messages::default())
    }

    fn message() -> Kind {
        Kind::Message(Messages::default())
    }

    #[tokio::test]
    async fn a_body_has_its_time_and_more_for_each_kibibyte_up_to_an_end() {
        let (mut body, _) = read(Kind::Whole, 1 << 40, &[b"begun"]);
        let time = body.time.as_mut().unwrap();
        let begun = time.end - MAX_BODY_TIME;
        assert_eq!(time.limit.deadline() - begun, BODY_TIME);
        time.extend(usize::try_from(BODY_RATE).unwrap() * 4);
        let extended = time.limit.deadline() - begun;
        assert!((BODY_TIME + Duration::from_millis(3999)..=BODY_TIME + Duration::from_secs(4)).contains(&extended));
        time.extend(1 << 30);
        assert_eq!(time.limit.deadline(), time.end);
        // It is over.
        time.limit.as_mut().reset(Instant::now());
        time.limit.as_mut().await;
        let polled = Pin::new(&mut body).poll_frame(&mut Context::from_waker(Waker::noop()));
        let Poll::Ready(Some(Err(error))) = polled else { panic!("it goes on") };
        assert_eq!(error.downcast::<Status>().unwrap().code(), tonic::Code::DeadlineExceeded);
        assert_eq!(body.why.cut(), Some(Cut::TooSlow));
        assert_eq!(body.held.free(), 1 << 40, "it is held on");
    }

    #[tokio::test]
    async fn only_a_message_that_has_begun_has_a_time_in_a_stream() {
        let cases: [(&[&'static [u8]], bool); 5] = [
            (&[], false),
            (&[&[0, 0, 0, 0, 1, b'a']], false),
            (&[&[0, 0, 0, 0, 1]], true),
            (&[&[0, 0, 0, 0, 1], b"a"], false),
            (&[&[0, 0, 0, 0, 1, b'a', 0]], true),
        ];
        for (pieces, timed) in cases {
            assert_eq!(read(stream(), usize::MAX, pieces).0.time.is_some(), timed, "{pieces:?}");
            assert!(read(Kind::Whole, usize::MAX, pieces).0.time.is_some(), "{pieces:?}");
            assert!(read(message(), usize::MAX, pieces).0.time.is_some(), "{pieces:?}");
        }
    }

    #[tokio::test]
    async fn what_is_held_of_a_body_is_bounded_and_of_a_stream_only_its_unfinished_message() {
        const MESSAGE: &[u8] = &[0, 0, 0, 0, 1, b'a'];
        let room = 4 * 2 * (MESSAGE.len() + PIECE_BYTES);
        let (body, ended) = read(Kind::Whole, room, &[MESSAGE; 10]);
        assert_eq!(ended.map(|status| status.code()), Some(tonic::Code::ResourceExhausted));
        assert_eq!(body.why.cut(), Some(Cut::NoRoom(Limit::BufferedBytes.into())));
        assert!(read(stream(), room, &[MESSAGE; 10]).1.is_none());
        assert!(read(Kind::Whole, room, &[MESSAGE]).1.is_none());
        let unfinished: &[u8] = &[0, 0, 0, 0, 9, b'a'];
        assert!(read(stream(), room, &[MESSAGE, unfinished]).1.is_none());
        assert!(read(stream(), room, &[unfinished, b"b", b"c", b"d"]).1.is_some());
    }

    #[tokio::test]
    async fn the_room_for_a_message_is_held_once_its_length_is_known_and_not_twice() {
        let head: &[u8] = &[0, 0, 0, 3, 232];
        let counted = |pieces: &[&'static [u8]]| {
            let (body, ended) = read(message(), 1 << 20, pieces);
            assert!(ended.is_none());
            (1 << 20) - body.held.free()
        };
        assert_eq!(counted(&[&head[..4]]), 4 + PIECE_BYTES);
        assert_eq!(counted(&[head]), 5 + PIECE_BYTES + 1000);
        assert_eq!(counted(&[head, &[0; 600]]), 5 + 2 * PIECE_BYTES + 1000);
        assert_eq!(counted(&[head, &[0; 600], &[0; 400]]), 5 + 3 * PIECE_BYTES + 1000);
        // Nobody makes room for one that is too long.
        assert_eq!(counted(&[&[0, 0xff, 0xff, 0xff, 0xff], b"a"]), 6 + 2 * PIECE_BYTES);
        let (body, ended) = read(message(), 4000, &[head]);
        assert_eq!(ended.map(|status| status.code()), Some(tonic::Code::ResourceExhausted));
        assert_eq!(body.why.cut(), Some(Cut::NoRoom(Limit::BufferedBytes.into())));
    }
}
