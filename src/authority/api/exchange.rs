//! Exchanges what was presented to a client for a token of its own, with which it acts for somebody else (RFC 8693).

use std::sync::Arc;
use std::time::Duration;

use crate::authority::Authority;
use crate::authority::api::audit::one_step;
use crate::authority::api::bindings::Use;
use crate::authority::api::tokens::NOT_BEFORE_SKEW;
use crate::authority::api::tokens::refusal;
use crate::authority::clock::Timestamp;
use crate::authority::decision::Check;
use crate::authority::decision::ClientAssertion;
use crate::authority::decision::Credentials;
use crate::authority::decision::Decision;
use crate::authority::decision::Exchange;
use crate::authority::decision::ExchangeError;
use crate::authority::decision::ExchangeRefusal;
use crate::authority::decision::ExchangeRequest;
use crate::authority::decision::ExchangeSubject;
use crate::authority::decision::Exchanging;
use crate::authority::decision::Grant;
use crate::authority::decision::GrantError;
use crate::authority::decision::ProvenAssertion;
use crate::authority::decision::Step;
use crate::authority::decision::exchange;
use crate::authority::decision::explain_exchange;
use crate::authority::deny_reason::DenyReason;
use crate::authority::evidence::Evidence;
use crate::authority::evidence::EvidenceGrade;
use crate::authority::identity::PeerIdentity;
use crate::authority::reference::Refused;
use crate::authority::registration::ClientId;
use crate::authority::resources::Demands;
use crate::authority::resources::Once;
use crate::authority::scope::Scope;
use crate::authority::state::Caller;
use crate::authority::state::View;
use crate::authority::tokens;
use crate::authority::tokens::ACCESS_TOKEN_TYPE;
use crate::authority::tokens::AccessTokenClaims;
use crate::authority::tokens::Audience;
use crate::authority::tokens::Confirmation;
use crate::authority::tokens::IssuedToken;
use crate::authority::tokens::NotSpent;
use crate::authority::tokens::PresentedToken;
use crate::authority::tokens::Receipt;
use crate::authority::tokens::Redemption;
use crate::authority::tokens::VerifiedReceipt;
use crate::authority::tokens::VerifiedToken;
use crate::authority::trust::ForeignToken;
use crate::authority::trust::SubjectKind;

/// A granted exchange, and the receipt that is redeemed by it.
type Granted = (Exchange, Option<VerifiedReceipt>);

/// An exchange of nothing.
pub(super) const NOTHING: ExchangeError = ExchangeError::RequestMalformed("what is to be exchanged is missing");

/// A refused exchange, with the steps up to there.
pub(super) type NotExchanged = (ExchangeError, Vec<Step>);

impl Authority {
    /// Exchanges what was presented to the caller for a token of its own, bound to the certificate of its connection.
    pub async fn exchange_token(
        &self,
        caller: &Caller,
        request: &ExchangeRequest,
    ) -> Result<IssuedToken, Refused<ExchangeRefusal>> {
        let outcome = match self.exchanged(caller, request) {
            Ok(granted) => self.mint_exchanged(caller, &granted).await.map(|minted| (granted, minted)),
            Err(refused) => Err(refused),
        };
        match outcome {
            Ok(((exchange, receipt), (claims, token))) => {
                if let Some(receipt) = &receipt {
                    let scope = exchange.scope.to_string();
                    self.record_receipt_redeemed(caller, receipt, &redemption(caller, &exchange, &scope));
                }
                self.record_exchanged(&caller.identity, &exchange, &claims);
                Ok(token)
            }
            Err((error, steps)) => {
                self.metrics.exchange_refused(error);
                Err(self.record_exchange_refused(caller, request, error, steps))
            }
        }
    }

    /// Decides on an exchange, if it is switched on and the view is fresh enough.
    fn exchanged(&self, caller: &Caller, request: &ExchangeRequest) -> Result<Granted, NotExchanged> {
        let view = &caller.view;
        let ended = |check, error: ExchangeError| (error, ended_at(check, error));
        if !self.policy.exchange.enabled {
            return Err(ended(Check::Request, ExchangeError::NotEnabled));
        }
        let foreign = self.foreign(view, request);
        let subject = self.subject(view, request);
        // The subject is good where it was presented, and the token at its target.
        let places = subject.iter().flat_map(|subject| subject.token.claims.aud.all());
        let bound = view.shortest_bound(request.audience.iter().chain(places).map(String::as_str));
        let assertion = self.proven_in_time(view, bound, &request.assertion)?;
        let credentials = self.credentials(&caller.identity, assertion.as_ref());
        let actor_token = request.actor_token.as_deref().map(|token| self.verified(view, token));
        let exchanging = Exchanging {
            snapshot: &view.snapshot,
            credentials,
            request,
            subject: subject.as_ref().map_err(|error| *error),
            foreign: foreign.as_ref().map(|token| token.as_ref().map_err(|error| *error)),
            issuer: &self.policy.issuer,
            actor_token: actor_token.as_ref().map(|token| token.as_deref().map_err(|why| *why)),
            judge: &|token, audience| self.judge(view, token, audience),
            now: view.now,
        };
        let exchange = exchange(&exchanging).map_err(|error| (error, explain_exchange(&exchanging)))?;
        self.take_assertion_of(credentials, &exchange.client_id, view.now)?;
        Ok((exchange, subject.ok().and_then(|subject| subject.receipt)))
    }

