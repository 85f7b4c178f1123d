//! The snapshot of all client registrations that decisions use, and the lookup of a peer's registration.

use std::fmt;
use std::sync::Arc;

use imbl::OrdMap;
use spiffe::SpiffeId;

use crate::authority::identity::CertificateThumbprint;
use crate::authority::identity::PeerIdentity;
use crate::authority::identity::Proof;
use crate::authority::identity::prefixes;
use crate::authority::records::ByName;
use crate::authority::records::HashMap;
use crate::authority::records::Shared;
use crate::authority::registration::auth_method::SpiffeClaim;
use crate::authority::registration::auth_method::TokenEndpointAuthMethod;
use crate::authority::registration::certificate_subject::CertificateSubject;
use crate::authority::registration::client::ClientRegistration;
use crate::authority::registration::client::RegisteredClient;
use crate::authority::registration::client_id::ClientId;
use crate::authority::registration::terms::Terms;

/// The result of looking up a `client_id`.
#[derive(Clone, Debug)]
pub enum ClientStatus {
    /// There is no registration.
    Unknown,
    /// More than one registration claims this SPIFFE ID at the same level. None of them applies.
    Ambiguous,
    /// The record of a matching registration, at any level, cannot be read.
    Suspended,
    /// A matching registration, at any level, is disabled, or the client registered itself and no operator's registration
    /// is left that allows it.
    Disabled,
    /// The registration that applies.
    Registered(Arc<RegisteredClient>),
}

/// For people: what was found.
impl fmt::Display for ClientStatus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => formatter.write_str("no registration"),
            Self::Ambiguous => formatter.write_str("several registrations at the same level"),
            Self::Suspended => formatter.write_str("a registration that this version cannot read"),
            Self::Disabled => formatter.write_str("a registration that is disabled"),
            Self::Registered(client) => {
                write!(formatter, "{} at revision {}", client.registration.client_id, client.revision.0)
            }
        }
    }
}

/// All clients. A clone is cheap: a change creates a new snapshot that shares the unchanged entries. A client is found by one
/// lookup of a hash, by its name, its SPIFFE ID or its certificate.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    clients: ByName<ClientRegistration>,
    /// The clients with an exact SPIFFE ID that is not their name. The others are found by their names.
    exact: HashMap<Arc<str>, Clients>,
    below: HashMap<Arc<str>, Clients>,
    /// The numbers of slashes in the prefixes of patterns, each with the number of those clients.
    depths: OrdMap<usize, usize>,
    subjects: HashMap<CertificateSubject, Clients>,
    thumbprints: HashMap<CertificateThumbprint, Clients>,
    /// The number of clients that were registered over HTTP.
    dynamic: usize,
    /// What the records have in common: terms, and who registered and changed them; and JWK Sets.
    terms: Shared<Terms>,
    texts: Shared<str>,
}

/// The clients under one index entry.
#[derive(Clone, Debug)]
enum Clients {
    /// Nearly always.
    One(Arc<RegisteredClient>),
    Several(Vec<Arc<RegisteredClient>>),
}

/// What is done to an index entry.
#[derive(Clone, Copy)]
enum Change {
    Add,
    TakeAway,
}

impl Clients {
    fn all(&self) -> &[Arc<RegisteredClient>] {
        match self {
            Self::One(client) => std::slice::from_ref(client),
            Self::Several(clients) => clients,
        }
    }
}

impl Directory {
    /// The client registered under exactly this name, with any authentication method.
    pub fn named(&self, name: &str) -> Option<&Arc<RegisteredClient>> {
        self.clients.named(name)
    }

    /// The clients by name.
    pub fn by_name(&self) -> &ByName<ClientRegistration> {
        &self.clients
    }

    /// The number of clients.
    pub fn len(&self) -> usize {
        self.clients.len()
    }

    /// The number of clients that were registered over HTTP.
    pub fn registered_dynamically(&self) -> usize {
        self.dynamic
    }

    /// Whether there are no clients.
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    /// The registration for the `client_id` of a request or a token. For a SPIFFE ID the most specific registration
    /// applies: the exact one, then the longest pattern. A disabled registration at any level refuses the client, and so
    /// does the loss of the operator's registration that limits a client which registered itself.
    pub fn status(&self, client_id: &ClientId) -> ClientStatus {
        if client_id.is_spiffe_id() {
            return self.status_of(client_id.as_str());
        }
        // The client_id of a SPIFFE client is its SPIFFE ID, never the name of its registration.
        let named = self.clients.named(client_id.as_str());
        let named = named.filter(|client| !matches!(client.registration.method, TokenEndpointAuthMethod::Spiffe(..)));
        settle(named.map(|client| (usize::MAX, client)).into_iter())
    }

