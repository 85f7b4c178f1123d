//! `lanyard apply`.

use crate::apply::Applied;
use crate::apply::Journal;
use crate::apply::Mode;
use crate::apply::Registry;
use crate::apply::apply;
use crate::apply::undo;
use crate::apply::write;
use crate::authority::access::GrantMetadata;
use crate::cli::client::yaml::ClientYaml;
use crate::cli::documents;
use crate::cli::documents::Registered;
use crate::cli::documents::apply::ApplyArguments;
use crate::cli::documents::apply::Line;
use crate::cli::documents::apply::NOTHING_WRITTEN;
use crate::cli::documents::apply::lines;
use crate::cli::documents::apply::print_lines;
use crate::cli::documents::apply::print_warnings;
use crate::cli::documents::apply::refusal;
use crate::cli::documents::apply::refused_for;
use crate::cli::documents::apply::undone;
use crate::cli::documents::apply::warnings;
use crate::cli::documents::sources;
use crate::cli::documents::sources::Documents;
use crate::cli::error::CommandError;
use crate::cli::output::Format;
use crate::cli::resource::yaml::ResourceYaml;
use crate::client::connection::Channel;

/// Applies grants, clients and resources, all of them or none. Clients come before resources: a resource in the mode
/// `enforce` denies requests until its clients have tokens.
///
/// The store's transactions are bounded, and smaller than what may be applied at once. So the server validates every
/// document before the first is written, and what was written is undone if a later one is refused.
pub(in crate::cli) async fn run(arguments: ApplyArguments, format: Format) -> Result<(), CommandError> {
    let Documents { grants, clients, resources } = sources::read_all(&arguments.filenames)?;
    let mut registry = documents::open(&arguments.connection).await?;
    let mut checked = Round::default();
    checked.check::<GrantMetadata>(&mut registry, &grants).await;
    checked.check::<ClientYaml>(&mut registry, &clients).await;
    checked.check::<ResourceYaml>(&mut registry, &resources).await;
    let Round { lines, warned, refused } = checked;
    if arguments.dry_run {
        print_lines(lines, Mode::Check, format)?;
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
    let (reason, mut written) = (arguments.reason(), Round::default());
    let changed_grants = written.write::<GrantMetadata>(&mut registry, &grants, &reason).await;
    let changed_clients = written.write::<ClientYaml>(&mut registry, &clients, &reason).await;
    let changed_resources = written.write::<ResourceYaml>(&mut registry, &resources, &reason).await;
    let Some(refused) = written.refused else {
        print_lines(written.lines, Mode::Write, format)?;
        print_warnings(&warned);
        return Ok(());
    };
    let mut kept = undo(&mut registry, changed_resources).await;
    kept.extend(undo(&mut registry, changed_clients).await);
    kept.extend(undo(&mut registry, changed_grants).await);
    Err(refused.of(&undone(&kept)))
}

/// What came of the documents, until one was refused.
#[derive(Default)]
struct Round {
    lines: Vec<Line>,
    warned: Vec<String>,
    refused: Option<CommandError>,
}

impl Round {
    /// Has the server validate documents of a kind, unless one was refused before.
    async fn check<K: Registered>(&mut self, registry: &mut Registry<Channel>, documents: &[K::Metadata]) {
        if self.refused.is_none() {
            let checked = apply(registry, documents, Mode::Check).await;
            self.add::<K>(&checked);
            self.warned.extend(warnings::<K>(documents, &checked));
        }
    }

    /// Writes documents of a kind, unless one was refused before. Returns what was changed.
    async fn write<K: Registered>(
        &mut self,
        registry: &mut Registry<Channel>,
        documents: &[K::Metadata],
        reason: &str,
    ) -> Journal<K::Metadata> {
        let mut changed = Journal::default();
        if self.refused.is_none() {
            self.add::<K>(&write(registry, documents, reason, &mut changed).await);
        }
        changed
    }

    fn add<K: Registered>(&mut self, applied: &[Applied]) {
        self.refused = refusal::<K>(applied);
        self.lines.extend(lines::<K>(applied));
    }
}
