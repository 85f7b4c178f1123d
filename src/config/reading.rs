//! Values as sections of the file have them.

use std::time::Duration;

use serde::Deserialize as _;
use spiffe::TrustDomain;

use crate::config::ConfigError;
use crate::config::value;

/// The name of a trust domain.
pub(super) fn trust_domain(key: &'static str, name: &str) -> Result<TrustDomain, ConfigError> {
    // A name, not a SPIFFE ID, and in the one spelling that it has.
    TrustDomain::new(name).ok().filter(|parsed| parsed.as_str() == name).ok_or_else(|| {
        value(key, &format!("'{}' is not the name of a trust domain, such as prod.example", name.escape_default()))
    })
}

/// A duration that is more than nothing.
pub(super) fn duration<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    span(deserializer, |span| !span.is_zero())
}

/// A duration that may be `0s`.
pub(super) fn pause<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    span(deserializer, |_| true)
}

fn span<'de, D>(deserializer: D, fits: fn(&Duration) -> bool) -> Result<Option<Duration>, D::Error>
where
    D: serde::Deserializer<'de>,
{
    let text = String::deserialize(deserializer)?;
    let span = humantime::parse_duration(&text).ok().filter(fits);
    span.map(Some)
        .ok_or_else(|| serde::de::Error::custom(format!("'{}' is not a duration such as 5m", text.escape_default())))
}
