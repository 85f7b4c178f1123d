//! `lanyard token exchange`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::ArgGroup;
use clap::Args;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::authority::tokens::ACCESS_TOKEN_TYPE;
use crate::authority::tokens::JWT_TYPE;
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
#[command(group = ArgGroup::new("no_access_token"))]
pub(in crate::cli) struct ExchangeArguments {
    /// The receipt that came with the request, in the header x-lanyard-receipt: @FILE, or - for stdin.
    #[arg(long, value_name = "@FILE|-", group = "presented")]
    receipt: Option<TokenInput>,
    /// The access token that came with the request: @FILE, or - for stdin. Most rules ask for its receipt besides.
    #[arg(long, value_name = "@FILE|-", group = "presented")]
    subject_token: Option<TokenInput>,
    /// A JWT of another issuer that is no access token: @FILE, or - for stdin. Its access tokens go into --subject-token.
    #[arg(long, value_name = "@FILE|-", group = "presented", conflicts_with_all = ["receipt", "subject_token", "grant"])]
    jwt: Option<TokenInput>,
    /// A grant that the authorization server of another trust domain made for this one, to use it: @FILE, or - for stdin.
    #[arg(
        long,
        value_name = "@FILE|-",
        group = "presented",
        conflicts_with_all = ["receipt", "subject_token", "jwt", "txn", "grant"]
    )]
    jwt_grant: Option<TokenInput>,
    /// A transaction token, to narrow it.
    #[arg(
        long,
        value_name = "@FILE|-",
        group = "presented",
        requires = "txn",
        conflicts_with_all = ["receipt", "subject_token", "jwt", "stated"]
    )]
    txn_token: Option<TokenInput>,
    /// With --txn or --grant, where nothing was presented: whom the new one is for. Your own client's identifier, or one that your rule for
    /// transaction tokens lists.
    #[arg(
        long = "for",
        value_name = "ID",
        group = "presented",
        requires = "no_access_token",
        conflicts_with_all = ["receipt", "subject_token", "jwt", "jwt_grant"]
    )]
    stated: Option<String>,
    /// Ask for a transaction token, whose audience is the trust domain.
    #[arg(long, requires = "scope", group = "no_access_token")]
    txn: bool,
    /// Ask for a grant for the authorization server of another trust domain, which is the audience by its issuer.
    #[arg(long, group = "no_access_token")]
    grant: bool,
    /// What a transaction token says of the call: a JSON object, as text, @FILE, or - for stdin.
    #[arg(long, value_name = "JSON|@FILE|-", requires = "txn")]
    request_details: Option<TokenInput>,
    /// What a transaction token says of the request's circumstances: a JSON object, as text, @FILE, or - for stdin.
    #[arg(long, value_name = "JSON|@FILE|-", requires = "txn")]
    request_context: Option<TokenInput>,
    /// The resource that the new token is for; of a transaction token the trust domain, of a grant the other issuer. May be left out with
    /// --jwt-grant, where the grant is good for one resource.
    #[arg(long, value_name = "URI|TRUST_DOMAIN", required_unless_present = "jwt_grant")]
    audience: Option<String>,
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

pub(in crate::cli) async fn run(mut arguments: ExchangeArguments, format: Format) -> Result<ExitCode, CommandError> {
    arguments.check()?;
    let (subject, presentation_receipt) = arguments.subject()?;
    let client_assertion = arguments.client_assertion.map(TokenInput::read).transpose()?;
    let client_assertion_type = client_assertion.as_deref().map(assertion_type).unwrap_or_default().to_owned();
    // What is printed as RFC 8693 section 2.2.1 has it. For a grant there is an access token by RFC 6749, which names no type.
    let (requested, kind, use_as) = match (arguments.txn, arguments.grant) {
        (true, _) => (TokenType::TxnToken, Some(TXN_TOKEN_TYPE), "N_A"),
        (false, true) => (TokenType::JwtGrant, Some(JWT_TYPE), "N_A"),
        (false, false) if matches!(subject, Subject::JwtGrant(_)) => (TokenType::Unspecified, None, "Bearer"),
        (false, false) => (TokenType::Unspecified, Some(ACCESS_TOKEN_TYPE), "Bearer"),
    };
    let request = ExchangeTokenRequest {
        client_id: arguments.client_id.unwrap_or_default(),
        subject: Some(subject),
        presentation_receipt: presentation_receipt.unwrap_or_default(),
        audience: arguments.audience.into_iter().collect(),
        scope: arguments.scope.unwrap_or_default(),
        client_assertion_type,
        client_assertion: client_assertion.unwrap_or_default(),
        requested: requested.into(),
        request_details: arguments.request_details.map(|input| input.read_object("--request-details")).transpose()?,
        request_context: arguments.request_context.map(|input| input.read_object("--request-context")).transpose()?,
    };
    let target = arguments.out.as_deref().map(TokenTarget::at).transpose()?;
    let mut tokens = TokenServiceClient::new(arguments.connection.open().await?);
    let issued = tokens.exchange_token(request).await.map_err(|status| status::explain(&status, Needs::Exchange))?;
    let issued = issued.into_inner();
    deliver(&issued.access_token, target.as_ref(), format, || {
        let mut answer = json!({
            "access_token": issued.access_token,
            "token_type": use_as,
            "expires_in": issued.expires_in.map_or(0, |span| span.seconds),
            "scope": issued.scope,
        });
        if let (Some(kind), Some(members)) = (kind, answer.as_object_mut()) {
            members.insert("issued_token_type".to_owned(), kind.into());
        }
        answer
    })
}

impl ExchangeArguments {
    /// Checks that stdin is read once.
    fn check(&self) -> Result<(), CommandError> {
        let Self { receipt, subject_token, jwt, jwt_grant, txn_token, .. } = self;
        let Self { request_details, request_context, client_assertion, .. } = self;
        let inputs =
            [receipt, subject_token, jwt, jwt_grant, txn_token, request_details, request_context, client_assertion];
        if inputs.iter().filter(|input| matches!(input, Some(TokenInput::Stdin))).count() > 1 {
            return Err(CommandError::new("stdin can be read once", "give the others as @FILE"));
        }
        Ok(())
    }

    /// What is exchanged, and the receipt beside it.
    fn subject(&mut self) -> Result<(Subject, Option<String>), CommandError> {
        let read = |input: &mut Option<TokenInput>| input.take().map(TokenInput::read).transpose();
        let receipt = read(&mut self.receipt)?;
        if let Some(token) = read(&mut self.subject_token)? {
            return Ok((Subject::AccessToken(token), receipt));
        }
        let stated = |id: String| json_struct(&Map::from_iter([("sub".to_owned(), Value::from(id))]));
        let subject = receipt
            .map(Subject::Receipt)
            .or(read(&mut self.jwt)?.map(Subject::Jwt))
            .or(read(&mut self.jwt_grant)?.map(Subject::JwtGrant))
            .or(read(&mut self.txn_token)?.map(Subject::TxnToken))
            .or(self.stated.take().map(stated).map(Subject::UnsignedJson));
        let missing = || CommandError::new("there is nothing to exchange", "give a receipt or a token as @FILE");
        Ok((subject.ok_or_else(missing)?, None))
    }
}
