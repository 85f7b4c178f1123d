//! Decides a request that is kept once more, by a resource as it is or as it would be: with the functions that decide requests.

use crate::authority::Authority;
use crate::authority::api::bindings::Use;
use crate::authority::decision::CheckRefusal;
use crate::authority::decision::Decision;
use crate::authority::decision::route_of;
use crate::authority::deny_reason::DenyReason;
use crate::authority::observe::NotReplayed;
use crate::authority::observe::Outcome;
use crate::authority::observe::RequestSample;
use crate::authority::observe::SampledRequest;
use crate::authority::observe::Shown;
use crate::authority::observe::TokenUse;
use crate::authority::observe::fix;
use crate::authority::resources::Demands;
use crate::authority::resources::Need;
use crate::authority::resources::ProtectedResource;
use crate::authority::scope::Scope;
use crate::authority::state::View;

/// What comes of a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::authority::api) struct Replayed {
    pub(in crate::authority::api) outcome: Outcome,
    /// What to do about a refusal.
    pub(in crate::authority::api) fix: &'static str,
}

impl Replayed {
    const ALLOWED: Self = Self { outcome: Outcome::Allowed, fix: "" };

    fn of_check(refusal: CheckRefusal, resource: &ProtectedResource) -> Self {
        let code = refusal.code();
        let outcome = if refusal.is_reported(resource) { Outcome::LetThrough(code) } else { Outcome::Denied(code) };
        Self { outcome, fix: fix::of_check(refusal) }
    }
}

impl Authority {
    /// Decides a request at the time at which it was made, by this resource and by the rest of a view.
    pub(in crate::authority::api) fn replay(
        &self,
        view: &View,
        sample: &RequestSample,
        resource: &ProtectedResource,
    ) -> Result<Replayed, NotReplayed> {
        // Of the bundles it has a generation of its own: what is found of certificates at times that are past is not taken for what
        // is found now, and not for what other bundles say.
        let view = View { now: sample.at, trust_generation: !view.trust_generation, ..view.clone() };
        let decided = match &sample.request {
            SampledRequest::ValidateBinding(scope) => {
                let Shown::Use(shown) = &sample.shown else { return Err(NotReplayed::SampleMissing) };
                let decided = self.replay_use(&view, shown, resource, scope)?;
                // No mode applies to it.
                decided.map_err(|why| Replayed { outcome: Outcome::Denied(why.code()), fix: fix::of_denial(why) })
            }
            SampledRequest::Check { method, path } => {
                let decided = self.replay_check(&view, (method, path), &sample.shown, resource)?;
                decided.map_err(|refusal| Replayed::of_check(refusal, resource))
            }
        };
        Ok(decided.map_or_else(|refused| refused, |()| Replayed::ALLOWED))
    }

    fn replay_check(
        &self,
        view: &View,
        (method, path): (&str, &str),
        shown: &Shown,
        resource: &ProtectedResource,
    ) -> Result<Result<(), CheckRefusal>, NotReplayed> {
        let scope = match route_of(resource, method, path).map(|route| &route.need) {
            Err(refusal) => return Ok(Err(refusal)),
            Ok(Need::Nothing) => return Ok(Ok(())),
            Ok(Need::Token(scope)) => scope,
        };
        match shown {
            Shown::Nothing => Err(NotReplayed::TokenNotSeen),
            Shown::NoToken(refusal) => Ok(Err(*refusal)),
            Shown::NoEvidence(_, from) if *from != resource.evidence_from => Err(NotReplayed::OtherEvidence),
            Shown::NoEvidence(cause, _) => Ok(Err(CheckRefusal::EvidenceMalformed(*cause))),
            Shown::Use(shown) => Ok(self.replay_use(view, shown, resource, scope)?.map_err(CheckRefusal::Denied)),
        }
    }

    fn replay_use(
        &self,
        view: &View,
        shown: &TokenUse,
        resource: &ProtectedResource,
        scope: &Scope,
    ) -> Result<Result<(), DenyReason>, NotReplayed> {
        if shown.from != resource.evidence_from {
            return Err(NotReplayed::OtherEvidence);
        }
        let token = match &shown.token {
            Ok(token) if view.snapshot.keys.find(token.key_id.as_str()).is_some() => token,
            Ok(_) => return Ok(Err(DenyReason::UnknownKey)),
            Err(reason) => return Ok(Err(*reason)),
        };
        let demands = Demands::of(resource.audience(), Some(resource), scope.clone());
        let of = Use { principal: shown.principal.as_deref(), ..Use::new(shown.evidence.as_ref(), &demands) };
        let (decision, ..) = self.evaluate(view, token, of, || shown.reported.clone());
        Ok(match decision {
            Decision::Allow(_) => Ok(()),
            Decision::Deny(reason) => Err(reason),
        })
    }
}
