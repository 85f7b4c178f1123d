//! `lanyard apply`.

use crate::apply::Journal;
use crate::apply::Mode;
use crate::apply::apply;
use crate::apply::undo;
use crate::apply::write;
use crate::cli::client::yaml::ClientYaml;
use crate::cli::documents;
use crate::cli::documents::apply::ApplyArguments;
use crate::cli::documents::apply::NOTHING_WRITTEN;
use crate::cli::documents::apply::lines;
use crate::cli::documents::apply::print_lines;
use crate::cli::documents::apply::print_warnings;
use crate::cli::documents::apply::refusal;
use crate::cli::documents::apply::refused_for;
use crate::cli::documents::apply::undone;
use crate::cli::documents::apply::warnings;
use crate::cli::documents::sources;
use crate::cli::documents::sources::Both;
use crate::cli::error::CommandError;
use crate::cli::output::Format;
use crate::cli::resource::yaml::ResourceYaml;

/// Applies clients and resources, all of them or none. Clients come first: a resource in the mode `enforce` denies
/// requests until its clients have tokens.
///
/// The store's transactions are bounded, and smaller than what may be applied at once. So the server validates every
/// document before the first is written, and what was written is undone if a later one is refused.
pub(in crate::cli) async fn run(arguments: ApplyArguments, format: Format) -> Result<(), CommandError> {
    let Both { clients, resources } = sources::read_both(&arguments.filenames)?;
    let mut registry = documents::open(&arguments.connection).await?;
    let checked_clients = apply(&mut registry, &clients, Mode::Check).await;
    let mut refused = refusal::<ClientYaml>(&checked_clients);
    let mut checked = lines::<ClientYaml>(&checked_clients);
    let mut warned = warnings::<ClientYaml>(&clients, &checked_clients);
    if refused.is_none() {
        let checked_resources = apply(&mut registry, &resources, Mode::Check).await;
        refused = refusal::<ResourceYaml>(&checked_resources);
        checked.extend(lines::<ResourceYaml>(&checked_resources));
        warned.extend(warnings::<ResourceYaml>(&resources, &checked_resources));
    }
    if arguments.dry_run {
        print_lines(checked, Mode::Check, format)?;
        if let Some(refused) = refused {
            return Err(refused);
        }
        refused_for(&warned, arguments.strict)?;
        print_warnings(&warned);
        return Ok(());
    }
    if let Some(refused) = refused {
        return Err(refused.of(NOTHING_WRITTEN));
    }
    refused_for(&warned, arguments.strict)?;
    let reason = arguments.reason();
    let (mut changed_clients, mut changed_resources) = (Journal::default(), Journal::default());
    let written_clients = write(&mut registry, &clients, &reason, &mut changed_clients).await;
    let mut refused = refusal::<ClientYaml>(&written_clients);
    let mut written = lines::<ClientYaml>(&written_clients);
    if refused.is_none() {
        let written_resources = write(&mut registry, &resources, &reason, &mut changed_resources).await;
        refused = refusal::<ResourceYaml>(&written_resources);
        written.extend(lines::<ResourceYaml>(&written_resources));
    }
    let Some(refused) = refused else {
        print_lines(written, Mode::Write, format)?;
        print_warnings(&warned);
        return Ok(());
    };
    let mut kept = undo(&mut registry, changed_resources).await;
    kept.extend(undo(&mut registry, changed_clients).await);
    Err(refused.of(&undone(&kept)))
}
