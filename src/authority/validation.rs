//! The way of one `ValidateBinding`: who may ask what, the token's signature, and then the decision of `binding`.

use std::sync::Arc;

use quick_cache::sync::Cache;
use sha2::Digest as _;
use sha2::Sha256;

use crate::authority::Authority;
use crate::authority::access::Roles;
use crate::authority::audit::AuditEvent;
use crate::authority::binding;
use crate::authority::binding::BindingRequest;
use crate::authority::binding::Decision;
use crate::authority::binding::Demands;
use crate::authority::binding::Evidence;
use crate::authority::binding::EvidenceGrade;
use crate::authority::deny_reason::DenyReason;
use crate::authority::directory::Standing;
use crate::authority::evidence::InvalidEvidence;
use crate::authority::forwarded_evidence::SeenPeer;
use crate::authority::freshness::Stale;
use crate::authority::identity::PeerIdentity;
use crate::authority::keys::SigningKeys;
use crate::authority::registration::Rotation;
use crate::authority::resource::EvidenceFrom;
use crate::authority::scope::Scope;
use crate::authority::tally;
use crate::authority::tally::Tally;
use crate::authority::tally::Voice;
use crate::authority::token;
use crate::authority::token::VerifiedToken;

/// A question about one use of one token, as a voice has read it.
#[derive(Debug)]
pub struct ValidateRequest<'a> {
    /// The token.
    pub access_token: &'a str,
    /// What the caller brings of the certificate.
    pub evidence: BroughtEvidence,
    /// The audience, if the request names one.
    pub audience: Option<&'a str>,
    /// The scopes that the use needs, space-separated.
    pub scope: &'a str,
}

/// What a caller brings of the certificate that a token was presented with.
#[derive(Debug)]
pub enum BroughtEvidence {
    /// Nothing.
    Nothing,
    /// It asks about the connection that it asks on.
    OwnConnection,
    /// It says what it saw on somebody else's connection, which may be nothing.
    Of(Option<Evidence>),
    /// It passes on a header `x-forwarded-client-cert`.
    Forwarded(String),
}

/// Why there is no decision. None of these may be taken for an allowance.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NoDecision {
    /// No token in the request.
    #[error("no access_token could be read")]
    TokenMissing,
    /// No audience in the request, and none that follows from the caller.
    #[error("audience is missing: only a proxy that fronts exactly one resource may leave it out")]
    AudienceMissing,
    /// The scope is not a list of scopes.
    #[error("scope is malformed")]
    ScopeMalformed,
    /// Only a proxy may say what it saw of somebody else's connection.
    #[error("only a caller with the role Proxy may bring evidence of another connection")]
    NotAProxy,
    /// The proxy does not front the resource.
    #[error("this proxy does not front that audience")]
    ForeignResource,
    /// What is known of the store is too old.
    #[error(transparent)]
    Stale(#[from] Stale),
    /// What it brings cannot be read.
    #[error(transparent)]
    EvidenceMalformed(#[from] InvalidEvidence),
}

impl NoDecision {
    /// The fixed code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TokenMissing => "TOKEN_MISSING",
            Self::AudienceMissing => "AUDIENCE_MISSING",
            Self::ScopeMalformed => "SCOPE_MALFORMED",
            Self::NotAProxy => "NOT_A_PROXY",
            Self::ForeignResource => "FOREIGN_RESOURCE",
            Self::Stale(_) => "SNAPSHOT_STALE",
            Self::EvidenceMalformed(_) => "EVIDENCE_MALFORMED",
        }
    }
}

/// How a use was judged, with what the token says once its signature was found good.
#[derive(Clone, Debug)]
pub struct Judgement {
    /// The decision.
    pub decision: Decision,
    /// The verified token.
    pub token: Option<Arc<VerifiedToken>>,
    /// The grade of the evidence, if there was any.
    pub grade: Option<EvidenceGrade>,
}

impl Authority {
    /// Judges one use of one token.
    pub fn validate_binding(
        &self,
        caller: &PeerIdentity,
        roles: &Roles,
        request: ValidateRequest<'_>,
    ) -> Result<Judgement, NoDecision> {
        let judged = self.judged(caller, roles, request);
        if let Err(why) = &judged {
            AuditEvent::NotJudged { caller, why }.record();
        }
        judged
    }

    fn judged(
        &self,
        caller: &PeerIdentity,
        roles: &Roles,
        request: ValidateRequest<'_>,
    ) -> Result<Judgement, NoDecision> {
        self.freshness()?;
        if request.access_token.is_empty() {
            return Err(NoDecision::TokenMissing);
        }
        let scope = Scope::parse(request.scope).map_err(|_| NoDecision::ScopeMalformed)?;
        let admissible = admissible(caller, roles, request.evidence)?;
        let audience = request.audience.filter(|audience| !audience.is_empty());
        let audience = match (audience, &roles.proxy) {
            (Some(audience), Some(fronted)) if !fronted.includes(audience) => return Err(NoDecision::ForeignResource),
            (Some(audience), _) => audience,
            (None, Some(fronted)) => fronted.only().ok_or(NoDecision::AudienceMissing)?,
            (None, None) => return Err(NoDecision::AudienceMissing),
        };
        let snapshot = self.snapshot.load();
        let resource = snapshot.resources.named(audience).map(|registered| &registered.resource);
        let evidence = match admissible {
            Admissible::Evidence(evidence) => evidence,
            Admissible::Header(forwarded) => {
                let from = resource.map_or(&EvidenceFrom::Peer, |resource| &resource.evidence_from);
                let seen = SeenPeer { forwarded: &forwarded, ..SeenPeer::default() };
                seen.evidence(caller.spiffe_id(), from)?
            }
        };
        let demands = Demands::of(audience, resource, scope);
        let judgement = self.judge(request.access_token, evidence.as_ref(), &demands);
        let token =
            judgement.token.as_deref().map(|token| (token.claims.client_id.as_str(), token.claims.jti.as_str()));
        let (resource, evidence, decision) = (audience, evidence.as_ref(), judgement.decision);
        AuditEvent::BindingJudged { caller, resource, token, evidence, decision }.record();
        self.tally.decided(Voice::ValidateBinding, &judgement.decision);
        Ok(judgement)
    }

