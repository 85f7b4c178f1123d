//! Issuing tokens, and signing what is told of them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use serde_json::json;

use crate::authority::Authority;
use crate::authority::clock::NoEntropy;
use crate::authority::decision::Credentials;
use crate::authority::decision::Grant;
use crate::authority::decision::GrantError;
use crate::authority::decision::TokenRequest;
use crate::authority::decision::grant;
use crate::authority::identity::PeerIdentity;
use crate::authority::observe::AuditEvent;
use crate::authority::registration::ClientId;
use crate::authority::registration::Rotation;
use crate::authority::state::Caller;
use crate::authority::state::View;
use crate::authority::tokens;
use crate::authority::tokens::AccessTokenClaims;
use crate::authority::tokens::BoundCertificate;
use crate::authority::tokens::Confirmation;
use crate::authority::tokens::IssuedToken;
use crate::authority::trust::JwtSvid;

impl Authority {
    /// Issues a token by the client credentials grant, bound to the peer's certificate.
    pub fn issue_token(&self, caller: &Caller, request: &TokenRequest) -> Result<IssuedToken, GrantError> {
        let (view, peer) = (&caller.view, &*caller.identity);
        let fresh = view.freshness().map_err(GrantError::from);
        let outcome = fresh
            .and_then(|()| self.prove_assertion(view, &request.assertion))
            .and_then(|assertion| {
                let credentials = self.credentials(peer, assertion.as_ref());
                grant(&view.snapshot, credentials, request, view.now)
            })
            .and_then(|grant| self.mint(view, peer, &grant));
        self.metrics.granted(&outcome);
        match &outcome {
            Ok((client_id, claims, _)) => {
                let (resource, bound_to) = (&claims.aud.all().join(" "), claims.bound_to());
                AuditEvent::TokenIssued { client_id, resource, jti: &claims.jti, bound_to }.record();
            }
            Err(error) => {
                // Anybody's text of any length is not for the log.
                let client_id = request.client_id.as_deref().filter(|text| ClientId::parse(text).is_some());
                AuditEvent::TokenRefused { peer: &peer.to_string(), client_id, error: *error }.record();
            }
        }
        outcome.map(|(_, _, token)| token)
    }

    pub(in crate::authority) fn credentials<'a>(
        &self,
        peer: &'a PeerIdentity,
        assertion: Option<&'a JwtSvid>,
    ) -> Credentials<'a> {
        Credentials { peer, assertion, unbound_tokens: self.policy.unbound_tokens }
    }

    fn mint(
        &self,
        view: &View,
        peer: &PeerIdentity,
        grant: &Grant,
    ) -> Result<(ClientId, AccessTokenClaims, IssuedToken), GrantError> {
        let now = view.now;
        let claims = AccessTokenClaims {
            iss: self.policy.issuer.clone(),
            sub: grant.client_id.to_string(),
            aud: grant.audience.clone().into(),
            exp: grant.expires,
            iat: now,
            nbf: now,
            jti: self.random_id().map_err(|_| GrantError::ServerError)?,
            client_id: grant.client_id.to_string(),
            scope: (!grant.scope.is_empty()).then(|| grant.scope.to_string()),
            cnf: grant.bound.then(|| Confirmation { x5t_s256: Some(peer.thumbprint().to_string()) }),
            lanyard_bound: (grant.bound && grant.client.registration.rotation != Rotation::Strict)
                .then(|| BoundCertificate::of(peer.certificate())),
            lanyard_creation: grant.client.record.creation_id.clone(),
        };
        let access_token = tokens::sign(view.keys.active(), &claims).map_err(|error| {
            tracing::error!(%error, "a token could not be signed");
            GrantError::ServerError
        })?;
        let token = IssuedToken { access_token, expires_in: now.until(grant.expires), scope: grant.scope.clone() };
        Ok((grant.client_id.clone(), claims, token))
    }

    /// Signs an answer of the introspection endpoint for its receiver (RFC 9701 section 5). There is no `exp` and no `sub`:
    /// the answer says what was so when it was made, and could else be taken for a token.
    pub fn sign_introspection(&self, view: &View, receiver: &str, answer: &Value) -> Result<String, GrantError> {
        let claims = json!({
            "iss": self.policy.issuer,
            "aud": receiver,
            "iat": view.now,
            "token_introspection": answer,
        });
        tokens::sign_as(view.keys.active(), "token-introspection+jwt", &claims).map_err(|error| {
            tracing::error!(%error, "an introspection response could not be signed");
            GrantError::ServerError
        })
    }

    /// 128 random bits as base64url.
    pub(in crate::authority) fn random_id(&self) -> Result<String, NoEntropy> {
        let mut bytes = [0; 16];
        self.entropy.fill(&mut bytes)?;
        Ok(URL_SAFE_NO_PAD.encode(bytes))
    }
}
