//! Exchanges what was presented to a client for a token of its own, with which it acts for somebody else (RFC 8693).

use std::sync::Arc;

use crate::authority::Authority;
use crate::authority::api::audit::one_step;
use crate::authority::api::bindings::Use;
use crate::authority::api::tokens::NOT_BEFORE_SKEW;
use crate::authority::api::tokens::refusal;
use crate::authority::decision::Check;
use crate::authority::decision::Decision;
use crate::authority::decision::Exchange;
use crate::authority::decision::ExchangeError;
use crate::authority::decision::ExchangeRefusal;
use crate::authority::decision::ExchangeRequest;
use crate::authority::decision::ExchangeSubject;
use crate::authority::decision::Exchanging;
use crate::authority::decision::Grant;
use crate::authority::decision::GrantError;
use crate::authority::decision::Step;
use crate::authority::decision::exchange;
use crate::authority::decision::explain_exchange;
use crate::authority::deny_reason::DenyReason;
use crate::authority::evidence::Evidence;
use crate::authority::evidence::EvidenceGrade;
use crate::authority::identity::PeerIdentity;
use crate::authority::reference::Refused;
use crate::authority::resources::Demands;
use crate::authority::scope::Scope;
use crate::authority::state::Caller;
use crate::authority::state::View;
use crate::authority::tokens;
use crate::authority::tokens::AccessTokenClaims;
use crate::authority::tokens::IssuedToken;
use crate::authority::tokens::VerifiedToken;

/// A refused exchange, with the steps up to there.
type NotExchanged = (ExchangeError, Vec<Step>);

impl Authority {
    /// Exchanges what was presented to the caller for a token of its own, bound to the certificate of its connection.
    pub async fn exchange_token(
        &self,
        caller: &Caller,
        request: &ExchangeRequest,
    ) -> Result<IssuedToken, Refused<ExchangeRefusal>> {
        let (view, peer) = (&caller.view, &*caller.identity);
        let outcome = match self.exchanged(caller, request) {
            Ok(exchange) => self.mint_exchanged(view, peer, &exchange).await.map(|minted| (exchange, minted)),
            Err(refused) => Err(refused),
        };
        match outcome {
            Ok((exchange, (claims, token))) => {
                self.record_exchanged(peer, &exchange, &claims);
                Ok(token)
            }
            Err((error, steps)) => Err(self.record_exchange_refused(caller, request, error, steps)),
        }
    }

    /// Decides on an exchange, if it is switched on and the view is fresh enough.
    fn exchanged(&self, caller: &Caller, request: &ExchangeRequest) -> Result<Exchange, NotExchanged> {
        let view = &caller.view;
        let ended = |check, error: ExchangeError| (error, ended_at(check, error));
        if !self.policy.exchange.enabled {
            return Err(ended(Check::Request, ExchangeError::NotEnabled));
        }
        let subject = self.subject(view, request);
        // The subject is good where it was presented, and the token at its target.
        let places = subject.iter().flat_map(|subject| subject.token.claims.aud.all());
        let bound = view.shortest_bound(request.audience.iter().chain(places).map(String::as_str));
        view.freshness(bound).map_err(|why| ended(Check::Freshness, GrantError::from(why).into()))?;
        let assertion = self.prove_assertion(view, &request.assertion);
        let assertion = assertion.map_err(|error| ended(Check::ClientAssertion, error.into()))?;
        let credentials = self.credentials(&caller.identity, assertion.as_ref());
        let actor_token = request.actor_token.as_deref().map(|token| self.verified(view, token));
        let exchanging = Exchanging {
            snapshot: &view.snapshot,
            credentials,
            request,
            subject: subject.as_ref().map_err(|error| *error),
            actor_token: actor_token.as_ref().map(|token| token.as_deref().map_err(|why| *why)),
            judge: &|token, audience| self.judge(view, token, audience),
            now: view.now,
        };
        let exchange = exchange(&exchanging).map_err(|error| (error, explain_exchange(&exchanging)))?;
        let taken = self.take_assertion(credentials, &exchange.client_id, view.now);
        taken.map(|()| exchange).map_err(|error| ended(Check::ClientAssertion, error.into()))
    }

