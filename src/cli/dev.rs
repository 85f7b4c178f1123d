//! `lanyard dev`: the server with built-in defaults. Makes a throwaway trust domain, serves it, registers samples, runs
//! the demonstration once, and keeps serving.

mod certificates;
mod demonstration;
mod samples;
mod steps;

use std::fs;
use std::future;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use serde_json::json;
use zeroize::Zeroizing;

use crate::authority::clock::Clock as _;
use crate::authority::clock::SystemClock;
use crate::cli::error::CommandError;
use crate::cli::output;
use crate::cli::output::Format;
use crate::cli::serve::StopSignals;
use crate::cli::serve::files_for_this_user_only;
use crate::config;
use crate::config::Listeners;
use crate::server::Environment;
use crate::server::Server;
use crate::server::Sockets;
use crate::server::StartError;
use crate::telemetry;
use crate::telemetry::FlushLog;

/// The throwaway trust domain.
const TRUST_DOMAIN: &str = "dev.internal";

const CONFIG: &str = "lanyard.yaml";
const KEY_ENCRYPTION_KEY: &str = "key-encryption-key";

#[derive(Args, Debug)]
pub(in crate::cli) struct DevArguments {
    /// The directory of the certificates, the configuration and the data.
    #[arg(long, value_name = "DIR", default_value = ".lanyard-dev")]
    dir: PathBuf,
    /// Stops after the demonstration; fails unless every step has the expected result.
    #[arg(long)]
    once: bool,
    /// gRPC and OAuth, with a client certificate. Port 0 takes any that is free.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8443")]
    listen_mtls: SocketAddr,
    /// The public keys, without a client certificate.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8444")]
    listen_public: SocketAddr,
    /// Probes.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9464")]
    listen_ops: SocketAddr,
}

pub(in crate::cli) async fn run(arguments: DevArguments, format: Format) -> Result<ExitCode, CommandError> {
    let DevArguments { dir, once, listen_mtls, listen_public, listen_ops } = arguments;
    let listeners = Listeners { mtls: listen_mtls, public: listen_public, ops: listen_ops };
    loopback_only(&listeners)?;
    let stop = StopSignals::watch()?;
    let _last_lines = FlushLog;
    files_for_this_user_only();
    let dir = prepare(&dir)?;
    certificates::make(&dir, SystemClock.now())?;
    let sockets = Sockets::bind(&listeners).await.map_err(|error| {
        CommandError::new(
            error.to_string(),
            "stop what listens there, or choose other ports with --listen-mtls, --listen-public and --listen-ops",
        )
    })?;
    let addresses = sockets.addresses().map_err(|error| failed(&dir, &error))?;
    // The server is started from the file that it leaves behind, so that `lanyard serve` finds exactly what ran here.
    // The file of a server that is already running on this directory is not changed: the store refuses to be opened
    // twice.
    let (draft, path) = (dir.join(format!("{CONFIG}.new")), dir.join(CONFIG));
    fs::write(&draft, configuration(&addresses)).map_err(|error| cannot_write(&draft, &error))?;
    let mut config = config::load(&draft).map_err(|error| failed(&dir, &error))?;
    // The draft is removed, and the final file is written again at each start.
    config.source = None;
    // Traces would start with the log, which starts after the demonstration, and would lack the first half.
    config.otlp = None;
    let log = config.log.clone();
    let started = Server::prepare(config, sockets, Environment::default()).await;
    let mut server = started.map_err(|error| not_started(&dir, &error))?;
    fs::rename(&draft, &path).map_err(|error| cannot_write(&path, &error))?;

    let demonstration = async {
        samples::register(&dir, addresses.mtls.port()).await?;
        server.ready();
        match demonstrate(&dir, addresses, format).await {
            Ok(()) => {}
            Err(error) if once => return Err(error),
            // Samples that were changed since the first start may end it otherwise.
            Err(error) => output::print_error(&error, format),
        }
        if once {
            return Ok(ExitCode::SUCCESS);
        }
        if format == Format::Text {
            output::print(&demonstration::commands(&dir, addresses))?;
        }
        // The log starts here, so that it does not interrupt the demonstration.
        telemetry::start(&log, None, &Arc::default()).map_err(|error| failed(&dir, &error))?;
        future::pending().await
    };
    let outcome = tokio::select! {
        outcome = demonstration => outcome,
        // An interrupted demonstration has failed.
        () = stop.received() => Ok(if once { ExitCode::FAILURE } else { ExitCode::SUCCESS }),
    };
    server.stop().await;
    outcome
}

