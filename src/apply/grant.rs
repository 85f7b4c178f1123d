//! Grants as documents.

use std::time::Duration;

use tonic::Response;
use tonic::Status;

use crate::apply::document::Document;
use crate::apply::document::ServerFields;
use crate::apply::document::Write;
use crate::apply::transport::Registry;
use crate::apply::transport::Transport;
use crate::authority::access::GrantMetadata;
use crate::proto::CreateGrantRequest;
use crate::proto::DeleteGrantRequest;
use crate::proto::GetGrantRequest;
use crate::proto::Grant;
use crate::proto::ListGrantsRequest;
use crate::proto::RegistrationChange;
use crate::proto::UpdateGrantRequest;
use crate::proto::list_changes_request::Registration as Named;
use crate::proto::registration_change::After;
use crate::proto::registration_change::Before;

impl Document for GrantMetadata {
    type Message = Grant;

    fn name(&self) -> &str {
        &self.name
    }

    fn message(&self, etag: String) -> Grant {
        Grant { etag, ..self.clone().into() }
    }

    /// A document without `managed_by` keeps what manages the grant.
    fn over(&self, present: &Grant) -> Self {
        Self { managed_by: self.managed_by.clone().or_else(|| Some(present.managed_by.clone())), ..self.clone() }
    }

    fn take_warnings(_: &mut Grant) -> Vec<String> {
        Vec::new()
    }

    fn server_fields(message: &Grant) -> ServerFields {
        ServerFields {
            etag: message.etag.clone(),
            create_time: message.create_time,
            update_time: message.update_time,
            created_by: message.created_by.clone(),
            updated_by: message.updated_by.clone(),
            suspended: message.suspended.clone(),
        }
    }

    fn denied_lifetime(&self, _: &Grant, _: &Grant) -> Option<Duration> {
        None
    }

    async fn read<S: Transport>(registry: &mut Registry<S>, name: &str) -> Result<Grant, Status> {
        registry.get_grant(GetGrantRequest { name: name.to_owned() }).await.map(Response::into_inner)
    }

    async fn page<S: Transport>(
        registry: &mut Registry<S>,
        page_token: String,
    ) -> Result<(Vec<Grant>, String), Status> {
        let page = registry.list_grants(ListGrantsRequest { page_size: 0, page_token }).await?.into_inner();
        Ok((page.grants, page.next_page_token))
    }

    async fn create<S: Transport>(
        registry: &mut Registry<S>,
        message: Grant,
        write: Write<'_>,
    ) -> Result<Grant, Status> {
        let Write { validate_only, reason } = write;
        let request = CreateGrantRequest { grant: Some(message), validate_only, reason: reason.to_owned() };
        registry.create_grant(request).await.map(Response::into_inner)
    }

    async fn update<S: Transport>(
        registry: &mut Registry<S>,
        message: Grant,
        write: Write<'_>,
    ) -> Result<Grant, Status> {
        let Write { validate_only, reason } = write;
        let request = UpdateGrantRequest { grant: Some(message), validate_only, reason: reason.to_owned() };
        registry.update_grant(request).await.map(Response::into_inner)
    }

    async fn delete<S: Transport>(
        registry: &mut Registry<S>,
        name: String,
        etag: String,
        reason: &str,
    ) -> Result<(), Status> {
        registry.delete_grant(DeleteGrantRequest { name, etag, reason: reason.to_owned() }).await.map(drop)
    }

    fn named(name: String) -> Named {
        Named::Grant(name)
    }

    fn of_change(change: RegistrationChange) -> (Option<Grant>, Option<Grant>) {
        let before = match change.before {
            Some(Before::GrantBefore(grant)) => Some(grant),
            Some(Before::ClientBefore(_) | Before::ResourceBefore(_) | Before::StateBefore(_)) | None => None,
        };
        let after = match change.after {
            Some(After::GrantAfter(grant)) => Some(grant),
            Some(After::ClientAfter(_) | After::ResourceAfter(_) | After::StateAfter(_)) | None => None,
        };
        (before, after)
    }

    async fn forget<S: Transport>(_: &mut Registry<S>, _: String) -> Result<(), Status> {
        Ok(())
    }
}
