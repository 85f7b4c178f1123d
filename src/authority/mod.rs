//! The core: what is decided, without sockets, runtime, proto or database.
//!
//! [`Authority`] is what every voice asks. It answers from snapshots in memory; only changes of registrations wait for the
//! store.

pub mod access;
pub mod announcing;
pub mod audit;
pub mod binding;
pub mod bundle_document;
pub mod caller;
pub mod certificate;
pub mod check;
pub mod client_assertion;
pub mod client_jwks;
pub mod client_keys;
pub mod client_metadata;
pub mod client_record;
pub mod clock;
pub mod deny_reason;
pub mod directory;
pub mod distinguished_name;
pub mod dynamic_registration;
pub mod evidence;
pub mod following;
pub mod forwarded_certificate;
pub mod forwarded_evidence;
pub mod forwarded_peer;
pub mod freshness;
pub mod grant;
pub mod identity;
pub mod introspection;
pub mod jwk;
pub mod jwks_uri;
pub mod jwt_authorities;
pub mod jwt_svid;
pub mod keys;
pub mod lineage;
pub mod measures;
mod measuring;
pub mod record;
pub mod registration;
pub mod registry;
pub mod reloading;
pub mod requests;
pub mod resource;
pub mod resource_metadata;
pub mod resource_registry;
pub mod resources;
pub mod revocation;
pub mod revoking;
pub mod route;
pub mod scope;
pub mod sealing;
pub mod snapshot;
pub mod store;
pub mod strict_json;
pub mod subject;
pub mod tally;
pub mod token;
pub mod trust;
pub mod unique_index;
pub mod validation;
mod vouching;

use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls_pki_types::CertificateDer;
use serde::Deserialize;
use serde_json::Value;
use serde_json::json;

use crate::authority::access::RoleGrants;
use crate::authority::access::Roles;
use crate::authority::audit::AuditEvent;
use crate::authority::certificate::Certificate;
use crate::authority::certificate::CertificateThumbprint;
use crate::authority::client_keys::JwksSource;
use crate::authority::clock::Clock;
use crate::authority::clock::Entropy;
use crate::authority::clock::NoEntropy;
use crate::authority::clock::Timestamp;
use crate::authority::freshness::StoreFeed;
use crate::authority::grant::Credentials;
use crate::authority::grant::Grant;
use crate::authority::grant::GrantError;
use crate::authority::grant::TokenRequest;
use crate::authority::identity::PeerIdentity;
use crate::authority::identity::Proof;
use crate::authority::jwks_uri::JwksUriPolicy;
use crate::authority::jwt_svid::JwtSvid;
use crate::authority::keys::SigningKeys;
use crate::authority::lineage::LineagePolicy;
use crate::authority::registration::ClientId;
use crate::authority::registration::Rotation;
use crate::authority::reloading::Reloads;
use crate::authority::scope::Scope;
use crate::authority::snapshot::Snapshot;
use crate::authority::store::Store;
use crate::authority::tally::Tally;
use crate::authority::token::AccessTokenClaims;
use crate::authority::token::BoundCertificate;
use crate::authority::token::Confirmation;
use crate::authority::trust::TrustBundles;
use crate::authority::trust::Unproven;
use crate::authority::validation::VerifiedTokens;
use crate::authority::vouching::VouchedCertificates;

/// What the configuration settles once and for all; but for the roles, of which only the first are here.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The issuer identifier (RFC 8414 section 2): the public listener's URL.
    pub issuer: String,
    /// Where the mTLS listener is reached: the URL in front of the endpoints' paths, without a slash at its end.
    pub mtls_url: String,
    /// Who may register clients over HTTP.
    pub registration: RegistrationPolicy,
    /// Whether tokens that are bound to no certificate may exist at all.
    pub unbound_tokens: bool,
    /// How long a proxy may keep an allowance, at most.
    pub verdict_ttl: Duration,
    /// For how long decisions may go by what the store's watch last told. `None`: for ever.
    pub max_staleness: Option<Duration>,
    /// Who holds which role at the start. See [`Authority::replace_roles`].
    pub roles: RoleGrants,
    /// Where clients may publish their certificates.
    pub jwks_uri: JwksUriPolicy,
    /// How far tokens follow the renewal of their certificates by lineage.
    pub lineage: LineagePolicy,
}