    /// The assertion that authenticates the client, if there is one, once the view is known to be fresh enough.
    pub(super) fn proven_in_time(
        &self,
        view: &View,
        bound: Option<Duration>,
        assertion: &ClientAssertion,
    ) -> Result<Option<ProvenAssertion>, NotExchanged> {
        let ended = |check| move |error: GrantError| (error.into(), ended_at(check, error.into()));
        view.freshness(bound).map_err(GrantError::from).map_err(ended(Check::Freshness))?;
        self.prove_assertion(view, assertion).map_err(ended(Check::ClientAssertion))
    }

    /// Takes the assertion of what is granted: see [`Authority::take_assertion`].
    pub(super) fn take_assertion_of(
        &self,
        credentials: Credentials<'_>,
        client_id: &ClientId,
        now: Timestamp,
    ) -> Result<(), NotExchanged> {
        let ended = |error: GrantError| (error.into(), ended_at(Check::ClientAssertion, error.into()));
        self.take_assertion(credentials, client_id, now).map_err(ended)
    }

    /// The token of another issuer that is to be exchanged, if it is one: a JWT is one, and an access token where it says that it is
    /// of an issuer whose tokens are exchanged.
    pub(super) fn foreign(
        &self,
        view: &View,
        request: &ExchangeRequest,
    ) -> Option<Result<ForeignToken, ExchangeError>> {
        let (text, kind) = match (&request.jwt, &request.access_token, &request.receipt) {
            (Some(text), None, None) => (text, SubjectKind::Jwt),
            (None, Some(text), None) if view.trust.is_of_subject_issuer(text) => (text, SubjectKind::AccessToken),
            _ => return None,
        };
        let proven = view.trust.prove_subject_token(text, kind, view.now).map_err(ExchangeError::ForeignInvalid);
        Some(proven.and_then(|token| match view.refusal_of_foreign(&token, self.policy.lineage) {
            None => Ok(token),
            Some(why) => Err(ExchangeError::SubjectDenied(why)),
        }))
    }

    /// What is to be exchanged, verified as what it is said to be.
    pub(super) fn subject(&self, view: &View, request: &ExchangeRequest) -> Result<ExchangeSubject, ExchangeError> {
        if request.jwt.is_some() {
            return Err(NOTHING);
        }
        let receipt = request.receipt.as_deref().map(|text| self.verified_receipt(view, text));
        let receipt = receipt.transpose().map_err(|_| ExchangeError::ReceiptInvalid)?;
        let token = match (&request.access_token, &receipt) {
            (Some(token), Some(receipt)) if !receipt.is_of(token) => return Err(ExchangeError::ReceiptOfAnother),
            (Some(token), _) => self.verified(view, token),
            (None, Some(receipt)) => self.presented(view, &receipt.receipt),
            (None, None) => return Err(NOTHING),
        };
        Ok(ExchangeSubject { token: token.map_err(ExchangeError::SubjectInvalid)?, receipt })
    }

