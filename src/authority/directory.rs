//! The snapshot of all registrations that decisions read, and how a peer finds its own.

use std::sync::Arc;

use imbl::HashMap;
use imbl::OrdMap;
use spiffe::SpiffeId;

use crate::authority::certificate::CertificateThumbprint;
use crate::authority::client_record::ClientRecord;
use crate::authority::identity::PeerIdentity;
use crate::authority::identity::Proof;
use crate::authority::registration::ClientId;
use crate::authority::registration::ClientRegistration;
use crate::authority::registration::SpiffeIdPattern;
use crate::authority::registration::TokenEndpointAuthMethod;
use crate::authority::store::Revision;
use crate::authority::subject::CertificateSubject;

/// A client as it stands: what is registered, and the record that says so.
#[derive(Clone, Debug)]
pub struct RegisteredClient {
    /// What is registered.
    pub registration: ClientRegistration,
    /// Who registered it, when, and its creation id.
    pub record: ClientRecord,
    /// The revision of the record: its `etag`.
    pub revision: Revision,
}

/// What there is under a `client_id`.
#[derive(Clone, Debug)]
pub enum Standing {
    /// No registration.
    Unknown,
    /// More than one registration claims this SPIFFE ID at the same level; none of them is taken.
    Ambiguous,
    /// A registration that matches, at whatever level, is disabled.
    Disabled,
    /// This one.
    Registered(Arc<RegisteredClient>),
}

/// All clients. Cloning it costs nothing to speak of: a change makes a new one that shares what did not change.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    clients: OrdMap<String, Arc<RegisteredClient>>,
    exact: HashMap<String, Names>,
    below: HashMap<String, Names>,
    subjects: HashMap<CertificateSubject, Names>,
    thumbprints: HashMap<CertificateThumbprint, Names>,
    /// Deletions that the store's watch has not told of yet, so that an older change that it still tells of revives nothing.
    removed: HashMap<String, Revision>,
    /// Up to where the store has been followed: an earlier write has been taken in, or overtaken, already.
    followed: Revision,
}

/// The `client_id`s under one index entry: nearly always one.
type Names = Vec<String>;

impl Directory {
    /// The client registered under this very name, whatever its method.
    pub fn named(&self, name: &str) -> Option<&Arc<RegisteredClient>> {
        self.clients.get(name)
    }

    /// The clients after `name` in the order of their names, `count` at most.
    pub fn page(&self, after: Option<&str>, count: usize) -> Vec<Arc<RegisteredClient>> {
        let from = after.map_or(std::ops::Bound::Unbounded, |name| std::ops::Bound::Excluded(name.to_owned()));
        self.clients
            .range((from, std::ops::Bound::Unbounded))
            .take(count)
            .map(|(_, client)| Arc::clone(client))
            .collect()
    }

    /// How many clients there are.
    pub fn len(&self) -> usize {
        self.clients.len()
    }

    /// Whether there is no client.
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    /// What stands under the `client_id` of a request or a token. For a SPIFFE ID the most specific registration counts,
    /// the exact one before the longest pattern; but a disabled one at any level refuses.
    pub fn standing(&self, client_id: &ClientId) -> Standing {
        let Some(id) = client_id.spiffe_id() else {
            return match self.clients.get(client_id.as_str()) {
                // The client_id of a SPIFFE client is its SPIFFE ID, never the name of its registration.
                Some(client) if matches!(client.registration.method, TokenEndpointAuthMethod::SpiffeX509(_)) => {
                    Standing::Unknown
                }
                Some(client) => settle(&[Arc::clone(client)], &[]),
                None => Standing::Unknown,
            };
        };
        let mut levels = self.levels(&id).into_iter().filter(|level| !level.is_empty());
        let nearest = levels.next().unwrap_or_default();
        settle(&nearest, &levels.flatten().collect::<Vec<_>>())
    }

    /// Whether some registration is for this peer. What each kind of proof proves differs: a certificate that is let in as
    /// it is has no names.
    pub fn knows(&self, peer: &PeerIdentity) -> bool {
        let as_it_is = || self.thumbprints.contains_key(&peer.thumbprint());
        match peer.proof() {
            Proof::Svid(id) => self.levels(id).iter().any(|level| !level.is_empty()) || self.knows_subject(peer),
            Proof::Pki(_) => as_it_is() || self.knows_subject(peer),
            Proof::SelfSigned => as_it_is(),
        }
    }

    /// Whether a certificate is registered as it is.
    pub fn has_certificate(&self, thumbprint: &CertificateThumbprint) -> bool {
        self.thumbprints.contains_key(thumbprint)
    }

