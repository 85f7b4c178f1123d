//! The registry operations, shared by clients, protected resources and grants: create, get, list, update, delete.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::authority::Authority;
use crate::authority::access::ChangedBy;
use crate::authority::access::ControlledKind;
use crate::authority::access::TeamGrant;
use crate::authority::access::Within;
use crate::authority::decision::Delegable;
use crate::authority::decision::present_within;
use crate::authority::decision::within;
use crate::authority::observe::AuditEvent;
use crate::authority::observe::AuditRecord;
use crate::authority::records::ChangeRecord;
use crate::authority::records::Record;
use crate::authority::records::RecordOf;
use crate::authority::records::Registered;
use crate::authority::records::Registration as _;
use crate::authority::records::RegistryError;
use crate::authority::records::Suspended;
use crate::authority::state::Entry;
use crate::authority::state::Feature;
use crate::authority::state::Indexed;
use crate::authority::state::ProposedChange;
use crate::authority::store::Expected;
use crate::authority::store::MAX_VALUE_BYTES;
use crate::authority::store::Revision;
use crate::authority::store::Transaction;

/// A kind of registration that the registry operations handle.
pub(in crate::authority::api) trait Managed: Delegable + Indexed {
    /// The kind under which a second admin may have to approve changes of it.
    const CONTROLLED: ControlledKind;
    /// The event of a change in the audit trail.
    const CHANGED: AuditEvent;

    /// Adds the name of a registration to the record of its change.
    fn named_in(name: &str, record: AuditRecord) -> AuditRecord;

    /// What it names or is about, by which dual control finds it.
    fn names(&self) -> Vec<String>;

    /// Whether a change only takes away what somebody may, so that no second admin has to approve it.
    /// It is asked about what can be read.
    fn takes_away(_: &Authority, _: &Registered<Self>, after: Option<&Self>) -> bool {
        after.is_none()
    }

    /// Parses metadata, and validates it against the configuration and the other registrations.
    fn validate(authority: &Authority, metadata: Self::Metadata) -> Result<Self, RegistryError>;

    /// The fields that need features, and those features.
    fn needed_features(&self) -> Vec<(&'static str, Feature)>;

    /// The creation id of a new registration.
    fn creation_id(authority: &Authority) -> Result<Self::CreationId, RegistryError>;

    /// Whether a change keeps what authenticates the holders of tokens. Otherwise tokens that were issued before it are
    /// refused.
    fn keeps_authentication(authority: &Authority, present: &Registered<Self>, registration: &Self) -> bool;

    /// Commits a change of a record by this caller, together with what else the store keeps for its kind. The
    /// registration before or after is `None` where there is none.
    fn commit(
        authority: &Authority,
        by: &str,
        name: &str,
        registrations: (Option<&Self>, Option<&Self>),
        change: Transaction,
    ) -> impl Future<Output = Result<Committed, RegistryError>> + Send;

    /// The name in the audit trail of a change from one registration to another.
    fn change_of(_before: &Self, _after: &Self) -> &'static str {
        "updated"
    }
}

/// A change that the store has acknowledged.
pub(in crate::authority::api) struct Committed {
    pub(in crate::authority::api) revision: Revision,
    /// What was written beside the record, for the snapshot; `None` for a key that was deleted.
    pub(in crate::authority::api) beside: Vec<(String, Option<Entry>)>,
}

/// A registration, and the one that is to replace it.
pub(in crate::authority::api) struct Replacement<T: Managed> {
    pub(in crate::authority::api) present: Arc<Registered<T>>,
    pub(in crate::authority::api) registration: T,
}

impl Authority {
    /// Creates a registration. With `validate_only` nothing is stored.
    pub(in crate::authority::api) async fn create<T: Managed>(
        &self,
        by: ChangedBy<'_>,
        metadata: T::Metadata,
        validate_only: bool,
    ) -> Result<Arc<Registered<T>>, RegistryError> {
        Self::check_wanted::<T>(by.within, &metadata)?;
        let registration = T::validate(self, metadata)?;
        self.check_needed_features(&registration)?;
        let record = self.new_record(&registration, &by.name())?;
        if validate_only {
            return validated(Registered::new(registration, record, Revision::default()));
        }
        self.unless_held::<T>(by, (None, Some(&registration)), (ProposedChange::Create, None)).await?;
        self.add(registration, record, ("created", by)).await
    }

