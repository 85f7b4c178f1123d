//! The snapshot of all client registrations that decisions use, and the lookup of a peer's registration.

use std::sync::Arc;

use imbl::HashMap;
use spiffe::SpiffeId;

use crate::authority::identity::CertificateThumbprint;
use crate::authority::identity::PeerIdentity;
use crate::authority::identity::Proof;
use crate::authority::identity::SpiffeIdPattern;
use crate::authority::identity::prefixes;
use crate::authority::records::ByName;
use crate::authority::registration::auth_method::TokenEndpointAuthMethod;
use crate::authority::registration::certificate_subject::CertificateSubject;
use crate::authority::registration::client::ClientRegistration;
use crate::authority::registration::client::RegisteredClient;
use crate::authority::registration::client_id::ClientId;

/// The result of looking up a `client_id`.
#[derive(Clone, Debug)]
pub enum ClientStatus {
    /// There is no registration.
    Unknown,
    /// More than one registration claims this SPIFFE ID at the same level. None of them applies.
    Ambiguous,
    /// A matching registration, at any level, is disabled, or the client registered itself and no operator's registration
    /// is left that allows it.
    Disabled,
    /// The registration that applies.
    Registered(Arc<RegisteredClient>),
}

/// All clients. A clone is cheap: a change creates a new snapshot that shares the unchanged entries.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    clients: ByName<ClientRegistration>,
    exact: HashMap<String, Names>,
    below: HashMap<String, Names>,
    subjects: HashMap<CertificateSubject, Names>,
    thumbprints: HashMap<CertificateThumbprint, Names>,
}

