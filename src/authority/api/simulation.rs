//! Says what would change at a protected resource if it were replaced, by the requests of the last day that are kept.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::authority::Authority;
use crate::authority::api::registry::Replacement;
use crate::authority::api::replay::Replayed;
use crate::authority::observe::Kind;
use crate::authority::observe::NotReplayed;
use crate::authority::observe::RequestSample;
use crate::authority::observe::RolledUp;
use crate::authority::observe::SimulatedChange;
use crate::authority::observe::Simulation;
use crate::authority::records::RegistryError;
use crate::authority::resources::ProtectedResource;
use crate::authority::resources::ResourceMetadata;
use crate::authority::resources::RouteMetadata;
use crate::authority::state::Caller;
use crate::authority::state::View;

impl Authority {
    /// What would change for the requests of the last day if this metadata replaced that of the resource with its audience. It is
    /// refused as the update would be, and nothing is stored.
    pub fn simulate_resource(&self, caller: &Caller, metadata: ResourceMetadata) -> Result<Simulation, RegistryError> {
        let Replacement { present, registration } = self.replacement::<ProtectedResource>(caller.sees(), metadata)?;
        self.check_needed_features(&registration)?;
        let unknown = unknown(&present.registration.metadata, &registration.metadata);
        let (changes, not_replayed) = (Vec::new(), BTreeMap::new());
        let mut found = Simulation { counted: self.counted(), changes, unchanged: 0, not_replayed, unknown };
        for (requests, registered) in self.rolled_up(caller, &present) {
            let resources = (&present.registration, &registration);
            self.simulate_kind(&caller.view, &requests, registered, resources, &mut found);
        }
        let others = self.rollup.others(present.registration.audience(), caller.view.now).requests();
        found.add_not_replayed(NotReplayed::NotToldApart, others);
        found.changes.sort_by_key(|one| (one.after.passes() || !one.before.passes(), Reverse(one.count)));
        Ok(found)
    }

    /// Decides the samples of requests by a resource as it is and as it would be.
    fn simulate_kind(
        &self,
        view: &View,
        requests: &RolledUp,
        registered: bool,
        resources: (&ProtectedResource, &ProtectedResource),
        found: &mut Simulation,
    ) {
        let RolledUp { kind, count, samples, .. } = requests;
        let (mut changes, mut replayed) = (Vec::<(Replayed, Replayed, usize, &RequestSample)>::new(), 0);
        let mut why_not = NotReplayed::SampleMissing;
        for sample in samples {
            match self.replay_by_both(view, kind, sample, resources) {
                Ok((before, after)) => {
                    replayed += 1;
                    let same =
                        |one: &&mut (Replayed, Replayed, usize, &RequestSample)| (one.0, one.1) == (before, after);
                    match changes.iter_mut().find(same) {
                        Some((_, _, samples, _)) => *samples += 1,
                        None if before.outcome == after.outcome => {}
                        None => changes.push((before, after, 1, sample)),
                    }
                }
                Err(why) => why_not = why,
            }
        }
        if replayed == 0 {
            return found.add_not_replayed(why_not, *count);
        }
        if changes.is_empty() {
            found.unchanged += count;
        }
        found.changes.extend(changes.into_iter().map(|(before, after, changed_samples, sample)| SimulatedChange {
            kind: kind.clone(),
            registered,
            before: before.outcome,
            after: after.outcome,
            fix: kind.named_in(after.fix),
            count: *count,
            changed_samples,
            samples: replayed,
            sample: sample.clone(),
        }));
    }

    /// What comes of a sample by a resource as it is and as it would be.
    fn replay_by_both(
        &self,
        view: &View,
        kind: &Kind,
        sample: &RequestSample,
        (present, wanted): (&ProtectedResource, &ProtectedResource),
    ) -> Result<(Replayed, Replayed), NotReplayed> {
        let before = self.replay(view, sample, present)?;
        let after = self.replay(view, sample, wanted)?;
        if before.outcome == after.outcome && before.outcome.reason() != kind.outcome.reason() {
            return Err(NotReplayed::OtherwiseAlready);
        }
        Ok((before, after))
    }
}

/// Whether both say the same about transaction tokens.
fn have_same_txn_terms(one: &ResourceMetadata, other: &ResourceMetadata) -> bool {
    let routes = |metadata: &ResourceMetadata| {
        let says = |route: &&RouteMetadata| route.txn.is_some() || !route.txn_scope.is_empty();
        let terms = |route: &RouteMetadata| RouteMetadata { scope: String::new(), public: false, ..route.clone() };
        metadata.routes.iter().filter(says).map(terms).collect::<Vec<_>>()
    };
    (&one.txn_token, one.txn_once) == (&other.txn_token, other.txn_once) && routes(one) == routes(other)
}

/// What no replay can know of a change.
fn unknown(present: &ResourceMetadata, wanted: &ResourceMetadata) -> Vec<&'static str> {
    let is_found_elsewhere =
        present.authorities != wanted.authorities || present.destination_principals != wanted.destination_principals;
    let facts = [
        (
            is_found_elsewhere,
            "`authorities` or `destination_principals` change: which requests come to the resource then is not known",
        ),
        (
            present.max_staleness != wanted.max_staleness,
            "`max_staleness` changes: how fresh a replica will be is not known",
        ),
        (
            !have_same_txn_terms(present, wanted),
            "`txn_token`, `txn_once`, or `txn` or `txn_scope` of a route change: which requests have a transaction token is not \
             known",
        ),
    ];
    facts.into_iter().filter(|(applies, _)| *applies).map(|(_, fact)| fact).collect()
}
