//! The lines of the audit trail, and how each holds the one before it.

use std::mem;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use opentelemetry::trace::TraceId;
use serde::Deserialize;
use serde::Serialize;
use sha2::Digest as _;
use sha2::Sha256;

use crate::authority::clock::Timestamp;
use crate::authority::observe::Severity;
use crate::telemetry::trail::key::HeadKey;
use crate::telemetry::trail::print::print_number;
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

/// The SHA-256 of a line without its end. The first line of a chain has none before it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct LineHash(Option<[u8; 32]>);

impl LineHash {
    fn of(line: &[u8]) -> Self {
        Self(Some(Sha256::digest(line).into()))
    }

    fn print(self, out: &mut Vec<u8>) {
        let Some(hash) = self.0 else { return };
        // 32 bytes are 43 characters of base64url.
        let mut text = [0; 43];
        if URL_SAFE_NO_PAD.encode_slice(hash, &mut text).is_ok() {
            out.extend_from_slice(&text);
        }
    }

    /// In base64url, as the next line has it.
    pub(super) fn to_text(self) -> String {
        self.0.map(|hash| URL_SAFE_NO_PAD.encode(hash)).unwrap_or_default()
    }
}

/// The hash of a line without its end, in base64url.
pub(super) fn hash(line: &[u8]) -> String {
    LineHash::of(line).to_text()
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
    /// Where its text ends, with the end of the line.
    end: usize,
}

/// Lines that follow one another in the chain, as every destination gets them.
#[derive(Debug)]
pub(super) struct Lines {
    pub(super) chain: Arc<str>,
    /// JSON objects, each with the end of its line.
    text: Vec<u8>,
    each: Vec<Line>,
}

impl Lines {
    pub(super) fn count(&self) -> usize {
        self.each.len()
    }

    pub(super) fn text(&self) -> &[u8] {
        &self.text
    }

    pub(super) fn first(&self) -> Option<&Line> {
        self.each.first()
    }

    pub(super) fn last(&self) -> Option<&Line> {
        self.each.last()
    }

    /// The lines with their texts.
    pub(super) fn each(&self) -> impl Iterator<Item = (&Line, &[u8])> {
        let mut begin = 0;
        self.each.iter().map(move |line| {
            let text = self.text.get(begin..line.end).unwrap_or_default();
            begin = line.end;
            (line, text)
        })
    }
}

/// The end of a chain that grows, and its lines that no destination has got yet.
#[derive(Debug)]
pub(super) struct ChainEnd {
    name: Arc<str>,
    /// How every line begins, until its number.
    begin: Vec<u8>,
    /// The number and the hash of the last line.
    last: (u64, LineHash),
    key: Option<HeadKey>,
    text: Vec<u8>,
    lines: Vec<Line>,
}

impl ChainEnd {
    pub(super) fn new(name: &str, key: Option<HeadKey>) -> Self {
        let mut begin = b"{\"chain\":".to_vec();
        print_text(name, &mut begin);
        begin.extend_from_slice(b",\"sequence\":");
        let last = (0, LineHash::default());
        Self { name: name.into(), begin, last, key, text: Vec::new(), lines: Vec::new() }
    }

    pub(super) fn is_signed(&self) -> bool {
        self.key.is_some()
    }

    /// The number and the bytes of the lines that [`Self::take`] returns.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.lines.len(), self.text.len())
    }

    /// The lines since this was called before; `None` where there are none.
    pub(super) fn take(&mut self) -> Option<Arc<Lines>> {
        if self.lines.is_empty() {
            return None;
        }
        // As many more are likely to follow.
        let text = Vec::with_capacity(self.text.len());
        let each = Vec::with_capacity(self.lines.len());
        let (text, each) = (mem::replace(&mut self.text, text), mem::replace(&mut self.lines, each));
        Some(Arc::new(Lines { chain: Arc::clone(&self.name), text, each }))
    }

    /// The last line since then is the one with which the server ends the chain.
    pub(super) fn end(&mut self) {
        if let Some(last) = self.lines.last_mut() {
            last.is_end = true;
        }
    }

    /// Adds a line. `members` are those of its object after the first ones, with the end of the object.
    pub(super) fn push(&mut self, about: About, members: &[u8]) {
        let (begin, previous) = (self.text.len(), self.last.1);
        let text = &mut self.text;
        text.extend_from_slice(&self.begin);
        print_number(about.sequence, text);
        text.extend_from_slice(b",\"time\":");
        print_number(about.time.0, text);
        text.extend_from_slice(b",\"previous\":\"");
        previous.print(text);
        text.extend_from_slice(b"\",");
        text.extend_from_slice(members);
        let hash = LineHash::of(text.get(begin..).unwrap_or_default());
        text.push(b'\n');
        self.last = (about.sequence, hash);
        self.lines.push(Line { about, previous, hash, is_end: false, end: self.text.len() });
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
            self.push(about, members);
        }
    }
}
