//! Receipts: made where a presentation is allowed, and redeemed by who acts on it.

use std::borrow::Cow;
use std::time::Duration;

use crate::authority::Authority;
use crate::authority::caches::SeenAgain;
use crate::authority::clock::Timestamp;
use crate::authority::decision::Match;
use crate::authority::decision::Verdict;
use crate::authority::evidence::Evidence;
use crate::authority::identity::parse_spiffe_id;
use crate::authority::observe::AuditEvent;
use crate::authority::observe::AuditOutcome;
use crate::authority::observe::AuditRecord;
use crate::authority::observe::ReceiptOutcome;
use crate::authority::observe::Severity;
use crate::authority::resources::ProtectedResource;
use crate::authority::resources::Receipts;
use crate::authority::state::Asker;
use crate::authority::state::Caller;
use crate::authority::state::View;
use crate::authority::store::Expected;
use crate::authority::store::StoreError;
use crate::authority::store::Transaction;
use crate::authority::tokens::AccessTokenClaims;
use crate::authority::tokens::NotSpent;
use crate::authority::tokens::PresentationMatch;
use crate::authority::tokens::PresentedRoute;
use crate::authority::tokens::PresentedToken;
use crate::authority::tokens::RECEIPTS;
use crate::authority::tokens::Receipt;
use crate::authority::tokens::ReceiptError;
use crate::authority::tokens::ReceiptId;
use crate::authority::tokens::ReceiptText;
use crate::authority::tokens::Redemption;
use crate::authority::tokens::VerifiedReceipt;
use crate::authority::tokens::VerifiedToken;
use crate::authority::tokens::verify_receipt;

/// An allowed presentation of a token at a resource.
pub(in crate::authority::api) struct Presentation<'a> {
    /// The text of the token.
    pub(in crate::authority::api) text: &'a str,
    pub(in crate::authority::api) token: &'a VerifiedToken,
    /// The claims that count at the resource, where these are fewer than the token's.
    pub(in crate::authority::api) narrowed: Option<&'a AccessTokenClaims>,
    pub(in crate::authority::api) verdict: &'a Verdict,
    pub(in crate::authority::api) evidence: Option<&'a Evidence>,
    /// The method and the template of the request's path.
    pub(in crate::authority::api) route: Option<(&'a str, &'a str)>,
    /// The SPIFFE ID of the resource's workload, as the proxy reports it, or another text.
    pub(in crate::authority::api) destination: &'a str,
}

