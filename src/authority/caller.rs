//! The one who calls, looked at anew on every request: a connection outlives its certificate, its bundle and its roles.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls_pki_types::CertificateDer;

use crate::authority::Authority;
use crate::authority::access::FOR_UNKNOWN_CERTIFICATES;
use crate::authority::access::NEVER_FORWARDED;
use crate::authority::access::Role;
use crate::authority::access::Roles;
use crate::authority::access::roles_for;
use crate::authority::clock::Timestamp;
use crate::authority::forwarded_peer::NotForwarded;
use crate::authority::identity::PeerIdentity;
use crate::authority::identity::Proof;
use crate::authority::trust::Unproven;

/// A connection whose peer was proven in the handshake.
pub struct PeerConnection {
    reach: Reach,
    chain: Vec<CertificateDer<'static>>,
    proven: ArcSwap<Proven>,
}

impl PeerConnection {
    /// Who was last proven; see [`Authority::caller`] for who it still is.
    pub fn identity(&self) -> Arc<PeerIdentity> {
        Arc::clone(&self.proven.load().identity)
    }
}

/// Over what a peer's certificate came, which limits what it may act as.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reach {
    /// Its own handshake.
    Direct,
    /// A terminator that is known: never an admin's.
    Forwarded,
    /// A terminator that is not: a workload's and nothing else.
    Insecure,
}

/// What was proven, and under which bundles and client CAs.
struct Proven {
    identity: Arc<PeerIdentity>,
    generation: u64,
    /// Until when its trust domain's bundle counts, as far as was known then.
    good_until: Option<Timestamp>,
}

/// Why a call does not reach what it calls.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotAdmitted {
    /// There is no such method.
    #[error("no such method")]
    NoSuchMethod,
    /// The connection has no client certificate, and the method is not for anyone.
    #[error("a client certificate is required")]
    NoCertificate,
    /// The certificate no longer proves the caller.
    #[error(transparent)]
    Unproven(#[from] Unproven),
    /// The certificate was not passed on as it must be.
    #[error(transparent)]
    NotForwarded(#[from] NotForwarded),
    /// The caller holds none of the roles that the method asks for.
    #[error("the caller holds none of the roles that this method asks for")]
    WrongRole,
}

impl NotAdmitted {
    /// The fixed code.
    pub fn code(self) -> &'static str {
        match self {
            Self::NoSuchMethod => "NO_SUCH_METHOD",
            Self::NoCertificate => "NO_CERTIFICATE",
            Self::Unproven(_) => "CERTIFICATE_NOT_PROVEN",
            Self::NotForwarded(_) => "CERTIFICATE_NOT_FORWARDED",
            Self::WrongRole => "WRONG_ROLE",
        }
    }
}

/// A caller as it is at this moment.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Who it is.
    pub identity: Arc<PeerIdentity>,
    /// What it may act as.
    pub roles: Roles,
}

impl Authority {
    /// Proves the chain that a peer presents in the handshake.
    pub fn admit(&self, chain: Vec<CertificateDer<'static>>) -> Result<PeerConnection, Unproven> {
        self.admit_by(chain, Reach::Direct)
    }

    /// The same of a chain that came in another way. It is held to the same rules.
    pub fn admit_by(&self, chain: Vec<CertificateDer<'static>>, reach: Reach) -> Result<PeerConnection, Unproven> {
        // Read before the proof: should the bundles change meanwhile, the first request proves again.
        let generation = self.trust_generation();
        let identity = Arc::new(self.prove(&chain)?);
        let good_until = self.trust().good_until(&identity);
        Ok(PeerConnection { reach, chain, proven: ArcSwap::from_pointee(Proven { identity, generation, good_until }) })
    }

    /// Admits a call by the one access table, and says who calls; nobody, on a connection without a certificate.
    pub fn enter(&self, connection: Option<&PeerConnection>, method: &str) -> Result<Option<Caller>, NotAdmitted> {
        let wanted = roles_for(method).ok_or(NotAdmitted::NoSuchMethod)?;
        let Some(connection) = connection else {
            return if wanted.contains(&Role::Anyone) { Ok(None) } else { Err(NotAdmitted::NoCertificate) };
        };
        if connection.reach != Reach::Direct && NEVER_FORWARDED.contains(&method) {
            return Err(NotAdmitted::WrongRole);
        }
        let caller = self.caller(connection)?;
        // Roles are not asked: should the certificate become known at this very moment, the next request sees it.
        if *caller.identity.proof() == Proof::Unknown {
            let may_ask = FOR_UNKNOWN_CERTIFICATES.contains(&method);
            return if may_ask { Ok(Some(caller)) } else { Err(NotAdmitted::Unproven(Unproven::Unknown)) };
        }
        if caller.roles.any_of(wanted) { Ok(Some(caller)) } else { Err(NotAdmitted::WrongRole) }
    }

    /// The caller behind a connection: its validity is looked at each time, its path again when a bundle or a client CA has
    /// changed, and whether it is still registered, where that alone let it in.
    pub fn caller(&self, connection: &PeerConnection) -> Result<Caller, Unproven> {
        let now = self.clock.now();
        // One look: between two, another request on this connection could put a later proof beside an earlier identity.
        let proven = connection.proven.load_full();
        let mut identity = Arc::clone(&proven.identity);
        let generation = self.trust_generation();
        // One that was unknown may have been found meanwhile.
        let stale = proven.good_until.is_some_and(|until| now > until);
        if proven.generation != generation || stale || *identity.proof() == Proof::Unknown {
            identity = Arc::new(self.prove(&connection.chain)?);
            let good_until = self.trust().good_until(&identity);
            connection.proven.store(Arc::new(Proven { identity: Arc::clone(&identity), generation, good_until }));
        }
        if now > identity.certificate().not_after() {
            return Err(Unproven::Expired);
        }
        if now < identity.certificate().not_before() {
            return Err(Unproven::NotYetValid);
        }
        if *identity.proof() == Proof::SelfSigned && !self.lets_in(&identity.thumbprint(), now) {
            return Err(Unproven::Unknown);
        }
        if self.snapshot.load().revocations.has_certificate(identity.thumbprint(), now) {
            return Err(Unproven::Revoked);
        }
        let held = self.roles_of(&identity);
        let roles = match connection.reach {
            Reach::Direct => held,
            Reach::Forwarded => Roles { admin: false, ..held },
            Reach::Insecure => Roles { admin: false, proxy: None, ..held },
        };
        Ok(Caller { identity, roles })
    }
}

impl fmt::Debug for PeerConnection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("PeerConnection")
            .field("identity", &self.proven.load().identity.to_string())
            .finish_non_exhaustive()
    }
}
