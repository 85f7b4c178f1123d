//! HTTP/2 frame by frame (RFC 9113), for requests that no client library sends.

use std::io;

use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt as _;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const ACK: u8 = 1;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A received frame.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// A connection that sends and receives frames.
pub struct Frames<S>(pub S);

impl<S: AsyncRead + AsyncWrite + Unpin> Frames<S> {
    /// Sends the preface and empty settings.
    pub async fn open(mut stream: S) -> Self {
        stream.write_all(PREFACE).await.unwrap();
        let mut frames = Self(stream);
        frames.send(SETTINGS, 0, 0, &[]).await.unwrap();
        frames
    }

    pub async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> io::Result<()> {
        self.0.write_all(&frame(kind, flags, stream, payload)).await?;
        self.0.flush().await
    }

    /// The next frame, or `None` when the connection has ended. Settings and pings are acknowledged, as a peer must.
    pub async fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length.try_into().unwrap()];
        self.0.read_exact(&mut payload).await.ok()?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let frame = Frame { kind: head[3], flags: head[4], stream, payload };
        if frame.flags & ACK == 0 {
            match frame.kind {
                SETTINGS => drop(self.send(SETTINGS, ACK, 0, &[]).await),
                PING => drop(self.send(PING, ACK, 0, &frame.payload).await),
                _ => {}
            }
        }
        Some(frame)
    }

    /// The next frame of a kind.
    pub async fn next_of(&mut self, kind: u8) -> Option<Frame> {
        loop {
            match self.next().await {
                Some(frame) if frame.kind == kind => return Some(frame),
                Some(_) => {}
                None => return None,
            }
        }
    }
}

/// A frame's bytes.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// The header block of a gRPC call (RFC 7541), without additions to the dynamic table.
pub fn call(method: &str) -> Vec<u8> {
    // :method POST, :scheme https; then by their indexes :path, :authority, content-type; then te by its name.
    let mut block = vec![0x83, 0x87];
    for (name, value) in [(&[0x04][..], method), (&[0x01], "localhost"), (&[0x0f, 0x10], "application/grpc")] {
        block.extend_from_slice(name);
        text(&mut block, value);
    }
    field(&mut block, "te", "trailers");
    block
}

/// Adds a header field by its name.
pub fn field(block: &mut Vec<u8>, name: &str, value: &str) {
    block.push(0);
    text(block, name);
    text(block, value);
}

/// A string literal, not Huffman-coded: its length in 7 bits, or 127 and the rest in groups of 7 bits.
fn text(block: &mut Vec<u8>, text: &str) {
    if text.len() < 127 {
        block.push(u8::try_from(text.len()).unwrap());
    } else {
        block.push(127);
        let mut rest = text.len() - 127;
        while rest >= 128 {
            block.push(0x80 | u8::try_from(rest & 0x7f).unwrap());
            rest >>= 7;
        }
        block.push(u8::try_from(rest).unwrap());
    }
    block.extend_from_slice(text.as_bytes());
}
