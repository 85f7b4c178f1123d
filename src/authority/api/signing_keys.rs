//! Changes of the signing keys: rotation by schedule and by command, and revocation.
//!
//! Each change is one transaction. It compares the records that it replaces, and one further key that every change
//! writes: of several replicas that add a key at the same time, one does.

use std::collections::BTreeMap;

use crate::authority::Authority;
use crate::authority::access::ChangedBy;
use crate::authority::access::ControlledKind;
use crate::authority::api::held::Wanted;
use crate::authority::api::hsm::Made;
use crate::authority::api::key_change::Change;
use crate::authority::api::key_change::GUARD;
use crate::authority::api::key_change::KeyEvent;
use crate::authority::clock::Timestamp;
use crate::authority::decision::KeyChangeError;
use crate::authority::decision::KeyRevoked;
use crate::authority::decision::MAX_REASON_BYTES;
use crate::authority::decision::ProposalError;
use crate::authority::decision::Rotated;
use crate::authority::keys::KEYS;
use crate::authority::keys::KEYS_INDEX;
use crate::authority::keys::KeyLocation;
use crate::authority::keys::KeyRecord;
use crate::authority::keys::KeyRevocation;
use crate::authority::keys::KeyStage;
use crate::authority::keys::SigningAlgorithm;
use crate::authority::keys::SigningKeys;
use crate::authority::records::ChangeRecord;
use crate::authority::reference::Refused;
use crate::authority::state::Caller;
use crate::authority::state::KeyStep;
use crate::authority::state::KeyTimes;
use crate::authority::state::ProposedChange;
use crate::authority::state::due_key_step;
use crate::authority::state::ended_keys;
use crate::authority::store::Expected;
use crate::authority::store::Revision;
use crate::authority::store::StoreError;
use crate::authority::store::Transaction;

/// How often a change is tried anew because another one came before it.
pub(in crate::authority::api) const ATTEMPTS: usize = 8;

/// The records of the signing keys, as the store has them.
struct Stored {
    /// The keys without their private keys.
    keys: SigningKeys,
    records: BTreeMap<String, (KeyRecord, Revision)>,
    guard: Expected,
}

impl Authority {
    /// The times that the changes of keys go by.
    pub fn key_times(&self) -> KeyTimes {
        KeyTimes::new(&self.policy.keys, self.view().bounds().map(|(_, longest)| longest))
    }

    /// Does what is due about the signing keys: publishes the next one, lets it sign, and deletes those whose tokens have
    /// expired. Several replicas may do so at the same time.
    pub async fn tend_signing_keys(&self) -> Result<(), KeyChangeError> {
        // A key that only a newer version reads may be the one that signs.
        if self.snapshot.load().needs_newer_version() {
            return Ok(());
        }
        let (times, now) = (self.key_times(), self.clock.now());
        let mut made = None;
        let done = self.do_what_is_due(&times, now, &mut made).await;
        self.discard_unused(made, done.err()).await;
        done?;
        self.delete_ended_keys(&times, now).await
    }

    async fn do_what_is_due(&self, times: &KeyTimes, now: Timestamp, made: &mut Made) -> Result<(), KeyChangeError> {
        for _ in 0..ATTEMPTS {
            let snapshot = self.snapshot.load_full();
            let is_served = |kid: &str| snapshot.served_by_all(kid);
            // The store is asked only where something seems to be due.
            if due_key_step(&snapshot.keys, times, now, is_served).is_none() {
                break;
            }
            let stored = self.stored_keys().await?;
            let Some(step) = due_key_step(&stored.keys, times, now, is_served) else { break };
            if self.make_ahead(&step, &stored.keys, stored.guard, made).await? {
                continue;
            }
            let change = self.step(&stored, step, now, made).await?;
            if self.attempt_key_change(change, (None, None), None).await?.is_some() {
                break;
            }
        }
        Ok(())
    }

