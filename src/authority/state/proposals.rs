//! Changes that wait for a second admin, as they are stored. No snapshot is built from them.

use serde::Deserialize;
use serde::Serialize;
use serde_json::Value;
use sha2::Digest as _;
use sha2::Sha256;
use spiffe::SpiffeId;

use crate::authority::access::ControlledKind;
use crate::authority::access::GrantMetadata;
use crate::authority::access::GrantedRole;
use crate::authority::access::TeamGrant;
use crate::authority::clock::Timestamp;
use crate::authority::identity::CertificateNames;
use crate::authority::identity::CertificateThumbprint;
use crate::authority::identity::PeerIdentity;
use crate::authority::keys::KEYS_INDEX;
use crate::authority::records::PROPOSAL_SCHEMA;
use crate::authority::records::PROPOSALS;
use crate::authority::records::ProposalId;
use crate::authority::records::Registration as _;
use crate::authority::records::RegistrationChange;
use crate::authority::registration::ClientMetadata;
use crate::authority::registration::ClientRegistration;
use crate::authority::registration::RegisteredClient;
use crate::authority::registration::SpiffeClaim;
use crate::authority::registration::TokenEndpointAuthMethod;
use crate::authority::resources::DeletedResource;
use crate::authority::resources::ProtectedResource;
use crate::authority::resources::ResourceMetadata;
use crate::authority::state::features::FEATURES;
use crate::authority::state::view::View;
use crate::authority::store::Revision;
use crate::authority::store::UnreadableRecord;
use crate::authority::store::read_record;

/// What is to be done.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, strum::IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum ProposedChange {
    /// Register what is not registered.
    Create,
    /// Replace what is registered.
    Update,
    /// Delete what is registered.
    Delete,
    /// Remove the mark of a deleted resource.
    Forget,
    /// Publish the signing key that follows.
    Rotate,
    /// Lift a revocation.
    Lift,
    /// Enable a feature.
    Enable,
}

/// A change that waits for a second admin.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ProposalRecord {
    schema: u32,
    id: String,
    /// The kind of what is changed.
    pub kind: ControlledKind,
    /// Its name: a `client_id`, an audience, the name of a grant or a feature, the store key of a revocation. Empty for the
    /// signing keys.
    pub name: String,
    /// What is to be done.
    pub change: ProposedChange,
    /// The metadata that is to be registered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Value>,
    /// The revision that the change was proposed for. `None` where there was nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<u64>,
    /// Who proposed it.
    pub proposer: Proposer,
    /// Why, in the words of who proposed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it was proposed.
    pub time: Timestamp,
    /// From when on it is as if it had never been proposed.
    pub expires: Timestamp,
}

impl ProposalRecord {
    /// A change that is proposed now.
    pub(in crate::authority) fn new(
        id: ProposalId,
        (kind, name, change): (ControlledKind, &str, ProposedChange),
        (metadata, base): (Option<Value>, Option<Revision>),
        (proposer, reason): (Proposer, Option<&str>),
        (time, expires): (Timestamp, Timestamp),
    ) -> Self {
        Self {
            schema: PROPOSAL_SCHEMA,
            id: id.to_string(),
            kind,
            name: name.to_owned(),
            change,
            metadata,
            base: base.map(|base| base.0),
            proposer,
            reason: reason.map(ToOwned::to_owned),
            time,
            expires,
        }
    }

    /// Reads the value that is stored at a place.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, UnreadableRecord> {
        read_record(bytes, PROPOSAL_SCHEMA)
    }

    /// The value to store; `None` where it cannot be serialized.
    pub fn to_bytes(&self) -> Option<Vec<u8>> {
        serde_json::to_vec(self).ok()
    }

    /// Its identifier.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The key of the record that the change was proposed for.
    pub fn changed_key(&self) -> String {
        match (self.kind, self.change) {
            (ControlledKind::Resource, ProposedChange::Forget) => DeletedResource::key(&self.name),
            (ControlledKind::Client, _) => ClientRegistration::key(&self.name),
            (ControlledKind::Resource, _) => ProtectedResource::key(&self.name),
            (ControlledKind::Grant, _) => TeamGrant::key(&self.name),
            (ControlledKind::SigningKey, _) => KEYS_INDEX.to_owned(),
            (ControlledKind::Revocation, _) => self.name.clone(),
            (ControlledKind::Feature, _) => format!("{FEATURES}{}", self.name),
        }
    }

    /// Whether both propose the same, for the same reason or another.
    pub(in crate::authority) fn proposes_the_same(&self, other: &Self) -> bool {
        let what = |one: &Self| (one.kind, one.change, one.base);
        what(self) == what(other) && self.name == other.name && self.metadata == other.metadata
    }
}

/// A proposed change as it is seen.
#[derive(Clone, Debug)]
pub struct SeenProposal {
    /// What is stored of it.
    pub record: ProposalRecord,
    /// Whether what it was proposed for has changed since, so that it is not made any more.
    pub is_outdated: bool,
}

