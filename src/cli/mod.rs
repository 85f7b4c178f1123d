//! The command line. Every command but the offline ones uses a running server's public API.

mod audit;
mod client;
mod colour;
mod completion;
mod config_check;
mod confirm;
mod connect;
mod connect_error;
mod context;
mod dev;
mod doctor;
mod documents;
mod error;
mod explain;
mod explanation;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod grant;
mod keys;
mod moment;
mod origins;
mod output;
mod preview;
mod progress;
mod proposals;
mod resource;
mod revocation;
mod role;
mod runtime;
mod serve;
mod status;
mod store;
mod table;
mod tail;
#[cfg(test)]
mod tests;
mod thumbprint;
mod token;
mod token_error;
mod token_input;
mod usage_error;
mod validate;
mod version;
mod waiting;
mod whoami;
mod whole_file;
mod why;

use std::process::ExitCode;

use clap::CommandFactory as _;
use clap::Parser;
use clap::Subcommand;
use clap::error::ErrorKind;

use crate::cli::audit::AuditCommand;
use crate::cli::client::ClientCommand;
use crate::cli::completion::CompletionArguments;
use crate::cli::completion::ManArguments;
use crate::cli::config_check::ConfigCommand;
use crate::cli::context::ContextCommand;
use crate::cli::dev::DevArguments;
use crate::cli::doctor::DoctorArguments;
use crate::cli::documents::apply_all;
use crate::cli::documents::apply_all::ApplyAllArguments;
use crate::cli::documents::diff;
use crate::cli::documents::diff::DiffArguments;
use crate::cli::documents::export;
use crate::cli::documents::export::ExportArguments;
use crate::cli::documents::history;
use crate::cli::documents::history::HistoryArguments;
use crate::cli::documents::history::RollbackArguments;
use crate::cli::documents::history::ShowArguments;
use crate::cli::documents::lint;
use crate::cli::documents::lint::LintArguments;
use crate::cli::error::CommandError;
use crate::cli::explain::ExplainCommand;
use crate::cli::explain::exchange::ExchangeCommand;
use crate::cli::grant::GrantCommand;
use crate::cli::keys::KeysCommand;
use crate::cli::output::Format;
use crate::cli::output::RecordFormat;
use crate::cli::preview::PreviewArguments;
use crate::cli::proposals::ProposalsCommand;
use crate::cli::resource::ResourceCommand;
use crate::cli::revocation::RevocationCommand;
use crate::cli::runtime::block_on;
use crate::cli::runtime::done;
use crate::cli::serve::ServeArguments;
use crate::cli::store::StoreCommand;
use crate::cli::tail::TailArguments;
use crate::cli::token::TokenCommand;
use crate::cli::validate::ValidateArguments;
use crate::cli::whoami::WhoAmIArguments;
use crate::cli::why::WhyArguments;

