//! Questions about what has not happened yet, and their answers: what a check of a request would come to, and what an
//! identity is to this server.

use std::time::Duration;

use rustls_pki_types::CertificateDer;
use serde_json::Map;
use serde_json::Value;
use spiffe::SpiffeId;

use crate::authority::decision::steps::Step;
use crate::authority::evidence::EvidenceGrade;
use crate::authority::identity::Certificate;
use crate::authority::identity::InvalidCertificate;
use crate::authority::identity::PresentedCertificate;
use crate::authority::identity::parse_spiffe_id;
use crate::authority::registration::Claim;
use crate::authority::registration::ClientId;
use crate::authority::registration::ExchangeRuleMetadata;
use crate::authority::registration::Rotation;
use crate::authority::registration::RuleClaim;
use crate::authority::registration::TxnRuleMetadata;
use crate::authority::resources::Destination;
use crate::authority::scope::Scope;
use crate::authority::state::Undecidable;

/// The identity that a question is about.
#[derive(Clone, Debug)]
pub enum AskedIdentity {
    /// The holder of a SPIFFE ID. It is supposed to have a valid certificate.
    SpiffeId(SpiffeId),
    /// The holder of a certificate.
    Certificate(Box<AskedCertificate>),
}

/// A certificate that a question is about.
#[derive(Clone, Debug)]
pub struct AskedCertificate {
    /// The certificate itself.
    pub leaf: Certificate,
    /// The same with its intermediates, the leaf first.
    pub chain: Vec<CertificateDer<'static>>,
}

impl AskedIdentity {
    /// Reads certificates in DER, the leaf first. `None` where there is none.
    pub fn from_chain(chain: Vec<CertificateDer<'static>>) -> Option<Result<Self, InvalidCertificate>> {
        let leaf = Certificate::parse(chain.first()?);
        Some(leaf.map(|leaf| Self::Certificate(Box::new(AskedCertificate { leaf, chain }))))
    }

    /// Its SPIFFE ID: of a certificate the first URI name, whether or not a rule accepts the certificate.
    pub fn spiffe_id(&self) -> Option<SpiffeId> {
        match self {
            Self::SpiffeId(id) => Some(id.clone()),
            Self::Certificate(asked) => asked.leaf.names().uri.first().and_then(|uri| parse_spiffe_id(uri)),
        }
    }

    /// The certificate, if the question names one.
    pub fn certificate(&self) -> Option<&Certificate> {
        match self {
            Self::SpiffeId(_) => None,
            Self::Certificate(asked) => Some(&asked.leaf),
        }
    }
}

/// A question about a request that a proxy may check.
#[derive(Debug)]
pub struct CheckQuestion<'a> {
    /// Who makes the request.
    pub identity: AskedIdentity,
    /// Where it is for.
    pub destination: Destination<'a>,
    /// The HTTP method.
    pub method: &'a str,
    /// The path, with the query.
    pub path: &'a str,
    /// How much of the certificate the proxy shows.
    pub shown: EvidenceGrade,
    /// The token that the request has.
    pub token: AskedToken<'a>,
}

/// The token of a request that a question is about.
#[derive(Debug)]
pub enum AskedToken<'a> {
    /// This one.
    Presented(&'a str),
    /// The one for the resource that its sender would get now.
    Requested {
        /// The `client_id` to request it with. A workload with an SVID may leave it out.
        client_id: Option<String>,
        /// Space-separated scopes. Empty means all that are registered.
        scope: String,
    },
}

/// Why something would be refused.
#[derive(Clone, Debug)]
pub struct WhyNot {
    /// The fixed code, as the refused caller would get it, or as the log has it.
    pub code: &'static str,
    /// The cause in one sentence. Empty where it is not for the caller.
    pub cause: String,
    /// What to do about it.
    pub fix: String,
}

/// What would be in a token.
#[derive(Clone, Debug)]
pub struct TokenTerms {
    /// Its scopes.
    pub scope: Scope,
    /// Its audiences.
    pub audience: Vec<String>,
    /// How long it would be valid.
    pub expires_in: Duration,
    /// Whether it would be bound to the certificate.
    pub bound: bool,
    /// Whether it would stay valid with a renewed certificate.
    pub rotation: Rotation,
}

/// What a token request would come to.
#[derive(Clone, Debug)]
pub struct TokenOutcome {
    /// The client, as the request names it or its certificate does.
    pub client_id: Option<ClientId>,
    /// The registration that applies, by its `client_id`.
    pub registration: Option<String>,
    /// What would be granted, or why nothing.
    pub granted: Result<TokenTerms, WhyNot>,
    /// The steps of the decision.
    pub steps: Vec<Step>,
}

