//! Admission of callers. The caller is checked again on every request, because a connection outlives its certificate,
//! its bundle and its roles.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls_pki_types::CertificateDer;

use crate::authority::Authority;
use crate::authority::access::CalledMethod;
use crate::authority::access::CallerIdentity;
use crate::authority::access::ConnectionInfo;
use crate::authority::access::LocalProxy;
use crate::authority::access::NotAdmitted;
use crate::authority::access::Peer;
use crate::authority::access::PeerConnection;
use crate::authority::access::Proven;
use crate::authority::access::Reach;
use crate::authority::access::Role;
use crate::authority::access::Roles;
use crate::authority::identity::Certificate;
use crate::authority::identity::CertificateThumbprint;
use crate::authority::identity::PeerIdentity;
use crate::authority::identity::Proof;
use crate::authority::observe::HandshakeError;
use crate::authority::state::Admitted;
use crate::authority::state::Asker;
use crate::authority::state::Caller;
use crate::authority::state::View;
use crate::authority::trust::Unproven;
use crate::authority::trust::chain_fingerprint;

impl Authority {
    /// The state by which a request that arrives now is decided.
    pub fn view(&self) -> View {
        // Read before the bundles: if they change in between, a path that was validated by them is validated again.
        let trust_generation = self.trust_generation();
        let now = self.clock.now();
        // Read before the snapshot: one that was loaded before a revocation arrived is not as fresh as the next.
        let staleness = self.staleness();
        View {
            now,
            snapshot: self.snapshot.load_full(),
            trust: self.trust(),
            trust_generation,
            roles: self.roles.load_full(),
            staleness,
            max_staleness: self.policy.max_staleness,
        }
    }

