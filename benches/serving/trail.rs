//! What calls cost with an audit trail, in a file with hashes and a signed head, beside what they cost without.

use std::fs;
use std::process::Stdio;

use lanyard::proto::IssueTokenRequest;
use lanyard::proto::validate_binding_request::Evidence;
use rcgen::KeyPair;

use crate::TOKENS;
use crate::compare;
use crate::figures::Figures;
use crate::issued_tokens;
use crate::support::Failure;
use crate::support::frames::Request;
use crate::support::requests;
use crate::support::server::Folder;
use crate::support::server::Server;
use crate::support::server::UNSHARED;

const UNHURRIED: (&str, &str) = ("LANYARD_LIMITS__QUEUE_DELAY", "1s");
const TRAIL: (&str, &str) = ("LANYARD_AUDIT", "{file: audit.jsonl, key: audit-key.pem}");

/// The calls of one server.
struct Calls {
    validate: Vec<Request>,
    check: Vec<Request>,
    refused: Vec<Request>,
    issue: Vec<Request>,
}

impl Calls {
    async fn of(server: &Server) -> Result<Self, Failure> {
        let (der, tokens) = (server.certificate()?, issued_tokens(server, TOKENS).await?);
        let stolen = Evidence::CertificateThumbprint(vec![7; 32]);
        let own = Evidence::Certificate(der.clone());
        let validate = |token: &String, evidence: &Evidence| {
            Request::unary(requests::VALIDATE, &requests::validate(token, evidence))
        };
        Ok(Self {
            validate: tokens.iter().map(|token| validate(token, &own)).collect(),
            check: tokens
                .iter()
                .map(|token| Request::unary(requests::CHECK, &requests::check(token, &der, false)))
                .collect(),
            refused: tokens.iter().map(|token| validate(token, &stolen)).collect(),
            issue: vec![Request::unary(requests::ISSUE, &IssueTokenRequest::default())],
        })
    }
}

/// Prints the throughput with the trail over that without.
pub(crate) async fn with_and_without(rounds: usize) -> Result<(), Failure> {
    let folder = Folder::new()?;
    let key = folder.store().with_file_name("audit-key.pem");
    fs::write(key, KeyPair::generate()?.serialize_pem())?;
    let with = folder.serve(&[UNSHARED, UNHURRIED, TRAIL], Stdio::null()).await?;
    let without = Server::start(&[UNSHARED, UNHURRIED]).await?;
    let (ours, others) = (Calls::of(&with).await?, Calls::of(&without).await?);
    let mut figures = Figures::default();
    for (name, sample, calls, other) in [
        ("validate_with_trail", "proxy", &ours.validate, &others.validate),
        ("check_with_trail", "proxy", &ours.check, &others.check),
        ("refused_with_trail", "proxy", &ours.refused, &others.refused),
        ("issue_with_trail", "workload", &ours.issue, &others.issue),
    ] {
        let (ours, beside) = ((&with, with.sample(sample)?), (&without, without.sample(sample)?));
        figures.add(name, compare(rounds, &ours, &beside, calls, other, requests::answered).await?);
    }
    figures.print();
    Ok(())
}
