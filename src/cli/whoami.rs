//! `lanyard whoami`.

use std::process::ExitCode;

use clap::Args;
use serde_json::Value;
use serde_json::json;

use crate::authority::clock::Timestamp;
use crate::authority::identity::CertificateThumbprint;
use crate::cli::connect::ConnectionArguments;
use crate::cli::error::CommandError;
use crate::cli::moment::date;
use crate::cli::moment::span;
use crate::cli::output;
use crate::cli::output::Format;
use crate::cli::output::present;
use crate::cli::status;
use crate::cli::status::Needs;
use crate::proto::OwnRegistration;
use crate::proto::Role;
use crate::proto::WhoAmIRequest;
use crate::proto::WhoAmIResponse;
use crate::proto::token_service_client::TokenServiceClient;

#[derive(Args, Debug)]
pub(in crate::cli) struct WhoAmIArguments {
    #[command(flatten)]
    connection: ConnectionArguments,
}

pub(in crate::cli) async fn run(arguments: WhoAmIArguments, format: Format) -> Result<ExitCode, CommandError> {
    let mut tokens = TokenServiceClient::new(arguments.connection.open().await?);
    let answer = tokens.who_am_i(WhoAmIRequest {}).await;
    let answer = answer.map_err(|status| status::explain(&status, Needs::AnyRole))?.into_inner();
    let context = arguments.connection.context();
    match format {
        Format::Json => output::print_json(&document(&answer, context))?,
        Format::Text => output::print(&text(&answer, context))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn document(answer: &WhoAmIResponse, context: Option<&str>) -> Value {
    let registrations: Vec<Value> = answer
        .registrations
        .iter()
        .map(|own| {
            json!({
                "client_id": own.client_id,
                "registered_client_id": own.registered_client_id,
                "token_endpoint_auth_method": own.token_endpoint_auth_method,
                "scope": own.scope,
                "audience": own.audience,
                "access_token_ttl": own.access_token_ttl.and_then(span),
                "rotation": own.rotation,
                "problem": present(&own.problem),
            })
        })
        .collect();
    json!({
        "context": context,
        "spiffe_id": present(&answer.spiffe_id),
        "x5t#S256": thumbprint(answer),
        "not_after": not_after(answer),
        "client_cas": answer.client_cas,
        "roles": roles(answer),
        "fronted_audiences": answer.fronted_audiences,
        "grants": answer.grants,
        "registrations": registrations,
    })
}

fn text(answer: &WhoAmIResponse, context: Option<&str>) -> String {
    let mut lines = Vec::new();
    let mut line = |name: &str, value: &str| lines.push(format!("{name:<12} {value}"));
    if let Some(context) = context {
        line("context", context);
    }
    if !answer.spiffe_id.is_empty() {
        line("spiffe_id", &answer.spiffe_id);
    }
    line("x5t#S256", &thumbprint(answer).unwrap_or_default());
    line("not_after", &not_after(answer).unwrap_or_default());
    if !answer.client_cas.is_empty() {
        line("client_cas", &answer.client_cas.join(" "));
    }
    line("roles", &roles(answer).join(" "));
    if !answer.fronted_audiences.is_empty() {
        line("fronts", &answer.fronted_audiences.join(" "));
    }
    if !answer.grants.is_empty() {
        line("grants", &answer.grants.join(" "));
    }
    if answer.registrations.is_empty() {
        line("client", "none is registered for this certificate: it gets no tokens");
    }
    for own in &answer.registrations {
        lines.extend(registration(own));
    }
    lines.join("\n")
}

fn registration(own: &OwnRegistration) -> Vec<String> {
    let mut lines = vec![format!("{:<12} {}", "client", own.client_id)];
    let mut line = |name: &str, value: &str| lines.push(format!("  {name:<10} {value}"));
    if own.registered_client_id != own.client_id {
        line("registered", &own.registered_client_id);
    }
    line("method", &own.token_endpoint_auth_method);
    line("scope", &own.scope);
    line("audience", &own.audience.join(" "));
    line("ttl", &own.access_token_ttl.and_then(span).unwrap_or_default());
    line("rotation", &own.rotation);
    if !own.problem.is_empty() {
        line("no tokens", &own.problem);
    }
    lines
}

fn roles(answer: &WhoAmIResponse) -> Vec<&'static str> {
    let name = |role: Role| match role {
        Role::Unspecified => None,
        Role::Workload => Some("workload"),
        Role::Proxy => Some("proxy"),
        Role::Admin => Some("admin"),
        Role::Auditor => Some("auditor"),
        Role::Revoker => Some("revoker"),
        Role::Edge => Some("edge"),
        Role::Team => Some("team"),
    };
    answer.roles().filter_map(name).collect()
}

fn thumbprint(answer: &WhoAmIResponse) -> Option<String> {
    CertificateThumbprint::from_digest(&answer.certificate_thumbprint).map(|thumbprint| thumbprint.to_string())
}

fn not_after(answer: &WhoAmIResponse) -> Option<String> {
    u64::try_from(answer.certificate_not_after?.seconds).ok().map(Timestamp).and_then(date)
}