    /// The token that a receipt is of, as far as the receipt says what is in it. Its key must still be one of this server's.
    fn presented(&self, view: &View, receipt: &Receipt<'_>) -> Result<Arc<VerifiedToken>, DenyReason> {
        let PresentedToken { jti, iat, exp, kid, sub, client_id, creation, scope, x5t_s256, act, lanyard_from } =
            &receipt.token;
        let key = view.snapshot.keys.find(kid).ok_or(DenyReason::UnknownKey)?;
        let claims = AccessTokenClaims {
            iss: self.policy.issuer.clone(),
            sub: sub.to_string(),
            aud: Audience::One(receipt.at.to_string()),
            exp: *exp,
            iat: *iat,
            nbf: *iat,
            jti: jti.to_string(),
            client_id: client_id.to_string(),
            scope: scope.as_ref().map(ToString::to_string),
            cnf: Some(Confirmation { x5t_s256: Some(x5t_s256.to_string()) }),
            lanyard_bound: None,
            lanyard_spiffe_id: None,
            lanyard_creation: creation.to_string(),
            act: act.as_deref().cloned(),
            may_act: None,
            lanyard_from: lanyard_from.as_ref().clone(),
        };
        let token = VerifiedToken::new(key.key_id().clone(), claims);
        if token.ancestors.is_some() { Ok(Arc::new(token)) } else { Err(DenyReason::TokenMalformed) }
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

    /// Mints what is granted for another authorization server's grant.
    pub(super) async fn mint_redeemed(
        &self,
        caller: &Caller,
        exchange: &Exchange,
    ) -> Result<(AccessTokenClaims, IssuedToken), NotExchanged> {
        let jti = self.random_id();
        let jti = jti
            .map_err(|_| (GrantError::ServerError.into(), ended_at(Check::Signing, GrantError::ServerError.into())))?;
        self.sign_exchanged(caller, exchange, jti).await
    }

    async fn mint_exchanged(
        &self,
        caller: &Caller,
        (exchange, receipt): &Granted,
    ) -> Result<(AccessTokenClaims, IssuedToken), NotExchanged> {
        let view = &caller.view;
        let ended = |check| move |error: ExchangeError| (error, ended_at(check, error));
        let jti = match receipt {
            Some(receipt) => {
                self.spend(view, receipt, &exchange.audience).await.map_err(ended(Check::Presentation))?;
                receipt.jti_of(&redemption(caller, exchange, &exchange.scope.to_string()))
            }
            None => self.random_id().map_err(|_| ended(Check::Signing)(GrantError::ServerError.into()))?,
        };
        self.sign_exchanged(caller, exchange, jti).await
    }

    async fn sign_exchanged(
        &self,
        caller: &Caller,
        exchange: &Exchange,
        jti: String,
    ) -> Result<(AccessTokenClaims, IssuedToken), NotExchanged> {
        let view = &caller.view;
        let ended = |check| move |error: ExchangeError| (error, ended_at(check, error));
        let claims = self.exchanged_claims(view, &caller.identity, exchange, jti);
        let signed = tokens::sign(&view.snapshot.keys, &claims).await.map_err(refusal);
        let access_token = signed.map_err(|error| ended(Check::Signing)(error.into()))?;
        let expires_in = view.now.until(exchange.expires);
        Ok((claims, IssuedToken { access_token, expires_in, scope: exchange.scope.clone() }))
    }

    /// Redeems a receipt that may be redeemed once. It is the only exchange that waits for the store.
    pub(super) async fn spend(
        &self,
        view: &View,
        receipt: &VerifiedReceipt,
        target: &str,
    ) -> Result<(), ExchangeError> {
        let resource = view.snapshot.resources.named(&receipt.receipt.at);
        let receipts = resource.and_then(|resource| resource.registration.receipts.as_ref());
        if receipts.is_none_or(|receipts| receipts.once == Once::Effect) {
            return Ok(());
        }
        self.spend_receipt(receipt, target).await.map_err(|error| match error {
            NotSpent::Before => ExchangeError::ReceiptSpent,
            NotSpent::Unavailable => ExchangeError::StoreUnavailable,
        })
    }

    /// The claims of a token that its holder gets in exchange. It is always bound to the certificate of the connection.
    fn exchanged_claims(
        &self,
        view: &View,
        peer: &PeerIdentity,
        exchange: &Exchange,
        jti: String,
    ) -> AccessTokenClaims {
        let grant = Grant {
            client_id: exchange.client_id.clone(),
            client: Arc::clone(&exchange.client),
            scope: exchange.scope.clone(),
            audience: vec![exchange.audience.clone()],
            expires: exchange.expires,
            bound: true,
        };
        AccessTokenClaims {
            sub: exchange.subject.clone(),
            iat: exchange.issued,
            nbf: exchange.issued.before(NOT_BEFORE_SKEW),
            act: exchange.actors.clone(),
            lanyard_from: exchange.ancestry.clone(),
            ..self.claims(view, peer, &grant, jti)
        }
    }
}

/// What a receipt is redeemed for.
fn redemption<'a>(caller: &Caller, exchange: &'a Exchange, scope: &'a str) -> Redemption<'a> {
    Redemption {
        client_id: &exchange.client_id,
        certificate: caller.identity.thumbprint(),
        requested: ACCESS_TOKEN_TYPE,
        target: &exchange.audience,
        scope,
    }
}

/// The only step of a refused exchange.
pub(super) fn ended_at(check: Check, error: ExchangeError) -> Vec<Step> {
    one_step(check, &error.to_string(), "")
}
