//! Answers what would happen: what a check of a request or an exchange would come to, and what an identity is to this server. Each is found by the
//! functions that decide. Nothing is issued, and nothing is counted or recorded as a decision.

mod exchange;
mod own;
mod supposed;

use spiffe::SpiffeId;

use crate::authority::Authority;
use crate::authority::access::Fronted;
use crate::authority::access::NotAdmitted;
use crate::authority::api::audit::Checked;
use crate::authority::api::audit::of_check;
use crate::authority::api::audit::one_step;
use crate::authority::api::audit::registration;
use crate::authority::api::bindings::Use;
use crate::authority::api::checks::needed_scope;
use crate::authority::api::explain::own::without_values;
use crate::authority::api::explain::supposed::not_admitted;
use crate::authority::api::explain::supposed::readable;
use crate::authority::api::explain::supposed::refused_call;
use crate::authority::api::explain::supposed::supposed_evidence;
use crate::authority::decision::AskedIdentity;
use crate::authority::decision::AskedToken;
use crate::authority::decision::Check;
use crate::authority::decision::CheckQuestion;
use crate::authority::decision::CheckRefusal;
use crate::authority::decision::CheckRequest;
use crate::authority::decision::Decision;
use crate::authority::decision::ExplainedCheck;
use crate::authority::decision::ExplainedIdentity;
use crate::authority::decision::Findings;
use crate::authority::decision::NotExplained;
use crate::authority::decision::TokenOutcome;
use crate::authority::decision::TokenRequest;
use crate::authority::decision::WhyNot;
use crate::authority::decision::bearer_token;
use crate::authority::evidence::SeenPeer;
use crate::authority::identity::PresentedCertificate;
use crate::authority::observe::fix;
use crate::authority::reference::Refused;
use crate::authority::registration::Claim;
use crate::authority::registration::ClientId;
use crate::authority::resources::Demands;
use crate::authority::resources::ProtectedResource;
use crate::authority::state::Asker;
use crate::authority::state::Caller;

const EXPLAIN_CHECK: &str = "/lanyard.v1.ExplanationService/ExplainCheck";
const EXPLAIN_IDENTITY: &str = "/lanyard.v1.ExplanationService/ExplainIdentity";

impl Authority {
    /// What a check of a request would come to now, by a proxy that fronts all resources. Without a token the question is whether
    /// its sender would get one that passes. Admins and auditors ask about anybody; any other caller about itself, and is told
    /// of no other.
    pub fn explain_check(
        &self,
        caller: &Caller,
        question: &CheckQuestion<'_>,
    ) -> Result<ExplainedCheck, Refused<NotExplained>> {
        self.may_ask(caller, &question.identity, EXPLAIN_CHECK)?;
        let header = match question.token {
            AskedToken::Presented(token) => Some(format!("Bearer {token}")),
            AskedToken::Requested { .. } => None,
        };
        let CheckQuestion { destination, method, path, .. } = *question;
        let headers = header.iter().map(|value| ("authorization", value.as_bytes())).collect();
        let request = CheckRequest { destination, method, path, headers, certificate: "", principal: "", address: "" };
        let found = caller.view.snapshot.resources.find(&destination, &Fronted::Every);
        let resource = found.map(|registered| &registered.registration);
        let fresh = caller.view.freshness(resource.and_then(|resource| resource.max_staleness));
        fresh.map_err(|why| self.not_explained(caller, why.into()))?;
        let (mut findings, mut token) = (Findings::default(), None);
        let outcome = resource
            .ok_or(CheckRefusal::ResourceUnknown)
            .and_then(|resource| self.look_ahead(caller, question, &request, resource, &mut findings, &mut token));
        let token = token.map(|token| self.told_outcome(caller, token));
        let holder = findings.token.as_deref().and_then(|token| token.holder.as_ref());
        let client_id = holder.or(token.as_ref().and_then(|token| token.client_id.as_ref()));
        let told = client_id.filter(|client_id| self.is_told_of(caller, client_id));
        let decided = std::mem::take(&mut findings.steps);
        let decided = if told == client_id { decided } else { without_values(decided) };
        let reported = |refusal: CheckRefusal| resource.is_some_and(|resource| refusal.is_reported(resource));
        let let_through = outcome.as_ref().is_err_and(|refusal| reported(*refusal));
        let asker = Asker::from(caller.clone());
        let checked = Checked { caller: &asker, request: &request, resource, findings: &findings, let_through };
        let claimed = client_id.and_then(ClientId::spiffe_id).or_else(|| question.identity.spiffe_id());
        Ok(ExplainedCheck {
            why_not: outcome.err().map(|refusal| why_not(refusal, question, resource, token.as_ref(), told)),
            let_through,
            spiffe_id: question.identity.spiffe_id().map(|id| id.to_string()),
            certificate: question.identity.certificate().map(PresentedCertificate::from),
            client_id: told.map(ToString::to_string),
            registration: registration(&caller.view, told),
            resource: resource.map(|resource| resource.audience().to_owned()),
            route: findings.route.map(|route| route.template.clone()),
            scope: findings.scope.to_string(),
            steps: readable(of_check(&checked, outcome.err(), decided)),
            claims: claims(caller, claimed.as_ref()),
            token,
        })
    }

