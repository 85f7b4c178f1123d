//! The decision whether a token may be used with the certificate that it was presented with. It is a pure function of
//! its request.

use std::time::Duration;

use crate::authority::clock::Timestamp;
use crate::authority::decision::principal::is_another_workload;
use crate::authority::decision::steps::Check;
use crate::authority::decision::steps::Step;
use crate::authority::decision::steps::Steps;
use crate::authority::decision::steps::Unexplained;
use crate::authority::decision::steps::Walk;
use crate::authority::decision::steps::compared;
use crate::authority::deny_reason::DenyReason;
use crate::authority::evidence::Evidence;
use crate::authority::evidence::EvidenceGrade;
use crate::authority::identity::CertificateThumbprint;
use crate::authority::registration::ClientStatus;
use crate::authority::registration::RegisteredClient;
use crate::authority::registration::Rotation;
use crate::authority::resources::Demands;
use crate::authority::state::BrokenAncestor;
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
    /// The token that it comes from and that no longer counts, if there is one.
    pub broken: Option<BrokenAncestor<'a>>,
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
    pub demands: &'a Demands<'a>,
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
/// binding, its scope. Scope is last, so that `INSUFFICIENT_SCOPE` means that everything else was valid. After it comes only whose
/// delegated tokens the resource takes, where it only reports that.
pub fn decide(request: &BindingRequest<'_>) -> Decision {
    match evaluate(request, &mut Unexplained) {
        Ok(verdict) => Decision::Allow(verdict),
        Err(reason) => Decision::Deny(reason),
    }
}

/// The steps by which [`decide`] comes to its decision.
pub fn explain(request: &BindingRequest<'_>) -> Vec<Step> {
    let mut steps = Steps::default();
    match evaluate(request, &mut steps) {
        Ok(_) => steps.allowed(),
        Err(_) => steps.refused(),
    }
}

fn evaluate(request: &BindingRequest<'_>, walk: &mut impl Walk) -> Result<Verdict, DenyReason> {
    let (client, permitted) = of_present_client(request, walk)?;
    let BindingRequest { token, now, demands, .. } = request;
    let claims = &token.claims;
    walk.at(Check::Audience, || {
        let registered = client.registration.terms.audience.join(" ");
        (format!("token: {}; registered: {registered}", claims.aud.all().join(" ")), demands.audience.to_owned())
    });
    if !claims.aud.includes(demands.audience) || !permitted.has_audience(demands.audience) {
        return Err(DenyReason::WrongAudience);
    }
    walk.at(Check::ResourceRecord, || {
        let found = match (demands.deleted, demands.suspended) {
            (true, _) => "deleted, and neither registered again nor forgotten",
            (false, true) => "of a schema that this version cannot read",
            (false, false) => "readable",
        };
        compared(found, "readable")
    });
    if demands.deleted {
        return Err(DenyReason::ResourceDeleted);
    }
    if demands.suspended {
        return Err(DenyReason::ResourceSuspended);
    }
    // Where it is only reported, it comes last: whoever lets that denial through lets nothing else through with it.
    let reports = demands.delegated.as_ref().is_some_and(|delegated| delegated.reports);
    if !reports {
        taken_delegated(request, walk)?;
    }
    walk.at(Check::TrustDomain, || {
        let accepted: Vec<String> = demands.trust_domains.iter().map(ToString::to_string).collect();
        let expected = if accepted.is_empty() { "any".to_owned() } else { accepted.join(" ") };
        let ids = token.holder_spiffe_id.iter().chain(&token.subject_spiffe_id);
        (ids.map(|id| id.trust_domain().to_string()).collect::<Vec<_>>().join(" for "), expected)
    });
    if !demands.accept(token.holder_spiffe_id.as_ref())
        || claims.act.is_some() && !demands.accept(token.subject_spiffe_id.as_ref())
    {
        return Err(DenyReason::TrustDomainNotAccepted);
    }
    walk.at(Check::Binding, || {
        (token.bound_to.map(|bound| format!("x5t#S256:{bound}")).unwrap_or_default(), "a certificate".to_owned())
    });
    let bound_to = token.bound_to.ok_or(DenyReason::NotBound)?;
    walk.at(Check::Evidence, || {
        let found = request.evidence.map(|evidence| evidence.grade().name()).unwrap_or_default();
        (found.to_owned(), format!("at least {}", demands.least_evidence.name()))
    });
    let evidence = request.evidence.ok_or(DenyReason::EvidenceMissing)?;
    if evidence.grade() < demands.least_evidence {
        return Err(DenyReason::EvidenceTooWeak);
    }
    walk.at(Check::BoundCertificate, || {
        let same = if request.same_identity { ", of the same SPIFFE ID" } else { "" };
        (format!("{evidence}{same}"), format!("x5t#S256:{bound_to}, rotation {}", permitted.rotation.name()))
    });
    let (matched, until) = confirm(request, evidence, bound_to, permitted.rotation)?;
    walk.at(Check::Principal, || {
        let expected = token.bound_spiffe_id.as_ref().map(ToString::to_string).unwrap_or_default();
        (request.principal.unwrap_or_default().to_owned(), expected)
    });
    if request.principal.is_some_and(|principal| is_another_workload(principal, token, &client.registration)) {
        return Err(DenyReason::CertificateMismatch);
    }
    walk.at(Check::Scope, || {
        let registered = &client.registration.terms.scope;
        let issued = claims.scope.as_deref().unwrap_or_default();
        (format!("token: {issued}; registered: {registered}"), demands.scope.to_string())
    });
    let issued = token.scope.as_ref().ok_or(DenyReason::TokenMalformed)?;
    if !(issued.covers(&demands.scope) && permitted.covers(&demands.scope) && demands.define_scope()) {
        return Err(DenyReason::InsufficientScope);
    }
    if reports {
        taken_delegated(request, walk)?;
    }
    let mut cache_until = claims.exp.min(now.after(request.verdict_ttl)).min(until);
    if let Evidence::Certificate(certificate) = evidence {
        cache_until = cache_until.min(certificate.not_after());
    }
    Ok(Verdict { matched, grade: evidence.grade(), cache_until })
}

