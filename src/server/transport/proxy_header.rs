//! The header of the PROXY protocol, version 2, with which a load balancer says for which client it has opened a
//! connection.

use std::io;
use std::net::SocketAddr;

use proxy_header::ParseConfig;
use proxy_header::Protocol;
use proxy_header::ProxyHeader;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt as _;

use crate::server::bounds::MAX_PROXY_HEADER_BYTES;

/// The part before the addresses: signature, version and command, family and protocol, and the length of the rest.
const FIXED: usize = 16;

/// The place of version and command, and their value for a connection of the load balancer itself, such as a health
/// check.
const COMMAND: usize = 12;
const LOCAL: u8 = 0x20;

/// The place of family and protocol, and their value for datagrams of a Unix socket, which the library takes for a
/// connection of nobody named.
const FAMILY: usize = 13;
const UNIX_DATAGRAM: u8 = 0x32;

const DATAGRAMS: &str = "its header of the PROXY protocol is for datagrams";

/// The first bytes of every header.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Reads the header off the beginning of a connection, and no byte beyond it. Returns the address of the client; `None`
/// where the load balancer has opened the connection for itself, or does not say for whom. What else it says is
/// skipped. Version 1 is refused.
pub(in crate::server::transport) async fn read(
    stream: &mut (impl AsyncRead + Unpin),
) -> io::Result<Option<SocketAddr>> {
    let mut header = vec![0; FIXED];
    stream.read_exact(&mut header).await?;
    if !header.starts_with(SIGNATURE) {
        return Err(malformed("it does not begin with a header of the PROXY protocol, version 2"));
    }
    let [.., high, low] = header.as_slice() else { return Err(malformed("it is too short")) };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    if length > MAX_PROXY_HEADER_BYTES {
        return Err(malformed("its header of the PROXY protocol is too long"));
    }
    header.resize(FIXED + length, 0);
    stream.read_exact(header.get_mut(FIXED..).unwrap_or_default()).await?;
    // The rest of such a header has no meaning.
    if header.get(COMMAND) == Some(&LOCAL) {
        return Ok(None);
    }
    if header.get(FAMILY) == Some(&UNIX_DATAGRAM) {
        return Err(malformed(DATAGRAMS));
    }
    let config = ParseConfig { include_tlvs: false, allow_v1: false, allow_v2: true };
    let (parsed, _) = ProxyHeader::parse(&header, config)
        .map_err(|_| malformed("its header of the PROXY protocol cannot be read"))?;
    match parsed.proxied_address() {
        None => Ok(None),
        Some(address) if address.protocol == Protocol::Stream => Ok(Some(address.source)),
        Some(_) => Err(malformed(DATAGRAMS)),
    }
}

fn malformed(problem: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header with this command, family and rest, and one byte of what follows it.
    fn header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[command, family], &length, rest, b"x"].concat()
    }

    async fn parse(bytes: &[u8]) -> Result<Option<String>, io::ErrorKind> {
        let mut stream = bytes;
        let read = read(&mut stream).await.map_err(|error| error.kind())?;
        assert_eq!(stream, b"x", "exactly the header is read");
        Ok(read.map(|address| address.to_string()))
    }

    const V4: [u8; 12] = [203, 0, 113, 7, 10, 0, 0, 1, 0x9c, 0x40, 0x01, 0xbb];

    #[tokio::test]
    async fn the_address_of_the_client_is_read_and_all_else_is_skipped() {
        let client = Ok(Some("203.0.113.7:40000".to_owned()));
        assert_eq!(parse(&header(0x21, 0x11, &V4)).await, client);
        let tlvs = [&V4[..], &[0x05, 0, 3, 1, 2, 3], &[0xee; 100]].concat();
        assert_eq!(parse(&header(0x21, 0x11, &tlvs)).await, client);
        let v6 = [&[0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9], &[0; 16][..], &[1, 0, 2, 0]].concat();
        assert_eq!(parse(&header(0x21, 0x21, &v6)).await, Ok(Some("[2001:db8::9]:256".to_owned())));
        let largest = [&V4[..], &vec![0; MAX_PROXY_HEADER_BYTES - 12]].concat();
        assert_eq!(parse(&header(0x21, 0x11, &largest)).await, client);
    }

    #[tokio::test]
    async fn a_connection_of_the_load_balancer_itself_or_of_nobody_named_has_no_client() {
        assert_eq!(parse(&header(0x20, 0, &[])).await, Ok(None));
        assert_eq!(parse(&header(0x20, 0x11, &[])).await, Ok(None));
        assert_eq!(parse(&header(0x20, 0xff, &[7; 30])).await, Ok(None));
        assert_eq!(parse(&header(0x21, 0, &[])).await, Ok(None));
        assert_eq!(parse(&header(0x21, 0, &[7; 30])).await, Ok(None));
        assert_eq!(parse(&header(0x21, 0x31, &[7; 216])).await, Ok(None));
    }

    #[tokio::test]
    async fn everything_else_is_malformed() {
        let malformed = Err(io::ErrorKind::InvalidData);
        for (what, bytes) in [
            ("version 1", b"PROXY TCP4 203.0.113.7 10.0.0.1 40000 443\r\n".to_vec()),
            ("another version", header(0x11, 0x11, &V4)),
            ("another command", header(0x22, 0x11, &V4)),
            ("another family", header(0x21, 0x41, &V4)),
            ("datagrams of a Unix socket", header(0x21, 0x32, &[7; 216])),
            ("another protocol", header(0x21, 0x13, &V4)),
            ("datagrams", header(0x21, 0x12, &V4)),
            ("too short for its addresses", header(0x21, 0x21, &V4)),
            ("too long", header(0x21, 0x11, &[0; MAX_PROXY_HEADER_BYTES + 1])),
            ("a ClientHello", [&[22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &[7; 100]].concat()),
        ] {
            assert_eq!(parse(&bytes).await, malformed, "{what}");
        }
        for cut in [0, 1, 15, 16, 27] {
            let cut = parse(header(0x21, 0x11, &V4).get(..cut).unwrap()).await;
            assert_eq!(cut, Err(io::ErrorKind::UnexpectedEof));
        }
    }
}
