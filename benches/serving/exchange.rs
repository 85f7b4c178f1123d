//! What token exchange costs those who do not exchange: a check that leaves a receipt beside one that leaves none, and calls with
//! plain tokens where exchange is enabled, and another resource leaves receipts, beside the same where it is off.

use std::fs;

use lanyard::proto::validate_binding_request::Evidence;

use crate::TOKENS;
use crate::compare;
use crate::figures::Figures;
use crate::issued_tokens;
use crate::support::Failure;
use crate::support::client::Reader;
use crate::support::frames::Request;
use crate::support::requests;
use crate::support::server::Server;
use crate::support::server::UNSHARED;

const UNHURRIED: (&str, &str) = ("LANYARD_LIMITS__QUEUE_DELAY", "1s");
const ENABLED: (&str, &str) = ("LANYARD_EXCHANGE__ENABLED", "true");

/// The members of a resource whose receipts the sample service redeems.
const RECEIPTS: &str = "receipts: {exchangers: [spiffe://dev.internal/orders]}";

/// The calls of one server.
struct Calls {
    validate: Vec<Request>,
    check: Vec<Request>,
}

impl Calls {
    async fn of(server: &Server) -> Result<Self, Failure> {
        let (der, tokens) = (server.certificate()?, issued_tokens(server, TOKENS).await?);
        let own = Evidence::Certificate(der.clone());
        let validate = |token| Request::unary(requests::VALIDATE, &requests::validate(token, &own));
        let check = |token| Request::unary(requests::CHECK, &requests::check(token, &der, false));
        Ok(Self {
            validate: tokens.iter().map(|token| validate(token)).collect(),
            check: tokens.iter().map(|token| check(token)).collect(),
        })
    }
}

/// Prints the throughput with receipts, and with exchange, over that without.
pub(crate) async fn with_and_without(rounds: usize) -> Result<(), Failure> {
    let leaving = Server::start(&[UNSHARED, UNHURRIED, ENABLED]).await?;
    let sample = leaving.command(&["resource", "get", requests::AUDIENCE, "-o", "yaml"], "admin")?;
    apply(&leaving, &format!("{sample}\n{RECEIPTS}\n"))?;
    let elsewhere = Server::start(&[UNSHARED, UNHURRIED, ENABLED]).await?;
    let route = "routes: [{path: /, public: true}]";
    apply(&elsewhere, &format!("audience: https://elsewhere.dev.internal\n{route}\n{RECEIPTS}\n"))?;
    let off = Server::start(&[UNSHARED, UNHURRIED]).await?;

    let (with, plain, without) = (Calls::of(&leaving).await?, Calls::of(&elsewhere).await?, Calls::of(&off).await?);
    let mut figures = Figures::default();
    for (name, (server, calls, reader), (beside, others)) in [
        (
            "check_with_receipt",
            (&leaving, &with.check, requests::checked_with_receipt as Reader),
            (&elsewhere, &plain.check),
        ),
        ("check_with_exchange", (&elsewhere, &plain.check, requests::checked), (&off, &without.check)),
        ("validate_with_exchange", (&elsewhere, &plain.validate, requests::validated), (&off, &without.validate)),
    ] {
        let (ours, other) = ((server, server.sample("proxy")?), (beside, beside.sample("proxy")?));
        figures.add(name, compare(rounds, &ours, &other, calls, others, reader).await?);
    }
    figures.print();
    figures.write()
}

fn apply(server: &Server, resource: &str) -> Result<(), Failure> {
    let file = server.folder().join("resource.yaml");
    fs::write(&file, resource)?;
    let file = file.to_str().ok_or("no path")?;
    server.command(&["resource", "apply", "-f", file], "admin").map(drop)
}
