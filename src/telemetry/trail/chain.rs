//! The lines of the audit trail, and how each holds the one before it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::Serialize;
use sha2::Digest as _;
use sha2::Sha256;

use crate::authority::clock::Timestamp;
use crate::authority::observe::AuditRecord;
use crate::authority::observe::Severity;
use crate::telemetry::trail::key::HeadKey;

/// The event of the first line of a chain.
pub(super) const STARTED: &str = "started";
/// The event of the last line of a chain whose server ended as it should.
pub(super) const STOPPED: &str = "stopped";
/// The event of a line that signs the line before it.
pub(super) const SIGNED: &str = "signed";
/// The event of a line that says which lines a destination did not get.
pub(super) const NOT_COPIED: &str = "not_copied";

/// What every line begins with, in this order.
#[derive(Debug, Deserialize, Serialize)]
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

/// A line of the chain, as every destination gets it.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) link: Link,
    pub(super) event: &'static str,
    pub(super) severity: Severity,
    pub(super) trace_id: Option<String>,
    /// The JSON object, with the end of the line.
    pub(super) text: Vec<u8>,
    /// The hash of the text without its end.
    pub(super) hash: String,
    /// Whether the server ends the chain with it.
    pub(super) is_end: bool,
}

#[derive(Serialize)]
struct Written<'a, T> {
    #[serde(flatten)]
    link: &'a Link,
    #[serde(flatten)]
    body: &'a T,
}

/// The hash of a line without its end, in base64url.
pub(super) fn hash(line: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(line))
}

/// The end of a chain that grows.
#[derive(Debug)]
pub(super) struct ChainEnd {
    name: String,
    /// The number and the hash of the last line.
    last: (u64, String),
    key: Option<HeadKey>,
}

impl ChainEnd {
    pub(super) fn new(name: String, key: Option<HeadKey>) -> Self {
        Self { name, last: (0, String::new()), key }
    }

    pub(super) fn is_signed(&self) -> bool {
        self.key.is_some()
    }

    /// The next line: a record. One that cannot be written as JSON is left out, and missing in the sequence.
    pub(super) fn record(&mut self, sequence: u64, time: Timestamp, record: &AuditRecord) -> Option<Line> {
        let about = (record.event().into(), record.severity(), record.trace_id().map(ToOwned::to_owned));
        self.line(sequence, time, about, record)
    }

    /// The next line, which is about the chain itself.
    pub(super) fn event(&mut self, sequence: u64, time: Timestamp, event: &'static str) -> Option<Line> {
        let key = self.key.as_ref().filter(|_| event != STOPPED);
        let signature = key.filter(|_| event == SIGNED).and_then(|key| key.sign(&self.name, self.last.0, &self.last.1));
        let body = OfChain {
            event: event.to_owned(),
            version: (event == STARTED).then(|| env!("CARGO_PKG_VERSION").to_owned()),
            key: key.map(|key| key.name().to_owned()),
            signature,
            gap: None,
        };
        self.line(sequence, time, (event, Severity::Info, None), &body)
    }

    /// The next line, which says what a destination did not get.
    pub(super) fn gap(&mut self, sequence: u64, time: Timestamp, gap: Gap) -> Option<Line> {
        let body = OfChain { event: NOT_COPIED.to_owned(), gap: Some(gap), ..OfChain::default() };
        self.line(sequence, time, (NOT_COPIED, Severity::Warn, None), &body)
    }

    fn line(
        &mut self,
        sequence: u64,
        time: Timestamp,
        (event, severity, trace_id): (&'static str, Severity, Option<String>),
        body: &impl Serialize,
    ) -> Option<Line> {
        let link = Link { chain: self.name.clone(), sequence, time, previous: self.last.1.clone() };
        let mut text = serde_json::to_vec(&Written { link: &link, body }).ok()?;
        let hash = hash(&text);
        self.last = (sequence, hash.clone());
        text.push(b'\n');
        Some(Line { link, event, severity, trace_id, text, hash, is_end: false })
    }
}
