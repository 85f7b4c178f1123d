//! The number of control frames on an HTTP/2 connection: pings, settings, windows, priorities, unknown ones. h2 answers
//! them and bounds what it keeps of them, but not how many there are.

use tokio::time::Instant;

use crate::server::bounds::CONTROL_FRAMES;
use crate::server::bounds::CONTROL_FRAMES_A_SECOND;
use crate::server::bounds::CONTROL_FRAMES_EACH;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
/// h2 counts these itself.
const CONTINUATION: u8 = 9;

const GOAWAY: u8 = 7;
/// RFC 9113 section 7.
const ENHANCE_YOUR_CALM: u32 = 11;

/// The meter of one connection. It reads the heads of frames in both directions, and nothing else of them.
#[derive(Debug)]
pub(super) struct ControlFrames {
    received: Heads,
    sent: Heads,
    /// How many more the peer may send.
    permitted: u32,
    counted_from: Instant,
    last_stream: u32,
}

impl ControlFrames {
    /// From the first byte after the client's preface and the first of the server's.
    pub(super) fn new() -> Self {
        Self {
            received: Heads::default(),
            sent: Heads::default(),
            permitted: CONTROL_FRAMES,
            counted_from: Instant::now(),
            last_stream: 0,
        }
    }

    /// Counts what the peer sent. `false` where there are too many control frames.
    pub(super) fn received(&mut self, bytes: &[u8]) -> bool {
        let Self { received, permitted, counted_from, last_stream, .. } = self;
        let mut calm = true;
        received.advance(bytes, |head| {
            if head.kind == HEADERS {
                *last_stream = head.stream.max(*last_stream);
            }
            if head.carries_data() {
                *permitted = permitted.saturating_add(CONTROL_FRAMES_EACH).min(CONTROL_FRAMES);
            } else if head.kind != CONTINUATION {
                if *permitted == 0 {
                    let now = Instant::now();
                    let seconds = u32::try_from((now - *counted_from).as_secs()).unwrap_or(u32::MAX);
                    *permitted = seconds.saturating_mul(CONTROL_FRAMES_A_SECOND).min(CONTROL_FRAMES);
                    *counted_from = now;
                }
                calm &= *permitted > 0;
                *permitted = permitted.saturating_sub(1);
            }
        });
        calm
    }

    /// Counts what was sent to the peer.
    pub(super) fn sent(&mut self, bytes: &[u8]) {
        let permitted = &mut self.permitted;
        self.sent.advance(bytes, |head| {
            if head.carries_data() {
                *permitted = permitted.saturating_add(CONTROL_FRAMES_EACH).min(CONTROL_FRAMES);
            }
        });
    }

    /// GOAWAY with `ENHANCE_YOUR_CALM`, if the server is between two frames.
    pub(super) fn goaway(&self) -> Option<[u8; 17]> {
        let mut frame = [0; 17];
        let (head, payload) = frame.split_at_mut_checked(9)?;
        head.copy_from_slice(&[0, 0, 8, GOAWAY, 0, 0, 0, 0, 0]);
        let (stream, code) = payload.split_at_mut_checked(4)?;
        stream.copy_from_slice(&self.last_stream.to_be_bytes());
        code.copy_from_slice(&ENHANCE_YOUR_CALM.to_be_bytes());
        self.sent.is_between_frames().then_some(frame)
    }
}

/// The head of a frame (RFC 9113 section 4.1).
struct Head {
    length: u32,
    kind: u8,
    stream: u32,
}

impl Head {
    /// Whether the frame is part of a request or a response.
    fn carries_data(&self) -> bool {
        self.kind == HEADERS || self.kind == DATA && self.length > 0
    }
}

/// The heads of the frames in one direction.
#[derive(Debug, Default)]
struct Heads {
    head: [u8; 9],
    /// How many bytes of the head are there.
    arrived: usize,
    /// How many bytes of the frame are to come after its head.
    rest: usize,
}

impl Heads {
    fn is_between_frames(&self) -> bool {
        self.arrived == 0 && self.rest == 0
    }

    /// Passes over bytes, and calls this with each head that is whole.
    fn advance(&mut self, mut bytes: &[u8], mut found: impl FnMut(Head)) {
        loop {
            let passed = bytes.len().min(self.rest);
            self.rest -= passed;
            bytes = bytes.get(passed..).unwrap_or_default();
            let Some(missing) = self.head.get_mut(self.arrived..) else { return };
            let count = missing.len().min(bytes.len());
            if count == 0 {
                return;
            }
            let (here, after) = bytes.split_at_checked(count).unwrap_or_default();
            missing.iter_mut().zip(here).for_each(|(to, from)| *to = *from);
            bytes = after;
            self.arrived += count;
            if self.arrived == self.head.len() {
                let [high, middle, low, kind, _, stream @ ..] = self.head;
                let length = u32::from_be_bytes([0, high, middle, low]);
                found(Head { length, kind, stream: u32::from_be_bytes(stream) & 0x7fff_ffff });
                self.arrived = 0;
                self.rest = usize::try_from(length).unwrap_or(usize::MAX);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PING: u8 = 6;

    fn frame(kind: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).unwrap();
        [&[0, 0, length, kind, 0, 0, 0, 0, stream], payload].concat()
    }

    fn ping() -> Vec<u8> {
        frame(PING, 0, &[0; 8])
    }

    #[test]
    fn more_control_frames_than_permitted_are_too_many() {
        for kind in [2, 3, 4, PING, 8, 0xee, DATA] {
            let mut meter = ControlFrames::new();
            let many = frame(kind, 0, &[]).repeat(usize::try_from(CONTROL_FRAMES).unwrap());
            assert!(meter.received(&many), "{kind}");
            assert!(!meter.received(&frame(kind, 0, &[])), "{kind}");
        }
    }

    #[test]
    fn requests_and_answers_permit_more_and_heads_are_found_in_any_pieces() {
        for piece in [1, 2, 8, 9, 10, 17, 1000] {
            let mut meter = ControlFrames::new();
            for _ in 0..CONTROL_FRAMES {
                let each = [frame(HEADERS, 5, b"x"), frame(DATA, 5, &[PING; 20]), ping().repeat(16)].concat();
                assert!(each.chunks(piece).all(|piece| meter.received(piece)), "{piece}");
            }
            assert_eq!(meter.last_stream, 5);
            for _ in 0..CONTROL_FRAMES {
                assert!(ping().repeat(8).chunks(piece).all(|piece| meter.received(piece)), "{piece}");
                frame(HEADERS, 5, b"x").chunks(piece).for_each(|piece| meter.sent(piece));
            }
            let left = ping().repeat(2000);
            assert!(!left.chunks(piece).all(|piece| meter.received(piece)), "{piece}");
        }
    }

    #[test]
    fn goaway_comes_between_two_frames_only() {
        let mut meter = ControlFrames::new();
        meter.received(&frame(HEADERS, 7, b"x"));
        let goaway = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 11];
        assert_eq!(meter.goaway(), Some(goaway));
        for part in [1, 9, 10] {
            let answer = frame(DATA, 7, b"xyz");
            meter.sent(&answer[..part]);
            assert_eq!(meter.goaway(), None);
            meter.sent(&answer[part..]);
            assert_eq!(meter.goaway(), Some(goaway));
        }
    }
}
