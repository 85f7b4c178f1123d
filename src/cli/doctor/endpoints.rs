//! The server's listeners, and the endpoints that it contacts.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use rustix::fs::Access;
use tokio::net::TcpSocket;
use tokio::net::TcpStream;

use crate::cli::doctor::Environment;
use crate::cli::doctor::TIMEOUT;
use crate::cli::doctor::fault::Fault;
use crate::cli::doctor::report::Report;
use crate::cli::doctor::server::Running;
use crate::config::Config;
use crate::config::forwarded::Forwarded;
use crate::server::federation_endpoint;
use crate::telemetry::otlp;
use crate::trust_sources::addresses::Reach;
use crate::trust_sources::bundle_endpoint::Profile;
use crate::trust_sources::bundle_endpoint::RefreshError;
use crate::trust_sources::files;

const LISTENER: &str = "listener";
const FEDERATION: &str = "federation";
const JWKS_URI: &str = "jwks_uri";
const OTLP: &str = "otlp";

/// Checks that the server listens on its addresses, or could listen if it ran. No connection is opened, since an unused
/// one counts as a failed handshake at the server.
pub(in crate::cli::doctor) fn check_listeners(config: &Config, running: Running, report: &mut Report) {
    let listeners = config.listeners;
    let mut addresses = vec![("mtls", listeners.mtls), ("public", listeners.public), ("ops", listeners.ops)];
    match &config.forwarded {
        Some(Forwarded::Unix { path, .. }) => check_socket("forwarded", path, running, report),
        Some(Forwarded::Mutual { address, .. } | Forwarded::Insecure { address }) => {
            addresses.push(("forwarded", *address));
        }
        None => {}
    }
    if let Some(local) = &config.local {
        check_socket("local", &local.path, running, report);
    }
    for (name, address) in addresses {
        let subject = format!("{name} ({address})");
        if running == Running::Unknown {
            report.not_checked(LISTENER, subject, "the server does not answer");
            continue;
        }
        match (running, try_address(address)) {
            (Running::Yes, _) if address.port() == 0 => {
                report.not_checked(LISTENER, subject, "the server chose a port by itself");
            }
            (Running::Yes, Err(error)) if error.kind() == io::ErrorKind::AddrInUse => {
                report.ok(LISTENER, subject, "the server listens there");
            }
            (Running::Yes, _) => {
                let problem = "the server runs, but does not listen there";
                report.fault(LISTENER, subject, Fault::ListenerUnreachable, problem);
            }
            (_, Ok(())) => report.ok(LISTENER, subject, "the address is free"),
            (_, Err(error)) if error.kind() == io::ErrorKind::AddrInUse => {
                let problem = "another process listens there, and no server runs from this configuration";
                report.fault(LISTENER, subject, Fault::ListenerAddressInUse, problem);
            }
            (_, Err(error)) => {
                let problem = format!("a server could not listen there: {error}");
                report.fault(LISTENER, subject, Fault::ListenerAddressUnusable, problem);
            }
        }
    }
}

/// Binds the address without listening on it, which does not hinder another process.
fn try_address(address: SocketAddr) -> io::Result<()> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)
}

fn check_socket(name: &str, path: &Path, running: Running, report: &mut Report) {
    let subject = format!("{name} ({})", path.display());
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match running {
        Running::Unknown => report.not_checked(LISTENER, subject, "the server does not answer"),
        Running::Yes => {
            if fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket()) {
                report.ok(LISTENER, subject, "its socket exists");
            } else {
                let problem = "the server runs, but its socket does not exist";
                report.fault(LISTENER, subject, Fault::ListenerUnreachable, problem);
            }
        }
        Running::No => match rustix::fs::access(parent, Access::WRITE_OK | Access::EXEC_OK) {
            Ok(()) => report.ok(LISTENER, subject, "a server can create its socket"),
            Err(error) => {
                let problem = format!("a server cannot create its socket there: {error}");
                report.fault(LISTENER, subject, Fault::ListenerAddressUnusable, problem);
            }
        },
    }
}

