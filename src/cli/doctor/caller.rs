//! `--client`: what a workload needs that gets tokens, from its own machine and with its own files alone.

use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio::net::lookup_host;
use tokio::time::timeout;
use tonic::Code;
use tonic::transport::Uri;

use crate::authority::clock::Timestamp;
use crate::authority::identity::Certificate;
use crate::authority::identity::is_spiffe_uri;
use crate::authority::trust::client_fault;
use crate::cli::connect::DEFAULT_SERVER;
use crate::cli::connect_error;
use crate::cli::context::selected::SelectedContext;
use crate::cli::doctor::CallerArguments;
use crate::cli::doctor::DoctorArguments;
use crate::cli::doctor::Environment;
use crate::cli::doctor::TIMEOUT;
use crate::cli::doctor::fault::Fault;
use crate::cli::doctor::http::parse_date;
use crate::cli::doctor::report::Report;
use crate::cli::doctor::server::CLOCK;
use crate::cli::doctor::server::compare;
use crate::cli::doctor::validity::Validity;
use crate::cli::error::CommandError;
use crate::cli::moment::moment;
use crate::cli::status;
use crate::cli::status::Needs;
use crate::client::connection;
use crate::client::connection::Channel;
use crate::client::connection::ConnectError;
use crate::client::connection::server_url;
use crate::client::files;
use crate::client::files::ConnectionFiles;
use crate::proto::IssueTokenRequest;
use crate::proto::OwnRegistration;
use crate::proto::WhoAmIRequest;
use crate::proto::token_service_client::TokenServiceClient;
use crate::trace_context::IncomingTrace;

const FILES: &str = "caller_files";
const CERTIFICATE: &str = "caller_certificate";
const ADDRESS: &str = "server_address";
const CONNECTION: &str = "server_connection";
const REGISTRATION: &str = "caller_registration";
const TOKEN: &str = "caller_token";

/// How long before its end a certificate counts as expiring soon; of a short one, the last fifth of its life.
const NOTICE: Duration = Duration::from_hours(14 * 24);

/// What is checked.
struct Settings {
    server: Uri,
    files: ConnectionFiles,
}

impl Settings {
    fn of(arguments: &DoctorArguments) -> Result<Self, CommandError> {
        let CallerArguments { cert, key, context, lanyard_server, .. } = &arguments.caller;
        let named = arguments.server.as_ref().map(ToString::to_string).or_else(|| lanyard_server.clone());
        let is_complete = named.is_some() && arguments.ca.is_some() && cert.is_some() && key.is_some();
        let context = if is_complete && context.is_none() {
            SelectedContext::NONE
        } else {
            SelectedContext::read(context.as_deref())?
        };
        let server = match (named, context.server()) {
            (Some(named), _) => server_url(&named),
            (None, Some(server)) => Ok(server.clone()),
            (None, None) => server_url(DEFAULT_SERVER),
        };
        let server = server.map_err(|problem| {
            CommandError::new(format!("with --client, --server {problem}"), "name the mTLS listener of the server")
        })?;
        let path = |given: &Option<PathBuf>, of_context: Option<&Path>, flag: &str| {
            given.clone().or_else(|| of_context.map(ToOwned::to_owned)).ok_or_else(|| {
                CommandError::new(format!("--client needs {flag}"), "name the file, or a --context that names it")
            })
        };
        let files = ConnectionFiles {
            ca: path(&arguments.ca, context.ca(), "--ca")?,
            cert: path(cert, context.cert(), "--cert")?,
            key: path(key, context.key(), "--key")?,
        };
        Ok(Self { server, files })
    }
}

/// Checks the files, the way to the server, and what the server says of the certificate.
pub(in crate::cli::doctor) async fn check(
    arguments: &DoctorArguments,
    environment: &Environment,
    report: &mut Report,
) -> Result<(), CommandError> {
    let Settings { server, files } = Settings::of(arguments)?;
    let tls = check_files(&files, report);
    check_certificate(&files, environment.now, report);
    let is_reached = check_address(&server, report).await;
    let channel = match (tls, is_reached) {
        (Some(tls), true) => connect(&server, tls, &files, environment.now, report).await,
        (None, _) => {
            report.not_checked(CONNECTION, "", "the files cannot be used");
            None
        }
        (Some(_), false) => {
            report.not_checked(CONNECTION, "", "the server cannot be reached");
            None
        }
    };
    if let Some(channel) = channel {
        check_caller(channel, &server, environment, report).await;
    } else {
        for check in [REGISTRATION, TOKEN, CLOCK] {
            report.not_checked(check, "", "there is no connection");
        }
    }
    Ok(())
}

