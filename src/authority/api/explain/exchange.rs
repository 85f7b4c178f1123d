//! What an exchange of a token would come to. It is found by the function that decides exchanges.

use std::borrow::Cow;
use std::iter;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Map;

use crate::authority::Authority;
use crate::authority::api::audit::cause;
use crate::authority::api::audit::one_step;
use crate::authority::api::audit::registration;
use crate::authority::api::exchange::NOTHING;
use crate::authority::api::explain::supposed::not_admitted;
use crate::authority::api::explain::supposed::readable;
use crate::authority::api::explain::supposed::refused_call;
use crate::authority::api::explain::supposed::supposed_assertion;
use crate::authority::api::receipts::presented;
use crate::authority::decision::AskedExchange;
use crate::authority::decision::AskedIdentity;
use crate::authority::decision::AskedPresentation;
use crate::authority::decision::Check;
use crate::authority::decision::Exchange;
use crate::authority::decision::ExchangeError;
use crate::authority::decision::ExchangeQuestion;
use crate::authority::decision::ExchangeRequest;
use crate::authority::decision::ExchangeSubject;
use crate::authority::decision::ExchangedTerms;
use crate::authority::decision::Exchanging;
use crate::authority::decision::ExplainedExchange;
use crate::authority::decision::JwtGrant;
use crate::authority::decision::JwtGrantAsked;
use crate::authority::decision::JwtGrantRequest;
use crate::authority::decision::NotExplained;
use crate::authority::decision::Step;
use crate::authority::decision::TokenOutcome;
use crate::authority::decision::TokenRequest;
use crate::authority::decision::TxnAsked;
use crate::authority::decision::TxnGrant;
use crate::authority::decision::TxnRequest;
use crate::authority::decision::TxnSubject;
use crate::authority::decision::WhyNot;
use crate::authority::decision::exchange;
use crate::authority::decision::explain_exchange;
use crate::authority::decision::explain_jwt_grant;
use crate::authority::decision::explain_txn;
use crate::authority::decision::jwt_grant;
use crate::authority::decision::txn;
use crate::authority::evidence::EvidenceGrade;
use crate::authority::observe::exchange_fix;
use crate::authority::observe::fix;
use crate::authority::reference::Refused;
use crate::authority::registration::ClientId;
use crate::authority::registration::ClientStatus;
use crate::authority::scope::Scope;
use crate::authority::state::Caller;
use crate::authority::state::View;
use crate::authority::tokens::Actors;
use crate::authority::tokens::NOT_ISSUED;
use crate::authority::tokens::PresentationMatch;
use crate::authority::tokens::Receipt;
use crate::authority::tokens::ReceiptId;
use crate::authority::tokens::TokenHash;
use crate::authority::tokens::VerifiedReceipt;
use crate::authority::tokens::VerifiedToken;
use crate::authority::tokens::qualified;
use crate::authority::tokens::verify_receipt;
use crate::authority::trust::ForeignToken;

/// What is supposed to be exchanged, once its subject is known.
struct Supposed {
    /// The token of this server, and its receipt.
    subject: Result<ExchangeSubject, ExchangeError>,
    /// The token of another issuer.
    foreign: Option<Result<ForeignToken, ExchangeError>>,
    /// Whom the client names.
    stated: Option<ClientId>,
}

/// What is known of the subject before an exchange is decided.
struct Presenting {
    /// What its request for a token comes to, where it presents one.
    outcome: Option<TokenOutcome>,
    /// Its name, for the rules.
    name: Option<ClientId>,
    /// Where it presents its token: no resource, for that of another issuer. `None`: it presents none.
    at: Option<String>,
    /// What is exchanged, or why it does not come to an exchange.
    supposed: Result<Supposed, WhyNot>,
}

