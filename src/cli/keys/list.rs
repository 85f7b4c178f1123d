//! `lanyard keys list`.

use clap::Args;

use crate::cli::connect::ConnectionArguments;
use crate::cli::error::CommandError;
use crate::cli::keys::listed::ListedKey;
use crate::cli::output;
use crate::cli::output::Format;
use crate::cli::status;
use crate::cli::status::Needs;
use crate::cli::table::table;
use crate::proto::ListSigningKeysRequest;
use crate::proto::key_service_client::KeyServiceClient;

#[derive(Args, Debug)]
pub(in crate::cli) struct ListArguments {
    #[command(flatten)]
    connection: ConnectionArguments,
}

pub(in crate::cli) async fn run(arguments: ListArguments, format: Format) -> Result<(), CommandError> {
    let mut service = KeyServiceClient::new(arguments.connection.open().await?);
    let listed = service.list_signing_keys(ListSigningKeysRequest {}).await;
    let listed = listed.map_err(|status| status::explain(&status, Needs::Keys))?.into_inner().keys;
    let listed: Vec<ListedKey> = listed.into_iter().map(ListedKey::from).collect();
    match format {
        Format::Json => output::print_json(&listed),
        Format::Text => output::print(&table(ListedKey::HEADER, listed.iter().map(ListedKey::row))),
    }
}
