//! Features whose records earlier versions cannot read: which are enabled, and enabling one.

use crate::authority::Authority;
use crate::authority::access::ChangedBy;
use crate::authority::access::ControlledKind;
use crate::authority::api::held::Wanted;
use crate::authority::backup::is_moved;
use crate::authority::decision::ProposalError;
use crate::authority::observe::AuditEvent;
use crate::authority::observe::AuditOutcome;
use crate::authority::observe::AuditRecord;
use crate::authority::observe::Severity;
use crate::authority::records::RegistryError;
use crate::authority::reference::Refused;
use crate::authority::state::Caller;
use crate::authority::state::Entry;
use crate::authority::state::Feature;
use crate::authority::state::FeatureError;
use crate::authority::state::FeatureRecord;
use crate::authority::state::Features;
use crate::authority::state::Heartbeat;
use crate::authority::state::ProposedChange;
use crate::authority::state::REPLICAS;
use crate::authority::state::Replicas;
use crate::authority::store::Expected;
use crate::authority::store::StoreError;
use crate::authority::store::Transaction;

/// How many keys are looked at to see whether a store is new: more than it has of running replicas.
const FIRST_KEYS: usize = 128;

impl Authority {
    /// The features that are enabled in the store, those of later versions too.
    pub fn enabled_features(&self) -> Features {
        self.snapshot.load().features.clone()
    }

    /// Enables a feature for good, provided that each replica that runs reads what it writes. Returns its record, and
    /// whether it was enabled before.
    pub async fn enable_feature(
        &self,
        caller: &Caller,
        name: &str,
    ) -> Result<(FeatureRecord, bool), Refused<FeatureError>> {
        let enabled = self.enable(caller, name).await;
        enabled.map_err(|error| {
            let reference = self.record_not_changed(caller, "feature", error.code(), &error.to_string());
            Refused { error, reference }
        })
    }

    async fn enable(&self, caller: &Caller, name: &str) -> Result<(FeatureRecord, bool), FeatureError> {
        let feature = Feature::named(name).ok_or(FeatureError::NotFound)?;
        let key = feature.key();
        if let Some(record) = self.stored_feature(&key).await? {
            return Ok((record, true));
        }
        if let Some(old) = feature.not_read_by(&self.running_replicas().await.map_err(|error| unavailable(&error))?) {
            return Err(FeatureError::ReplicaTooOld(old));
        }
        let author = ChangedBy::from(&caller.identity);
        // Without this one there are no proposals.
        if feature != Feature::DualControl && self.holds(author, ControlledKind::Feature) {
            let (name, change) = (feature.name(), ProposedChange::Enable);
            let wanted = Wanted { kind: ControlledKind::Feature, name, change, metadata: None, base: None };
            let held = self.propose(author, wanted).await.map_err(|error| unavailable(&error))?;
            return Err(FeatureError::Held(held));
        }
        self.write_feature(author, feature).await
    }

    /// Enables a feature as a second admin has approved.
    pub(in crate::authority::api) async fn enable_approved(
        &self,
        author: ChangedBy<'_>,
        name: &str,
    ) -> Result<(), ProposalError> {
        let feature = Feature::named(name).ok_or(ProposalError::Feature(FeatureError::NotFound))?;
        let replicas = self.running_replicas().await?;
        if let Some(old) = feature.not_read_by(&replicas) {
            return Err(ProposalError::Feature(FeatureError::ReplicaTooOld(old)));
        }
        match self.write_feature(author, feature).await.map_err(ProposalError::Feature)? {
            (_, false) => Ok(()),
            (_, true) => Err(ProposalError::Outdated),
        }
    }

