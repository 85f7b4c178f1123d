//! A request for a transaction token, as a protocol reads it.

use std::fmt;

use serde_json::Map;
use serde_json::Value;

use crate::authority::decision::exchange_request::ExchangeRequest;

/// A request for a transaction token.
#[derive(Clone, Default)]
pub struct TxnRequest {
    /// The client, the receipt of what was presented, the trust domain as the audience, and the scope.
    pub exchange: ExchangeRequest,
    /// What is asked for it, besides a receipt.
    pub subject: TxnSubject,
    /// `request_context`, which becomes `rctx`.
    pub context: Map<String, Value>,
    /// `request_details`, which becomes `tctx`.
    pub details: Map<String, Value>,
}

/// Whom a transaction token is asked for.
#[derive(Clone, Default)]
pub enum TxnSubject {
    /// Who presented a token: the receipt says.
    #[default]
    Presented,
    /// The client itself, or another one that a rule lists: an object with its `client_id` as `sub`. Nothing else of it counts.
    Stated(Map<String, Value>),
    /// The same, in a JWT that is signed with the key of the connection's certificate.
    SelfSigned(String),
    /// As in this transaction token, which is to be narrowed.
    Replaced(String),
}

/// Tokens are never logged.
impl fmt::Debug for TxnSubject {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Presented => "Presented",
            Self::Stated(_) => "Stated",
            Self::SelfSigned(_) => "SelfSigned",
            Self::Replaced(_) => "Replaced",
        })
    }
}

/// Nor is what is asked to be in one.
impl fmt::Debug for TxnRequest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TxnRequest").field("exchange", &self.exchange).finish_non_exhaustive()
    }
}