    /// Deletes the keys whose tokens have expired. The record of one that is in the hardware security module is deleted
    /// after the key itself, so that this is tried again while the module does not answer.
    async fn delete_ended_keys(&self, times: &KeyTimes, now: Timestamp) -> Result<(), KeyChangeError> {
        let keys = self.keys();
        let mut ended = Vec::new();
        for kid in ended_keys(&keys, times, now) {
            let Some((key, revision)) = keys.named(&kid) else { continue };
            if self.delete_in_hsm(key).await {
                ended.push((format!("{KEYS}{kid}"), revision));
            }
        }
        if !ended.is_empty() {
            let kids: Vec<&str> = ended.iter().map(|(key, _)| key.trim_start_matches(KEYS)).collect();
            tracing::info!(?kids, "signing keys are deleted, because the tokens that they signed have expired");
            self.delete_all(ended).await?;
        }
        Ok(())
    }

    /// Publishes a new key, which is to sign next.
    pub async fn rotate_signing_key(&self, caller: &Caller) -> Result<Rotated, Refused<KeyChangeError>> {
        let mut made = None;
        let rotated = self.rotate(caller, ChangedBy::from(&caller.identity), None, &mut made).await;
        self.discard_unused(made, rotated.as_ref().err().copied()).await;
        rotated.map_err(|error| self.record_key_change_refused(caller, error))
    }

    /// Publishes a new key as a second admin has approved, if the keys are still those of `base`.
    pub(in crate::authority::api) async fn rotate_at(
        &self,
        caller: &Caller,
        author: ChangedBy<'_>,
        base: Option<Revision>,
    ) -> Result<(), ProposalError> {
        let mut made = None;
        let base = base.map_or(Expected::Absent, Expected::At);
        let rotated = self.rotate(caller, author, Some(base), &mut made).await;
        self.discard_unused(made, rotated.as_ref().err().copied()).await;
        match rotated {
            Ok(Rotated { was_pending: false, .. }) => Ok(()),
            Ok(_) | Err(KeyChangeError::Contended) => Err(ProposalError::Outdated),
            Err(error) => Err(ProposalError::Key(error)),
        }
    }

    async fn rotate(
        &self,
        caller: &Caller,
        author: ChangedBy<'_>,
        base: Option<Expected>,
        made: &mut Made,
    ) -> Result<Rotated, KeyChangeError> {
        let (by, kind) = (author.name(), ControlledKind::SigningKey);
        for _ in 0..ATTEMPTS {
            let stored = self.stored_keys().await?;
            if let Some(next) = stored.keys.next_key() {
                return Ok(Rotated { next: next.clone(), was_pending: true });
            }
            if base.is_some_and(|base| base != stored.guard) {
                return Err(KeyChangeError::Contended);
            }
            if self.holds(author, kind) {
                let base = if let Expected::At(guard) = stored.guard { Some(guard) } else { None };
                let wanted = Wanted { kind, name: "", change: ProposedChange::Rotate, metadata: None, base };
                return Err(KeyChangeError::Held(self.propose(author, wanted).await?));
            }
            let algorithm = stored.keys.algorithm();
            let is_first = stored.keys.active_key().is_none();
            let step = if is_first { KeyStep::Replace(algorithm) } else { KeyStep::Publish(algorithm) };
            if self.make_ahead(&step, &stored.keys, stored.guard, made).await? {
                continue;
            }
            let change = self.step(&stored, step, caller.view.now, made).await?;
            let change = Change { transaction: author.consent.used_in(change.transaction), ..change };
            let next = change.added();
            let who = (Some(&*by), author.approver());
            if let (Some(next), Some(_)) = (next, self.attempt_key_change(change, who, author.reason).await?) {
                return Ok(Rotated { next, was_pending: false });
            }
        }
        Err(KeyChangeError::Contended)
    }

    /// Revokes a key: the tokens that it signed are refused from now on. If it was the one that signs, the next one does,
    /// or a new one, in the same transaction. A new one in a hardware security module is left to
    /// [`Authority::tend_signing_keys`].
    pub async fn revoke_signing_key(
        &self,
        caller: &Caller,
        kid: &str,
        reason: &str,
    ) -> Result<KeyRevoked, Refused<KeyChangeError>> {
        let mut made = None;
        let revoked = self.revoke_key(caller, kid, reason.trim(), &mut made).await;
        self.discard_unused(made, revoked.as_ref().err().copied()).await;
        if let Ok(KeyRevoked { revoked, .. }) = &revoked {
            self.delete_in_hsm(revoked).await;
        }
        revoked.map_err(|error| self.record_key_change_refused(caller, error))
    }