/// Binds each access token to the certificate of the workload that requested it (RFC 8705).
///
/// Exit codes: 0 done, 1 refused or failed, 2 the command line cannot be read, of `validate` and `explain request` 3: denied,
/// of `apply` 4: a document is refused, and 5: a change waits for a second admin.
#[derive(Debug, Parser)]
#[command(name = "lanyard", version, propagate_version = true)]
pub struct Arguments {
    /// The output format: for people, or for programs.
    #[arg(short, long, global = true, value_enum, value_name = "FORMAT", default_value_t)]
    output: RecordFormat,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Shows what Lanyard does: makes a throwaway trust domain, serves it, and demonstrates what a stolen token is worth.
    Dev(DevArguments),
    /// Runs a server.
    Serve(ServeArguments),
    /// Runs an edge: a server that decides by what the centre sends it, and changes nothing. As `serve`, and insists on
    /// `store.upstream` in the configuration.
    Edge(ServeArguments),
    /// Registers the workloads that may get tokens.
    #[command(subcommand)]
    Client(ClientCommand),
    /// Registers the protected resources behind the proxies, and what each requires of requests.
    #[command(subcommand)]
    Resource(ResourceCommand),
    /// Grants teams' admins to register what is theirs.
    #[command(subcommand)]
    Grant(GrantCommand),
    /// Registers clients, protected resources and grants from YAML documents of all kinds: all of them, or none if one is refused.
    ///
    /// Exit codes: 0 done, 4 a document is refused, as it is at each further attempt, 5 a second admin has to approve some of
    /// it, 1 any other failure, 2 the command line cannot be read.
    Apply(ApplyAllArguments),
    /// Shows how YAML documents of all kinds differ from what is registered, field by field. Nothing is written.
    ///
    /// Exit codes: 0 nothing differs, 1 something does, 4 a document is refused, 2 any other failure.
    Diff(DiffArguments),
    /// Compares YAML documents of all kinds with each other, without a server: audiences that none registers, scopes that
    /// none defines, routes that let through what a narrower one demands.
    ///
    /// Exit codes: 0 no remarks, 1 remarks, 4 a document is invalid, 2 any other failure.
    Lint(LintArguments),
    /// Says what a registration of a SPIFFE ID or a pattern would be about: which registrations it meets, and which identities of
    /// the last day it matches. Nothing is registered.
    Preview(PreviewArguments),
    /// Prints all clients, protected resources and grants as YAML documents that `apply` takes.
    Export(ExportArguments),
    /// Shows what changed in a client, a protected resource or a grant: from what to what, by whom, when and why.
    History(HistoryArguments),
    /// Prints a client, a protected resource or a grant as it was, as a document that `apply` takes.
    Show(ShowArguments),
    /// Registers a client, a protected resource or a grant again as it was: a change like any other.
    Rollback(RollbackArguments),
    /// Lists, shows, approves and rejects the changes that wait for a second admin.
    #[command(subcommand)]
    Proposals(ProposalsCommand),
    /// Gets an access token, shows what is in one, or revokes it.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Lists what is revoked.
    #[command(subcommand)]
    Revocation(RevocationCommand),
    /// Lists, rotates, revokes and reseals the signing keys. Each needs the role Admin.
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Asks whether an access token and a certificate belong together.
    ///
    /// Exit codes: 0 allow, 3 deny, 1 no decision, 2 the command line cannot be read.
    Validate(ValidateArguments),
    /// Shows what your certificate is to the server: your roles, and the registrations that you get tokens with.
    Whoami(WhoAmIArguments),
    /// Says why something was refused: by the reference that came with the refusal, or the newest refusals.
    Why(WhyArguments),
    /// Says what would happen: whether a request would be allowed, and what an identity would get.
    #[command(subcommand)]
    Explain(ExplainCommand),
    /// Says what would come of an exchange of a token.
    #[command(subcommand)]
    Exchange(ExchangeCommand),
    /// Prints each decision as the server makes it, until this is ended.
    Tail(TailArguments),
    /// Names servers, and the certificate to connect with, so that commands need not.
    #[command(subcommand)]
    Context(ContextCommand),
    /// Checks configurations.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Backs up, restores, moves and checks what the store holds.
    #[command(subcommand)]
    Store(StoreCommand),
    /// Checks the audit trail.
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Checks everything that a server needs, whether one runs or not, and reports each problem with the next step.
    ///
    /// Exit codes: 0 no errors (there may be warnings), 1 errors, 2 the command line cannot be read.
    Doctor(DoctorArguments),
    /// Prints the script by which a shell completes commands and flags: `source <(lanyard completion bash)`.
    Completion(CompletionArguments),
    /// Writes the manual pages, one for each command.
    Man(ManArguments),
}

/// The exit code of a command line that cannot be read, and of a comparison that could not be made.
const USAGE: u8 = 2;

/// The exit code of a change that waits for a second admin.
const PROPOSED: u8 = 5;

/// The exit code for a document that is refused at each attempt.
const DOCUMENT_REFUSED: u8 = 4;

/// Reads the command line; prints what is wrong with it and exits with code 2 if it cannot be read. The error is the exit
/// code of what is done then.
pub fn arguments() -> Result<Arguments, ExitCode> {
    Arguments::try_parse().or_else(|error| {
        let line: Vec<_> = std::env::args_os().collect();
        if error.kind() == ErrorKind::DisplayVersion && version::asks_for_json(&line) {
            return Err(version::print_json());
        }
        let mut command = Arguments::command();
        command.build();
        usage_error::with_variables(error, &command, &line).exit()
    })
}

