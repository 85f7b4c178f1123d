//! Issues tokens, and signs introspection responses.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use serde_json::json;

use crate::authority::Authority;
use crate::authority::api::audit::one_step;
use crate::authority::clock::NoEntropy;
use crate::authority::decision::Check;
use crate::authority::decision::Credentials;
use crate::authority::decision::Grant;
use crate::authority::decision::GrantError;
use crate::authority::decision::ProvenAssertion;
use crate::authority::decision::Step;
use crate::authority::decision::TokenRequest;
use crate::authority::decision::explain_grant;
use crate::authority::decision::explain_refusal;
use crate::authority::decision::grant;
use crate::authority::identity::PeerIdentity;
use crate::authority::keys::SigningFailed;
use crate::authority::reference::Refused;
use crate::authority::registration::Rotation;
use crate::authority::state::Caller;
use crate::authority::state::View;
use crate::authority::tokens;
use crate::authority::tokens::AccessTokenClaims;
use crate::authority::tokens::Ancestry;
use crate::authority::tokens::BoundCertificate;
use crate::authority::tokens::Confirmation;
use crate::authority::tokens::IssuedToken;
use crate::authority::tokens::NotSigned;

/// How far `nbf` is before `iat`. A verifier whose clock is a little behind accepts a new token then.
pub(in crate::authority::api) const NOT_BEFORE_SKEW: Duration = Duration::from_secs(5);

impl Authority {
    /// Issues a token by the client credentials grant, bound to the peer's certificate.
    pub async fn issue_token(
        &self,
        caller: &Caller,
        request: &TokenRequest,
    ) -> Result<IssuedToken, Refused<GrantError>> {
        let (view, peer) = (&caller.view, &*caller.identity);
        let assertion = self.prove_assertion(view, &request.assertion);
        let credentials = assertion.as_ref().map(|assertion| self.credentials(peer, assertion.as_ref()));
        let credentials = credentials.map_err(|error| *error);
        let granted = granted(view, credentials, request).and_then(|grant| {
            let taken = credentials.and_then(|by| self.take_assertion(by, &grant.client_id, view.now));
            taken.map(|()| grant).map_err(|error| (error, ended_at(Check::ClientAssertion, error)))
        });
        let (error, steps) = match granted {
            Ok(grant) => match self.mint(view, peer, &grant).await {
                Ok((claims, token)) => {
                    self.record_issued(peer, &grant, &claims);
                    return Ok(token);
                }
                Err(error) => (error, ended_at(Check::Signing, error)),
            },
            Err(refused) => refused,
        };
        Err(self.record_token_refused(caller, request, error, steps))
    }

    /// What a refused request asks for beyond what its client may have, for the client itself; see [`explain_refusal`].
    pub fn explain_refusal(&self, caller: &Caller, request: &TokenRequest, error: GrantError) -> Option<String> {
        let assertion = self.prove_assertion(&caller.view, &request.assertion).ok()?;
        let credentials = self.credentials(&caller.identity, assertion.as_ref());
        explain_refusal(&caller.view.snapshot, credentials, request, caller.view.now, error)
    }

