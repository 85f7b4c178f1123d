//! The question of `ExplanationService` about an exchange, read, and its answer, printed.

use prost_types::Struct;
use serde_json::Map;
use serde_json::Value;
use tonic::Status;

use crate::authority::decision::AskedExchange;
use crate::authority::decision::AskedPresentation;
use crate::authority::decision::ExchangeQuestion;
use crate::authority::decision::ExplainedExchange;
use crate::authority::registration::ExchangeRuleMetadata;
use crate::authority::registration::RuleClaim;
use crate::authority::registration::TxnRuleMetadata;
use crate::authority::scope::Scope;
use crate::grpc::explained::IdentityFields;
use crate::grpc::explained::identity_in;
use crate::grpc::explained::step;
use crate::grpc::explained::token_outcome;
use crate::grpc::explained::why_not;
use crate::grpc::status::malformed;
use crate::messages;
use crate::proto;
use crate::proto::AskedForeignSubject;
use crate::proto::ExchangeRuleClaim;
use crate::proto::ExplainExchangeRequest;
use crate::proto::ExplainExchangeResponse;
use crate::proto::TokenType;

const SUBJECT: IdentityFields = ["subject", "subject.spiffe_id", "subject.certificates"];
const EXCHANGER: IdentityFields = ["exchanger", "exchanger.spiffe_id", "exchanger.certificates"];

/// Reads a question about an exchange.
pub(super) fn question(message: ExplainExchangeRequest) -> Result<ExchangeQuestion, Status> {
    let requested = requested(&message)?;
    let presented = presented(&message, &requested)?;
    let exchanger = identity_in(EXCHANGER, message.exchanger.as_ref())?;
    let ExplainExchangeRequest { audience, scope, .. } = message;
    if audience.is_empty() {
        return Err(malformed("audience", "is missing"));
    }
    Ok(ExchangeQuestion { presented, exchanger, requested, audience, scope })
}

fn requested(message: &ExplainExchangeRequest) -> Result<AskedExchange, Status> {
    let ExplainExchangeRequest { request_context: context, request_details: details, .. } = message;
    let is_for_txn = context.is_some() || details.is_some();
    match TokenType::try_from(message.requested) {
        Ok(TokenType::TxnToken) => Ok(AskedExchange::TxnToken {
            context: object("request_context", context.as_ref())?,
            details: object("request_details", details.as_ref())?,
        }),
        Ok(_) if is_for_txn => {
            let field = if details.is_some() { "request_details" } else { "request_context" };
            Err(malformed(field, "goes only with a transaction token"))
        }
        Ok(TokenType::Unspecified | TokenType::AccessToken) => Ok(AskedExchange::AccessToken),
        Ok(TokenType::JwtGrant) => Ok(AskedExchange::JwtGrant),
        Err(_) => Err(malformed("requested", "is none that this version knows")),
    }
}

fn object(field: &'static str, message: Option<&Struct>) -> Result<Map<String, Value>, Status> {
    let object = message.map(|message| messages::json_object(message).ok_or_else(|| malformed(field, "is not JSON")));
    Ok(object.transpose()?.unwrap_or_default())
}

fn presented(message: &ExplainExchangeRequest, requested: &AskedExchange) -> Result<AskedPresentation, Status> {
    let ExplainExchangeRequest { subject, presented_at, foreign_subject, .. } = message;
    if let Some(AskedForeignSubject { issuer, subject: name, scope }) = foreign_subject {
        if subject.is_some() || !presented_at.is_empty() {
            return Err(malformed("foreign_subject", "goes without subject and presented_at"));
        }
        if matches!(requested, AskedExchange::JwtGrant) {
            return Err(malformed("foreign_subject", "has a token that no grant is made for"));
        }
        for (field, text) in [("foreign_subject.issuer", issuer), ("foreign_subject.subject", name)] {
            if text.is_empty() {
                return Err(malformed(field, "is missing"));
            }
        }
        let scope = Scope::parse(scope).map_err(|_| malformed("foreign_subject.scope", "is no list of scopes"))?;
        return Ok(AskedPresentation::Foreign { issuer: issuer.clone(), subject: name.clone(), scope });
    }
    let subject = identity_in(SUBJECT, subject.as_ref())?;
    match (presented_at.as_str(), requested) {
        ("", AskedExchange::AccessToken) => Err(malformed("presented_at", "is missing")),
        ("", AskedExchange::TxnToken { .. } | AskedExchange::JwtGrant) => Ok(AskedPresentation::Stated(subject)),
        (resource, _) => Ok(AskedPresentation::At { subject, resource: resource.to_owned() }),
    }
}

/// Prints what an exchange would come to.
pub(super) fn answer(explained: ExplainedExchange) -> ExplainExchangeResponse {
    let base = ExplainExchangeResponse {
        subject_token: explained.subject_token.map(token_outcome),
        client_id: explained.client_id.unwrap_or_default(),
        registration: explained.registration.unwrap_or_default(),
        rules: explained.rules.into_iter().map(rule_claim).collect(),
        txn_rules: explained.txn_rules.into_iter().map(txn_rule_claim).collect(),
        steps: explained.steps.into_iter().map(step).collect(),
        ..ExplainExchangeResponse::default()
    };
    match explained.granted {
        Ok(terms) => ExplainExchangeResponse {
            granted: true,
            reported: terms.reported,
            subject: terms.subject,
            actors: terms.actors,
            scope: terms.scope.to_string(),
            expires_in: terms.expires_in.try_into().ok(),
            ..base
        },
        Err(why) => {
            let (reason, cause, fix) = why_not(why);
            ExplainExchangeResponse { reason, cause, fix, ..base }
        }
    }
}

fn rule_claim(claim: RuleClaim<ExchangeRuleMetadata>) -> ExchangeRuleClaim {
    let RuleClaim { rule, applies, outcome } = claim;
    ExchangeRuleClaim { rule: Some(messages::exchange_rule(rule)), applies, outcome: outcome.to_owned() }
}

fn txn_rule_claim(claim: RuleClaim<TxnRuleMetadata>) -> proto::TxnRuleClaim {
    let RuleClaim { rule, applies, outcome } = claim;
    proto::TxnRuleClaim { rule: Some(messages::txn_rule_message(rule)), applies, outcome: outcome.to_owned() }
}
