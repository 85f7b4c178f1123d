//! The bundle documents of other trust domains, and the JWK Sets of trusted issuers, as they were fetched and stored: one
//! replica fetches them for all, and a restart starts with them.

use std::sync::Arc;

use imbl::OrdMap;
use serde::Deserialize;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::authority::clock::Timestamp;
use crate::authority::keys::KeySealer;
use crate::authority::store::MAX_VALUE_BYTES;
use crate::authority::store::Revision;
use crate::authority::store::UnreadableRecord;
use crate::authority::store::read_record;
use crate::authority::trust::BundleDocument;
use crate::authority::trust::InvalidBundleDocument;

/// The prefix of the records of fetched bundles in the store. The name of the trust domain follows, or `issuer:` and the name
/// of a trusted issuer.
pub const FETCHED_BUNDLES: &str = "/fetched-bundles/";

/// The schema of the records that this version writes.
pub(super) const SCHEMA: u32 = 1;

/// The largest document that is stored, in bytes: with what is beside it, it fits into a record.
const MAX_STORED_BYTES: usize = 60 * 1024;

/// A bundle document, and where and when it was fetched.
#[derive(Clone, Debug)]
pub struct FetchedBundle {
    /// The URL of the endpoint, for who reads the record.
    pub bundle_endpoint: String,
    /// The digest of all that the configuration says of the endpoint: URL, profile, the hosts to which it may redirect, and
    /// what authenticates it.
    pub source: String,
    /// The document.
    pub document: BundleDocument,
    /// When the request was sent.
    pub fetched_at: Timestamp,
    /// The last moment at which the writer uses it. The record ends with it.
    pub keep_until: Timestamp,
    /// The value of the record that it was read from; empty where it was fetched here.
    pub stored: Box<[u8]>,
}

/// The JSON object in the store.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    schema: u32,
    bundle_endpoint: String,
    source: String,
    fetched_at: Timestamp,
    keep_until: Timestamp,
    /// As it was fetched, so that each version reads it by its own rules.
    document: Box<RawValue>,
    /// Made with the key-encryption key over all of the above and the key in the store: a record of who can write to the
    /// store alone would prove whatever its roots sign.
    tag: String,
}

/// What the tag of a record is made over.
fn authenticated(key: &str, stored: &Stored) -> [Vec<u8>; 6] {
    let Stored { schema: _, bundle_endpoint, source, fetched_at, keep_until, document, tag: _ } = stored;
    let [fetched_at, keep_until] = [fetched_at, keep_until].map(|time| time.0.to_be_bytes().to_vec());
    let document = document.get().into();
    [key.into(), bundle_endpoint.as_str().into(), source.as_str().into(), fetched_at, keep_until, document]
}

/// Why a stored bundle cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UnusableBundle {
    /// The record cannot be read by this version.
    #[error(transparent)]
    Unreadable(#[from] UnreadableRecord),
    /// The document is no bundle document.
    #[error("the document is not a bundle: {0}")]
    Document(#[from] InvalidBundleDocument),
    /// The tag is not that of the record under any key-encryption key.
    #[error("it was changed, moved, or written under another key-encryption key")]
    Forged,
    /// The record is larger than a store accepts.
    #[error("the record is larger than {MAX_VALUE_BYTES} bytes")]
    Size,
}

/// What the store has of the bundle of a trust domain.
#[derive(Clone, Debug)]
pub enum StoredBundle {
    /// Nothing.
    Absent,
    /// A record that cannot be read.
    Unreadable(Revision),
    /// A document.
    Fetched(Arc<FetchedBundle>, Revision),
}

impl FetchedBundle {
    /// The key of the record of a trust domain in the store.
    pub fn key(trust_domain: &str) -> String {
        format!("{FETCHED_BUNDLES}{trust_domain}")
    }

    /// Parses the value that is stored at a key, under the rules for a document that is fetched.
    pub fn from_bytes(key: &str, bytes: &[u8], sealer: &KeySealer) -> Result<Self, UnusableBundle> {
        if bytes.len() > MAX_VALUE_BYTES {
            return Err(UnusableBundle::Size);
        }
        let stored: Stored = read_record(bytes, SCHEMA)?;
        // Before anything of the document is parsed.
        if !sealer.verifies(&authenticated(key, &stored).each_ref().map(Vec::as_slice), &stored.tag) {
            return Err(UnusableBundle::Forged);
        }
        let Stored { schema: _, bundle_endpoint, source, fetched_at, keep_until, document, tag: _ } = stored;
        let document = BundleDocument::parse(document.get().as_bytes())?;
        Ok(Self { bundle_endpoint, source, document, fetched_at, keep_until, stored: bytes.into() })
    }

    /// The value to store at a key, with the text that the document was parsed from; `None` where that is too large for a
    /// record.
    pub fn to_bytes(&self, key: &str, text: &[u8], sealer: &KeySealer) -> Option<Vec<u8>> {
        let text = Some(text).filter(|text| text.len() <= MAX_STORED_BYTES)?;
        let document = RawValue::from_string(String::from_utf8(text.to_vec()).ok()?).ok()?;
        let Self { bundle_endpoint, source, document: _, fetched_at, keep_until, stored: _ } = self.clone();
        let tag = String::new();
        let mut stored = Stored { schema: SCHEMA, bundle_endpoint, source, fetched_at, keep_until, document, tag };
        stored.tag = sealer.tag(&authenticated(key, &stored).each_ref().map(Vec::as_slice));
        serde_json::to_vec(&stored).ok()
    }
}

/// The stored bundles, by the names of their trust domains.
#[derive(Clone, Debug, Default)]
pub struct FetchedBundles(OrdMap<String, (Arc<FetchedBundle>, Revision)>);

impl FetchedBundles {
    /// The bundle of a trust domain, with the revision of its record.
    pub fn of(&self, trust_domain: &str) -> Option<(&Arc<FetchedBundle>, Revision)> {
        self.0.get(trust_domain).map(|(fetched, revision)| (fetched, *revision))
    }

    pub(in crate::authority) fn all(&self) -> impl Iterator<Item = (&str, &Arc<FetchedBundle>, Revision)> {
        self.0.iter().map(|(name, (fetched, revision))| (name.as_str(), fetched, *revision))
    }

    pub(super) fn insert(&mut self, trust_domain: &str, fetched: Arc<FetchedBundle>, revision: Revision) {
        self.0.insert(trust_domain.to_owned(), (fetched, revision));
    }

    pub(super) fn remove(&mut self, trust_domain: &str) {
        self.0.remove(trust_domain);
    }
}
