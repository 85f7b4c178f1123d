//! `lanyard apply`.

use clap::Args;

use crate::apply::Applied;
use crate::apply::Journal;
use crate::apply::Mode;
use crate::apply::Registry;
use crate::apply::undo;
use crate::authority::access::GrantMetadata;
use crate::cli::client::yaml::ClientYaml;
use crate::cli::documents;
use crate::cli::documents::Registered;
use crate::cli::documents::apply;
use crate::cli::documents::apply::ApplyArguments;
use crate::cli::documents::apply::Line;
use crate::cli::documents::apply::NOTHING_WRITTEN;
use crate::cli::documents::apply::lines;
use crate::cli::documents::apply::print_lines;
use crate::cli::documents::apply::print_warnings;
use crate::cli::documents::apply::proposed_lines;
use crate::cli::documents::apply::refusal;
use crate::cli::documents::apply::refused_for;
use crate::cli::documents::apply::undone;
use crate::cli::documents::apply::waiting;
use crate::cli::documents::apply::warnings;
use crate::cli::documents::prune;
use crate::cli::documents::prune::Unwanted;
use crate::cli::documents::sources;
use crate::cli::documents::sources::Collected;
use crate::cli::documents::sources::Documents;
use crate::cli::error::CommandError;
use crate::cli::output::Format;
use crate::cli::resource::yaml::ResourceYaml;
use crate::client::connection::Channel;

#[derive(Args, Debug)]
pub(in crate::cli) struct ApplyAllArguments {
    #[command(flatten)]
    common: ApplyArguments,
    /// Let `mode: report` of a resource replace `mode: enforce`: what is denied now would pass.
    #[arg(long)]
    allow_report: bool,
    /// Delete what --managed-by names as its manager and no document registers, after the documents are applied. What would go is
    /// shown, and goes with --yes.
    #[arg(long, requires = "managed_by")]
    prune: bool,
    /// Delete what --prune shows.
    #[arg(long, requires = "prune")]
    yes: bool,
}

