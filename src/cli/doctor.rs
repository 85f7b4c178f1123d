//! `lanyard doctor`: checks everything that a server needs, whether one runs or not, and reports each problem with the
//! next step.
//!
//! It changes nothing: the store is opened in a copy, addresses are tried without listening on them, and requests over
//! the network are those that a server or a probe makes.

mod caller;
mod certificate;
mod clients;
mod configuration;
mod descriptors;
mod disk;
mod endpoints;
mod envoy;
mod exchange;
mod exchange_issuers;
mod fault;
mod http;
mod issuers;
mod memory;
mod permissions;
mod pkcs11;
mod registrations;
mod report;
mod resources;
mod roots;
mod server;
mod severity;
mod store;
mod validity;
mod workload_api;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs;
use tonic::transport::Uri;

use crate::authority::clock::Clock;
use crate::authority::clock::SystemClock;
use crate::authority::clock::Timestamp;
use crate::cli::doctor::report::Report;
use crate::cli::doctor::severity::Status;
use crate::cli::error::CommandError;
use crate::cli::origins;
use crate::cli::output::Format;
use crate::config::Inspected;
use crate::limits::Machine;

/// The timeout of each request over the network.
const TIMEOUT: Duration = Duration::from_secs(5);

/// All checks after the first. They need its result.
const AFTER_THE_CONFIGURATION: [&str; 21] = [
    "key_encryption_key",
    "key_file",
    "pkcs11",
    "descriptors",
    "workload_api",
    "server_certificate",
    "bundle",
    "client_ca",
    "ca_file",
    "store",
    "resource",
    "exchange",
    "disk",
    "memory",
    "server",
    "clock",
    "listener",
    "federation",
    "jwks_uri",
    "trusted_issuer",
    "otlp",
];

#[derive(Args, Debug)]
pub(in crate::cli) struct DoctorArguments {
    /// The configuration file.
    #[arg(long, value_name = "FILE", env = "LANYARD_CONFIG", required_unless_present_any = ["envoy", "client"])]
    config: Option<PathBuf>,
    /// Also checks a proxy: a configuration of Envoy in YAML or JSON, or the dump that its admin interface prints. May be
    /// given several times, and without --config.
    #[arg(long, value_name = "FILE")]
    envoy: Vec<PathBuf>,
    /// A listener of the running server to compare clocks with, if that is not on this machine: its ops listener by
    /// http, or its public one by https. With --client: the mTLS listener of the server.
    #[arg(long, value_name = "URL", value_parser = server_url)]
    server: Option<Uri>,
    /// PEM file with the CA certificates that are trusted for --server; without it the machine's.
    #[arg(long, value_name = "FILE", env = "LANYARD_CA")]
    ca: Option<PathBuf>,
    #[command(flatten)]
    caller: CallerArguments,
    /// How many MiB must be free where the store is. Below it the disk is full; below four times it, it is filling.
    #[arg(long, value_name = "MIB", default_value_t = 64)]
    min_free: u64,
}

#[derive(Args, Debug)]
struct CallerArguments {
    /// Checks what a workload needs that gets tokens: its files, the server that --server names (its mTLS listener, with
    /// --ca), its registration, and a token, which is not shown. Needs no --config.
    #[arg(long)]
    client: bool,
    /// With --client: PEM file with the workload's certificate, followed by its intermediates.
    #[arg(long, value_name = "FILE", env = origins::CERT)]
    cert: Option<PathBuf>,
    /// With --client: PEM file with the private key of the certificate.
    #[arg(long, value_name = "FILE", env = origins::KEY)]
    key: Option<PathBuf>,
    /// With --client: take what is left out from this context; see `lanyard context`.
    #[arg(long, value_name = "NAME", env = "LANYARD_CONTEXT")]
    context: Option<String>,
    #[arg(long, env = origins::SERVER, hide = true)]
    lanyard_server: Option<String>,
}

/// The environment of all checks.
struct Environment {
    now: Timestamp,
    clock: Arc<dyn Clock>,
    provider: Arc<CryptoProvider>,
}

pub(in crate::cli) async fn run(arguments: DoctorArguments, format: Format) -> Result<ExitCode, CommandError> {
    let mut report = Report::default();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let environment = Environment { now: clock.now(), clock, provider: Arc::new(aws_lc_rs::default_provider()) };
    if let Some(config) = &arguments.config {
        match configuration::check(config, &mut report) {
            Some(inspected) => examine(&arguments, &inspected, &environment, &mut report).await,
            None => {
                for check in AFTER_THE_CONFIGURATION {
                    report.not_checked(check, "", "the configuration cannot be read");
                }
            }
        }
    }
    if arguments.caller.client {
        caller::check(&arguments, &environment, &mut report).await?;
    }
    for path in &arguments.envoy {
        envoy::check(path, &mut report);
    }
    report.print(format)?;
    Ok(if report.count(Status::Error) == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn examine(arguments: &DoctorArguments, inspected: &Inspected, environment: &Environment, report: &mut Report) {
    let config = &inspected.config;
    let key = configuration::check_key(inspected, report);
    permissions::check(inspected, report);
    descriptors::check(config, report);
    let identity = match &config.workload_api {
        Some(workload_api) => workload_api::check(workload_api, report).await,
        None => None,
    };
    match (&config.tls.certificate, &config.workload_api) {
        (Some(files), _) => certificate::check_files(files, config, environment, report),
        (None, Some(_)) => certificate::check_svid(identity.as_ref(), config, environment, report),
        (None, None) => {}
    }
    roots::check(config, environment.now, report);
    let token = pkcs11::check(config, environment, report);
    let store = store::check(config, key, token.as_ref(), environment, report).await;
    disk::check(config, arguments.min_free, report);
    memory::check(config, Machine::detect(), report);
    let running = server::check(config, store, arguments, environment, report).await;
    endpoints::check_listeners(config, running, report);
    endpoints::check_outbound(config, environment, report).await;
    issuers::check(config, environment, report).await;
    endpoints::check_collector(config.otlp.as_ref(), report).await;
}

/// Parses the URL of a listener.
fn server_url(text: &str) -> Result<Uri, &'static str> {
    const SHAPE: &str = "must be http://HOST:PORT or https://HOST:PORT, such as https://lanyard.example:8444";
    let uri: Uri = text.parse().map_err(|_| SHAPE)?;
    let valid = matches!(uri.scheme_str(), Some("http" | "https"))
        && uri.host().is_some_and(|host| !host.is_empty())
        && uri.path() == "/"
        && uri.query().is_none()
        && !uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
    if valid { Ok(uri) } else { Err(SHAPE) }
}
