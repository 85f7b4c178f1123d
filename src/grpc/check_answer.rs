//! A `CheckResponse`, written as it is encoded. What depends on the token alone is printed once.

use prost::Message as _;

use crate::authority::decision::ACTOR_HEADER;
use crate::authority::decision::Allowance;
use crate::authority::decision::Asserted;
use crate::authority::decision::AssertedTxn;
use crate::authority::decision::CheckAnswer;
use crate::authority::decision::Match;
use crate::authority::decision::RECEIPT_HEADER;
use crate::authority::decision::TXN_HEADER;
use crate::authority::decision::TXN_SUBJECT_HEADER;
use crate::authority::decision::TXN_TOKEN_HEADER;
use crate::authority::reference::REFERENCE_HEADER;
use crate::authority::tokens::AccessTokenClaims;
use crate::authority::tokens::PrintedForm;
use crate::grpc::check_denial::denied;
use crate::grpc::structure;
use crate::grpc::wire::Writer;
use crate::proto::envoy::config::core::v3::header_value_option::HeaderAppendAction;

/// The response header that carries, for a resource that asks for it, the reason for which the request would have been
/// denied.
const REPORT: &str = "x-lanyard-report";

/// Writes the fields of the answer.
pub(super) fn write(checked: &CheckAnswer, answer: &mut Writer<'_>) {
    match checked {
        CheckAnswer::Allow(allowance) => allowed(allowance, answer),
        CheckAnswer::Deny(denial) => answer.encoded(&denied(denial).encode_to_vec()),
    }
}

fn allowed(allowance: &Allowance, answer: &mut Writer<'_>) {
    let Allowance { asserted, remove, let_through, say_so } = allowance;
    // The status OK.
    answer.message(1, |_| {});
    // `OkHttpResponse`
    answer.message(3, |response| {
        if let Some(asserted) = asserted {
            printed(asserted, PrintedForm::Headers, headers, response);
            header(response, HEADERS, "x-lanyard-binding", binding(asserted.verdict.matched));
            if let Some(receipt) = &asserted.receipt {
                header(response, HEADERS, RECEIPT_HEADER, receipt.as_str());
            }
            if let Some(AssertedTxn { txn, subject, minted }) = &asserted.txn {
                header(response, HEADERS, TXN_HEADER, txn);
                header(response, HEADERS, TXN_SUBJECT_HEADER, subject);
                if let Some(token) = minted {
                    header(response, HEADERS, TXN_TOKEN_HEADER, token);
                }
            }
        }
        for name in remove {
            response.text_of(5, name);
        }
        if let Some((refusal, reference)) = let_through.filter(|_| *say_so) {
            header(response, RESPONSE_HEADERS_TO_ADD, REPORT, refusal.code());
            header(response, RESPONSE_HEADERS_TO_ADD, REFERENCE_HEADER, &reference.to_string());
        }
    });
    // Dynamic metadata for later filters and the access log.
    answer.message(4, |fields| {
        if let Some(asserted) = asserted {
            printed(asserted, PrintedForm::Metadata, metadata, fields);
            structure::text(fields, "resource", &asserted.audience);
            structure::text(fields, "match", binding(asserted.verdict.matched));
            structure::text(fields, "evidence_grade", asserted.verdict.grade.name());
            if let Some(txn) = &asserted.txn {
                structure::text(fields, "txn", &txn.txn);
                structure::text(fields, "txn_sub", &txn.subject);
            }
        }
        if let Some((refusal, reference)) = let_through {
            structure::text(fields, "would_deny", refusal.code());
            structure::text(fields, "reference", &reference.to_string());
        }
    });
}

/// Writes what depends on the claims alone.
fn printed(
    asserted: &Asserted,
    form: PrintedForm,
    print: impl FnOnce(&AccessTokenClaims, &mut Writer<'_>),
    answer: &mut Writer<'_>,
) {
    match &asserted.narrowed {
        Some(narrowed) => print(narrowed, answer),
        None => answer.encoded(asserted.token.printed(form, |claims| {
            let mut text = Vec::new();
            print(claims, &mut Writer::new(&mut text));
            text
        })),
    }
}

fn headers(claims: &AccessTokenClaims, response: &mut Writer<'_>) {
    header(response, HEADERS, "x-lanyard-client-id", &claims.client_id);
    header(response, HEADERS, "x-lanyard-subject", &claims.sub);
    if claims.act.is_some() {
        header(response, HEADERS, ACTOR_HEADER, &claims.client_id);
    }
    if let Some(scope) = &claims.scope {
        header(response, HEADERS, "x-lanyard-scope", scope);
    }
}

fn metadata(claims: &AccessTokenClaims, fields: &mut Writer<'_>) {
    structure::text(fields, "client_id", &claims.client_id);
    structure::text(fields, "sub", &claims.sub);
    structure::text(fields, "scope", claims.scope.as_deref().unwrap_or_default());
    structure::texts(fields, "aud", claims.aud.all());
    structure::text(fields, "jti", &claims.jti);
    if let Some(actors) = &claims.act {
        structure::texts(fields, "actors", actors.all());
    }
}

fn binding(matched: Match) -> &'static str {
    match matched {
        Match::Exact => "exact",
        Match::SameIdentity => "same-identity",
        Match::Lineage(_) => "lineage",
    }
}

/// Fields of `OkHttpResponse`.
const HEADERS: u32 = 2;
const RESPONSE_HEADERS_TO_ADD: u32 = 6;

/// A `HeaderValueOption` that replaces every other header of its name. Envoy up to 1.36 reads `append` only; later
/// versions read `append_action`, whose zero value appends.
fn header(response: &mut Writer<'_>, list: u32, name: &str, value: &str) {
    response.message(list, |option| {
        option.message(1, |header| {
            header.text(1, name);
            header.text(2, value);
        });
        // `append` is a message with the value false.
        option.message(2, |_| {});
        option.choice(3, HeaderAppendAction::OverwriteIfExistsOrAdd);
    });
}