/// Runs one command. Results go to stdout; an error and its next step go to stderr.
pub fn run(arguments: Arguments) -> ExitCode {
    let (output, format) = (arguments.output, arguments.output.of_errors());
    let takes_records = matches!(arguments.command, Command::Client(_) | Command::Resource(_) | Command::Grant(_));
    if let (false, Err(error)) = (takes_records, output.plain()) {
        output::print_error(&error, format);
        return ExitCode::from(USAGE);
    }
    let result = match arguments.command {
        Command::Dev(arguments) => block_on(dev::run(arguments, format)),
        Command::Serve(arguments) => block_on(serve::run(arguments)),
        Command::Edge(arguments) => block_on(serve::run_edge(arguments)),
        Command::Doctor(arguments) => block_on(doctor::run(arguments, format)),
        Command::Audit(AuditCommand::Verify(arguments)) => Ok(compared(audit::verify(&arguments, format), format)),
        Command::Audit(AuditCommand::Search(arguments)) => {
            audit::search(&arguments, format).map(|()| ExitCode::SUCCESS)
        }
        Command::Audit(AuditCommand::Heads(arguments)) => block_on(done(audit::heads(arguments, format))),
        Command::Completion(arguments) => completion::run(&arguments, Arguments::command()).map(|()| ExitCode::SUCCESS),
        Command::Man(arguments) => {
            completion::write_manual(&arguments, Arguments::command()).map(|()| ExitCode::SUCCESS)
        }
        Command::Context(command) => context::run(command, format).map(|()| ExitCode::SUCCESS),
        Command::Config(command) => config_check::run(command, format),
        Command::Client(command) => block_on(client::run(command, output)),
        Command::Resource(command) => block_on(resource::run(command, output)),
        Command::Grant(command) => block_on(grant::run(command, output)),
        Command::Apply(arguments) => block_on(async move {
            // For programs that try again: they can stop where nothing changes.
            match apply_all::run(arguments, format).await {
                Err(error) if !error.is_retryable() => {
                    output::print_error(&error, format);
                    Ok(ExitCode::from(DOCUMENT_REFUSED))
                }
                done => done.map(|()| ExitCode::SUCCESS),
            }
        }),
        Command::Diff(arguments) => Ok(compared(block_on(diff::run(arguments, format)), format)),
        Command::Lint(arguments) => Ok(compared(lint::run(&arguments, format), format)),
        Command::Preview(arguments) => block_on(done(preview::run(arguments, format))),
        Command::Export(arguments) => block_on(done(export::run(arguments, format))),
        Command::History(arguments) => block_on(done(history::run(arguments, format))),
        Command::Show(arguments) => block_on(done(history::show(arguments, format))),
        Command::Rollback(arguments) => block_on(done(history::roll_back(arguments, format))),
        Command::Proposals(command) => block_on(done(proposals::run(command, format))),
        Command::Token(TokenCommand::Get(arguments)) => block_on(token::get::run(arguments, format)),
        Command::Token(TokenCommand::Exchange(arguments)) => block_on(token::exchange::run(arguments, format)),
        Command::Token(TokenCommand::Inspect(arguments)) => token::inspect::run(arguments, format),
        Command::Token(TokenCommand::Revoke(arguments)) => block_on(token::revoke::run(arguments, format)),
        Command::Revocation(command) => block_on(revocation::run(command, format)),
        Command::Keys(command) => block_on(keys::run(command, format)),
        Command::Store(command) => block_on(store::run(command, format)),
        Command::Validate(arguments) => block_on(validate::run(arguments, format)),
        Command::Whoami(arguments) => block_on(whoami::run(arguments, format)),
        Command::Tail(arguments) => block_on(done(tail::run(arguments, format))),
        Command::Why(arguments) => block_on(why::run(arguments, format)),
        Command::Explain(command) => block_on(explain::run(command, format)),
        Command::Exchange(command) => block_on(explain::exchange::run(command, format)),
    };
    result.unwrap_or_else(|error| {
        output::print_error(&error, format);
        if error.code() == Some(waiting::CODE) { ExitCode::from(PROPOSED) } else { ExitCode::FAILURE }
    })
}

/// The exit code of a command that compares: 1 says that something differs, and not that it failed.
fn compared(result: Result<ExitCode, CommandError>, format: Format) -> ExitCode {
    result.unwrap_or_else(|error| {
        output::print_error(&error, format);
        ExitCode::from(if error.is_retryable() { USAGE } else { DOCUMENT_REFUSED })
    })
}
