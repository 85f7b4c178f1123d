//! Every bound of a connection that is ours to set, with its reason, and those that h2 and hyper set themselves.
//!
//! What a peer can make the server hold, in bytes: of unfinished requests and unread answers at most
//! `limits.buffered_bytes`, of all connections together, and of one connection at most a fifth of it (see
//! `middleware/buffers.rs`); besides, of each connection, what it has sent and no handler has read yet, at most [`WINDOW`], and one head, at most four
//! times [`MAX_HEAD_BYTES`].
//!
//! rustls bounds itself what is its own, and ends the connection beyond it: a handshake message of 64 KiB, in whatever
//! pieces; 32 empty records, 32 key updates without application data between, 4 warnings, 2 messages for middleboxes; one
//! attempt at renegotiation, which it does not answer. `pressure::floods` in the tests holds it to that.

use std::time::Duration;

use hyper_util::rt::TokioTimer;
use hyper_util::server::conn::auto;

use crate::server::executor::Together;

/// A place among the handshakes goes to a waiting one when its holder has kept it for this long. A peer needs one round
/// trip and one signature, also around the world and while a whole mesh reconnects; whoever takes longer may be kept
/// waiting on purpose.
pub(super) const HANDSHAKE_PATIENCE: Duration = Duration::from_millis(500);

/// What part of the places one origin may hold once half of them are taken: a sixteenth. A gateway with 50 replicas
/// behind one address is through its handshakes many times faster than it opens connections, so it never meets it.
pub(super) const SHARES: usize = 16;

/// The largest header of the PROXY protocol, in bytes after its first 16. Its addresses take up to 216, and what load
/// balancers add of themselves (identifiers, names) some hundred more.
pub(super) const MAX_PROXY_HEADER_BYTES: usize = 2048;

/// How long a connection beyond its caller's share may still take: it has GOAWAY, or an answer to one request.
pub(super) const REFUSED_TIME: Duration = Duration::from_secs(2);

/// How long accepting pauses after the first error that no peer caused, such as that there are no more file
/// descriptors; each further one doubles it, up to the second value. To ask again at once would keep a core busy.
pub(super) const ACCEPT_PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// How long the accept loop waits for the place of a connection that it has just ended to make room for another.
pub(super) const ROOM_TIMEOUT: Duration = Duration::from_secs(1);

/// The largest size of a request's header fields, in bytes: room for a token and a certificate. A block that decodes to
/// more is answered with 431; one of four times as much (an HPACK bomb), or in more CONTINUATION frames than it needs
/// (at least 5), ends the connection with `ENHANCE_YOUR_CALM`.
const MAX_HEAD_BYTES: u32 = 64 * 1024;

/// How long a request's head may take to arrive, and before the first one the HTTP/2 preface. Over HTTP/1.1 it is also
/// how long a connection may wait for its next request.
pub(super) const HEAD_TIME: Duration = Duration::from_secs(10);

/// The most streams of a connection at a time: the least that RFC 9113 section 6.5.2 recommends. A proxy's thread rarely has
/// more checks under way. Under overload it is what keeps a peer from sending: what waits there costs nothing, where to refuse
/// a check that has been sent costs as much as to answer it from the caches. Further streams are refused
/// (`REFUSED_STREAM`), which clients repeat.
const MAX_STREAMS: u32 = 100;

/// How many streams a peer may reset before the server has looked at them (CVE-2023-44487, rapid reset): a client that
/// gives up a call has sent it some time before. One more ends the connection with `ENHANCE_YOUR_CALM`.
const MAX_RESETS_BEFORE_ACCEPT: usize = 20;

/// How many streams of a connection may end by a fault of its peer, such as those beyond [`MAX_STREAMS`]
/// (CVE-2025-8671, "made you reset"): as many as a client may open before it has read the server's settings. One more
/// ends the connection with `ENHANCE_YOUR_CALM`.
const MAX_FAULTY_STREAMS: usize = 1024;

/// What a peer may send ahead of what is read, in bytes, on all streams of a connection, and on one: room for the
/// largest message of all methods but checks. A request of 1 MiB takes four round trips.
const WINDOW: u32 = 256 * 1024;

/// The largest frame, in bytes: the least that RFC 9113 section 4.2 allows. A larger one only delays others.
const MAX_FRAME_BYTES: u32 = 16 * 1024;

/// How much of an answer h2 takes ahead of the peer's window, for each stream in bytes.
const SEND_BUFFER: usize = 64 * 1024;

/// How often HTTP/2 asks whether the peer is still there, and how long it waits. A peer that reads nothing at all
/// cannot answer.
const PINGS: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(10));

/// How long the body of a request, or a message of a stream that has begun, may take to arrive, apart from
/// [`BODY_RATE`]: a body follows its head at once.
pub(super) const BODY_TIME: Duration = Duration::from_secs(10);

/// The least rate at which a body arrives, in bytes a second: each kibibyte adds 1/32 s to its time. The slowest links
/// of meshes are a thousand times faster.
pub(super) const BODY_RATE: u32 = 32 * 1024;

/// The longest that a body may take, however large: the largest that is read, 1 MiB, has 42 s.
pub(super) const MAX_BODY_TIME: Duration = Duration::from_mins(1);

/// How long a connection may have answers that its peer does not read, or bytes that it does not take.
pub(super) const UNREAD_TIME: Duration = Duration::from_secs(20);

/// What holding one piece costs besides its bytes: a peer may send a body in frames of one byte each.
pub(super) const PIECE_BYTES: usize = 64;

/// How many control frames a peer may send on an HTTP/2 connection: pings, settings, windows, priorities, unknown ones.
/// Each frame of a request's or an answer's head or data, in either direction, permits [`CONTROL_FRAMES_EACH`] more,
/// and each second [`CONTROL_FRAMES_A_SECOND`]. h2 answers them one by one and keeps none, but each costs the processor
/// some microseconds.
pub(super) const CONTROL_FRAMES: u32 = 1024;

/// A client that measures the bandwidth sends a ping and two windows for each frame of data.
pub(super) const CONTROL_FRAMES_EACH: u32 = 8;

/// gRPC's clients ping once a second at most.
pub(super) const CONTROL_FRAMES_A_SECOND: u32 = 64;

/// The server side of HTTP with these bounds, whose requests over HTTP/2 this runs. `http2`: the peer has negotiated it;
/// otherwise its first bytes decide.
///
/// Not ours to set, in hyper 1.12 and h2 0.4.20: a request target of at most 65,534 bytes, and 100 header fields over
/// HTTP/1.1; chunk extensions and trailers of at most 16 KiB for each body; at most 100 empty DATA frames of a
/// connection, and of small ones that wait unread at most half a connection's window of overhead; one ping and one
/// SETTINGS to acknowledge, before which nothing more is read; the HPACK tables of 4 KiB on both sides.
pub(super) fn builder(http2: bool, requests: Together) -> auto::Builder<Together> {
    let mut builder = auto::Builder::new(requests);
    if http2 {
        // The server then sends first (RFC 9113 section 3.4), as soon as the peer is accepted. In TLS 1.3 a refusal
        // arrives after the client's side of the handshake is done; a client that waits for the server's preface learns
        // of it before it sends anything.
        builder = builder.http2_only();
    }
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIME).max_buf_size(MAX_HEAD_BYTES as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEAD_BYTES)
        .max_pending_accept_reset_streams(MAX_RESETS_BEFORE_ACCEPT)
        .max_local_error_reset_streams(MAX_FAULTY_STREAMS)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_frame_size(MAX_FRAME_BYTES)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(PINGS.0)
        .keep_alive_timeout(PINGS.1);
    builder
}