    pub(in crate::authority) fn credentials<'a>(
        &self,
        peer: &'a PeerIdentity,
        assertion: Option<&'a ProvenAssertion>,
    ) -> Credentials<'a> {
        Credentials { peer, assertion, unbound_tokens: self.policy.unbound_tokens }
    }

    async fn mint(
        &self,
        view: &View,
        peer: &PeerIdentity,
        grant: &Grant,
    ) -> Result<(AccessTokenClaims, IssuedToken), GrantError> {
        let jti = self.random_id().map_err(|_| GrantError::ServerError)?;
        let claims = self.claims(view, peer, grant, jti);
        let access_token = tokens::sign(&view.snapshot.keys, &claims).await.map_err(refusal)?;
        let expires_in = view.now.until(grant.expires);
        let token = IssuedToken { access_token, expires_in, scope: grant.scope.clone() };
        Ok((claims, token))
    }

    /// The claims of a token that is issued now.
    pub(in crate::authority::api) fn claims(
        &self,
        view: &View,
        peer: &PeerIdentity,
        grant: &Grant,
        jti: String,
    ) -> AccessTokenClaims {
        let now = view.now;
        AccessTokenClaims {
            iss: self.policy.issuer.clone(),
            sub: grant.client_id.to_string(),
            aud: grant.audience.clone().into(),
            exp: grant.expires,
            iat: now,
            nbf: now.before(NOT_BEFORE_SKEW),
            jti,
            client_id: grant.client_id.to_string(),
            scope: (!grant.scope.is_empty()).then(|| grant.scope.to_string()),
            cnf: grant.bound.then(|| Confirmation { x5t_s256: Some(peer.thumbprint().to_string()) }),
            lanyard_bound: (grant.bound && grant.client.registration.terms.rotation != Rotation::Strict)
                .then(|| BoundCertificate::of(peer.certificate())),
            lanyard_spiffe_id: grant
                .bound
                .then(|| tokens::spiffe_id_claim(&grant.client_id, peer.certificate()))
                .flatten(),
            lanyard_creation: grant.client.record.creation_id.to_string(),
            act: None,
            may_act: None,
            lanyard_from: Ancestry::default(),
        }
    }

    /// Signs a response of the introspection endpoint for its receiver (RFC 9701 section 5). It has no `exp` and no
    /// `sub`: it describes the state at the time of signing, and could otherwise be mistaken for a token.
    pub async fn sign_introspection(&self, view: &View, receiver: &str, answer: &Value) -> Result<String, GrantError> {
        let claims = json!({
            "iss": self.policy.issuer,
            "aud": receiver,
            "iat": view.now,
            "token_introspection": answer,
        });
        tokens::sign_as(&view.snapshot.keys, "token-introspection+jwt", &claims).await.map_err(refusal)
    }

    /// 128 random bits as base64url.
    pub(in crate::authority) fn random_id(&self) -> Result<String, NoEntropy> {
        let mut bytes = [0; 16];
        self.entropy.fill(&mut bytes)?;
        Ok(URL_SAFE_NO_PAD.encode(bytes))
    }
}

/// Decides on a token request, if the view is fresh enough. A refusal has its steps.
pub(in crate::authority::api) fn granted(
    view: &View,
    credentials: Result<Credentials<'_>, GrantError>,
    request: &TokenRequest,
) -> Result<Grant, (GrantError, Vec<Step>)> {
    let granted = credentials.and_then(|credentials| grant(&view.snapshot, credentials, request, view.now));
    // The token is good at each of its resources. A refusal may be wrong by now too.
    let granted_for = granted.as_ref().map(|grant| grant.audience.iter().map(String::as_str));
    let bound = granted_for.ok().and_then(|audiences| view.shortest_bound(audiences));
    let fresh = view.freshness(bound).map_err(GrantError::from);
    fresh.map_err(|error| (error, ended_at(Check::Freshness, error)))?;
    granted.map_err(|error| match credentials {
        Ok(credentials) => (error, explain_grant(&view.snapshot, credentials, request, view.now)),
        Err(_) => (error, ended_at(Check::ClientAssertion, error)),
    })
}

/// The only step of a refused request.
fn ended_at(check: Check, error: GrantError) -> Vec<Step> {
    one_step(check, &error.to_string(), "")
}

/// The refusal of a request whose answer was not signed.
pub(in crate::authority::api) fn refusal(error: NotSigned) -> GrantError {
    match error {
        NotSigned::TooLarge => GrantError::TokenTooLarge,
        NotSigned::Signing(SigningFailed::Busy) => GrantError::Busy,
        // The log has a line for each time that the module is lost, not for each request.
        NotSigned::Signing(SigningFailed::Unavailable) => GrantError::SigningUnavailable,
        NotSigned::Signing(SigningFailed::NotHeld | SigningFailed::OtherKey | SigningFailed::NotConfigured)
        | NotSigned::NoKey(_) => {
            tracing::error!(%error, "a token or an introspection response could not be signed");
            GrantError::SigningUnavailable
        }
        NotSigned::Signing(SigningFailed::Failed) => {
            tracing::error!(%error, "a token or an introspection response could not be signed");
            GrantError::ServerError
        }
    }
}