/// Fetches from the bundle endpoints as a server does, and connects to the allowed hosts of `jwks_uri`.
pub(in crate::cli::doctor) async fn check_outbound(config: &Config, environment: &Environment, report: &mut Report) {
    for published in &config.federation {
        let subject = format!("{} ({})", published.trust_domain, published.url.as_str());
        let endpoint = match federation_endpoint(published, &environment.provider, &environment.clock) {
            Ok(endpoint) => endpoint,
            Err(error) if matches!(published.profile, Profile::HttpsWeb { ca: None }) => {
                report.fault(FEDERATION, subject, Fault::FederationUnreachable, error.to_string());
                continue;
            }
            Err(_) => {
                report.not_checked(FEDERATION, subject, "the file with the endpoint's roots cannot be used");
                continue;
            }
        };
        if let Some(other) = endpoint.authenticated_by() {
            let Some(roots) = config.trust.bundles.get(other).and_then(|file| files::roots(file).ok()) else {
                let reason =
                    format!("its endpoint is authenticated by the bundle of {other}, which a running server has");
                report.not_checked(FEDERATION, subject, reason);
                continue;
            };
            endpoint.authenticate_with(roots);
        }
        match endpoint.refresh().await {
            Ok(_) => report.ok(FEDERATION, subject, "its bundle can be fetched"),
            Err(RefreshError::Fetch(error)) => {
                let problem = format!("its bundle cannot be fetched: {error}");
                report.fault(FEDERATION, subject, Fault::FederationUnreachable, problem);
            }
            Err(error @ (RefreshError::Invalid(_) | RefreshError::Older { .. })) => {
                let problem = format!("the fetched document is invalid: {error}");
                report.fault(FEDERATION, subject, Fault::FederationInvalid, problem);
            }
        }
    }
    for (host, port) in config.policy.jwks_uri.allowed_hosts.hosts() {
        check_host(host, port, config.jwks_uri.allow_private_addresses, report).await;
    }
}

async fn check_host(host: &str, port: u16, allow_private: bool, report: &mut Report) {
    let subject = format!("{host}:{port}");
    let connecting = async {
        let addresses: Vec<SocketAddr> = tokio::net::lookup_host((host, port)).await?.collect();
        let allowed = |address: &SocketAddr| match Reach::of(address.ip()) {
            Reach::Public => true,
            Reach::Private => allow_private,
            Reach::Never => false,
        };
        let Some(address) = addresses.into_iter().find(allowed) else { return Ok(None) };
        TcpStream::connect(address).await.map(|_| Some(address))
    };
    match tokio::time::timeout(TIMEOUT, connecting).await {
        Ok(Ok(Some(address))) => report.ok(JWKS_URI, subject, format!("{} can be reached", address.ip())),
        Ok(Ok(None)) => {
            let problem = "all addresses of the host are private or reserved, and such are not contacted";
            report.fault(JWKS_URI, subject, Fault::JwksHostPrivate, problem);
        }
        Ok(Err(error)) => {
            report.fault(JWKS_URI, subject, Fault::JwksHostUnreachable, format!("cannot reach the host: {error}"));
        }
        Err(_) => {
            let problem = format!("the host did not answer within {TIMEOUT:?}");
            report.fault(JWKS_URI, subject, Fault::JwksHostUnreachable, problem);
        }
    }
}

/// Checks that the collector accepts a connection, if one is configured.
pub(in crate::cli::doctor) async fn check_collector(collector: Option<&otlp::Config>, report: &mut Report) {
    let Some(collector) = collector else { return };
    let Some(host) = collector.endpoint.host().map(|host| host.trim_matches(['[', ']'])) else { return };
    let default = if collector.endpoint.scheme_str() == Some("https") { 443 } else { 80 };
    let port = collector.endpoint.port_u16().unwrap_or(default);
    let subject = format!("{host}:{port}");
    match tokio::time::timeout(TIMEOUT, TcpStream::connect((host, port))).await {
        Ok(Ok(_)) => report.ok(OTLP, subject, "it accepts connections"),
        Ok(Err(error)) => report.fault(OTLP, subject, Fault::OtlpUnreachable, format!("cannot reach it: {error}")),
        Err(_) => {
            let problem = format!("it did not answer within {TIMEOUT:?}");
            report.fault(OTLP, subject, Fault::OtlpUnreachable, problem);
        }
    }
}