/// The `client_id`s under one index entry: nearly always one.
type Names = Vec<String>;

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
        self.clients.all().filter(|client| client.record.dynamic.is_some()).count()
    }

    /// Whether there are no clients.
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    /// The registration for the `client_id` of a request or a token. For a SPIFFE ID the most specific registration
    /// applies: the exact one, then the longest pattern. A disabled registration at any level refuses the client, and so
    /// does the loss of the operator's registration that limits a client which registered itself.
    pub fn status(&self, client_id: &ClientId) -> ClientStatus {
        if !client_id.is_spiffe_id() {
            return match self.clients.named(client_id.as_str()) {
                // The client_id of a SPIFFE client is its SPIFFE ID, never the name of its registration.
                Some(client) if matches!(client.registration.method, TokenEndpointAuthMethod::Spiffe(..)) => {
                    ClientStatus::Unknown
                }
                Some(client) => settle(&[Arc::clone(client)], &[]),
                None => ClientStatus::Unknown,
            };
        }
        let mut levels = self.levels(client_id.as_str()).into_iter().filter(|level| !level.is_empty());
        let nearest = levels.next().unwrap_or_default();
        settle(&nearest, &levels.flatten().collect::<Vec<_>>())
    }

    /// Whether a registration matches this peer. The kinds of proof differ in what they prove: for a certificate that
    /// is accepted by its thumbprint no names are verified.
    pub fn knows(&self, peer: &PeerIdentity) -> bool {
        let as_it_is = || self.thumbprints.contains_key(&peer.thumbprint());
        match peer.proof() {
            Proof::Svid(id) => {
                self.levels(&id.to_string()).iter().any(|level| !level.is_empty()) || self.knows_subject(peer, &[])
            }
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
            found.extend(self.resolve(self.thumbprints.get(&peer.thumbprint())));
        }
        if !self.subjects.is_empty() {
            for subject in CertificateSubject::of(peer.certificate().names()) {
                let registered = self.resolve(self.subjects.get(&subject));
                found.extend(registered.filter(|client| match &client.registration.method {
                    TokenEndpointAuthMethod::TlsClientAuth { client_ca, .. } => {
                        subject.is_proven_by(peer, client_ca.as_ref())
                    }
                    TokenEndpointAuthMethod::Spiffe(..)
                    | TokenEndpointAuthMethod::SelfSignedTlsClientAuth(_)
                    | TokenEndpointAuthMethod::PublishedTlsClientAuth(_) => false,
                }));
            }
        }
        found
    }

    /// The most specific registrations for a SPIFFE ID. There is more than one only where they conflict.
    pub fn nearest(&self, id: &SpiffeId) -> Vec<Arc<RegisteredClient>> {
        self.levels(&id.to_string()).into_iter().find(|level| !level.is_empty()).unwrap_or_default()
    }

    /// The clients that are registered with a certificate itself.
    pub fn with_certificate(
        &self,
        thumbprint: &CertificateThumbprint,
    ) -> impl Iterator<Item = Arc<RegisteredClient>> + '_ {
        self.resolve(self.thumbprints.get(thumbprint))
    }

    /// Whether the thumbprint of a certificate is registered.
    pub fn has_certificate(&self, thumbprint: &CertificateThumbprint) -> bool {
        self.thumbprints.contains_key(thumbprint)
    }

    /// The most specific registration for a SPIFFE ID that an operator created. It limits what the workload may obtain
    /// by registering itself.
    pub fn operator_limit(&self, id: &SpiffeId) -> Option<Arc<RegisteredClient>> {
        let operators = |level: &Vec<Arc<RegisteredClient>>| {
            level.iter().find(|client| client.record.dynamic.is_none()).map(Arc::clone)
        };
        self.levels(&id.to_string()).iter().find_map(operators).filter(|client| !client.registration.metadata.disabled)
    }

    /// The clients that a peer's certificate may authenticate: those at the most specific level of its SPIFFE ID, and those
    /// with a name or the thumbprint of the certificate. Published certificates are not looked up.
    pub fn candidates(&self, peer: &PeerIdentity) -> Vec<Arc<RegisteredClient>> {
        let mut found = match peer.spiffe_id() {
            Some(id) => self.levels(&id.to_string()).into_iter().find(|level| !level.is_empty()).unwrap_or_default(),
            None => Vec::new(),
        };
        let subjects = CertificateSubject::of(peer.certificate().names());
        let by_subject = subjects.iter().filter_map(|subject| self.subjects.get(subject));
        let names = by_subject.chain(self.thumbprints.get(&peer.thumbprint())).flatten();
        for client in names.filter_map(|name| self.clients.named(name)) {
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
        let claimed = match &registration.method {
            TokenEndpointAuthMethod::Spiffe(_, SpiffeIdPattern::Exact(id)) => self.exact.get(&id.to_string()),
            TokenEndpointAuthMethod::Spiffe(_, SpiffeIdPattern::Below(prefix)) => self.below.get(prefix),
            TokenEndpointAuthMethod::TlsClientAuth { .. }
            | TokenEndpointAuthMethod::SelfSignedTlsClientAuth(_)
            | TokenEndpointAuthMethod::PublishedTlsClientAuth(_) => self.exact.get(registration.client_id.as_str()),
        };
        claimed.into_iter().flatten().map(String::as_str).find(|name| *name != registration.client_id.as_str())
    }

    /// All clients.
    pub fn all(&self) -> impl Iterator<Item = &Arc<RegisteredClient>> {
        self.clients.all()
    }

    /// Inserts a client, replacing any client with the same name.
    pub fn insert(&mut self, client: RegisteredClient) {
        let name = client.registration.client_id.as_str().to_owned();
        self.remove(&name);
        self.index(&client.registration, |names| names.push(name.clone()));
        self.clients.insert(client);
    }

    /// Removes a client.
    pub fn remove(&mut self, name: &str) {
        if let Some(old) = self.clients.remove(name) {
            self.index(&old.registration, |names| names.retain(|other| other != name));
        }
    }

    /// The registrations for a SPIFFE ID, most specific level first.
    fn levels(&self, id: &str) -> Vec<Vec<Arc<RegisteredClient>>> {
        let below = prefixes(id)
            .filter(|_| !self.below.is_empty())
            .map(|prefix| self.resolve(self.below.get(prefix)).collect());
        std::iter::once(self.resolve(self.exact.get(id)).collect()).chain(below).collect()
    }

    fn resolve<'a>(&'a self, names: Option<&'a Names>) -> impl Iterator<Item = Arc<RegisteredClient>> + 'a {
        names.into_iter().flatten().filter_map(|name| self.clients.named(name)).map(Arc::clone)
    }

    /// Whether a `tls_client_auth` client has one of the peer's names, and takes a certificate that these client CAs issued.
    fn knows_subject(&self, peer: &PeerIdentity, vouching: &[String]) -> bool {
        let takes = |name: &String| {
            let client = self.clients.named(name);
            client.is_some_and(|client| match &client.registration.metadata.client_ca {
                Some(client_ca) => vouching.contains(client_ca),
                None => true,
            })
        };
        !self.subjects.is_empty()
            && CertificateSubject::of(peer.certificate().names())
                .iter()
                .filter_map(|subject| self.subjects.get(subject))
                .any(|names| names.iter().any(takes))
    }

    fn index(&mut self, registration: &ClientRegistration, change: impl Fn(&mut Names)) {
        match &registration.method {
            TokenEndpointAuthMethod::Spiffe(_, SpiffeIdPattern::Exact(id)) => {
                touch(&mut self.exact, id.to_string(), change);
            }
            TokenEndpointAuthMethod::Spiffe(_, SpiffeIdPattern::Below(prefix)) => {
                touch(&mut self.below, prefix.clone(), change);
            }
            TokenEndpointAuthMethod::TlsClientAuth { subject, .. } => {
                touch(&mut self.subjects, subject.clone(), &change);
                if registration.client_id.spiffe_id().is_some() {
                    touch(&mut self.exact, registration.client_id.as_str().to_owned(), change);
                }
            }
            TokenEndpointAuthMethod::SelfSignedTlsClientAuth(certificates) => {
                for thumbprint in certificates {
                    touch(&mut self.thumbprints, *thumbprint, &change);
                }
            }
            // Published certificates change independently of the registration. The snapshot of published documents
            // holds them.
            TokenEndpointAuthMethod::PublishedTlsClientAuth(_) => {}
        }
    }
}

fn settle(nearest: &[Arc<RegisteredClient>], farther: &[Arc<RegisteredClient>]) -> ClientStatus {
    if nearest.iter().chain(farther).any(|client| client.registration.metadata.disabled) {
        return ClientStatus::Disabled;
    }
    match nearest {
        [] => ClientStatus::Unknown,
        [client] if is_own_identity(client) && !farther.iter().any(|other| other.record.dynamic.is_none()) => {
            ClientStatus::Disabled
        }
        [client] => ClientStatus::Registered(Arc::clone(client)),
        _ => ClientStatus::Ambiguous,
    }
}

fn is_own_identity(client: &RegisteredClient) -> bool {
    client.record.dynamic.as_ref().is_some_and(|dynamic| dynamic.own_identity)
}

fn touch<K: Clone + Eq + std::hash::Hash>(index: &mut HashMap<K, Names>, key: K, change: impl Fn(&mut Names)) {
    let mut names = index.remove(&key).unwrap_or_default();
    change(&mut names);
    if !names.is_empty() {
        index.insert(key, names);
    }
}