impl Authority {
    /// What an exchange would come to now: of the token that its subject would get for the place where it is presented, of a token of
    /// another issuer, or of nothing but whom the client names. Nothing is issued, and nothing is counted or recorded as a decision.
    pub fn explain_exchange(
        &self,
        caller: &Caller,
        question: &ExchangeQuestion,
    ) -> Result<ExplainedExchange, Refused<NotExplained>> {
        let view = &caller.view;
        let fresh = view.freshness(view.shortest_bound(iter::once(question.audience.as_str())));
        fresh.map_err(|why| self.not_explained(caller, why.into()))?;
        let Presenting { outcome, name, at, supposed } = self.presenting(view, &question.presented);
        let exchanger = self.supposed_caller(view, &question.exchanger);
        let client_id = exchanger.as_ref().ok().and_then(|peer| self.own_client(peer));
        let (granted, steps) = match (exchanger, supposed) {
            (Err(error), _) => (Err(refused_call(error)), Vec::new()),
            (Ok(_), Err(why)) => (Err(why), Vec::new()),
            (Ok(peer), Ok(supposed)) => {
                let (outcome, steps) = self.supposed_exchange(&peer, client_id.as_ref(), &supposed, question);
                (outcome.map_err(|error| why_not(error, client_id.as_ref(), question)), steps)
            }
        };
        let terms = client_id.as_ref().zip(name.as_ref()).and_then(|(client_id, name)| {
            let ClientStatus::Registered(client) = view.snapshot.directory.status(client_id) else { return None };
            Some((client_id, name, client.registration.terms.exchange.clone()?))
        });
        let (mut rules, mut txn_rules) = (Vec::new(), Vec::new());
        match (&question.requested, terms) {
            (AskedExchange::AccessToken, Some((_, name, terms))) => {
                rules = terms.claims_of(name, at.as_deref().unwrap_or_default(), &question.audience);
            }
            (AskedExchange::TxnToken { .. }, Some((client_id, name, terms))) => {
                txn_rules = terms.txn_claims_of(client_id, name, at.as_deref());
            }
            // Grants for others are made by the configuration.
            (AskedExchange::JwtGrant, _) | (_, None) => {}
        }
        Ok(ExplainedExchange {
            granted,
            subject_token: outcome,
            rules,
            txn_rules,
            registration: registration(view, client_id.as_ref()),
            client_id: client_id.map(|client_id| client_id.to_string()),
            steps: readable(steps),
        })
    }

    fn presenting(&self, view: &View, presented: &AskedPresentation) -> Presenting {
        match presented {
            AskedPresentation::At { subject, resource } => self.presenting_at(view, subject, resource),
            AskedPresentation::Stated(subject) => {
                let named = self.stated(view, subject);
                let supposed = |name: ClientId| Supposed { subject: Err(NOTHING), foreign: None, stated: Some(name) };
                Presenting {
                    outcome: None,
                    name: named.as_ref().ok().cloned(),
                    at: None,
                    supposed: named.map(supposed),
                }
            }
            AskedPresentation::Foreign { issuer, subject, scope } => {
                let token = view.trust.supposed_subject_token((issuer, subject), scope, view.now);
                let name = ClientId::parse(&qualified(issuer, subject));
                let token = token.map_err(ExchangeError::ForeignInvalid).and_then(|token| {
                    let refusal = view.refusal_of_foreign(&token, self.policy.lineage);
                    refusal.map_or(Ok(token), |why| Err(ExchangeError::SubjectDenied(why)))
                });
                let supposed = Supposed { subject: Err(NOTHING), foreign: Some(token), stated: None };
                Presenting { outcome: None, name, at: Some(String::new()), supposed: Ok(supposed) }
            }
        }
    }

    fn presenting_at(&self, view: &View, subject: &AskedIdentity, resource: &str) -> Presenting {
        let peer = self.supposed_caller(view, subject);
        let name = peer.as_ref().ok().and_then(|peer| self.own_client(peer));
        let (outcome, token) = match &peer {
            Ok(peer) => {
                let client_id = name.as_ref().map(ToString::to_string);
                let audience = vec![resource.to_owned()];
                self.supposed_token(peer, &TokenRequest { client_id, audience, ..TokenRequest::default() })
            }
            Err(error) => (not_admitted(*error), None),
        };
        let supposed = match (&outcome.granted, token) {
            (Err(why), _) => Err(why.clone()),
            (Ok(_), token) => {
                // A token that is granted is there.
                let subject = token.ok_or(NOTHING).map(|token| {
                    let receipt = supposed_receipt(view, resource, &token);
                    ExchangeSubject { token: Arc::new(token), receipt }
                });
                Ok(Supposed { subject, foreign: None, stated: None })
            }
        };
        Presenting { outcome: Some(outcome), name, at: Some(resource.to_owned()), supposed }
    }

    /// The client that a question names.
    fn stated(&self, view: &View, asked: &AskedIdentity) -> Result<ClientId, WhyNot> {
        match asked {
            AskedIdentity::SpiffeId(id) => Ok(ClientId::from(id)),
            AskedIdentity::Certificate(_) => {
                let peer = self.supposed_caller(view, asked).map_err(refused_call)?;
                let nobody = || WhyNot { code: NOTHING.code(), cause: NOTHING.to_string(), fix: String::new() };
                self.own_client(&peer).ok_or_else(nobody)
            }
        }
    }

    /// The client as which a peer would ask: its SPIFFE ID or, without one, that of its registration.
    fn own_client(&self, peer: &Caller) -> Option<ClientId> {
        let own = || self.registrations_of(peer).into_iter().next().map(|own| own.client_id);
        peer.identity.spiffe_id().map(ClientId::from).or_else(own)
    }

