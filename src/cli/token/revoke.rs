//! `lanyard token revoke`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use std::time::SystemTime;

use clap::Args;
use serde::Serialize;

use crate::authority::clock::Clock as _;
use crate::authority::clock::SystemClock;
use crate::authority::clock::Timestamp;
use crate::authority::identity::Certificate;
use crate::authority::identity::CertificateThumbprint;
use crate::cli::confirm;
use crate::cli::connect::ConnectionArguments;
use crate::cli::error::CommandError;
use crate::cli::output;
use crate::cli::output::Format;
use crate::cli::role::Role;
use crate::cli::status;
use crate::cli::status::Needs;
use crate::cli::thumbprint;
use crate::cli::token_input::TokenInput;
use crate::client::files;
use crate::proto::AssignedRole;
use crate::proto::RevocationWarning;
use crate::proto::RevokeTokenRequest;
use crate::proto::RevokeTokenResponse;
use crate::proto::revoke_token_request::Target;
use crate::proto::token_service_client::TokenServiceClient;

#[derive(Args, Debug)]
pub(in crate::cli) struct RevokeArguments {
    #[command(flatten)]
    what: What,
    /// When the revocation of anything but a token ends. Left out, that of a certificate given as a file ends when the
    /// certificate expires, and any other stays until it is lifted. A revocation with a later end stays as it is.
    #[arg(long, value_name = "RFC3339", value_parser = moment, conflicts_with_all = ["for_span", "lift"])]
    until: Option<Timestamp>,
    /// The same, as a duration from now.
    #[arg(long = "for", id = "for_span", value_name = "DURATION", value_parser = humantime::parse_duration, conflicts_with = "lift")]
    span: Option<Duration>,
    /// Lifts the revocation of anything but a token. Tokens that were issued before stay refused, but those bound to a
    /// certificate.
    #[arg(long)]
    lift: bool,
    /// Revokes without asking, even if no admin is left then. `lanyard store unrevoke` lifts a revocation on a stopped server.
    #[arg(long, conflicts_with = "lift")]
    yes: bool,
    /// The client's identifier, for a client that revokes its own token. May be left out with an X509-SVID, and by
    /// admins.
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    #[command(flatten)]
    connection: ConnectionArguments,
}

/// The target. The revocation of a token, or of all tokens issued up to now, is final: it has no end and is not lifted.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct What {
    /// A token: - reads it from stdin, @FILE from a file. Given here itself, it shows in the list of processes.
    #[arg(value_name = "TOKEN|-|@FILE", conflicts_with_all = FOR_A_TIME)]
    token: Option<TokenInput>,
    /// A token, by its `jti`.
    #[arg(long, conflicts_with_all = FOR_A_TIME)]
    jti: Option<String>,
    /// A client, or any SPIFFE ID: its tokens are refused, it gets no new ones, and it is refused as a caller, whatever
    /// its roles.
    #[arg(long, value_name = "ID")]
    client: Option<String>,
    /// A certificate, in a PEM file (its first one) or a DER file: tokens bound to it are refused, and so are callers
    /// that present it.
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// A certificate, by its SHA-256, as 43 characters of base64url or 64 of hex.
    // base64url may begin with a hyphen.
    #[arg(long, value_name = "SHA256", value_parser = thumbprint::parse, allow_hyphen_values = true)]
    thumbprint: Option<CertificateThumbprint>,
    /// Everything issued to this client up to now, including the present second. It may request new tokens.
    #[arg(long, value_name = "ID", conflicts_with_all = FOR_A_TIME)]
    issued_to: Option<String>,
    /// All SPIFFE IDs below a path, such as `spiffe://prod.example/ns/shop/*`, as with --client.
    #[arg(long, value_name = "PATTERN")]
    identity: Option<String>,
    /// All SPIFFE IDs of a trust domain, as with --client.
    #[arg(long, value_name = "NAME")]
    trust_domain: Option<String>,
    /// All callers to whom the server's configuration gives a role, as with --client.
    #[arg(long, value_enum)]
    role: Option<Role>,
}

const FOR_A_TIME: [&str; 3] = ["until", "for_span", "lift"];

/// The result, as `-o json` prints it.
#[derive(Debug, Serialize)]
struct Revoked {
    result: &'static str,
    target: &'static str,
    /// Left out for a token given as text, which is a secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<&'static str>,
}

