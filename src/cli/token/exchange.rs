//! `lanyard token exchange`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::ArgGroup;
use clap::Args;
use prost_types::Struct;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::authority::json;
use crate::authority::tokens::ACCESS_TOKEN_TYPE;
use crate::authority::tokens::TXN_TOKEN_TYPE;
use crate::cli::connect::ConnectionArguments;
use crate::cli::error::CommandError;
use crate::cli::output::Format;
use crate::cli::status;
use crate::cli::status::Needs;
use crate::cli::token::assertion::assertion_type;
use crate::cli::token::token_file::TokenTarget;
use crate::cli::token::token_file::deliver;
use crate::cli::token_input::TokenInput;
use crate::messages::json_struct;
use crate::proto::ExchangeTokenRequest;
use crate::proto::TokenType;
use crate::proto::exchange_token_request::Subject;
use crate::proto::token_service_client::TokenServiceClient;

#[derive(Args, Debug)]
#[command(group = ArgGroup::new("presented").required(true).multiple(true))]
pub(in crate::cli) struct ExchangeArguments {
    /// The receipt that came with the request, in the header x-lanyard-receipt: @FILE, or - for stdin.
    #[arg(long, value_name = "@FILE|-", group = "presented")]
    receipt: Option<TokenInput>,
    /// The access token that came with the request: @FILE, or - for stdin. Most rules ask for its receipt besides.
    #[arg(long, value_name = "@FILE|-", group = "presented")]
    subject_token: Option<TokenInput>,
    /// A transaction token, to narrow it.
    #[arg(long, value_name = "@FILE|-", group = "presented", requires = "txn", conflicts_with_all = ["receipt", "subject_token", "stated"])]
    txn_token: Option<TokenInput>,
    /// Whom a transaction token is for, where nothing was presented: your own client's identifier, or one that your rule lists.
    #[arg(
        long = "for",
        value_name = "ID",
        group = "presented",
        requires = "txn",
        conflicts_with_all = ["receipt", "subject_token"]
    )]
    stated: Option<String>,
    /// Ask for a transaction token, whose audience is the trust domain.
    #[arg(long, requires = "scope")]
    txn: bool,
    /// What a transaction token says of the call: a JSON object, as text, @FILE, or - for stdin.
    #[arg(long, value_name = "JSON|@FILE|-", requires = "txn")]
    request_details: Option<TokenInput>,
    /// What a transaction token says of the request's circumstances: a JSON object, as text, @FILE, or - for stdin.
    #[arg(long, value_name = "JSON|@FILE|-", requires = "txn")]
    request_context: Option<TokenInput>,
    /// The resource that the new token is for; of a transaction token the trust domain.
    #[arg(long, value_name = "URI|TRUST_DOMAIN")]
    audience: String,
    /// Space-separated scopes. Left out: all that the rule gives.
    #[arg(long)]
    scope: Option<String>,
    /// Your client's identifier. May be left out with an X509-SVID: it is then the SPIFFE ID.
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// A JWT-SVID or a JWT of a trusted issuer, for a client that authenticates with one: @FILE.
    #[arg(long, value_name = "@FILE|-")]
    client_assertion: Option<TokenInput>,
    /// Write the token to this file, alone and without a newline, instead of printing it, as `lanyard token get` does.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    connection: ConnectionArguments,
}

pub(in crate::cli) async fn run(arguments: ExchangeArguments, format: Format) -> Result<ExitCode, CommandError> {
    let ExchangeArguments {
        receipt, subject_token, txn_token, request_details, request_context, client_assertion, ..
    } = &arguments;
    let inputs = [receipt, subject_token, txn_token, request_details, request_context, client_assertion];
    if inputs.iter().filter(|input| matches!(input, Some(TokenInput::Stdin))).count() > 1 {
        return Err(CommandError::new("stdin can be read once", "give the others as @FILE"));
    }
    let receipt = arguments.receipt.map(TokenInput::read).transpose()?;
    let access_token = arguments.subject_token.map(TokenInput::read).transpose()?;
    let client_assertion = arguments.client_assertion.map(TokenInput::read).transpose()?;
    let client_assertion_type = client_assertion.as_deref().map(assertion_type).unwrap_or_default().to_owned();
    let txn_token = arguments.txn_token.map(TokenInput::read).transpose()?;
    let stated = arguments.stated.map(|id| json_struct(&Map::from_iter([("sub".to_owned(), Value::from(id))])));
    let (subject, presentation_receipt) = match (access_token, receipt) {
        (Some(token), receipt) => (Some(Subject::AccessToken(token)), receipt),
        (None, Some(receipt)) => (Some(Subject::Receipt(receipt)), None),
        (None, None) => (txn_token.map(Subject::TxnToken).or(stated.map(Subject::UnsignedJson)), None),
    };
    let requested = if arguments.txn { TokenType::TxnToken } else { TokenType::Unspecified };
    let request = ExchangeTokenRequest {
        client_id: arguments.client_id.unwrap_or_default(),
        subject,
        presentation_receipt: presentation_receipt.unwrap_or_default(),
        audience: vec![arguments.audience],
        scope: arguments.scope.unwrap_or_default(),
        client_assertion_type,
        client_assertion: client_assertion.unwrap_or_default(),
        requested: requested.into(),
        request_details: arguments.request_details.map(|input| object("--request-details", input)).transpose()?,
        request_context: arguments.request_context.map(|input| object("--request-context", input)).transpose()?,
    };
    let target = arguments.out.as_deref().map(TokenTarget::at).transpose()?;
    let mut tokens = TokenServiceClient::new(arguments.connection.open().await?);
    let issued = tokens.exchange_token(request).await.map_err(|status| status::explain(&status, Needs::Exchange))?;
    let issued = issued.into_inner();
    let (kind, use_as) = if arguments.txn { (TXN_TOKEN_TYPE, "N_A") } else { (ACCESS_TOKEN_TYPE, "Bearer") };
    deliver(&issued.access_token, target.as_ref(), format, || {
        // RFC 8693 section 2.2.1.
        json!({
            "access_token": issued.access_token,
            "issued_token_type": kind,
            "token_type": use_as,
            "expires_in": issued.expires_in.map_or(0, |span| span.seconds),
            "scope": issued.scope,
        })
    })
}

/// The JSON object of an option.
fn object(option: &str, input: TokenInput) -> Result<Struct, CommandError> {
    let Ok(Value::Object(object)) = json::parse(input.read()?.as_bytes()) else {
        let problem = format!("{option} is no JSON object without duplicate members");
        return Err(CommandError::new(problem, "give an object, such as '{\"order\":\"17\"}', or @FILE with one"));
    };
    Ok(json_struct(&object))
}
