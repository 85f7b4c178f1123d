//! The section `trusted_issuers`: whose JWTs authenticate clients by `issuer_jwt`, or are exchanged, and where each publishes its
//! keys.

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use crate::authority::registration::AllowedHosts;
use crate::authority::registration::JwksUri;
use crate::authority::registration::is_json_pointer;
use crate::authority::registration::is_subject_issuer;
use crate::authority::trust::MAX_ASSERTION_AGE;
use crate::authority::trust::Proves;
use crate::authority::trust::SubjectKind;
use crate::authority::trust::SubjectTerms;
use crate::authority::trust::TrustedIssuer;
use crate::config::error::ConfigError;
use crate::config::error::value;
use crate::config::reading::duration;

/// The longest name or identifier, in bytes.
const MAX_BYTES: usize = 2048;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    name: String,
    issuer: String,
    audience: Option<String>,
    jwks: Option<PathBuf>,
    jwks_uri: Option<String>,
    #[serde(default, deserialize_with = "duration")]
    max_age: Option<Duration>,
    exchange: Option<Exchanged>,
}

/// How tokens are read that are exchanged.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Exchanged {
    #[serde(default)]
    kinds: Vec<Kind>,
    typ: Option<String>,
    scope_claim: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    AccessToken,
    Jwt,
}

impl Exchanged {
    fn resolve(self, name: &str, issuer: &str) -> Result<SubjectTerms, ConfigError> {
        if !is_subject_issuer(issuer) {
            let problem =
                format!("{name}: its tokens cannot be exchanged: their subjects could not be told from others by it");
            return Err(value("trusted_issuers.issuer", &problem));
        }
        let is_typ =
            |typ: &String| !typ.is_empty() && typ.len() <= 128 && typ.bytes().all(|byte| byte.is_ascii_graphic());
        if !self.typ.as_ref().is_none_or(is_typ) {
            return Err(value("trusted_issuers.exchange.typ", "must be the typ in the header of the issuer's tokens"));
        }
        if !self.scope_claim.as_ref().is_none_or(|pointer| is_json_pointer(pointer)) {
            let problem = "must be a JSON Pointer (RFC 6901) to the claim with the scopes, such as /scope";
            return Err(value("trusted_issuers.exchange.scope_claim", problem));
        }
        let kinds: Vec<SubjectKind> = self.kinds.into_iter().map(SubjectKind::from).collect();
        let kinds = if kinds.is_empty() { vec![SubjectKind::AccessToken] } else { kinds };
        Ok(SubjectTerms { kinds, typ: self.typ, scope_claim: self.scope_claim })
    }
}

impl From<Kind> for SubjectKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::AccessToken => Self::AccessToken,
            Kind::Jwt => Self::Jwt,
        }
    }
}

/// The trusted issuers, by where their keys come from.
#[derive(Debug, Default)]
pub(super) struct Resolved {
    pub(super) from_files: Vec<(Arc<TrustedIssuer>, PathBuf)>,
    pub(super) fetched: Vec<(Arc<TrustedIssuer>, JwksUri)>,
}

/// The longest time from `iat` to `exp` of what an issuer signs for clients or for those who call.
fn age(written: Option<Duration>) -> Result<Duration, ConfigError> {
    let max_age = written.unwrap_or(MAX_ASSERTION_AGE);
    if max_age < Duration::from_secs(1) || max_age > MAX_ASSERTION_AGE {
        return Err(value("trusted_issuers.max_age", "must be from 1s to 1h"));
    }
    Ok(max_age)
}

/// Reads all entries. An issuer has one entry, and so has a name.
pub(super) fn resolve(
    entries: Vec<Entry>,
    own: &str,
    allowed_hosts: &AllowedHosts,
    folder: &Path,
) -> Result<Resolved, ConfigError> {
    let mut resolved = Resolved::default();
    for Entry { name, issuer, audience, jwks, jwks_uri, max_age, exchange } in entries {
        let exchanged = exchange.map(|exchange| exchange.resolve(&name, &issuer)).transpose()?;
        let proves = exchanged.map_or(Proves::Clients, Proves::Subjects);
        let audience = audience.unwrap_or_else(|| own.to_owned());
        let trusted = TrustedIssuer { name, issuer, audience, max_age: age(max_age)?, proves };
        resolved.add(trusted, (jwks, jwks_uri), (own, allowed_hosts, folder))?;
    }
    Ok(resolved)
}

impl Resolved {
    /// Adds an issuer with the place of its keys. `own` is this server's issuer.
    pub(super) fn add(
        &mut self,
        trusted: TrustedIssuer,
        (jwks, jwks_uri): (Option<PathBuf>, Option<String>),
        (own, allowed_hosts, folder): (&str, &AllowedHosts, &Path),
    ) -> Result<(), ConfigError> {
        let [name_key, issuer_key, audience_key, uri_key, keys_key] = keys_of(&trusted.proves);
        let TrustedIssuer { name, issuer, audience, .. } = &trusted;
        let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._".contains(&byte);
        if name.is_empty() || name.len() > 63 || !name.bytes().all(is_name) {
            let problem = "must be 1 to 63 lower-case letters, digits, hyphens, dots and underscores";
            return Err(value(name_key, problem));
        }
        let is_text = |text: &str| !text.is_empty() && text.len() <= MAX_BYTES && !text.chars().any(char::is_control);
        if !is_text(issuer) {
            return Err(value(issuer_key, "must be the iss of the issuer's JWTs"));
        }
        if issuer == own {
            return Err(value(issuer_key, "is this server's own issuer, whose tokens are no assertions"));
        }
        if !is_text(audience) || audience == issuer {
            let problem = "must be the aud that its JWTs have for this server, and not the issuer's own name";
            return Err(value(audience_key, problem));
        }
        let mut known =
            self.from_files.iter().map(|(known, _)| known).chain(self.fetched.iter().map(|(known, _)| known));
        if known.any(|other| other.name == *name || other.issuer == *issuer) {
            return Err(value(issuer_key, &format!("{name}: the name or the issuer appears here twice")));
        }
        let trusted = Arc::new(trusted);
        match (jwks, jwks_uri) {
            (Some(path), None) => self.from_files.push((trusted, folder.join(path))),
            (None, Some(text)) => {
                let uri = JwksUri::parse(&text);
                let problem = "must be an https URL without userinfo and fragment";
                let uri = uri.ok_or_else(|| value(uri_key, problem))?;
                if !allowed_hosts.allows(&uri) {
                    let problem = format!("{}: its host is not one of jwks_uri.allowed_hosts", trusted.name);
                    return Err(value(uri_key, &problem));
                }
                self.fetched.push((trusted, uri));
            }
            (Some(_), Some(_)) | (None, None) => {
                let problem = format!("{}: needs either jwks, a file, or jwks_uri", trusted.name);
                return Err(value(keys_key, &problem));
            }
        }
        Ok(())
    }
}

/// The keys of the configuration by which an issuer is refused: of its name, issuer, audience, `jwks_uri` and `jwks`.
fn keys_of(proves: &Proves) -> [&'static str; 5] {
    match proves {
        Proves::Clients | Proves::Subjects(_) => [
            "trusted_issuers.name",
            "trusted_issuers.issuer",
            "trusted_issuers.audience",
            "trusted_issuers.jwks_uri",
            "trusted_issuers.jwks",
        ],
        Proves::Grants(_) => [
            "chaining.from.name",
            "chaining.from.issuer",
            "chaining.from.issuer",
            "chaining.from.jwks_uri",
            "chaining.from.jwks",
        ],
    }
}
