//! Transaction tokens at checks: verified where a resource takes them, and minted where a route says so.

use crate::authority::Authority;
use crate::authority::api::audit::one_step;
use crate::authority::decision::AssertedTxn;
use crate::authority::decision::Check;
use crate::authority::decision::CheckRefusal;
use crate::authority::decision::CheckRequest;
use crate::authority::decision::Findings;
use crate::authority::decision::Step;
use crate::authority::decision::TxnFault;
use crate::authority::decision::descended;
use crate::authority::decision::minted_context;
use crate::authority::decision::needed_txn;
use crate::authority::decision::presented_txn;
use crate::authority::decision::route_of;
use crate::authority::decision::txn_at_check;
use crate::authority::registration::TxnTokenPolicy;
use crate::authority::resources::MintedTxn;
use crate::authority::resources::ProtectedResource;
use crate::authority::resources::Route;
use crate::authority::state::Asker;
use crate::authority::state::View;
use crate::authority::tokens;
use crate::authority::tokens::AccessTokenClaims;
use crate::authority::tokens::NotSigned;
use crate::authority::tokens::TxnTokenClaims;
use crate::authority::tokens::VerifiedToken;
use crate::authority::tokens::VerifiedTxnToken;

/// The longest transaction token that a check mints, in bytes. Servers take some 8 KiB of headers in all.
const MAX_MINTED_BYTES: usize = 6 * 1024;

/// What a check has to do with a transaction.
pub(in crate::authority::api) enum Transaction {
    /// Nothing.
    Nothing,
    /// The request brought one that counts.
    Presented(AssertedTxn),
    /// These claims are to be signed.
    ToMint(Box<TxnTokenClaims>),
}

impl Authority {
    /// The transaction of a request that is allowed by its access token.
    pub(in crate::authority::api) fn transaction(
        &self,
        caller: &Asker,
        request: &CheckRequest<'_>,
        resource: &ProtectedResource,
        (token, narrowed): (&VerifiedToken, Option<&AccessTokenClaims>),
        findings: &mut Findings<'_>,
    ) -> Result<Transaction, CheckRefusal> {
        let Some(route) = findings.route else { return Ok(Transaction::Nothing) };
        let decided = match route.txn.minted() {
            Some(minted) => {
                let claims = self.to_mint(caller, request, (minted, route), (token, narrowed));
                claims.map(|claims| Transaction::ToMint(Box::new(claims)))
            }
            None => self.presented_transaction(&caller.view, request, resource, route, findings),
        };
        decided.inspect_err(|refusal| {
            let needed = needed_txn(resource.txn_token, &route.txn).unwrap_or_default();
            findings.steps = one_step(Check::TransactionToken, &refusal.to_string(), &needed);
        })
    }

    fn presented_transaction(
        &self,
        view: &View,
        request: &CheckRequest<'_>,
        resource: &ProtectedResource,
        route: &Route,
        findings: &mut Findings<'_>,
    ) -> Result<Transaction, CheckRefusal> {
        // The usual case.
        if !resource.txn_token.verifies() {
            return Ok(Transaction::Nothing);
        }
        let verified = |text: &str| {
            let policy = self.policy.txn_tokens.as_ref().ok_or(CheckRefusal::TxnTokenForeign)?;
            // What is wrong with one that this server did not sign tells nobody anything.
            let token = self.verified_txn.verify(&view.snapshot.keys, text);
            let token = token.map_err(|_| CheckRefusal::TxnTokenInvalid)?;
            findings.txn = Some(token.claims.txn.clone());
            self.txn_fault(view, &token, policy).map_or(Ok(token), |fault| Err(fault.into()))
        };
        let token = txn_at_check(resource.txn_token, &route.txn, presented_txn(&request.headers), verified)?;
        let Some(token) = token else { return Ok(Transaction::Nothing) };
        let TxnTokenClaims { txn, sub, .. } = &token.claims;
        if resource.metadata.txn_once && !self.seen_txns.note(resource.audience(), txn) {
            return Err(CheckRefusal::TxnTokenSeen);
        }
        Ok(Transaction::Presented(AssertedTxn { txn: txn.clone(), subject: sub.clone(), minted: None }))
    }

    /// Why a transaction token of this server's no longer counts, if so.
    pub(in crate::authority::api) fn txn_fault(
        &self,
        view: &View,
        token: &VerifiedTxnToken,
        policy: &TxnTokenPolicy,
    ) -> Option<TxnFault> {
        let claims = &token.claims;
        if claims.iss != self.policy.issuer {
            return Some(TxnFault::Issuer);
        }
        if claims.aud != policy.trust_domain {
            return Some(TxnFault::TrustDomain);
        }
        if view.now >= claims.exp {
            return Some(TxnFault::Expired);
        }
        view.broken_among(token.ancestors.iter(), self.policy.lineage).map(|_| TxnFault::Broken)
    }

