//! The lines of the audit trail, and how each holds the one before it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::Serialize;
use sha2::Digest as _;
use sha2::Sha256;

use crate::authority::clock::Timestamp;
use crate::authority::observe::AuditHead;
use crate::telemetry::trail::key::HeadKey;

/// The event of the first line of a chain.
pub(super) const STARTED: &str = "started";
/// The event of the last line of a chain whose server ended as it should.
pub(super) const STOPPED: &str = "stopped";
/// The event of a line that signs the line before it.
pub(super) const SIGNED: &str = "signed";

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
}

#[derive(Serialize)]
struct Line<'a, T> {
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

    /// The last line, which was on the disk at this time.
    pub(super) fn head(&self, time: Timestamp, has_ended: bool) -> AuditHead {
        let (sequence, hash) = self.last.clone();
        AuditHead { chain: self.name.clone(), sequence, hash, time, has_ended }
    }

    pub(super) fn is_signed(&self) -> bool {
        self.key.is_some()
    }

    /// Appends a line to a text. One that cannot be written as JSON is left out, and missing in the sequence.
    pub(super) fn append(&mut self, text: &mut Vec<u8>, sequence: u64, time: Timestamp, body: &impl Serialize) {
        let link = Link { chain: self.name.clone(), sequence, time, previous: self.last.1.clone() };
        if let Ok(line) = serde_json::to_vec(&Line { link: &link, body }) {
            self.last = (sequence, hash(&line));
            text.extend_from_slice(&line);
            text.push(b'\n');
        }
    }

    /// Appends a line about the chain itself.
    pub(super) fn append_event(&mut self, text: &mut Vec<u8>, sequence: u64, time: Timestamp, event: &str) {
        let key = self.key.as_ref().filter(|_| event != STOPPED);
        let signature = key.filter(|_| event == SIGNED).and_then(|key| key.sign(&self.name, self.last.0, &self.last.1));
        let body = OfChain {
            event: event.to_owned(),
            version: (event == STARTED).then(|| env!("CARGO_PKG_VERSION").to_owned()),
            key: key.map(|key| key.name().to_owned()),
            signature,
        };
        self.append(text, sequence, time, &body);
    }
}
