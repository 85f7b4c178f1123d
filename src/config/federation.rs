//! The section `federation`: the other trust domains, and where each publishes its bundle.

use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use spiffe::TrustDomain;

use crate::authority::identity::parse_spiffe_id;
use crate::authority::registration::AllowedHosts;
use crate::authority::registration::JwksUri;
use crate::config::error::ConfigError;
use crate::config::error::value;
use crate::config::reading::duration;
use crate::config::reading::trust_domain;
use crate::trust_sources::bundle_endpoint;
use crate::trust_sources::bundle_endpoint::EndpointRoots;

/// The lower limit of a bundle's maximum age. With less, each failed fetch would lock a trust domain out.
const MIN_MAX_AGE: Duration = Duration::from_mins(1);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Federated {
    trust_domain: String,
    bundle_endpoint: String,
    profile: Profile,
    endpoint_spiffe_id: Option<String>,
    bundle: Option<PathBuf>,
    ca: Option<PathBuf>,
    #[serde(default)]
    redirect_hosts: Vec<String>,
    #[serde(default, deserialize_with = "duration")]
    max_age: Option<Duration>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Profile {
    HttpsWeb,
    HttpsSpiffe,
}

/// Reads all entries. A trust domain has one source, so none may be the own one, be in `bundles`, or occur here twice.
pub(super) fn resolve(
    entries: Vec<Federated>,
    own: Option<&TrustDomain>,
    bundles: &BTreeMap<TrustDomain, PathBuf>,
    folder: &Path,
) -> Result<Vec<bundle_endpoint::Config>, ConfigError> {
    const KEY: &str = "federation.trust_domain";
    let mut resolved: Vec<bundle_endpoint::Config> = Vec::new();
    let federated: Vec<String> = entries.iter().map(|entry| entry.trust_domain.clone()).collect();
    let is_known = |other: &TrustDomain| {
        own == Some(other) || bundles.contains_key(other) || federated.iter().any(|named| named == other.as_str())
    };
    for entry in entries {
        let config = entry.resolve(folder, is_known)?;
        let refuse = |problem: &str| Err(value(KEY, &format!("{}: {problem}", config.trust_domain)));
        if own == Some(&config.trust_domain) {
            return refuse("is the server's own trust domain, which no other endpoint can vouch for");
        }
        if bundles.contains_key(&config.trust_domain) {
            return refuse("has a file in trust.bundles already, and a trust domain has one source");
        }
        if resolved.iter().any(|other| other.trust_domain == config.trust_domain) {
            return refuse("appears here twice, and a trust domain has one source");
        }
        resolved.push(config);
    }
    Ok(resolved)
}

impl Federated {
    /// `is_known` says whether the configuration has a source for the bundle of a trust domain.
    fn resolve(
        self,
        folder: &Path,
        is_known: impl Fn(&TrustDomain) -> bool,
    ) -> Result<bundle_endpoint::Config, ConfigError> {
        let trust_domain = trust_domain("federation.trust_domain", &self.trust_domain)?;
        let problem = "must be an https URL without userinfo and fragment";
        let url = JwksUri::parse(&self.bundle_endpoint).ok_or_else(|| value("federation.bundle_endpoint", problem))?;
        let max_age = self.max_age.unwrap_or(Duration::from_hours(1));
        if max_age < MIN_MAX_AGE {
            return Err(value("federation.max_age", "must be 1m or longer"));
        }
        let profile = match (self.profile, self.endpoint_spiffe_id, self.bundle, self.ca) {
            (Profile::HttpsWeb, None, None, ca) => {
                bundle_endpoint::Profile::HttpsWeb { ca: ca.map(|path| folder.join(path)) }
            }
            (Profile::HttpsSpiffe, Some(id), bundle, None) => {
                let id = parse_spiffe_id(&id).filter(|id| !id.path().is_empty());
                let problem = "must be the SPIFFE ID of a workload";
                let endpoint_spiffe_id = id.ok_or_else(|| value("federation.endpoint_spiffe_id", problem))?;
                let own = endpoint_spiffe_id.is_member_of(&trust_domain);
                let roots = match bundle.map(|path| folder.join(path)) {
                    Some(file) if own => EndpointRoots::Fetched(file),
                    Some(file) => EndpointRoots::File(file),
                    None if !own && is_known(endpoint_spiffe_id.trust_domain()) => {
                        EndpointRoots::BundleOf(endpoint_spiffe_id.trust_domain().clone())
                    }
                    None => {
                        let problem = "is needed, with the roots of the endpoint's trust domain: only where the endpoint is \
                                       in another trust domain, which has a bundle here, it may be left out";
                        return Err(value("federation.bundle", problem));
                    }
                };
                bundle_endpoint::Profile::HttpsSpiffe { endpoint_spiffe_id, roots }
            }
            (Profile::HttpsWeb, ..) => {
                return Err(value("federation.profile", "https_web goes without endpoint_spiffe_id and bundle"));
            }
            (Profile::HttpsSpiffe, ..) => {
                let problem = "https_spiffe needs endpoint_spiffe_id, and goes without ca";
                return Err(value("federation.profile", problem));
            }
        };
        let redirect_hosts = AllowedHosts::parse(&self.redirect_hosts)
            .map_err(|error| value("federation.redirect_hosts", &error.to_string()))?;
        Ok(bundle_endpoint::Config { trust_domain, url, redirect_hosts, profile, max_age })
    }
}
