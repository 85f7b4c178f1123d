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
use crate::config::Config;
use crate::signer::pkcs11::Pkcs11;
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
    let (problem, warnings) = check(&arguments);
    match (format, &problem) {
        (Format::Json, _) => {
            let valid = problem.is_none();
            output::print_json(&json!({ "valid": valid, "problem": problem, "warnings": warnings }))?;
        }
        (Format::Text, None) => {
            for warning in warnings {
                output::print(&format!("warning: {warning}"))?;
            }
            output::print("the configuration is valid")?;
        }
        (Format::Text, Some(problem)) => {
            return Err(CommandError::new(problem, "fix it, or name another file with --config, and check again"));
        }
    }
    Ok(if problem.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The first problem that would keep a server from starting, or else what it would start without.
fn check(arguments: &CheckArguments) -> (Option<String>, Vec<String>) {
    let config = match config::load(&arguments.config) {
        Ok(config) => config,
        Err(error) => return (Some(error.to_string()), Vec::new()),
    };
    let mut warnings = unused_roots(&config);
    if config.pkcs11.is_some() {
        warnings.push("keys.pkcs11: the PIN of the token was not tried; `lanyard doctor` tries it once".to_owned());
    }
    (problem_with(config), warnings)
}

/// The CA certificates in files that would not be used.
fn unused_roots(config: &Config) -> Vec<String> {
    let mut unused = Vec::new();
    if let Ok((bundles, _)) = trust_sources::files::load(&config.trust) {
        unused.extend(bundles.refused().map(|(place, refused)| format!("{place}: {refused}, and is not used")));
    }
    for endpoint in &config.federation {
        if let Profile::HttpsSpiffe { roots: EndpointRoots::Fetched(file) | EndpointRoots::File(file), .. } =
            &endpoint.profile
            && let Ok(roots) = trust_sources::files::roots(file)
        {
            let place = file.display();
            unused.extend(roots.refused().iter().map(|refused| format!("{place}: {refused}, and is not used")));
        }
    }
    unused
}

/// The first problem that would keep a server from starting. The store is not opened: only one process may open it.
fn problem_with(config: Config) -> Option<String> {
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
    let token = || {
        let found = config.pkcs11.map(|token| Pkcs11::find(token, config.algorithm, Arc::new(SystemClock)));
        found.and_then(Result::err).map(|error| error.to_string())
    };
    certificate.or_else(files).or_else(outbound).or_else(federated).or_else(collector).or_else(token)
}
