//! Issues transaction tokens (draft-ietf-oauth-transaction-tokens).

use serde_json::json;

use crate::authority::Authority;
use crate::authority::api::exchange::NotExchanged;
use crate::authority::api::exchange::ended_at;
use crate::authority::api::tokens::refusal;
use crate::authority::decision::Check;
use crate::authority::decision::ExchangeError;
use crate::authority::decision::ExchangeRefusal;
use crate::authority::decision::ExchangeSubject;
use crate::authority::decision::Exchanging;
use crate::authority::decision::GrantError;
use crate::authority::decision::TxnAsked;
use crate::authority::decision::TxnGrant;
use crate::authority::decision::TxnRequest;
use crate::authority::decision::TxnSubject;
use crate::authority::decision::explain_txn;
use crate::authority::decision::txn;
use crate::authority::reference::Refused;
use crate::authority::registration::TxnTokenPolicy;
use crate::authority::state::Caller;
use crate::authority::state::View;
use crate::authority::tokens;
use crate::authority::tokens::Ancestor;
use crate::authority::tokens::Ancestry;
use crate::authority::tokens::IssuedToken;
use crate::authority::tokens::Redemption;
use crate::authority::tokens::TXN_TOKEN_TYPE;
use crate::authority::tokens::TxnTokenClaims;
use crate::authority::tokens::VerifiedTxnToken;

impl Authority {
    /// Issues a transaction token: for who presented a token to the caller, for whom the caller names, or in place of another one.
    pub async fn issue_txn_token(
        &self,
        caller: &Caller,
        request: &TxnRequest,
    ) -> Result<IssuedToken, Refused<ExchangeRefusal>> {
        let outcome = match self.txn_granted(caller, request) {
            Ok((grant, subject)) => self.mint_txn(caller, &grant, subject.as_ref()).await.map(|minted| (grant, minted)),
            Err(refused) => Err(refused),
        };
        match outcome {
            Ok((grant, (claims, token))) => {
                self.record_txn_issued(&caller.identity, &grant, &claims);
                Ok(token)
            }
            Err((error, steps)) => {
                self.metrics.txn_token_refused(error);
                Err(self.record_exchange_refused(caller, &request.exchange, error, steps))
            }
        }
    }

    /// Decides, if transaction tokens are issued and the view is fresh enough.
    fn txn_granted(
        &self,
        caller: &Caller,
        request: &TxnRequest,
    ) -> Result<(TxnGrant, Option<ExchangeSubject>), NotExchanged> {
        let view = &caller.view;
        let ended = |check, error: ExchangeError| (error, ended_at(check, error));
        if !self.policy.exchange.enabled {
            return Err(ended(Check::Request, ExchangeError::NotEnabled));
        }
        let Some(policy) = &self.policy.txn_tokens else {
            return Err(ended(Check::Request, ExchangeError::TxnTokensNotEnabled));
        };
        let foreign = self.foreign(view, &request.exchange);
        let subject = self.subject(view, &request.exchange);
        let places = subject.iter().flat_map(|subject| subject.token.claims.aud.all());
        let bound = view.shortest_bound(places.map(String::as_str));
        let assertion = self.proven_in_time(view, bound, &request.exchange.assertion)?;
        let credentials = self.credentials(&caller.identity, assertion.as_ref());
        let actor_token = request.exchange.actor_token.as_deref().map(|token| self.verified(view, token));
        let replaced = match &request.subject {
            TxnSubject::Replaced(text) => self.replaced(view, text, policy).map(Some),
            TxnSubject::Presented | TxnSubject::Stated(_) | TxnSubject::SelfSigned(_) => Ok(None),
        };
        let self_signed = match &request.subject {
            TxnSubject::SelfSigned(text) => {
                let verified = tokens::verify_self_signed(caller.identity.certificate(), text);
                verified.map(Some).map_err(ExchangeError::SubjectInvalid)
            }
            TxnSubject::Presented | TxnSubject::Stated(_) | TxnSubject::Replaced(_) => Ok(None),
        };
        let asked = TxnAsked {
            exchanging: Exchanging {
                snapshot: &view.snapshot,
                credentials,
                request: &request.exchange,
                subject: subject.as_ref().map_err(|error| *error),
                foreign: foreign.as_ref().map(|token| token.as_ref().map_err(|error| *error)),
                issuer: &self.policy.issuer,
                actor_token: actor_token.as_ref().map(|token| token.as_deref().map_err(|why| *why)),
                judge: &|token, audience| self.judge(view, token, audience),
                now: view.now,
            },
            request,
            replaced: replaced.as_ref().map(Option::as_ref).map_err(|error| *error),
            self_signed: self_signed.as_ref().map(Option::as_ref).map_err(|error| *error),
            policy,
        };
        let grant = txn(&asked).map_err(|error| (error, explain_txn(&asked)))?;
        self.take_assertion_of(credentials, &grant.client_id, view.now)?;
        Ok((grant, subject.ok()))
    }

