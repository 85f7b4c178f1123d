//! `lanyard store feature list`.

use clap::Args;

use crate::cli::connect::ConnectionArguments;
use crate::cli::error::CommandError;
use crate::cli::output;
use crate::cli::output::Format;
use crate::cli::status;
use crate::cli::status::Needs;
use crate::cli::store::feature::listed::ListedFeature;
use crate::cli::table::table;
use crate::proto::ListFeaturesRequest;
use crate::proto::admin_service_client::AdminServiceClient;

#[derive(Args, Debug)]
pub(in crate::cli) struct ListArguments {
    #[command(flatten)]
    connection: ConnectionArguments,
}

pub(super) async fn run(arguments: ListArguments, format: Format) -> Result<(), CommandError> {
    let mut admin = AdminServiceClient::new(arguments.connection.open().await?);
    let listed = admin.list_features(ListFeaturesRequest {}).await;
    let listed = listed.map_err(|status| status::explain(&status, Needs::Store))?.into_inner().features;
    let listed: Vec<ListedFeature> = listed.into_iter().map(ListedFeature::from).collect();
    match format {
        Format::Json => output::print_json(&listed),
        Format::Text => output::print(&table(ListedFeature::HEADER, listed.iter().map(ListedFeature::row))),
    }
}
