//! The middleware around each request: authorization, tracing, metrics, and the end of streams.

mod buffers;
mod called_method;
mod catch_panic;
mod end_streams;
mod forwarded;
mod guard;
mod messages;
mod metrics;
mod refusal;
mod request_body;
mod thread_limits;
mod trace;
mod until_sent;

pub(in crate::server) use crate::server::middleware::buffers::Buffers;
pub(in crate::server) use crate::server::middleware::buffers::Unread;
pub(in crate::server) use crate::server::middleware::called_method::called_method;
pub(in crate::server) use crate::server::middleware::called_method::head_bytes;
pub(in crate::server) use crate::server::middleware::catch_panic::catch_panic;
pub(in crate::server) use crate::server::middleware::end_streams::bounded;
pub(in crate::server) use crate::server::middleware::forwarded::ForwardedService;
pub(in crate::server) use crate::server::middleware::forwarded::SocketFile;
pub(in crate::server) use crate::server::middleware::forwarded::Terminator;
pub(in crate::server) use crate::server::middleware::forwarded::bind as bind_forwarded;
pub(in crate::server) use crate::server::middleware::guard::call as call_guarded;
pub(in crate::server) use crate::server::middleware::guard::refused;
pub(in crate::server) use crate::server::middleware::guard::unless_cut;
pub(in crate::server) use crate::server::middleware::metrics::RequestMetrics;
pub(in crate::server) use crate::server::middleware::refusal::with_body;
pub(in crate::server) use crate::server::middleware::request_body::WhyCut;
pub(in crate::server) use crate::server::middleware::request_body::arrived;
pub(in crate::server) use crate::server::middleware::request_body::within_bounds;
pub(in crate::server) use crate::server::middleware::thread_limits::Opened;
pub(in crate::server) use crate::server::middleware::thread_limits::ThreadLimits;
pub(in crate::server) use crate::server::middleware::thread_limits::refusing;
pub(in crate::server) use crate::server::middleware::trace::RequestSpan;
pub(in crate::server) use crate::server::middleware::until_sent::until_sent;
