//! The section `chaining`: the authorization servers of other trust domains, for which grants are made and whose grants are taken.

use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::authority::registration::AllowedHosts;
use crate::authority::registration::ChainingTarget;
use crate::authority::registration::ClientPattern;
use crate::authority::registration::GRANT_TYP;
use crate::authority::registration::MAX_GRANT_TTL;
use crate::authority::registration::ScopeGrant;
use crate::authority::registration::ToldActors;
use crate::authority::registration::is_subject_issuer;
use crate::authority::scope::Scope;
use crate::authority::scope::is_resource_indicator;
use crate::authority::trust::GrantTerms;
use crate::authority::trust::Proves;
use crate::authority::trust::TrustedIssuer;
use crate::config::error::ConfigError;
use crate::config::error::value;
use crate::config::reading::duration;
use crate::config::reading::trust_domain;
use crate::config::trusted_issuers;

/// The longest that a token may be valid which a grant becomes.
const MAX_TTL: Duration = Duration::from_mins(5);

/// The types that this server's own tokens have: a grant of such a type would be one.
const OWN_TYPES: [&str; 3] = ["at+jwt", "txntoken+jwt", "token-introspection+jwt"];

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Section {
    to: Vec<Outgoing>,
    from: Vec<Incoming>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Outgoing {
    issuer: String,
    clients: Vec<String>,
    subjects: Vec<String>,
    #[serde(default)]
    presented_at: Vec<String>,
    grants: Vec<Translation>,
    #[serde(default, deserialize_with = "duration")]
    ttl: Option<Duration>,
    #[serde(default)]
    tell_actors: Told,
    typ: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Incoming {
    name: String,
    issuer: String,
    jwks: Option<PathBuf>,
    jwks_uri: Option<String>,
    trust_domain: Option<String>,
    clients: Vec<String>,
    subjects: Vec<String>,
    grants: Vec<Translation>,
    audience: Vec<String>,
    #[serde(default, deserialize_with = "duration")]
    ttl: Option<Duration>,
    #[serde(default, deserialize_with = "duration")]
    max_age: Option<Duration>,
    #[serde(default)]
    once: Once,
    typ: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Translation {
    needs: String,
    gives: String,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Told {
    All,
    #[default]
    Last,
    None,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Once {
    #[default]
    Replica,
    Strict,
}

impl Section {
    /// The other servers for which grants are made. Those whose grants are taken go to the trusted issuers.
    pub(super) fn resolve(
        self,
        (own, token_endpoint): (&str, &str),
        hosts: &AllowedHosts,
        folder: &Path,
        issuers: &mut trusted_issuers::Resolved,
    ) -> Result<Vec<ChainingTarget>, ConfigError> {
        for from in self.from {
            let (trusted, keys) = from.resolve(own, token_endpoint)?;
            issuers.add(trusted, keys, (own, hosts, folder))?;
        }
        let mut targets: Vec<ChainingTarget> = Vec::new();
        for to in self.to {
            let target = to.resolve(own)?;
            if targets.iter().any(|other| other.issuer == target.issuer) {
                return Err(value("chaining.to.issuer", &format!("{}: appears here twice", target.issuer)));
            }
            targets.push(target);
        }
        Ok(targets)
    }
}

impl Outgoing {
    fn resolve(self, own: &str) -> Result<ChainingTarget, ConfigError> {
        if !is_resource_indicator(&self.issuer) || !is_subject_issuer(&self.issuer) || self.issuer == own {
            let problem = "must be the issuer identifier of another authorization server";
            return Err(value("chaining.to.issuer", problem));
        }
        let ttl = self.ttl.unwrap_or(MAX_GRANT_TTL);
        if ttl > MAX_GRANT_TTL || ttl.subsec_nanos() != 0 {
            return Err(value("chaining.to.ttl", "must be whole seconds, and 60s at most"));
        }
        if !self.presented_at.iter().all(|at| is_resource_indicator(at)) {
            return Err(value("chaining.to.presented_at", "must be absolute URIs without a fragment (RFC 8707)"));
        }
        Ok(ChainingTarget {
            clients: patterns("chaining.to.clients", &self.clients)?,
            subjects: patterns("chaining.to.subjects", &self.subjects)?,
            grants: translations("chaining.to.grants", &self.grants)?,
            typ: typ("chaining.to.typ", self.typ)?,
            issuer: self.issuer,
            presented_at: self.presented_at,
            ttl,
            told: match self.tell_actors {
                Told::All => ToldActors::All,
                Told::Last => ToldActors::Last,
                Told::None => ToldActors::None,
            },
        })
    }
}

/// An issuer, and where its keys are: a file, or a URL.
type WithKeys = (TrustedIssuer, (Option<PathBuf>, Option<String>));

impl Incoming {
    fn resolve(self, own: &str, token_endpoint: &str) -> Result<WithKeys, ConfigError> {
        if !is_subject_issuer(&self.issuer) {
            return Err(value("chaining.from.issuer", "must be the iss of the other authorization server's grants"));
        }
        let ttl = self.ttl.unwrap_or(MAX_GRANT_TTL);
        if ttl > MAX_TTL || ttl.subsec_nanos() != 0 {
            return Err(value("chaining.from.ttl", "must be whole seconds, and 5m at most"));
        }
        let max_age = self.max_age.unwrap_or(MAX_GRANT_TTL);
        if max_age < Duration::from_secs(1) || max_age > MAX_TTL {
            return Err(value("chaining.from.max_age", "must be from 1s to 5m"));
        }
        if self.audience.is_empty() || !self.audience.iter().all(|audience| is_resource_indicator(audience)) {
            let problem =
                "names the resources that its grants are good for: absolute URIs without a fragment (RFC 8707)";
            return Err(value("chaining.from.audience", problem));
        }
        let named = self.trust_domain.as_deref().map(|name| trust_domain("chaining.from.trust_domain", name));
        let terms = GrantTerms {
            token_endpoint: token_endpoint.to_owned(),
            typ: typ("chaining.from.typ", self.typ)?,
            trust_domain: named.transpose()?,
            subjects: patterns("chaining.from.subjects", &self.subjects)?,
            clients: patterns("chaining.from.clients", &self.clients)?,
            grants: translations("chaining.from.grants", &self.grants)?,
            audience: self.audience,
            ttl,
            once_strict: self.once == Once::Strict,
        };
        let trusted = TrustedIssuer {
            name: self.name,
            issuer: self.issuer,
            audience: own.to_owned(),
            max_age,
            proves: Proves::Grants(Box::new(terms)),
        };
        Ok((trusted, (self.jwks, self.jwks_uri)))
    }
}

fn typ(key: &'static str, written: Option<String>) -> Result<String, ConfigError> {
    let typ = written.unwrap_or_else(|| GRANT_TYP.to_owned());
    let bare = typ.to_ascii_lowercase();
    let bare = bare.strip_prefix("application/").unwrap_or(&bare);
    let is_text = !bare.is_empty() && bare.len() <= 128 && bare.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_text || OWN_TYPES.contains(&bare) {
        return Err(value(key, "must be the typ of grants, and of no token of this server"));
    }
    Ok(typ)
}

fn patterns(key: &'static str, texts: &[String]) -> Result<Vec<ClientPattern>, ConfigError> {
    let parsed: Option<Vec<_>> = texts.iter().map(|text| ClientPattern::parse(text)).collect();
    parsed
        .filter(|parsed| !parsed.is_empty())
        .ok_or_else(|| value(key, &format!("name one at least: {}", ClientPattern::SHAPE)))
}

fn translations(key: &'static str, written: &[Translation]) -> Result<Vec<ScopeGrant>, ConfigError> {
    let read = |text: &str| Scope::parse(text).ok().filter(|scope| !scope.is_empty() && !scope.contains("*"));
    let grant = |one: &Translation| Some(ScopeGrant { needs: read(&one.needs)?, gives: read(&one.gives)? });
    let parsed: Option<Vec<_>> = written.iter().map(grant).collect();
    let problem = "name one at least: needs and gives name scopes, and no wildcard";
    parsed.filter(|parsed| !parsed.is_empty()).ok_or_else(|| value(key, problem))
}
