//! The section `txn_tokens`.

use std::num::NonZero;
use std::time::Duration;

use serde::Deserialize;

use crate::authority::registration::MAX_TXN_TTL;
use crate::authority::registration::TxnTokenPolicy;
use crate::config::error::ConfigError;
use crate::config::error::value;
use crate::config::reading::count;
use crate::config::reading::duration;
use crate::config::reading::trust_domain;

const DEFAULT_TTL: Duration = Duration::from_mins(1);

const DEFAULT_REPLACEMENTS: usize = 3;

/// The most replacements: the token names all who asked for one.
const MAX_REPLACEMENTS: usize = 8;

/// The default and the most of `max_context`, in bytes: a token travels in a header.
const MAX_CONTEXT: usize = 4096;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Section {
    trust_domain: String,
    #[serde(default, deserialize_with = "duration")]
    ttl: Option<Duration>,
    #[serde(default, deserialize_with = "duration")]
    max_ttl: Option<Duration>,
    max_replacements: Option<usize>,
    #[serde(default, deserialize_with = "count")]
    max_context: Option<NonZero<usize>>,
}

impl Section {
    pub(super) fn resolve(self) -> Result<TxnTokenPolicy, ConfigError> {
        let max_ttl = self.max_ttl.unwrap_or(MAX_TXN_TTL);
        let ttl = self.ttl.unwrap_or(DEFAULT_TTL.min(max_ttl));
        if max_ttl > MAX_TXN_TTL || max_ttl.subsec_nanos() != 0 {
            return Err(value("txn_tokens.max_ttl", "must be whole seconds, and 5m at most"));
        }
        if ttl > max_ttl || ttl.subsec_nanos() != 0 {
            return Err(value("txn_tokens.ttl", "must be whole seconds, and not more than max_ttl"));
        }
        let max_replacements = self.max_replacements.unwrap_or(DEFAULT_REPLACEMENTS);
        if max_replacements > MAX_REPLACEMENTS {
            return Err(value("txn_tokens.max_replacements", "must be 8 at most"));
        }
        let max_context = self.max_context.map_or(MAX_CONTEXT, NonZero::get);
        if max_context > MAX_CONTEXT {
            return Err(value("txn_tokens.max_context", "must be 4096 bytes at most"));
        }
        let trust_domain = trust_domain("txn_tokens.trust_domain", &self.trust_domain)?.as_str().to_owned();
        Ok(TxnTokenPolicy { trust_domain, ttl, max_ttl, max_replacements, max_context })
    }
}
