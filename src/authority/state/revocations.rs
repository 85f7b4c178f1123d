//! What is revoked, and until when. A revocation is kept for as long as what it revokes could otherwise be used, and swept
//! after that.

use imbl::HashMap;
use serde::Deserialize;
use serde::Serialize;

use crate::authority::clock::Timestamp;
use crate::authority::deny_reason::DenyReason;
use crate::authority::identity::CertificateThumbprint;
use crate::authority::registration::ClientId;
use crate::authority::store::Revision;
use crate::authority::tokens::VerifiedToken;

/// The prefix of all keys of revocations in the store.
pub const REVOCATIONS: &str = "/revocations/";

/// The schema of the records that this version writes.
const SCHEMA: u32 = 1;

/// The most bytes that a `jti` may have to be revoked by name.
const MAX_JTI_BYTES: usize = 256;

/// What a revocation is about.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Revoked {
    /// One token. Never by its text: base64 has more than one for the same signature.
    Token(String),
    /// A client: its tokens are refused, and so is it.
    Client(ClientId),
    /// A certificate: tokens bound to it are refused, and so is whoever shows it.
    Certificate(CertificateThumbprint),
    /// The tokens of a client that were issued until the revocation was made. The client itself goes on.
    IssuedTo(ClientId),
}

impl Revoked {
    /// One token by its `jti`: 1 to 256 visible ASCII characters.
    pub fn token(jti: &str) -> Option<Self> {
        let visible = jti.bytes().all(|byte| byte.is_ascii_graphic());
        (!jti.is_empty() && jti.len() <= MAX_JTI_BYTES && visible).then(|| Self::Token(jti.to_owned()))
    }

    /// Where its record is stored.
    pub fn store_key(&self) -> String {
        let (kind, name) = match self {
            Self::Token(jti) => ("token", jti.clone()),
            Self::Client(client_id) => ("client", client_id.to_string()),
            Self::Certificate(thumbprint) => ("certificate", thumbprint.to_string()),
            Self::IssuedTo(client_id) => ("issued", client_id.to_string()),
        };
        format!("{REVOCATIONS}{kind}/{name}")
    }

    /// What a store key is about.
    pub fn from_store_key(key: &str) -> Option<Self> {
        let (kind, name) = key.strip_prefix(REVOCATIONS)?.split_once('/')?;
        match kind {
            "token" => Self::token(name),
            "client" => ClientId::parse(name).map(Self::Client),
            "certificate" => CertificateThumbprint::parse(name).map(Self::Certificate),
            "issued" => ClientId::parse(name).map(Self::IssuedTo),
            _ => None,
        }
    }
}

/// A revocation in the store.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RevocationRecord {
    schema: u32,
    /// When it was made.
    pub revoked_at: Timestamp,
    /// By whom.
    pub revoked_by: String,
    /// When it may be forgotten; `None` where it stands until it is lifted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

impl RevocationRecord {
    /// A revocation made now.
    pub fn new(now: Timestamp, by: &str, until: Option<Timestamp>) -> Self {
        Self { schema: SCHEMA, revoked_at: now, revoked_by: by.to_owned(), until }
    }

    /// Reads a stored value; `None` where this version cannot.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice::<Self>(bytes).ok().filter(|record| record.schema == SCHEMA)
    }

    /// The value to store.
    pub fn to_bytes(&self) -> Option<Vec<u8>> {
        serde_json::to_vec(self).ok()
    }

    fn stands(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now <= until)
    }
}

/// All revocations at one moment.
#[derive(Clone, Debug, Default)]
pub struct Revocations(HashMap<Revoked, (RevocationRecord, Revision)>);

impl Revocations {
    /// Takes in a revocation.
    pub fn insert(&mut self, revoked: Revoked, record: RevocationRecord, revision: Revision) {
        self.0.insert(revoked, (record, revision));
    }

    /// Forgets one.
    pub fn remove(&mut self, revoked: &Revoked) {
        self.0.remove(revoked);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = (&Revoked, &RevocationRecord, Revision)> {
        self.0.iter().map(|(revoked, (record, revision))| (revoked, record, *revision))
    }

    /// The revision of one.
    pub fn revision_of(&self, revoked: &Revoked) -> Option<Revision> {
        self.0.get(revoked).map(|(_, revision)| *revision)
    }

    /// Those that revoke nothing any more.
    pub fn expired(&self, now: Timestamp) -> Vec<(Revoked, Revision)> {
        let expired = self.all().filter(|(_, record, _)| !record.stands(now));
        expired.map(|(revoked, _, revision)| (revoked.clone(), revision)).collect()
    }

    /// Whether a client, or any of its tokens, is refused under this name.
    pub fn has_client(&self, client_id: &ClientId, now: Timestamp) -> bool {
        self.standing(&Revoked::Client(client_id.clone()), now).is_some()
    }

    /// Whether a certificate is refused.
    pub fn has_certificate(&self, thumbprint: CertificateThumbprint, now: Timestamp) -> bool {
        self.standing(&Revoked::Certificate(thumbprint), now).is_some()
    }

    /// Why the use of a token with a certificate is refused, if it is. Its client has one name or two: what tokens call it, and what it is registered as.
    pub fn reason_against(
        &self,
        token: &VerifiedToken,
        client: &[&ClientId],
        presented: Option<CertificateThumbprint>,
        now: Timestamp,
    ) -> Option<DenyReason> {
        // Nearly always.
        if self.0.is_empty() {
            return None;
        }
        if self.standing(&Revoked::Token(token.claims.jti.clone()), now).is_some() {
            return Some(DenyReason::TokenRevoked);
        }
        if client.iter().any(|name| self.has_client(name, now)) {
            return Some(DenyReason::ClientRevoked);
        }
        // A token of the same second may have been issued before or after; it is refused.
        let mut issued = client.iter().filter_map(|name| self.standing(&Revoked::IssuedTo(ClientId::clone(name)), now));
        if issued.any(|record| token.claims.iat <= record.revoked_at) {
            return Some(DenyReason::TokenRevoked);
        }
        // The one that is presented may be another than the one that it is bound to.
        let mut certificates = token.bound_to.into_iter().chain(presented);
        let revoked = certificates.any(|thumbprint| self.has_certificate(thumbprint, now));
        revoked.then_some(DenyReason::CertificateRevoked)
    }

    fn standing(&self, revoked: &Revoked, now: Timestamp) -> Option<&RevocationRecord> {
        self.0.get(revoked).map(|(record, _)| record).filter(|record| record.stands(now))
    }
}