    /// The registration for a SPIFFE ID.
    pub(super) fn status_of(&self, id: &str) -> ClientStatus {
        settle(self.claiming(id))
    }

    /// Whether a registration matches this peer. The kinds of proof differ in what they prove: for a certificate that
    /// is accepted by its thumbprint no names are verified.
    pub fn knows(&self, peer: &PeerIdentity) -> bool {
        let as_it_is = || self.thumbprints.contains_key(&peer.thumbprint());
        match peer.proof() {
            Proof::Svid(id) => self.claiming(&id.to_string()).next().is_some() || self.knows_subject(peer, &[]),
            Proof::Pki(vouching) => as_it_is() || self.knows_subject(peer, vouching),
            Proof::SelfSigned => as_it_is(),
            Proof::Unknown => false,
        }
    }

    /// The registrations that a peer's certificate proves: of those by SPIFFE ID the most specific ones, and each whose
    /// subject or certificate is the peer's. Several clients may be registered for one certificate.
    pub fn clients_of(&self, peer: &PeerIdentity) -> Vec<Arc<RegisteredClient>> {
        let mut found = peer.spiffe_id().map(|id| self.nearest(id)).unwrap_or_default();
        if matches!(peer.proof(), Proof::Pki(_) | Proof::SelfSigned) {
            found.extend(self.with_certificate(&peer.thumbprint()));
        }
        if !self.subjects.is_empty() {
            for subject in CertificateSubject::of(peer.certificate().names()) {
                let registered = of(self.subjects.get(&subject));
                let proven = registered.filter(|client| match &client.registration.method {
                    TokenEndpointAuthMethod::TlsClientAuth(registered) => {
                        subject.is_proven_by(peer, registered.client_ca.as_ref())
                    }
                    TokenEndpointAuthMethod::Spiffe(..)
                    | TokenEndpointAuthMethod::SelfSignedTlsClientAuth(_)
                    | TokenEndpointAuthMethod::PublishedTlsClientAuth(_)
                    | TokenEndpointAuthMethod::IssuerJwt(_) => false,
                });
                found.extend(proven.map(Arc::clone));
            }
        }
        found
    }

    /// The most specific registrations for a SPIFFE ID. There is more than one only where they conflict.
    pub fn nearest(&self, id: &SpiffeId) -> Vec<Arc<RegisteredClient>> {
        let id = id.to_string();
        let mut claiming = self.claiming(&id).peekable();
        let nearest = claiming.peek().map(|(level, _)| *level);
        claiming.take_while(|(level, _)| Some(*level) == nearest).map(|(_, client)| Arc::clone(client)).collect()
    }

