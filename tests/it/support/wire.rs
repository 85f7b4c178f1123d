//! HTTP as bytes: requests that no client library sends, and responses read without one.

use std::io;

use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt as _;

/// An answer to an HTTP/1.1 request.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

/// Sends one HTTP/1.1 request, such as `GET /livez`, and reads until the server closes the connection.
pub async fn http1(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> Answer {
    let text = format!("{request} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes).await {
        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => panic!("{error}"),
        Ok(_) | Err(_) => {}
    }
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// Sends an empty gRPC message over HTTP/2 to a path, which may not exist, and returns whether a message came back.
pub async fn grpc_message_came_back(mut stream: impl AsyncRead + AsyncWrite + Unpin, path: &str) -> bool {
    let fields = [
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", "localhost"),
        (":path", path),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    let head: Vec<u8> = fields.iter().flat_map(|(name, value)| field(name, value)).collect();
    let request = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        frame(SETTINGS, 0, 0, &[]),
        frame(HEADERS, END_HEADERS, 1, &head),
        frame(0, END_STREAM, 1, &[0; 5]),
    ];
    stream.write_all(&request.concat()).await.unwrap();
    let mut came_back = false;
    while let Ok((kind, flags, id, length)) = read_frame(&mut stream).await {
        came_back |= (kind, id) == (0, 1) && length > 0;
        let ended = kind <= HEADERS && flags & END_STREAM != 0 || kind == RST_STREAM;
        if id == 1 && ended || kind == GOAWAY {
            break;
        }
    }
    came_back
}

/// A literal field without indexing (RFC 7541 section 6.2.2), no Huffman code.
fn field(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| {
        [&[u8::try_from(text.len()).ok().filter(|length| *length < 127).unwrap()], text.as_bytes()].concat()
    };
    [vec![0], text(name), text(value)].concat()
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Type, flags, stream and length of the next frame.
async fn read_frame(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<(u8, u8, u32, usize)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await?;
    let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).await?;
    Ok((head[3], head[4], u32::from_be_bytes([head[5], head[6], head[7], head[8]]), length))
}
