//! `lanyard proposals`: changes that wait for a second admin.

use clap::Args;
use clap::Subcommand;
use serde_json::Value;
use serde_json::json;

use crate::cli::confirm;
use crate::cli::connect::ConnectionArguments;
use crate::cli::documents::diff;
use crate::cli::documents::history;
use crate::cli::error::CommandError;
use crate::cli::explanation::present_rows;
use crate::cli::moment::at;
use crate::cli::output;
use crate::cli::output::Format;
use crate::cli::output::present;
use crate::cli::status;
use crate::cli::status::Needs;
use crate::cli::table::table;
use crate::client::connection::Channel;
use crate::proto::ApproveProposalRequest;
use crate::proto::GetProposalRequest;
use crate::proto::ListProposalsRequest;
use crate::proto::Proposal;
use crate::proto::RegistrationChange;
use crate::proto::RejectProposalRequest;
use crate::proto::proposal_service_client::ProposalServiceClient;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum ProposalsCommand {
    /// Lists what waits. It needs the role Admin or Auditor; a team's admin gets what it proposed itself.
    List(ConnectionArguments),
    /// Shows one change: from what to what, by whom and why.
    Show(ShowArguments),
    /// Makes a change as it was proposed. Who proposed it cannot.
    Approve(ApproveArguments),
    /// Ends a proposal without its change. Who proposed it withdraws it so.
    Reject(ShowArguments),
}

#[derive(Args, Debug)]
pub(in crate::cli) struct ShowArguments {
    /// Its identifier, as `lanyard proposals list` prints it.
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    connection: ConnectionArguments,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct ApproveArguments {
    #[command(flatten)]
    which: ShowArguments,
    /// Approve it without asking.
    #[arg(long)]
    yes: bool,
}

pub(in crate::cli) async fn run(command: ProposalsCommand, format: Format) -> Result<(), CommandError> {
    match command {
        ProposalsCommand::List(connection) => {
            let listed = client(&connection).await?.list_proposals(ListProposalsRequest {}).await;
            let proposals = listed.map_err(|status| explain(&status))?.into_inner().proposals;
            match format {
                Format::Json => output::print_json(&proposals.iter().map(document).collect::<Vec<_>>()),
                Format::Text => {
                    let header = ["ID", "CHANGE", "NAME", "PROPOSED BY", "UNTIL", ""];
                    output::print(&table(header, proposals.iter().map(row)))
                }
            }
        }
        ProposalsCommand::Show(ShowArguments { id, connection }) => {
            show(&mut client(&connection).await?, id, format).await.map(drop)
        }
        ProposalsCommand::Approve(ApproveArguments { which: ShowArguments { id, connection }, yes }) => {
            let mut service = client(&connection).await?;
            if !yes {
                let what = show(&mut service, id.clone(), Format::Text).await?;
                confirm::require(&format!("{id} would be approved: {what}")).await?;
            }
            let approved = service.approve_proposal(ApproveProposalRequest { id }).await;
            let approved = approved.map_err(|status| explain(&status))?.into_inner().proposal;
            ended(&approved.unwrap_or_default(), "approved", format)
        }
        ProposalsCommand::Reject(ShowArguments { id, connection }) => {
            let rejected = client(&connection).await?.reject_proposal(RejectProposalRequest { id }).await;
            let rejected = rejected.map_err(|status| explain(&status))?.into_inner().proposal;
            ended(&rejected.unwrap_or_default(), "rejected", format)
        }
    }
}

async fn client(connection: &ConnectionArguments) -> Result<ProposalServiceClient<Channel>, CommandError> {
    Ok(ProposalServiceClient::new(connection.open().await?))
}

fn explain(status: &tonic::Status) -> CommandError {
    status::explain(status, Needs::Proposals)
}

/// Prints a proposal. Returns what it is in a few words.
async fn show(
    service: &mut ProposalServiceClient<Channel>,
    id: String,
    format: Format,
) -> Result<String, CommandError> {
    let shown = service.get_proposal(GetProposalRequest { id }).await;
    let proposal = shown.map_err(|status| explain(&status))?.into_inner();
    let change = proposal.change.clone().unwrap_or_default();
    let differences = history::proposed_differences(&proposal.kind, &change)?;
    match format {
        Format::Json => {
            let mut object = document(&proposal);
            if let Some(members) = object.as_object_mut() {
                members.insert("differences".to_owned(), json!(differences));
            }
            output::print_json(&object)?;
        }
        Format::Text => {
            let RegistrationChange { changed_by, reason, time, .. } = &change;
            let time = time.as_ref().and_then(at).unwrap_or_default();
            let until = proposal.expire_time.as_ref().and_then(at).unwrap_or_default();
            let outdated = "what it was proposed for has changed since: it cannot be approved";
            let rows = [
                ("proposal", proposal.id.clone()),
                ("change", what(&proposal)),
                ("proposed", format!("{time} by {changed_by}{}", of_team(&proposal))),
                ("reason", reason.clone()),
                ("until", until),
                ("outdated", if proposal.outdated { outdated.to_owned() } else { String::new() }),
            ];
            output::print(&present_rows(rows).join("\n"))?;
            for difference in &differences {
                output::print(&diff::line(difference))?;
            }
        }
    }
    Ok(what(&proposal))
}

fn ended(proposal: &Proposal, result: &str, format: Format) -> Result<(), CommandError> {
    match format {
        Format::Json => {
            let mut object = document(proposal);
            if let Some(members) = object.as_object_mut() {
                members.insert("result".to_owned(), result.into());
            }
            output::print_json(&object)
        }
        Format::Text => output::print(&format!("{} {result}: {}", proposal.id, what(proposal))),
    }
}

/// What is to be done, in a few words.
fn what(proposal: &Proposal) -> String {
    let change = proposal.change.as_ref().map(|change| change.change.as_str()).unwrap_or_default();
    format!("{change} {} {}", proposal.kind, proposal.name).trim_end().to_owned()
}

fn of_team(proposal: &Proposal) -> &'static str {
    if proposal.by_team { ", a team's admin" } else { "" }
}

fn row(proposal: &Proposal) -> [String; 6] {
    let change = proposal.change.clone().unwrap_or_default();
    [
        proposal.id.clone(),
        format!("{} {}", change.change, proposal.kind),
        proposal.name.clone(),
        change.changed_by,
        proposal.expire_time.as_ref().and_then(at).unwrap_or_default(),
        if proposal.outdated { "outdated".to_owned() } else { String::new() },
    ]
}

fn document(proposal: &Proposal) -> Value {
    let change = proposal.change.clone().unwrap_or_default();
    json!({
        "id": proposal.id,
        "kind": proposal.kind,
        "name": present(&proposal.name),
        "change": change.change,
        "proposed_by": change.changed_by,
        "by_team": proposal.by_team,
        "reason": present(&change.reason),
        "propose_time": change.time.as_ref().and_then(at),
        "expire_time": proposal.expire_time.as_ref().and_then(at),
        "outdated": proposal.outdated,
    })
}
