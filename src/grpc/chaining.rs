//! Chaining to other trust domains in `lanyard.v1.TokenService.ExchangeToken`.

use prost_types::Struct;
use tonic::Status;

use crate::authority::Authority;
use crate::authority::decision::ExchangeRequest;
use crate::authority::decision::JwtGrantRequest;
use crate::authority::state::Caller;
use crate::grpc::exchange_answer;
use crate::grpc::status;
use crate::grpc::status::malformed;
use crate::grpc::status::unreadable_exchange;
use crate::messages;
use crate::proto::ExchangeTokenResponse;
use crate::proto::TokenType;

/// Makes a grant for another authorization server for an admitted caller.
pub(super) async fn issue(
    authority: &Authority,
    mut caller: Caller,
    exchange: ExchangeRequest,
    itself: Option<Struct>,
) -> Result<ExchangeTokenResponse, Status> {
    let unreadable = || unreadable_exchange(authority, &caller, &malformed("unsigned_json", "is not JSON"));
    let itself = itself.map(|json| messages::json_object(&json).ok_or_else(unreadable)).transpose()?;
    let request = JwtGrantRequest { exchange, itself };
    authority.discover(&mut caller, request.exchange.client_id.as_deref()).await;
    let issued = authority.issue_jwt_grant(&caller, &request).await;
    let issued = issued.map_err(status::refused(status::exchange_refused))?;
    Ok(exchange_answer::answer(issued, TokenType::JwtGrant, Some(&caller)))
}

/// Issues a token for a grant of another authorization server to an admitted caller.
pub(super) async fn redeem(
    authority: &Authority,
    mut caller: Caller,
    request: ExchangeRequest,
) -> Result<ExchangeTokenResponse, Status> {
    authority.discover(&mut caller, request.client_id.as_deref()).await;
    let issued = authority.redeem_jwt_grant(&caller, &request).await;
    let issued = issued.map_err(status::refused(status::exchange_refused))?;
    Ok(exchange_answer::answer(issued, TokenType::AccessToken, Some(&caller)))
}
