//! `lanyard token`.

mod assertion;
pub(in crate::cli) mod exchange;
pub(in crate::cli) mod get;
pub(in crate::cli) mod inspect;
pub(in crate::cli) mod revoke;
mod token_file;
mod watch;

use clap::Subcommand;

use crate::cli::token::exchange::ExchangeArguments;
use crate::cli::token::get::GetArguments;
use crate::cli::token::inspect::InspectArguments;
use crate::cli::token::revoke::RevokeArguments;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum TokenCommand {
    /// Gets an access token bound to your certificate, and prints it alone on stdout; or keeps a valid one in a file.
    Get(GetArguments),
    /// Exchanges what was presented to you for a token with which you act for its subject, and prints it alone on stdout.
    Exchange(ExchangeArguments),
    /// Shows the content of a token, without verifying it and without a server.
    Inspect(InspectArguments),
    /// Revokes a token, a client, a certificate, everything that was issued to a client, a path of SPIFFE IDs, a trust
    /// domain, or a role.
    ///
    /// A client may revoke its own tokens; everything else needs the role Admin. When the command succeeds, the
    /// revocation is stored, and the server refuses what was revoked. Revoking a token that is invalid or has expired
    /// is not an error.
    Revoke(RevokeArguments),
}
