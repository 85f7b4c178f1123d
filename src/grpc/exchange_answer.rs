//! The answer of `ExchangeToken`.

use crate::authority::state::Caller;
use crate::authority::tokens::IssuedToken;
use crate::proto::ExchangeTokenResponse;
use crate::proto::TokenType;

/// The answer with a token that was issued, and the certificate of the caller where it is bound to that.
pub(super) fn answer(issued: IssuedToken, kind: TokenType, bound_to: Option<&Caller>) -> ExchangeTokenResponse {
    ExchangeTokenResponse {
        access_token: issued.access_token,
        issued: kind.into(),
        expires_in: issued.expires_in.try_into().ok(),
        scope: issued.scope.to_string(),
        bound_to: bound_to.map(|caller| caller.identity.thumbprint().as_bytes().to_vec()).unwrap_or_default(),
    }
}