    /// The transaction token that is to be replaced, if it still counts.
    fn replaced(&self, view: &View, text: &str, policy: &TxnTokenPolicy) -> Result<VerifiedTxnToken, ExchangeError> {
        let token = tokens::verify_txn_token(&view.snapshot.keys, text).map_err(ExchangeError::SubjectInvalid)?;
        let fault = self.txn_fault(view, &token, policy);
        fault.map_or(Ok(token), |fault| Err(ExchangeError::SubjectDenied(fault.into())))
    }

    async fn mint_txn(
        &self,
        caller: &Caller,
        grant: &TxnGrant,
        subject: Option<&ExchangeSubject>,
    ) -> Result<(TxnTokenClaims, IssuedToken), NotExchanged> {
        let view = &caller.view;
        let ended = |check| move |error: ExchangeError| (error, ended_at(check, error));
        let no_id = |_| ended(Check::Signing)(GrantError::ServerError.into());
        let trust_domain =
            self.policy.txn_tokens.as_ref().map(|policy| policy.trust_domain.clone()).unwrap_or_default();
        let receipt = subject.and_then(|subject| subject.receipt.as_ref());
        // Other parameters are another transaction.
        let wanted = json!([grant.scope.to_string(), grant.details, grant.context]).to_string();
        let redemption = Redemption {
            client_id: &grant.client_id,
            certificate: caller.identity.thumbprint(),
            requested: TXN_TOKEN_TYPE,
            target: &trust_domain,
            scope: &wanted,
        };
        let txn = match (&grant.txn, receipt) {
            (Some(txn), _) => txn.clone(),
            (None, None) => self.random_id().map_err(no_id)?,
            (None, Some(receipt)) => {
                self.spend(view, receipt, &trust_domain).await.map_err(ended(Check::Presentation))?;
                receipt.jti_of(&redemption)
            }
        };
        let claims = TxnTokenClaims {
            iss: self.policy.issuer.clone(),
            iat: grant.issued,
            exp: grant.expires,
            aud: trust_domain.clone(),
            sub: grant.subject.clone(),
            scope: grant.scope.to_string(),
            req_wl: grant.client_id.to_string(),
            tctx: grant.details.clone(),
            rctx: grant.context.clone(),
            act: grant.actors.clone(),
            lanyard_from: if grant.ancestry.is_empty() { root(caller, grant, &txn) } else { grant.ancestry.clone() },
            lanyard_call_chain: grant.call_chain.clone(),
            txn,
        };
        let signed = tokens::sign_txn_token(&view.snapshot.keys, &claims).await.map_err(refusal);
        let access_token = signed.map_err(|error| ended(Check::Signing)(error.into()))?;
        if let Some(receipt) = receipt {
            self.record_receipt_redeemed(caller, receipt, &redemption);
        }
        let expires_in = view.now.until(grant.expires);
        Ok((claims, IssuedToken { access_token, expires_in, scope: grant.scope.clone() }))
    }
}

/// What a transaction of the client itself comes from: the client, as it is registered, with this certificate.
fn root(caller: &Caller, grant: &TxnGrant, txn: &str) -> Ancestry {
    Ancestry(vec![Ancestor {
        jti: txn.to_owned(),
        iat: grant.issued,
        client_id: grant.client_id.to_string(),
        creation: grant.client.record.creation_id.to_string(),
        x5t: caller.identity.thumbprint().to_string(),
        iss: None,
    }])
}
