//! `lanyard serve`: runs a server until it receives a stop signal.

use std::fmt::Display;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use rustix::fs::Mode;
use tokio::signal::unix::Signal;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;

use crate::authority::decision::KeyChangeError;
use crate::cli::error::CommandError;
use crate::config;
use crate::config::Config;
use crate::server::Environment;
use crate::server::KeysError;
use crate::server::Server;
use crate::server::Sockets;
use crate::server::StartError;
use crate::telemetry;
use crate::telemetry::FlushLog;

#[derive(Args, Debug)]
pub(in crate::cli) struct ServeArguments {
    /// The configuration file.
    #[arg(long, value_name = "FILE", env = "LANYARD_CONFIG")]
    config: PathBuf,
}

pub(in crate::cli) async fn run(arguments: ServeArguments) -> Result<ExitCode, CommandError> {
    let config = config::load(&arguments.config).map_err(|error| invalid(&error))?;
    serve(config).await
}

/// The same for a configuration that must be an edge's.
pub(in crate::cli) async fn run_edge(arguments: ServeArguments) -> Result<ExitCode, CommandError> {
    let config = config::load(&arguments.config).map_err(|error| invalid(&error))?;
    if !config.store.is_of_an_edge() {
        let next =
            "name the servers of the centre in store.upstream, or run a server of the centre with `lanyard serve`";
        return Err(CommandError::new("this is not the configuration of an edge", next));
    }
    serve(config).await
}

fn invalid(error: &dyn Display) -> CommandError {
    let next = "fix it, or name another file with --config; `lanyard config check` checks without starting";
    CommandError::new(error.to_string(), next)
}

async fn serve(config: Config) -> Result<ExitCode, CommandError> {
    files_for_this_user_only();
    let environment = Environment::default();
    // Dropped last: the lines of the log come before the error that ends this process, if one does.
    let _last_lines = FlushLog;
    let traces = telemetry::start(&config.log, config.otlp.as_ref(), &environment.export_failures)
        .map_err(|error| invalid(&error))?;
    let stop = StopSignals::watch()?;
    let sockets = Sockets::bind(&config.listeners).await.map_err(|error| explain(&error))?;
    let server = Server::start(config, sockets, environment).await.map_err(|error| explain(&error))?;
    stop.received().await;
    server.stop().await;
    if let Some(traces) = traces {
        traces.finish().await;
    }
    Ok(ExitCode::SUCCESS)
}

/// Sets the umask of the process: sled writes snapshots while it runs, and has no option for their permissions.
pub(in crate::cli) fn files_for_this_user_only() {
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
}

fn explain(error: &StartError) -> CommandError {
    if let Some(next) = error.remedy_of_intact_store() {
        return CommandError::new(error.to_string(), next);
    }
    let next = match error {
        StartError::Bind { .. } | StartError::Forwarded(_) | StartError::Local(_) => {
            "stop what listens there, or choose another address under `listeners`, `forwarded` or `local`, in the configuration"
        }
        StartError::Certificate(_) | StartError::Trust(_) | StartError::Outbound(_) => {
            "fix the file, or name another one in the configuration; `lanyard config check` checks without starting"
        }
        StartError::WorkloadApi(_) => {
            "see that the agent runs and has an entry for this workload, and that `workload_api` names its socket"
        }
        StartError::Store(_) | StartError::Registrations(_) => {
            "nothing in it was changed: see that `store` in the configuration names the right directory, or restore it"
        }
        StartError::Import(_) => {
            "run the same `lanyard store import`, or `lanyard store migrate`, again to finish it, or delete what it wrote with \
             `lanyard store import --clear`"
        }
        StartError::Upstream(_) | StartError::NothingListed(_) => {
            "see that `store.upstream` names servers of the centre, and that `roles.edges` in their configuration names this edge"
        }
        StartError::Etcd(_) => "see that `store.etcd` in the configuration names the members of etcd",
        StartError::Keys(KeysError::NotInToken { .. }) => {
            "see that `keys.pkcs11` names the token that holds this key, or restore the token from its backup"
        }
        StartError::Keys(KeysError::NotMade(KeyChangeError::NotMade)) => {
            "see the log for why; with `keys.pkcs11.start_without_token` the server starts while the token makes no key"
        }
        StartError::Keys(_) => {
            "see that `keys` in the configuration names the key-encryption key that this store was made with"
        }
        StartError::Token(_) => "`lanyard doctor` checks the token; docs/keys.md says what `keys.pkcs11` needs",
        StartError::Audit(_) => {
            "see that `audit` in the configuration names a file and a key that this process may use"
        }
        StartError::Setup(_) => "see the limits of this process: memory, open files, threads",
    };
    CommandError::new(error.to_string(), next)
}

/// The stop signals: SIGTERM, which Kubernetes sends, and SIGINT, which a terminal sends. They are watched from the
/// start, so that one during the start also stops the server properly. A second one has no effect: some process
/// managers send each twice, and the shutdown is bounded anyway. SIGKILL ends the process at once, which the store
/// survives.
#[derive(Debug)]
pub(in crate::cli) struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Option<Signal>,
}

impl StopSignals {
    pub(in crate::cli) fn watch() -> Result<Self, CommandError> {
        let (terminate, interrupt) = (watched(SignalKind::terminate())?, watched(SignalKind::interrupt())?);
        Ok(Self { terminate, interrupt, hangup: None })
    }

    /// Also stops at SIGHUP, which a terminal sends when it is closed and which asks a server to read its files again.
    /// A process that was started to ignore it, as by `nohup`, goes on ignoring it.
    pub(in crate::cli) fn watch_with_hangup() -> Result<Self, CommandError> {
        let hangup = if ignores_hangup() { None } else { Some(watched(SignalKind::hangup())?) };
        Ok(Self { hangup, ..Self::watch()? })
    }

    /// Waits for one of the signals.
    pub(in crate::cli) async fn received(mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            Some(()) = async { self.hangup.as_mut()?.recv().await } => {}
        }
    }
}

fn watched(kind: SignalKind) -> Result<Signal, CommandError> {
    signal(kind).map_err(|error| {
        CommandError::new(format!("cannot watch for signals: {error}"), "see the limits of this process")
    })
}

/// Whether this process ignores SIGHUP, the first of the signals in the mask `SigIgn` (`proc_pid_status(5)`). Watching for
/// a signal ends that.
fn ignores_hangup() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}
