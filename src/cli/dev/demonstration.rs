//! The demonstration: a token is issued, used, stolen, and denied with the thief's certificate.

use std::env;
use std::path::Path;
use std::path::PathBuf;

use tonic::Request;

use crate::cli::connect::ConnectionArguments;
use crate::cli::dev::TRUST_DOMAIN;
use crate::cli::dev::samples::AUDIENCE;
use crate::cli::dev::samples::CLIENTS;
use crate::cli::dev::samples::RESOURCES;
use crate::cli::error::CommandError;
use crate::cli::output;
use crate::cli::output::Format;
use crate::cli::status;
use crate::cli::status::Needs;
use crate::cli::validate::reason_code;
use crate::client::files;
use crate::config::Listeners;
use crate::proto::Decision;
use crate::proto::DenyReason;
use crate::proto::IssueTokenRequest;
use crate::proto::ValidateBindingRequest;
use crate::proto::ValidateBindingResponse;
use crate::proto::binding_service_client::BindingServiceClient;
use crate::proto::token_service_client::TokenServiceClient;
use crate::proto::validate_binding_request::Evidence;

/// Runs it with real connections. Fails at the first step with an unexpected result. Returns the decisions on the token with
/// the certificate of the workload, and with that of the thief. As text, each step is printed.
pub(super) async fn run(dir: &Path, port: u16, format: Format) -> Result<[String; 2], CommandError> {
    let say = |text: &str| if format == Format::Text { output::print(text) } else { Ok(()) };
    let workload = ConnectionArguments::local(port, dir, "workload")?.open().await?;
    let issued = TokenServiceClient::new(workload)
        .issue_token(Request::new(IssueTokenRequest::default()))
        .await
        .map_err(|status| status::explain(&status, Needs::Workload))?
        .into_inner();
    say("1. A workload asks for a token over mTLS, and gets one that is bound to its certificate:")?;
    say(&format!("   {}…\n\n", issued.access_token.chars().take(48).collect::<String>()))?;

    let own = validate(dir, port, &issued.access_token, "workload").await?;
    say("2. It uses the token with its own certificate. The proxy in front of the resource asks Lanyard:")?;
    say(&format!("   {}\n\n", decision_text(&own)))?;
    if own.decision() != Decision::Allow {
        return Err(unexpected("the use with its own certificate was not allowed"));
    }

    let stolen = validate(dir, port, &issued.access_token, "thief").await?;
    say("3. A thief has copied the token, and uses it with the certificate that it has. The proxy asks:")?;
    say(&format!("   {}\n\n", decision_text(&stolen)))?;
    if stolen.decision() != Decision::Deny || stolen.reason() != DenyReason::CertificateMismatch {
        return Err(unexpected("the stolen token was not denied for its certificate"));
    }
    say("Stolen, the token opens nothing.")?;
    Ok([decision(&own), decision(&stolen)])
}

/// Asks as the proxy that received the token on a connection with the certificate of `who`.
async fn validate(dir: &Path, port: u16, token: &str, who: &str) -> Result<ValidateBindingResponse, CommandError> {
    let proxy = ConnectionArguments::local(port, dir, "proxy")?.open().await?;
    let certificate = files::certificate(&dir.join(format!("{who}.pem")))?;
    let request = ValidateBindingRequest {
        access_token: token.to_owned(),
        evidence: Some(Evidence::Certificate(certificate.to_vec())),
        audience: AUDIENCE.to_owned(),
        scope: "orders.read".to_owned(),
        receipt: false,
    };
    let answer = BindingServiceClient::new(proxy).validate_binding(request).await;
    answer.map(tonic::Response::into_inner).map_err(|status| status::explain(&status, Needs::WorkloadOrProxy))
}

fn decision_text(answer: &ValidateBindingResponse) -> String {
    match answer.decision() {
        Decision::Allow => format!("{}: the token is bound to this certificate", decision(answer)),
        Decision::Deny => format!("{}: {}", decision(answer), answer.explanation),
        Decision::Unspecified => decision(answer),
    }
}

