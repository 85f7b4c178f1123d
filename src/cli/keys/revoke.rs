//! `lanyard keys revoke`.

use clap::Args;
use serde_json::json;

use crate::cli::connect::ConnectionArguments;
use crate::cli::error::CommandError;
use crate::cli::keys::listed::ListedKey;
use crate::cli::output;
use crate::cli::output::Format;
use crate::cli::status;
use crate::cli::status::Needs;
use crate::proto::RevokeSigningKeyRequest;
use crate::proto::key_service_client::KeyServiceClient;

#[derive(Args, Debug)]
pub(in crate::cli) struct RevokeArguments {
    /// The key, by its `kid`, as `lanyard keys list` shows it.
    // A `kid` is base64url, which may begin with a hyphen.
    #[arg(value_name = "KID", allow_hyphen_values = true)]
    kid: String,
    /// Why, for the record and the audit trail.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    connection: ConnectionArguments,
}

pub(in crate::cli) async fn run(arguments: RevokeArguments, format: Format) -> Result<(), CommandError> {
    let RevokeArguments { kid, reason, connection } = arguments;
    let mut service = KeyServiceClient::new(connection.open().await?);
    let revoked = service.revoke_signing_key(RevokeSigningKeyRequest { kid, reason }).await;
    let revoked = revoked.map_err(|status| status::explain(&status, Needs::Keys))?.into_inner();
    let already_revoked = revoked.already_revoked;
    let key = ListedKey::from(revoked.key.unwrap_or_default());
    let replaced_by = revoked.replaced_by.map(ListedKey::from);
    match format {
        Format::Json => {
            output::print_json(&json!({ "key": key, "already_revoked": already_revoked, "replaced_by": replaced_by }))
        }
        Format::Text => {
            let kid = &key.kid;
            let done = if already_revoked { "was revoked before" } else { "is revoked" };
            output::print(&format!("the key {kid} {done}: every token that it signed is refused"))?;
            if let Some(signs) = &replaced_by {
                output::print(&format!("the {} key {} signs in its place", signs.algorithm, signs.kid))?;
            }
            output::note(
                "verifiers that look at signatures themselves accept its tokens until they fetch the keys again",
            );
            Ok(())
        }
    }
}
