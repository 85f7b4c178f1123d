//! What a caller is told that may ask about itself alone: nothing of a client that it does not prove to be.

use crate::authority::Authority;
use crate::authority::api::audit::one_step;
use crate::authority::decision::Check;
use crate::authority::decision::Step;
use crate::authority::decision::TokenOutcome;
use crate::authority::decision::WhyNot;
use crate::authority::decision::authenticate;
use crate::authority::observe::fix;
use crate::authority::registration::ClientId;
use crate::authority::state::Caller;

impl Authority {
    /// Whether a caller is told of a client: of its own, or of any if it may read all.
    pub(super) fn is_told_of(&self, caller: &Caller, client_id: &ClientId) -> bool {
        let Caller { identity, view, roles, .. } = caller;
        roles.reads_all()
            || identity.spiffe_id().is_some_and(|id| ClientId::from(id) == *client_id)
            || authenticate(&view.snapshot, self.credentials(identity, None), client_id, view.now).is_ok()
    }

    /// The outcome of a token request, as far as a caller is told of its client.
    pub(super) fn told_outcome(&self, caller: &Caller, outcome: TokenOutcome) -> TokenOutcome {
        if outcome.client_id.as_ref().is_none_or(|client_id| self.is_told_of(caller, client_id)) {
            return outcome;
        }
        // Whether a client that the caller does not prove is registered, and how, is not for the caller.
        let restricted = |why: WhyNot| WhyNot { cause: String::new(), fix: fix::OWN_CLIENTS.to_owned(), ..why };
        TokenOutcome {
            registration: None,
            granted: outcome.granted.map_err(restricted),
            steps: one_step(Check::Credentials, "", ""),
            ..outcome
        }
    }
}

/// Steps without what they compare.
pub(super) fn without_values(mut steps: Vec<Step>) -> Vec<Step> {
    for step in &mut steps {
        (step.found, step.expected) = (Box::default(), Box::default());
    }
    steps
}