    /// What the minted transaction token says.
    fn to_mint(
        &self,
        caller: &Asker,
        request: &CheckRequest<'_>,
        (minted, route): (&MintedTxn, &Route),
        (token, narrowed): (&VerifiedToken, Option<&AccessTokenClaims>),
    ) -> Result<TxnTokenClaims, CheckRefusal> {
        let policy = self.policy.txn_tokens.as_ref().filter(|_| self.policy.exchange.enabled);
        let policy = policy.ok_or_else(|| not_minted("transaction tokens are not configured"))?;
        if self.is_edge() {
            return Err(not_minted("an edge has no key that signs"));
        }
        let (tctx, rctx) = minted_context(minted, route, request, policy)?;
        let claims = narrowed.unwrap_or(&token.claims);
        // It ends with what it comes from, which only a bound token tells.
        let ancestry = descended(token).ok_or_else(|| not_minted("the access token is not bound"))?;
        let txn = self.random_id().map_err(|_| not_minted("there is no randomness"))?;
        let now = caller.view.now;
        Ok(TxnTokenClaims {
            iss: self.policy.issuer.clone(),
            iat: now,
            exp: now.after(policy.ttl.min(policy.max_ttl)).min(claims.exp),
            aud: policy.trust_domain.clone(),
            txn,
            sub: claims.sub.clone(),
            scope: minted.scope.to_string(),
            req_wl: caller.identity.to_string(),
            tctx,
            rctx,
            act: claims.act.clone(),
            lanyard_from: ancestry,
            lanyard_call_chain: Vec::new(),
        })
    }

    /// Whether the check of a request waits for a signature that is not made at once.
    pub fn check_waits(&self, caller: &Asker, request: &CheckRequest<'_>) -> bool {
        let slow = self.policy.txn_tokens.is_some() && !self.is_edge() && !caller.view.snapshot.keys.sign_at_once();
        let mints = |resource: &ProtectedResource| {
            let route = route_of(resource, request.method, request.path);
            route.is_ok_and(|route| route.txn.minted().is_some())
        };
        slow && Self::checked_resource(caller, request).is_some_and(mints)
    }

    /// What would come of the transaction of a request, of which only the access token is known: the step that says so, or why
    /// the request would be denied.
    pub(in crate::authority::api) fn transaction_ahead(
        &self,
        resource: &ProtectedResource,
        route: &Route,
    ) -> Result<Option<Step>, CheckRefusal> {
        let Some(expected) = needed_txn(resource.txn_token, &route.txn) else { return Ok(None) };
        let issues = self.policy.txn_tokens.is_some() && self.policy.exchange.enabled && !self.is_edge();
        if route.txn.minted().is_some() && !issues {
            return Err(CheckRefusal::TxnTokenNotMinted);
        }
        let found = if route.txn.minted().is_some() { "can be minted" } else { "not part of the question" };
        let (found, expected) = (found.into(), expected.into());
        Ok(Some(Step { check: Check::TransactionToken, found, expected, passed: true }))
    }
}

/// The transaction token, if it was signed and is not too large for a header.
pub(in crate::authority::api) fn minted(
    claims: &TxnTokenClaims,
    signed: Option<Result<String, NotSigned>>,
) -> Result<AssertedTxn, CheckRefusal> {
    let token = match signed {
        Some(Ok(token)) if token.len() <= MAX_MINTED_BYTES => token,
        Some(Ok(_)) => return Err(not_minted("it would be too large for a header")),
        Some(Err(error)) => return Err(not_minted(&error.to_string())),
        None => return Err(not_minted("the signature was not made at once")),
    };
    Ok(AssertedTxn { txn: claims.txn.clone(), subject: claims.sub.clone(), minted: Some(token) })
}

fn not_minted(why: &str) -> CheckRefusal {
    tracing::warn!(why, "no transaction token was minted for a request that needs one");
    CheckRefusal::TxnTokenNotMinted
}

/// Signs what is to be minted, with the key that signs.
pub(in crate::authority::api) async fn signed(caller: &Asker, claims: &TxnTokenClaims) -> Result<String, NotSigned> {
    tokens::sign_txn_token(&caller.view.snapshot.keys, claims).await
}
