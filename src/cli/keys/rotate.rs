//! `lanyard keys rotate`.

use clap::Args;
use serde_json::json;

use crate::cli::connect::ConnectionArguments;
use crate::cli::error::CommandError;
use crate::cli::keys::listed::ListedKey;
use crate::cli::output;
use crate::cli::output::Format;
use crate::cli::status;
use crate::cli::status::Needs;
use crate::proto::RotateSigningKeyRequest;
use crate::proto::key_service_client::KeyServiceClient;

#[derive(Args, Debug)]
pub(in crate::cli) struct RotateArguments {
    #[command(flatten)]
    connection: ConnectionArguments,
}

pub(in crate::cli) async fn run(arguments: RotateArguments, format: Format) -> Result<(), CommandError> {
    let mut service = KeyServiceClient::new(arguments.connection.open().await?);
    let rotated = service.rotate_signing_key(RotateSigningKeyRequest {}).await;
    let rotated = rotated.map_err(|status| status::explain(&status, Needs::Keys))?.into_inner();
    let already_pending = rotated.already_pending;
    let key = ListedKey::from(rotated.key.unwrap_or_default());
    match format {
        Format::Json => output::print_json(&json!({ "key": key, "already_pending": already_pending })),
        Format::Text => {
            let (kid, algorithm) = (&key.kid, &key.algorithm);
            let published = if already_pending { "was published before" } else { "is published" };
            let when = match &key.earliest_activate_time {
                Some(time) => format!("and signs from {time}, once every replica serves it"),
                None => "and signs".to_owned(),
            };
            output::print(&format!("the {algorithm} key {kid} {published}, {when}"))
        }
    }
}
