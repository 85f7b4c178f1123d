//! What the fuzz targets check of what comes before TLS.

use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;

use futures_util::FutureExt as _;

use crate::server::bounds::MAX_PROXY_HEADER_BYTES;
use crate::server::transport::proxy_header;

/// The input as the beginning of a connection from a load balancer.
pub(crate) fn proxy_headers(input: &[u8]) {
    let mut rest = input;
    let Some(read) = proxy_header::read(&mut rest).now_or_never() else { unreachable!("all of the input is there") };
    let consumed = input.len() - rest.len();
    match (read, second_reading(input)) {
        (Ok(client), Some((length, second))) => {
            assert_eq!((consumed, client), (length, second));
        }
        // The library also looks into what follows the addresses, which here is skipped.
        (Err(_), _) => assert!(consumed <= 16 + MAX_PROXY_HEADER_BYTES),
        (Ok(client), None) => unreachable!("{client:?} of no header"),
    }
}

/// The length of a header, and the client of a connection over a stream socket, by the protocol's text (section 2.2).
fn second_reading(input: &[u8]) -> Option<(usize, Option<SocketAddr>)> {
    let fixed = input.strip_prefix(b"\r\n\r\n\0\r\nQUIT\n")?;
    let [command, family, high, low, addresses @ ..] = fixed else { return None };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    let addresses = addresses.get(..length).filter(|_| length <= MAX_PROXY_HEADER_BYTES)?;
    let port = |at: usize| Some(u16::from_be_bytes(*addresses.get(at..)?.first_chunk()?));
    let client = match (command, family) {
        (0x20, _) | (0x21, 0x00) => None,
        (0x21, 0x11) if length >= 12 => Some((Ipv4Addr::from(*addresses.first_chunk::<4>()?), port(8)?).into()),
        (0x21, 0x21) if length >= 36 => Some((Ipv6Addr::from(*addresses.first_chunk::<16>()?), port(32)?).into()),
        (0x21, 0x31) if length >= 216 => None,
        // A family or a transport that is not specified has no address.
        (0x21, family) if [family >> 4, family & 15].contains(&0) => None,
        _ => return None,
    };
    Some((16 + length, client))
}
