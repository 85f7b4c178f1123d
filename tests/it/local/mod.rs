//! The socket for proxies on the same machine, which are known by the user that they run as.

mod connections;
mod envoy;
mod evidence;
mod methods;
