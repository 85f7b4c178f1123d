//! `lanyard.v1.KeyService`.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tonic::Request;
use tonic::Response;
use tonic::Status;

use crate::authority::keys::KeyStage;
use crate::authority::keys::KeyState;
use crate::authority::keys::SigningKeys;
use crate::authority::keys::StoredKey;
use crate::authority::state::KeyTimes;
use crate::grpc::Services;
use crate::grpc::caller;
use crate::grpc::status;
use crate::messages::timestamp;
use crate::proto::GetJwksRequest;
use crate::proto::GetJwksResponse;
use crate::proto::ListSigningKeysRequest;
use crate::proto::ListSigningKeysResponse;
use crate::proto::ResealKeysRequest;
use crate::proto::ResealKeysResponse;
use crate::proto::RevokeSigningKeyRequest;
use crate::proto::RevokeSigningKeyResponse;
use crate::proto::RotateSigningKeyRequest;
use crate::proto::RotateSigningKeyResponse;
use crate::proto::SigningKey;
use crate::proto::SigningKeyState;
use crate::proto::key_service_server::KeyService;
use crate::trace_context;

/// How long the answer to a revocation waits for a new key that is made in place of the revoked one.
const REPLACEMENT_WAIT: Duration = Duration::from_secs(2);

#[tonic::async_trait]
impl KeyService for Services {
    async fn get_jwks(&self, _request: Request<GetJwksRequest>) -> Result<Response<GetJwksResponse>, Status> {
        Ok(Response::new(GetJwksResponse { jwks: self.authority.keys().jwks() }))
    }

    async fn list_signing_keys(
        &self,
        request: Request<ListSigningKeysRequest>,
    ) -> Result<Response<ListSigningKeysResponse>, Status> {
        let keys = &caller(request.extensions())?.view.snapshot.keys;
        let times = self.authority.key_times();
        let keys = keys.all().map(|(key, _)| printed(key, keys, &times)).collect();
        Ok(Response::new(ListSigningKeysResponse { keys }))
    }

    async fn rotate_signing_key(
        &self,
        request: Request<RotateSigningKeyRequest>,
    ) -> Result<Response<RotateSigningKeyResponse>, Status> {
        let (caller, authority) = (caller(request.extensions())?.clone(), Arc::clone(&self.authority));
        let rotated = to_its_end(async move { authority.rotate_signing_key(&caller).await }).await?;
        let rotated = rotated.map_err(status::refused(status::key_change_error))?;
        let key = Some(printed(&rotated.next, &self.authority.keys(), &self.authority.key_times()));
        Ok(Response::new(RotateSigningKeyResponse { key, already_pending: rotated.was_pending }))
    }

    async fn revoke_signing_key(
        &self,
        request: Request<RevokeSigningKeyRequest>,
    ) -> Result<Response<RevokeSigningKeyResponse>, Status> {
        let (_, extensions, RevokeSigningKeyRequest { kid, reason }) = request.into_parts();
        let (caller, authority) = (caller(&extensions)?.clone(), Arc::clone(&self.authority));
        let revoked = to_its_end(async move { authority.revoke_signing_key(&caller, &kid, &reason).await }).await?;
        let mut revoked = revoked.map_err(status::refused(status::key_change_error))?;
        if !revoked.was_revoked && self.authority.keys().active_key().is_none() {
            let authority = Arc::clone(&self.authority);
            let replacing = to_its_end(async move { authority.tend_signing_keys().await });
            // What fails is in the log, and is tried again.
            drop(timeout(REPLACEMENT_WAIT, replacing).await);
            revoked.replaced_by = self.authority.keys().active_key().cloned();
        }
        let (keys, times) = (self.authority.keys(), self.authority.key_times());
        Ok(Response::new(RevokeSigningKeyResponse {
            key: Some(printed(&revoked.revoked, &keys, &times)),
            already_revoked: revoked.was_revoked,
            replaced_by: revoked.replaced_by.map(|key| printed(&key, &keys, &times)),
        }))
    }

    async fn reseal_keys(&self, request: Request<ResealKeysRequest>) -> Result<Response<ResealKeysResponse>, Status> {
        let caller = caller(request.extensions())?;
        let done = self.authority.reseal_keys(caller).await.map_err(status::refused(status::key_change_error))?;
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Ok(Response::new(ResealKeysResponse { resealed: count(done.resealed), already: count(done.already) }))
    }
}

/// Runs a change that a client which goes away must not end in the middle: a key may have been made for it elsewhere.
async fn to_its_end<T: Send + 'static>(change: impl Future<Output = T> + Send + 'static) -> Result<T, Status> {
    let done = tokio::spawn(trace_context::detached(change)).await;
    done.map_err(|_| Status::internal("the change of the signing keys was not finished"))
}

/// A key of these keys.
fn printed(key: &StoredKey, keys: &SigningKeys, times: &KeyTimes) -> SigningKey {
    let state = keys.state_of(key);
    let mut message = SigningKey {
        kid: key.key_id().to_string(),
        algorithm: key.algorithm().name().to_owned(),
        location: key.location().label().to_owned(),
        state: match state {
            KeyState::Next => SigningKeyState::Next,
            KeyState::Active => SigningKeyState::Active,
            KeyState::Retired => SigningKeyState::Retired,
            KeyState::Revoked => SigningKeyState::Revoked,
        }
        .into(),
        create_time: Some(timestamp(key.made())),
        delete_time: times.kept_until(key).map(timestamp),
        ..SigningKey::default()
    };
    match key.stage() {
        // The only time of it that is known is when it was made.
        KeyStage::ByAge => {}
        KeyStage::Next => message.earliest_activate_time = Some(timestamp(times.may_sign_from(key))),
        KeyStage::Active { since } => message.activate_time = Some(timestamp(*since)),
        KeyStage::Retired { activated, since } => {
            message.activate_time = activated.map(timestamp);
            message.retire_time = Some(timestamp(*since));
        }
        KeyStage::Revoked(revocation) => {
            message.revoke_time = Some(timestamp(revocation.at));
            message.revoked_by.clone_from(&revocation.by);
            message.revoke_reason.clone_from(&revocation.reason);
        }
    }
    message
}
