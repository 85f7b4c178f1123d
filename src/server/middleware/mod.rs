//! The middleware around each request: authorization, tracing, metrics, and the end of streams.

mod called_method;
mod catch_panic;
mod end_streams;
mod forwarded;
mod guard;
mod held;
mod metrics;
mod refusal;
mod thread_limits;
mod trace;

pub(in crate::server) use crate::server::middleware::called_method::called_method;
pub(in crate::server) use crate::server::middleware::catch_panic::catch_panic;
pub(in crate::server) use crate::server::middleware::end_streams::bounded;
pub(in crate::server) use crate::server::middleware::forwarded::ForwardedService;
pub(in crate::server) use crate::server::middleware::forwarded::SocketFile;
pub(in crate::server) use crate::server::middleware::forwarded::Terminator;
pub(in crate::server) use crate::server::middleware::forwarded::bind as bind_forwarded;
pub(in crate::server) use crate::server::middleware::guard::call as call_guarded;
pub(in crate::server) use crate::server::middleware::guard::refused;
pub(in crate::server) use crate::server::middleware::held::until_sent;
pub(in crate::server) use crate::server::middleware::metrics::RequestMetrics;
pub(in crate::server) use crate::server::middleware::refusal::cut_off;
pub(in crate::server) use crate::server::middleware::refusal::with_body;
pub(in crate::server) use crate::server::middleware::thread_limits::Opened;
pub(in crate::server) use crate::server::middleware::thread_limits::ThreadLimits;
pub(in crate::server) use crate::server::middleware::thread_limits::refusing;
pub(in crate::server) use crate::server::middleware::trace::RequestSpan;
