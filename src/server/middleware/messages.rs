//! Where the messages of a body begin and end.

/// Where a body in gRPC's framing is: each message has a head of five bytes, the last four of them its length.
#[derive(Debug, Default)]
pub(super) struct Messages {
    /// How many bytes of the head have arrived.
    head: u8,
    length: u32,
    /// How many bytes of the message are still to come, once the head is whole.
    rest: u32,
}

impl Messages {
    pub(super) fn has_begun(&self) -> bool {
        self.head > 0
    }

    /// How many bytes of a message that has begun are still to come, once its head is whole.
    pub(super) fn announced(&self) -> Option<usize> {
        (self.head == 5).then(|| usize::try_from(self.rest).unwrap_or(usize::MAX))
    }

    /// Passes over bytes. Returns how many of them belong to a message that has begun, where one ended before.
    pub(super) fn advance(&mut self, mut bytes: &[u8]) -> Option<usize> {
        let mut begun = None;
        while let Some((first, rest)) = bytes.split_first() {
            if self.head < 5 {
                self.length = if self.head == 0 { 0 } else { self.length << 8 | u32::from(*first) };
                self.head += 1;
                self.rest = self.length;
                bytes = rest;
            } else {
                let passed = bytes.len().min(usize::try_from(self.rest).unwrap_or(usize::MAX));
                self.rest = self.rest.saturating_sub(u32::try_from(passed).unwrap_or(u32::MAX));
                bytes = bytes.get(passed..).unwrap_or_default();
            }
            if self.head == 5 && self.rest == 0 {
                self.head = 0;
                begun = Some(bytes.len());
            }
        }
        begun
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a message has begun, and what [`Messages::advance`] says, after each piece.
    fn advanced(pieces: &[&[u8]]) -> Vec<(Option<usize>, bool)> {
        let mut messages = Messages::default();
        pieces.iter().map(|piece| (messages.advance(piece), messages.has_begun())).collect()
    }

    #[test]
    fn a_message_has_begun_from_its_first_byte_to_its_last() {
        assert_eq!(advanced(&[b"", &[0, 0, 0, 0, 0]]), [(None, false), (Some(0), false)]);
        assert_eq!(
            advanced(&[&[0], &[0, 0, 0], &[2, b'a'], b"b"]),
            [(None, true), (None, true), (None, true), (Some(0), false)]
        );
        // Two messages and the beginning of a third in one piece, whose length is of no matter yet.
        assert_eq!(advanced(&[&[0, 0, 0, 0, 1, b'a', 0, 0, 0, 0, 0, 9, 0xff]]), [(Some(2), true)]);
        assert_eq!(advanced(&[&[1, 0xff, 0xff, 0xff, 0xff], &[0; 100]]), [(None, true), (None, true)]);
    }
}