    fn supposed_exchange(
        &self,
        peer: &Caller,
        client_id: Option<&ClientId>,
        supposed: &Supposed,
        question: &ExchangeQuestion,
    ) -> (Result<ExchangedTerms, ExchangeError>, Vec<Step>) {
        let (view, identity) = (&peer.view, &*peer.identity);
        let ended = |check, error: ExchangeError| (Err(error), one_step(check, &error.to_string(), ""));
        if !self.policy.exchange.enabled {
            return ended(Check::Request, ExchangeError::NotEnabled);
        }
        let assertion = match supposed_assertion(view, identity, client_id) {
            Ok(assertion) => assertion,
            Err(error) => return ended(Check::ClientAssertion, error.into()),
        };
        let request = ExchangeRequest {
            client_id: client_id.map(ToString::to_string),
            audience: vec![question.audience.clone()],
            scope: question.scope.clone(),
            ..ExchangeRequest::default()
        };
        let exchanging = Exchanging {
            snapshot: &view.snapshot,
            credentials: self.credentials(identity, assertion.as_ref()),
            request: &request,
            subject: supposed.subject.as_ref().map_err(|error| *error),
            foreign: supposed.foreign.as_ref().map(|token| token.as_ref().map_err(|error| *error)),
            issuer: &self.policy.issuer,
            actor_token: None,
            judge: &|token, audience| self.judge(view, token, audience),
            now: view.now,
        };
        let stated = supposed.stated.as_ref().map(|name| Map::from_iter([("sub".to_owned(), name.as_str().into())]));
        match &question.requested {
            AskedExchange::AccessToken => {
                let outcome = exchange(&exchanging).map(|exchange| {
                    let Exchange { subject, actors, scope, expires, reported, .. } = exchange;
                    ExchangedTerms { reported, ..terms(subject, actors.as_ref(), scope, view.now.until(expires)) }
                });
                (outcome, explain_exchange(&exchanging))
            }
            AskedExchange::TxnToken { context, details } => {
                let Some(policy) = &self.policy.txn_tokens else {
                    return ended(Check::Request, ExchangeError::TxnTokensNotEnabled);
                };
                let subject = stated.map_or(TxnSubject::Presented, TxnSubject::Stated);
                let (context, details) = (context.clone(), details.clone());
                let asked = TxnAsked {
                    request: &TxnRequest { exchange: request.clone(), subject, context, details },
                    exchanging,
                    replaced: Ok(None),
                    self_signed: Ok(None),
                    policy,
                };
                let outcome = txn(&asked).map(|grant| {
                    let TxnGrant { subject, actors, scope, expires, .. } = grant;
                    terms(subject, actors.as_ref(), scope, view.now.until(expires))
                });
                (outcome, explain_txn(&asked))
            }
            AskedExchange::JwtGrant => {
                let targets = self.policy.chaining.as_slice();
                if targets.is_empty() {
                    return ended(Check::Request, ExchangeError::ChainingNotEnabled);
                }
                let asked = JwtGrantAsked {
                    request: &JwtGrantRequest { exchange: request.clone(), itself: stated },
                    exchanging,
                    targets,
                };
                let outcome = jwt_grant(&asked).map(|grant| {
                    let JwtGrant { subject, actors, scope, expires, .. } = grant;
                    terms(subject, actors.as_ref(), scope, view.now.until(expires))
                });
                (outcome, explain_jwt_grant(&asked))
            }
        }
    }
}

/// The receipt that would come with the token, where the resource leaves receipts: the proxy is supposed to be none of those who redeem
/// them, and to show the whole certificate. It never leaves this function but as what it says.
fn supposed_receipt(view: &View, audience: &str, token: &VerifiedToken) -> Option<VerifiedReceipt> {
    let resource = view.snapshot.resources.named(audience)?;
    let terms = resource.registration.receipts.as_ref()?;
    let keys = &view.snapshot.receipt_keys;
    let receipt = Receipt {
        jti: ReceiptId([0; 16]),
        iat: view.now,
        exp: view.now.after(terms.ttl).min(token.claims.exp),
        ath: TokenHash::of(NOT_ISSUED),
        token: presented(token, None)?,
        at: audience.into(),
        route: None,
        by: NOT_ISSUED.into(),
        independent: true,
        grade: EvidenceGrade::Certificate,
        matched: PresentationMatch::Exact,
        shown: None,
        exchanger: None,
    };
    let text = receipt.authenticated(keys.active(view.now)?)?;
    verify_receipt(keys, text.as_str(), view.now).ok()
}

/// What would be issued, where nothing of it is only reported.
fn terms(subject: String, actors: Option<&Actors>, scope: Scope, lifetime: Duration) -> ExchangedTerms {
    let actors = actors.into_iter().flat_map(Actors::all).map(Cow::into_owned).collect();
    ExchangedTerms { subject, actors, scope, expires_in: lifetime, reported: false }
}

fn why_not(error: ExchangeError, client_id: Option<&ClientId>, question: &ExchangeQuestion) -> WhyNot {
    let client = client_id.map_or("the client", ClientId::as_str);
    let cause = if let ExchangeError::NotGranted(error) = error { cause(error) } else { error.to_string() };
    let fix = fix::naming(exchange_fix::of_exchange(error), client, "the certificate", &question.audience);
    WhyNot { code: error.code(), cause, fix }
}