    /// The clients that are registered with a certificate itself.
    pub fn with_certificate(
        &self,
        thumbprint: &CertificateThumbprint,
    ) -> impl Iterator<Item = Arc<RegisteredClient>> + '_ {
        of(self.thumbprints.get(thumbprint)).map(Arc::clone)
    }

    /// Whether the thumbprint of a certificate is registered.
    pub fn has_certificate(&self, thumbprint: &CertificateThumbprint) -> bool {
        self.thumbprints.contains_key(thumbprint)
    }

    /// The most specific registration for a SPIFFE ID that an operator created. It limits what the workload may obtain
    /// by registering itself.
    pub fn operator_limit(&self, id: &SpiffeId) -> Option<Arc<RegisteredClient>> {
        let id = id.to_string();
        let operators = self.claiming(&id).map(|(_, client)| client).find(|client| client.record.dynamic.is_none());
        operators.filter(|client| !client.registration.disabled).map(Arc::clone)
    }

    /// The clients that a peer's certificate may authenticate: those at the most specific level of its SPIFFE ID, and those
    /// with a name or the thumbprint of the certificate. Published certificates are not looked up.
    pub fn candidates(&self, peer: &PeerIdentity) -> Vec<Arc<RegisteredClient>> {
        let mut found = peer.spiffe_id().map(|id| self.nearest(id)).unwrap_or_default();
        let subjects = CertificateSubject::of(peer.certificate().names());
        let by_subject = subjects.iter().flat_map(|subject| of(self.subjects.get(subject)));
        for client in by_subject.chain(of(self.thumbprints.get(&peer.thumbprint()))) {
            if !found.iter().any(|other| other.registration.client_id == client.registration.client_id) {
                found.push(Arc::clone(client));
            }
        }
        found
    }

    /// The operator's registration that limits a client, where the client registered itself.
    pub(in crate::authority) fn limit_of(&self, client: &RegisteredClient) -> Option<Arc<RegisteredClient>> {
        if is_own_identity(client) { self.operator_limit(&client.registration.client_id.spiffe_id()?) } else { None }
    }

    /// Another client that claims the same SPIFFE ID or the same pattern.
    pub fn conflicting_client(&self, registration: &ClientRegistration) -> Option<&str> {
        let (exact, below) = match &registration.method {
            TokenEndpointAuthMethod::Spiffe(_, SpiffeClaim::Exact(id)) => (Some(&**id), None),
            TokenEndpointAuthMethod::Spiffe(_, SpiffeClaim::Below(prefix)) => (None, self.below.get(prefix)),
            TokenEndpointAuthMethod::TlsClientAuth(_)
            | TokenEndpointAuthMethod::SelfSignedTlsClientAuth(_)
            | TokenEndpointAuthMethod::PublishedTlsClientAuth(_)
            | TokenEndpointAuthMethod::IssuerJwt(_) => (Some(registration.client_id.as_str()), None),
        };
        let claiming = exact.into_iter().flat_map(|id| self.claiming_exactly(id)).chain(of(below));
        let mut names = claiming.map(|client| client.registration.client_id.as_str());
        names.find(|name| *name != registration.client_id.as_str())
    }

    /// All clients.
    pub fn all(&self) -> impl Iterator<Item = &Arc<RegisteredClient>> {
        self.clients.all()
    }

    /// Inserts a client, replacing any client with the same name.
    pub fn insert(&mut self, mut client: RegisteredClient) {
        self.remove(client.registration.client_id.as_str());
        self.terms.add(&mut client.registration.terms);
        self.texts.add(&mut client.record.created_by);
        self.texts.add(&mut client.record.updated_by);
        if let TokenEndpointAuthMethod::SelfSignedTlsClientAuth(registered) = &mut client.registration.method {
            self.texts.add(&mut registered.jwks);
        }
        self.dynamic += usize::from(client.record.dynamic.is_some());
        let client = Arc::new(client);
        self.index(&client, Change::Add);
        self.clients.add(client);
    }

    /// Removes a client.
    pub fn remove(&mut self, name: &str) {
        let Some(old) = self.clients.remove(name) else { return };
        self.index(&old, Change::TakeAway);
        self.terms.remove(&old.registration.terms);
        self.texts.remove(&old.record.created_by);
        self.texts.remove(&old.record.updated_by);
        if let TokenEndpointAuthMethod::SelfSignedTlsClientAuth(registered) = &old.registration.method {
            self.texts.remove(&registered.jwks);
        }
        self.dynamic -= usize::from(old.record.dynamic.is_some());
    }

    /// The registrations for a SPIFFE ID with their levels, the most specific first. A level is the length of what they claim.
    pub(in crate::authority) fn claiming<'a>(
        &'a self,
        id: &'a str,
    ) -> impl Iterator<Item = (usize, &'a Arc<RegisteredClient>)> {
        let slashes = if self.below.is_empty() { 0 } else { id.bytes().filter(|byte| *byte == b'/').count() };
        // The longest prefix has all slashes, and the next one fewer.
        let prefixes = prefixes(id).zip((1..=slashes).rev()).filter(|(_, depth)| self.depths.contains_key(depth));
        let below =
            prefixes.flat_map(|(prefix, _)| of(self.below.get(prefix)).map(move |client| (prefix.len(), client)));
        self.claiming_exactly(id).map(|client| (usize::MAX, client)).chain(below)
    }

    /// The registrations for exactly this SPIFFE ID: the one that it names, which cannot be for another one, and others.
    fn claiming_exactly(&self, id: &str) -> impl Iterator<Item = &Arc<RegisteredClient>> {
        let named = self.clients.named(id).filter(|client| client.registration.client_id.is_spiffe_id());
        named.into_iter().chain(of(self.exact.get(id)))
    }

    /// Whether a `tls_client_auth` client has one of the peer's names, and takes a certificate that these client CAs issued.
    fn knows_subject(&self, peer: &PeerIdentity, vouching: &[String]) -> bool {
        let takes = |client: &Arc<RegisteredClient>| match &client.registration.method {
            TokenEndpointAuthMethod::TlsClientAuth(registered) => {
                registered.client_ca.as_ref().is_none_or(|client_ca| vouching.contains(client_ca))
            }
            TokenEndpointAuthMethod::Spiffe(..)
            | TokenEndpointAuthMethod::SelfSignedTlsClientAuth(_)
            | TokenEndpointAuthMethod::PublishedTlsClientAuth(_)
            | TokenEndpointAuthMethod::IssuerJwt(_) => false,
        };
        !self.subjects.is_empty()
            && CertificateSubject::of(peer.certificate().names())
                .iter()
                .any(|subject| of(self.subjects.get(subject)).any(takes))
    }

    fn index(&mut self, client: &Arc<RegisteredClient>, change: Change) {
        let registration = &client.registration;
        match &registration.method {
            TokenEndpointAuthMethod::Spiffe(_, SpiffeClaim::Exact(id)) => {
                if **id != *registration.client_id.as_str() {
                    touch(&mut self.exact, Arc::clone(id), client, change);
                }
            }
            TokenEndpointAuthMethod::Spiffe(_, SpiffeClaim::Below(prefix)) => {
                let before = of(self.below.get(prefix)).count();
                touch(&mut self.below, Arc::clone(prefix), client, change);
                let now = of(self.below.get(prefix)).count();
                let depth = prefix.bytes().filter(|byte| *byte == b'/').count();
                match (self.depths.get(&depth).copied().unwrap_or_default() + now).saturating_sub(before) {
                    0 => drop(self.depths.remove(&depth)),
                    left => drop(self.depths.insert(depth, left)),
                }
            }
            TokenEndpointAuthMethod::TlsClientAuth(registered) => {
                touch(&mut self.subjects, registered.subject.clone(), client, change);
            }
            TokenEndpointAuthMethod::SelfSignedTlsClientAuth(registered) => {
                for thumbprint in &registered.certificates {
                    touch(&mut self.thumbprints, *thumbprint, client, change);
                }
            }
            // Published certificates change independently of the registration. The snapshot of published documents
            // holds them.
            // A client by assertions may have any certificate.
            TokenEndpointAuthMethod::PublishedTlsClientAuth(_) | TokenEndpointAuthMethod::IssuerJwt(_) => {}
        }
    }
}

