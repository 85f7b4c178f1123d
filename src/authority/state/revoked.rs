//! What a revocation applies to, and its record in the store.

use std::str::FromStr as _;
use std::sync::Arc;

use serde::Deserialize;
use serde::Serialize;
use spiffe::TrustDomain;

use crate::authority::access::GrantedRole;
use crate::authority::clock::Timestamp;
use crate::authority::identity::CertificateThumbprint;
use crate::authority::identity::SpiffeIdPattern;
use crate::authority::registration::ClientId;
use crate::authority::registration::MAX_TTL;
use crate::authority::store::Expected;
use crate::authority::store::Transaction;

/// The prefix of all store keys of revocations.
pub const REVOCATIONS: &str = "/revocations/";

/// The schema of the records that this version writes.
pub(super) const SCHEMA: u32 = 1;

/// The name of what [`Revoked::AllIssued`] applies to.
const ALL: &str = "*";

/// The longest `jti` that can be revoked, in bytes.
const MAX_JTI_BYTES: usize = 256;

/// What a revocation applies to.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Revoked {
    /// One token, by its `jti`. Never by its text: base64 has more than one text for the same signature.
    Token(String),
    /// A client or a SPIFFE ID. The client, its tokens and its peers are refused.
    Client(ClientId),
    /// A certificate. Tokens bound to it, and callers that present it, are refused.
    Certificate(CertificateThumbprint),
    /// The tokens of a client that were issued up to the time of the revocation. The client itself is not refused.
    IssuedTo(ClientId),
    /// The tokens that are bound to a certificate and were issued up to the time of the revocation. Neither the
    /// certificate nor its client is refused.
    IssuedWith(CertificateThumbprint),
    /// All tokens that were issued up to the time of the revocation, whoever holds them. Nobody else is refused.
    AllIssued,
    /// The SPIFFE IDs that begin with this text, which ends in a slash, and their tokens.
    Identities(String),
    /// All SPIFFE IDs of a trust domain, and their tokens.
    TrustDomain(TrustDomain),
    /// All peers to which the configuration assigns a role, and their tokens.
    Role(GrantedRole),
}

/// The kind of [`Revoked`], in the order in which revocations are listed.
#[derive(
    Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, strum::EnumString, strum::IntoStaticStr, strum::VariantArray,
)]
#[strum(serialize_all = "kebab-case")]
pub enum RevokedKind {
    /// [`Revoked::Token`].
    Token,
    /// [`Revoked::Client`].
    Client,
    /// [`Revoked::Certificate`].
    Certificate,
    /// [`Revoked::IssuedTo`].
    Issued,
    /// [`Revoked::IssuedWith`].
    IssuedWith,
    /// [`Revoked::AllIssued`].
    AllIssued,
    /// [`Revoked::Identities`].
    Identity,
    /// [`Revoked::TrustDomain`].
    TrustDomain,
    /// [`Revoked::Role`].
    Role,
}

impl Revoked {
    /// One token by its `jti`: 1 to 256 visible ASCII characters.
    pub fn token(jti: &str) -> Option<Self> {
        let visible = jti.bytes().all(|byte| byte.is_ascii_graphic());
        (!jti.is_empty() && jti.len() <= MAX_JTI_BYTES && visible).then(|| Self::Token(jti.to_owned()))
    }

    /// The SPIFFE IDs that match a pattern, `spiffe://trust-domain/path/*`. One SPIFFE ID alone is a client.
    pub fn identities(pattern: &str) -> Option<Self> {
        match SpiffeIdPattern::parse(pattern)? {
            SpiffeIdPattern::Below(prefix) => Some(Self::Identities(prefix)),
            SpiffeIdPattern::Exact(_) => None,
        }
    }

    /// A trust domain, by its name.
    pub fn trust_domain(name: &str) -> Option<Self> {
        // The library also takes SPIFFE IDs.
        TrustDomain::new(name).ok().filter(|trust_domain| trust_domain.as_str() == name).map(Self::TrustDomain)
    }

