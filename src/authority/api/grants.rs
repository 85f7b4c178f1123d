//! Grants to the admins of teams in the registry.

use std::sync::Arc;

use crate::authority::Authority;
use crate::authority::access::ChangedBy;
use crate::authority::access::ControlledKind;
use crate::authority::access::GrantMetadata;
use crate::authority::access::RegisteredGrant;
use crate::authority::access::TeamGrant;
use crate::authority::api::registry::Committed;
use crate::authority::api::registry::Managed;
use crate::authority::observe::AuditEvent;
use crate::authority::observe::AuditRecord;
use crate::authority::records::Kind;
use crate::authority::records::NotKept;
use crate::authority::records::Registration as _;
use crate::authority::records::RegistryError;
use crate::authority::state::Feature;
use crate::authority::store::Revision;
use crate::authority::store::Transaction;

impl Managed for TeamGrant {
    const CONTROLLED: ControlledKind = ControlledKind::Grant;
    const CHANGED: AuditEvent = AuditEvent::GrantChanged;

    fn names(&self) -> Vec<String> {
        let metadata = self.metadata();
        let GrantMetadata { name, spiffe_ids, audiences, resources, authorities, .. } = &*metadata;
        [name].into_iter().chain(spiffe_ids).chain(audiences).chain(resources).chain(authorities).cloned().collect()
    }

    fn named_in(name: &str, record: AuditRecord) -> AuditRecord {
        AuditRecord { grant: Some(name.to_owned()), ..record }
    }

    fn validate(_: &Authority, metadata: GrantMetadata) -> Result<Self, RegistryError> {
        Ok(Self::parse(metadata)?)
    }

    fn needed_features(&self) -> Vec<(&'static str, Feature)> {
        vec![("a grant", Feature::TeamGrants)]
    }

    fn creation_id(_: &Authority) -> Result<NotKept, RegistryError> {
        Ok(NotKept)
    }

    fn keeps_authentication(_: &Authority, _: &RegisteredGrant, _: &Self) -> bool {
        true
    }

    async fn commit(
        authority: &Authority,
        _: &str,
        _: &str,
        _: (Option<&Self>, Option<&Self>),
        change: Transaction,
    ) -> Result<Committed, RegistryError> {
        let revision = authority.store.transact(change).await;
        let revision = revision.map_err(|error| RegistryError::of_store(Kind::Grant, &error))?;
        Ok(Committed { revision, beside: Vec::new() })
    }
}

impl Authority {
    /// Creates a grant. With `validate_only` nothing is stored.
    pub async fn create_grant(
        &self,
        by: impl Into<ChangedBy<'_>>,
        metadata: GrantMetadata,
        validate_only: bool,
    ) -> Result<Arc<RegisteredGrant>, RegistryError> {
        self.create(by.into(), metadata, validate_only).await
    }

    /// Replaces a grant, if its revision is still `from`. What was registered within it stays as it is.
    pub async fn update_grant(
        &self,
        by: impl Into<ChangedBy<'_>>,
        metadata: GrantMetadata,
        from: Revision,
        validate_only: bool,
    ) -> Result<Arc<RegisteredGrant>, RegistryError> {
        self.update(by.into(), metadata, from, validate_only).await
    }

    /// Deletes a grant, if its revision is `from`, or at any revision if that is `None`. What was registered within it stays
    /// as it is.
    pub async fn delete_grant(
        &self,
        by: impl Into<ChangedBy<'_>>,
        name: &str,
        from: Option<Revision>,
    ) -> Result<(), RegistryError> {
        self.delete::<TeamGrant>(by.into(), name, from).await
    }
}