    /// The registration with this name.
    pub(in crate::authority::api) fn named<T: Managed>(&self, name: &str) -> Result<Arc<Registered<T>>, RegistryError> {
        T::all(&self.snapshot.load()).named(name).map(Arc::clone).ok_or(RegistryError::NotFound(T::KIND))
    }

    /// The registrations after `after`, at most `count`, in the order of their names.
    pub(in crate::authority::api) fn page<T: Managed>(
        &self,
        after: Option<&str>,
        count: usize,
    ) -> Vec<Arc<Registered<T>>> {
        T::all(&self.snapshot.load()).page(after, count)
    }

    /// What metadata would replace, and what it would be, for a caller within these bounds.
    pub(in crate::authority::api) fn replacement<T: Managed>(
        &self,
        within: Within<'_>,
        metadata: T::Metadata,
    ) -> Result<Replacement<T>, RegistryError> {
        // Before anything is said of other registrations.
        Self::check_wanted::<T>(within, &metadata)?;
        let registration = T::validate(self, metadata)?;
        let present = self.named::<T>(registration.name())?;
        present_within(within, &present)?;
        if let Some(Suspended::TooNew(too_new)) = present.suspended {
            return Err(RegistryError::TooNew { kind: T::KIND, too_new });
        }
        Ok(Replacement { present, registration })
    }

    /// Replaces the metadata, if the revision is still `from`. If nothing would change, nothing is written, unless the
    /// stored record cannot be read.
    pub(in crate::authority::api) async fn update<T: Managed>(
        &self,
        author: ChangedBy<'_>,
        metadata: T::Metadata,
        from: Revision,
        validate_only: bool,
    ) -> Result<Arc<Registered<T>>, RegistryError> {
        let Replacement { present, registration } = self.replacement::<T>(author.within, metadata)?;
        if present.revision != from {
            return Err(RegistryError::Conflict(T::KIND));
        }
        if present.suspended.is_none() && present.registration.metadata() == registration.metadata() {
            return Ok(present);
        }
        self.check_needed_features(&registration)?;
        let by = author.name();
        let now = self.clock.now();
        let mut record = present.record.updated(now, &by);
        if !T::keeps_authentication(self, &present, &registration) {
            // A clock that was set back makes no earlier change undone.
            record.authentication_changed_at = record.authentication_changed_at.max(Some(now));
        }
        if validate_only {
            return validated(Registered::new(registration, record, from));
        }
        let both = (Some(&*present), Some(&registration));
        self.unless_held::<T>(author, both, (ProposedChange::Update, Some(from))).await?;
        let change = T::change_of(&present.registration, &registration);
        let registered = self.write(Some(&present), registration, record, (change, author)).await?;
        self.record_registration_changed::<T>(author, registered.registration.name(), change, registered.revision);
        Ok(registered)
    }

    /// Deletes a registration, if its revision is `from`, or at any revision if that is `None`.
    pub(in crate::authority::api) async fn delete<T: Managed>(
        &self,
        author: ChangedBy<'_>,
        name: &str,
        from: Option<Revision>,
    ) -> Result<(), RegistryError> {
        let present = self.named::<T>(name)?;
        present_within(author.within, &present)?;
        // What else the store keeps goes by what is deleted, which a replica that lags behind does not know.
        if from.is_some_and(|from| from != present.revision) {
            return Err(RegistryError::Conflict(T::KIND));
        }
        let key = T::key(name);
        let deletion = Transaction::default().compare(&key, Expected::At(present.revision)).delete(&key).taking_away();
        let deletion = unless_narrowed(author, [Some(&present.registration), None], deletion)?;
        let gone = (ProposedChange::Delete, Some(present.revision));
        self.unless_held::<T>(author, (Some(&*present), None), gone).await?;
        let by = author.name();
        let before = Some(present.registration.metadata());
        let change =
            ChangeRecord::new("deleted", (&by, self.clock.now(), author.reason), (before, None::<&T::Metadata>));
        let deletion = author.consent.used_in(deletion);
        let deletion = self.with_history::<T>(name, author, &change, deletion).await?;
        let Committed { revision, beside } =
            T::commit(self, &by, name, (Some(&present.registration), None), deletion).await?;
        self.apply_writes(std::iter::once((key, None)).chain(beside), revision);
        self.record_registration_changed::<T>(author, name, "deleted", revision);
        Ok(())
    }