fn check_files(files: &ConnectionFiles, report: &mut Report) -> Option<ClientConfig> {
    match files.read().and_then(|contents| files.tls(&contents)) {
        Ok(tls) => {
            report.ok(
                FILES,
                files.cert.display().to_string(),
                "it can be read, and so can its key, which fits, and the CAs",
            );
            Some(tls)
        }
        Err(error) => {
            report.fault_of(FILES, "", Fault::CallerFileUnusable, &CommandError::from(error));
            None
        }
    }
}

fn check_certificate(files: &ConnectionFiles, now: Timestamp, report: &mut Report) {
    let subject = files.cert.display().to_string();
    let der = files::certificate(&files.cert).ok();
    let Some((der, certificate)) = der.and_then(|der| Certificate::parse(&der).ok().map(|parsed| (der, parsed))) else {
        return report.not_checked(CERTIFICATE, subject, "the certificate cannot be read");
    };
    let until = moment(certificate.not_after());
    let (fault, message) = match (Validity::of(&certificate, now, NOTICE), client_fault(&der, now)) {
        (Validity::Expired, _) => (Fault::CallerCertificateExpired, format!("it expired at {until}")),
        (Validity::NotYetValid, _) => {
            let from = moment(certificate.not_before());
            (Fault::CallerCertificateNotYetValid, format!("it is valid from {from} on"))
        }
        (Validity::Valid | Validity::ExpiresSoon, Some(fault)) => (Fault::CallerCertificateInvalid, fault.to_string()),
        (Validity::ExpiresSoon, None) => (Fault::CallerCertificateExpiresSoon, format!("it expires at {until}")),
        (Validity::Valid, None) => {
            let spiffe_id = certificate.names().uri.iter().find(|uri| is_spiffe_uri(uri));
            let identity = spiffe_id.map_or("no SPIFFE ID", |id| id.as_str());
            return report.ok(CERTIFICATE, subject, format!("{identity}, valid until {until}"));
        }
    };
    report.fault(CERTIFICATE, subject, fault, message);
}

/// Whether the server's name has an address, and one of them accepts connections.
async fn check_address(server: &Uri, report: &mut Report) -> bool {
    let host = server.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let port = server.port_u16().unwrap_or(443);
    let subject = format!("{}:{port}", server.host().unwrap_or_default());
    let found = in_time(async { lookup_host((host.as_str(), port)).await.map(Iterator::collect::<Vec<_>>) }).await;
    let addresses = match found {
        Ok(addresses) if !addresses.is_empty() => addresses,
        Ok(_) => {
            report.fault(ADDRESS, subject, Fault::ServerNameUnresolved, "its name has no address");
            return false;
        }
        Err(error) => {
            report.fault(ADDRESS, subject, Fault::ServerNameUnresolved, format!("its name is not resolved: {error}"));
            return false;
        }
    };
    match in_time(TcpStream::connect(addresses.as_slice())).await {
        Ok(stream) => {
            let address = stream.peer_addr().map(|address| address.to_string()).unwrap_or_default();
            report.ok(ADDRESS, subject, format!("{address} accepts connections"));
            true
        }
        Err(error) => {
            let next = "see whether --server is right, whether the server runs, and whether a firewall or a NetworkPolicy is in between";
            let error = CommandError::new(format!("it does not accept connections: {error}"), next);
            report.fault_of(ADDRESS, subject, Fault::ServerUnreachable, &error);
            false
        }
    }
}

