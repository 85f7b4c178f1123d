//! The lines of the audit trail, and how each holds the one before it.

use std::mem;
use std::sync::Arc;

use serde::Deserialize;
use serde::Serialize;

use crate::authority::clock::Timestamp;
use crate::authority::observe::Severity;
use crate::telemetry::trail::key::HeadKey;
use crate::telemetry::trail::lines::About;
use crate::telemetry::trail::lines::Buffer;
use crate::telemetry::trail::lines::LineHash;
use crate::telemetry::trail::lines::Lines;
use crate::telemetry::trail::lines::Spares;
use crate::telemetry::trail::print::print_text;

/// The event of the first line of a chain.
pub(super) const STARTED: &str = "started";
/// The event of the last line of a chain whose server ended as it should.
pub(super) const STOPPED: &str = "stopped";
/// The event of a line that signs the line before it.
pub(super) const SIGNED: &str = "signed";
/// The event of a line that says which lines a destination did not get.
pub(super) const NOT_COPIED: &str = "not_copied";

/// What every line begins with, in this order.
#[derive(Debug, Deserialize)]
pub(super) struct Link {
    /// The chain: one for each start of a server.
    pub(super) chain: String,
    /// The number of the record in its chain, from 1 on.
    pub(super) sequence: u64,
    /// When it was recorded.
    pub(super) time: Timestamp,
    /// The hash of the line before; empty in the first.
    pub(super) previous: String,
}

/// The members of the lines that are about the chain itself.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(super) struct OfChain {
    pub(super) event: String,
    /// The version of the server, in the first line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) version: Option<String>,
    /// The name of the key, and its signature over the hash of the line before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) signature: Option<String>,
    /// What a destination did not get.
    #[serde(default, flatten, skip_serializing_if = "Option::is_none")]
    pub(super) gap: Option<Gap>,
}

/// Lines that a destination did not get, which follow one another in the chain.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Gap {
    /// `file`, `stdout` or `otlp`.
    pub(super) destination: String,
    /// The number of the first of them.
    pub(super) first: u64,
    /// The number of the last of them.
    pub(super) last: u64,
    /// The hash of the line before the first of them.
    pub(super) before: String,
    /// The hash of the last of them.
    pub(super) hash: String,
}

/// The hash of a line without its end, in base64url.
pub(super) fn hash(line: &[u8]) -> String {
    LineHash::of(line).to_text()
}

/// The end of a chain that grows, and its lines that no destination has got yet.
#[derive(Debug)]
pub(super) struct ChainEnd {
    name: Arc<str>,
    /// How every line begins, until its number.
    begin: Arc<[u8]>,
    /// The number and the hash of the last line.
    last: (u64, LineHash),
    key: Option<HeadKey>,
    buffer: Buffer,
    spares: Arc<Spares>,
}

impl ChainEnd {
    pub(super) fn new(name: &str, key: Option<HeadKey>) -> Self {
        let mut begin = b"{\"chain\":".to_vec();
        print_text(name, &mut begin);
        begin.extend_from_slice(b",\"sequence\":");
        let (last, spares) = ((0, LineHash::default()), Arc::default());
        Self { name: name.into(), begin: begin.into(), last, key, buffer: Buffer::default(), spares }
    }

    pub(super) fn is_signed(&self) -> bool {
        self.key.is_some()
    }

    /// How every line begins, until its number.
    pub(super) fn begin(&self) -> &Arc<[u8]> {
        &self.begin
    }

    /// A buffer for lines that are to follow.
    pub(super) fn spare(&self) -> Buffer {
        self.spares.take()
    }

    /// Adds lines that were printed elsewhere. Those from before must have been taken.
    pub(super) fn extend(&mut self, lines: Buffer) {
        debug_assert_eq!(self.buffer.count(), 0);
        self.buffer = lines;
        self.link();
    }

    /// The lines since this was called before, in parts of at most so many lines and so many bytes.
    pub(super) fn take(&mut self, most: (usize, usize)) -> Vec<Arc<Lines>> {
        let buffer = mem::take(&mut self.buffer);
        Lines::parts(&self.name, buffer, &self.spares, most)
    }

    /// The last line since then is the one with which the server ends the chain.
    pub(super) fn end(&mut self) {
        if let Some(last) = self.buffer.last_mut() {
            last.is_end = true;
        }
    }

    fn link(&mut self) {
        self.buffer.link(&mut self.last.1);
        if let Some(line) = self.buffer.last_mut() {
            self.last.0 = line.about.sequence;
        }
    }

    /// Adds a line that is about the chain itself.
    pub(super) fn push_event(&mut self, sequence: u64, time: Timestamp, event: &'static str) {
        let key = self.key.as_ref().filter(|_| event != STOPPED);
        let signed = key.filter(|_| event == SIGNED);
        let body = OfChain {
            event: event.to_owned(),
            version: (event == STARTED).then(|| env!("CARGO_PKG_VERSION").to_owned()),
            key: key.map(|key| key.name().to_owned()),
            signature: signed.and_then(|key| key.sign(&self.name, self.last.0, &self.last.1.to_text())),
            gap: None,
        };
        self.push_own(About { sequence, time, event, severity: Severity::Info, trace: None }, &body);
    }

    /// Adds a line that says what a destination did not get.
    pub(super) fn push_gap(&mut self, sequence: u64, time: Timestamp, gap: Gap) {
        let body = OfChain { event: NOT_COPIED.to_owned(), gap: Some(gap), ..OfChain::default() };
        self.push_own(About { sequence, time, event: NOT_COPIED, severity: Severity::Warn, trace: None }, &body);
    }

    /// One that cannot be written as JSON is left out, and missing in the sequence.
    fn push_own(&mut self, about: About, body: &OfChain) {
        let object = serde_json::to_vec(body).unwrap_or_default();
        if let Some(members) = object.strip_prefix(b"{") {
            let is_first = self.last == (0, LineHash::default());
            self.buffer.add(&self.begin, about, is_first, |text| text.extend_from_slice(members));
            self.link();
        }
    }
}
