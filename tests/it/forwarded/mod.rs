//! Certificates that proxies and terminators forward in headers (XFCC, RFC 9440).

mod doors;
mod headers;
mod listener;
mod peers;
mod properties;
mod table;
