//! What the workloads of the demonstration do, each with a connection of its own.

use std::path::Path;

use tonic::Request;
use tonic_types::StatusExt as _;

use crate::cli::connect::ConnectionArguments;
use crate::cli::dev::samples::AUDIENCE;
use crate::cli::dev::samples::RELAY;
use crate::cli::error::CommandError;
use crate::cli::status;
use crate::cli::status::Needs;
use crate::cli::validate::reason_code;
use crate::client::files;
use crate::messages;
use crate::proto::Decision;
use crate::proto::ExchangeTokenRequest;
use crate::proto::IssueTokenRequest;
use crate::proto::RevokeTokenRequest;
use crate::proto::ValidateBindingRequest;
use crate::proto::ValidateBindingResponse;
use crate::proto::binding_service_client::BindingServiceClient;
use crate::proto::exchange_token_request::Subject;
use crate::proto::revoke_token_request::Target;
use crate::proto::token_service_client::TokenServiceClient;
use crate::proto::validate_binding_request::Evidence;

/// Where it runs.
pub(super) struct Demonstrated<'a> {
    /// The directory of the certificates.
    pub(super) dir: &'a Path,
    /// The port of the mTLS listener.
    pub(super) port: u16,
}

impl Demonstrated<'_> {
    fn connect(&self, who: &str) -> Result<ConnectionArguments, CommandError> {
        ConnectionArguments::local(self.port, self.dir, who)
    }

    /// A token of the workload for these resources, or for all that are registered.
    pub(super) async fn token(&self, audience: &[&str]) -> Result<String, CommandError> {
        let audience = audience.iter().map(ToString::to_string).collect();
        let request = Request::new(IssueTokenRequest { audience, ..IssueTokenRequest::default() });
        let mut tokens = TokenServiceClient::new(self.connect("workload")?.open().await?);
        let issued = tokens.issue_token(request).await.map_err(|status| status::explain(&status, Needs::Workload))?;
        Ok(issued.into_inner().access_token)
    }

    /// Asks as the proxy of a resource, which received the token on a connection with the certificate of `who`.
    pub(super) async fn validate(
        &self,
        token: &str,
        who: &str,
        audience: &str,
    ) -> Result<ValidateBindingResponse, CommandError> {
        let certificate = files::certificate(&self.dir.join(format!("{who}.pem")))?;
        let scope = if audience == RELAY { "relay.call" } else { "orders.read" };
        let request = ValidateBindingRequest {
            access_token: token.to_owned(),
            evidence: Some(Evidence::Certificate(certificate.to_vec())),
            audience: audience.to_owned(),
            scope: scope.to_owned(),
            receipt: audience == RELAY,
        };
        let answer = BindingServiceClient::new(self.connect("proxy")?.open().await?).validate_binding(request).await;
        answer.map(tonic::Response::into_inner).map_err(|status| status::explain(&status, Needs::WorkloadOrProxy))
    }

    /// Exchanges something for a token for the orders. `Err` is the code of a refusal.
    pub(super) async fn exchange(&self, who: &str, subject: Subject) -> Result<Result<String, String>, CommandError> {
        let (subject, audience) = (Some(subject), vec![AUDIENCE.to_owned()]);
        let request = ExchangeTokenRequest { subject, audience, ..ExchangeTokenRequest::default() };
        let mut tokens = TokenServiceClient::new(self.connect(who)?.open().await?);
        match tokens.exchange_token(request).await {
            Ok(issued) => Ok(Ok(issued.into_inner().access_token)),
            Err(status) => match status.get_details_error_info() {
                Some(info) => Ok(Err(info.reason)),
                None => Err(status::explain(&status, Needs::Exchange)),
            },
        }
    }

    /// Revokes a token as the workload, whose it is.
    pub(super) async fn revoke(&self, token: &str) -> Result<(), CommandError> {
        let request =
            RevokeTokenRequest { target: Some(Target::Token(token.to_owned())), ..RevokeTokenRequest::default() };
        let mut tokens = TokenServiceClient::new(self.connect("workload")?.open().await?);
        let revoked = tokens.revoke_token(request).await;
        revoked.map(drop).map_err(|status| status::explain(&status, Needs::WorkloadOrAdmin))
    }
}

/// The decision, with its reason as people read it.
pub(super) fn decision_text(answer: &ValidateBindingResponse) -> String {
    match answer.decision() {
        Decision::Allow => format!("{}: the token is bound to this certificate", decision(answer)),
        Decision::Deny => format!("{}: {}", decision(answer), answer.explanation),
        Decision::Unspecified => decision(answer),
    }
}

/// The decision, with the code of its reason.
pub(super) fn decision(answer: &ValidateBindingResponse) -> String {
    match answer.decision() {
        Decision::Allow => "ALLOW".to_owned(),
        Decision::Deny => format!("DENY ({})", reason_code(answer.reason())),
        Decision::Unspecified => "no decision".to_owned(),
    }
}

/// A claim of the token that was allowed, as text.
pub(super) fn claim(answer: &ValidateBindingResponse, name: &str) -> String {
    let claims = answer.claims.as_ref().and_then(messages::json_object);
    claims.and_then(|claims| claims.get(name)?.as_str().map(ToOwned::to_owned)).unwrap_or_default()
}

/// What the samples of this version do not come to.
pub(super) fn unexpected(what: &str) -> CommandError {
    CommandError::new(
        what,
        "if the samples were changed, or are of an earlier version, choose another directory with --dir; else please report it",
    )
}
