//! Lines of the trail: printed where they are recorded, then linked in a chain, and shared by all destinations.

use std::mem;
use std::ops::Range;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use opentelemetry::trace::TraceId;
use sha2::Digest as _;
use sha2::Sha256;

use crate::authority::clock::Timestamp;
use crate::authority::observe::Severity;
use crate::telemetry::trail::print::print_number;

/// The characters of a hash: 32 bytes in base64url.
const HASH_LENGTH: usize = 43;

/// How many buffers are kept for the lines that follow, and how many bytes of each: to get such memory anew from the system
/// takes longer than to print into it.
const SPARES: usize = 2;
const KEPT_BYTES: usize = 4 << 20;

/// The SHA-256 of a line without its end. The first line of a chain has none before it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct LineHash(Option<[u8; 32]>);

impl LineHash {
    pub(super) fn of(line: &[u8]) -> Self {
        Self(Some(Sha256::digest(line).into()))
    }

    /// In base64url, as the next line has it.
    pub(super) fn to_text(self) -> String {
        self.0.map(|hash| URL_SAFE_NO_PAD.encode(hash)).unwrap_or_default()
    }
}

/// What a line is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct About {
    pub(super) sequence: u64,
    /// When it was recorded.
    pub(super) time: Timestamp,
    pub(super) event: &'static str,
    pub(super) severity: Severity,
    pub(super) trace: Option<TraceId>,
}

/// A line of the chain, without its text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    pub(super) about: About,
    /// The hash of the line before.
    pub(super) previous: LineHash,
    pub(super) hash: LineHash,
    /// Whether the server ends the chain with it.
    pub(super) is_end: bool,
    /// Where its text has the hash of the line before.
    previous_at: usize,
    /// Where its text ends, with the end of the line.
    end: usize,
}

/// Lines as they become the next ones of a chain.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    /// JSON objects, each with the end of its line.
    text: Vec<u8>,
    each: Vec<Line>,
    /// How many of them have the hash of the line before, and their own.
    linked: usize,
}

impl Buffer {
    pub(super) fn count(&self) -> usize {
        self.each.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.each.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.text.len()
    }

    /// Adds a line that is not linked yet. `begin` is how all lines of the chain begin, until the number, and `members` prints
    /// those of the object that are behind the hash, with the end of the object.
    pub(super) fn add(&mut self, begin: &[u8], about: About, is_first: bool, members: impl FnOnce(&mut Vec<u8>)) {
        let text = &mut self.text;
        text.extend_from_slice(begin);
        print_number(about.sequence, text);
        text.extend_from_slice(b",\"time\":");
        print_number(about.time.0, text);
        text.extend_from_slice(b",\"previous\":\"");
        let previous_at = text.len();
        if !is_first {
            text.extend_from_slice(&[b'.'; HASH_LENGTH]);
        }
        text.extend_from_slice(b"\",");
        members(text);
        text.push(b'\n');
        let (end, none) = (text.len(), LineHash::default());
        self.each.push(Line { about, previous: none, hash: none, is_end: false, previous_at, end });
    }

    /// Puts the hash of the line before into each line that has none. `last` is that of the line before all of them, and
    /// becomes that of the last one.
    pub(super) fn link(&mut self, last: &mut LineHash) {
        let mut begin = self.linked.checked_sub(1).and_then(|before| self.each.get(before)).map_or(0, |line| line.end);
        for line in self.each.iter_mut().skip(self.linked) {
            line.previous = *last;
            let place = self.text.get_mut(line.previous_at..line.previous_at + HASH_LENGTH);
            if let (Some(hash), Some(place)) = (last.0, place) {
                // It has exactly this length.
                drop(URL_SAFE_NO_PAD.encode_slice(hash, place));
            }
            line.hash = LineHash::of(self.text.get(begin..line.end - 1).unwrap_or_default());
            *last = line.hash;
            begin = line.end;
        }
        self.linked = self.each.len();
    }

    pub(super) fn last_mut(&mut self) -> Option<&mut Line> {
        self.each.last_mut()
    }

    /// Without its lines. What is much more than they took is given back.
    fn emptied(mut self) -> Self {
        let (bytes, count) = (self.text.len(), self.each.len());
        self.text.clear();
        self.text.shrink_to((4 * bytes).min(KEPT_BYTES));
        self.each.clear();
        self.each.shrink_to(4 * count);
        self.linked = 0;
        self
    }
}

/// Buffers that had lines before.
#[derive(Debug, Default)]
pub(super) struct Spares(Mutex<Vec<Buffer>>);

impl Spares {
    pub(super) fn take(&self) -> Buffer {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    fn put(&self, buffer: Buffer) {
        let mut spares = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if spares.len() < SPARES && !buffer.is_empty() {
            spares.push(buffer.emptied());
        }
    }
}

/// A buffer whose lines are delivered. The last destination that has them gives it back.
#[derive(Debug)]
struct Shared {
    buffer: Buffer,
    spares: Arc<Spares>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.spares.put(mem::take(&mut self.buffer));
    }
}

/// Lines that follow one another in the chain, as every destination gets them.
#[derive(Debug)]
pub(super) struct Lines {
    pub(super) chain: Arc<str>,
    of: Arc<Shared>,
    /// Which lines they are of all in the buffer, and where their text begins.
    range: Range<usize>,
    begin: usize,
}

impl Lines {
    /// All lines of a buffer, in parts of at most so many lines and so many bytes, but for a line that is longer.
    pub(super) fn parts(
        chain: &Arc<str>,
        buffer: Buffer,
        spares: &Arc<Spares>,
        (max_count, max_bytes): (usize, usize),
    ) -> Vec<Arc<Self>> {
        let of = Arc::new(Shared { buffer, spares: Arc::clone(spares) });
        let (mut parts, mut from, mut begin, mut end) = (Vec::new(), 0, 0, 0);
        let part = |range, begin| Arc::new(Self { chain: Arc::clone(chain), of: Arc::clone(&of), range, begin });
        for (number, line) in of.buffer.each.iter().enumerate() {
            if number > from && (number - from >= max_count || line.end - begin > max_bytes) {
                parts.push(part(from..number, begin));
                (from, begin) = (number, end);
            }
            end = line.end;
        }
        if of.buffer.count() > from {
            parts.push(part(from..of.buffer.count(), begin));
        }
        parts
    }

    pub(super) fn count(&self) -> usize {
        self.range.len()
    }

    pub(super) fn text(&self) -> &[u8] {
        let end = self.last().map_or(self.begin, |line| line.end);
        self.of.buffer.text.get(self.begin..end).unwrap_or_default()
    }

    pub(super) fn all(&self) -> &[Line] {
        self.of.buffer.each.get(self.range.clone()).unwrap_or_default()
    }

    pub(super) fn last(&self) -> Option<&Line> {
        self.all().last()
    }

    /// The lines with their texts.
    pub(super) fn each(&self) -> impl Iterator<Item = (&Line, &[u8])> {
        let mut begin = self.begin;
        self.all().iter().map(move |line| {
            let text = self.of.buffer.text.get(begin..line.end).unwrap_or_default();
            begin = line.end;
            (line, text)
        })
    }
}