/// Who may register clients over HTTP (RFC 7591).
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum RegistrationPolicy {
    /// Nobody.
    #[default]
    Off,
    /// Admins.
    Admins,
    /// Admins, and each workload with an SVID for itself alone, within what an operator registered for it.
    OwnIdentity,
}

impl Policy {
    /// Whether there is a registration endpoint.
    pub fn registers_dynamically(&self) -> bool {
        self.registration != RegistrationPolicy::Off
    }
}

/// Decides who gets tokens and whose use of them is allowed.
pub struct Authority {
    policy: Policy,
    roles: ArcSwap<RoleGrants>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    store: Arc<dyn Store>,
    keys: ArcSwap<SigningKeys>,
    snapshot: ArcSwap<Snapshot>,
    snapshot_writer: Mutex<()>,
    trust: ArcSwap<TrustBundles>,
    trust_generation: AtomicU64,
    verified: VerifiedTokens,
    vouched: VouchedCertificates,
    jwks_source: OnceLock<Arc<dyn JwksSource>>,
    tally: Tally,
    reloads: Reloads,
    store_feed: StoreFeed,
}

/// A token, and what its receiver is told about it (RFC 6749 section 5.1).
#[derive(Clone)]
pub struct IssuedToken {
    /// The JWT.
    pub access_token: String,
    /// How long it is good for.
    pub expires_in: Duration,
    /// The granted scopes.
    pub scope: Scope,
}

/// The token itself reaches no log.
impl fmt::Debug for IssuedToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("IssuedToken").field("scope", &self.scope).finish_non_exhaustive()
    }
}

impl Authority {
    /// An authority without registrations: [`Authority::load`] reads them from the store.
    pub fn new(
        policy: Policy,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        store: Arc<dyn Store>,
        keys: SigningKeys,
        trust: TrustBundles,
    ) -> Self {
        Self {
            roles: ArcSwap::from_pointee(policy.roles.clone()),
            policy,
            clock,
            entropy,
            store,
            keys: ArcSwap::from_pointee(keys),
            snapshot: ArcSwap::default(),
            snapshot_writer: Mutex::default(),
            trust: ArcSwap::from_pointee(trust),
            trust_generation: AtomicU64::new(0),
            verified: VerifiedTokens::default(),
            vouched: VouchedCertificates::default(),
            jwks_source: OnceLock::new(),
            tally: Tally::default(),
            reloads: Reloads::default(),
            store_feed: StoreFeed::default(),
        }
    }

    /// What the configuration settled.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The clock that all decisions go by.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// The signing keys as they are now.
    pub fn keys(&self) -> Arc<SigningKeys> {
        self.keys.load_full()
    }

    /// How often each thing was decided.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// What could not be taken when it was last read again.
    pub fn reloads(&self) -> &Reloads {
        &self.reloads
    }

    /// Gives the roles to others. Who has lost one is refused at its next request, whichever connection that comes over.
    pub fn replace_roles(&self, roles: RoleGrants) {
        self.roles.store(Arc::new(roles));
    }

    /// Counts the changes of bundles and client CAs: a path that was proven under another count must be proven again.
    pub fn trust_generation(&self) -> u64 {
        self.trust_generation.load(Ordering::Acquire)
    }

    /// What vouches for peers now.
    pub fn trust(&self) -> Arc<TrustBundles> {
        self.trust.load_full()
    }

