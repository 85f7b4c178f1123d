//! Metrics of the core: its counters, and the age and number of the objects that decisions depend on.

use std::borrow::Cow;

use crate::authority::Authority;
use crate::authority::clock::Timestamp;
use crate::authority::keys::KeyStage;
use crate::authority::keys::KeyState;
use crate::authority::observe::Family;
use crate::authority::observe::Quota;
use crate::authority::observe::labels;

impl Authority {
    /// The current values of all metrics of the core.
    pub fn metric_families(&self) -> Vec<Family> {
        let (trust, snapshot, now) = (self.trust(), self.snapshot.load(), self.clock.now());
        // Bundles from files are valid until they are replaced.
        let ages = trust.ages(now).filter_map(|(trust_domain, age)| {
            Some((vec![("trust_domain", Cow::Owned(trust_domain.to_string()))], age?.as_secs()))
        });
        let issuers = trust.issuers.values().filter_map(|keys| {
            let labels = vec![("issuer", Cow::Owned(keys.trusted.name.clone()))];
            keys.confirmed.map(|confirmed| (labels, confirmed.until(now).as_secs()))
        });
        let key_age = snapshot
            .keys
            .active()
            .map(|active| (vec![("kid", Cow::Owned(active.key_id().to_string()))], active.made().until(now).as_secs()));
        let times = self.key_times();
        let states = snapshot.keys.all().filter_map(|(key, _)| {
            let state = snapshot.keys.state_of(key);
            let since = match (key.stage(), state) {
                (KeyStage::Active { .. } | KeyStage::Next, _) | (KeyStage::ByAge, KeyState::Active) => {
                    Some(key.active_since())
                }
                (KeyStage::Retired { since, .. }, _) => Some(*since),
                // It is not known when it stopped signing. The revoked ones only become more.
                (KeyStage::ByAge | KeyStage::Revoked(_), _) => None,
            };
            let labels = vec![("kid", Cow::Owned(key.key_id().to_string())), ("state", Cow::Borrowed(state.label()))];
            since.map(|since| (labels, since.until(now).as_secs()))
        });
        let registered = [("client", snapshot.directory.len()), ("resource", snapshot.resources.len())];
        let registered =
            registered.map(|(kind, count)| (labels([("kind", kind)]), u64::try_from(count).unwrap_or(u64::MAX)));
        let kept = [
            (Quota::Revocations, snapshot.revocations.tokens()),
            (Quota::Registrations, snapshot.directory.registered_dynamically()),
            (Quota::Rotations, snapshot.lineages.len()),
            (Quota::Assertions, self.assertion_uses.len() + self.grant_uses.len()),
        ];
        let kept =
            kept.map(|(quota, count)| (labels([("quota", quota.into())]), u64::try_from(count).unwrap_or(u64::MAX)));
        let too_new = snapshot
            .too_new()
            .map(|(kind, count)| (labels([("kind", kind)]), u64::try_from(count).unwrap_or(u64::MAX)));
        let version = labels([("version", env!("CARGO_PKG_VERSION"))]);
        let mut families = vec![
            Family::gauges("lanyard_build_info", "The version that runs", [(version, 1)]),
            Family::gauges(
                "lanyard_bundle_age_seconds",
                "How long ago the source of a trust domain's bundle last confirmed it",
                ages,
            ),
            Family::gauges(
                "lanyard_issuer_keys_age_seconds",
                "How long ago a trusted issuer last confirmed its keys at its jwks_uri",
                issuers,
            ),
            Family::gauges("lanyard_signing_key_age_seconds", "How old the key is that signs", key_age),
            Family::gauges(
                "lanyard_signing_key_state_seconds",
                "How long each signing key has been in its state",
                states,
            ),
            Family::gauges(
                "lanyard_signing_key_rotation_period_seconds",
                "After what time the key that signs is replaced by schedule",
                times.period.map(|period| (Vec::new(), period.as_secs())),
            ),
            Family::gauges(
                "lanyard_signing_key_publication_seconds",
                "How long a signing key is published before it signs",
                [(Vec::new(), times.publication.as_secs())],
            ),
            Family::gauges(
                "lanyard_store_records_too_new",
                "Records that a newer version wrote, and that this one cannot read",
                too_new,
            ),
            Family::gauges("lanyard_registrations", "What is registered", registered),
            Family::gauges("lanyard_quota_used", "What the server keeps for all callers of what quotas limit", kept),
        ];
        families.push(Family::gauges(
            "lanyard_resource_requests_last_day",
            "Requests at a resource in the last 24 hours and the hour that has begun, by what came of them",
            self.requests_last_day(&snapshot.resources, now),
        ));
        families.extend(self.metrics.families(&snapshot.resources));
        families.extend(self.proposal_families(now));
        families
    }

    fn proposal_families(&self, now: Timestamp) -> [Family; 2] {
        let (count, oldest) = self.waiting_proposals.read();
        [
            Family::gauges("lanyard_proposals_waiting", "Changes that wait for a second admin", [(Vec::new(), count)]),
            Family::gauges(
                "lanyard_proposal_age_seconds",
                "How long the change that waits longest for a second admin has been waiting",
                [(Vec::new(), oldest.map_or(0, |oldest| oldest.until(now).as_secs()))],
            ),
        ]
    }
}
