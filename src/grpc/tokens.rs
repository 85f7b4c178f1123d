//! `lanyard.v1.TokenService`.

use tonic::Request;
use tonic::Response;
use tonic::Status;

use crate::authority::grant::TokenRequest;
use crate::grpc::Services;
use crate::grpc::caller;
use crate::grpc::status;
use crate::proto::IssueTokenRequest;
use crate::proto::IssueTokenResponse;
use crate::proto::token_service_server::TokenService;

#[tonic::async_trait]
impl TokenService for Services {
    async fn issue_token(&self, request: Request<IssueTokenRequest>) -> Result<Response<IssueTokenResponse>, Status> {
        let (_, extensions, message) = request.into_parts();
        let caller = caller(&extensions)?;
        let IssueTokenRequest { client_id, scope, audience } = message;
        // In proto3 an empty text is one that was left out.
        let client_id = Some(client_id).filter(|client_id| !client_id.is_empty());
        let issued = self
            .authority
            .issue_token(&caller.identity, &TokenRequest { client_id, scope, audience })
            .map_err(status::grant_error)?;
        Ok(Response::new(IssueTokenResponse {
            access_token: issued.access_token,
            token_type: "Bearer".to_owned(),
            expires_in: issued.expires_in.try_into().ok(),
            scope: issued.scope.to_string(),
        }))
    }
}
