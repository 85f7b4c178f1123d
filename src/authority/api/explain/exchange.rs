//! What an exchange of a token would come to. It is found by the function that decides exchanges.

use std::borrow::Cow;
use std::iter;
use std::sync::Arc;

use crate::authority::Authority;
use crate::authority::api::audit::cause;
use crate::authority::api::audit::one_step;
use crate::authority::api::audit::registration;
use crate::authority::api::exchange::NOTHING;
use crate::authority::api::explain::supposed::NOT_ISSUED;
use crate::authority::api::explain::supposed::not_admitted;
use crate::authority::api::explain::supposed::readable;
use crate::authority::api::explain::supposed::refused_call;
use crate::authority::api::explain::supposed::supposed_assertion;
use crate::authority::api::receipts::presented;
use crate::authority::decision::Check;
use crate::authority::decision::Exchange;
use crate::authority::decision::ExchangeError;
use crate::authority::decision::ExchangeQuestion;
use crate::authority::decision::ExchangeRequest;
use crate::authority::decision::ExchangeSubject;
use crate::authority::decision::ExchangedTerms;
use crate::authority::decision::Exchanging;
use crate::authority::decision::ExplainedExchange;
use crate::authority::decision::NotExplained;
use crate::authority::decision::Step;
use crate::authority::decision::TokenRequest;
use crate::authority::decision::WhyNot;
use crate::authority::decision::exchange;
use crate::authority::decision::explain_exchange;
use crate::authority::evidence::EvidenceGrade;
use crate::authority::observe::exchange_fix;
use crate::authority::observe::fix;
use crate::authority::reference::Refused;
use crate::authority::registration::ClientId;
use crate::authority::registration::ClientStatus;
use crate::authority::registration::RuleClaim;
use crate::authority::state::Caller;
use crate::authority::state::View;
use crate::authority::tokens::Actors;
use crate::authority::tokens::PresentationMatch;
use crate::authority::tokens::Receipt;
use crate::authority::tokens::ReceiptId;
use crate::authority::tokens::TokenHash;
use crate::authority::tokens::VerifiedReceipt;
use crate::authority::tokens::VerifiedToken;
use crate::authority::tokens::verify_receipt;

impl Authority {
    /// What an exchange would come to now, of the token that its subject would get for the place where it is presented. Nothing is
    /// issued, and nothing is counted or recorded as a decision.
    pub fn explain_exchange(
        &self,
        caller: &Caller,
        question: &ExchangeQuestion,
    ) -> Result<ExplainedExchange, Refused<NotExplained>> {
        let view = &caller.view;
        let fresh = view.freshness(view.shortest_bound(iter::once(question.audience.as_str())));
        fresh.map_err(|why| self.not_explained(caller, why.into()))?;
        let subject = self.supposed_caller(view, &question.subject);
        let speaks_for = subject.as_ref().ok().and_then(|peer| self.own_client(peer));
        let (subject_token, token) = match &subject {
            Ok(peer) => {
                let client_id = speaks_for.as_ref().map(ToString::to_string);
                let audience = vec![question.presented_at.clone()];
                self.supposed_token(peer, &TokenRequest { client_id, audience, ..TokenRequest::default() })
            }
            Err(error) => (not_admitted(*error), None),
        };
        let exchanger = self.supposed_caller(view, &question.exchanger);
        let client_id = exchanger.as_ref().ok().and_then(|peer| self.own_client(peer));
        let (granted, steps) = match (exchanger, token, &subject_token.granted) {
            (Err(error), ..) => (Err(refused_call(error)), Vec::new()),
            (Ok(_), None, Err(why)) => (Err(why.clone()), Vec::new()),
            // A token that is granted is there.
            (Ok(_), None, Ok(_)) => (Err(why_not(NOTHING, client_id.as_ref(), question)), Vec::new()),
            (Ok(peer), Some(token), _) => {
                let receipt = supposed_receipt(view, &question.presented_at, &token);
                let subject = ExchangeSubject { token: Arc::new(token), receipt };
                let (outcome, steps) = self.supposed_exchange(&peer, client_id.as_ref(), &subject, question);
                let terms = outcome.map(|exchange| terms(exchange, view));
                (terms.map_err(|error| why_not(error, client_id.as_ref(), question)), steps)
            }
        };
        Ok(ExplainedExchange {
            granted,
            subject_token,
            rules: rules(view, client_id.as_ref(), speaks_for.as_ref(), question),
            registration: registration(view, client_id.as_ref()),
            client_id: client_id.map(|client_id| client_id.to_string()),
            steps: readable(steps),
        })
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
        subject: &ExchangeSubject,
        question: &ExchangeQuestion,
    ) -> (Result<Exchange, ExchangeError>, Vec<Step>) {
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
            subject: Ok(subject),
            foreign: None,
            issuer: &self.policy.issuer,
            actor_token: None,
            judge: &|token, audience| self.judge(view, token, audience),
            now: view.now,
        };
        (exchange(&exchanging), explain_exchange(&exchanging))
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

fn terms(exchange: Exchange, view: &View) -> ExchangedTerms {
    ExchangedTerms {
        actors: exchange.actors.iter().flat_map(Actors::all).map(Cow::into_owned).collect(),
        expires_in: view.now.until(exchange.expires),
        subject: exchange.subject,
        scope: exchange.scope,
        reported: exchange.reported,
    }
}

fn why_not(error: ExchangeError, client_id: Option<&ClientId>, question: &ExchangeQuestion) -> WhyNot {
    let client = client_id.map_or("the client", ClientId::as_str);
    let cause = if let ExchangeError::NotGranted(error) = error { cause(error) } else { error.to_string() };
    let fix = fix::naming(exchange_fix::of_exchange(error), client, "the certificate", &question.audience);
    WhyNot { code: error.code(), cause, fix }
}

/// The rules of the exchanger that apply to the subject, or nearly do.
fn rules(
    view: &View,
    client_id: Option<&ClientId>,
    subject: Option<&ClientId>,
    question: &ExchangeQuestion,
) -> Vec<RuleClaim> {
    let (Some(client_id), Some(subject)) = (client_id, subject) else { return Vec::new() };
    let ClientStatus::Registered(client) = view.snapshot.directory.status(client_id) else { return Vec::new() };
    let terms = client.registration.terms.exchange.as_ref();
    terms.map(|terms| terms.claims_of(subject, &question.presented_at, &question.audience)).unwrap_or_default()
}
