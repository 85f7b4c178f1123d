//! `lanyard client get`.

use clap::Args;

use crate::cli::client_yaml::ClientRecord;
use crate::cli::connect::ConnectionArguments;
use crate::cli::error::CommandError;
use crate::cli::output;
use crate::cli::output::Format;
use crate::cli::status;
use crate::cli::status::Needs;
use crate::proto::GetClientRequest;
use crate::proto::registry_service_client::RegistryServiceClient;

#[derive(Args, Debug)]
pub(in crate::cli) struct GetArguments {
    /// The client's `client_id`.
    #[arg(value_name = "ID")]
    client_id: String,
    #[command(flatten)]
    connection: ConnectionArguments,
}

pub(in crate::cli::client) async fn run(arguments: GetArguments, format: Format) -> Result<(), CommandError> {
    let mut registry = RegistryServiceClient::new(arguments.connection.open().await?);
    let client = registry
        .get_client(GetClientRequest { client_id: arguments.client_id.clone() })
        .await
        .map_err(|status| status::explain(&status, Needs::Admin).of(&arguments.client_id))?;
    let record = ClientRecord::from(client.into_inner());
    match format {
        Format::Json => output::print_json(&record),
        Format::Text => output::print(&record.to_yaml().map_err(|error| {
            CommandError::new(format!("the answer cannot be shown as YAML: {error}"), "ask for -o json")
        })?),
    }
}