/// From what to what a change would be made.
#[derive(Clone, Debug)]
pub enum ProposedStates {
    /// A client.
    Client(Box<RegistrationChange<ClientMetadata>>),
    /// A protected resource.
    Resource(Box<RegistrationChange<ResourceMetadata>>),
    /// A grant.
    Grant(Box<RegistrationChange<GrantMetadata>>),
    /// What has a state and no registration.
    State(RegistrationChange<String>),
}

/// The key of the proposal at a place.
pub(in crate::authority) fn proposal_key(place: u8) -> String {
    format!("{PROPOSALS}{place:03}")
}

/// Who proposed a change: all by which the same admin is known again.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Proposer {
    /// The name, as the records of changes have it.
    pub name: String,
    /// Whether it was proposed as an admin, and not as the admin of a team.
    pub as_admin: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    spiffe_id: Option<String>,
    certificate: String,
    public_key: String,
    /// The digest of the names in a certificate that is no SVID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    names: Option<String>,
    /// The clients that the certificate proves, but for patterns.
    clients: Vec<String>,
}

impl Proposer {
    /// The peer that proposes.
    pub(in crate::authority) fn of(view: &View, peer: &PeerIdentity, as_admin: bool) -> Self {
        Self {
            name: peer.to_string(),
            as_admin,
            spiffe_id: peer.spiffe_id().map(ToString::to_string),
            certificate: peer.thumbprint().to_string(),
            public_key: peer.certificate().public_key_digest(),
            names: names_of(peer),
            clients: clients_of(view, peer),
        }
    }

    /// Whether it is this peer, with the same certificate or another one: by its SPIFFE ID, its key, the names in its
    /// certificate, or a client that both are.
    pub(in crate::authority) fn is(&self, view: &View, peer: &PeerIdentity) -> bool {
        let own = Self::of(view, peer, self.as_admin);
        let has = |one: &Option<String>, other: &Option<String>| one.is_some() && one == other;
        has(&self.spiffe_id, &own.spiffe_id)
            || self.certificate == own.certificate
            || self.public_key == own.public_key
            || has(&self.names, &own.names)
            || own.clients.iter().any(|client| self.clients.contains(client) || self.is_client(view, client))
    }

    /// Whether it is known as this client now.
    fn is_client(&self, view: &View, client_id: &str) -> bool {
        let directory = &view.snapshot.directory;
        let by_id = self.id().map(|id| directory.nearest(&id)).unwrap_or_default();
        let by_certificate = self.thumbprint().map(|one| directory.with_certificate(&one).collect::<Vec<_>>());
        let mut all = by_id.into_iter().chain(by_certificate.unwrap_or_default()).filter(|client| is_one(client));
        all.any(|client| client.registration.client_id.as_str() == client_id)
    }

    /// Whether it may still propose: it holds the role that it proposed with, and is not revoked.
    pub(in crate::authority) fn may_still(&self, view: &View) -> bool {
        let (id, thumbprint) = (self.id(), self.thumbprint());
        let clients = self.clients.iter().filter_map(|name| view.snapshot.directory.named(name)).cloned().collect();
        if view.refuses(id.as_ref(), thumbprint, clients) {
            return false;
        }
        if self.as_admin {
            return view.roles.assigns(GrantedRole::Admin, id.as_ref(), thumbprint);
        }
        id.is_some_and(|id| !view.grants_held_by(&id).is_empty())
    }

    /// Its SPIFFE ID, if it has one.
    pub(in crate::authority) fn id(&self) -> Option<SpiffeId> {
        self.spiffe_id.as_deref().and_then(|id| SpiffeId::new(id).ok())
    }

    fn thumbprint(&self) -> Option<CertificateThumbprint> {
        CertificateThumbprint::parse(&self.certificate)
    }
}

/// Whether a client is one identity, and not all below a pattern.
fn is_one(client: &RegisteredClient) -> bool {
    !matches!(&client.registration.method, TokenEndpointAuthMethod::Spiffe(_, SpiffeClaim::Below(_)))
}

fn clients_of(view: &View, peer: &PeerIdentity) -> Vec<String> {
    let clients = view.snapshot.clients_of(peer, view.now);
    let single = clients.iter().filter(|client| is_one(client));
    single.map(|client| client.registration.client_id.to_string()).collect()
}

/// The digest of the names in a certificate that is no SVID; `None` where it has none.
fn names_of(peer: &PeerIdentity) -> Option<String> {
    let names = peer.certificate().names();
    let CertificateNames { subject, dns, uri, ip, email } = names;
    // An empty sequence has two bytes.
    let has_any = subject.len() > 2 || !(dns.is_empty() && uri.is_empty() && ip.is_empty() && email.is_empty());
    if peer.spiffe_id().is_some() || !has_any {
        return None;
    }
    Some(hex::encode(Sha256::digest(format!("{names:?}"))))
}