    /// What is to be exchanged, verified as what it is said to be.
    fn subject(&self, view: &View, request: &ExchangeRequest) -> Result<ExchangeSubject, ExchangeError> {
        let Some(access_token) = &request.access_token else {
            return Err(ExchangeError::RequestMalformed("what is to be exchanged is missing"));
        };
        let token = self.verified(view, access_token).map_err(ExchangeError::SubjectInvalid)?;
        Ok(ExchangeSubject { token, presented: None })
    }

    /// Whether a use of a token with the certificate that it is bound to would be allowed at a resource now, and with which
    /// scopes: the same decision as in every protocol.
    pub(super) fn judge(&self, view: &View, token: &VerifiedToken, audience: &str) -> Result<Scope, DenyReason> {
        let resources = &view.snapshot.resources;
        let resource = resources.named(audience).map(|registered| &registered.registration);
        let demands = Demands {
            deleted: resources.deleted(audience).is_some(),
            // The evidence of the presentation was judged then.
            least_evidence: EvidenceGrade::Thumbprint,
            ..Demands::of(audience, resource, Scope::default())
        };
        let evidence = token.bound_to.map(Evidence::Thumbprint);
        let (decision, permitted, _) = self.evaluate(view, token, Use::new(evidence.as_ref(), &demands), || None);
        match (decision, permitted) {
            (Decision::Allow(_), Some(permitted)) => {
                let narrowed = token.narrowed(&permitted, |scope| demands.counts(scope));
                let claims = narrowed.as_deref().unwrap_or(&token.claims);
                Scope::parse(claims.scope.as_deref().unwrap_or_default()).map_err(|_| DenyReason::TokenMalformed)
            }
            (Decision::Allow(_), None) => Err(DenyReason::ClientUnknown),
            (Decision::Deny(why), _) => Err(why),
        }
    }

    async fn mint_exchanged(
        &self,
        view: &View,
        peer: &PeerIdentity,
        exchange: &Exchange,
    ) -> Result<(AccessTokenClaims, IssuedToken), NotExchanged> {
        let claims = self.exchanged_claims(view, peer, exchange);
        let minted = match claims {
            Ok(claims) => {
                tokens::sign(&view.snapshot.keys, &claims).await.map_err(refusal).map(|token| (claims, token))
            }
            Err(error) => Err(error),
        };
        let (claims, access_token) = minted.map_err(|error| {
            let error = ExchangeError::from(error);
            (error, ended_at(Check::Signing, error))
        })?;
        let expires_in = view.now.until(exchange.expires);
        Ok((claims, IssuedToken { access_token, expires_in, scope: exchange.scope.clone() }))
    }

    /// The claims of a token that its holder gets in exchange. It is always bound to the certificate of the connection.
    fn exchanged_claims(
        &self,
        view: &View,
        peer: &PeerIdentity,
        exchange: &Exchange,
    ) -> Result<AccessTokenClaims, GrantError> {
        let jti = self.random_id().map_err(|_| GrantError::ServerError)?;
        let grant = Grant {
            client_id: exchange.client_id.clone(),
            client: Arc::clone(&exchange.client),
            scope: exchange.scope.clone(),
            audience: vec![exchange.audience.clone()],
            expires: exchange.expires,
            bound: true,
        };
        Ok(AccessTokenClaims {
            sub: exchange.subject.clone(),
            iat: exchange.issued,
            nbf: exchange.issued.before(NOT_BEFORE_SKEW),
            act: Some(exchange.actors.clone()),
            lanyard_from: exchange.ancestry.clone(),
            ..self.claims(view, peer, &grant, jti)
        })
    }
}

/// The only step of a refused exchange.
fn ended_at(check: Check, error: ExchangeError) -> Vec<Step> {
    one_step(check, &error.to_string(), "")
}
