//! The documents that can be applied to a registry.

use std::fmt::Debug;
use std::time::Duration;

use prost_types::Timestamp;
use serde::Serialize;
use tonic::Response;
use tonic::Status;

use crate::apply::transport::Registry;
use crate::apply::transport::Transport;
use crate::authority::registration::ClientMetadata;
use crate::authority::registration::ClientRegistration;
use crate::authority::resources::ResourceMetadata;
use crate::messages::Malformed;
use crate::proto::Client;
use crate::proto::CreateClientRequest;
use crate::proto::CreateProtectedResourceRequest;
use crate::proto::DeleteClientRequest;
use crate::proto::DeleteProtectedResourceRequest;
use crate::proto::ForgetResourceRequest;
use crate::proto::GetClientRequest;
use crate::proto::GetProtectedResourceRequest;
use crate::proto::ListChangesRequest;
use crate::proto::ListClientsRequest;
use crate::proto::ListProtectedResourcesRequest;
use crate::proto::ProtectedResource;
use crate::proto::RegistrationChange;
use crate::proto::UpdateClientRequest;
use crate::proto::UpdateProtectedResourceRequest;
use crate::proto::list_changes_request::Registration as Named;
use crate::proto::registration_change::After;
use crate::proto::registration_change::Before;

/// The fields of a message that only the server sets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServerFields {
    /// Identifies the current revision.
    pub etag: String,
    /// The time of registration.
    pub create_time: Option<Timestamp>,
    /// The time of the last change.
    pub update_time: Option<Timestamp>,
    /// The identity of the caller that registered it.
    pub created_by: String,
    /// The identity of the caller that last changed it.
    pub updated_by: String,
    /// Why the server suspends it; empty where it does not.
    pub suspended: String,
}

/// How a record is written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Write<'a> {
    /// Whether the server only validates.
    pub validate_only: bool,
    /// Why, in the words of who writes it; kept with the change. It may be empty.
    pub reason: &'a str,
}

/// Metadata that a registry stores under a name.
#[expect(async_fn_in_trait, reason = "callers await on the task that they are on")]
pub trait Document: Clone + Serialize + TryFrom<Self::Message, Error = Malformed> {
    /// The registry's message for this metadata. Two messages that are equal are the same revision of the same record.
    type Message: Clone + Debug + PartialEq;

    /// The name of the record.
    fn name(&self) -> &str;

    /// The message that writes it, on condition that the stored record has this `etag`.
    fn message(&self, etag: String) -> Self::Message;

    /// The document as it applies to a stored record: what it leaves open stays as it is.
    #[must_use]
    fn over(&self, present: &Self::Message) -> Self;

    /// Takes the server's warnings out of an answer, which is then equal to that of a read.
    fn take_warnings(message: &mut Self::Message) -> Vec<String>;

    /// The fields that the server set.
    fn server_fields(message: &Self::Message) -> ServerFields;

    /// For how long tokens that were issued before would still have been accepted at most, where the change from `present`
    /// to `updated` by this document denies them. `None` where it denies none.
    fn denied_lifetime(&self, present: &Self::Message, updated: &Self::Message) -> Option<Duration>;

    /// Whether the change from `present` to this document ends the enforcement of denials, so that it must be allowed.
    fn ends_enforcement(&self, _: &Self::Message) -> bool {
        false
    }

    /// Reads one record.
    async fn read<S: Transport>(registry: &mut Registry<S>, name: &str) -> Result<Self::Message, Status>;

    /// Reads a page of all records. Returns it with the token of the next page, which is empty after the last.
    async fn page<S: Transport>(
        registry: &mut Registry<S>,
        page_token: String,
    ) -> Result<(Vec<Self::Message>, String), Status>;

    /// Registers a record that does not exist yet, or only validates it.
    async fn create<S: Transport>(
        registry: &mut Registry<S>,
        message: Self::Message,
        write: Write<'_>,
    ) -> Result<Self::Message, Status>;

    /// Replaces a record, or only validates it.
    async fn update<S: Transport>(
        registry: &mut Registry<S>,
        message: Self::Message,
        write: Write<'_>,
    ) -> Result<Self::Message, Status>;

    /// Removes what the deletion of a record leaves, so that it is as if it had never been registered.
    async fn forget<S: Transport>(registry: &mut Registry<S>, name: String) -> Result<(), Status>;

    /// Deletes a record, at any revision if `etag` is empty. The reason may be empty.
    async fn delete<S: Transport>(
        registry: &mut Registry<S>,
        name: String,
        etag: String,
        reason: &str,
    ) -> Result<(), Status>;

