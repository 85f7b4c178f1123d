//! `lanyard keys reseal`.

use clap::Args;
use serde_json::json;

use crate::cli::connect::ConnectionArguments;
use crate::cli::error::CommandError;
use crate::cli::output;
use crate::cli::output::Format;
use crate::cli::status;
use crate::cli::status::Needs;
use crate::proto::ResealKeysRequest;
use crate::proto::key_service_client::KeyServiceClient;

#[derive(Args, Debug)]
pub(in crate::cli) struct ResealArguments {
    #[command(flatten)]
    connection: ConnectionArguments,
}

pub(in crate::cli) async fn run(arguments: ResealArguments, format: Format) -> Result<(), CommandError> {
    let mut service = KeyServiceClient::new(arguments.connection.open().await?);
    let done = service.reseal_keys(ResealKeysRequest {}).await;
    let done = done.map_err(|status| status::explain(&status, Needs::Keys))?.into_inner();
    let (resealed, already) = (done.resealed, done.already);
    match format {
        Format::Json => output::print_json(&json!({ "resealed": resealed, "already": already })),
        Format::Text => output::print(&format!(
            "{resealed} keys sealed under the present key-encryption key, {already} were already; no earlier one is \
             needed any more"
        )),
    }
}