/// What a receipt could not be made of.
struct NotMade(&'static str);

impl Authority {
    /// The receipt of a presentation at a resource that leaves receipts; `None` where it leaves none, and where none can be
    /// made: that is counted, and opens nothing.
    pub(in crate::authority::api) fn receipt_of(
        &self,
        caller: &Asker,
        resource: &ProtectedResource,
        presentation: &Presentation<'_>,
    ) -> Option<ReceiptText> {
        let terms = resource.receipts.as_ref().filter(|_| self.policy.exchange.enabled)?;
        if self.is_edge() {
            // It has no key for one. Where a receipt is needed, the exchange is refused.
            self.metrics.receipt(ReceiptOutcome::Failed);
            return None;
        }
        match self.make_receipt(caller, resource.audience(), terms, presentation) {
            Ok(receipt) => {
                self.metrics.receipt(ReceiptOutcome::Made);
                Some(receipt)
            }
            Err(NotMade(why)) => {
                tracing::warn!(audience = resource.audience(), why, "no receipt was made for an allowed request");
                self.metrics.receipt(ReceiptOutcome::Failed);
                None
            }
        }
    }

    fn make_receipt(
        &self,
        caller: &Asker,
        audience: &str,
        terms: &Receipts,
        presentation: &Presentation<'_>,
    ) -> Result<ReceiptText, NotMade> {
        let Presentation { text, token, narrowed, verdict, evidence, route, destination } = *presentation;
        let (now, claims) = (caller.view.now, &token.claims);
        let key = caller.view.snapshot.receipt_keys.active(now).ok_or(NotMade("there is no key"))?;
        let mut jti = [0; 16];
        self.entropy.fill(&mut jti).map_err(|_| NotMade("there is no randomness"))?;
        let own = caller.identity.spiffe_id().filter(|id| terms.may_be_redeemed_by_id(id));
        // Of a proxy that is known by its user alone nobody can say that it is none of them.
        let acts = own.is_some() || caller.identity.certificate().is_none() || is_opaque_exchanger(caller, terms);
        let told = || parse_spiffe_id(destination).filter(|id| terms.may_be_redeemed_by_id(id));
        let exchanger = own.map(Cow::Borrowed).or_else(|| told().map(Cow::Owned));
        let receipt = Receipt {
            jti: ReceiptId(jti),
            iat: now,
            exp: now.after(terms.ttl).min(claims.exp),
            ath: token.hash_of(text),
            token: presented(token, narrowed).ok_or(NotMade("it is not bound"))?,
            at: audience.into(),
            route: route.map(|(method, path)| PresentedRoute { method: method.into(), path: path.into() }),
            by: caller.identity.to_string().into(),
            independent: !acts,
            grade: verdict.grade,
            matched: match verdict.matched {
                Match::Exact => PresentationMatch::Exact,
                Match::SameIdentity => PresentationMatch::SameIdentity,
                Match::Lineage(_) => PresentationMatch::Lineage,
            },
            shown: evidence.and_then(Evidence::thumbprint),
            exchanger: exchanger.map(|id| id.to_string().into()),
        };
        receipt.authenticated(key).ok_or(NotMade("it would be too large"))
    }

    /// Verifies the text of a receipt.
    pub fn verified_receipt(&self, view: &View, text: &str) -> Result<VerifiedReceipt, ReceiptError> {
        verify_receipt(&view.snapshot.receipt_keys, text, view.now).inspect_err(|error| {
            let unknown = *error == ReceiptError::UnknownKey;
            self.metrics.receipt(if unknown { ReceiptOutcome::UnknownKey } else { ReceiptOutcome::Refused });
        })
    }

    /// Writes that a receipt was redeemed for a target, where the resource says once. Nothing else of an exchange waits for the
    /// store.
    pub async fn spend_receipt(&self, receipt: &VerifiedReceipt, target: &str) -> Result<(), NotSpent> {
        self.spend_key(&receipt.spent_key(target), receipt.receipt.exp).await
    }

    /// Writes that what this name stands for was used, which is good once and until then.
    pub(in crate::authority::api) async fn spend_once(&self, name: &str, until: Timestamp) -> Result<(), NotSpent> {
        self.spend_key(&format!("{RECEIPTS}{name}"), until).await
    }

    async fn spend_key(&self, key: &str, until: Timestamp) -> Result<(), NotSpent> {
        // A replica whose clock is behind still takes it for a moment after its end here.
        let until = until.after(RECEIPT_SKEW);
        let spending = Transaction::default().compare(key, Expected::Absent).put_until(key, SPENT.to_vec(), until);
        match self.store.transact(spending).await {
            Ok(_) => Ok(()),
            Err(StoreError::Conflict { .. }) => {
                self.metrics.receipt(ReceiptOutcome::Refused);
                Err(NotSpent::Before)
            }
            Err(error) => {
                tracing::error!(%error, "the store failed to record that a receipt was redeemed");
                Err(NotSpent::Unavailable)
            }
        }
    }

    /// Counts and remembers that a receipt was redeemed. Redeemed again over the same certificate it is a retry, over another one
    /// of the client's an alarm: both are in the audit trail, and neither makes a further token.
    pub fn record_receipt_redeemed(&self, caller: &Caller, receipt: &VerifiedReceipt, redemption: &Redemption<'_>) {
        self.metrics.receipt(ReceiptOutcome::Redeemed);
        let Receipt { jti, at, .. } = &receipt.receipt;
        let (severity, cause) = match self.redeemed.note(&jti.to_string(), redemption.certificate, redemption.target) {
            None => return,
            Some(SeenAgain::Retry) => (Severity::Info, "over the same certificate"),
            Some(SeenAgain::OtherCertificate) => (Severity::Warn, "over another certificate"),
        };
        self.metrics.receipt(ReceiptOutcome::SeenAgain);
        self.record(AuditEvent::ReceiptSeenAgain, severity, AuditOutcome::Allowed, |record| AuditRecord {
            actor: Some(caller.identity.to_string()),
            client_id: Some(redemption.client_id.to_string()),
            resource: Some(at.to_string()),
            jti: Some(jti.to_string()),
            bound_to: Some(redemption.certificate.to_string()),
            reason: Some("RECEIPT_SEEN_AGAIN"),
            cause: Some(cause.to_owned()),
            ..record
        });
    }
}

/// What a receipt says of a token, with the claims that count where these are fewer; `None` where it is not bound.
pub(in crate::authority::api) fn presented<'a>(
    token: &'a VerifiedToken,
    narrowed: Option<&'a AccessTokenClaims>,
) -> Option<PresentedToken<'a>> {
    let claims = &token.claims;
    Some(PresentedToken {
        jti: claims.jti.as_str().into(),
        iat: claims.iat,
        exp: claims.exp,
        kid: token.key_id.as_str().into(),
        sub: claims.sub.as_str().into(),
        client_id: claims.client_id.as_str().into(),
        creation: claims.lanyard_creation.as_str().into(),
        scope: narrowed.unwrap_or(claims).scope.as_deref().map(Cow::from),
        x5t_s256: token.bound_to?,
        act: claims.act.as_ref().map(Cow::Borrowed),
        lanyard_from: Cow::Borrowed(&claims.lanyard_from),
    })
}

/// How far apart the clocks of replicas may be.
const RECEIPT_SKEW: Duration = Duration::from_mins(1);

/// The value of the record of a receipt that was redeemed.
const SPENT: &[u8] = b"{\"schema\":1}";

/// Whether the caller is an exchanger under a name that is no SPIFFE ID.
fn is_opaque_exchanger(caller: &Asker, terms: &Receipts) -> bool {
    let mut names = terms.opaque().peekable();
    // The usual case.
    if names.peek().is_none() {
        return false;
    }
    let Some(identity) = caller.identity.certificate() else { return false };
    let clients = caller.view.snapshot.clients_of(identity, caller.view.now);
    names.any(|name| clients.iter().any(|client| client.registration.client_id == *name))
}
