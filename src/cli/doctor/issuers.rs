//! The trusted issuers: whether their keys can be read, or fetched as a server fetches them.

use std::sync::Arc;

use crate::authority::trust::BundleDocument;
use crate::cli::doctor::Environment;
use crate::cli::doctor::fault::Fault;
use crate::cli::doctor::report::Report;
use crate::config::Config;
use crate::tls::outbound;
use crate::trust_sources::files;
use crate::trust_sources::https::GuardedClient;
use crate::trust_sources::network::SystemNetwork;

const TRUSTED_ISSUER: &str = "trusted_issuer";

/// Reads the keys of each issuer, from its file or its `jwks_uri`.
pub(in crate::cli::doctor) async fn check(config: &Config, environment: &Environment, report: &mut Report) {
    for issuer in &config.trust.issuers {
        let (trusted, path) = issuer;
        let subject = format!("{} ({})", trusted.name, path.display());
        let alone = files::Config { issuers: vec![issuer.clone()], ..files::Config::default() };
        match files::load(&alone) {
            Ok(_) => report.ok(TRUSTED_ISSUER, subject, "its keys can be read"),
            Err(error) => report.fault(TRUSTED_ISSUER, subject, Fault::IssuerKeysInvalid, error.to_string()),
        }
    }
    if config.fetched_issuers.is_empty() {
        return;
    }
    let tls = outbound::config(
        config.jwks_uri.ca.as_deref(),
        Arc::clone(&environment.provider),
        Arc::clone(&environment.clock),
    );
    let Ok(tls) = tls else {
        report.not_checked(TRUSTED_ISSUER, "", "the file of jwks_uri.ca cannot be used");
        return;
    };
    let client = GuardedClient {
        tls: Arc::new(tls),
        allowed_hosts: config.policy.jwks_uri.allowed_hosts.clone(),
        allow_private_addresses: config.jwks_uri.allow_private_addresses,
        timeout: config.jwks_uri.timeout,
        network: Arc::new(SystemNetwork),
    };
    for (trusted, uri) in &config.fetched_issuers {
        let subject = format!("{} ({})", trusted.name, uri.as_str());
        match client.get(uri).await.map(|text| BundleDocument::parse(&text)) {
            Ok(Ok(document)) if document.signing.all().next().is_some() => {
                report.ok(TRUSTED_ISSUER, subject, "its keys can be fetched");
            }
            Ok(Ok(_)) => {
                let problem = "the fetched document has no key that verifies JWTs";
                report.fault(TRUSTED_ISSUER, subject, Fault::IssuerKeysInvalid, problem);
            }
            Ok(Err(error)) => {
                let problem = format!("the fetched document is invalid: {error}");
                report.fault(TRUSTED_ISSUER, subject, Fault::IssuerKeysInvalid, problem);
            }
            Err(error) => {
                let problem = format!("its keys cannot be fetched: {error}");
                report.fault(TRUSTED_ISSUER, subject, Fault::IssuerUnreachable, problem);
            }
        }
    }
}
