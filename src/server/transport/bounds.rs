//! The bounds of what a peer may hold or send on a connection before and below its requests, each with its reason.
//!
//! rustls bounds itself what is its own, and ends the connection beyond it: a handshake message of 64 KiB, in whatever
//! pieces; 32 empty records, 32 key updates without application data between, 4 warnings, 2 messages for middleboxes; one
//! attempt at renegotiation, which it does not answer. `pressure::floods` in the tests holds it to that.

use std::time::Duration;

/// A place among the handshakes goes to a waiting one when its holder has kept it for this long. A peer needs one round
/// trip and one signature, also around the world and while a whole mesh reconnects; whoever takes longer may be kept
/// waiting on purpose.
pub(in crate::server::transport) const HANDSHAKE_PATIENCE: Duration = Duration::from_millis(500);

/// What part of the places one origin may hold once half of them are taken: a sixteenth. A gateway with 50 replicas
/// behind one address is through its handshakes many times faster than it opens connections, so it never meets it.
pub(in crate::server::transport) const SHARES: usize = 16;

/// The largest header of the PROXY protocol, in bytes after its first 16. Its addresses take up to 216, and what load
/// balancers add of themselves (identifiers, names) some hundred more.
pub(in crate::server::transport) const MAX_PROXY_HEADER_BYTES: usize = 2048;

/// How long accepting pauses after the first error that no peer caused, such as that there are no more file
/// descriptors; each further one doubles it, up to the second value. To ask again at once would keep a core busy.
pub(in crate::server::transport) const ACCEPT_PAUSES: (Duration, Duration) =
    (Duration::from_millis(100), Duration::from_secs(1));

/// How long the accept loop waits for the place of a connection that it has just ended to make room for another.
pub(in crate::server::transport) const ROOM_TIMEOUT: Duration = Duration::from_secs(1);
