//! `lanyard token get`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use crate::authority::decision::JWT_SPIFFE;
use crate::cli::connect::ConnectionArguments;
use crate::cli::error::CommandError;
use crate::cli::output;
use crate::cli::output::Format;
use crate::cli::status;
use crate::cli::status::Needs;
use crate::cli::token::token_file::TokenTarget;
use crate::cli::token::watch;
use crate::cli::token_input::TokenInput;
use crate::client::renewal::TokenSettings;
use crate::proto::IssueTokenRequest;
use crate::proto::token_service_client::TokenServiceClient;

#[derive(Args, Debug)]
pub(in crate::cli) struct GetArguments {
    /// The client's identifier. May be left out with an X509-SVID: it is then the SPIFFE ID.
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// A JWT-SVID, for a client that authenticates with one: @FILE, or - for stdin. It would expire under --watch.
    #[arg(long, value_name = "@FILE|-", conflicts_with = "watch")]
    client_assertion: Option<TokenInput>,
    /// Space-separated scopes. Left out: all that are registered.
    #[arg(long)]
    scope: Option<String>,
    /// The audience of the token; may be given several times. Left out: all that are registered.
    #[arg(long, value_name = "URI")]
    audience: Vec<String>,
    /// Keep a valid token in --out until SIGTERM, SIGINT or SIGHUP, then remove it. Under `nohup` a SIGHUP has no effect.
    ///
    /// It is renewed before it expires, and at once when the files of --cert and --key change. If the registration has
    /// `rotation: lineage`, the next certificate is announced first. Each renewal is a line on stderr. If no new token
    /// is issued in time, the file is removed; the next token creates it again.
    #[arg(long, requires = "out")]
    watch: bool,
    /// Write the token to this file, alone and without a newline, instead of printing it. Readers find a whole token or
    /// no file; only its owner may read it. A FIFO or a character device is written to.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    connection: ConnectionArguments,
}

pub(in crate::cli) async fn run(arguments: GetArguments, format: Format) -> Result<ExitCode, CommandError> {
    let client_assertion = arguments.client_assertion.map(TokenInput::read).transpose()?;
    let client_assertion_type = client_assertion.as_ref().map(|_| JWT_SPIFFE.to_owned());
    let request = IssueTokenRequest {
        client_id: arguments.client_id.unwrap_or_default(),
        scope: arguments.scope.unwrap_or_default(),
        audience: arguments.audience,
        client_assertion_type: client_assertion_type.unwrap_or_default(),
        client_assertion: client_assertion.unwrap_or_default(),
    };
    let target = match arguments.out.as_deref().map(TokenTarget::at).transpose()? {
        Some(TokenTarget::File(file)) if arguments.watch => {
            let server = arguments.connection.server().clone();
            let settings = TokenSettings { server, credentials: arguments.connection.credentials()?, request };
            return watch::run(settings, file, &arguments.connection).await;
        }
        Some(TokenTarget::Stream(path)) if arguments.watch => {
            let problem = format!("{} is not a regular file, so no token can be kept in it", path.display());
            return Err(CommandError::new(problem, "name a file with --out"));
        }
        target => target,
    };
    let mut tokens = TokenServiceClient::new(arguments.connection.open().await?);
    let issued = tokens.issue_token(request).await.map_err(|status| status::explain(&status, Needs::Workload))?;
    let issued = issued.into_inner();
    if let Some(target) = target {
        target.put(&issued.access_token)?;
        return Ok(ExitCode::SUCCESS);
    }
    match format {
        Format::Text => output::print(&issued.access_token)?,
        // RFC 6749 section 5.1.
        Format::Json => output::print_json(&json!({
            "access_token": issued.access_token,
            "token_type": issued.token_type,
            "expires_in": issued.expires_in.map_or(0, |span| span.seconds),
            "scope": issued.scope,
        }))?,
    }
    Ok(ExitCode::SUCCESS)
}