/// Checks that the resource takes the token where it is a delegated one. Only the newest actor decides; those before it are history
/// (RFC 8693 section 4.1).
fn taken_delegated(request: &BindingRequest<'_>, walk: &mut impl Walk) -> Result<(), DenyReason> {
    let BindingRequest { token, demands, .. } = request;
    let claims = &token.claims;
    let Some(actors) = &claims.act else { return Ok(()) };
    let count = actors.count();
    walk.at(Check::Delegation, || {
        let expected =
            demands.delegated.as_ref().map_or_else(|| "no delegated token".to_owned(), |one| one.expectation());
        (format!("{} for {}, {count} actors", claims.client_id, claims.sub), expected)
    });
    let delegated = demands.delegated.as_ref().ok_or(DenyReason::DelegationNotAccepted)?;
    if delegated.accepts(token.holder.as_ref(), count) { Ok(()) } else { Err(DenyReason::ActorNotAccepted) }
}

/// The registration of a token that is this server's and valid by itself, and whose client is still what it was, and what
/// it permits.
fn of_present_client<'a>(
    request: &BindingRequest<'a>,
    walk: &mut impl Walk,
) -> Result<(&'a RegisteredClient, &'a Permitted), DenyReason> {
    let BindingRequest { token, now, .. } = request;
    let claims = &token.claims;
    walk.at(Check::Issuer, || compared(&claims.iss, request.issuer));
    if claims.iss != request.issuer {
        return Err(DenyReason::WrongIssuer);
    }
    walk.at(Check::Expiry, || (format!("exp {}", claims.exp.0), format!("after {}", now.0)));
    // RFC 7519 section 4.1.4: a token is not accepted on or after exp.
    if *now >= claims.exp {
        return Err(DenyReason::TokenExpired);
    }
    walk.at(Check::NotBefore, || {
        (format!("nbf {}", claims.nbf.0), format!("at most {}", now.after(NOT_BEFORE_LEEWAY).0))
    });
    // `nbf` is before `iat`, for the clocks of other verifiers.
    if claims.nbf.max(claims.iat) > now.after(NOT_BEFORE_LEEWAY) {
        return Err(DenyReason::TokenNotYetValid);
    }
    walk.at(Check::Client, || compared(request.client, &claims.client_id));
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
    walk.at(Check::Authentication, || {
        let expected = format!("{} as when the token was issued", client.registration.method.name());
        (request.refused.map_or_else(|| "unchanged".to_owned(), |reason| reason.to_string()), expected)
    });
    if let Some(reason) = request.refused {
        return Err(reason);
    }
    walk.at(Check::Revocation, || {
        let found = request.revoked.map_or_else(|| "nothing that concerns this use".to_owned(), |why| why.to_string());
        (found, format!("nothing that concerns the token {}, its client and the certificates", claims.jti))
    });
    if let Some(reason) = request.revoked {
        return Err(reason);
    }
    let ancestors = token.ancestors.as_deref().ok_or(DenyReason::TokenMalformed)?;
    if !ancestors.is_empty() {
        walk.at(Check::Ancestry, || {
            let found = request.broken.map_or_else(|| "all count".to_owned(), |broken| broken.to_string());
            (found, format!("that all {} tokens that it comes from count", ancestors.len()))
        });
        if request.broken.is_some() {
            return Err(DenyReason::DelegationBroken);
        }
    }
    Ok((client, permitted))
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