    /// The kind.
    pub fn kind(&self) -> RevokedKind {
        match self {
            Self::Token(_) => RevokedKind::Token,
            Self::Client(_) => RevokedKind::Client,
            Self::Certificate(_) => RevokedKind::Certificate,
            Self::IssuedTo(_) => RevokedKind::Issued,
            Self::IssuedWith(_) => RevokedKind::IssuedWith,
            Self::AllIssued => RevokedKind::AllIssued,
            Self::Identities(_) => RevokedKind::Identity,
            Self::TrustDomain(_) => RevokedKind::TrustDomain,
            Self::Role(_) => RevokedKind::Role,
        }
    }

    /// The name of what is revoked, among those of its kind.
    pub fn name(&self) -> String {
        match self {
            Self::Token(jti) => jti.clone(),
            Self::Client(client_id) | Self::IssuedTo(client_id) => client_id.to_string(),
            Self::Certificate(thumbprint) | Self::IssuedWith(thumbprint) => thumbprint.to_string(),
            Self::AllIssued => ALL.to_owned(),
            Self::Identities(prefix) => format!("{prefix}*"),
            Self::TrustDomain(trust_domain) => trust_domain.to_string(),
            Self::Role(role) => <&str>::from(role).to_owned(),
        }
    }

    /// The store key of its record.
    pub fn store_key(&self) -> String {
        let kind: &str = self.kind().into();
        format!("{REVOCATIONS}{kind}/{}", self.name())
    }

    /// Parses a store key.
    pub fn from_store_key(key: &str) -> Option<Self> {
        let (kind, name) = key.strip_prefix(REVOCATIONS)?.split_once('/')?;
        match RevokedKind::from_str(kind).ok()? {
            RevokedKind::Token => Self::token(name),
            RevokedKind::Client => ClientId::parse(name).map(Self::Client),
            RevokedKind::Certificate => CertificateThumbprint::parse(name).map(Self::Certificate),
            RevokedKind::Issued => ClientId::parse(name).map(Self::IssuedTo),
            RevokedKind::IssuedWith => CertificateThumbprint::parse(name).map(Self::IssuedWith),
            RevokedKind::AllIssued => (name == ALL).then_some(Self::AllIssued),
            RevokedKind::Identity => Self::identities(name),
            RevokedKind::TrustDomain => Self::trust_domain(name),
            RevokedKind::Role => GrantedRole::from_str(name).ok().map(Self::Role),
        }
    }

    /// Whether tokens that were issued before stay refused when the revocation has ended. Those that are bound to a
    /// certificate are not: they are of use only with the certificate itself.
    pub fn outlives_its_end(&self) -> bool {
        match self {
            Self::Client(_) | Self::Identities(_) | Self::TrustDomain(_) | Self::Role(_) => true,
            Self::Token(_) | Self::Certificate(_) | Self::IssuedTo(_) | Self::IssuedWith(_) | Self::AllIssued => false,
        }
    }

    /// The record that replaces that of this revocation when it is lifted. `None` where it is deleted.
    pub fn lifted(&self, record: RevocationRecord, now: Timestamp, by: &str) -> Option<RevocationRecord> {
        let lifting = Lifted { at: now, by: Some(by.to_owned()) };
        let lifted = || RevocationRecord { lifted: Some(Box::new(lifting)), ..record };
        self.outlives_its_end().then(lifted)
    }

    /// Whether an admin can lift the revocation.
    pub fn is_liftable(&self) -> bool {
        match self {
            Self::Client(_) | Self::Certificate(_) | Self::Identities(_) | Self::TrustDomain(_) | Self::Role(_) => true,
            Self::Token(_) | Self::IssuedTo(_) | Self::IssuedWith(_) | Self::AllIssued => false,
        }
    }
}

/// The record of a revocation. There may be a million in memory.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(from = "Written", into = "Written")]
pub struct RevocationRecord {
    schema: u32,
    /// The time of the revocation.
    pub revoked_at: Timestamp,
    /// The identity of the caller that revoked.
    pub revoked_by: Arc<str>,
    /// The last second in which it is in effect; `None` where it is in effect until it is lifted.
    pub until: Option<Timestamp>,
    /// Its end, where it was lifted. The record is then kept for what was issued before.
    pub lifted: Option<Box<Lifted>>,
}

