//! The steps before a decision on a use of a token, in the order in which `check` and `validate_binding` take them: each ends
//! with an error of its own, so that the error tells how far they went.

use crate::authority::api::audit::checked::Checked;
use crate::authority::decision::Check;
use crate::authority::decision::CheckRefusal;
use crate::authority::decision::NoDecision;
use crate::authority::decision::Step;
use crate::authority::decision::Steps;
use crate::authority::decision::Walk as _;
use crate::authority::decision::compared;
use crate::authority::deny_reason::DenyReason;
use crate::authority::resources::Need;
use crate::authority::resources::ProtectedResource;
use crate::authority::resources::Route;
use crate::authority::state::Asker;

/// The steps of a check: those up to the one that ended with `ended`, or all, and then those of the decision on the token.
pub(in crate::authority::api) fn of_check(
    checked: &Checked<'_>,
    ended: Option<CheckRefusal>,
    decided: Vec<Step>,
) -> Vec<Step> {
    let Checked { request, resource, findings, .. } = checked;
    let ended_at = ended.and_then(|refusal| ended_before_token(refusal, findings.route));
    let path = request.path.split_once('?').map_or(request.path, |(path, _)| path);
    let mut steps = Steps::default();
    for check in [Check::Resource, Check::ResourceRecord, Check::Path, Check::Route] {
        steps.at(check, || found_before_route(check, checked, path));
        if ended_at == Some(check) {
            return steps.refused();
        }
    }
    if findings.route.is_some_and(|route| matches!(route.need, Need::Nothing)) {
        return steps.allowed();
    }
    steps.at(Check::AccessToken, || {
        let problem = ended.filter(|_| ended_at == Some(Check::AccessToken)).map(|refusal| refusal.to_string());
        (problem.unwrap_or_else(|| "one".to_owned()), "one bearer token".to_owned())
    });
    if ended_at == Some(Check::AccessToken) {
        return steps.refused();
    }
    steps.at(Check::EvidenceForm, || {
        let problem = ended.and_then(CheckRefusal::cause).map(|cause| cause.to_string());
        let found = problem.or_else(|| findings.evidence.as_ref().map(ToString::to_string));
        (found.unwrap_or_default(), resource.map(|resource| resource.evidence_from.to_string()).unwrap_or_default())
    });
    if ended_at == Some(Check::EvidenceForm) {
        return steps.refused();
    }
    let mut steps = steps.allowed();
    steps.extend(decided);
    steps
}

/// What a step before the token compares.
fn found_before_route(check: Check, checked: &Checked<'_>, path: &str) -> (String, String) {
    let Checked { request, resource, findings, .. } = checked;
    let destination = &request.destination;
    if check == Check::Resource {
        let audience = resource.map(ProtectedResource::audience);
        compared(
            destination.named.unwrap_or(destination.authority),
            audience.unwrap_or("a protected resource that this proxy fronts"),
        )
    } else if check == Check::ResourceRecord {
        let is_suspended = resource.is_some_and(|resource| resource.suspended);
        compared(if is_suspended { "of a schema that this version cannot read" } else { "readable" }, "readable")
    } else if check == Check::Path {
        compared(path, "a path with only one reading")
    } else {
        let route = findings.route.map_or("a route of the resource", |route| route.template.as_str());
        compared(format_args!("{} {path}", request.method), route)
    }
}

/// The step that a refusal ended at, unless that was one of the decision on the token.
fn ended_before_token(refusal: CheckRefusal, route: Option<&Route>) -> Option<Check> {
    match refusal {
        CheckRefusal::ResourceUnknown => Some(Check::Resource),
        CheckRefusal::Denied(DenyReason::ResourceSuspended) if route.is_none() => Some(Check::ResourceRecord),
        CheckRefusal::PathNotCanonical => Some(Check::Path),
        CheckRefusal::RouteUnknown => Some(Check::Route),
        CheckRefusal::TokenMissing | CheckRefusal::AuthorizationMalformed => Some(Check::AccessToken),
        CheckRefusal::EvidenceMalformed(_) => Some(Check::EvidenceForm),
        // After the decision on the access token.
        CheckRefusal::TxnTokenMissing
        | CheckRefusal::TxnTokenMalformed
        | CheckRefusal::TxnTokenInvalid
        | CheckRefusal::TxnTokenForeign
        | CheckRefusal::TxnTokenExpired
        | CheckRefusal::TxnTokenRevoked
        | CheckRefusal::TxnScopeMissing
        | CheckRefusal::TxnTokenSeen
        | CheckRefusal::TxnContextRefused
        | CheckRefusal::TxnTokenNotMinted
        | CheckRefusal::Denied(_)
        | CheckRefusal::RequestMalformed
        | CheckRefusal::NotAProxy
        | CheckRefusal::Overloaded
        | CheckRefusal::Unable => None,
    }
}

/// The steps of a question that got no decision.
pub(in crate::authority::api) fn of_no_decision(caller: &Asker, audience: Option<&str>, why: NoDecision) -> Vec<Step> {
    let ended_at = match why {
        NoDecision::Stale | NoDecision::RecordTooNew => Check::Freshness,
        NoDecision::TokenMissing => Check::AccessToken,
        NoDecision::ScopeMalformed => Check::Scope,
        NoDecision::NotAProxy => Check::Role,
        NoDecision::AudienceMissing | NoDecision::ForeignResource => Check::Audience,
        NoDecision::EvidenceMalformed(_) => Check::EvidenceForm,
    };
    let mut steps = Steps::default();
    let order = [
        (Check::Freshness, "a snapshot that is fresh enough"),
        (Check::AccessToken, "an access token"),
        (Check::Scope, "scopes"),
        (Check::Role, "a role that permits the evidence"),
        (Check::Audience, "a resource that the caller fronts"),
        (Check::EvidenceForm, "evidence that can be read"),
    ];
    for (check, expected) in order {
        let is_last = check == ended_at;
        steps.at(check, || match (is_last, check == Check::Audience, check == Check::Role) {
            (true, true, _) => (format!("{}: {why}", audience.unwrap_or_default()), expected.to_owned()),
            (true, false, _) => compared(why, expected),
            (false, true, _) => compared(audience.unwrap_or_default(), expected),
            (false, false, true) => compared(if caller.roles.proxy.is_some() { "proxy" } else { "workload" }, expected),
            (false, false, false) => compared("as expected", expected),
        });
        if is_last {
            return steps.refused();
        }
    }
    steps.refused()
}
