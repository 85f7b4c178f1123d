//! The running server: whether it is ready, and its clock.

use std::io;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::Uri;

use crate::authority::clock::Timestamp;
use crate::cli::doctor::DoctorArguments;
use crate::cli::doctor::Environment;
use crate::cli::doctor::TIMEOUT;
use crate::cli::doctor::fault::Fault;
use crate::cli::doctor::http;
use crate::cli::doctor::http::Answer;
use crate::cli::doctor::report::Report;
use crate::cli::doctor::store::Held;
use crate::config::Config;
use crate::tls::outbound;

const CHECK: &str = "server";
pub(in crate::cli::doctor) const CLOCK: &str = "clock";

/// The permitted difference between two clocks.
const TOLERANCE: Duration = Duration::from_secs(5);

/// Whether a server runs from this configuration.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::cli::doctor) enum Running {
    /// A server answers.
    Yes,
    /// No server runs.
    No,
    /// A process has the store open, but its ops listener does not answer.
    Unknown,
}

/// Asks the ops listener, and compares clocks with it, or with the server of `--server`.
pub(in crate::cli::doctor) async fn check(
    config: &Config,
    held: Held,
    arguments: &DoctorArguments,
    environment: &Environment,
    report: &mut Report,
) -> Running {
    let ops = connect_address(config.listeners.ops);
    let subject = format!("http://{ops}");
    let before = environment.clock.now();
    // If no process has the store open, a server that answers there is another one.
    let answer =
        if held == Held::Free { Err(io::ErrorKind::NotConnected.into()) } else { in_time(ask_lanyard(ops)).await };
    let after = environment.clock.now();
    let (running, date) = match (held, answer) {
        (Held::InUse | Held::Unknown, Ok(answer)) => {
            if answer.status.is_success() {
                report.ok(CHECK, subject.clone(), "it runs and is ready");
            } else {
                let problem = format!("it runs and is not ready: /readyz says {}", answer.body.trim());
                report.fault(CHECK, subject.clone(), Fault::ServerNotReady, problem);
            }
            (Running::Yes, answer.date)
        }
        (Held::InUse, Err(_)) if ops.port() == 0 => {
            report.not_checked(CHECK, subject.clone(), "a server runs, and its ops listener chose a port by itself");
            (Running::Unknown, None)
        }
        (Held::InUse, Err(error)) => {
            let problem = format!("a process has the store open, but its ops listener does not answer: {error}");
            report.fault(CHECK, subject.clone(), Fault::ServerUnreachable, problem);
            (Running::Unknown, None)
        }
        (Held::Free, _) | (Held::Unknown, Err(_)) => {
            report.ok(CHECK, "", "none runs from this configuration");
            (Running::No, None)
        }
    };
    match (&arguments.server, date) {
        (Some(url), _) => check_named(url, arguments.ca.as_deref(), environment, report).await,
        (None, Some(date)) => compare(&subject, date, (before, after), report),
        (None, None) => report.not_checked(CLOCK, "", "no server answers here: name one with --server"),
    }
    running
}

async fn check_named(url: &Uri, ca: Option<&Path>, environment: &Environment, report: &mut Report) {
    let subject = url.to_string();
    let subject = subject.trim_end_matches('/');
    let before = environment.clock.now();
    match in_time(ask(url, ca, environment)).await {
        Ok(Answer { date: Some(date), .. }) => {
            compare(subject, date, (before, environment.clock.now()), report);
        }
        Ok(Answer { date: None, .. }) => report.not_checked(CLOCK, subject, "its response has no Date"),
        Err(error) => {
            report.fault(CHECK, subject, Fault::ServerUnreachable, format!("it does not answer: {error}"));
            report.not_checked(CLOCK, subject, "it does not answer");
        }
    }
}

/// Compares the server's time with this machine's before the request and after the response.
pub(in crate::cli::doctor) fn compare(
    subject: &str,
    date: Timestamp,
    (before, after): (Timestamp, Timestamp),
    report: &mut Report,
) {
    let (behind, ahead) = (date.until(before), after.until(date));
    let problem = if behind > TOLERANCE {
        format!("the server's clock is {} behind this machine's", humantime::format_duration(behind))
    } else if ahead > TOLERANCE {
        format!("the server's clock is {} ahead of this machine's", humantime::format_duration(ahead))
    } else {
        report.ok(CLOCK, subject, format!("within {} of this machine's", humantime::format_duration(TOLERANCE)));
        return;
    };
    report.fault(CLOCK, subject, Fault::ClockSkewed, problem);
}

/// The response of `/readyz`, if the listener is a Lanyard's.
async fn ask_lanyard(address: SocketAddr) -> io::Result<Answer> {
    let host = address.to_string();
    let metrics = http::get(TcpStream::connect(address).await?, &host, "/metrics").await?;
    if !metrics.body.contains("lanyard_build_info") {
        return Err(io::Error::other("the listener there is not a Lanyard's"));
    }
    http::get(TcpStream::connect(address).await?, &host, "/readyz").await
}

async fn ask(url: &Uri, ca: Option<&Path>, environment: &Environment) -> io::Result<Answer> {
    const PATH: &str = "/oauth2/jwks";
    let is_https = url.scheme_str() == Some("https");
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let authority = url.authority().map(ToString::to_string).unwrap_or_default();
    let port = url.port_u16().unwrap_or(if is_https { 443 } else { 80 });
    let stream = TcpStream::connect((host.as_str(), port)).await?;
    if !is_https {
        return http::get(stream, &authority, PATH).await;
    }
    let (provider, clock) = (Arc::clone(&environment.provider), Arc::clone(&environment.clock));
    let tls = outbound::config(ca, provider, clock).map_err(io::Error::other)?;
    let name = ServerName::try_from(host).map_err(io::Error::other)?;
    let stream = TlsConnector::from(Arc::new(tls)).connect(name, stream).await?;
    http::get(stream, &authority, PATH).await
}

async fn in_time<T>(request: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(TIMEOUT, request).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// The address to connect to: loopback in place of an unspecified address.
fn connect_address(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::from(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::from(Ipv6Addr::LOCALHOST),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, address.port())
}
