//! `lanyard config check`: whether a server would start from a configuration, without starting one.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use clap::Subcommand;
use rustls::crypto::aws_lc_rs;
use serde_json::json;

use crate::authority::clock::SystemClock;
use crate::cli::error::CommandError;
use crate::cli::output;
use crate::cli::output::Format;
use crate::config;
use crate::telemetry;
use crate::telemetry::otlp;
use crate::tls::outbound;
use crate::tls::server_certificate::ServerCertificate;
use crate::trust_sources;
use crate::trust_sources::bundle_endpoint::EndpointRoots;
use crate::trust_sources::bundle_endpoint::Profile;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum ConfigCommand {
    /// Validates a configuration and the files that it names.
    Check(CheckArguments),
}

#[derive(Args, Debug)]
pub(in crate::cli) struct CheckArguments {
    /// The configuration file.
    #[arg(long, value_name = "FILE", env = "LANYARD_CONFIG")]
    config: PathBuf,
}

pub(in crate::cli) fn run(command: ConfigCommand, format: Format) -> Result<ExitCode, CommandError> {
    let ConfigCommand::Check(arguments) = command;
    let problem = problem_with(&arguments);
    match (format, &problem) {
        (Format::Json, _) => output::print_json(&json!({ "valid": problem.is_none(), "problem": problem }))?,
        (Format::Text, None) => output::print("the configuration is valid")?,
        (Format::Text, Some(problem)) => {
            return Err(CommandError::new(problem, "fix it, or name another file with --config, and check again"));
        }
    }
    Ok(if problem.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The first problem that would keep a server from starting. The store is not opened: only one process may open it.
fn problem_with(arguments: &CheckArguments) -> Option<String> {
    let config = match config::load(&arguments.config) {
        Ok(config) => config,
        Err(error) => return Some(error.to_string()),
    };
    let provider = Arc::new(aws_lc_rs::default_provider());
    // An SVID from the Workload API is not checked: the agent runs where the server will run.
    let certificate = config.tls.certificate.map(|files| ServerCertificate::open(files, Arc::clone(&provider)));
    let certificate = certificate.and_then(Result::err).map(|error| error.to_string());
    let outbound = || {
        let fetches = !config.policy.jwks_uri.allowed_hosts.is_empty();
        let config = fetches
            .then(|| outbound::config(config.jwks_uri.ca.as_deref(), Arc::clone(&provider), Arc::new(SystemClock)));
        config.and_then(Result::err).map(|error| error.to_string())
    };
    let federated = || {
        config.federation.iter().find_map(|endpoint| match &endpoint.profile {
            Profile::HttpsWeb { ca } => {
                let outbound = outbound::config(ca.as_deref(), Arc::clone(&provider), Arc::new(SystemClock));
                outbound.err().map(|error| error.to_string())
            }
            Profile::HttpsSpiffe { roots: EndpointRoots::Fetched(file) | EndpointRoots::File(file), .. } => {
                trust_sources::files::roots(file).err().map(|error| error.to_string())
            }
            Profile::HttpsSpiffe { roots: EndpointRoots::BundleOf(_), .. } => None,
        })
    };
    let files = || trust_sources::files::load(&config.trust).err().map(|error| error.to_string());
    let collector = || config.otlp.as_ref().and_then(|otlp| otlp::tls(otlp).err()).map(|error| error.to_string());
    let log = || telemetry::check(&config.log).err().map(|error| error.to_string());
    certificate.or_else(files).or_else(outbound).or_else(federated).or_else(collector).or_else(log)
}
