//! Protected resources in the registry.

use std::sync::Arc;

use crate::authority::Authority;
use crate::authority::access::ChangedBy;
use crate::authority::access::ControlledKind;
use crate::authority::api::authority_index::authority_taken;
use crate::authority::api::held::Wanted;
use crate::authority::api::registry::Committed;
use crate::authority::api::registry::Managed;
use crate::authority::observe::AuditEvent;
use crate::authority::observe::AuditRecord;
use crate::authority::records::Kind;
use crate::authority::records::NotKept;
use crate::authority::records::RegistryError;
use crate::authority::resources::DeletedResource;
use crate::authority::resources::ProtectedResource;
use crate::authority::resources::RegisteredResource;
use crate::authority::resources::ResourceMetadata;
use crate::authority::resources::invalid;
use crate::authority::state::Entry;
use crate::authority::state::Feature;
use crate::authority::state::ProposedChange;
use crate::authority::store::Expected;
use crate::authority::store::Revision;
use crate::authority::store::Transaction;

/// The most scopes in the server's metadata.
const MAX_SCOPES: usize = 1000;

impl Managed for ProtectedResource {
    const CONTROLLED: ControlledKind = ControlledKind::Resource;
    const CHANGED: AuditEvent = AuditEvent::ResourceChanged;

    fn names(&self) -> Vec<String> {
        let ResourceMetadata { audience, authorities, destination_principals, .. } = &self.metadata;
        [audience].into_iter().chain(authorities).chain(destination_principals).cloned().collect()
    }

    fn named_in(name: &str, record: AuditRecord) -> AuditRecord {
        AuditRecord { resource: Some(name.to_owned()), ..record }
    }

    fn validate(authority: &Authority, metadata: ResourceMetadata) -> Result<Self, RegistryError> {
        metadata.check_mistakes()?;
        let resource = Self::parse(metadata)?;
        let issues = authority.policy.exchange.enabled && authority.policy.txn_tokens.is_some();
        if resource.needs_txn_tokens() && !issues {
            let field = if resource.txn_token.verifies() { "txn_token" } else { "routes" };
            let problem = "transaction tokens take `exchange.enabled` and `txn_tokens` in the server's configuration";
            return Err(invalid(field, problem).into());
        }
        match authority.snapshot.load().resources.contested(&resource.metadata) {
            Some((audience, authority)) => Err(authority_taken(audience, authority)),
            None => Ok(resource),
        }
    }

    fn needed_features(&self) -> Vec<(&'static str, Feature)> {
        let staleness = self.max_staleness.map(|_| ("max_staleness", Feature::ResourceMaxStaleness));
        let recording = self.records_allowed().then_some(("record_allowed", Feature::ResourceRecordAllowed));
        let managed = self.metadata.managed_by.as_ref().map(|_| ("managed_by", Feature::ManagedBy));
        let delegated = self.delegated.as_ref().map(|_| ("delegated", Feature::Exchange));
        let receipts = self.receipts.as_ref().map(|_| ("receipts", Feature::Exchange));
        let txn_token = self.metadata.txn_token.as_ref().map(|_| ("txn_token", Feature::Exchange));
        let routes = self.says_of_txn_tokens().then_some(("routes", Feature::Exchange));
        let all = [staleness, recording, managed, delegated, receipts, txn_token, routes];
        all.into_iter().flatten().collect()
    }

    fn creation_id(_: &Authority) -> Result<NotKept, RegistryError> {
        Ok(NotKept)
    }

    fn keeps_authentication(_: &Authority, _: &RegisteredResource, _: &Self) -> bool {
        true
    }

    /// A deleted resource leaves a mark, and a registered one removes it.
    async fn commit(
        authority: &Authority,
        by: &str,
        name: &str,
        (before, after): (Option<&Self>, Option<&Self>),
        change: Transaction,
    ) -> Result<Committed, RegistryError> {
        let key = DeletedResource::key(name);
        let deleted = before.filter(|_| after.is_none());
        let mark = deleted.map(|resource| DeletedResource::new(&resource.metadata, authority.clock.now(), by));
        let change = match &mark {
            Some(mark) => change.put(&key, mark.to_bytes().ok_or(RegistryError::Unavailable)?),
            None => change.delete(&key),
        };
        let revision = authority.transact_resource((before, after), change).await?;
        Ok(Committed { revision, beside: vec![(key, mark.map(|mark| Entry::Deleted(Box::new(mark))))] })
    }
}