    async fn revoke_key(
        &self,
        caller: &Caller,
        kid: &str,
        reason: &str,
        made: &mut Made,
    ) -> Result<KeyRevoked, KeyChangeError> {
        if reason.is_empty() || reason.len() > MAX_REASON_BYTES {
            return Err(KeyChangeError::Reason);
        }
        let (by, now) = (caller.identity.to_string(), caller.view.now);
        for _ in 0..ATTEMPTS {
            let stored = self.stored_keys().await?;
            let Some(present) = stored.records.get(kid) else { return Err(KeyChangeError::NotFound) };
            let (record, _) = present;
            if matches!(record.stage, KeyStage::Revoked(_)) {
                return Ok(KeyRevoked { revoked: record.closed(), was_revoked: true, replaced_by: None });
            }
            let stage = KeyStage::Revoked(KeyRevocation { at: now, by: by.clone(), reason: reason.to_owned() });
            let record = record.in_stage(stage);
            let change = Change::new(stored.guard);
            let change = change.put((Some(present), &record), Some(record.closed()), "revoked")?;
            let signed = stored.keys.active_key().is_none_or(|active| active.key_id().as_str() == kid);
            let change = if signed { self.replace(change, &stored, kid, now, made).await? } else { change };
            let replaced_by = if signed { change.added() } else { None };
            let change = Change { transaction: change.transaction.taking_away(), ..change };
            if self.attempt_key_change(change, (Some(&by), None), Some(reason)).await?.is_some() {
                return Ok(KeyRevoked { revoked: record.closed(), was_revoked: false, replaced_by });
            }
        }
        Err(KeyChangeError::Contended)
    }

    /// Adds to a change that the next key signs in place of a revoked one, or a new one where there is none that this
    /// process can sign with. A hardware security module is not waited for: it may be stolen, or hang. Nothing signs then
    /// until it has made one.
    async fn replace(
        &self,
        change: Change,
        stored: &Stored,
        revoked: &str,
        now: Timestamp,
        made: &mut Made,
    ) -> Result<Change, KeyChangeError> {
        let next = stored.keys.next_key().map(|next| next.key_id().as_str()).filter(|next| *next != revoked);
        let next = next.filter(|next| self.keys().find(next).is_some());
        let change = self.retire_all(change, stored, [Some(revoked), next], now)?;
        let (algorithm, stage) = (stored.keys.algorithm(), KeyStage::Active { since: now });
        if let Some(next) = next {
            return self.restage(change, stored, next, stage, "activated");
        }
        match self.key_sealer.location() {
            KeyLocation::Hsm => Ok(change),
            KeyLocation::Store => self.add_key(change, algorithm, stage, now, made).await,
        }
    }

    /// Reads the records, the guard first: a change after that makes the transaction fail.
    async fn stored_keys(&self) -> Result<Stored, KeyChangeError> {
        let guard = self.store.get(KEYS_INDEX).await?.map_or(Expected::Absent, |guard| Expected::At(guard.revision));
        let mut stored = Stored { keys: self.keys().emptied(), records: BTreeMap::new(), guard };
        for (place, entry) in self.store.list(KEYS).await?.entries {
            let record = KeyRecord::from_bytes(&entry.value);
            let record = record.map_err(|error| KeyChangeError::unreadable(&place, error.into()))?;
            stored.keys.insert(record.closed(), entry.revision);
            stored.records.insert(record.key_id().to_owned(), (record, entry.revision));
        }
        Ok(stored)
    }