    /// Validates the certificate chain of a peer; see [`TrustBundles::prove`].
    pub fn prove(&self, view: &View, chain: &[CertificateDer<'_>]) -> Result<PeerIdentity, Unproven> {
        let identity = match self.prove_unless_refused(view, chain) {
            // No rule accepts the certificate, so it has none of the other proofs, and it is within its validity
            // period. What its holder may do with it is to ask for a token, by an assertion of a trusted issuer, or as a
            // client that publishes its certificates.
            Err(Unproven::Unknown) if self.policy.jwks_uri.on_demand || view.trust.authenticates_by_issuers() => {
                let leaf = chain.first().ok_or(Unproven::ChainSize)?;
                PeerIdentity::proven(Certificate::parse(leaf)?, Proof::Unknown, None)
            }
            outcome => outcome?,
        };
        view.revocation_of_peer(&identity).map_or(Ok(identity), Err)
    }

    /// Validates a chain, unless it was refused before. One that is registered by now is looked at again.
    fn prove_unless_refused(&self, view: &View, chain: &[CertificateDer<'_>]) -> Result<PeerIdentity, Unproven> {
        let leaf = chain.first().ok_or(Unproven::ChainSize)?;
        let (fingerprint, generation) = (chain_fingerprint(chain)?, view.trust_generation);
        if let Some(why) = self.refused_chains.why(&fingerprint, generation, view.now)
            && !view.is_known_certificate(&CertificateThumbprint::of(leaf))
        {
            return Err(why);
        }
        let mut verified = 0;
        let is_registered = |thumbprint: &CertificateThumbprint| view.is_known_certificate(thumbprint);
        let proven = view.trust.prove_knowing(chain, view.now, is_registered, (Some(&self.signatures), &mut verified));
        self.metrics.path_signatures_verified(verified);
        proven.inspect_err(|why| self.refused_chains.insert(fingerprint, *why, generation, view.now))
    }

    /// Validates the chain of a connection, and notes for how long the proof holds.
    fn prove_connection(&self, view: &View, chain: &[CertificateDer<'_>]) -> Result<Proven, Unproven> {
        let identity = Arc::new(self.prove(view, chain)?);
        let good_until = view.trust.good_until(&identity);
        Ok(Proven { identity, generation: view.trust_generation, good_until })
    }

    /// Validates the chain that a peer presents in the handshake.
    pub fn admit(&self, chain: Vec<CertificateDer<'static>>) -> Result<PeerConnection, Unproven> {
        self.admit_by(&self.view(), chain, Reach::Direct)
    }

    /// Validates a chain by the same rules, from a handshake or forwarded.
    pub fn admit_by(
        &self,
        view: &View,
        chain: Vec<CertificateDer<'static>>,
        reach: Reach,
    ) -> Result<PeerConnection, Unproven> {
        let proven = self.prove_connection(view, &chain)?;
        Ok(PeerConnection { reach, chain, proven: ArcSwap::from_pointee(proven) })
    }

    /// Admits a proxy on this machine, by the user that its process runs as, if the configuration names that user. A refusal is
    /// recorded.
    pub fn admit_local(&self, user: u32, connection: ConnectionInfo) -> Option<Peer> {
        let proxy = self.roles.load().local_proxy(user).map(Arc::clone);
        if proxy.is_none() {
            let cause = format!("no proxy of this machine is named that runs as uid {user}");
            self.report_handshake(connection, None, HandshakeError::UserUnknown, &cause);
        }
        proxy.map(Peer::Local)
    }

    /// Authorizes a call by the access table, and returns the caller; `None` where nobody was authenticated.
    pub fn authorize(
        &self,
        view: View,
        peer: Option<&Peer>,
        method: CalledMethod,
    ) -> Result<Option<Admitted>, NotAdmitted> {
        if self.is_edge() && method.entry().is_some_and(|entry| !entry.at_edges) {
            return Err(NotAdmitted::NotAtAnEdge);
        }
        match peer {
            None => {
                let method = method.entry().ok_or(NotAdmitted::NoSuchMethod)?;
                if method.roles.contains(&Role::Anyone) { Ok(None) } else { Err(NotAdmitted::NoCertificate) }
            }
            Some(Peer::Certificate(connection)) => {
                self.authorize_caller(view, connection, method).map(Admitted::Caller).map(Some)
            }
            Some(Peer::Local(proxy)) => authorize_local(view, proxy, method).map(Admitted::Local).map(Some),
        }
    }

    /// The same on a connection with a certificate.
    pub fn authorize_caller(
        &self,
        view: View,
        connection: &PeerConnection,
        method: CalledMethod,
    ) -> Result<Caller, NotAdmitted> {
        let method = method.entry().ok_or(NotAdmitted::NoSuchMethod)?;
        if connection.reach != Reach::Direct && method.never_forwarded {
            return Err(NotAdmitted::WrongRole);
        }
        let caller = self.caller(view, connection)?;
        // Roles are not checked here: if the certificate becomes known at this moment, the next request sees it.
        if *caller.identity.proof() == Proof::Unknown {
            let may_ask = method.for_unknown_certificates;
            return if may_ask { Ok(caller) } else { Err(NotAdmitted::Unproven(Unproven::Unknown)) };
        }
        // Operators are known by their own TLS alone.
        let may_hold_grants = method.roles.contains(&Role::Team) && connection.reach == Reach::Direct;
        let grants = if may_hold_grants { caller.view.grants_of(&caller.identity) } else { Vec::new() };
        let is_admitted = caller.roles.any_of(method.roles) || !grants.is_empty();
        if is_admitted { Ok(Caller { grants, ..caller }) } else { Err(NotAdmitted::WrongRole) }
    }

    /// The caller on a connection. Each call checks the validity period; the path is validated again after a change of
    /// a bundle or a client CA; a certificate accepted only because it is registered must still be registered.
    pub fn caller(&self, view: View, connection: &PeerConnection) -> Result<Caller, Unproven> {
        let now = view.now;
        // A single load: between two loads, another request on this connection could pair a later proof with an earlier
        // identity.
        let mut proven = connection.proven.load_full();
        let stale = proven.good_until.is_some_and(|until| now > until);
        let is_unknown = *proven.identity.proof() == Proof::Unknown;
        let became_known = is_unknown && view.is_known_certificate(&proven.identity.thumbprint());
        if proven.generation != view.trust_generation || stale || became_known {
            proven = Arc::new(self.prove_connection(&view, &connection.chain)?);
            connection.proven.store(Arc::clone(&proven));
        }
        let identity = Arc::clone(&proven.identity);
        if now > identity.certificate().not_after() {
            return Err(Unproven::Expired);
        }
        if now < identity.certificate().not_before() {
            return Err(Unproven::NotYetValid);
        }
        if *identity.proof() == Proof::SelfSigned && !view.is_known_certificate(&identity.thumbprint()) {
            return Err(Unproven::Unknown);
        }
        if let Some(revoked) = view.revocation_of_peer(&identity) {
            return Err(revoked);
        }
        let held = view.roles_of(&identity);
        let roles = match connection.reach {
            Reach::Direct => held,
            Reach::Forwarded => held.forwarded(),
            Reach::Insecure => Roles { proxy: None, ..held.forwarded() },
        };
        Ok(Caller { identity, roles, grants: Vec::new(), view, connection: ConnectionInfo::default() })
    }
}

/// A user that is named no more holds no role, also on connections that are open.
fn authorize_local(view: View, proxy: &LocalProxy, method: CalledMethod) -> Result<Asker, NotAdmitted> {
    let method = method.entry().ok_or(NotAdmitted::NoSuchMethod)?;
    let proxy = view.roles.local_proxy(proxy.user).map(Arc::clone).ok_or(NotAdmitted::WrongRole)?;
    let roles = Roles::of_proxy(proxy.fronted.clone());
    if !method.for_local_proxies || !roles.any_of(method.roles) {
        return Err(NotAdmitted::WrongRole);
    }
    Ok(Asker { identity: CallerIdentity::Local(proxy), roles, view, connection: ConnectionInfo::default() })
}
