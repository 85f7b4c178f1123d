//! `lanyard resource forget`.

use clap::Args;
use serde_json::json;

use crate::cli::connect::ConnectionArguments;
use crate::cli::documents;
use crate::cli::error::CommandError;
use crate::cli::output;
use crate::cli::output::Format;
use crate::cli::status;
use crate::cli::status::Needs;
use crate::proto::ForgetResourceRequest;

#[derive(Args, Debug)]
pub(in crate::cli) struct ForgetArguments {
    /// The deleted resource's audience, a URI.
    audience: String,
    #[command(flatten)]
    connection: ConnectionArguments,
}

pub(super) async fn run(arguments: ForgetArguments, format: Format) -> Result<(), CommandError> {
    let ForgetArguments { audience, connection } = arguments;
    let mut registry = documents::open(&connection).await?;
    let forgotten = registry.forget_resource(ForgetResourceRequest { audience: audience.clone() }).await;
    forgotten.map_err(|status| status::explain(&status, Needs::Resources).of(&audience))?;
    match format {
        Format::Json => output::print_json(&json!({ "audience": audience, "result": "forgotten" })),
        Format::Text => output::print(&format!("{audience} forgotten")),
    }
}