pub(in crate::cli) async fn run(arguments: RevokeArguments, format: Format) -> Result<ExitCode, CommandError> {
    let RevokeArguments { what, until, span, lift, yes, client_id, connection } = arguments;
    let now = SystemClock.now();
    let (target, end) = what.read()?;
    let until = until.or_else(|| span.map(|span| now.after(span)));
    if until.is_some_and(|until| until <= now) {
        let next = "name a time to come, or leave it out: until the revocation is lifted";
        return Err(CommandError::new("a revocation that has ended already revokes nothing", next));
    }
    let until = until.or(end).filter(|_| !lift);
    if !yes
        && !lift
        && let Some(impact) = impact(&target)
        && confirm::is_interactive()
    {
        confirm::ask(&impact).await?;
    }
    let mut revoked = Revoked::new(&target, until, lift);
    let request = RevokeTokenRequest {
        client_id: client_id.unwrap_or_default(),
        target: Some(target),
        until: until.map(|until| prost_types::Timestamp { seconds: seconds(until), nanos: 0 }),
        lift,
        allow_no_admin: yes,
        ..RevokeTokenRequest::default()
    };
    let mut tokens = TokenServiceClient::new(connection.open().await?);
    let response = tokens.revoke_token(request).await;
    let response = response.map_err(|status| status::explain(&status, Needs::WorkloadOrAdmin))?.into_inner();
    revoked.add(&response);
    for warning in response.warnings() {
        output::note(&format!("warning: {}", sentence_of(warning)));
    }
    match format {
        Format::Json => output::print_json(&revoked)?,
        Format::Text => output::print(&revoked.sentence())?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Whom the revocation of more than one identity concerns. Only a person at a terminal is asked: nothing may hold up a
/// revocation in a script.
fn impact(target: &Target) -> Option<String> {
    let whom = match target {
        Target::SpiffeIdPattern(pattern) => format!("all SPIFFE IDs of {pattern}"),
        Target::TrustDomain(name) => format!("all SPIFFE IDs of the trust domain {name}"),
        Target::Role(role) => {
            let name = AssignedRole::try_from(*role).map(name_of).unwrap_or_default();
            format!("all callers to whom the configuration gives the role {name}")
        }
        Target::Token(_)
        | Target::Jti(_)
        | Target::RevokedClientId(_)
        | Target::CertificateThumbprint(_)
        | Target::IssuedToClientId(_) => return None,
    };
    Some(format!("{whom} are refused then: their tokens, their requests for tokens, and their own calls"))
}

impl What {
    /// The target, and the certificate's expiry.
    fn read(self) -> Result<(Target, Option<Timestamp>), CommandError> {
        let Self { token, jti, client, certificate, thumbprint, issued_to, identity, trust_domain, role } = self;
        if let Some(path) = certificate {
            let certificate = Certificate::parse(&files::certificate(&path)?).map_err(|error| {
                let next = "name a certificate, or give its SHA-256 with --thumbprint";
                CommandError::new(format!("{}: {error}", path.display()), next)
            })?;
            let digest = certificate.thumbprint().as_bytes().to_vec();
            return Ok((Target::CertificateThumbprint(digest), Some(certificate.not_after())));
        }
        let token = token.map(TokenInput::read).transpose()?.map(Target::Token);
        let target = token
            .or_else(|| jti.map(Target::Jti))
            .or_else(|| client.map(Target::RevokedClientId))
            .or_else(|| thumbprint.map(|digest| Target::CertificateThumbprint(digest.as_bytes().to_vec())))
            .or_else(|| issued_to.map(Target::IssuedToClientId))
            .or_else(|| identity.map(Target::SpiffeIdPattern))
            .or_else(|| trust_domain.map(Target::TrustDomain))
            .or_else(|| role.map(|role| Target::Role(AssignedRole::from(role).into())));
        let target =
            target.ok_or_else(|| CommandError::new("nothing to revoke", "--help lists what can be revoked"))?;
        Ok((target, None))
    }
}

impl Revoked {
    fn new(target: &Target, until: Option<Timestamp>, lift: bool) -> Self {
        let (target, id) = match target {
            Target::Token(_) => ("token", None),
            Target::Jti(jti) => ("jti", Some(jti.clone())),
            Target::RevokedClientId(client_id) => ("client", Some(client_id.clone())),
            Target::IssuedToClientId(client_id) => ("issued_to", Some(client_id.clone())),
            Target::CertificateThumbprint(digest) => {
                ("certificate", CertificateThumbprint::from_digest(digest).map(|thumbprint| thumbprint.to_string()))
            }
            Target::SpiffeIdPattern(pattern) => ("identity", Some(pattern.clone())),
            Target::TrustDomain(name) => ("trust_domain", Some(name.clone())),
            Target::Role(role) => ("role", AssignedRole::try_from(*role).ok().map(name_of)),
        };
        let until = until.map(|until| prost_types::Timestamp { seconds: seconds(until), nanos: 0 }.to_string());
        Self { result: if lift { "lifted" } else { "revoked" }, target, id, until, warnings: Vec::new() }
    }

    /// Adds what the server answered.
    fn add(&mut self, response: &RevokeTokenResponse) {
        self.warnings = response.warnings().map(code_of).collect();
        if response.warnings().any(|warning| warning == RevocationWarning::LaterEndKept) {
            self.until = response.until.map(|until| until.to_string());
        }
    }

    fn sentence(&self) -> String {
        let id = self.id.as_deref().unwrap_or_default();
        let what = match self.target {
            "issued_to" => format!("everything issued to {id} up to now"),
            "trust_domain" => format!("trust domain {id}"),
            target => format!("{target} {id}"),
        };
        let done = if self.result == "lifted" { "no longer revoked" } else { "revoked" };
        let until = self.until.as_ref().map(|until| format!(" until {until}")).unwrap_or_default();
        format!("{} {done}{until}", what.trim_end())
    }
}

/// `admin` for `ASSIGNED_ROLE_ADMIN`, as `--role` takes it.
fn name_of(role: AssignedRole) -> String {
    role.as_str_name().trim_start_matches("ASSIGNED_ROLE_").to_lowercase()
}

fn code_of(warning: RevocationWarning) -> &'static str {
    let name = warning.as_str_name();
    name.strip_prefix("REVOCATION_WARNING_").unwrap_or(name)
}

fn sentence_of(warning: RevocationWarning) -> &'static str {
    match warning {
        RevocationWarning::UnknownTarget => {
            "the server knows nothing of this name, or no token that was used under it; it is revoked all the same: see \
             that the name is right"
        }
        RevocationWarning::LaterEndKept => {
            "it was revoked already until a later time, and that stays: to shorten it, lift it first"
        }
        RevocationWarning::AllOfCertificate => {
            "this client had revoked as many tokens as it may, so all tokens that were issued to this certificate up to now \
             are revoked"
        }
        RevocationWarning::NotRevoked => "it was not revoked",
        RevocationWarning::TokenNotValid => {
            "the token is not one of this server's that is still valid: nothing was revoked"
        }
        RevocationWarning::Unspecified => "the server warns of something that this command does not know",
    }
}

