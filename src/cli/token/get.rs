//! `lanyard token get`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use crate::cli::connect::ConnectionArguments;
use crate::cli::error::CommandError;
use crate::cli::output::Format;
use crate::cli::status;
use crate::cli::status::Needs;
use crate::cli::token::assertion::assertion_type;
use crate::cli::token::token_file::TokenTarget;
use crate::cli::token::token_file::deliver;
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
    /// A JWT-SVID or a JWT of a trusted issuer, for a client that authenticates with one: @FILE, or - for stdin. Which of the two
    /// it is, its sub says. Under --watch it is a file, which is read for each request.
    #[arg(long, value_name = "@FILE|-")]
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
    let assertion_file = match &arguments.client_assertion {
        Some(TokenInput::File(path)) => Some(PathBuf::from(path)),
        Some(TokenInput::Stdin | TokenInput::Token(_)) if arguments.watch => {
            let next = "give the file as @FILE: it is read for each request";
            return Err(CommandError::new("an assertion that is no file would expire under --watch", next));
        }
        Some(TokenInput::Stdin | TokenInput::Token(_)) | None => None,
    };
    let client_assertion = arguments.client_assertion.map(TokenInput::read).transpose()?;
    let client_assertion_type = client_assertion.as_deref().map(|text| assertion_type(text).to_owned());
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
            let credentials = arguments.connection.credentials()?;
            let settings = TokenSettings { server, credentials, request, assertion: assertion_file };
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
    deliver(&issued.access_token, target.as_ref(), format, || {
        // RFC 6749 section 5.1.
        json!({
            "access_token": issued.access_token,
            "token_type": issued.token_type,
            "expires_in": issued.expires_in.map_or(0, |span| span.seconds),
            "scope": issued.scope,
        })
    })
}