    /// The steps of a check, up to its decision. The token is the one that the request has, or would be issued.
    fn look_ahead<'a>(
        &self,
        caller: &Caller,
        question: &CheckQuestion<'_>,
        request: &CheckRequest<'_>,
        resource: &'a ProtectedResource,
        findings: &mut Findings<'a>,
        requested: &mut Option<TokenOutcome>,
    ) -> Result<(), CheckRefusal> {
        let Some(scope) = needed_scope(request, resource, findings)? else { return Ok(()) };
        let (view, asked) = (&caller.view, &question.identity);
        let demands = Demands::of(resource.audience(), Some(resource), scope.clone());
        // What a proxy says of its peer beside the certificate.
        let spiffe_id = asked.spiffe_id();
        let principal = spiffe_id.as_ref().map(ToString::to_string).unwrap_or_default();
        let peer = SeenPeer { principal: &principal, ..SeenPeer::default() };
        let principal = peer.principal_of_user(&resource.evidence_from);
        let reported = || spiffe_id.clone();
        let (decision, steps) = match &question.token {
            AskedToken::Presented(_) => {
                let access_token = bearer_token(&request.headers)?;
                let token = self.verified(view, access_token).ok();
                findings.evidence = supposed_evidence(asked, token.as_deref(), question.shown);
                let of = Use { principal, explained: true, ..Use::new(findings.evidence.as_ref(), &demands) };
                let evaluation = self.evaluate_text(view, access_token, of, reported);
                findings.token = evaluation.token;
                (evaluation.decision, evaluation.steps)
            }
            AskedToken::Requested { client_id, scope } => {
                let (client_id, scope) = (client_id.clone(), scope.clone());
                let audience = vec![resource.audience().to_owned()];
                let wanted = TokenRequest { client_id, scope, audience, ..TokenRequest::default() };
                let (outcome, token) = match self.supposed_caller(view, asked) {
                    Ok(peer) => self.supposed_token(&peer, &wanted),
                    Err(error) => (not_admitted(error), None),
                };
                *requested = Some(outcome);
                let token = token.ok_or(CheckRefusal::TokenMissing)?;
                findings.evidence = supposed_evidence(asked, Some(&token), question.shown);
                let of = Use { principal, explained: true, ..Use::new(findings.evidence.as_ref(), &demands) };
                let (decision, _, steps) = self.evaluate(view, &token, of, reported);
                (decision, steps)
            }
        };
        findings.steps = steps;
        match (decision, findings.route) {
            (Decision::Allow(_), Some(route)) => {
                let ahead = self.transaction_ahead(resource, route).inspect_err(|refusal| {
                    findings.steps.extend(one_step(
                        Check::TransactionToken,
                        &refusal.to_string(),
                        "one that can be minted",
                    ));
                });
                findings.steps.extend(ahead?);
                Ok(())
            }
            (Decision::Allow(_), None) => Ok(()),
            (Decision::Deny(reason), _) => Err(CheckRefusal::Denied(reason)),
        }
    }

    /// What an identity is to this server: whether a rule accepts it, which registrations claim it, and what it would get.
    /// Who may ask, and is told of what, is as with [`explain_check`](Self::explain_check).
    pub fn explain_identity(
        &self,
        caller: &Caller,
        asked: &AskedIdentity,
    ) -> Result<ExplainedIdentity, Refused<NotExplained>> {
        self.may_ask(caller, asked, EXPLAIN_IDENTITY)?;
        let spiffe_id = asked.spiffe_id();
        let admitted = self.supposed_caller(&caller.view, asked);
        let mut tokens = Vec::new();
        if let Ok(peer) = &admitted {
            // By its SPIFFE ID, also where no registration claims that.
            let mut clients: Vec<ClientId> = peer.identity.spiffe_id().map(ClientId::from).into_iter().collect();
            for own in self.registrations_of(peer) {
                if !clients.contains(&own.client_id) {
                    clients.push(own.client_id);
                }
            }
            let request = |client_id: &ClientId| TokenRequest {
                client_id: Some(client_id.to_string()),
                ..TokenRequest::default()
            };
            let outcome = |client_id| self.told_outcome(caller, self.supposed_token(peer, &request(client_id)).0);
            tokens.extend(clients.iter().map(outcome));
        }
        let refused = admitted.err();
        Ok(ExplainedIdentity {
            claims: claims(caller, spiffe_id.as_ref()),
            spiffe_id: spiffe_id.map(|id| id.to_string()),
            certificate: asked.certificate().map(PresentedCertificate::from),
            proven: !matches!(refused, Some(NotAdmitted::Unproven(_))),
            why_not: refused.map(refused_call),
            tokens,
        })
    }

    /// Whether a caller may ask about an identity. What an admin asks is a record.
    fn may_ask(
        &self,
        caller: &Caller,
        asked: &AskedIdentity,
        method: &'static str,
    ) -> Result<(), Refused<NotExplained>> {
        if caller.roles.reads_all() {
            self.report_admin_read(caller, method);
            return Ok(());
        }
        let is_own = match asked {
            AskedIdentity::SpiffeId(id) => caller.identity.spiffe_id() == Some(id),
            AskedIdentity::Certificate(asked) => asked.leaf.thumbprint() == caller.identity.thumbprint(),
        };
        if is_own { Ok(()) } else { Err(self.not_explained(caller, NotExplained::NotYours)) }
    }

    fn not_explained(&self, caller: &Caller, error: NotExplained) -> Refused<NotExplained> {
        let check = match error {
            NotExplained::NotYours => Check::Role,
            NotExplained::Undecidable(_) => Check::Freshness,
        };
        let ended = (check, fix::of_not_explained(error));
        let (code, cause) = (error.code(), error.to_string());
        Refused { error, reference: self.record_refused(&caller.sender(), "explanation", code, &cause, ended) }
    }
}

/// The registrations that claim a SPIFFE ID, for those who read all.
fn claims(caller: &Caller, id: Option<&SpiffeId>) -> Vec<Claim> {
    let id = id.filter(|_| caller.roles.reads_all());
    id.map(|id| caller.view.snapshot.directory.claims_of(id)).unwrap_or_default()
}

/// Why a check would be denied: where there would be no token, why that.
fn why_not(
    refusal: CheckRefusal,
    question: &CheckQuestion<'_>,
    resource: Option<&ProtectedResource>,
    token: Option<&TokenOutcome>,
    client_id: Option<&ClientId>,
) -> WhyNot {
    if let Some(Err(why)) = token.map(|token| &token.granted) {
        return why.clone();
    }
    let client = client_id.map_or("the client", ClientId::as_str);
    let certificate = question.identity.certificate().map(|certificate| certificate.thumbprint().to_string());
    let certificate = certificate.as_deref().unwrap_or("the certificate");
    let resource = resource.map_or("the resource", ProtectedResource::audience);
    let fix = fix::naming(fix::of_check(refusal), client, certificate, resource);
    WhyNot { code: refusal.code(), cause: refusal.to_string(), fix }
}
