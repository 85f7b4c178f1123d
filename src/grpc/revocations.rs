//! The messages of revocations.

use tonic::Status;

use crate::authority::access::GrantedRole;
use crate::authority::clock::Timestamp;
use crate::authority::decision::RevokeOutcome;
use crate::authority::decision::RevokeRequest;
use crate::authority::decision::RevokeWarning;
use crate::authority::identity::CertificateThumbprint;
use crate::authority::registration::ClientId;
use crate::authority::state::RevocationRecord;
use crate::authority::state::Revoked;
use crate::authority::state::RevokedKind;
use crate::grpc::status::malformed;
use crate::messages::timestamp;
use crate::proto::AssignedRole;
use crate::proto::Revocation;
use crate::proto::RevocationKind;
use crate::proto::RevocationWarning;
use crate::proto::RevokeTokenResponse;
use crate::proto::revoke_token_request::Target;

/// Reads what is to be revoked.
pub(super) fn wanted(target: Option<Target>, until: Option<prost_types::Timestamp>) -> Result<RevokeRequest, Status> {
    let until = until
        .map(|until| u64::try_from(until.seconds).map(Timestamp).map_err(|_| malformed("until", "is before 1970")))
        .transpose()?;
    let client = |field, text: &str| ClientId::parse(text).ok_or_else(|| malformed(field, "is not a client_id"));
    match target {
        Some(Target::Token(token)) => Ok(RevokeRequest::Token(token)),
        Some(Target::Jti(jti)) => Ok(RevokeRequest::TokenId(jti)),
        Some(Target::RevokedClientId(text)) => Ok(RevokeRequest::Client(client("revoked_client_id", &text)?, until)),
        Some(Target::IssuedToClientId(text)) => Ok(RevokeRequest::IssuedTo(client("issued_to_client_id", &text)?)),
        Some(Target::CertificateThumbprint(digest)) => {
            let thumbprint = CertificateThumbprint::from_digest(&digest);
            let thumbprint =
                thumbprint.ok_or_else(|| malformed("certificate_thumbprint", "must be the 32 bytes of a SHA-256"))?;
            Ok(RevokeRequest::Certificate(thumbprint, until))
        }
        Some(Target::SpiffeIdPattern(pattern)) => {
            let problem = "must be a SPIFFE ID that ends in /*; revoke one SPIFFE ID alone as a client";
            let revoked = Revoked::identities(&pattern).ok_or_else(|| malformed("spiffe_id_pattern", problem))?;
            Ok(RevokeRequest::Peers(revoked, until))
        }
        Some(Target::TrustDomain(name)) => {
            let problem = "must be the name of a trust domain, without spiffe://";
            let revoked = Revoked::trust_domain(&name).ok_or_else(|| malformed("trust_domain", problem))?;
            Ok(RevokeRequest::Peers(revoked, until))
        }
        Some(Target::Role(role)) => {
            let role = match AssignedRole::try_from(role) {
                Ok(AssignedRole::Admin) => GrantedRole::Admin,
                Ok(AssignedRole::Proxy) => GrantedRole::Proxy,
                Ok(AssignedRole::Auditor) => GrantedRole::Auditor,
                Ok(AssignedRole::Revoker) => GrantedRole::Revoker,
                Ok(AssignedRole::Edge) => GrantedRole::Edge,
                Ok(AssignedRole::Unspecified) | Err(_) => return Err(malformed("role", "is not a role")),
            };
            Ok(RevokeRequest::Peers(Revoked::Role(role), until))
        }
        None => Err(malformed("target", "is missing")),
    }
}

/// Prints what became of a request.
pub(super) fn printed(outcome: &RevokeOutcome) -> RevokeTokenResponse {
    let warning = |warning: &RevokeWarning| match warning {
        RevokeWarning::UnknownTarget => RevocationWarning::UnknownTarget,
        RevokeWarning::LaterEndKept => RevocationWarning::LaterEndKept,
        RevokeWarning::AllOfCertificate => RevocationWarning::AllOfCertificate,
        RevokeWarning::NotRevoked => RevocationWarning::NotRevoked,
        RevokeWarning::TokenNotValid => RevocationWarning::TokenNotValid,
    };
    let warnings = outcome.warnings.iter().map(|one| warning(one).into()).collect();
    RevokeTokenResponse { warnings, until: outcome.until.map(timestamp) }
}

/// Reads the kinds that a list request asks for.
pub(super) fn kinds(kinds: &[i32]) -> Result<Vec<RevokedKind>, Status> {
    let kind = |kind: &i32| match RevocationKind::try_from(*kind) {
        Ok(RevocationKind::Token) => Ok(RevokedKind::Token),
        Ok(RevocationKind::Client) => Ok(RevokedKind::Client),
        Ok(RevocationKind::Certificate) => Ok(RevokedKind::Certificate),
        Ok(RevocationKind::Issued) => Ok(RevokedKind::Issued),
        Ok(RevocationKind::IssuedWith) => Ok(RevokedKind::IssuedWith),
        Ok(RevocationKind::AllIssued) => Ok(RevokedKind::AllIssued),
        Ok(RevocationKind::Identity) => Ok(RevokedKind::Identity),
        Ok(RevocationKind::TrustDomain) => Ok(RevokedKind::TrustDomain),
        Ok(RevocationKind::Role) => Ok(RevokedKind::Role),
        Ok(RevocationKind::Unspecified) | Err(_) => Err(malformed("kinds", "names a kind that does not exist")),
    };
    kinds.iter().map(kind).collect()
}

/// Prints a revocation.
pub(super) fn listed(revoked: &Revoked, record: &RevocationRecord, now: Timestamp) -> Revocation {
    let kind = match revoked.kind() {
        RevokedKind::Token => RevocationKind::Token,
        RevokedKind::Client => RevocationKind::Client,
        RevokedKind::Certificate => RevocationKind::Certificate,
        RevokedKind::Issued => RevocationKind::Issued,
        RevokedKind::IssuedWith => RevocationKind::IssuedWith,
        RevokedKind::AllIssued => RevocationKind::AllIssued,
        RevokedKind::Identity => RevocationKind::Identity,
        RevokedKind::TrustDomain => RevocationKind::TrustDomain,
        RevokedKind::Role => RevocationKind::Role,
    };
    Revocation {
        kind: kind.into(),
        name: revoked.name(),
        in_effect: record.is_in_effect(now),
        revoke_time: Some(timestamp(record.revoked_at)),
        revoked_by: record.revoked_by.to_string(),
        until: record.until.map(timestamp),
        lift_time: record.lifted.as_ref().map(|lifted| timestamp(lifted.at)),
        lifted_by: record.lifted.as_ref().and_then(|lifted| lifted.by.clone()).unwrap_or_default(),
    }
}
