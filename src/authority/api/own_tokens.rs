//! The revocation of a client's own tokens: one by one up to a quota, and beyond it all that are bound to the certificate
//! that the client calls with.

use crate::authority::Authority;
use crate::authority::clock::Timestamp;
use crate::authority::decision::RevokeError;
use crate::authority::observe::Quota;
use crate::authority::registration::MAX_TTL;
use crate::authority::state::Caller;
use crate::authority::state::Revoked;
use crate::authority::tokens::VerifiedToken;

/// A revocation that is to be stored, unless the one that is stored is enough.
#[derive(Debug)]
pub(in crate::authority::api) struct WantedRevocation {
    pub(in crate::authority::api) revoked: Revoked,
    /// The time and the end of the record.
    pub(in crate::authority::api) at: Timestamp,
    pub(in crate::authority::api) until: Option<Timestamp>,
    /// A stored one that was made at this time or later, and lasts until then, is enough.
    pub(in crate::authority::api) enough_at: Timestamp,
    pub(in crate::authority::api) enough_until: Option<Timestamp>,
}

impl WantedRevocation {
    /// A revocation from now on.
    pub(in crate::authority::api) fn new(revoked: Revoked, now: Timestamp, until: Option<Timestamp>) -> Self {
        // What was issued up to now is more than what was issued up to an earlier time. Others refuse the same at any time.
        let enough_at = if matches!(revoked, Revoked::IssuedTo(_)) { now } else { Timestamp::default() };
        Self { revoked, at: now, until, enough_at, enough_until: until }
    }
}

impl Authority {
    /// What is to be stored when a client revokes a token of its own. With either the token is revoked.
    pub(in crate::authority::api) fn revocation_of_own(
        &self,
        caller: &Caller,
        token: &VerifiedToken,
    ) -> Result<WantedRevocation, RevokeError> {
        let (claims, now) = (&token.claims, caller.view.now);
        let revoked = Revoked::token(&claims.jti).ok_or(RevokeError::Malformed)?;
        // Not the caller's view: of requests that it sends at once, each counts for the next.
        let snapshot = self.snapshot.load();
        let revocations = &snapshot.revocations;
        let own_certificate = token.bound_to.filter(|thumbprint| *thumbprint == caller.identity.thumbprint());
        let is_covered = own_certificate.is_some_and(|own| revocations.has_issued_with(own, claims.iat, now));
        if !is_covered {
            let has_room = || {
                revocations.tokens_revoked_by(&caller.identity.to_string()) < self.policy.quotas.revocations
                    || revocations.record(&revoked).is_some()
            };
            if has_room() {
                return Ok(WantedRevocation::new(revoked, now, Some(claims.exp)));
            }
            self.metrics.quota_exceeded(Quota::Revocations);
        }
        let thumbprint = own_certificate.ok_or(RevokeError::QuotaExceeded)?;
        // The clock of the replica that issued the token may be ahead.
        let at = now.max(claims.iat);
        Ok(WantedRevocation {
            revoked: Revoked::IssuedWith(thumbprint),
            at,
            until: Some(at.after(MAX_TTL)),
            enough_at: claims.iat,
            enough_until: Some(claims.exp),
        })
    }
}
