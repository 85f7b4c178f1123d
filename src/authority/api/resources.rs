//! The verbs of the registry for protected resources: create, get, list, update, delete.

use std::sync::Arc;

use crate::authority::Authority;
use crate::authority::identity::PeerIdentity;
use crate::authority::observe::AuditEvent;
use crate::authority::resources::ProtectedResource;
use crate::authority::resources::RESOURCES;
use crate::authority::resources::RegisteredResource;
use crate::authority::resources::ResourceError;
use crate::authority::resources::ResourceMetadata;
use crate::authority::resources::ResourceRecord;
use crate::authority::state::Entry;
use crate::authority::store::Expected;
use crate::authority::store::MAX_VALUE_BYTES;
use crate::authority::store::Revision;

impl Authority {
    /// Registers a protected resource. With `validate_only` nothing is stored.
    pub async fn create_resource(
        &self,
        admin: &PeerIdentity,
        metadata: ResourceMetadata,
        validate_only: bool,
    ) -> Result<Arc<RegisteredResource>, ResourceError> {
        let resource = ProtectedResource::parse(metadata)?;
        if self.snapshot.load().resources.named(resource.audience()).is_some() {
            return Err(ResourceError::Exists);
        }
        let by = admin.to_string();
        let record = ResourceRecord::new(resource.metadata.clone(), self.clock.now(), &by);
        if validate_only {
            encode(&record)?;
            return Ok(Arc::new(RegisteredResource {
                resource,
                record,
                revision: Revision::default(),
                suspended: false,
            }));
        }
        let written = self.write_resource(resource, record, Expected::Absent, &by, "created").await;
        written.map_err(|error| if error == ResourceError::Conflict { ResourceError::Exists } else { error })
    }

    /// The resource with this audience.
    pub fn resource(&self, audience: &str) -> Result<Arc<RegisteredResource>, ResourceError> {
        self.snapshot.load().resources.named(audience).map(Arc::clone).ok_or(ResourceError::NotFound)
    }

    /// The resources after the one with the audience `after`, `count` at most, in the order of their audiences.
    pub fn resources(&self, after: Option<&str>, count: usize) -> Vec<Arc<RegisteredResource>> {
        self.snapshot.load().resources.page(after, count)
    }

    /// Replaces a resource, if its revision is still `from`. Where nothing would change, nothing is written, unless the
    /// stored record cannot be read.
    pub async fn update_resource(
        &self,
        admin: &PeerIdentity,
        metadata: ResourceMetadata,
        from: Revision,
        validate_only: bool,
    ) -> Result<Arc<RegisteredResource>, ResourceError> {
        let resource = ProtectedResource::parse(metadata)?;
        let present = self.resource(resource.audience())?;
        if present.revision != from {
            return Err(ResourceError::Conflict);
        }
        if !present.suspended && present.resource.metadata == resource.metadata {
            return Ok(present);
        }
        let by = admin.to_string();
        let record = present.record.updated(resource.metadata.clone(), self.clock.now(), &by);
        if validate_only {
            encode(&record)?;
            return Ok(Arc::new(RegisteredResource { resource, record, revision: from, suspended: false }));
        }
        self.write_resource(resource, record, Expected::At(from), &by, "updated").await
    }

    /// Deletes a resource, if its revision is still `from`, or whatever it is. Checks of requests to it are denied from
    /// then on.
    pub async fn delete_resource(
        &self,
        admin: &PeerIdentity,
        audience: &str,
        from: Option<Revision>,
    ) -> Result<(), ResourceError> {
        let present = self.resource(audience)?;
        let key = format!("{RESOURCES}{audience}");
        let revision = self.store.delete(&key, Expected::At(from.unwrap_or(present.revision))).await?;
        self.apply_write(&key, None, revision);
        AuditEvent::ResourceChanged { admin: &admin.to_string(), audience, change: "deleted", revision }.record();
        Ok(())
    }

    async fn write_resource(
        &self,
        resource: ProtectedResource,
        record: ResourceRecord,
        expected: Expected,
        by: &str,
        change: &'static str,
    ) -> Result<Arc<RegisteredResource>, ResourceError> {
        let bytes = encode(&record)?;
        let key = format!("{RESOURCES}{}", resource.audience());
        let revision = self.store.put(&key, bytes, expected).await?;
        let registered = RegisteredResource { resource, record, revision, suspended: false };
        self.apply_write(&key, Some(Entry::Resource(Box::new(registered.clone()))), revision);
        let audience = registered.resource.audience();
        AuditEvent::ResourceChanged { admin: by, audience, change, revision }.record();
        Ok(Arc::new(registered))
    }
}

/// The value to store, if the store takes it.
fn encode(record: &ResourceRecord) -> Result<Vec<u8>, ResourceError> {
    let bytes = record.to_bytes().map_err(|_| ResourceError::Unavailable)?;
    if bytes.len() > MAX_VALUE_BYTES { Err(ResourceError::TooLarge) } else { Ok(bytes) }
}
