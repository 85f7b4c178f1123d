//! The grant types of a client.

use crate::authority::records::InvalidMetadata;
use crate::authority::registration::chaining::JWT_BEARER_GRANT;
use crate::authority::registration::exchange::TOKEN_EXCHANGE;
use crate::authority::registration::metadata::invalid;

/// The grant type that every client has (RFC 6749 section 4.4).
pub(super) const CLIENT_CREDENTIALS: &str = "client_credentials";

/// Whether the grant types have token exchange, and the use of other authorization servers' grants.
pub(super) fn read(written: &[String]) -> Result<(bool, bool), InvalidMetadata> {
    let count = |name: &str| written.iter().filter(|grant_type| *grant_type == name).count();
    let [own, exchange, grants] = [CLIENT_CREDENTIALS, TOKEN_EXCHANGE, JWT_BEARER_GRANT].map(count);
    let known = own + exchange + grants == written.len() && own.max(exchange).max(grants) <= 1;
    if known && (own == 1 || written.is_empty()) {
        return Ok((exchange == 1, grants == 1));
    }
    let problem = format!("only {CLIENT_CREDENTIALS} is served, and {TOKEN_EXCHANGE} and {JWT_BEARER_GRANT} beside it");
    Err(invalid("grant_types", &problem))
}

/// The grant types in normal form.
pub(super) fn write((exchanges, uses_grants): (bool, bool)) -> Vec<String> {
    let others = exchanges.then_some(TOKEN_EXCHANGE).into_iter().chain(uses_grants.then_some(JWT_BEARER_GRANT));
    std::iter::once(CLIENT_CREDENTIALS).chain(others).map(ToOwned::to_owned).collect()
}
