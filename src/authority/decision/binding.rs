//! The decision whether a token may be used with the certificate that it was presented with. It is a pure function of
//! its request.

use std::time::Duration;

use crate::authority::clock::Timestamp;
use crate::authority::decision::principal::is_another_workload;
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
use crate::authority::tokens::Permitted;
use crate::authority::tokens::VerifiedToken;

/// How far in the future a token's `nbf` and `iat` may be. `exp` has no leeway.
const NOT_BEFORE_LEEWAY: Duration = Duration::from_secs(5);

/// The inputs of one decision.
#[derive(Debug)]
pub struct BindingRequest<'a> {
    /// The token, with a verified signature.
    pub token: &'a VerifiedToken,
    /// This server's issuer identifier.
    pub issuer: &'a str,
    /// What is known about the certificate, if anything.
    pub evidence: Option<&'a Evidence>,
    /// The name of the proxy's immediate peer, where the proxy reports it and that peer must be the token's user.
    pub principal: Option<&'a str>,
    /// The present status of the client that the token names.
    pub client: &'a ClientStatus,
    /// What the client's registration permits of the token. It must be given where the client is registered.
    pub permitted: Option<&'a Permitted>,
    /// Why the client's authentication no longer counts, if it does not.
    pub refused: Option<DenyReason>,
    /// Why the token is revoked, if it is.
    pub revoked: Option<DenyReason>,
    /// Whether the present bundles prove that the certificate in the evidence belongs to the token's holder.
    pub vouched: bool,
    /// Whether the certificate in the evidence is known to have the SPIFFE ID that the token is bound to. It selects the
    /// reason of a denial, and allows nothing.
    pub same_identity: bool,
    /// The announced successions of certificates.
    pub lineages: &'a Lineages,
    /// The limits of a lineage.
    pub lineage: LineagePolicy,
    /// The requirements of the resource.
    pub demands: &'a Demands,
    /// The time of the decision.
    pub now: Timestamp,
    /// The longest time for which the caller may cache an allowance.
    pub verdict_ttl: Duration,
}

/// The decision. A denial is a value, not an error.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Decision {
    /// The token may be used with this certificate.
    Allow(Verdict),
    /// The use is denied, for this reason.
    Deny(DenyReason),
}

/// How the evidence matched, and until when the result may be cached.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Verdict {
    /// How the evidence matched.
    pub matched: Match,
    /// The grade of the evaluated evidence.
    pub grade: EvidenceGrade,
    /// Until when the verdict may be cached.
    pub cache_until: Timestamp,
}

/// How evidence matched a token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Match {
    /// It is the certificate that the token is bound to.
    Exact,
    /// It has the same SPIFFE ID as that certificate.
    SameIdentity,
    /// It is a successor of that certificate, by this many successions.
    Lineage(u32),
}

/// Evaluates one use of one token. The order is fixed: the token itself, its time, its client, its audience, its
/// binding, its scope. Scope is last, so that `INSUFFICIENT_SCOPE` means that everything else was valid.
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
    // RFC 7519 section 4.1.4: a token is not accepted on or after exp.
    if *now >= claims.exp {
        return Err(DenyReason::TokenExpired);
    }
    // `nbf` is before `iat`, for the clocks of other verifiers.
    if claims.nbf.max(claims.iat) > now.after(NOT_BEFORE_LEEWAY) {
        return Err(DenyReason::TokenNotYetValid);
    }
    let client = match request.client {
        // With several candidates it is ambiguous which client is meant, so none is used.
        ClientStatus::Unknown | ClientStatus::Ambiguous => return Err(DenyReason::ClientUnknown),
        ClientStatus::Disabled => return Err(DenyReason::ClientDisabled),
        ClientStatus::Suspended => return Err(DenyReason::ClientSuspended),
        ClientStatus::Registered(client) if *client.record.creation_id != *claims.lanyard_creation => {
            return Err(DenyReason::ClientRecreated);
        }
        ClientStatus::Registered(client) => client,
    };
    let permitted = request.permitted.ok_or(DenyReason::ClientUnknown)?;
    if let Some(reason) = request.refused.or(request.revoked) {
        return Err(reason);
    }
    if !claims.aud.includes(&demands.audience) || !permitted.has_audience(&demands.audience) {
        return Err(DenyReason::WrongAudience);
    }
    if demands.deleted {
        return Err(DenyReason::ResourceDeleted);
    }
    if demands.suspended {
        return Err(DenyReason::ResourceSuspended);
    }
    if !demands.accept(token.holder_spiffe_id.as_ref()) {
        return Err(DenyReason::TrustDomainNotAccepted);
    }
    let bound_to = token.bound_to.ok_or(DenyReason::NotBound)?;
    let evidence = request.evidence.ok_or(DenyReason::EvidenceMissing)?;
    if evidence.grade() < demands.least_evidence {
        return Err(DenyReason::EvidenceTooWeak);
    }
    let (matched, until) = confirm(request, evidence, bound_to, permitted.rotation)?;
    if request.principal.is_some_and(|principal| is_another_workload(principal, token, &client.registration)) {
        return Err(DenyReason::CertificateMismatch);
    }
    let issued = token.scope.as_ref().ok_or(DenyReason::TokenMalformed)?;
    if !(issued.covers(&demands.scope) && permitted.covers(&demands.scope) && demands.define_scope()) {
        return Err(DenyReason::InsufficientScope);
    }
    let mut cache_until = claims.exp.min(now.after(request.verdict_ttl)).min(until);
    if let Evidence::Certificate(certificate) = evidence {
        cache_until = cache_until.min(certificate.not_after());
    }
    Ok(Verdict { matched, grade: evidence.grade(), cache_until })
}

/// Checks the certificate against the token (RFC 8705 section 3): it must be the one that the token is bound to, or one
/// that the client's rotation mode accepts in its place. The certificate path is not validated here (section 6.2): the
/// caller that presented the evidence has verified possession of the key. Returns how it matched, and until when at
/// most.
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
                // The resource explicitly accepts this grade.
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
        Rotation::Strict => Err(other_certificate(request)),
        Rotation::Identity => {
            let renewed = certificate.filter(|_| request.vouched).is_some_and(|certificate| {
                token.claims.lanyard_bound.as_ref().is_some_and(|bound| bound.is_renewed_by(certificate))
            });
            if renewed { Ok((Match::SameIdentity, NO_END)) } else { Err(other_certificate(request)) }
        }
        Rotation::Lineage => match request.lineages.descent(bound_to, presented, request.lineage, *now) {
            Descent::Of(generation, until) => Ok((Match::Lineage(generation), until)),
            Descent::Over => Err(DenyReason::LineageOver),
            Descent::None => Err(other_certificate(request)),
        },
    }
}

/// A certificate of the same SPIFFE ID is most likely a renewal; any other may be a thief's.
fn other_certificate(request: &BindingRequest<'_>) -> DenyReason {
    if request.same_identity { DenyReason::CertificateRenewed } else { DenyReason::CertificateMismatch }
}
