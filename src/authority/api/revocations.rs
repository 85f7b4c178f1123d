//! Revokes tokens, clients and certificates (RFC 7009), and sweeps revocations that have no effect any more.

use crate::authority::Authority;
use crate::authority::access::Requester;
use crate::authority::clock::Timestamp;
use crate::authority::decision::RevokeError;
use crate::authority::decision::RevokeRequest;
use crate::authority::registration::MAX_TTL;
use crate::authority::state::Caller;
use crate::authority::state::Entry;
use crate::authority::state::RevocationRecord;
use crate::authority::state::Revoked;
use crate::authority::state::View;
use crate::authority::store::Expected;
use crate::authority::store::StoreError;

impl Authority {
    /// Revokes a token, a client or a certificate. When this returns, the revocation is stored, and every protocol
    /// enforces it.
    pub async fn revoke(
        &self,
        caller: &Caller,
        requester: &Requester,
        request: RevokeRequest,
    ) -> Result<(), RevokeError> {
        self.put_revocation(caller, requester, request)
            .await
            .inspect_err(|error| self.record_not_revoked(caller, *error))
    }

    async fn put_revocation(
        &self,
        caller: &Caller,
        requester: &Requester,
        request: RevokeRequest,
    ) -> Result<(), RevokeError> {
        let view = &caller.view;
        let Some((revoked, until)) = self.resolve(view, requester, request)? else { return Ok(()) };
        let by = caller.identity.to_string();
        let record = RevocationRecord::new(view.now, &by, until);
        let bytes = record.to_bytes().ok_or(RevokeError::Unavailable)?;
        let key = revoked.store_key();
        let revision = self.store.put(&key, bytes, Expected::Any).await?;
        self.apply_write(&key, Some(Entry::Revocation(record)), revision);
        self.record_revocation(&by, &revoked, "revoked", revision);
        Ok(())
    }

    /// Lifts the revocation of a client or a certificate.
    pub async fn lift_revocation(
        &self,
        caller: &Caller,
        requester: &Requester,
        request: RevokeRequest,
    ) -> Result<(), RevokeError> {
        self.delete_revocation(caller, requester, request)
            .await
            .inspect_err(|error| self.record_not_revoked(caller, *error))
    }

    async fn delete_revocation(
        &self,
        caller: &Caller,
        requester: &Requester,
        request: RevokeRequest,
    ) -> Result<(), RevokeError> {
        let revoked = match request {
            _ if !requester.roles.admin => return Err(RevokeError::NotYours),
            RevokeRequest::Client(client_id, _) => Revoked::Client(client_id),
            RevokeRequest::Certificate(thumbprint, _) => Revoked::Certificate(thumbprint),
            RevokeRequest::Token(_) | RevokeRequest::TokenId(_) | RevokeRequest::IssuedTo(_) => {
                return Err(RevokeError::NotLiftable);
            }
        };
        let key = revoked.store_key();
        let revision = self.store.delete(&key, Expected::Any).await?;
        self.apply_write(&key, None, revision);
        self.record_revocation(&caller.identity.to_string(), &revoked, "lifted", revision);
        Ok(())
    }

    /// Deletes the revocations that revoke nothing any more.
    pub async fn sweep_revocations(&self) -> Result<(), StoreError> {
        let expired = self.snapshot.load().revocations.expired(self.clock.now());
        self.delete_all(expired.iter().map(|(revoked, revision)| (revoked.store_key(), *revision))).await
    }

    fn record_not_revoked(&self, caller: &Caller, error: RevokeError) {
        self.record_refused(&caller.sender(), "revocation", error.code(), &error.to_string());
    }

    fn resolve(
        &self,
        view: &View,
        requester: &Requester,
        request: RevokeRequest,
    ) -> Result<Option<(Revoked, Option<Timestamp>)>, RevokeError> {
        if let RevokeRequest::Token(text) = &request {
            let Ok(token) = self.verified(view, text) else { return Ok(None) };
            let own =
                requester.client_id.as_ref().is_some_and(|client_id| client_id.as_str() == token.claims.client_id);
            if !own && !requester.roles.admin {
                return Err(RevokeError::NotYours);
            }
            let revoked = Revoked::token(&token.claims.jti).ok_or(RevokeError::Malformed)?;
            return Ok((view.now < token.claims.exp).then_some((revoked, Some(token.claims.exp))));
        }
        if !requester.roles.admin {
            return Err(RevokeError::NotYours);
        }
        // No token that is issued now is valid for longer than this.
        let last_token = Some(view.now.after(MAX_TTL));
        Ok(Some(match request {
            RevokeRequest::TokenId(jti) => (Revoked::token(&jti).ok_or(RevokeError::Malformed)?, last_token),
            RevokeRequest::Client(client_id, until) => (Revoked::Client(client_id), until),
            RevokeRequest::Certificate(thumbprint, until) => (Revoked::Certificate(thumbprint), until),
            RevokeRequest::IssuedTo(client_id) => (Revoked::IssuedTo(client_id), last_token),
            RevokeRequest::Token(_) => return Ok(None),
        }))
    }
}
