//! The one who calls, looked at anew on every request: a connection outlives its certificate, its bundle and its roles.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls_pki_types::CertificateDer;

use crate::authority::Authority;
use crate::authority::access::CalledMethod;
use crate::authority::access::Caller;
use crate::authority::access::NotAdmitted;
use crate::authority::access::PeerConnection;
use crate::authority::access::Proven;
use crate::authority::access::Reach;
use crate::authority::access::Role;
use crate::authority::access::Roles;
use crate::authority::clock::Timestamp;
use crate::authority::identity::Certificate;
use crate::authority::identity::CertificateThumbprint;
use crate::authority::identity::PeerIdentity;
use crate::authority::identity::Proof;
use crate::authority::trust::Unproven;

impl Authority {
    /// Proves the certificate chain of a peer; see [`TrustBundles::prove`].
    pub fn prove(&self, chain: &[CertificateDer<'_>]) -> Result<PeerIdentity, Unproven> {
        let now = self.clock.now();
        let identity =
            match self.trust.load().prove(chain, now, |thumbprint| self.is_known_certificate(thumbprint, now)) {
                // Found unknown by the last of the rules, so it is none of the other kinds, and valid now.
                Err(Unproven::Unknown) if self.policy.jwks_uri.on_demand => {
                    let leaf = chain.first().ok_or(Unproven::ChainSize)?;
                    PeerIdentity::proven(Certificate::parse(leaf)?, Proof::Unknown)
                }
                outcome => outcome?,
            };
        let revoked = self.snapshot.load().revocations.has_certificate(identity.thumbprint(), now);
        if revoked { Err(Unproven::Revoked) } else { Ok(identity) }
    }

    /// Whether a certificate is let in as it is: registered, published by a registered client, or listed for a role.
    pub(in crate::authority) fn is_known_certificate(
        &self,
        thumbprint: &CertificateThumbprint,
        now: Timestamp,
    ) -> bool {
        self.snapshot.load().has_certificate(thumbprint, now) || self.roles.load().names_certificate(thumbprint)
    }

    /// The roles that a peer holds now.
    pub fn roles_of(&self, peer: &PeerIdentity) -> Roles {
        let registered = peer.spiffe_id().is_none() && self.snapshot.load().knows(peer, self.clock.now());
        self.roles.load().roles_of(peer, registered)
    }

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
    pub fn authorize(
        &self,
        connection: Option<&PeerConnection>,
        method: CalledMethod,
    ) -> Result<Option<Caller>, NotAdmitted> {
        let method = method.entry().ok_or(NotAdmitted::NoSuchMethod)?;
        let Some(connection) = connection else {
            return if method.roles.contains(&Role::Anyone) { Ok(None) } else { Err(NotAdmitted::NoCertificate) };
        };
        if connection.reach != Reach::Direct && method.never_forwarded {
            return Err(NotAdmitted::WrongRole);
        }
        let caller = self.caller(connection)?;
        // Roles are not asked: should the certificate become known at this very moment, the next request sees it.
        if *caller.identity.proof() == Proof::Unknown {
            let may_ask = method.for_unknown_certificates;
            return if may_ask { Ok(Some(caller)) } else { Err(NotAdmitted::Unproven(Unproven::Unknown)) };
        }
        if caller.roles.any_of(method.roles) { Ok(Some(caller)) } else { Err(NotAdmitted::WrongRole) }
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
        if *identity.proof() == Proof::SelfSigned && !self.is_known_certificate(&identity.thumbprint(), now) {
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
