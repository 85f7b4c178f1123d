//! `lanyard tail`.

use std::time::Duration;

use clap::Args;
use clap::ValueEnum;
use serde_json::Value;
use serde_json::json;
use tonic::Code;
use tonic::Status;

use crate::cli::connect::ConnectionArguments;
use crate::cli::error::CommandError;
use crate::cli::moment::at;
use crate::cli::output;
use crate::cli::output::Format;
use crate::cli::output::present;
use crate::cli::status;
use crate::cli::status::Needs;
use crate::proto::DecisionOutcome;
use crate::proto::FollowDecisionsRequest;
use crate::proto::FollowDecisionsResponse;
use crate::proto::RecordedDecision;
use crate::proto::decision_service_client::DecisionServiceClient;

/// How long after the end of a connection the next attempt follows.
const PAUSE: Duration = Duration::from_secs(1);

/// How many attempts in a row may fail: a minute's.
const MOST_FAILURES: u32 = 60;

#[derive(Args, Debug)]
pub(in crate::cli) struct TailArguments {
    /// Only decisions at this protected resource, by its audience, or at a destination that no resource is registered for.
    #[arg(long, value_name = "URI")]
    resource: Option<String>,
    /// Only decisions about a caller or client with such a name: a SPIFFE ID, another name in the certificate, a `client_id`,
    /// or an address. `*` stands for any text.
    #[arg(long, value_name = "PATTERN")]
    caller: Option<String>,
    /// Only decisions with this code, such as `CERTIFICATE_MISMATCH`.
    #[arg(long, value_name = "CODE")]
    reason: Option<String>,
    /// Only decisions with this outcome.
    #[arg(long, value_enum)]
    outcome: Option<Outcome>,
    #[command(flatten)]
    connection: ConnectionArguments,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Outcome {
    Allowed,
    Denied,
    /// Denied, and let through, because the resource is in the mode `report`.
    Reported,
}

impl From<Outcome> for DecisionOutcome {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Allowed => Self::Allowed,
            Outcome::Denied => Self::Denied,
            Outcome::Reported => Self::Reported,
        }
    }
}

/// How a stream ended.
enum End {
    /// Nobody reads what is printed.
    NoReader,
    /// The server or the connection ended it.
    Status(Status),
}

/// Prints a line for each decision, until the process is ended or nobody reads any more.
pub(in crate::cli) async fn run(arguments: TailArguments, format: Format) -> Result<(), CommandError> {
    let TailArguments { resource, caller, reason, outcome, connection } = arguments;
    let request = FollowDecisionsRequest {
        resource: resource.unwrap_or_default(),
        caller: caller.unwrap_or_default(),
        reason: reason.unwrap_or_default(),
        outcome: outcome.map_or(DecisionOutcome::Unspecified, DecisionOutcome::from).into(),
    };
    let mut has_followed = false;
    let mut failures = 0;
    loop {
        // A connection of its own each time: a server ends each when it is old.
        let opened = connection.open().await;
        let ended = match opened {
            Ok(channel) => {
                let followed = DecisionServiceClient::new(channel).follow_decisions(request.clone()).await;
                match followed {
                    Ok(answer) => {
                        output::note(if has_followed { "following again" } else { "following" });
                        (has_followed, failures) = (true, 0);
                        print_all(answer.into_inner(), format).await?
                    }
                    Err(status) => End::Status(status),
                }
            }
            Err(error) if has_followed && failures < MOST_FAILURES => {
                End::Status(Status::unavailable(error.to_string()))
            }
            Err(error) => return Err(error),
        };
        match ended {
            End::NoReader => return Ok(()),
            End::Status(status) if has_followed && status.code() == Code::Unavailable && failures < MOST_FAILURES => {
                if failures == 0 {
                    output::note("the connection has ended: decisions are missed until there is another one");
                }
                tokio::time::sleep(PAUSE).await;
                failures += 1;
            }
            End::Status(status) => return Err(status::explain(&status, Needs::Refusals)),
        }
    }
}

async fn print_all(
    mut answers: tonic::Streaming<FollowDecisionsResponse>,
    format: Format,
) -> Result<End, CommandError> {
    loop {
        match answers.message().await {
            Ok(Some(answer)) => {
                if !print(&answer, format)? {
                    return Ok(End::NoReader);
                }
            }
            // A server ends the stream with a status.
            Ok(None) => return Ok(End::Status(Status::unavailable("the stream has ended"))),
            Err(status) => return Ok(End::Status(status)),
        }
    }
}

/// Prints one message. Returns whether there is a reader.
fn print(answer: &FollowDecisionsResponse, format: Format) -> Result<bool, CommandError> {
    if answer.missed > 0 {
        output::note(&format!("{} missed: they came faster than they were taken", answer.missed));
    }
    let Some(decision) = &answer.decision else { return Ok(true) };
    output::print_while_read(&match format {
        Format::Json => document(decision).to_string(),
        Format::Text => line(decision),
    })
}

fn line(decision: &RecordedDecision) -> String {
    let time = decision.time.as_ref().and_then(at).unwrap_or_default();
    let request = [&decision.method, &decision.path].map(String::as_str).join(" ");
    let named = [
        ("", decision.reason.as_str()),
        ("", request.trim()),
        ("client ", &decision.client_id),
        ("at ", &decision.resource),
        ("evidence ", &decision.evidence),
        ("asked by ", &decision.caller),
        ("reference ", &decision.reference),
    ];
    let parts = named.iter().filter(|(_, text)| !text.is_empty()).map(|(name, text)| format!("{name}{text}"));
    let head = format!("{time}  {:<8} {}", outcome(decision), decision.event.replace('_', " "));
    std::iter::once(head).chain(parts).collect::<Vec<_>>().join("  ")
}

fn outcome(decision: &RecordedDecision) -> &'static str {
    match decision.outcome() {
        DecisionOutcome::Allowed => "allowed",
        DecisionOutcome::Denied => "denied",
        DecisionOutcome::Reported => "reported",
        DecisionOutcome::Unspecified => "unknown",
    }
}

fn document(decision: &RecordedDecision) -> Value {
    json!({
        "time": decision.time.as_ref().and_then(at),
        "event": decision.event,
        "outcome": outcome(decision),
        "reason": present(&decision.reason),
        "reference": present(&decision.reference),
        "caller": present(&decision.caller),
        "evidence": present(&decision.evidence),
        "client_id": present(&decision.client_id),
        "resource": present(&decision.resource),
        "route": present(&decision.route),
        "method": present(&decision.method),
        "path": present(&decision.path),
        "jti": present(&decision.jti),
    })
}
