//! Protocol buffers' encoding, as far as the messages of checks and validations need it: read without copying, and
//! written without messages in between.
//!
//! The reader accepts nothing that prost refuses, and reads the same where it accepts (`fuzzing.rs`). It refuses groups,
//! which no message here has.

/// The fields of an encoded message, in the order in which they are there. A field that occurs again replaces what was
/// there before, or is merged into it: that is for whoever reads them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a>(&'a [u8]);

/// The value of a field.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a> {
    Varint(u64),
    /// Text, bytes or a message.
    Bytes(&'a [u8]),
    /// Four or eight bytes, which no field here has.
    Fixed,
}

/// An encoded message that prost would refuse, or one with groups.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Unreadable;

impl<'a> Fields<'a> {
    pub(super) fn of(message: &'a [u8]) -> Self {
        Self(message)
    }

    /// The next field, by its number.
    pub(super) fn next(&mut self) -> Result<Option<(u32, Value<'a>)>, Unreadable> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let key = u32::try_from(self.varint()?).map_err(|_| Unreadable)?;
        let number = key >> 3;
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => self.take(8).map(|_| Value::Fixed)?,
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| Unreadable)?;
                Value::Bytes(self.take(length)?)
            }
            5 => self.take(4).map(|_| Value::Fixed)?,
            _ => return Err(Unreadable),
        };
        if number == 0 { Err(Unreadable) } else { Ok(Some((number, value))) }
    }

    fn varint(&mut self) -> Result<u64, Unreadable> {
        let mut value = 0;
        for (at, byte) in self.0.iter().enumerate().take(10) {
            // Of the tenth byte only one bit fits.
            if at == 9 && *byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << (7 * at);
            if *byte < 0x80 {
                self.take(at + 1)?;
                return Ok(value);
            }
        }
        Err(Unreadable)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Unreadable> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Unreadable)?;
        self.0 = rest;
        Ok(taken)
    }
}

impl<'a> Value<'a> {
    pub(super) fn bytes(self) -> Result<&'a [u8], Unreadable> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::Varint(_) | Self::Fixed => Err(Unreadable),
        }
    }

    pub(super) fn text(self) -> Result<&'a str, Unreadable> {
        str::from_utf8(self.bytes()?).map_err(|_| Unreadable)
    }

    pub(super) fn bool(self) -> Result<bool, Unreadable> {
        match self {
            Self::Varint(value) => Ok(value != 0),
            Self::Bytes(_) | Self::Fixed => Err(Unreadable),
        }
    }

    /// The fields of a message, each handed to this.
    pub(super) fn message(
        self,
        mut read: impl FnMut(u32, Value<'a>) -> Result<(), Unreadable>,
    ) -> Result<(), Unreadable> {
        let mut fields = Fields::of(self.bytes()?);
        while let Some((number, value)) = fields.next()? {
            read(number, value)?;
        }
        Ok(())
    }

    /// An entry of a map from text to text.
    pub(super) fn entry(self) -> Result<(&'a str, &'a str), Unreadable> {
        let (mut name, mut entered) = ("", "");
        self.message(|number, value| {
            match number {
                1 => name = value.text()?,
                2 => entered = value.text()?,
                _ => {}
            }
            Ok(())
        })?;
        Ok((name, entered))
    }
}

/// Writes a message into a buffer. Fields with the value that a field has where it is absent are left out, as prost does.
#[derive(Debug)]
pub(super) struct Writer<'a>(&'a mut Vec<u8>);

impl<'a> Writer<'a> {
    pub(super) fn new(buffer: &'a mut Vec<u8>) -> Self {
        Self(buffer)
    }

    pub(super) fn text(&mut self, number: u32, text: &str) {
        if !text.is_empty() {
            self.text_of(number, text);
        }
    }

    /// An element of a list, or one of several alternatives, which is there also where it is empty.
    pub(super) fn text_of(&mut self, number: u32, text: &str) {
        self.varint(u64::from(number << 3 | 2));
        self.varint(u64::try_from(text.len()).unwrap_or(u64::MAX));
        self.0.extend_from_slice(text.as_bytes());
    }

    pub(super) fn number(&mut self, number: u32, value: u64) {
        if value != 0 {
            self.varint(u64::from(number << 3));
            self.varint(value);
        }
    }

    /// A double, one of several alternatives, which is there also where it is zero.
    pub(super) fn double_of(&mut self, number: u32, value: f64) {
        self.varint(u64::from(number << 3 | 1));
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// One of the values of an enumeration.
    pub(super) fn choice(&mut self, number: u32, value: impl Into<i32>) {
        self.number(number, u64::try_from(value.into()).unwrap_or_default());
    }

    /// A message within the message, encoded before.
    pub(super) fn encoded_message(&mut self, number: u32, message: &[u8]) {
        self.varint(u64::from(number << 3 | 2));
        self.varint(u64::try_from(message.len()).unwrap_or(u64::MAX));
        self.0.extend_from_slice(message);
    }

    /// A message within the message.
    pub(super) fn message(&mut self, number: u32, write: impl FnOnce(&mut Writer<'_>)) {
        self.varint(u64::from(number << 3 | 2));
        let begin = self.0.len();
        write(&mut Writer(&mut *self.0));
        let before = self.0.len();
        self.varint(u64::try_from(before - begin).unwrap_or(u64::MAX));
        let length = self.0.len() - before;
        if let Some(written) = self.0.get_mut(begin..) {
            written.rotate_right(length);
        }
    }

    /// Fields that were encoded before.
    pub(super) fn encoded(&mut self, fields: &[u8]) {
        self.0.extend_from_slice(fields);
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.0.push(value.to_le_bytes()[0]);
    }
}

/// The head of a frame of gRPC: a flag, which is zero where the message is not compressed, and the length of the message.
pub(super) const HEAD_BYTES: usize = 5;

/// Appends a message in gRPC's framing.
pub(super) fn frame(out: &mut Vec<u8>, write: impl FnOnce(&mut Writer<'_>)) {
    let begin = out.len();
    out.extend_from_slice(&[0; HEAD_BYTES]);
    write(&mut Writer(&mut *out));
    let length = u32::try_from(out.len() - begin - HEAD_BYTES).unwrap_or(u32::MAX);
    if let Some(([_, head @ ..], _)) = out.get_mut(begin..).and_then(<[u8]>::split_first_chunk_mut::<HEAD_BYTES>) {
        *head = length.to_be_bytes();
    }
}