    /// A token whose signature is good under one of our keys.
    pub(in crate::authority) fn verified(&self, access_token: &str) -> Result<Arc<VerifiedToken>, DenyReason> {
        self.verified.verify(&self.keys.load(), access_token, &self.tally)
    }

    /// The decision that every voice speaks.
    pub(in crate::authority) fn judge(
        &self,
        access_token: &str,
        evidence: Option<&Evidence>,
        demands: &Demands,
    ) -> Judgement {
        let grade = evidence.map(Evidence::grade);
        let token = match self.verified.verify(&self.keys.load(), access_token, &self.tally) {
            Ok(token) => token,
            Err(reason) => return Judgement { decision: Decision::Deny(reason), token: None, grade },
        };
        let now = self.clock.now();
        let snapshot = self.snapshot.load();
        let client_id = token.client_id.as_ref();
        let client = client_id.map_or(Standing::Unknown, |client_id| snapshot.directory.standing(client_id));
        let registered_as = match &client {
            Standing::Registered(client) => Some(&client.registration.client_id),
            Standing::Unknown | Standing::Ambiguous | Standing::Disabled => None,
        };
        let names: Vec<_> = client_id.into_iter().chain(registered_as).collect();
        let shown = evidence.and_then(Evidence::thumbprint);
        let revoked = snapshot.revocations.reason_against(&token.claims, &names, shown, now);
        // Looked at only where it matters: it costs a path validation, once for each certificate.
        let vouched = match (&client, evidence) {
            (Standing::Registered(client), Some(Evidence::Certificate(certificate))) => {
                client.registration.rotation == Rotation::Identity
                    && shown != token.claims.bound_to()
                    && self.vouches_for(certificate, &token.claims.sub)
            }
            _ => false,
        };
        let decision = binding::decide(&BindingRequest {
            claims: &token.claims,
            issuer: &self.policy.issuer,
            evidence,
            client: &client,
            revoked,
            vouched,
            lineages: &snapshot.lineages,
            lineage: self.policy.lineage,
            demands,
            now,
            verdict_ttl: self.verdict_ttl(now),
        });
        Judgement { decision, token: Some(token), grade }
    }
}

/// What a caller may bring, as far as it can be read without the resource.
enum Admissible {
    Evidence(Option<Evidence>),
    Header(String),
}

/// Evidence is a claim of the caller's, so only a proxy may make it for somebody else. A proxy that brings none is never
/// judged by its own connection: in a sidecar mesh it shares its workload's certificate.
fn admissible(caller: &PeerIdentity, roles: &Roles, brought: BroughtEvidence) -> Result<Admissible, NoDecision> {
    let own = || Evidence::Certificate(Box::new(caller.certificate().clone()));
    match (brought, &roles.proxy) {
        (BroughtEvidence::Nothing, Some(_)) => Ok(Admissible::Evidence(None)),
        (BroughtEvidence::Nothing, None) | (BroughtEvidence::OwnConnection, _) => Ok(Admissible::Evidence(Some(own()))),
        (BroughtEvidence::Of(evidence), Some(_)) => Ok(Admissible::Evidence(evidence)),
        (BroughtEvidence::Forwarded(header), Some(_)) => Ok(Admissible::Header(header)),
        (BroughtEvidence::Of(_) | BroughtEvidence::Forwarded(_), None) => Err(NoDecision::NotAProxy),
    }
}

/// Remembers which tokens' signatures verified under which key, and what they say; nothing else. Keyed by the SHA-256 of
/// the whole text, so that a key has a fixed size and only the very same text finds it.
pub(in crate::authority) struct VerifiedTokens(Cache<[u8; 32], Arc<VerifiedToken>>);

/// How many tokens are remembered: about 10 MB.
const REMEMBERED_TOKENS: usize = 10_000;

impl Default for VerifiedTokens {
    fn default() -> Self {
        Self(Cache::new(REMEMBERED_TOKENS))
    }
}

impl VerifiedTokens {
    fn verify(&self, keys: &SigningKeys, access_token: &str, tally: &Tally) -> Result<Arc<VerifiedToken>, DenyReason> {
        if access_token.len() > token::MAX_TOKEN_BYTES {
            return Err(DenyReason::TokenMalformed);
        }
        let hash = Sha256::digest(access_token).into();
        let known = self.0.get(&hash);
        tally.looked_up(tally::Cache::Tokens, known.is_some());
        if let Some(known) = known {
            // A key that was taken out of the ring takes its tokens with it.
            return if keys.find(known.key_id.as_str()).is_some() { Ok(known) } else { Err(DenyReason::UnknownKey) };
        }
        let token = Arc::new(token::verify(keys, access_token)?);
        self.0.insert(hash, Arc::clone(&token));
        Ok(token)
    }
}
