//! Chains calls to other trust domains (draft-ietf-oauth-identity-chaining): makes grants for their authorization servers, and takes
//! those that they make for this one.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::authority::Authority;
use crate::authority::api::exchange::NOTHING;
use crate::authority::api::exchange::NotExchanged;
use crate::authority::api::exchange::ended_at;
use crate::authority::api::tokens::refusal;
use crate::authority::decision::Check;
use crate::authority::decision::Exchange;
use crate::authority::decision::ExchangeError;
use crate::authority::decision::ExchangeRefusal;
use crate::authority::decision::ExchangeRequest;
use crate::authority::decision::Exchanging;
use crate::authority::decision::GrantError;
use crate::authority::decision::JwtGrant;
use crate::authority::decision::JwtGrantAsked;
use crate::authority::decision::JwtGrantRequest;
use crate::authority::decision::explain_jwt_bearer;
use crate::authority::decision::explain_jwt_grant;
use crate::authority::decision::jwt_bearer;
use crate::authority::decision::jwt_grant;
use crate::authority::observe::Quota;
use crate::authority::reference::Refused;
use crate::authority::state::Caller;
use crate::authority::state::View;
use crate::authority::tokens;
use crate::authority::tokens::Confirmation;
use crate::authority::tokens::IssuedToken;
use crate::authority::tokens::JWT_TYPE;
use crate::authority::tokens::JwtGrantClaims;
use crate::authority::tokens::NotSpent;
use crate::authority::tokens::Redemption;
use crate::authority::tokens::VerifiedReceipt;
use crate::authority::trust::ForeignToken;
use crate::authority::trust::NotTaken;

impl Authority {
    /// Makes a grant for the authorization server of another trust domain, bound to the certificate of the connection.
    pub async fn issue_jwt_grant(
        &self,
        caller: &Caller,
        request: &JwtGrantRequest,
    ) -> Result<IssuedToken, Refused<ExchangeRefusal>> {
        let outcome = match self.jwt_granted(caller, request) {
            Ok((grant, receipt)) => {
                self.mint_jwt_grant(caller, &grant, receipt.as_ref()).await.map(|made| (grant, made))
            }
            Err(refused) => Err(refused),
        };
        match outcome {
            Ok((grant, (claims, token))) => {
                self.record_jwt_grant(&caller.identity, &grant, &claims);
                Ok(token)
            }
            Err((error, steps)) => {
                self.metrics.jwt_grant_refused(error);
                Err(self.record_exchange_refused(caller, &request.exchange, error, steps))
            }
        }
    }

    /// Decides on a grant, if there are other authorization servers and the view is fresh enough.
    fn jwt_granted(
        &self,
        caller: &Caller,
        request: &JwtGrantRequest,
    ) -> Result<(JwtGrant, Option<VerifiedReceipt>), NotExchanged> {
        let view = &caller.view;
        let ended = |check, error: ExchangeError| (error, ended_at(check, error));
        if !self.policy.exchange.enabled {
            return Err(ended(Check::Request, ExchangeError::NotEnabled));
        }
        if self.policy.chaining.is_empty() {
            return Err(ended(Check::Request, ExchangeError::ChainingNotEnabled));
        }
        let subject = self.subject(view, &request.exchange);
        let places = subject.iter().flat_map(|subject| subject.token.claims.aud.all());
        let bound = view.shortest_bound(places.map(String::as_str));
        let assertion = self.proven_in_time(view, bound, &request.exchange.assertion)?;
        let credentials = self.credentials(&caller.identity, assertion.as_ref());
        let actor_token = request.exchange.actor_token.as_deref().map(|token| self.verified(view, token));
        let asked = JwtGrantAsked {
            exchanging: Exchanging {
                snapshot: &view.snapshot,
                credentials,
                request: &request.exchange,
                subject: subject.as_ref().map_err(|error| *error),
                foreign: None,
                issuer: &self.policy.issuer,
                actor_token: actor_token.as_ref().map(|token| token.as_deref().map_err(|why| *why)),
                judge: &|token, audience| self.judge(view, token, audience),
                now: view.now,
            },
            request,
            targets: &self.policy.chaining,
        };
        let grant = jwt_grant(&asked).map_err(|error| (error, explain_jwt_grant(&asked)))?;
        self.take_assertion_of(credentials, &grant.client_id, view.now)?;
        Ok((grant, subject.ok().and_then(|subject| subject.receipt)))
    }

