//! `lanyard client apply`.

use std::path::Path;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use tonic::Code;
use tonic::Status;
use tonic::transport::Channel;

use crate::cli::client::sources;
use crate::cli::client_yaml::ClientYaml;
use crate::cli::connect::ConnectionArguments;
use crate::cli::error::CommandError;
use crate::cli::output;
use crate::cli::output::Format;
use crate::cli::status;
use crate::cli::status::Needs;
use crate::proto::Client;
use crate::proto::CreateClientRequest;
use crate::proto::GetClientRequest;
use crate::proto::UpdateClientRequest;
use crate::proto::registry_service_client::RegistryServiceClient;

/// How often a change is made anew because somebody else changed the same client in between.
const ATTEMPTS: usize = 4;

#[derive(Args, Debug)]
pub(in crate::cli) struct ApplyArguments {
    /// A YAML file of one or more documents, a directory of *.yaml and *.yml files, or - for stdin.
    ///
    /// Each document is one client, whole: a field that is left out gets its default, also if it was set before. All
    /// documents are checked, by the server too, before the first is written.
    #[arg(short = 'f', long = "filename", value_name = "FILE|DIR|-")]
    filename: PathBuf,
    /// Only say what would be done.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    connection: ConnectionArguments,
}

/// What became of a client.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Change {
    Created,
    Updated,
    Unchanged,
}

#[derive(Debug, Serialize)]
struct Applied {
    client_id: String,
    result: Change,
    dry_run: bool,
}

pub(in crate::cli::client) async fn run(arguments: ApplyArguments, format: Format) -> Result<(), CommandError> {
    let clients = sources::read(&arguments.filename)?;
    let mut registry = RegistryServiceClient::new(arguments.connection.open().await?);
    // The first round only asks, so that a document which the server refuses is found before anything is written.
    let checked = round(&mut registry, &clients, true, format, arguments.dry_run).await;
    if arguments.dry_run {
        return checked;
    }
    checked.map_err(|error| error.of("nothing was written"))?;
    round(&mut registry, &clients, false, format, true).await
}

/// Applies a file without a word.
pub(in crate::cli) async fn quietly(filename: &Path, connection: &ConnectionArguments) -> Result<(), CommandError> {
    let clients = sources::read(filename)?;
    let mut registry = RegistryServiceClient::new(connection.open().await?);
    round(&mut registry, &clients, false, Format::Text, false).await
}

/// Applies every client, and says what became of each; what was done before a failure is said too.
async fn round(
    registry: &mut RegistryServiceClient<Channel>,
    clients: &[ClientYaml],
    dry_run: bool,
    format: Format,
    tell: bool,
) -> Result<(), CommandError> {
    let mut done = Vec::new();
    let mut failure = None;
    for yaml in clients {
        let client_id = yaml.client_id.clone();
        match apply(registry, &Client::from(yaml.clone()), dry_run).await {
            Ok(result) => {
                let applied = Applied { client_id, result, dry_run };
                if tell && format == Format::Text {
                    output::print(&applied.sentence())?;
                }
                done.push(applied);
            }
            Err(status) => {
                failure = Some(status::explain(&status, Needs::Admin).of(&client_id));
                break;
            }
        }
    }
    if tell && format == Format::Json {
        output::print_json(&done)?;
    }
    failure.map_or(Ok(()), Err)
}

async fn apply(
    registry: &mut RegistryServiceClient<Channel>,
    client: &Client,
    validate_only: bool,
) -> Result<Change, Status> {
    let mut last = Status::aborted("");
    for _ in 0..ATTEMPTS {
        let present = registry.get_client(GetClientRequest { client_id: client.client_id.clone() }).await;
        let present = match present {
            Ok(present) => present.into_inner(),
            Err(status) if status.code() == Code::NotFound => {
                registry.create_client(CreateClientRequest { client: Some(client.clone()), validate_only }).await?;
                return Ok(Change::Created);
            }
            Err(status) => return Err(status),
        };
        let wanted = Client { etag: present.etag.clone(), ..client.clone() };
        let request = UpdateClientRequest { client: Some(wanted), update_mask: None, validate_only };
        match registry.update_client(request).await {
            Ok(updated) => return Ok(change(present, updated.into_inner())),
            Err(status) if status.code() == Code::Aborted => last = status,
            Err(status) => return Err(status),
        }
    }
    Err(last)
}

/// A write that changes nothing leaves the etag as it was; so does one that was only checked, where the contents tell.
fn change(present: Client, updated: Client) -> Change {
    if present.etag == updated.etag && ClientYaml::from(present) == ClientYaml::from(updated) {
        Change::Unchanged
    } else {
        Change::Updated
    }
}

impl Applied {
    fn sentence(&self) -> String {
        let result = match (self.result, self.dry_run) {
            (Change::Created, false) => "created",
            (Change::Created, true) => "would be created",
            (Change::Updated, false) => "updated",
            (Change::Updated, true) => "would be updated",
            (Change::Unchanged, _) => "unchanged",
        };
        format!("{} {result}", self.client_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unchanged_is_what_kept_its_etag_and_its_contents() {
        let present = Client { etag: "7".to_owned(), scope: "a".to_owned(), ..Client::default() };
        let written = Client { etag: "8".to_owned(), ..present.clone() };
        let only_checked = Client { scope: "b".to_owned(), ..present.clone() };
        assert_eq!(change(present.clone(), present.clone()), Change::Unchanged);
        assert_eq!(change(present.clone(), written), Change::Updated);
        assert_eq!(change(present, only_checked), Change::Updated);
    }
}
