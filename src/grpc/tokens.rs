//! `lanyard.v1.TokenService`.

use prost::Message as _;
use prost_types::Struct;
use rustls_pki_types::CertificateDer;
use strum::VariantArray as _;
use tonic::Request;
use tonic::Response;
use tonic::Status;

use crate::authority::Authority;
use crate::authority::access::Requester;
use crate::authority::decision::ClientAssertion;
use crate::authority::decision::ExchangeRequest;
use crate::authority::decision::LastAdmin;
use crate::authority::decision::TokenRequest;
use crate::authority::observe::RefusedRequest;
use crate::authority::state::Caller;
use crate::authority::state::RevokedKind;
use crate::grpc::Services;
use crate::grpc::caller;
use crate::grpc::chaining;
use crate::grpc::claims;
use crate::grpc::exchange_answer;
use crate::grpc::page::Page;
use crate::grpc::revocations;
use crate::grpc::status;
use crate::grpc::status::INVALID_REQUEST;
use crate::grpc::status::malformed;
use crate::grpc::status::unreadable_exchange;
use crate::grpc::txn;
use crate::grpc::whoami;
use crate::messages;
use crate::proto::AnnounceRotationRequest;
use crate::proto::AnnounceRotationResponse;
use crate::proto::ExchangeTokenRequest;
use crate::proto::ExchangeTokenResponse;
use crate::proto::IntrospectTokenRequest;
use crate::proto::IntrospectTokenResponse;
use crate::proto::IssueTokenRequest;
use crate::proto::IssueTokenResponse;
use crate::proto::ListRevocationsRequest;
use crate::proto::ListRevocationsResponse;
use crate::proto::RevokeTokenRequest;
use crate::proto::RevokeTokenResponse;
use crate::proto::TokenType;
use crate::proto::WhoAmIRequest;
use crate::proto::WhoAmIResponse;
use crate::proto::exchange_token_request::Subject;
use crate::proto::token_service_server::TokenService;

#[tonic::async_trait]
impl TokenService for Services {
    async fn issue_token(&self, request: Request<IssueTokenRequest>) -> Result<Response<IssueTokenResponse>, Status> {
        let (_, extensions, message) = request.into_parts();
        issue(&self.authority, caller(&extensions)?.clone(), message).await.map(Response::new)
    }

    async fn exchange_token(
        &self,
        request: Request<ExchangeTokenRequest>,
    ) -> Result<Response<ExchangeTokenResponse>, Status> {
        let (_, extensions, message) = request.into_parts();
        exchange(&self.authority, caller(&extensions)?.clone(), message).await.map(Response::new)
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
            let reference = self.authority.report_refused(&caller.sender(), request, status.message());
            return Err(status::referring(&status, reference));
        }
        let claims = self.authority.introspect(&caller.view, &requester, &message.token);
        let claims = claims.map_err(status::refused(status::stale))?;
        let claims = claims.map(|claims| Struct::decode(claims::print(&claims).as_slice())).transpose();
        let claims = claims.map_err(|_| status::broken())?;
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
        let target = revocations::wanted(message.target, message.until).map_err(|status| {
            let request = RefusedRequest::Revocation(INVALID_REQUEST);
            let reference = self.authority.report_refused(&caller.sender(), request, status.message());
            status::referring(&status, reference)
        })?;
        let outcome = if message.lift {
            self.authority.lift_revocation(caller, &requester, target).await
        } else {
            let last_admin = if message.allow_no_admin { LastAdmin::MayGo } else { LastAdmin::Stays };
            self.authority.revoke(caller, &requester, target, last_admin).await
        };
        Ok(Response::new(revocations::printed(&outcome.map_err(status::refused(status::revoke_error))?)))
    }

    async fn list_revocations(
        &self,
        request: Request<ListRevocationsRequest>,
    ) -> Result<Response<ListRevocationsResponse>, Status> {
        let (_, extensions, message) = request.into_parts();
        let view = &caller(&extensions)?.view;
        let page = Page::read(message.page_size, &message.page_token)?;
        let kinds = revocations::kinds(&message.kinds)?;
        let kinds = if kinds.is_empty() { RevokedKind::VARIANTS } else { &kinds };
        let found = self.authority.revocations(view, kinds, page.after.as_deref(), page.size + 1);
        let (found, next_page_token) =
            page.cut(found.map_err(|error| status::registry_error(&error))?, |(revoked, _)| revoked.store_key());
        let revocations = found.iter().map(|(revoked, record)| revocations::listed(revoked, record, view.now));
        Ok(Response::new(ListRevocationsResponse { revocations: revocations.collect(), next_page_token }))
    }

    async fn announce_rotation(
        &self,
        request: Request<AnnounceRotationRequest>,
    ) -> Result<Response<AnnounceRotationResponse>, Status> {
        let (_, extensions, message) = request.into_parts();
        let caller = caller(&extensions)?;
        let chain: Vec<CertificateDer<'static>> =
            std::iter::once(message.certificate).chain(message.intermediates).map(CertificateDer::from).collect();
        let announced =
            self.authority.announce_rotation(caller, &chain).await.map_err(status::refused(status::not_announced))?;
        Ok(Response::new(AnnounceRotationResponse { overlap_until: Some(messages::timestamp(announced.until)) }))
    }

    async fn who_am_i(&self, request: Request<WhoAmIRequest>) -> Result<Response<WhoAmIResponse>, Status> {
        let caller = caller(request.extensions())?;
        Ok(Response::new(whoami::answer(&self.authority, caller)))
    }
}

