//! Answers what was asked at a protected resource, by whom, and what came of it.

use std::borrow::Cow;
use std::cmp::Reverse;

use crate::authority::Authority;
use crate::authority::clock::Timestamp;
use crate::authority::observe::Counted;
use crate::authority::observe::Labels;
use crate::authority::observe::Others;
use crate::authority::observe::Outcome;
use crate::authority::observe::ResourceReport;
use crate::authority::observe::RolledUp;
use crate::authority::records::RegistryError;
use crate::authority::registration::ClientId;
use crate::authority::registration::ClientStatus;
use crate::authority::resources::Mode;
use crate::authority::resources::RegisteredResource;
use crate::authority::resources::Resources;
use crate::authority::state::Caller;
use crate::authority::state::View;

impl Authority {
    /// What was asked at the resource with this audience, for a caller that may see it. A team's admin sees what was asked since the
    /// resource is registered: its audience may have been another's before.
    pub fn resource_report(&self, caller: &Caller, audience: &str) -> Result<ResourceReport, RegistryError> {
        let resource = self.seen_resource(caller, audience)?;
        let requests = self.rolled_up(caller, &resource);
        let others = self.rollup.others(audience, caller.view.now);
        Ok(ResourceReport { resource, counted: self.counted(), requests, others })
    }

    /// The number of requests at each resource that is in the mode `report` or had any, by outcome.
    pub(in crate::authority::api) fn requests_last_day(
        &self,
        registered: &Resources,
        now: Timestamp,
    ) -> Vec<(Labels, u64)> {
        let sums = self.rollup.sums(now);
        let mut samples = Vec::new();
        for resource in registered.all().map(|resource| &resource.registration) {
            let sum = sums.get(resource.audience()).copied();
            if sum.is_none() && resource.mode != Mode::Report {
                continue;
            }
            let Others { allowed, let_through, denied, .. } = sum.unwrap_or_default();
            for (outcome, count) in [("allowed", allowed), ("let_through", let_through), ("denied", denied)] {
                let resource = Cow::Owned(resource.audience().to_owned());
                samples.push((vec![("resource", resource), ("outcome", Cow::Borrowed(outcome))], count));
            }
        }
        samples
    }

    pub(in crate::authority::api) fn counted(&self) -> Counted {
        let by = self.replica.as_ref().map(|replica| replica.name.clone());
        Counted { by, since: self.rollup.since() }
    }

    /// The requests at a resource that a caller sees, and whether each is from a caller that is registered.
    pub(in crate::authority::api) fn rolled_up(
        &self,
        caller: &Caller,
        resource: &RegisteredResource,
    ) -> Vec<(RolledUp, bool)> {
        let view = &caller.view;
        let seen_since = if caller.sees().is_everything() { Timestamp::default() } else { resource.record.create_time };
        let requests = self.rollup.read(Some(resource.registration.audience()), view.now).into_iter();
        let mut requests: Vec<_> = requests.filter_map(|one| one.since(seen_since)).collect();
        requests.sort_by(|one, other| {
            let order = |one: &RolledUp| (place_of(one.kind.outcome), Reverse(one.count));
            order(one).cmp(&order(other)).then_with(|| one.kind.caller.cmp(&other.kind.caller))
        });
        let with_registration = |one: RolledUp| {
            let registered = is_registered(view, &one.kind.caller);
            (one, registered)
        };
        requests.into_iter().map(with_registration).collect()
    }
}

/// The place of an outcome among all: what would break comes first.
fn place_of(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::LetThrough(_) => 0,
        Outcome::Denied(_) => 1,
        Outcome::Allowed => 2,
    }
}

/// Whether a registration applies to a caller now.
fn is_registered(view: &View, caller: &str) -> bool {
    let status = ClientId::parse(caller).map(|id| view.snapshot.directory.status(&id));
    matches!(status, Some(ClientStatus::Registered(_)))
}
