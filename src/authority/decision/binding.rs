//! The decision: whether a token and the certificate that it was presented with belong together. Pure: all that it looks
//! at is handed to it.

use std::time::Duration;

use crate::authority::clock::Timestamp;
use crate::authority::deny_reason::DenyReason;
use crate::authority::evidence::Evidence;
use crate::authority::evidence::EvidenceGrade;
use crate::authority::identity::CertificateThumbprint;
use crate::authority::registration::ClientStatus;
use crate::authority::registration::Rotation;
use crate::authority::resources::Demands;
use crate::authority::state::Descent;
use crate::authority::state::LineagePolicy;
use crate::authority::state::Lineages;
use crate::authority::tokens::VerifiedToken;

/// How far a token's `nbf` may lie ahead of our clock. `exp` has no leeway.
const NOT_BEFORE_LEEWAY: Duration = Duration::from_secs(5);

/// All that one decision looks at.
#[derive(Debug)]
pub struct BindingRequest<'a> {
    /// The token. Its signature has been verified.
    pub token: &'a VerifiedToken,
    /// The issuer that we are.
    pub issuer: &'a str,
    /// What is known of the certificate, if anything.
    pub evidence: Option<&'a Evidence>,
    /// The client that the token names, as it stands now.
    pub client: &'a ClientStatus,
    /// Why the token counts as revoked, if it does.
    pub revoked: Option<DenyReason>,
    /// Whether the certificate in the evidence is, by the present bundles, one of the token's holder.
    pub vouched: bool,
    /// The successors that were announced.
    pub lineages: &'a Lineages,
    /// How far they reach.
    pub lineage: LineagePolicy,
    /// What the resource demands.
    pub demands: &'a Demands,
    /// The present moment.
    pub now: Timestamp,
    /// How long an allowance may be kept by the one who asked, at most.
    pub verdict_ttl: Duration,
}

/// A denial is a value, not an error.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Decision {
    /// They belong together.
    Allow(Verdict),
    /// They do not, or not here, or not now.
    Deny(DenyReason),
}

/// How the evidence matched, and how long that holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Verdict {
    /// How it matched.
    pub matched: Match,
    /// What kind of evidence was judged.
    pub grade: EvidenceGrade,
    /// Until when the verdict may be kept.
    pub cache_until: Timestamp,
}

/// How evidence matched a token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Match {
    /// It is the certificate that the token is bound to.
    Exact,
    /// It is of the same SPIFFE ID.
    SameIdentity,
    /// It is the successor of that certificate, so many times removed.
    Lineage(u32),
}

/// Judges one use of one token. The order is fixed: the token itself, its time, its client, its audience, its binding, its
/// scope. Scope comes last, so that `INSUFFICIENT_SCOPE` says that everything else was right.
pub fn decide(request: &BindingRequest<'_>) -> Decision {
    match evaluate(request) {
        Ok(verdict) => Decision::Allow(verdict),
        Err(reason) => Decision::Deny(reason),
    }
}

