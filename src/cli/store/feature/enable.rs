//! `lanyard store feature enable`.

use clap::Args;
use serde_json::json;

use crate::cli::connect::ConnectionArguments;
use crate::cli::error::CommandError;
use crate::cli::output;
use crate::cli::output::Format;
use crate::cli::status;
use crate::cli::status::Needs;
use crate::cli::store::feature::listed::ListedFeature;
use crate::proto::EnableFeatureRequest;
use crate::proto::admin_service_client::AdminServiceClient;

#[derive(Args, Debug)]
pub(in crate::cli) struct EnableArguments {
    /// The feature, as `lanyard store feature list` shows it.
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    connection: ConnectionArguments,
}

pub(super) async fn run(arguments: EnableArguments, format: Format) -> Result<(), CommandError> {
    let mut admin = AdminServiceClient::new(arguments.connection.open().await?);
    let enabled = admin.enable_feature(EnableFeatureRequest { name: arguments.name.clone() }).await;
    let enabled = enabled.map_err(|status| status::explain(&status, Needs::Store).of(&arguments.name))?.into_inner();
    let already_enabled = enabled.already_enabled;
    let feature = ListedFeature::from(enabled.feature.unwrap_or_default());
    match format {
        Format::Json => output::print_json(&json!({ "feature": feature, "already_enabled": already_enabled })),
        Format::Text => {
            let done = if already_enabled { "was enabled before" } else { "is enabled" };
            output::print(&format!("{} {done}", feature.name))
        }
    }
}
