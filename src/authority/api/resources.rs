//! Protected resources in the registry.

use std::sync::Arc;

use crate::authority::Authority;
use crate::authority::api::registry::Managed;
use crate::authority::identity::PeerIdentity;
use crate::authority::records::Kind;
use crate::authority::records::NotKept;
use crate::authority::records::RegistryError;
use crate::authority::resources::ProtectedResource;
use crate::authority::resources::RegisteredResource;
use crate::authority::resources::ResourceMetadata;
use crate::authority::store::Revision;
use crate::authority::store::Transaction;

/// The most scopes in the server's metadata.
const MAX_SCOPES: usize = 1000;

impl Managed for ProtectedResource {
    fn validate(_: &Authority, metadata: ResourceMetadata) -> Result<Self, RegistryError> {
        Ok(Self::parse(metadata)?)
    }

    fn creation_id(_: &Authority) -> Result<NotKept, RegistryError> {
        Ok(NotKept)
    }

    async fn commit(
        authority: &Authority,
        _: &str,
        _: (Option<&Self>, Option<&Self>),
        change: Transaction,
    ) -> Result<Revision, RegistryError> {
        let committed = authority.store.transact(change).await;
        committed.map_err(|error| RegistryError::of_store(Kind::Resource, &error))
    }

    fn record_change(authority: &Authority, by: &str, name: &str, change: &'static str, revision: Revision) {
        authority.record_resource_changed(by, name, change, revision);
    }
}

impl Authority {
    /// Registers a protected resource. With `validate_only` nothing is stored.
    pub async fn create_resource(
        &self,
        admin: &PeerIdentity,
        metadata: ResourceMetadata,
        validate_only: bool,
    ) -> Result<Arc<RegisteredResource>, RegistryError> {
        self.create(admin, metadata, validate_only).await
    }

    /// The scopes that resources define, sorted: at most [`MAX_SCOPES`]. RFC 8414 section 2 allows leaving some out.
    pub fn scopes_supported(&self) -> Vec<String> {
        self.snapshot.load().resources.scopes().take(MAX_SCOPES).cloned().collect()
    }

    /// The resource with this audience.
    pub fn resource(&self, audience: &str) -> Result<Arc<RegisteredResource>, RegistryError> {
        self.named(audience)
    }

    /// The resources after the one with the audience `after`, at most `count`, in the order of their audiences.
    pub fn resources(&self, after: Option<&str>, count: usize) -> Vec<Arc<RegisteredResource>> {
        self.page(after, count)
    }

    /// Replaces a resource, if its revision is still `from`. If nothing would change, nothing is written, unless the
    /// stored record cannot be read.
    pub async fn update_resource(
        &self,
        admin: &PeerIdentity,
        metadata: ResourceMetadata,
        from: Revision,
        validate_only: bool,
    ) -> Result<Arc<RegisteredResource>, RegistryError> {
        self.update(admin, metadata, from, validate_only).await
    }

    /// Deletes a resource, if its revision is `from`, or at any revision if that is `None`. Checks of requests to it
    /// are denied from then on.
    pub async fn delete_resource(
        &self,
        admin: &PeerIdentity,
        audience: &str,
        from: Option<Revision>,
    ) -> Result<(), RegistryError> {
        self.delete::<ProtectedResource>(admin, audience, from).await
    }
}