/// Issues a token to an admitted caller.
pub(super) async fn issue(
    authority: &Authority,
    mut caller: Caller,
    request: IssueTokenRequest,
) -> Result<IssueTokenResponse, Status> {
    let IssueTokenRequest { client_id, scope, audience, client_assertion_type, client_assertion } = request;
    let client_id = sent(client_id);
    let assertion = assertion(client_assertion_type, client_assertion);
    authority.discover(&mut caller, client_id.as_deref()).await;
    let request = TokenRequest { client_id, assertion, scope, audience };
    let issued = authority.issue_token(&caller, &request).await.map_err(status::refused(|error| {
        status::token_refused(error, authority.explain_refusal(&caller, &request, error))
    }))?;
    Ok(IssueTokenResponse {
        access_token: issued.access_token,
        token_type: "Bearer".to_owned(),
        expires_in: issued.expires_in.try_into().ok(),
        scope: issued.scope.to_string(),
    })
}

/// Exchanges what was presented to an admitted caller.
async fn exchange(
    authority: &Authority,
    mut caller: Caller,
    message: ExchangeTokenRequest,
) -> Result<ExchangeTokenResponse, Status> {
    let requested = TokenType::try_from(message.requested);
    let requested = requested.map_err(|_| {
        let status = malformed("requested", "is no type of token that is issued here");
        unreadable_exchange(authority, &caller, &status)
    })?;
    let (mut receipt, mut access_token, mut jwt, mut is_grant) = (None, None, None, false);
    let mut parts =
        txn::Parts { context: message.request_context, details: message.request_details, ..txn::Parts::default() };
    match message.subject {
        Some(Subject::Receipt(text)) => receipt = Some(text),
        Some(Subject::AccessToken(token)) => {
            (receipt, access_token) = (sent(message.presentation_receipt), Some(token));
        }
        Some(Subject::Jwt(token)) => jwt = Some(token),
        Some(Subject::JwtGrant(grant)) => (jwt, is_grant) = (Some(grant), true),
        Some(Subject::TxnToken(token)) => parts.txn_token = Some(token),
        Some(Subject::UnsignedJson(json)) => parts.unsigned_json = Some(json),
        Some(Subject::SelfSigned(text)) => parts.self_signed = Some(text),
        None => {}
    }
    let request = ExchangeRequest {
        client_id: sent(message.client_id),
        assertion: assertion(message.client_assertion_type, message.client_assertion),
        receipt,
        access_token,
        jwt,
        actor_token: None,
        audience: message.audience,
        scope: message.scope,
    };
    match requested {
        _ if is_grant => {
            if requested == TokenType::TxnToken || requested == TokenType::JwtGrant || !parts.is_empty() {
                let status = malformed("requested", "is no access token, which is what a grant becomes");
                return Err(unreadable_exchange(authority, &caller, &status));
            }
            return chaining::redeem(authority, caller, request).await;
        }
        TokenType::JwtGrant if parts.is_for_jwt_grant() => {
            return chaining::issue(authority, caller, request, parts.unsigned_json).await;
        }
        TokenType::TxnToken => return txn::issue(authority, caller, request, parts).await,
        TokenType::Unspecified | TokenType::AccessToken if parts.is_empty() => {}
        TokenType::Unspecified | TokenType::AccessToken | TokenType::JwtGrant => {
            let status = malformed("subject", "or the context and details go only with a transaction token");
            return Err(unreadable_exchange(authority, &caller, &status));
        }
    }
    authority.discover(&mut caller, request.client_id.as_deref()).await;
    let exchanged = authority.exchange_token(&caller, &request).await;
    let issued = exchanged.map_err(status::refused(status::exchange_refused))?;
    Ok(exchange_answer::answer(issued, TokenType::AccessToken, Some(&caller)))
}

impl Services {
    fn requester(&self, caller: &Caller, client_id: String, assertion: &ClientAssertion) -> Result<Requester, Status> {
        self.authority
            .requester(caller, sent(client_id).as_deref(), assertion)
            .map_err(status::refused(status::grant_error))
    }
}

/// In proto3 an empty string is the same as an absent one.
fn sent(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

fn assertion(assertion_type: String, assertion: String) -> ClientAssertion {
    ClientAssertion { assertion_type: sent(assertion_type), assertion: sent(assertion) }
}
