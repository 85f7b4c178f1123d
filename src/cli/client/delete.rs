//! `lanyard client delete`.

use clap::Args;
use serde_json::json;

use crate::cli::connect::ConnectionArguments;
use crate::cli::error::CommandError;
use crate::cli::output;
use crate::cli::output::Format;
use crate::cli::status;
use crate::cli::status::Needs;
use crate::proto::DeleteClientRequest;
use crate::proto::registry_service_client::RegistryServiceClient;

#[derive(Args, Debug)]
pub(in crate::cli) struct DeleteArguments {
    /// The client's `client_id`.
    #[arg(value_name = "ID")]
    client_id: String,
    /// Delete it only if this is still its etag, as `client get` shows it.
    #[arg(long)]
    etag: Option<String>,
    #[command(flatten)]
    connection: ConnectionArguments,
}

pub(in crate::cli::client) async fn run(arguments: DeleteArguments, format: Format) -> Result<(), CommandError> {
    let DeleteArguments { client_id, etag, connection } = arguments;
    let mut registry = RegistryServiceClient::new(connection.open().await?);
    registry
        .delete_client(DeleteClientRequest { client_id: client_id.clone(), etag: etag.unwrap_or_default() })
        .await
        .map_err(|status| status::explain(&status, Needs::Admin).of(&client_id))?;
    match format {
        Format::Json => output::print_json(&json!({ "client_id": client_id, "result": "deleted" })),
        Format::Text => output::print(&format!("{client_id} deleted")),
    }
}
