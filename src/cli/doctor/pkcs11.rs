//! The PKCS#11 token that holds signing keys. Its PIN is tried once, and not where one more wrong PIN would lock it.

use std::sync::Arc;

use crate::authority::keys::SigningKeys;
use crate::cli::doctor::Environment;
use crate::cli::doctor::fault::Fault;
use crate::cli::doctor::report::Report;
use crate::config::Config;
use crate::server::prove_signing_keys;
use crate::signer::pkcs11;
use crate::signer::pkcs11::Pkcs11;

const CHECK: &str = "pkcs11";

/// Checks the module, the token, its PIN and its mechanisms. Returns the token if it can be used.
pub(in crate::cli::doctor) fn check(config: &Config, environment: &Environment, report: &mut Report) -> Option<Pkcs11> {
    let settings = config.pkcs11.clone()?;
    let subject = settings.token.to_string();
    // A server may start without it; it issues no tokens then.
    let settings = pkcs11::Config { start_without_token: false, ..settings };
    match Pkcs11::open(settings, config.algorithm, Arc::clone(&environment.clock)) {
        Ok(token) => {
            report.ok(CHECK, subject, "the module loads, and the token is there and takes the PIN");
            Some(token)
        }
        Err(error) => {
            report.fault(CHECK, subject, Fault::TokenUnusable, error.to_string());
            None
        }
    }
}

/// Lets the keys in the token that sign, or are to sign next, sign once. Without a token there must be none.
pub(in crate::cli::doctor) async fn check_keys(keys: &SigningKeys, token: Option<&Pkcs11>, report: &mut Report) {
    match prove_signing_keys(keys, false).await {
        Ok(0) if token.is_none() => {}
        Ok(0) => report.ok(CHECK, "", "no key in the store that signs is in a token"),
        Ok(count) => report.ok(CHECK, "", format!("signing keys in the token that have signed: {count}")),
        Err(error) => report.fault(CHECK, "", Fault::SigningKeyNotInToken, error.to_string()),
    }
}
