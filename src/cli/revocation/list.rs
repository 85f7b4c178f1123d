//! `lanyard revocation list`.

use clap::Args;
use clap::ValueEnum;

use crate::cli::connect::ConnectionArguments;
use crate::cli::error::CommandError;
use crate::cli::output;
use crate::cli::output::Format;
use crate::cli::revocation::listed;
use crate::cli::status;
use crate::cli::status::Needs;
use crate::cli::table::table;
use crate::proto::RevocationKind;

#[derive(Args, Debug)]
pub(in crate::cli) struct ListArguments {
    /// Lists only this kind; may be given more than once.
    #[arg(long, value_enum)]
    kind: Vec<Kind>,
    #[command(flatten)]
    connection: ConnectionArguments,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    /// A token, by its `jti`.
    Token,
    /// A client, or a SPIFFE ID.
    Client,
    /// A certificate.
    Certificate,
    /// What was issued to a client before.
    Issued,
    /// What was issued before, bound to a certificate.
    IssuedWith,
    /// All tokens that were issued before.
    AllIssued,
    /// SPIFFE IDs below a path.
    Identity,
    /// A trust domain.
    TrustDomain,
    /// The holders of a role.
    Role,
}

impl From<Kind> for RevocationKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Token => Self::Token,
            Kind::Client => Self::Client,
            Kind::Certificate => Self::Certificate,
            Kind::Issued => Self::Issued,
            Kind::IssuedWith => Self::IssuedWith,
            Kind::AllIssued => Self::AllIssued,
            Kind::Identity => Self::Identity,
            Kind::TrustDomain => Self::TrustDomain,
            Kind::Role => Self::Role,
        }
    }
}

pub(in crate::cli) async fn run(arguments: ListArguments, format: Format) -> Result<(), CommandError> {
    let kinds = arguments.kind.into_iter().map(RevocationKind::from).collect();
    let listed = listed::fetch(arguments.connection.open().await?, kinds).await;
    let listed = listed.map_err(|status| status::explain(&status, Needs::Revocations))?;
    let header = ["KIND", "NAME", "REVOKED", "UNTIL", "BY"];
    match format {
        Format::Json => output::print_json(&listed),
        Format::Text => output::print(&table(header, listed.iter().map(listed::ListedRevocation::row))),
    }
}