    async fn mint_jwt_grant(
        &self,
        caller: &Caller,
        grant: &JwtGrant,
        receipt: Option<&VerifiedReceipt>,
    ) -> Result<(JwtGrantClaims, IssuedToken), NotExchanged> {
        let view = &caller.view;
        let ended = |check| move |error: ExchangeError| (error, ended_at(check, error));
        let scope = grant.scope.to_string();
        let redemption = Redemption {
            client_id: &grant.client_id,
            certificate: caller.identity.thumbprint(),
            requested: JWT_TYPE,
            target: &grant.audience,
            scope: &scope,
        };
        let jti = match receipt {
            Some(receipt) => {
                self.spend(view, receipt, &grant.audience).await.map_err(ended(Check::Presentation))?;
                receipt.jti_of(&redemption)
            }
            None => self.random_id().map_err(|_| ended(Check::Signing)(GrantError::ServerError.into()))?,
        };
        let claims = JwtGrantClaims {
            iss: self.policy.issuer.clone(),
            aud: grant.audience.clone(),
            sub: grant.subject.clone(),
            client_id: grant.client_id.to_string(),
            jti,
            iat: grant.issued,
            exp: grant.expires,
            scope: scope.clone(),
            act: grant.actors.clone(),
            cnf: Confirmation { x5t_s256: Some(caller.identity.thumbprint().to_string()) },
        };
        let signed = tokens::sign_jwt_grant(&view.snapshot.keys, &grant.typ, &claims).await.map_err(refusal);
        let access_token = signed.map_err(|error| ended(Check::Signing)(error.into()))?;
        if let Some(receipt) = receipt {
            self.record_receipt_redeemed(caller, receipt, &redemption);
        }
        let expires_in = view.now.until(grant.expires);
        Ok((claims, IssuedToken { access_token, expires_in, scope: grant.scope.clone() }))
    }

    /// Issues a token for the grant of another trust domain's authorization server, which is the `jwt` of the request, bound to the
    /// certificate of the connection. A grant is good once.
    pub async fn redeem_jwt_grant(
        &self,
        caller: &Caller,
        request: &ExchangeRequest,
    ) -> Result<IssuedToken, Refused<ExchangeRefusal>> {
        let outcome = match self.redeemed(caller, request).await {
            Ok(exchange) => self.mint_redeemed(caller, &exchange).await.map(|minted| (exchange, minted)),
            Err(refused) => Err(refused),
        };
        match outcome {
            Ok((exchange, (claims, token))) => {
                self.record_exchanged(&caller.identity, &exchange, &claims);
                Ok(token)
            }
            Err((error, steps)) => {
                self.metrics.exchange_refused(error);
                Err(self.record_exchange_refused(caller, request, error, steps))
            }
        }
    }

    /// Decides on a grant, and takes its use.
    async fn redeemed(&self, caller: &Caller, request: &ExchangeRequest) -> Result<Exchange, NotExchanged> {
        let (exchange, grant) = self.redeemable(caller, request)?;
        let used = self.use_grant(caller, &grant, &exchange).await;
        used.map_err(|error| (error, ended_at(Check::Subject, error)))?;
        Ok(exchange)
    }

    /// Decides on a grant, if exchange is switched on and the view is fresh enough.
    fn redeemable(&self, caller: &Caller, request: &ExchangeRequest) -> Result<(Exchange, ForeignToken), NotExchanged> {
        let view = &caller.view;
        let ended = |check, error: ExchangeError| (error, ended_at(check, error));
        if !self.policy.exchange.enabled {
            return Err(ended(Check::Request, ExchangeError::NotEnabled));
        }
        let bound = view.shortest_bound(request.audience.iter().map(String::as_str));
        let assertion = self.proven_in_time(view, bound, &request.assertion)?;
        let grant = self.grant_of(view, request.jwt.as_deref().unwrap_or_default());
        let credentials = self.credentials(&caller.identity, assertion.as_ref());
        let exchanging = Exchanging {
            snapshot: &view.snapshot,
            credentials,
            request,
            subject: Err(NOTHING),
            foreign: Some(grant.as_ref().map_err(|error| *error)),
            issuer: &self.policy.issuer,
            actor_token: None,
            judge: &|token, audience| self.judge(view, token, audience),
            now: view.now,
        };
        let exchange = jwt_bearer(&exchanging).map_err(|error| (error, explain_jwt_bearer(&exchanging)))?;
        self.take_assertion_of(credentials, &exchange.client_id, view.now)?;
        // What is granted is granted for a grant that has verified.
        grant.map(|grant| (exchange, grant)).map_err(|error| ended(Check::Subject, error))
    }

    /// The grant, verified, if nothing of it is revoked here.
    fn grant_of(&self, view: &View, text: &str) -> Result<ForeignToken, ExchangeError> {
        let grant = view.trust.prove_grant(text, view.now).map_err(ExchangeError::GrantInvalid)?;
        match view.refusal_of_foreign(&grant, self.policy.lineage) {
            None => Ok(grant),
            Some(why) => Err(ExchangeError::GrantDenied(why)),
        }
    }

    /// Takes the only use of a grant: at this replica and, where the entry says so, in the store.
    async fn use_grant(&self, caller: &Caller, grant: &ForeignToken, exchange: &Exchange) -> Result<(), ExchangeError> {
        let certificate = caller.identity.thumbprint();
        let used = (grant.digest, grant.expires);
        let taken = self.grant_uses.take_once(used, &exchange.client_id, certificate, caller.view.now);
        taken.map_err(|why| match why {
            NotTaken::Before | NotTaken::OtherCertificate => ExchangeError::GrantUsed,
            NotTaken::TooMany => {
                self.metrics.quota_exceeded(Quota::Assertions);
                GrantError::TooManyAssertions.into()
            }
        })?;
        if !grant.grant_terms().is_some_and(|terms| terms.once_strict) {
            return Ok(());
        }
        let name = format!("grant:{}", URL_SAFE_NO_PAD.encode(grant.digest));
        self.spend_once(&name, grant.expires).await.map_err(|error| match error {
            NotSpent::Before => ExchangeError::GrantUsed,
            NotSpent::Unavailable => ExchangeError::StoreUnavailable,
        })
    }
}
