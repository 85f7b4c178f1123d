//! A request to exchange what was presented to a client, and what is decided of it.

use std::fmt;
use std::sync::Arc;

use crate::authority::clock::Timestamp;
use crate::authority::decision::client_assertion::ClientAssertion;
use crate::authority::decision::exchange_error::ExchangeError;
use crate::authority::decision::grant::Credentials;
use crate::authority::deny_reason::DenyReason;
use crate::authority::registration::ClientId;
use crate::authority::registration::RegisteredClient;
use crate::authority::scope::Scope;
use crate::authority::state::Snapshot;
use crate::authority::tokens::Actors;
use crate::authority::tokens::Ancestry;
use crate::authority::tokens::Receipt;
use crate::authority::tokens::VerifiedReceipt;
use crate::authority::tokens::VerifiedToken;
use crate::authority::trust::ForeignToken;

/// A request to exchange what was presented to the client for a token of its own.
#[derive(Clone, Default)]
pub struct ExchangeRequest {
    /// As in a token request.
    pub client_id: Option<String>,
    /// As in a token request.
    pub assertion: ClientAssertion,
    /// The receipt of the presentation.
    pub receipt: Option<String>,
    /// The token that was presented. The receipt alone is enough.
    pub access_token: Option<String>,
    /// A JWT of another issuer, in place of both.
    pub jwt: Option<String>,
    /// A token of the client's own, which says nothing new.
    pub actor_token: Option<String>,
    /// The targets: the new token is for exactly one.
    pub audience: Vec<String>,
    /// Space-separated scopes. Empty: all that the rule gives.
    pub scope: String,
}

/// What was presented is never logged.
impl fmt::Debug for ExchangeRequest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ExchangeRequest").field("audience", &self.audience).finish_non_exhaustive()
    }
}

/// What is exchanged, once it has verified.
#[derive(Debug)]
pub struct ExchangeSubject {
    /// The token that was presented. Of a receipt alone, what it says of the token.
    pub token: Arc<VerifiedToken>,
    /// The receipt of its presentation, if there is one.
    pub receipt: Option<VerifiedReceipt>,
}

impl ExchangeSubject {
    /// What the receipt says.
    pub(super) fn presented(&self) -> Option<&Receipt<'static>> {
        self.receipt.as_ref().map(|verified| &verified.receipt)
    }
}

/// What an exchange is decided by.
pub struct Exchanging<'a> {
    /// The registrations.
    pub snapshot: &'a Snapshot,
    /// What the request proved about its sender.
    pub credentials: Credentials<'a>,
    /// The request.
    pub request: &'a ExchangeRequest,
    /// What is to be exchanged, or why it is not what it is said to be.
    pub subject: Result<&'a ExchangeSubject, ExchangeError>,
    /// The token of another issuer that is to be exchanged in its place, if it is one, or why it is not what it is said to be.
    pub foreign: Option<Result<&'a ForeignToken, ExchangeError>>,
    /// This server's issuer identifier.
    pub issuer: &'a str,
    /// The actor token, if there is one, or why it does not verify.
    pub actor_token: Option<Result<&'a VerifiedToken, DenyReason>>,
    /// Whether a token would be allowed now at the resource of this audience with the certificate that it is bound to: its
    /// scopes that count there, or why not.
    pub judge: &'a (dyn Fn(&VerifiedToken, &str) -> Result<Scope, DenyReason> + Sync),
    /// The time of the decision.
    pub now: Timestamp,
}

impl fmt::Debug for Exchanging<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Exchanging").field("request", self.request).finish_non_exhaustive()
    }
}

/// A token that may be issued in exchange.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// The client, which holds the new token and acts for the subject.
    pub client_id: ClientId,
    /// Its registration.
    pub client: Arc<RegisteredClient>,
    /// Whom the new token speaks for.
    pub subject: String,
    /// Who acts, and who acted before. `None`: the client speaks for itself.
    pub actors: Option<Actors>,
    /// What the new token comes from.
    pub ancestry: Ancestry,
    /// The resource that it is for.
    pub audience: String,
    /// Its scopes.
    pub scope: Scope,
    /// The time of its issue: with a receipt that of the presentation, so that the same receipt makes the same token.
    pub issued: Timestamp,
    /// When it expires.
    pub expires: Timestamp,
    /// Whether it would have been refused, if the rule did not only report what lacks a receipt.
    pub reported: bool,
}