/// What a check of a request would come to.
#[derive(Clone, Debug)]
pub struct ExplainedCheck {
    /// Why it would be denied; `None` where it would be allowed.
    pub why_not: Option<WhyNot>,
    /// Whether it would be let through nevertheless, because its resource is in the mode `report`.
    pub let_through: bool,
    /// The sender's SPIFFE ID.
    pub spiffe_id: Option<String>,
    /// Its certificate, if the question names one.
    pub certificate: Option<PresentedCertificate>,
    /// The client of the token.
    pub client_id: Option<String>,
    /// The registration that applies to it, by its `client_id`.
    pub registration: Option<String>,
    /// The resource, by its audience.
    pub resource: Option<String>,
    /// The template of the route that the request matches.
    pub route: Option<String>,
    /// The scopes that the route needs.
    pub scope: String,
    /// What the request for its token comes to; `None` where it has one, and where it needs none.
    pub token: Option<TokenOutcome>,
    /// The steps of the check.
    pub steps: Vec<Step>,
    /// The registrations that claim the SPIFFE ID of the client. Empty for callers that are not told of others.
    pub claims: Vec<Claim>,
}

/// What is supposed to be exchanged.
#[derive(Clone, Debug)]
pub enum AskedPresentation {
    /// The token that a subject would get now and present at a resource.
    At {
        /// Whose token it is.
        subject: AskedIdentity,
        /// The resource, by its audience.
        resource: String,
    },
    /// Nothing: the client names whom the new token is for.
    Stated(AskedIdentity),
    /// A token of another issuer that is valid, bound to no certificate, and names no actors.
    Foreign {
        /// Its `iss`.
        issuer: String,
        /// Its `sub`.
        subject: String,
        /// Its scopes.
        scope: Scope,
    },
}

/// What is asked for in exchange.
#[derive(Clone, Debug)]
pub enum AskedExchange {
    /// An access token.
    AccessToken,
    /// A transaction token.
    TxnToken {
        /// `request_context`.
        context: Map<String, Value>,
        /// `request_details`.
        details: Map<String, Value>,
    },
    /// A grant for the authorization server of another trust domain.
    JwtGrant,
}

/// A question about an exchange.
#[derive(Clone, Debug)]
pub struct ExchangeQuestion {
    /// What is exchanged.
    pub presented: AskedPresentation,
    /// Who exchanges it.
    pub exchanger: AskedIdentity,
    /// What for.
    pub requested: AskedExchange,
    /// The resource that the new token would be for, by its audience; the trust domain of a transaction token; the issuer of the
    /// other authorization server.
    pub audience: String,
    /// Space-separated scopes. Empty: all that the rule gives.
    pub scope: String,
}

/// What would be in a token that is issued in exchange.
#[derive(Clone, Debug)]
pub struct ExchangedTerms {
    /// Whom it would speak for.
    pub subject: String,
    /// Who would act, the present one first.
    pub actors: Vec<String>,
    /// Its scopes.
    pub scope: Scope,
    /// How long it would be valid.
    pub expires_in: Duration,
    /// Whether it would be refused, if the rule did not only report what lacks a receipt.
    pub reported: bool,
}

/// What an exchange would come to.
#[derive(Clone, Debug)]
pub struct ExplainedExchange {
    /// What would be issued, or why nothing.
    pub granted: Result<ExchangedTerms, WhyNot>,
    /// What the subject would get to present; `None` where it presents no token of this server.
    pub subject_token: Option<TokenOutcome>,
    /// The client that exchanges.
    pub client_id: Option<String>,
    /// The registration that applies to it, by its `client_id`.
    pub registration: Option<String>,
    /// The rule of this registration that applies, and those that nearly do.
    pub rules: Vec<RuleClaim<ExchangeRuleMetadata>>,
    /// The same of its rules for transaction tokens, where one is asked for.
    pub txn_rules: Vec<RuleClaim<TxnRuleMetadata>>,
    /// The steps of the exchange. Empty where it does not come to one: the subject gets no token, or the exchanger may not call.
    pub steps: Vec<Step>,
}

/// What an identity is to this server.
#[derive(Clone, Debug)]
pub struct ExplainedIdentity {
    /// Its SPIFFE ID.
    pub spiffe_id: Option<String>,
    /// Its certificate, if one was named.
    pub certificate: Option<PresentedCertificate>,
    /// Whether a rule accepts the certificate now or, where only the SPIFFE ID is known, could accept one.
    pub proven: bool,
    /// Why it may not request tokens at all, if it may not.
    pub why_not: Option<WhyNot>,
    /// The registrations that claim its SPIFFE ID. Empty for callers that are not told of others.
    pub claims: Vec<Claim>,
    /// What its token requests come to, one for each client that it may be.
    pub tokens: Vec<TokenOutcome>,
}

/// Why a question is not answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotExplained {
    /// The question is about somebody else, and the caller is neither an admin nor an auditor.
    #[error("only an admin or an auditor may ask about an identity that is not the caller's own")]
    NotYours,
    /// No decision is possible now.
    #[error(transparent)]
    Undecidable(#[from] Undecidable),
}

impl NotExplained {
    /// The fixed code of the error.
    pub fn code(self) -> &'static str {
        match self {
            Self::NotYours => "NOT_YOURS",
            Self::Undecidable(why) => why.code(),
        }
    }
}