impl Authority {
    /// Registers a protected resource. With `validate_only` nothing is stored.
    pub async fn create_resource(
        &self,
        by: impl Into<ChangedBy<'_>>,
        metadata: ResourceMetadata,
        validate_only: bool,
    ) -> Result<Arc<RegisteredResource>, RegistryError> {
        self.create(by.into(), metadata, validate_only).await
    }

    /// The scopes that resources define, sorted: at most [`MAX_SCOPES`]. RFC 8414 section 2 allows leaving some out.
    pub fn scopes_supported(&self) -> Vec<String> {
        self.snapshot.load().resources.scopes().take(MAX_SCOPES).cloned().collect()
    }

    /// The resource with this audience. The error says whether it was deleted.
    pub fn resource(&self, audience: &str) -> Result<Arc<RegisteredResource>, RegistryError> {
        let deleted = || self.snapshot.load().resources.deleted(audience).is_some();
        self.named(audience).map_err(|error| if deleted() { RegistryError::Deleted } else { error })
    }

    /// The resources after the one with the audience `after`, at most `count`, in the order of their audiences.
    pub fn resources(&self, after: Option<&str>, count: usize) -> Vec<Arc<RegisteredResource>> {
        self.page(after, count)
    }

    /// Replaces a resource, if its revision is still `from`. If nothing would change, nothing is written, unless the
    /// stored record cannot be read.
    pub async fn update_resource(
        &self,
        by: impl Into<ChangedBy<'_>>,
        metadata: ResourceMetadata,
        from: Revision,
        validate_only: bool,
    ) -> Result<Arc<RegisteredResource>, RegistryError> {
        self.update(by.into(), metadata, from, validate_only).await
    }

    /// Deletes a resource, if its revision is `from`, or at any revision if that is `None`. Requests to it, and tokens
    /// for it, are denied until its audience is registered again or forgotten.
    pub async fn delete_resource(
        &self,
        by: impl Into<ChangedBy<'_>>,
        audience: &str,
        from: Option<Revision>,
    ) -> Result<(), RegistryError> {
        self.delete::<ProtectedResource>(by.into(), audience, from).await
    }

    /// Removes the mark of a deleted resource. Its audience is then one that was never registered.
    pub async fn forget_resource(&self, by: impl Into<ChangedBy<'_>>, audience: &str) -> Result<(), RegistryError> {
        let author = by.into();
        let mark = self.snapshot.load().resources.mark(audience).map(|(mark, revision)| (mark.names(), revision));
        let (names, revision) = mark.ok_or(RegistryError::NotDeleted)?;
        if author.consent.is_needed() && self.policy.dual_control.holds(ControlledKind::Resource, &names) {
            let (change, base) = (ProposedChange::Forget, Some(revision));
            let wanted = Wanted { kind: ControlledKind::Resource, name: audience, change, metadata: None, base };
            let held = self.propose(author, wanted).await;
            return Err(held.map_or_else(|error| RegistryError::of_store(Kind::Resource, &error), RegistryError::Held));
        }
        self.forget_at(author, audience, Some(revision)).await
    }

    /// Removes the mark of a deleted resource, if its revision is `from`.
    pub(in crate::authority::api) async fn forget_at(
        &self,
        author: ChangedBy<'_>,
        audience: &str,
        from: Option<Revision>,
    ) -> Result<(), RegistryError> {
        let (key, expected) = (DeletedResource::key(audience), Expected::At(from.ok_or(RegistryError::NotDeleted)?));
        let removal = Transaction::default().compare(&key, expected).delete(&key);
        let removed = self.store.transact(author.consent.used_in(removal)).await;
        let revision = removed.map_err(|error| RegistryError::of_store(Kind::Resource, &error))?;
        self.apply_write(&key, None, revision);
        self.record_registration_changed::<ProtectedResource>(author, audience, "forgotten", revision);
        Ok(())
    }
}
