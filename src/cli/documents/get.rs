//! `lanyard client get` and `lanyard resource get`.

use clap::Args;

use crate::apply::Document as _;
use crate::cli::connect::ConnectionArguments;
use crate::cli::documents;
use crate::cli::documents::Record;
use crate::cli::documents::Registered;
use crate::cli::error::CommandError;
use crate::cli::output;
use crate::cli::output::RecordFormat;
use crate::cli::status;

/// The value name of `name` depends on the kind and is set where the command is listed.
#[derive(Args, Debug)]
pub(in crate::cli) struct GetArguments {
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    connection: ConnectionArguments,
}

pub(in crate::cli) async fn run<K: Registered>(
    arguments: GetArguments,
    format: RecordFormat,
) -> Result<(), CommandError> {
    let GetArguments { name, connection } = arguments;
    let channel = connection.open().await?;
    let mut registry = documents::registry(channel.clone());
    let message = K::Metadata::read(&mut registry, &name).await;
    let message = message.map_err(|status| status::explain(&status, K::NEEDS).of(&name))?;
    let record = Record::<K>::read(message)?.with_revocations(&documents::revocations::<K>(channel).await?);
    match format {
        RecordFormat::Json => output::print_json(&record),
        RecordFormat::Name => output::print(&name),
        RecordFormat::Text | RecordFormat::Wide | RecordFormat::Yaml => output::print(&record.text()?),
    }
}
