//! A `ValidateBindingResponse`, written as it is encoded.

use crate::authority::decision::Decision;
use crate::authority::decision::Evaluation;
use crate::authority::decision::Match;
use crate::authority::evidence::EvidenceGrade;
use crate::authority::tokens::PrintedForm;
use crate::grpc::claims;
use crate::grpc::status;
use crate::grpc::wire::Writer;
use crate::proto;

/// Writes the fields of the answer.
pub(super) fn write(evaluation: &Evaluation, answer: &mut Writer<'_>) {
    let (decision, reason, matched, generation, cache_until) = match evaluation.decision {
        Decision::Allow(verdict) => {
            let (matched, generation) = match verdict.matched {
                Match::Exact => (proto::Match::Exact, 0),
                Match::SameIdentity => (proto::Match::SameIdentity, 0),
                Match::Lineage(generation) => (proto::Match::Lineage, generation),
            };
            (proto::Decision::Allow, None, matched, generation, Some(verdict.cache_until))
        }
        Decision::Deny(why) => (proto::Decision::Deny, Some(why), proto::Match::Unspecified, 0, None),
    };
    answer.choice(1, decision);
    answer.choice(2, reason.map_or(proto::DenyReason::Unspecified, status::deny_reason));
    answer.choice(3, matched);
    answer.choice(4, evaluation.grade.map_or(proto::EvidenceGrade::Unspecified, grade));
    match (&evaluation.narrowed, &evaluation.token) {
        (Some(narrowed), _) => answer.encoded_message(5, &claims::print(narrowed)),
        (None, Some(token)) => {
            answer.encoded_message(5, token.printed(PrintedForm::Claims, claims::print));
        }
        (None, None) => {}
    }
    if let Some(until) = cache_until.filter(|_| !evaluation.one_use) {
        answer.message(6, |timestamp| timestamp.number(1, until.0.min(i64::MAX.unsigned_abs())));
    }
    if let Some(why) = reason {
        answer.text(7, &why.to_string());
    }
    answer.number(8, generation.into());
    if let Some(reference) = evaluation.reference {
        answer.text(9, &reference.to_string());
    }
    if let Some(receipt) = &evaluation.receipt {
        answer.text(10, receipt.as_str());
    }
}

fn grade(grade: EvidenceGrade) -> proto::EvidenceGrade {
    match grade {
        EvidenceGrade::SpiffeId => proto::EvidenceGrade::SpiffeId,
        EvidenceGrade::Thumbprint => proto::EvidenceGrade::Thumbprint,
        EvidenceGrade::Certificate => proto::EvidenceGrade::Certificate,
    }
}
