//! Conversion of a grant between the registry's message and the core's metadata.

use crate::authority::access::GrantMetadata;
use crate::authority::access::RegisteredGrant;
use crate::authority::records::Registration as _;
use crate::messages::common::Malformed;
use crate::messages::common::duration;
use crate::messages::common::duration_message;
use crate::messages::common::etag;
use crate::messages::common::set;
use crate::messages::common::timestamp;
use crate::proto::Grant;

impl TryFrom<Grant> for GrantMetadata {
    type Error = Malformed;

    /// Output-only fields are ignored.
    fn try_from(grant: Grant) -> Result<Self, Malformed> {
        Ok(Self {
            name: grant.name,
            admins: grant.admins,
            spiffe_ids: grant.spiffe_ids,
            audiences: grant.audiences,
            resources: grant.resources,
            authorities: grant.authorities,
            scope: grant.scope,
            max_access_token_ttl: duration("max_access_token_ttl", grant.max_access_token_ttl)?,
            token_endpoint_auth_methods: grant.token_endpoint_auth_methods,
            owners: grant.owners,
            managed_by: set(grant.managed_by),
        })
    }
}

impl From<GrantMetadata> for Grant {
    /// Output-only fields are left out.
    fn from(metadata: GrantMetadata) -> Self {
        Self {
            name: metadata.name,
            admins: metadata.admins,
            spiffe_ids: metadata.spiffe_ids,
            audiences: metadata.audiences,
            resources: metadata.resources,
            authorities: metadata.authorities,
            scope: metadata.scope,
            max_access_token_ttl: metadata.max_access_token_ttl.map(duration_message),
            token_endpoint_auth_methods: metadata.token_endpoint_auth_methods,
            owners: metadata.owners,
            managed_by: metadata.managed_by.unwrap_or_default(),
            etag: String::new(),
            create_time: None,
            update_time: None,
            created_by: String::new(),
            updated_by: String::new(),
            suspended: String::new(),
        }
    }
}

impl From<&RegisteredGrant> for Grant {
    fn from(grant: &RegisteredGrant) -> Self {
        Self {
            etag: etag(grant.revision),
            create_time: Some(timestamp(grant.record.create_time)),
            update_time: Some(timestamp(grant.record.update_time)),
            created_by: grant.record.created_by.to_string(),
            updated_by: grant.record.updated_by.to_string(),
            suspended: grant.suspended.map(|why| why.to_string()).unwrap_or_default(),
            ..grant.registration.metadata().into_owned().into()
        }
    }
}
