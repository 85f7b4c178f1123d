//! `lanyard serve`: runs a server until it is told to stop.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;

use crate::cli::error::CommandError;
use crate::config;
use crate::server::Server;
use crate::server::Sockets;
use crate::server::Surroundings;
use crate::telemetry;

#[derive(Args, Debug)]
pub(in crate::cli) struct ServeArguments {
    /// The configuration file.
    #[arg(long, value_name = "FILE", env = "LANYARD_CONFIG")]
    config: PathBuf,
}

pub(in crate::cli) async fn run(arguments: ServeArguments) -> Result<ExitCode, CommandError> {
    let failed = |error: &dyn std::fmt::Display| {
        CommandError::new(error.to_string(), "mend it, and see what `lanyard config check` says")
    };
    let config = config::load(&arguments.config).map_err(|error| failed(&error))?;
    telemetry::start(&config.log).map_err(|error| failed(&error))?;
    let sockets = Sockets::bind(&config.listeners).await.map_err(|error| failed(&error))?;
    let server = Server::start(config, sockets, Surroundings::default()).await.map_err(|error| failed(&error))?;
    until_told_to_stop().await?;
    server.stop().await;
    Ok(ExitCode::SUCCESS)
}

/// Waits for SIGTERM, which Kubernetes sends, or SIGINT, which a terminal sends.
pub(in crate::cli) async fn until_told_to_stop() -> Result<(), CommandError> {
    let watched = |kind| {
        signal(kind).map_err(|error| {
            CommandError::new(format!("cannot watch for signals: {error}"), "see the limits of this process")
        })
    };
    let (mut terminate, mut interrupt) = (watched(SignalKind::terminate())?, watched(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