fn moment(text: &str) -> Result<Timestamp, &'static str> {
    let time = humantime::parse_rfc3339(text).ok();
    let since = time.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
    since.map(|since| Timestamp(since.as_secs())).ok_or("must be a time such as 2030-01-31T12:00:00Z")
}

/// A later time than the message can represent is replaced by the latest possible.
fn seconds(time: Timestamp) -> i64 {
    i64::try_from(time.0).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sentence(target: &Target, until: Option<u64>, lift: bool) -> String {
        Revoked::new(target, until.map(Timestamp), lift).sentence()
    }

    #[test]
    fn the_result_is_printed_without_the_token() {
        assert_eq!(sentence(&Target::Token("a.b.c".to_owned()), None, false), "token revoked");
        assert_eq!(sentence(&Target::Jti("7".to_owned()), None, false), "jti 7 revoked");
        let client = Target::RevokedClientId("billing".to_owned());
        assert_eq!(sentence(&client, None, true), "client billing no longer revoked");
        assert_eq!(sentence(&client, Some(0), false), "client billing revoked until 1970-01-01T00:00:00Z");
        let issued = Target::IssuedToClientId("billing".to_owned());
        assert_eq!(sentence(&issued, None, false), "everything issued to billing up to now revoked");
    }

    #[test]
    fn a_time_is_read_with_its_zone_and_not_before_1970() {
        assert_eq!(moment("2023-11-14T22:13:20Z").unwrap(), Timestamp(1_700_000_000));
        for bad in ["2023-11-14", "2023-11-14 22:13:20", "1969-12-31T23:59:59Z", "tomorrow"] {
            assert!(moment(bad).is_err(), "{bad}");
        }
    }
}
