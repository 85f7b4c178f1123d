//! `lanyard.v1.TokenService`.

use rustls_pki_types::CertificateDer;
use tonic::Request;
use tonic::Response;
use tonic::Status;

use crate::authority::access::Requester;
use crate::authority::clock::Timestamp;
use crate::authority::decision::ClientAssertion;
use crate::authority::decision::RevokeRequest;
use crate::authority::decision::TokenRequest;
use crate::authority::identity::CertificateThumbprint;
use crate::authority::observe::RefusedRequest;
use crate::authority::registration::ClientId;
use crate::authority::state::Caller;
use crate::grpc::Services;
use crate::grpc::caller;
use crate::grpc::claims;
use crate::grpc::status;
use crate::grpc::status::INVALID_REQUEST;
use crate::grpc::status::malformed;
use crate::proto::AnnounceRotationRequest;
use crate::proto::AnnounceRotationResponse;
use crate::proto::IntrospectTokenRequest;
use crate::proto::IntrospectTokenResponse;
use crate::proto::IssueTokenRequest;
use crate::proto::IssueTokenResponse;
use crate::proto::RevokeTokenRequest;
use crate::proto::RevokeTokenResponse;
use crate::proto::revoke_token_request::Target;
use crate::proto::token_service_server::TokenService;

#[tonic::async_trait]
impl TokenService for Services {
    async fn issue_token(&self, request: Request<IssueTokenRequest>) -> Result<Response<IssueTokenResponse>, Status> {
        let (_, extensions, message) = request.into_parts();
        let mut caller = caller(&extensions)?.clone();
        let IssueTokenRequest { client_id, scope, audience, client_assertion_type, client_assertion } = message;
        let client_id = sent(client_id);
        let assertion = assertion(client_assertion_type, client_assertion);
        self.authority.discover(&mut caller, client_id.as_deref()).await;
        let issued = self
            .authority
            .issue_token(&caller, &TokenRequest { client_id, assertion, scope, audience })
            .map_err(status::grant_error)?;
        Ok(Response::new(IssueTokenResponse {
            access_token: issued.access_token,
            token_type: "Bearer".to_owned(),
            expires_in: issued.expires_in.try_into().ok(),
            scope: issued.scope.to_string(),
        }))
    }

    async fn introspect_token(
        &self,
        request: Request<IntrospectTokenRequest>,
    ) -> Result<Response<IntrospectTokenResponse>, Status> {
        let (_, extensions, message) = request.into_parts();
        let assertion = assertion(message.client_assertion_type, message.client_assertion);
        let caller = caller(&extensions)?;
        let requester = self.requester(caller, message.client_id, &assertion)?;
        if message.token.is_empty() {
            let (request, status) = (RefusedRequest::Introspection(INVALID_REQUEST), malformed("token", "is missing"));
            self.authority.report_refused(&caller.sender(), request, status.message());
            return Err(status);
        }
        let token = self.authority.introspect(&caller.view, &requester, &message.token).map_err(status::stale)?;
        let claims = token.as_deref().map(|token| claims::print(&token.claims));
        Ok(Response::new(IntrospectTokenResponse { active: claims.is_some(), claims }))
    }

    async fn revoke_token(
        &self,
        request: Request<RevokeTokenRequest>,
    ) -> Result<Response<RevokeTokenResponse>, Status> {
        let (_, extensions, message) = request.into_parts();
        let caller = caller(&extensions)?;
        let assertion = assertion(message.client_assertion_type, message.client_assertion);
        let requester = self.requester(caller, message.client_id, &assertion)?;
        let target = wanted(message.target, message.until).inspect_err(|status| {
            let request = RefusedRequest::Revocation(INVALID_REQUEST);
            self.authority.report_refused(&caller.sender(), request, status.message());
        })?;
        let outcome = if message.lift {
            self.authority.lift_revocation(caller, &requester, target).await
        } else {
            self.authority.revoke(caller, &requester, target).await
        };
        outcome.map_err(status::revoke_error)?;
        Ok(Response::new(RevokeTokenResponse {}))
    }

    async fn announce_rotation(
        &self,
        request: Request<AnnounceRotationRequest>,
    ) -> Result<Response<AnnounceRotationResponse>, Status> {
        let (_, extensions, message) = request.into_parts();
        let caller = caller(&extensions)?;
        let chain: Vec<CertificateDer<'static>> =
            std::iter::once(message.certificate).chain(message.intermediates).map(CertificateDer::from).collect();
        let announced = self.authority.announce_rotation(caller, &chain).await.map_err(status::not_announced)?;
        let seconds = i64::try_from(announced.until.0).unwrap_or(i64::MAX);
        Ok(Response::new(AnnounceRotationResponse {
            overlap_until: Some(prost_types::Timestamp { seconds, nanos: 0 }),
        }))
    }
}

impl Services {
    fn requester(&self, caller: &Caller, client_id: String, assertion: &ClientAssertion) -> Result<Requester, Status> {
        self.authority.requester(caller, sent(client_id).as_deref(), assertion).map_err(status::grant_error)
    }
}

/// In proto3 an empty string is the same as an absent one.
fn sent(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

fn assertion(assertion_type: String, assertion: String) -> ClientAssertion {
    ClientAssertion { assertion_type: sent(assertion_type), assertion: sent(assertion) }
}

fn wanted(wanted: Option<Target>, until: Option<prost_types::Timestamp>) -> Result<RevokeRequest, Status> {
    let until = until
        .map(|until| u64::try_from(until.seconds).map(Timestamp).map_err(|_| malformed("until", "is before 1970")));
    target(wanted, until.transpose()?)
}

fn target(target: Option<Target>, until: Option<Timestamp>) -> Result<RevokeRequest, Status> {
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
        None => Err(malformed("target", "is missing")),
    }
}
