//! The way of one `ValidateBinding`: who may ask what, the token's signature, and then the decision of `binding`.

use std::sync::Arc;

use crate::authority::Authority;
use crate::authority::access::Roles;
use crate::authority::decision::Admissible;
use crate::authority::decision::BindingRequest;
use crate::authority::decision::Decision;
use crate::authority::decision::Evaluation;
use crate::authority::decision::NoDecision;
use crate::authority::decision::ValidateRequest;
use crate::authority::decision::admissible;
use crate::authority::decision::decide;
use crate::authority::deny_reason::DenyReason;
use crate::authority::evidence::Evidence;
use crate::authority::evidence::EvidenceFrom;
use crate::authority::evidence::SeenPeer;
use crate::authority::identity::PeerIdentity;
use crate::authority::observe::AuditEvent;
use crate::authority::observe::Question;
use crate::authority::registration::ClientStatus;
use crate::authority::registration::Rotation;
use crate::authority::resources::Demands;
use crate::authority::scope::Scope;
use crate::authority::tokens::VerifiedToken;

impl Authority {
    /// Judges one use of one token.
    pub fn validate_binding(
        &self,
        caller: &PeerIdentity,
        roles: &Roles,
        request: ValidateRequest<'_>,
    ) -> Result<Evaluation, NoDecision> {
        let judged = self.evaluate_request(caller, roles, request);
        if let Err(why) = &judged {
            AuditEvent::NotDecided { caller, why }.record();
        }
        judged
    }

    fn evaluate_request(
        &self,
        caller: &PeerIdentity,
        roles: &Roles,
        request: ValidateRequest<'_>,
    ) -> Result<Evaluation, NoDecision> {
        self.freshness()?;
        if request.access_token.is_empty() {
            return Err(NoDecision::TokenMissing);
        }
        let scope = Scope::parse(request.scope).map_err(|_| NoDecision::ScopeMalformed)?;
        let admissible = admissible(caller, roles, request.evidence)?;
        let audience = request.audience.filter(|audience| !audience.is_empty());
        let audience = match (audience, &roles.proxy) {
            (Some(audience), Some(fronted)) if !fronted.includes(audience) => return Err(NoDecision::ForeignResource),
            (Some(audience), _) => audience,
            (None, Some(fronted)) => fronted.only().ok_or(NoDecision::AudienceMissing)?,
            (None, None) => return Err(NoDecision::AudienceMissing),
        };
        let snapshot = self.snapshot.load();
        let resource = snapshot.resources.named(audience).map(|registered| &registered.registration);
        let evidence = match admissible {
            Admissible::Evidence(evidence) => evidence,
            Admissible::Header(forwarded) => {
                let from = resource.map_or(&EvidenceFrom::Peer, |resource| &resource.evidence_from);
                let seen = SeenPeer { forwarded: &forwarded, ..SeenPeer::default() };
                seen.evidence(caller.spiffe_id(), from)?
            }
        };
        let demands = Demands::of(audience, resource, scope);
        let evaluation = self.evaluate(request.access_token, evidence.as_ref(), &demands);
        let token =
            evaluation.token.as_deref().map(|token| (token.claims.client_id.as_str(), token.claims.jti.as_str()));
        let (resource, evidence, decision) = (audience, evidence.as_ref(), evaluation.decision);
        AuditEvent::BindingDecided { caller, resource, token, evidence, decision }.record();
        self.metrics.decided(Question::ValidateBinding, &evaluation.decision);
        Ok(evaluation)
    }

    /// A token whose signature is good under one of our keys.
    pub(in crate::authority) fn verified(&self, access_token: &str) -> Result<Arc<VerifiedToken>, DenyReason> {
        self.verified.verify(&self.keys.load(), access_token, &self.metrics)
    }

    /// The decision that every voice speaks.
    pub(in crate::authority) fn evaluate(
        &self,
        access_token: &str,
        evidence: Option<&Evidence>,
        demands: &Demands,
    ) -> Evaluation {
        let grade = evidence.map(Evidence::grade);
        let token = match self.verified.verify(&self.keys.load(), access_token, &self.metrics) {
            Ok(token) => token,
            Err(reason) => return Evaluation { decision: Decision::Deny(reason), token: None, grade },
        };
        let now = self.clock.now();
        let snapshot = self.snapshot.load();
        let client_id = token.client_id.as_ref();
        let client = client_id.map_or(ClientStatus::Unknown, |client_id| snapshot.directory.status(client_id));
        let registered_as = match &client {
            ClientStatus::Registered(client) => Some(&client.registration.client_id),
            ClientStatus::Unknown | ClientStatus::Ambiguous | ClientStatus::Disabled => None,
        };
        let names: Vec<_> = client_id.into_iter().chain(registered_as).collect();
        let shown = evidence.and_then(Evidence::thumbprint);
        let revoked = snapshot.revocations.reason_against(&token.claims, &names, shown, now);
        // Looked at only where it matters: it costs a path validation, once for each certificate.
        let vouched = match (&client, evidence) {
            (ClientStatus::Registered(client), Some(Evidence::Certificate(certificate))) => {
                client.registration.rotation == Rotation::Identity
                    && shown != token.claims.bound_to()
                    && self.vouches_for(certificate, &token.claims.sub)
            }
            _ => false,
        };
        let decision = decide(&BindingRequest {
            claims: &token.claims,
            issuer: &self.policy.issuer,
            evidence,
            client: &client,
            revoked,
            vouched,
            lineages: &snapshot.lineages,
            lineage: self.policy.lineage,
            demands,
            now,
            verdict_ttl: self.verdict_ttl(now),
        });
        Evaluation { decision, token: Some(token), grade }
    }
}
