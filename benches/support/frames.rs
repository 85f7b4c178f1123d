//! HTTP/2 frames (RFC 9113 section 4.1), and requests that are encoded once and sent many times.

use prost::Message;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;

pub(crate) const ACK: u8 = 0x1;
pub(crate) const END_STREAM: u8 = 0x1;
pub(crate) const END_HEADERS: u8 = 0x4;

/// What a client sends first (RFC 9113 section 3.4), and the largest window that there is (section 6.9.1).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub(crate) const LARGEST_WINDOW: u32 = 0x7fff_ffff;

pub(crate) const MAX_CONCURRENT_STREAMS: u16 = 3;

/// The value of a setting, if the payload of SETTINGS has it.
pub(crate) fn setting(payload: &[u8], wanted: u16) -> Option<u32> {
    let (settings, _) = payload.as_chunks::<6>();
    settings.iter().find_map(|[high, low, value @ ..]| {
        (u16::from_be_bytes([*high, *low]) == wanted).then(|| u32::from_be_bytes(*value))
    })
}

/// Appends a frame's head.
pub(crate) fn head(out: &mut Vec<u8>, length: usize, kind: u8, flags: u8, stream: u32) {
    let length = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    out.extend_from_slice(length.get(1..).unwrap_or_default());
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
}

/// Appends a frame.
pub(crate) fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    head(out, payload.len(), kind, flags, stream);
    out.extend_from_slice(payload);
}

/// A frame that was received; its payload is what `split` was given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    pub(crate) length: usize,
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
}

impl Head {
    pub(crate) const BYTES: usize = 9;

    /// Reads a frame's head, if it is whole.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let [a, b, c, kind, flags, stream @ ..] = *bytes.first_chunk::<{ Self::BYTES }>()?;
        let length = usize::try_from(u32::from_be_bytes([0, a, b, c])).ok()?;
        Some(Self { length, kind, flags, stream: u32::from_be_bytes(stream) & LARGEST_WINDOW })
    }
}

/// A request whose bytes are the same each time, but for the stream's number.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    fields: Vec<u8>,
    /// Empty where there is none.
    body: Vec<u8>,
    /// Whether the body ends the request. A stream's does not.
    ends: bool,
}

impl Request {
    /// A gRPC call with one message.
    pub(crate) fn unary(path: &str, message: &impl Message) -> Self {
        Self { fields: fields(path), body: length_prefixed(message), ends: true }
    }

    /// A `GET` with a bearer token.
    pub(crate) fn get(path: &str, token: &str) -> Self {
        const GET: u8 = 0x80 | 2;
        let mut fields = target(GET, path);
        literal(&mut fields, &[15, 8], &format!("Bearer {token}"));
        Self { fields, body: Vec::new(), ends: true }
    }

    /// A message of a stream.
    pub(crate) fn streamed(path: &str, message: &impl Message) -> Self {
        Self { ends: false, ..Self::unary(path, message) }
    }

    /// Appends the request's frames.
    pub(crate) fn write(&self, stream: u32, out: &mut Vec<u8>) {
        self.write_head(stream, out);
        if !self.body.is_empty() {
            self.write_message(stream, out);
        }
    }

    /// Appends the frame of its header fields alone.
    pub(crate) fn write_head(&self, stream: u32, out: &mut Vec<u8>) {
        let ends = if self.body.is_empty() { END_STREAM } else { 0 };
        frame(out, HEADERS, END_HEADERS | ends, stream, &self.fields);
    }

    /// Appends the frame of its message alone.
    pub(crate) fn write_message(&self, stream: u32, out: &mut Vec<u8>) {
        frame(out, DATA, if self.ends { END_STREAM } else { 0 }, stream, &self.body);
    }

    /// What the request takes of the window of flow control.
    pub(crate) fn flow(&self) -> usize {
        self.body.len()
    }
}

/// A message as gRPC frames it: not compressed, its length, its bytes.
pub(crate) fn length_prefixed(message: &impl Message) -> Vec<u8> {
    let length = u32::try_from(message.encoded_len()).unwrap_or(u32::MAX);
    let mut body = vec![0];
    body.extend_from_slice(&length.to_be_bytes());
    body.extend_from_slice(&message.encode_to_vec());
    body
}

/// The header fields of a gRPC call.
fn fields(path: &str) -> Vec<u8> {
    const POST: u8 = 0x80 | 3;
    let mut out = target(POST, path);
    // 31 does not fit into the four bits of a literal's index: 15, and 16 more.
    literal(&mut out, &[15, 16], "application/grpc");
    literal(&mut out, &[0, 2, b't', b'e'], "trailers");
    out
}

/// The header fields that every request has (RFC 7541): indexed where the static table has them, else literal and not indexed.
fn target(method: u8, path: &str) -> Vec<u8> {
    const HTTPS: u8 = 0x80 | 7;
    let mut out = vec![method, HTTPS];
    literal(&mut out, &[4], path);
    literal(&mut out, &[1], "localhost");
    out
}

fn literal(out: &mut Vec<u8>, name: &[u8], value: &str) {
    out.extend_from_slice(name);
    string(out, value);
}

/// A string without Huffman coding, of at most 16,383 bytes (RFC 7541 sections 5.1 and 5.2).
fn string(out: &mut Vec<u8>, value: &str) {
    let length = value.len();
    if let Some(short) = u8::try_from(length).ok().filter(|length| *length < 127) {
        out.push(short);
    } else {
        let more = length.saturating_sub(127);
        let (low, high) = (more & 0x7f, more >> 7);
        out.push(127);
        if high > 0 {
            out.extend([low | 0x80, high].map(|part| u8::try_from(part).unwrap_or(u8::MAX)));
        } else {
            out.push(u8::try_from(low).unwrap_or(u8::MAX));
        }
    }
    out.extend_from_slice(value.as_bytes());
}