    /// Another client that claims the same SPIFFE ID, or the same pattern.
    pub fn rival(&self, registration: &ClientRegistration) -> Option<&str> {
        let claimed = match &registration.method {
            TokenEndpointAuthMethod::SpiffeX509(SpiffeIdPattern::Exact(id)) => self.exact.get(&id.to_string()),
            TokenEndpointAuthMethod::SpiffeX509(SpiffeIdPattern::Below(prefix)) => self.below.get(prefix),
            TokenEndpointAuthMethod::TlsClientAuth { .. } | TokenEndpointAuthMethod::SelfSignedTlsClientAuth(_) => {
                self.exact.get(registration.client_id.as_str())
            }
        };
        claimed.into_iter().flatten().map(String::as_str).find(|name| *name != registration.client_id.as_str())
    }

    /// Takes in a client, unless something later is known of it.
    pub fn insert(&mut self, client: RegisteredClient) {
        let name = client.registration.client_id.as_str().to_owned();
        let known = self.clients.get(&name).map(|known| known.revision).max(self.removed.get(&name).copied());
        if client.revision < self.followed || known.is_some_and(|known| known >= client.revision) {
            return;
        }
        self.forget(&name);
        self.removed.remove(&name);
        self.index(&client.registration, |names| names.push(name.clone()));
        self.clients.insert(name, Arc::new(client));
    }

    /// Removes a client that was deleted at `revision`.
    pub fn remove(&mut self, name: &str, revision: Revision) {
        if self.clients.get(name).is_some_and(|known| known.revision > revision) {
            return;
        }
        self.forget(name);
        self.removed.insert(name.to_owned(), revision);
    }

    /// Disables a client whose record was changed at `revision` into something that cannot be read. It is not removed:
    /// that could let a wider pattern in.
    pub fn suspend(&mut self, name: &str, revision: Revision) {
        let Some(known) = self.clients.get(name) else { return };
        let mut client = RegisteredClient::clone(known);
        client.registration.metadata.disabled = true;
        client.revision = revision;
        self.insert(client);
    }

    /// The store has been followed up to `revision`: everything written until then is taken in.
    pub fn caught_up(&mut self, revision: Revision) {
        self.removed.retain(|_, removed| *removed > revision);
        self.followed = self.followed.max(revision);
    }

    /// Takes over from an earlier snapshot what is later than all that this one was made from.
    pub fn overtaken_by(&mut self, earlier: &Self) {
        for client in earlier.clients.values() {
            self.insert(RegisteredClient::clone(client));
        }
        let followed = self.followed;
        for (name, revision) in earlier.removed.iter().filter(|(_, revision)| **revision > followed) {
            self.remove(name, *revision);
        }
    }

    /// The registrations for a SPIFFE ID, the most specific level first.
    fn levels(&self, id: &SpiffeId) -> Vec<Vec<Arc<RegisteredClient>>> {
        let text = id.to_string();
        let resolve = |names: Option<&Names>| {
            names.into_iter().flatten().filter_map(|name| self.clients.get(name)).map(Arc::clone).collect()
        };
        let slashes = text.char_indices().rev().filter(|(_, character)| *character == '/').map(|(at, _)| at);
        // From the last segment up to the trust domain; the two slashes of `spiffe://` are no path.
        let prefixes = slashes.filter(|at| *at > "spiffe://".len()).filter_map(|at| text.get(..=at));
        let below = prefixes.map(|prefix| resolve(self.below.get(prefix)));
        std::iter::once(resolve(self.exact.get(&text))).chain(below).collect()
    }

    fn knows_subject(&self, peer: &PeerIdentity) -> bool {
        !self.subjects.is_empty()
            && CertificateSubject::of(peer.certificate().names())
                .iter()
                .any(|subject| self.subjects.contains_key(subject))
    }

    fn forget(&mut self, name: &str) {
        if let Some(old) = self.clients.remove(name) {
            self.index(&old.registration, |names| names.retain(|other| other != name));
        }
    }

    fn index(&mut self, registration: &ClientRegistration, change: impl Fn(&mut Names)) {
        match &registration.method {
            TokenEndpointAuthMethod::SpiffeX509(SpiffeIdPattern::Exact(id)) => {
                touch(&mut self.exact, id.to_string(), change);
            }
            TokenEndpointAuthMethod::SpiffeX509(SpiffeIdPattern::Below(prefix)) => {
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
        }
    }
}

fn settle(nearest: &[Arc<RegisteredClient>], farther: &[Arc<RegisteredClient>]) -> Standing {
    if nearest.iter().chain(farther).any(|client| client.registration.metadata.disabled) {
        return Standing::Disabled;
    }
    match nearest {
        [] => Standing::Unknown,
        [client] => Standing::Registered(Arc::clone(client)),
        _ => Standing::Ambiguous,
    }
}

fn touch<K: Clone + Eq + std::hash::Hash>(index: &mut HashMap<K, Names>, key: K, change: impl Fn(&mut Names)) {
    let mut names = index.remove(&key).unwrap_or_default();
    change(&mut names);
    if !names.is_empty() {
        index.insert(key, names);
    }
}
