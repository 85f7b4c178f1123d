//! The questions of `ExplanationService` about what has not happened, read, and their answers, printed.

use rustls_pki_types::CertificateDer;
use tonic::Status;

use crate::authority::decision::AskedIdentity;
use crate::authority::decision::AskedToken;
use crate::authority::decision::CheckQuestion;
use crate::authority::decision::ExplainedCheck;
use crate::authority::decision::ExplainedIdentity;
use crate::authority::decision::Step;
use crate::authority::decision::TokenOutcome;
use crate::authority::decision::WhyNot;
use crate::authority::evidence::EvidenceGrade;
use crate::authority::identity::PresentedCertificate;
use crate::authority::identity::parse_spiffe_id;
use crate::authority::registration::Claim;
use crate::authority::resources::Destination;
use crate::grpc::status::malformed;
use crate::messages;
use crate::messages::timestamp;
use crate::proto;
use crate::proto::DecisionStep;
use crate::proto::ExplainCheckRequest;
use crate::proto::ExplainCheckResponse;
use crate::proto::ExplainIdentityResponse;
use crate::proto::RegistrationClaim;

/// The names of the field with an identity, of its SPIFFE ID and of its certificates.
pub(super) type IdentityFields = [&'static str; 3];

const IDENTITY: IdentityFields = ["identity", "identity.spiffe_id", "identity.certificates"];

/// Reads the identity that a question is about.
pub(super) fn identity(asked: Option<&proto::AskedIdentity>) -> Result<AskedIdentity, Status> {
    identity_in(IDENTITY, asked)
}

pub(super) fn identity_in(
    [field, spiffe_id, certificates]: IdentityFields,
    asked: Option<&proto::AskedIdentity>,
) -> Result<AskedIdentity, Status> {
    let asked = asked.ok_or_else(|| malformed(field, "is missing"))?;
    if asked.certificates.is_empty() {
        let id = parse_spiffe_id(&asked.spiffe_id);
        return id.map(AskedIdentity::SpiffeId).ok_or_else(|| malformed(spiffe_id, "is not a SPIFFE ID"));
    }
    if !asked.spiffe_id.is_empty() {
        return Err(malformed(field, "is either a SPIFFE ID or a certificate"));
    }
    let chain = asked.certificates.iter().cloned().map(CertificateDer::from).collect();
    let unreadable = || malformed(certificates, "does not begin with an X.509 certificate in DER");
    AskedIdentity::from_chain(chain).and_then(Result::ok).ok_or_else(unreadable)
}

/// Reads a question about a request.
pub(super) fn question(message: &ExplainCheckRequest) -> Result<CheckQuestion<'_>, Status> {
    let identity = identity(message.identity.as_ref())?;
    let given = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let shown = match proto::EvidenceGrade::try_from(message.evidence_grade) {
        Ok(proto::EvidenceGrade::Unspecified | proto::EvidenceGrade::Certificate) => EvidenceGrade::Certificate,
        Ok(proto::EvidenceGrade::Thumbprint) => EvidenceGrade::Thumbprint,
        Ok(proto::EvidenceGrade::SpiffeId) => EvidenceGrade::SpiffeId,
        Err(_) => return Err(malformed("evidence_grade", "is none that this version knows")),
    };
    let token = if message.access_token.is_empty() {
        AskedToken::Requested { client_id: given(&message.client_id), scope: message.scope.clone() }
    } else if message.scope.is_empty() && message.client_id.is_empty() {
        AskedToken::Presented(&message.access_token)
    } else {
        return Err(malformed(
            "access_token",
            "goes without scope and client_id, which are for a token to be requested",
        ));
    };
    let destination = Destination {
        named: Some(message.resource.as_str()).filter(|audience| !audience.is_empty()),
        principal: &message.destination_principal,
        authority: &message.authority,
    };
    Ok(CheckQuestion { identity, destination, method: &message.method, path: &message.path, shown, token })
}

/// Prints what a check would come to.
pub(super) fn check(explained: ExplainedCheck) -> ExplainCheckResponse {
    let is_denied = explained.why_not.is_some();
    let decision = if is_denied { proto::Decision::Deny } else { proto::Decision::Allow };
    let (reason, cause, fix) = explained.why_not.map(why_not).unwrap_or_default();
    ExplainCheckResponse {
        decision: decision.into(),
        let_through: explained.let_through,
        reason,
        cause,
        fix,
        spiffe_id: explained.spiffe_id.unwrap_or_default(),
        certificate: explained.certificate.map(certificate),
        client_id: explained.client_id.unwrap_or_default(),
        registration: explained.registration.unwrap_or_default(),
        resource: explained.resource.unwrap_or_default(),
        route: explained.route.unwrap_or_default(),
        scope: explained.scope,
        token: explained.token.map(token_outcome),
        steps: explained.steps.into_iter().map(step).collect(),
        claims: explained.claims.iter().map(claim).collect(),
    }
}

/// Prints what an identity is to this server.
pub(super) fn identity_response(explained: ExplainedIdentity) -> ExplainIdentityResponse {
    let (reason, cause, fix) = explained.why_not.map(why_not).unwrap_or_default();
    ExplainIdentityResponse {
        spiffe_id: explained.spiffe_id.unwrap_or_default(),
        certificate: explained.certificate.map(certificate),
        proven: explained.proven,
        reason,
        cause,
        fix,
        claims: explained.claims.iter().map(claim).collect(),
        tokens: explained.tokens.into_iter().map(token_outcome).collect(),
    }
}

pub(super) fn why_not(why: WhyNot) -> (String, String, String) {
    (why.code.to_owned(), why.cause, why.fix)
}

pub(super) fn token_outcome(outcome: TokenOutcome) -> proto::TokenOutcome {
    let base = proto::TokenOutcome {
        client_id: outcome.client_id.map(|client_id| client_id.to_string()).unwrap_or_default(),
        registration: outcome.registration.unwrap_or_default(),
        steps: outcome.steps.into_iter().map(step).collect(),
        ..proto::TokenOutcome::default()
    };
    match outcome.granted {
        Ok(terms) => proto::TokenOutcome {
            granted: true,
            scope: terms.scope.to_string(),
            audience: terms.audience,
            expires_in: terms.expires_in.try_into().ok(),
            bound: terms.bound,
            rotation: terms.rotation.name().to_owned(),
            ..base
        },
        Err(why) => {
            let (reason, cause, fix) = why_not(why);
            proto::TokenOutcome { reason, cause, fix, ..base }
        }
    }
}

/// Prints a certificate as it was presented.
pub(super) fn certificate(certificate: PresentedCertificate) -> proto::PresentedCertificate {
    proto::PresentedCertificate {
        thumbprint: certificate.thumbprint.as_bytes().to_vec(),
        names: certificate.names,
        not_before: certificate.validity.map(|(from, _)| timestamp(from)),
        not_after: certificate.validity.map(|(_, until)| timestamp(until)),
    }
}

/// Prints a step of a decision.
pub(super) fn step(step: Step) -> DecisionStep {
    DecisionStep {
        check: step.check.code().to_owned(),
        found: step.found.into(),
        expected: step.expected.into(),
        passed: step.passed,
    }
}

/// Prints a registration that claims a SPIFFE ID.
pub(super) fn claim(claim: &Claim) -> RegistrationClaim {
    let registration = &claim.client.registration;
    RegistrationClaim {
        client_id: registration.client_id.to_string(),
        etag: messages::etag(claim.client.revision),
        expects: registration.method.expectation(),
        applies: claim.applies,
        outcome: claim.outcome.to_owned(),
    }
}