/// The TLS connection: the server's certificate and name, and whether it accepts the workload's certificate.
async fn connect(
    server: &Uri,
    tls: ClientConfig,
    files: &ConnectionFiles,
    now: Timestamp,
    report: &mut Report,
) -> Option<Channel> {
    let subject = server.authority().map(ToString::to_string).unwrap_or_default();
    let error = match connection::connect(server, Arc::new(tls), IncomingTrace::from_raw(&[])).await {
        Ok(channel) => {
            report.ok(CONNECTION, subject, "its certificate is trusted and has this name, and it accepts yours");
            return Some(channel);
        }
        Err(error) => error,
    };
    let (fault, error) = if let Some(cause) = connection::find::<ConnectError>(&error) {
        let fault = match cause {
            ConnectError::Unreachable(..) | ConnectError::TimedOut(..) => Fault::ServerUnreachable,
            ConnectError::Tls(..) => Fault::ServerTlsFailed,
            ConnectError::Refused(..) => Fault::CallerCertificateRefused,
        };
        (fault, connect_error::explain(cause, files::certificate(&files.cert).ok().as_ref(), now))
    } else {
        let next = "see whether --server names the mTLS listener, which speaks HTTP/2";
        (Fault::ServerTlsFailed, CommandError::new(connection::root_cause(&error), next))
    };
    report.fault_of(CONNECTION, subject, fault, &error);
    None
}

/// What the certificate is to the server, a token for it, and the server's clock.
async fn check_caller(channel: Channel, server: &Uri, environment: &Environment, report: &mut Report) {
    let subject = server.authority().map(ToString::to_string).unwrap_or_default();
    let mut tokens = TokenServiceClient::new(channel);
    let before = environment.clock.now();
    let answer = tokens.who_am_i(WhoAmIRequest {}).await;
    let after = environment.clock.now();
    let metadata = match &answer {
        Ok(answer) => answer.metadata(),
        Err(status) => status.metadata(),
    };
    let date = metadata.get("date").and_then(|date| date.to_str().ok()).and_then(parse_date);
    match answer {
        Ok(answer) => {
            let answer = answer.into_inner();
            check_registrations(&answer.registrations, report);
            match answer.registrations.iter().find(|own| own.problem.is_empty()) {
                Some(own) => check_token(&mut tokens, own, report).await,
                None => report.not_checked(TOKEN, "", "no registration gets tokens"),
            }
        }
        Err(status) => {
            let is_refused = matches!(status.code(), Code::PermissionDenied | Code::Unauthenticated);
            let fault = if is_refused { Fault::CallerNotRegistered } else { Fault::ServerNotReady };
            report.fault_of(REGISTRATION, "", fault, &status::explain(&status, Needs::AnyRole));
            report.not_checked(TOKEN, "", "the server does not say what the certificate is");
        }
    }
    match date {
        Some(date) => compare(&subject, date, (before, after), report),
        None => report.not_checked(CLOCK, subject, "its answer has no Date"),
    }
}

fn check_registrations(registrations: &[OwnRegistration], report: &mut Report) {
    if registrations.is_empty() {
        report.fault(REGISTRATION, "", Fault::CallerNotRegistered, "no client is registered for this certificate");
    }
    for own in registrations {
        let by = if own.registered_client_id == own.client_id {
            String::new()
        } else {
            format!("by {}, ", own.registered_client_id)
        };
        if own.problem.is_empty() {
            let message = format!("{by}{}, for {}", own.token_endpoint_auth_method, own.audience.join(" "));
            report.ok(REGISTRATION, own.client_id.clone(), message);
        } else {
            report.fault(REGISTRATION, own.client_id.clone(), Fault::CallerGetsNoToken, own.problem.clone());
        }
    }
}

/// Gets a token and drops it.
async fn check_token(tokens: &mut TokenServiceClient<Channel>, own: &OwnRegistration, report: &mut Report) {
    let subject = own.client_id.clone();
    if own.token_endpoint_auth_method == "spiffe_jwt" {
        return report.not_checked(TOKEN, subject, "it takes a JWT-SVID as well");
    }
    let request = IssueTokenRequest { client_id: own.client_id.clone(), ..IssueTokenRequest::default() };
    match tokens.issue_token(request).await {
        Ok(_) => report.ok(TOKEN, subject, "it was issued, and is not kept"),
        Err(status) => {
            report.fault_of(TOKEN, subject, Fault::CallerGetsNoToken, &status::explain(&status, Needs::Workload));
        }
    }
}

async fn in_time<T>(request: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(TIMEOUT, request).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