fn decision(answer: &ValidateBindingResponse) -> String {
    match answer.decision() {
        Decision::Allow => "ALLOW".to_owned(),
        Decision::Deny => format!("DENY ({})", reason_code(answer.reason())),
        Decision::Unspecified => "no decision".to_owned(),
    }
}

fn unexpected(what: &str) -> CommandError {
    CommandError::new(what, "this is a defect: please report it")
}

/// Commands to copy into another terminal.
pub(super) fn commands(dir: &Path, addresses: Listeners) -> String {
    let lanyard = program();
    let at = |name: &str| quoted(&dir.join(name));
    let port = addresses.mtls.port();
    let (ca, thief, workload) = (at("ca.pem"), at("thief.pem"), at("workload.pem"));
    let connect = |name: &str| {
        let (cert, key) = (at(&format!("{name}.pem")), at(&format!("{name}-key.pem")));
        format!("--server https://localhost:{port} --ca {ca} --cert {cert} --key {key}")
    };
    format!(
        "
The server keeps running. To try it yourself, copy these into another terminal:

# get a token as the workload, and look into it
{lanyard} token get {workload_connection} > {token}
{lanyard} token inspect @{token} --cert {workload}

# ask, as the proxy, whether its use with the workload's certificate is allowed (it is), and with the thief's (it is not)
{lanyard} validate @{token} --audience {AUDIENCE} --certificate {workload} {proxy_connection}
{lanyard} validate @{token} --audience {AUDIENCE} --certificate {thief} {proxy_connection}

# see, as the admin, who is registered, and register what a file says
{lanyard} client list {admin_connection}
{lanyard} client apply -f {clients} {admin_connection}

# see, as the admin, which resources the proxies protect, and register what a file says
{lanyard} resource list {admin_connection}
{lanyard} resource apply -f {resources} {admin_connection}

# get a token over HTTP as the client with the self-signed certificate, read the public keys, and see whether the server is
# ready
curl --cacert {ca} --cert {selfsigned} --key {selfsigned_key} \
    --data-urlencode grant_type=client_credentials --data-urlencode client_id=selfsigned \
    https://localhost:{port}/oauth2/token
curl --cacert {ca} https://localhost:{public}/oauth2/jwks
curl http://{ops}/readyz

# put Envoy in front of a service at 127.0.0.1:8080, from the folder of Lanyard's sources, and use the token through it
#   sed -e 's#/etc/envoy/prod.example.pem#ca.pem#' -e 's#/etc/envoy/##' -e 's#prod.example#{TRUST_DOMAIN}#g' -e 's#address: lanyard.lanyard.svc, port_value: 8443#address: 127.0.0.1, port_value: {port}#' -e 's#lanyard.lanyard.svc#localhost#g' deploy/envoy/envoy.yaml > {envoy}
#   cd {dir} && envoy --disable-hot-restart --config-path envoy.yaml
#   curl --cacert {ca} --cert {workload} --key {workload_key} --header \"authorization: Bearer $(cat {token})\" https://localhost:10443/orders/1

# run the same server again, on the same data, once this one has stopped
{lanyard} serve --config {config}
",
        workload_connection = connect("workload"),
        proxy_connection = connect("proxy"),
        admin_connection = connect("admin"),
        selfsigned = at("selfsigned.pem"),
        selfsigned_key = at("selfsigned-key.pem"),
        token = at("token"),
        clients = at(CLIENTS),
        resources = at(RESOURCES),
        config = at("lanyard.yaml"),
        envoy = at("envoy.yaml"),
        dir = quoted(dir),
        workload_key = at("workload-key.pem"),
        public = addresses.public.port(),
        ops = addresses.ops,
    )
}

/// The name of this command for another terminal: its bare name if it was called so, else its path.
fn program() -> String {
    let called = env::args_os().next().map(PathBuf::from).filter(|called| called.components().count() == 1);
    called.or_else(|| env::current_exe().ok()).map_or_else(|| "lanyard".to_owned(), |path| quoted(&path))
}

/// A path, quoted for a shell.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = text.chars().all(|character| character.is_ascii_alphanumeric() || "/._-".contains(character));
    if plain { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}