    /// The record of this name, in a request for its changes.
    fn named(name: String) -> Named;

    /// What is kept of the changes of a record, the oldest first.
    async fn history<S: Transport>(
        registry: &mut Registry<S>,
        name: String,
    ) -> Result<Vec<RegistrationChange>, Status> {
        let request = ListChangesRequest { registration: Some(Self::named(name)) };
        registry.list_changes(request).await.map(|answer| answer.into_inner().changes)
    }

    /// The messages of a change: what was before it, and after it.
    fn of_change(change: RegistrationChange) -> (Option<Self::Message>, Option<Self::Message>);
}

impl Document for ClientMetadata {
    type Message = Client;

    fn name(&self) -> &str {
        &self.client_id
    }

    fn message(&self, etag: String) -> Client {
        Client { etag, ..self.clone().into() }
    }

    /// A document without `managed_by` keeps what manages the client.
    fn over(&self, present: &Client) -> Self {
        Self { managed_by: self.managed_by.clone().or_else(|| Some(present.managed_by.clone())), ..self.clone() }
    }

    fn take_warnings(message: &mut Client) -> Vec<String> {
        std::mem::take(&mut message.warnings)
    }

    fn server_fields(message: &Client) -> ServerFields {
        ServerFields {
            etag: message.etag.clone(),
            create_time: message.create_time,
            update_time: message.update_time,
            created_by: message.created_by.clone(),
            updated_by: message.updated_by.clone(),
            suspended: message.suspended.clone(),
        }
    }

    fn denied_lifetime(&self, present: &Client, updated: &Client) -> Option<Duration> {
        let parse = |message: &Client| {
            let metadata = Self::try_from(message.clone()).ok()?;
            ClientRegistration::parse(metadata).ok()
        };
        let mut present = present.clone();
        // A client CA that the document leaves out is the only one, which the server fills in.
        if self.client_ca.is_none() && present.client_ca.is_empty() {
            present.client_ca.clone_from(&updated.client_ca);
        }
        let (before, after) = (parse(&present)?, parse(updated)?);
        (!after.keeps_authentication(&before)).then_some(before.terms.access_token_ttl)
    }

    async fn read<S: Transport>(registry: &mut Registry<S>, name: &str) -> Result<Client, Status> {
        registry.get_client(GetClientRequest { client_id: name.to_owned() }).await.map(Response::into_inner)
    }

    async fn page<S: Transport>(
        registry: &mut Registry<S>,
        page_token: String,
    ) -> Result<(Vec<Client>, String), Status> {
        let page = registry.list_clients(ListClientsRequest { page_size: 0, page_token }).await?.into_inner();
        Ok((page.clients, page.next_page_token))
    }

    async fn create<S: Transport>(
        registry: &mut Registry<S>,
        message: Client,
        write: Write<'_>,
    ) -> Result<Client, Status> {
        let request = CreateClientRequest {
            client: Some(message),
            validate_only: write.validate_only,
            reason: write.reason.to_owned(),
        };
        registry.create_client(request).await.map(Response::into_inner)
    }

    async fn update<S: Transport>(
        registry: &mut Registry<S>,
        message: Client,
        write: Write<'_>,
    ) -> Result<Client, Status> {
        let request = UpdateClientRequest {
            client: Some(message),
            update_mask: None,
            validate_only: write.validate_only,
            reason: write.reason.to_owned(),
        };
        registry.update_client(request).await.map(Response::into_inner)
    }

    async fn delete<S: Transport>(
        registry: &mut Registry<S>,
        name: String,
        etag: String,
        reason: &str,
    ) -> Result<(), Status> {
        let request = DeleteClientRequest { client_id: name, etag, reason: reason.to_owned() };
        registry.delete_client(request).await.map(drop)
    }

    fn named(name: String) -> Named {
        Named::ClientId(name)
    }

    fn of_change(change: RegistrationChange) -> (Option<Client>, Option<Client>) {
        let before = match change.before {
            Some(Before::ClientBefore(client)) => Some(client),
            Some(Before::ResourceBefore(_) | Before::GrantBefore(_) | Before::StateBefore(_)) | None => None,
        };
        let after = match change.after {
            Some(After::ClientAfter(client)) => Some(client),
            Some(After::ResourceAfter(_) | After::GrantAfter(_) | After::StateAfter(_)) | None => None,
        };
        (before, after)
    }

