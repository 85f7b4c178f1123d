//! A subject that a client names in a JWT that it signed itself.

use std::time::Duration;

use crate::authority::clock::Timestamp;
use crate::authority::decision::exchange_error::ExchangeError;
use crate::authority::decision::steps::Check;
use crate::authority::decision::steps::Walk;
use crate::authority::deny_reason::DenyReason;
use crate::authority::registration::ClientId;
use crate::authority::tokens::SelfSignedClaims;

/// How old a self-signed JWT may be, and how far ahead the clock of who signed it.
const MAX_SELF_SIGNED_AGE: Duration = Duration::from_mins(5);
const CLOCK_SKEW: Duration = Duration::from_secs(30);

/// What a self-signed JWT says, if it is of this client, for this server, and of now.
pub(super) fn self_signed<'a>(
    (found, issuer): (Result<Option<&'a SelfSignedClaims>, ExchangeError>, &str),
    client_id: &ClientId,
    now: Timestamp,
    walk: &mut impl Walk,
) -> Result<&'a SelfSignedClaims, ExchangeError> {
    walk.at(Check::Subject, || {
        let found = match found {
            Ok(Some(claims)) => format!("iss {}, iat {}, exp {}", claims.iss, claims.iat.0, claims.exp.0),
            Ok(None) => String::new(),
            Err(why) => why.to_string(),
        };
        (found, format!("a JWT of {client_id} for {issuer}, signed with the key of its certificate"))
    });
    let claims = found?.ok_or(ExchangeError::RequestMalformed("what is to be exchanged is missing"))?;
    let why = if claims.iss != client_id.as_str() {
        DenyReason::WrongIssuer
    } else if claims.aud.all() != [issuer] {
        DenyReason::WrongAudience
    } else if now >= claims.exp || claims.iat < now.before(MAX_SELF_SIGNED_AGE) {
        DenyReason::TokenExpired
    } else if claims.iat > now.after(CLOCK_SKEW) {
        DenyReason::TokenNotYetValid
    } else {
        return Ok(claims);
    };
    Err(ExchangeError::SubjectInvalid(why))
}