    async fn step(
        &self,
        stored: &Stored,
        step: KeyStep,
        now: Timestamp,
        made: &mut Made,
    ) -> Result<Change, KeyChangeError> {
        let change = Change::new(stored.guard);
        match step {
            KeyStep::Publish(algorithm) => self.add_key(change, algorithm, KeyStage::Next, now, made).await,
            // The first key of a store needs no state, so that earlier versions can read it.
            KeyStep::Replace(algorithm) if stored.records.is_empty() => {
                self.add_key(change, algorithm, KeyStage::ByAge, now, made).await
            }
            KeyStep::Replace(algorithm) => {
                self.add_key(change, algorithm, KeyStage::Active { since: now }, now, made).await
            }
            KeyStep::Activate(kid) => {
                let change = self.retire_all(change, stored, [Some(&kid), None], now)?;
                self.restage(change, stored, &kid, KeyStage::Active { since: now }, "activated")
            }
        }
    }

    /// Makes a key, unless there is one already.
    async fn make(
        &self,
        algorithm: SigningAlgorithm,
        stage: &KeyStage,
        now: Timestamp,
        made: &mut Made,
    ) -> Result<(), KeyChangeError> {
        if made.is_none() {
            let key = self.key_sealer.make(algorithm, now, stage.clone()).await;
            *made = Some(key.map_err(|error| {
                tracing::error!(%error, "a signing key cannot be made");
                KeyChangeError::NotMade
            })?);
        }
        Ok(())
    }

    async fn add_key(
        &self,
        change: Change,
        algorithm: SigningAlgorithm,
        stage: KeyStage,
        now: Timestamp,
        made: &mut Made,
    ) -> Result<Change, KeyChangeError> {
        self.make(algorithm, &stage, now, made).await?;
        let event = if stage == KeyStage::Next { "published" } else { "activated" };
        match made {
            Some((key, record)) => {
                let (key, record) = (key.in_stage(stage.clone()), record.in_stage(stage));
                change.put((None, &record), Some(key), event)
            }
            None => Err(KeyChangeError::NotMade),
        }
    }

    /// Retires each key that signs or has signed without a record of when it stopped, but these.
    fn retire_all(
        &self,
        mut change: Change,
        stored: &Stored,
        but: [Option<&str>; 2],
        now: Timestamp,
    ) -> Result<Change, KeyChangeError> {
        for (key, _) in stored.keys.all().filter(|(key, _)| !but.contains(&Some(key.key_id().as_str()))) {
            if matches!(key.stage(), KeyStage::ByAge | KeyStage::Active { .. }) {
                change = self.restage(change, stored, key.key_id().as_str(), key.stage().retired(now), "retired")?;
            }
        }
        Ok(change)
    }

    fn restage(
        &self,
        change: Change,
        stored: &Stored,
        kid: &str,
        stage: KeyStage,
        event: &'static str,
    ) -> Result<Change, KeyChangeError> {
        let present = stored.records.get(kid).ok_or(KeyChangeError::NotFound)?;
        let key = self.keys().named(kid).map(|(key, _)| key.in_stage(stage.clone()));
        change.put((Some(present), &present.0.in_stage(stage)), key, event)
    }

    /// Writes what every change writes, to see that the store accepts writes; `false` if another change came before it.
    pub(in crate::authority::api) async fn claim_key_change(&self, guard: Expected) -> Result<bool, KeyChangeError> {
        let claim = Transaction::default().compare(KEYS_INDEX, guard).put(KEYS_INDEX, GUARD.to_vec());
        match self.store.transact(claim).await {
            Ok(_) => Ok(true),
            Err(StoreError::Conflict { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Commits a change; `None` if another one came before it.
    async fn attempt_key_change(
        &self,
        change: Change,
        (by, approver): (Option<&str>, Option<&str>),
        comment: Option<&str>,
    ) -> Result<Option<Revision>, KeyChangeError> {
        let Change { mut transaction, entries, events } = change;
        for KeyEvent { kid, change, states: (before, after) } in &events {
            let why = (by.unwrap_or_default(), self.clock.now(), comment);
            let kept = ChangeRecord::new(change, why, (*before, Some(*after))).approved_by(approver);
            transaction = self.with_change(&format!("{KEYS}{kid}"), &kept, transaction).await?;
        }
        match self.store.transact(transaction).await {
            Ok(revision) => {
                self.apply_writes(entries, revision);
                for KeyEvent { kid, change, .. } in events {
                    self.record_key_changed((by, approver), &kid, change, comment, revision);
                }
                Ok(Some(revision))
            }
            Err(StoreError::Conflict { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}