/// The clients under an index entry, which may not exist.
fn of(clients: Option<&Clients>) -> impl Iterator<Item = &Arc<RegisteredClient>> {
    clients.into_iter().flat_map(Clients::all)
}

/// The status by the registrations that claim a client, with their levels, the most specific first.
fn settle<'a>(claiming: impl Iterator<Item = (usize, &'a Arc<RegisteredClient>)>) -> ClientStatus {
    let mut nearest: Option<(usize, &Arc<RegisteredClient>)> = None;
    let (mut ambiguous, mut limited, mut disabled) = (false, false, false);
    for (level, client) in claiming {
        if client.suspended.is_some() {
            return ClientStatus::Suspended;
        }
        disabled |= client.registration.disabled;
        match nearest {
            None => nearest = Some((level, client)),
            Some((at, _)) if at == level => ambiguous = true,
            Some(_) => limited |= client.record.dynamic.is_none(),
        }
    }
    if disabled {
        return ClientStatus::Disabled;
    }
    match nearest {
        None => ClientStatus::Unknown,
        Some(_) if ambiguous => ClientStatus::Ambiguous,
        Some((_, client)) if is_own_identity(client) && !limited => ClientStatus::Disabled,
        Some((_, client)) => ClientStatus::Registered(Arc::clone(client)),
    }
}

fn is_own_identity(client: &RegisteredClient) -> bool {
    client.record.dynamic.as_ref().is_some_and(|dynamic| dynamic.own_identity)
}

/// Adds a client to those under an index entry, or takes it away.
fn touch<K: Clone + Eq + std::hash::Hash>(
    index: &mut HashMap<K, Clients>,
    key: K,
    client: &Arc<RegisteredClient>,
    change: Change,
) {
    let others = of(index.get(&key)).filter(|other| !Arc::ptr_eq(other, client)).map(Arc::clone);
    let mut clients: Vec<_> = others.collect();
    match change {
        Change::Add => clients.push(Arc::clone(client)),
        Change::TakeAway => {}
    }
    match clients.len() {
        0 => drop(index.remove(&key)),
        1 => drop(clients.pop().and_then(|client| index.insert(key, Clients::One(client)))),
        _ => drop(index.insert(key, Clients::Several(clients))),
    }
}
