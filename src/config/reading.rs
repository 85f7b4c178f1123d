//! Parsing of values in the sections of the file.

use std::fmt;
use std::num::NonZero;
use std::time::Duration;

use serde::Deserialize as _;
use serde::de::Visitor;
use spiffe::TrustDomain;

use crate::config::error::ConfigError;
use crate::config::error::value;

/// The name of a trust domain.
pub(super) fn trust_domain(key: &'static str, name: &str) -> Result<TrustDomain, ConfigError> {
    // A trust domain name, not a SPIFFE ID, in its canonical spelling.
    TrustDomain::new(name).ok().filter(|parsed| parsed.as_str() == name).ok_or_else(|| {
        value(key, &format!("'{}' is not the name of a trust domain, such as prod.example", name.escape_default()))
    })
}

/// A duration that is greater than zero.
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
    struct Span(fn(&Duration) -> bool);
    impl Visitor<'_> for Span {
        type Value = Duration;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("a duration such as 5m")
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Duration, E> {
            let span = humantime::parse_duration(text).ok().filter(self.0);
            span.ok_or_else(|| E::custom(format!("'{}' is not a duration such as 5m", text.escape_default())))
        }
    }
    deserializer.deserialize_str(Span(fits)).map(Some)
}

/// A number that is not 0. Null is treated as absent.
pub(super) fn count<'de, D, N>(deserializer: D) -> Result<Option<N>, D::Error>
where
    D: serde::Deserializer<'de>,
    N: TryFrom<NonZero<u64>>,
{
    let Some(number) = Option::<u64>::deserialize(deserializer)? else { return Ok(None) };
    let problem = |problem: &str| serde::de::Error::custom(format!("invalid value: {number}, {problem}"));
    let count = NonZero::new(number).ok_or_else(|| problem("expected a whole number from 1 up"))?;
    N::try_from(count).map(Some).map_err(|_| problem("which is too large"))
}