fn evaluate(request: &BindingRequest<'_>) -> Result<Verdict, DenyReason> {
    let BindingRequest { token, now, demands, .. } = request;
    let claims = &token.claims;
    if claims.iss != request.issuer {
        return Err(DenyReason::WrongIssuer);
    }
    // RFC 7519 section 4.1.4: on or after exp it is not accepted.
    if *now >= claims.exp {
        return Err(DenyReason::TokenExpired);
    }
    if claims.nbf > now.after(NOT_BEFORE_LEEWAY) {
        return Err(DenyReason::TokenNotYetValid);
    }
    let rotation = match request.client {
        // Which of several is meant cannot be told, so none is.
        ClientStatus::Unknown | ClientStatus::Ambiguous => return Err(DenyReason::ClientUnknown),
        ClientStatus::Disabled => return Err(DenyReason::ClientDisabled),
        ClientStatus::Registered(client) if client.record.creation_id != claims.lanyard_creation => {
            return Err(DenyReason::ClientRecreated);
        }
        ClientStatus::Registered(client) => client.registration.rotation,
    };
    if let Some(reason) = request.revoked {
        return Err(reason);
    }
    if !claims.aud.includes(&demands.audience) {
        return Err(DenyReason::WrongAudience);
    }
    if !demands.accept(token.holder_spiffe_id.as_ref()) {
        return Err(DenyReason::TrustDomainNotAccepted);
    }
    let bound_to = token.bound_to.ok_or(DenyReason::NotBound)?;
    let evidence = request.evidence.ok_or(DenyReason::EvidenceMissing)?;
    if evidence.grade() < demands.least_evidence {
        return Err(DenyReason::EvidenceTooWeak);
    }
    let (matched, until) = confirm(request, evidence, bound_to, rotation)?;
    if !token.scope.as_ref().ok_or(DenyReason::TokenMalformed)?.covers(&demands.scope) {
        return Err(DenyReason::InsufficientScope);
    }
    let mut cache_until = claims.exp.min(now.after(request.verdict_ttl)).min(until);
    if let Evidence::Certificate(certificate) = evidence {
        cache_until = cache_until.min(certificate.not_after());
    }
    Ok(Verdict { matched, grade: evidence.grade(), cache_until })
}

/// RFC 8705 section 3: the certificate is the one that the token is bound to, or one that the client's rotation lets take its
/// place. The path of the very certificate is not judged here (section 6.2): whoever brought the evidence has had the key
/// proven. How it matched, and until when at most.
fn confirm(
    request: &BindingRequest<'_>,
    evidence: &Evidence,
    bound_to: CertificateThumbprint,
    rotation: Rotation,
) -> Result<(Match, Timestamp), DenyReason> {
    const NO_END: Timestamp = Timestamp(u64::MAX);
    let BindingRequest { token, demands, now, .. } = request;
    let (presented, certificate) = match evidence {
        Evidence::Certificate(certificate) if *now > certificate.not_after() => {
            return Err(DenyReason::CertificateExpired);
        }
        Evidence::Certificate(certificate) if *now < certificate.not_before() => {
            return Err(DenyReason::CertificateNotYetValid);
        }
        Evidence::Certificate(certificate) => (certificate.thumbprint(), Some(certificate)),
        Evidence::Thumbprint(thumbprint) => (*thumbprint, None),
        Evidence::SpiffeId(id) => {
            return match rotation {
                Rotation::Strict | Rotation::Lineage => Err(DenyReason::RotationStrict),
                // A resource that accepts no more than this has said so.
                Rotation::Identity if demands.least_evidence == EvidenceGrade::SpiffeId => {
                    let same = token.holder_spiffe_id.as_ref() == Some(id);
                    if same { Ok((Match::SameIdentity, NO_END)) } else { Err(DenyReason::CertificateMismatch) }
                }
                Rotation::Identity => Err(DenyReason::EvidenceTooWeak),
            };
        }
    };
    if presented == bound_to {
        return Ok((Match::Exact, NO_END));
    }
    match rotation {
        Rotation::Strict => Err(DenyReason::CertificateMismatch),
        Rotation::Identity => {
            let renewed = certificate.filter(|_| request.vouched).is_some_and(|certificate| {
                token.claims.lanyard_bound.as_ref().is_some_and(|bound| bound.is_renewed_by(certificate))
            });
            if renewed { Ok((Match::SameIdentity, NO_END)) } else { Err(DenyReason::CertificateMismatch) }
        }
        Rotation::Lineage => match request.lineages.descent(bound_to, presented, request.lineage, *now) {
            Descent::Of(generation, until) => Ok((Match::Lineage(generation), until)),
            Descent::Over => Err(DenyReason::LineageOver),
            Descent::None => Err(DenyReason::CertificateMismatch),
        },
    }
}