/// The end of a revocation that was lifted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Lifted {
    /// When it was lifted.
    pub at: Timestamp,
    /// The identity of the caller that lifted it.
    pub by: Option<String>,
}

/// The record as it is stored.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Written {
    schema: u32,
    revoked_at: Timestamp,
    revoked_by: Arc<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lifted_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lifted_by: Option<String>,
}

impl From<Written> for RevocationRecord {
    fn from(written: Written) -> Self {
        let Written { schema, revoked_at, revoked_by, until, lifted_at, lifted_by } = written;
        let lifted = lifted_at.map(|at| Box::new(Lifted { at, by: lifted_by }));
        Self { schema, revoked_at, revoked_by, until, lifted }
    }
}

impl From<RevocationRecord> for Written {
    fn from(record: RevocationRecord) -> Self {
        let RevocationRecord { schema, revoked_at, revoked_by, until, lifted } = record;
        let (lifted_at, lifted_by) = lifted.map_or((None, None), |lifted| (Some(lifted.at), lifted.by));
        Self { schema, revoked_at, revoked_by, until, lifted_at, lifted_by }
    }
}

impl RevocationRecord {
    /// A revocation made now.
    pub fn new(now: Timestamp, by: &str, until: Option<Timestamp>) -> Self {
        Self::of(now, by.into(), until)
    }

    /// A revocation that was made then.
    pub(super) fn of(revoked_at: Timestamp, revoked_by: Arc<str>, until: Option<Timestamp>) -> Self {
        Self { schema: SCHEMA, revoked_at, revoked_by, until, lifted: None }
    }

    /// Parses a stored value; `None` where this version cannot.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice::<Self>(bytes).ok().filter(|record| record.schema == SCHEMA)
    }

    /// The value to store; `None` where it cannot be serialized.
    pub fn to_bytes(&self) -> Option<Vec<u8>> {
        serde_json::to_vec(self).ok()
    }

    /// Whether it refuses what it applies to.
    pub fn is_in_effect(&self, now: Timestamp) -> bool {
        self.lifted.is_none() && self.until.is_none_or(|until| now <= until)
    }

    /// Whether it is in effect at least until then; `None` is without an end.
    pub fn lasts(&self, until: Option<Timestamp>, now: Timestamp) -> bool {
        let as_long = self.until.is_none_or(|own| until.is_some_and(|until| until <= own));
        self.is_in_effect(now) && as_long
    }

    /// Whether it has ended, and still refuses the tokens that were issued before, of which this is one.
    pub fn refuses_issued_at(&self, issued: Timestamp, now: Timestamp) -> bool {
        !self.is_in_effect(now) && self.last_refused().is_some_and(|last| issued <= last && now <= last.after(MAX_TTL))
    }

    /// The last second whose tokens are refused once it has ended; `None` where it has no end.
    pub(in crate::authority) fn last_refused(&self) -> Option<Timestamp> {
        let ended = self.lifted.as_ref().map(|lifted| {
            // Until then no server issued any, or one that did not know the revocation yet. Those of the second in
            // which it was lifted are accepted, unless it was made in the same one.
            Timestamp(lifted.at.0.saturating_sub(1)).max(self.revoked_at)
        });
        // Lifting does not prolong it.
        match (ended, self.until) {
            (Some(lifted), Some(until)) => Some(lifted.min(until)),
            (ended, until) => ended.or(until),
        }
    }

    /// The last second in which the record has an effect; `None` where it has no end.
    pub fn last_effect(&self, revoked: &Revoked) -> Option<Timestamp> {
        if revoked.outlives_its_end() { self.last_refused().map(|last| last.after(MAX_TTL)) } else { self.until }
    }
}

/// The change that lifts a revocation: [`Revoked::lifted`] says what replaces its record. `None` where that cannot be
/// serialized.
pub fn lifting(key: &str, expected: Expected, lifted: Option<&RevocationRecord>) -> Option<Transaction> {
    let change = Transaction::default().compare(key, expected);
    match lifted {
        Some(lifted) => Some(change.put(key, lifted.to_bytes()?)),
        None => Some(change.delete(key)),
    }
}