    pub(in crate::authority::api) fn check_needed_features<T: Managed>(
        &self,
        registration: &T,
    ) -> Result<(), RegistryError> {
        registration.needed_features().into_iter().try_for_each(|(field, feature)| self.check_feature(field, feature))
    }

    /// Builds the record of a new registration.
    pub(in crate::authority::api) fn new_record<T: Managed>(
        &self,
        registration: &T,
        by: &str,
    ) -> Result<RecordOf<T>, RegistryError> {
        if T::all(&self.snapshot.load()).named(registration.name()).is_some() {
            return Err(RegistryError::Exists(T::KIND));
        }
        Ok(Record::new(T::creation_id(self)?, self.clock.now(), by))
    }

    /// Stores a new registration, by a change of this name in the audit trail.
    pub(in crate::authority::api) async fn add<T: Managed>(
        &self,
        registration: T,
        record: RecordOf<T>,
        (change, author): (&'static str, ChangedBy<'_>),
    ) -> Result<Arc<Registered<T>>, RegistryError> {
        let conflict = RegistryError::Conflict(T::KIND);
        let written = self.write(None, registration, record, (change, author)).await;
        let registered =
            written.map_err(|error| if error == conflict { RegistryError::Exists(T::KIND) } else { error })?;
        self.record_registration_changed::<T>(author, registered.registration.name(), change, registered.revision);
        Ok(registered)
    }

    async fn write<T: Managed>(
        &self,
        present: Option<&Registered<T>>,
        registration: T,
        record: RecordOf<T>,
        (change, author): (&str, ChangedBy<'_>),
    ) -> Result<Arc<Registered<T>>, RegistryError> {
        let mut registered = Registered::new(registration, record, Revision::default());
        let bytes = encode(&registered)?;
        let after = &registered.registration;
        let key = T::key(after.name());
        let expected = present.map_or(Expected::Absent, |present| Expected::At(present.revision));
        let put = Transaction::default().compare(&key, expected).put(&key, bytes);
        let put = if change == "disabled" { put.taking_away() } else { put };
        let (by, before) = (&registered.record.updated_by, present.map(|present| &present.registration));
        let put = unless_narrowed(author, [before, Some(after)], put)?;
        let both = (before.map(T::metadata), Some(after.metadata()));
        let change = ChangeRecord::new(change, (by, self.clock.now(), author.reason), both);
        let put = author.consent.used_in(put);
        let put = self.with_history::<T>(after.name(), author, &change, put).await?;
        let Committed { revision, beside } = T::commit(self, by, after.name(), (before, Some(after)), put).await?;
        registered.revision = revision;
        let entry = Some(T::entry(registered.clone()));
        self.apply_writes(std::iter::once((key, entry)).chain(beside), revision);
        Ok(Arc::new(registered))
    }
}

/// Adds the condition that the grants that a change needs are as they were when its author was admitted.
fn unless_narrowed<T: Managed>(
    author: ChangedBy<'_>,
    registrations: [Option<&T>; 2],
    change: Transaction,
) -> Result<Transaction, RegistryError> {
    let mut used = BTreeMap::new();
    for registration in registrations.into_iter().flatten() {
        if let Some(grant) = within(author.within, registration, false)? {
            used.insert(TeamGrant::key(grant.registration.name()), grant.revision);
        }
    }
    Ok(used.iter().fold(change, |change, (key, revision)| change.compare(key, Expected::At(*revision))))
}

/// The registration that would be stored, provided that the store accepts it.
fn validated<T: Managed>(registered: Registered<T>) -> Result<Arc<Registered<T>>, RegistryError> {
    encode(&registered)?;
    Ok(Arc::new(registered))
}

/// The value to store, provided that the store accepts it.
fn encode<T: Managed>(registered: &Registered<T>) -> Result<Vec<u8>, RegistryError> {
    let bytes = registered.to_bytes().map_err(|_| RegistryError::Unavailable)?;
    if bytes.len() > MAX_VALUE_BYTES { Err(RegistryError::TooLarge(T::KIND)) } else { Ok(bytes) }
}