/// Applies grants, clients and resources, all of them or none. Clients come before resources: a resource in the mode
/// `enforce` denies requests until its clients have tokens.
///
/// The store's transactions are bounded, and smaller than what may be applied at once. So the server validates every
/// document before the first is written, and what was written is undone if a later one is refused.
pub(in crate::cli) async fn run(arguments: ApplyAllArguments, format: Format) -> Result<(), CommandError> {
    let ApplyAllArguments { common: arguments, allow_report, prune, yes } = arguments;
    if prune {
        sources::refuse_empty(&arguments.filenames)?;
    }
    let mut documents = managed(&arguments)?;
    documents.resources.conditions.allow_report = allow_report;
    let mut registry = documents::open(&arguments.connection).await?;
    let Round { mut lines, warned, refused } = checked(&mut registry, &documents).await;
    let gone = match arguments.managed_by.as_deref().filter(|_| prune && refused.is_none()) {
        Some(manager) => Gone::find(&mut registry, manager, &documents).await?,
        None => Gone::default(),
    };
    if arguments.dry_run {
        lines.extend(gone.lines());
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
    if gone.lines().next().is_some() && !yes {
        lines.extend(gone.lines());
        print_lines(lines, Mode::Check, format)?;
        let next = "see that what would be deleted is to go, and repeat the command with --yes";
        return Err(CommandError::new("nothing was written: --prune would delete what is not in the documents", next)
            .not_retryable());
    }
    let (reason, mut written) = (arguments.reason(), Round::default());
    let changed_grants = written.write(&mut registry, &documents.grants, &reason).await;
    let changed_clients = written.write(&mut registry, &documents.clients, &reason).await;
    let changed_resources = written.write(&mut registry, &documents.resources, &reason).await;
    let Some(refused) = written.refused else {
        let deleted: Vec<Line> = gone.lines().collect();
        let kept = gone.delete(&mut registry, &reason).await?;
        let mut proposals = proposed_lines(&written.lines);
        written.lines.extend(deleted.into_iter().filter(|line| !kept.iter().any(|(name, _)| line.is_of(name))));
        proposals.extend(kept.into_iter().map(|(_, proposal)| proposal));
        print_lines(written.lines, Mode::Write, format)?;
        print_warnings(&warned);
        return waiting(&proposals);
    };
    let mut kept = undo(&mut registry, changed_resources).await;
    kept.extend(undo(&mut registry, changed_clients).await);
    kept.extend(undo(&mut registry, changed_grants).await);
    Err(refused.of(&undone(&kept)))
}

/// The documents, with what manages them.
fn managed(arguments: &ApplyArguments) -> Result<Documents, CommandError> {
    let Documents { grants, clients, resources } = sources::read_all(&arguments.filenames)?;
    Ok(Documents {
        grants: arguments.manage(grants),
        clients: arguments.manage(clients),
        resources: arguments.manage(resources),
    })
}

async fn checked(registry: &mut Registry<Channel>, documents: &Documents) -> Round {
    let mut checked = Round::default();
    checked.check(registry, &documents.grants).await;
    checked.check(registry, &documents.clients).await;
    checked.check(registry, &documents.resources).await;
    checked
}

/// What is to be deleted of each kind.
#[derive(Default)]
struct Gone {
    resources: Vec<Unwanted>,
    clients: Vec<Unwanted>,
    grants: Vec<Unwanted>,
}

impl Gone {
    async fn find(
        registry: &mut Registry<Channel>,
        manager: &str,
        documents: &Documents,
    ) -> Result<Self, CommandError> {
        Ok(Self {
            resources: prune::unwanted::<ResourceYaml>(registry, manager, &documents.resources.documents).await?,
            clients: prune::unwanted::<ClientYaml>(registry, manager, &documents.clients.documents).await?,
            grants: prune::unwanted::<GrantMetadata>(registry, manager, &documents.grants.documents).await?,
        })
    }

    fn lines(&self) -> impl Iterator<Item = Line> {
        prune::lines::<ResourceYaml>(&self.resources)
            .chain(prune::lines::<ClientYaml>(&self.clients))
            .chain(prune::lines::<GrantMetadata>(&self.grants))
    }

    /// Resources go before the clients that may ask for tokens for them.
    /// Returns the names of those whose deletion waits for a second admin, with its identifier.
    async fn delete(
        self,
        registry: &mut Registry<Channel>,
        reason: &str,
    ) -> Result<Vec<(String, String)>, CommandError> {
        let mut kept = prune::delete::<ResourceYaml>(registry, self.resources, reason).await?;
        kept.extend(prune::delete::<ClientYaml>(registry, self.clients, reason).await?);
        kept.extend(prune::delete::<GrantMetadata>(registry, self.grants, reason).await?);
        Ok(kept)
    }
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
    async fn check<K: Registered>(&mut self, registry: &mut Registry<Channel>, collected: &Collected<K>) {
        if self.refused.is_none() {
            let checked = apply::checked(registry, &collected.documents, &collected.conditions).await;
            self.add::<K>(&checked);
            self.warned.extend(warnings::<K>(&collected.documents, &checked));
        }
    }

    /// Writes documents of a kind, unless one was refused before. Returns what was changed.
    async fn write<K: Registered>(
        &mut self,
        registry: &mut Registry<Channel>,
        collected: &Collected<K>,
        reason: &str,
    ) -> Journal<K::Metadata> {
        let mut changed = Journal::default();
        if self.refused.is_none() {
            let Collected { documents, conditions, .. } = collected;
            self.add::<K>(&apply::written(registry, documents, (reason, conditions), &mut changed).await);
        }
        changed
    }

    fn add<K: Registered>(&mut self, applied: &[Applied]) {
        self.refused = refusal::<K>(applied);
        self.lines.extend(lines::<K>(applied));
    }
}
