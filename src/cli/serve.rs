//! `lanyard serve`: runs a server until it is told to stop.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use tokio::signal::unix::Signal;
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
    let stop = StopSignals::watch()?;
    let sockets = Sockets::bind(&config.listeners).await.map_err(|error| failed(&error))?;
    let server = Server::start(config, sockets, Surroundings::default()).await.map_err(|error| failed(&error))?;
    stop.received().await;
    server.stop().await;
    Ok(ExitCode::SUCCESS)
}

/// SIGTERM, which Kubernetes sends, and SIGINT, which a terminal sends. They are watched from the start on: one that comes
/// while the server is still starting stops it in good order too.
#[derive(Debug)]
pub(in crate::cli) struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    pub(in crate::cli) fn watch() -> Result<Self, CommandError> {
        let watched = |kind| {
            signal(kind).map_err(|error| {
                CommandError::new(format!("cannot watch for signals: {error}"), "see the limits of this process")
            })
        };
        Ok(Self { terminate: watched(SignalKind::terminate())?, interrupt: watched(SignalKind::interrupt())? })
    }

    /// Waits for one of them.
    pub(in crate::cli) async fn received(mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
