//! The last record of a chain of the audit trail, as the store has it: a file that ends before it was cut off.

use serde::Deserialize;
use serde::Serialize;

use crate::authority::clock::Timestamp;
use crate::authority::store::UnreadableRecord;
use crate::authority::store::read_record;

/// The prefix of the keys of these records. The name of the chain follows. No snapshot is built from them.
pub const AUDIT_HEADS: &str = "/audit/heads/";

/// The schema of the records that this version writes.
const SCHEMA: u32 = 1;

/// The last record of a chain that was on the disk at a time.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AuditHead {
    /// The name of the chain: one for each start of a server.
    pub chain: String,
    /// The number of the record.
    pub sequence: u64,
    /// The hash of its line: SHA-256 in base64url.
    pub hash: String,
    /// When it was on the disk.
    pub time: Timestamp,
    /// Whether the server has ended the chain.
    pub has_ended: bool,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct HeadRecord {
    schema: u32,
    sequence: u64,
    hash: String,
    time: Timestamp,
    has_ended: bool,
}

impl AuditHead {
    /// The host of the server: the time of its start and a random part follow in the name of the chain.
    pub fn host(&self) -> &str {
        host_in(&self.chain)
    }

    /// The host in a key.
    pub(in crate::authority) fn host_in(key: &str) -> &str {
        host_in(key.strip_prefix(AUDIT_HEADS).unwrap_or_default())
    }

    /// The key of the chain's record.
    pub(in crate::authority) fn key(&self) -> String {
        format!("{AUDIT_HEADS}{}", self.chain)
    }

    /// Reads the value that is stored under a key.
    pub(in crate::authority) fn from_bytes(key: &str, bytes: &[u8]) -> Result<Self, UnreadableRecord> {
        let HeadRecord { schema: _, sequence, hash, time, has_ended } = read_record(bytes, SCHEMA)?;
        let chain = key.strip_prefix(AUDIT_HEADS).unwrap_or_default().to_owned();
        Ok(Self { chain, sequence, hash, time, has_ended })
    }

    /// The value to store.
    pub(in crate::authority) fn to_bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        let Self { sequence, time, has_ended, .. } = *self;
        serde_json::to_vec(&HeadRecord { schema: SCHEMA, sequence, hash: self.hash.clone(), time, has_ended })
    }
}

fn host_in(chain: &str) -> &str {
    chain.rsplitn(3, '-').nth(2).unwrap_or(chain)
}
