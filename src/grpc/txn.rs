//! Transaction tokens in `lanyard.v1.TokenService.ExchangeToken`.

use prost_types::Struct;
use tonic::Status;

use crate::authority::Authority;
use crate::authority::decision::ExchangeRequest;
use crate::authority::decision::TxnRequest;
use crate::authority::decision::TxnSubject;
use crate::authority::state::Caller;
use crate::grpc::exchange_answer;
use crate::grpc::status;
use crate::grpc::status::malformed;
use crate::grpc::status::unreadable_exchange;
use crate::messages;
use crate::proto::ExchangeTokenResponse;
use crate::proto::TokenType;

/// What of the message is about transaction tokens alone.
#[derive(Default)]
pub(super) struct Parts {
    pub(super) txn_token: Option<String>,
    pub(super) unsigned_json: Option<Struct>,
    pub(super) self_signed: Option<String>,
    pub(super) context: Option<Struct>,
    pub(super) details: Option<Struct>,
}

impl Parts {
    /// Whether there is nothing of it but a subject that its client vouches for.
    pub(super) fn is_for_jwt_grant(&self) -> bool {
        self.txn_token.is_none() && self.self_signed.is_none() && self.context.is_none() && self.details.is_none()
    }

    /// Whether there is nothing of it, as with a request for an access token.
    pub(super) fn is_empty(&self) -> bool {
        self.txn_token.is_none()
            && self.unsigned_json.is_none()
            && self.self_signed.is_none()
            && self.context.is_none()
            && self.details.is_none()
    }
}

/// Issues a transaction token to an admitted caller.
pub(super) async fn issue(
    authority: &Authority,
    mut caller: Caller,
    exchange: ExchangeRequest,
    parts: Parts,
) -> Result<ExchangeTokenResponse, Status> {
    let object = |field, message: Option<Struct>| {
        let unreadable = || unreadable_exchange(authority, &caller, &malformed(field, "is not JSON"));
        message.map(|message| messages::json_object(&message).ok_or_else(unreadable)).transpose()
    };
    // Of the message's alternatives there is one at most.
    let subject = match (parts.txn_token, parts.self_signed, object("unsigned_json", parts.unsigned_json)?) {
        (Some(token), ..) => TxnSubject::Replaced(token),
        (None, Some(text), _) => TxnSubject::SelfSigned(text),
        (None, None, Some(json)) => TxnSubject::Stated(json),
        (None, None, None) => TxnSubject::Presented,
    };
    let context = object("request_context", parts.context)?.unwrap_or_default();
    let details = object("request_details", parts.details)?.unwrap_or_default();
    authority.discover(&mut caller, exchange.client_id.as_deref()).await;
    let request = TxnRequest { exchange, subject, context, details };
    let issued = authority.issue_txn_token(&caller, &request).await;
    let issued = issued.map_err(status::refused(status::exchange_refused))?;
    Ok(exchange_answer::answer(issued, TokenType::TxnToken, None))
}