    /// The record of a feature, and whether it was enabled before.
    async fn write_feature(
        &self,
        author: ChangedBy<'_>,
        feature: Feature,
    ) -> Result<(FeatureRecord, bool), FeatureError> {
        let (key, by) = (feature.key(), author.name());
        let record = FeatureRecord::new(self.clock.now(), &by);
        let bytes = record.to_bytes().ok_or(FeatureError::Unavailable)?;
        let enabling = Transaction::default().compare(&key, Expected::Absent).put(&key, bytes);
        match self.store.transact(author.consent.used_in(enabling)).await {
            Ok(revision) => {
                self.apply_write(&key, Some(Entry::Feature(record.clone())), revision);
                self.record(AuditEvent::FeatureEnabled, Severity::Info, AuditOutcome::Changed, |event| AuditRecord {
                    actor: Some(by),
                    approved_by: author.approver().map(ToOwned::to_owned),
                    feature: Some(feature.name()),
                    revision: Some(revision.0),
                    ..event
                });
                Ok((record, false))
            }
            // Another admin was first.
            Err(StoreError::Conflict { .. }) => {
                self.stored_feature(&key).await?.map(|record| (record, true)).ok_or(FeatureError::Unavailable)
            }
            Err(error) => Err(unavailable(&error)),
        }
    }

    async fn stored_feature(&self, key: &str) -> Result<Option<FeatureRecord>, FeatureError> {
        let Some(stored) = self.store.get(key).await.map_err(|error| unavailable(&error))? else { return Ok(None) };
        FeatureRecord::from_bytes(&stored.value).map(Some).map_err(|error| {
            tracing::error!(%error, key, "a record cannot be read");
            FeatureError::Unavailable
        })
    }

    /// The replicas as the store has them now. One whose heartbeat cannot be read is there, and reads nothing.
    async fn running_replicas(&self) -> Result<Replicas, StoreError> {
        let mut replicas = Replicas::default();
        for (key, stored) in self.store.list(REPLICAS).await?.entries {
            let heartbeat: Heartbeat = serde_json::from_slice(&stored.value).unwrap_or_default();
            replicas.insert(key.trim_start_matches(REPLICAS), heartbeat, stored.revision);
        }
        Ok(replicas)
    }

    /// Enables, in a store that has no records, every feature that each running replica reads: no earlier version has ever
    /// used the store. It is called before the first record is written.
    pub async fn enable_features_of_a_new_store(&self) -> Result<(), StoreError> {
        let first = self.store.key_revisions("", FIRST_KEYS).await?;
        // What running replicas keep in a store is there before its first record.
        if first.more || first.keys.iter().any(|(key, _)| is_moved(key)) {
            return Ok(());
        }
        let replicas = self.running_replicas().await?;
        let record = FeatureRecord::new(self.clock.now(), "").to_bytes();
        let record = record.ok_or_else(|| StoreError::Unavailable("a feature cannot be serialized".to_owned()))?;
        let read = <Feature as strum::VariantArray>::VARIANTS.iter().filter(|one| one.not_read_by(&replicas).is_none());
        let enabling = read.fold(Transaction::default(), |enabling, feature| {
            let key = feature.key();
            enabling.compare(&key, Expected::Absent).put(&key, record.clone())
        });
        match self.store.transact(enabling).await {
            // Another replica was first.
            Ok(_) | Err(StoreError::Conflict { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Refuses a field that writes records which earlier versions cannot read, unless its feature is enabled, and each
    /// replica that runs reads them.
    pub(in crate::authority::api) fn check_feature(
        &self,
        field: &'static str,
        feature: Feature,
    ) -> Result<(), RegistryError> {
        let snapshot = self.snapshot.load();
        if !snapshot.features.is_enabled(feature) {
            return Err(RegistryError::FeatureNotEnabled { field, feature: feature.name() });
        }
        feature.not_read_by(&snapshot.replicas).map_or(Ok(()), |old| Err(old.into()))
    }
}

fn unavailable(error: &StoreError) -> FeatureError {
    tracing::error!(%error, "the store failed a request about a feature");
    FeatureError::Unavailable
}
