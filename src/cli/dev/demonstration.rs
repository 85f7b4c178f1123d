//! The demonstration: a token is issued, used, stolen, and denied with the thief's certificate. Then a relay acts for the workload
//! that calls it, which nobody can do with the token alone, and which ends with the token.

use std::env;
use std::path::Path;
use std::path::PathBuf;

use serde::Serialize;

use crate::cli::dev::TRUST_DOMAIN;
use crate::cli::dev::samples::AUDIENCE;
use crate::cli::dev::samples::CLIENTS;
use crate::cli::dev::samples::RELAY;
use crate::cli::dev::samples::RESOURCES;
use crate::cli::dev::steps::Demonstrated;
use crate::cli::dev::steps::claim;
use crate::cli::dev::steps::decision;
use crate::cli::dev::steps::decision_text;
use crate::cli::dev::steps::unexpected;
use crate::cli::error::CommandError;
use crate::cli::output;
use crate::cli::output::Format;
use crate::config::Listeners;
use crate::proto::Decision;
use crate::proto::DenyReason;
use crate::proto::exchange_token_request::Subject;

/// What each step came to. The names are stable.
#[derive(Debug, Serialize)]
pub(super) struct Outcomes {
    /// The token, with the workload's certificate.
    workload: String,
    /// The same with the thief's.
    thief: String,
    /// The relay's token for the workload, with the relay's certificate.
    relay: String,
    /// What the thief and the relay get for a copy of the workload's token.
    copied: [String; 2],
    /// The relay's token, once the workload's is revoked.
    revoked: String,
}

/// Runs it with real connections. Fails at the first step with an unexpected result. As text, each step is printed.
pub(super) async fn run(dir: &Path, port: u16, format: Format) -> Result<Outcomes, CommandError> {
    let scene = Demonstrated { dir, port };
    let say = |text: &str| if format == Format::Text { output::print(text) } else { Ok(()) };
    let token = scene.token(&[]).await?;
    say("1. A workload asks for a token over mTLS, and gets one that is bound to its certificate:")?;
    say(&format!("   {}\n\n", beginning(&token)))?;

    let own = scene.validate(&token, "workload", AUDIENCE).await?;
    say("2. It uses the token with its own certificate. The proxy in front of the resource asks Lanyard:")?;
    say(&format!("   {}\n\n", decision_text(&own)))?;
    if own.decision() != Decision::Allow {
        return Err(unexpected("the use with its own certificate was not allowed"));
    }

    let stolen = scene.validate(&token, "thief", AUDIENCE).await?;
    say("3. A thief has copied the token, and uses it with the certificate that it has. The proxy asks:")?;
    say(&format!("   {}\n\n", decision_text(&stolen)))?;
    if stolen.decision() != Decision::Deny || stolen.reason() != DenyReason::CertificateMismatch {
        return Err(unexpected("the stolen token was not denied for its certificate"));
    }
    say("Stolen, the token opens nothing.\n\n")?;

    let token = scene.token(&[RELAY]).await?;
    let called = scene.validate(&token, "workload", RELAY).await?;
    if called.decision() != Decision::Allow || called.receipt.is_empty() {
        return Err(unexpected("the call of the relay was not allowed, or left no receipt"));
    }
    say(
        "4. The workload calls the relay, which needs the orders for it. The relay's proxy gets a receipt of the call:",
    )?;
    say(&format!("   {}: {}\n\n", decision(&called), beginning(&called.receipt)))?;

    let exchanged = scene.exchange("relay", Subject::Receipt(called.receipt)).await?;
    let exchanged = exchanged.map_err(|code| unexpected(&format!("the relay's exchange was refused: {code}")))?;
    let relayed = scene.validate(&exchanged, "relay", AUDIENCE).await?;
    say(
        "5. The relay exchanges the receipt for a token of its own, and calls the orders as itself, for the workload:",
    )?;
    let [relay, workload] = ["client_id", "sub"].map(|name| claim(&relayed, name));
    say(&format!("   {}: {relay} acts for {workload}\n\n", decision(&relayed)))?;
    if relayed.decision() != Decision::Allow {
        return Err(unexpected("the relay's token was not allowed with its certificate"));
    }

    let mut copied = [const { String::new() }; 2];
    for (who, refusal) in ["thief", "relay"].into_iter().zip(&mut copied) {
        match scene.exchange(who, Subject::AccessToken(token.clone())).await? {
            Ok(_) => return Err(unexpected("a copy of the workload's token was exchanged without a receipt")),
            Err(code) => *refusal = code,
        }
    }
    let [of_thief, of_relay] = &copied;
    say(
        "6. Copied from a log, the workload's token has no receipt. Neither the thief nor the relay itself gets anything for it:",
    )?;
    say(&format!("   thief: {of_thief}, relay: {of_relay}\n\n"))?;

    scene.revoke(&token).await?;
    let revoked = scene.validate(&exchanged, "relay", AUDIENCE).await?;
    say("7. The workload revokes its token. What came from it ends with it, at the relay's next call:")?;
    say(&format!("   {}\n\n", decision_text(&revoked)))?;
    if revoked.decision() != Decision::Deny || revoked.reason() != DenyReason::DelegationBroken {
        return Err(unexpected("the relay's token outlived the workload's"));
    }
    say("Who acts for whom is in every token, and nobody acts with a stolen one.")?;
    let [workload, thief, relay, revoked] = [own, stolen, relayed, revoked].map(|answer| decision(&answer));
    Ok(Outcomes { workload, thief, relay, copied, revoked })
}

/// The beginning of what is too long for a line.
fn beginning(text: &str) -> String {
    format!("{}…", text.chars().take(48).collect::<String>())
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

# see, as the admin, what an exchange of the relay for the workload would come to, step by step
{lanyard} exchange explain --subject spiffe://{TRUST_DOMAIN}/workload --presented-at {RELAY} --as spiffe://{TRUST_DOMAIN}/relay --audience {AUDIENCE} {admin_connection}

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