    async fn forget<S: Transport>(_: &mut Registry<S>, _: String) -> Result<(), Status> {
        Ok(())
    }
}

impl Document for ResourceMetadata {
    type Message = ProtectedResource;

    fn name(&self) -> &str {
        &self.audience
    }

    fn message(&self, etag: String) -> ProtectedResource {
        ProtectedResource { etag, ..self.clone().into() }
    }

    /// A document without `mode` keeps the mode: it could otherwise begin to deny what is only reported, or the reverse. One
    /// without `managed_by` keeps what manages the resource.
    fn over(&self, present: &ProtectedResource) -> Self {
        let mode = self.mode.clone().or_else(|| Some(present.mode.clone()));
        let managed_by = self.managed_by.clone().or_else(|| Some(present.managed_by.clone()));
        Self { mode, managed_by, ..self.clone() }
    }

    fn take_warnings(message: &mut ProtectedResource) -> Vec<String> {
        std::mem::take(&mut message.warnings)
    }

    fn server_fields(message: &ProtectedResource) -> ServerFields {
        ServerFields {
            etag: message.etag.clone(),
            create_time: message.create_time,
            update_time: message.update_time,
            created_by: message.created_by.clone(),
            updated_by: message.updated_by.clone(),
            suspended: message.suspended.clone(),
        }
    }

    fn denied_lifetime(&self, _: &ProtectedResource, _: &ProtectedResource) -> Option<Duration> {
        None
    }

    fn ends_enforcement(&self, present: &ProtectedResource) -> bool {
        let delegated = self.delegated.as_ref().and_then(|delegated| delegated.mode.as_deref());
        let delegated_before = present.delegated.as_ref().map(|delegated| &*delegated.mode);
        self.mode.as_deref() == Some("report") && present.mode != "report"
            || delegated == Some("report") && delegated_before != Some("report")
    }

    async fn read<S: Transport>(registry: &mut Registry<S>, name: &str) -> Result<ProtectedResource, Status> {
        let request = GetProtectedResourceRequest { audience: name.to_owned() };
        registry.get_protected_resource(request).await.map(Response::into_inner)
    }

    async fn page<S: Transport>(
        registry: &mut Registry<S>,
        page_token: String,
    ) -> Result<(Vec<ProtectedResource>, String), Status> {
        let request = ListProtectedResourcesRequest { page_size: 0, page_token };
        let page = registry.list_protected_resources(request).await?.into_inner();
        Ok((page.resources, page.next_page_token))
    }

    async fn create<S: Transport>(
        registry: &mut Registry<S>,
        message: ProtectedResource,
        write: Write<'_>,
    ) -> Result<ProtectedResource, Status> {
        let request = CreateProtectedResourceRequest {
            resource: Some(message),
            validate_only: write.validate_only,
            reason: write.reason.to_owned(),
        };
        registry.create_protected_resource(request).await.map(Response::into_inner)
    }

    async fn update<S: Transport>(
        registry: &mut Registry<S>,
        message: ProtectedResource,
        write: Write<'_>,
    ) -> Result<ProtectedResource, Status> {
        let request = UpdateProtectedResourceRequest {
            resource: Some(message),
            update_mask: None,
            validate_only: write.validate_only,
            reason: write.reason.to_owned(),
        };
        registry.update_protected_resource(request).await.map(Response::into_inner)
    }

    async fn delete<S: Transport>(
        registry: &mut Registry<S>,
        name: String,
        etag: String,
        reason: &str,
    ) -> Result<(), Status> {
        let request = DeleteProtectedResourceRequest { audience: name, etag, reason: reason.to_owned() };
        registry.delete_protected_resource(request).await.map(drop)
    }

    fn named(name: String) -> Named {
        Named::Audience(name)
    }

    fn of_change(change: RegistrationChange) -> (Option<ProtectedResource>, Option<ProtectedResource>) {
        let before = match change.before {
            Some(Before::ResourceBefore(resource)) => Some(resource),
            Some(Before::ClientBefore(_) | Before::GrantBefore(_) | Before::StateBefore(_)) | None => None,
        };
        let after = match change.after {
            Some(After::ResourceAfter(resource)) => Some(resource),
            Some(After::ClientAfter(_) | After::GrantAfter(_) | After::StateAfter(_)) | None => None,
        };
        (before, after)
    }

    async fn forget<S: Transport>(registry: &mut Registry<S>, name: String) -> Result<(), Status> {
        registry.forget_resource(ForgetResourceRequest { audience: name }).await.map(drop)
    }
}