async fn demonstrate(dir: &Path, addresses: Listeners, format: Format) -> Result<(), CommandError> {
    let (mtls, public) = (addresses.mtls.port(), addresses.public.port());
    if format == Format::Text {
        output::print(&format!(
            "Lanyard serves: https://localhost:{mtls} (mTLS), https://localhost:{public} (public), http://{} (probes)\n\n",
            addresses.ops,
        ))?;
    }
    let shown = demonstration::run(dir, mtls, format).await?;
    match format {
        Format::Text => Ok(()),
        Format::Json => output::print_json(&json!({
            "mtls": format!("https://localhost:{mtls}"),
            "public": format!("https://localhost:{public}"),
            "ops": format!("http://{}", addresses.ops),
            "directory": dir,
            "demonstration": shown,
        })),
    }
}

/// Only loopback: the private keys of this set-up, the CA's included, are plain files in a directory.
fn loopback_only(listeners: &Listeners) -> Result<(), CommandError> {
    let flags =
        [("--listen-mtls", listeners.mtls), ("--listen-public", listeners.public), ("--listen-ops", listeners.ops)];
    match flags.into_iter().find(|(_, address)| !address.ip().is_loopback()) {
        None => Ok(()),
        Some((flag, address)) => Err(CommandError::new(
            format!("{flag} {address} is not a loopback address, and `lanyard dev` is for this machine only"),
            format!("choose {flag} 127.0.0.1:{}; what others may reach must be run by `lanyard serve`", address.port()),
        )),
    }
}

fn failed(dir: &Path, error: &dyn std::fmt::Display) -> CommandError {
    CommandError::new(
        error.to_string(),
        format!("if nothing in {} is worth keeping, remove it and start again", dir.display()),
    )
}

fn not_started(dir: &Path, error: &StartError) -> CommandError {
    if error.is_store_in_use() {
        let next = "stop the server that runs on this directory, or choose another directory with --dir";
        return CommandError::new(error.to_string(), next);
    }
    if let Some(next) = error.remedy_of_intact_store() {
        return CommandError::new(error.to_string(), next);
    }
    failed(dir, error)
}

/// Creates the directory, readable by its owner only, and the key-encryption key in it.
fn prepare(dir: &Path) -> Result<PathBuf, CommandError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|error| cannot_write(dir, &error))?;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).map_err(|error| cannot_write(dir, &error))?;
    let dir = fs::canonicalize(dir).map_err(|error| cannot_write(dir, &error))?;
    let path = dir.join(KEY_ENCRYPTION_KEY);
    if !path.exists() {
        let mut key = Zeroizing::new([0; 32]);
        rand::fill(&mut *key)
            .map_err(|_| CommandError::new("no random bytes are available", "see whether /dev/urandom can be read"))?;
        write_private(&path, STANDARD.encode(*key).as_bytes())?;
    }
    Ok(dir)
}

/// Writes a file that only its owner may read. It never exists with other permissions.
fn write_private(path: &Path, contents: &[u8]) -> Result<(), CommandError> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let open = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    open.and_then(|mut file| file.write_all(contents)).map_err(|error| cannot_write(path, &error))
}

fn cannot_write(path: &Path, error: &io::Error) -> CommandError {
    CommandError::new(
        format!("cannot write {}: {error}", path.display()),
        "choose a directory that is yours with --dir",
    )
}

fn configuration(addresses: &Listeners) -> String {
    let Listeners { mtls, public, ops } = addresses;
    let issuer = format!("https://localhost:{}", public.port());
    format!(
        "\
# Written by `lanyard dev` at each start. `lanyard serve --config` with this file runs the same server again.
dev: true
issuer: {issuer}
listeners:
  mtls: {mtls}
  public: {public}
  ops: {ops}
tls:
  certificate: server.pem
  key: server-key.pem
registration: admins
trust:
  trust_domain: {TRUST_DOMAIN}
  bundles:
    {TRUST_DOMAIN}: ca.pem
  client_cas:
    dev: ca.pem
store:
  sled:
    path: data
exchange:
  enabled: true
keys:
  key_encryption_key_file: {KEY_ENCRYPTION_KEY}
roles:
  admins:
    - spiffe_id: spiffe://{TRUST_DOMAIN}/admin
  proxies:
    - spiffe_id: spiffe://{TRUST_DOMAIN}/proxy
      resources: [\"*\"]
limits:
  callers:                                 # a load test comes from one address
    - role: workload
      address: {{requests_per_second: 1000000}}
"
    )
}