    /// Puts other bundles and client CAs in the place of the present ones. Where they vouch for the same and are only
    /// fresher, nobody has to be proven again.
    pub fn replace_trust(&self, trust: TrustBundles) {
        let same = self.trust.swap(Arc::new(trust)).vouch_like(&self.trust.load());
        if !same {
            self.trust_generation.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Proves the certificate chain of a peer; see [`TrustBundles::prove`].
    pub fn prove(&self, chain: &[CertificateDer<'_>]) -> Result<PeerIdentity, Unproven> {
        let now = self.clock.now();
        let identity = match self.trust.load().prove(chain, now, |thumbprint| self.lets_in(thumbprint, now)) {
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
    fn lets_in(&self, thumbprint: &CertificateThumbprint, now: Timestamp) -> bool {
        self.snapshot.load().has_certificate(thumbprint, now) || self.roles.load().names_certificate(thumbprint)
    }

    /// The roles that a peer holds now.
    pub fn roles_of(&self, peer: &PeerIdentity) -> Roles {
        let registered = peer.spiffe_id().is_none() && self.snapshot.load().knows(peer, self.clock.now());
        self.roles.load().roles_of(peer, registered)
    }

    /// Issues a token by the client credentials grant, bound to the peer's certificate.
    pub fn issue_token(&self, peer: &PeerIdentity, request: &TokenRequest) -> Result<IssuedToken, GrantError> {
        let now = self.clock.now();
        let fresh = self.freshness().map_err(GrantError::from);
        let outcome = fresh
            .and_then(|()| self.prove_assertion(&request.assertion))
            .and_then(|assertion| {
                let credentials = self.credentials(peer, assertion.as_ref());
                grant::grant(&self.snapshot.load(), credentials, request, now)
            })
            .and_then(|grant| self.mint(peer, &grant, now));
        self.tally.granted(&outcome);
        match &outcome {
            Ok((client_id, claims, _)) => {
                let (resource, bound_to) = (&claims.aud.all().join(" "), claims.bound_to());
                AuditEvent::TokenIssued { client_id, resource, jti: &claims.jti, bound_to }.record();
            }
            Err(error) => {
                // Anybody's text of any length is not for the log.
                let client_id = request.client_id.as_deref().filter(|text| ClientId::parse(text).is_some());
                AuditEvent::TokenRefused { peer: &peer.to_string(), client_id, error: *error }.record();
            }
        }
        outcome.map(|(_, _, token)| token)
    }

    fn credentials<'a>(&self, peer: &'a PeerIdentity, assertion: Option<&'a JwtSvid>) -> Credentials<'a> {
        Credentials { peer, assertion, unbound_tokens: self.policy.unbound_tokens }
    }

    fn mint(
        &self,
        peer: &PeerIdentity,
        grant: &Grant,
        now: Timestamp,
    ) -> Result<(ClientId, AccessTokenClaims, IssuedToken), GrantError> {
        let claims = AccessTokenClaims {
            iss: self.policy.issuer.clone(),
            sub: grant.client_id.to_string(),
            aud: grant.audience.clone().into(),
            exp: grant.expires,
            iat: now,
            nbf: now,
            jti: self.random_id().map_err(|_| GrantError::ServerError)?,
            client_id: grant.client_id.to_string(),
            scope: (!grant.scope.is_empty()).then(|| grant.scope.to_string()),
            cnf: grant.bound.then(|| Confirmation { x5t_s256: Some(peer.thumbprint().to_string()) }),
            lanyard_bound: (grant.bound && grant.client.registration.rotation != Rotation::Strict)
                .then(|| BoundCertificate::of(peer.certificate())),
            lanyard_creation: grant.client.record.creation_id.clone(),
        };
        let access_token = token::sign(self.keys.load().active(), &claims).map_err(|error| {
            tracing::error!(%error, "a token could not be signed");
            GrantError::ServerError
        })?;
        let token = IssuedToken { access_token, expires_in: now.until(grant.expires), scope: grant.scope.clone() };
        Ok((grant.client_id.clone(), claims, token))
    }

    /// Signs an answer of the introspection endpoint for its receiver (RFC 9701 section 5). There is no `exp` and no `sub`:
    /// the answer says what was so when it was made, and could else be taken for a token.
    pub fn sign_introspection(&self, receiver: &str, answer: &Value) -> Result<String, GrantError> {
        let claims = json!({
            "iss": self.policy.issuer,
            "aud": receiver,
            "iat": self.clock.now(),
            "token_introspection": answer,
        });
        token::sign_as(self.keys.load().active(), "token-introspection+jwt", &claims).map_err(|error| {
            tracing::error!(%error, "an introspection response could not be signed");
            GrantError::ServerError
        })
    }

    /// 128 random bits as base64url.
    fn random_id(&self) -> Result<String, NoEntropy> {
        let mut bytes = [0; 16];
        self.entropy.fill(&mut bytes)?;
        Ok(URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Authority").field("policy", &self.policy).finish_non_exhaustive()
    }
}
