//! `lanyard.v1.RegistryService`.

use std::sync::Arc;

use tonic::Request;
use tonic::Response;
use tonic::Status;

use crate::authority::access::ChangedBy;
use crate::authority::access::GrantMetadata;
use crate::authority::records::Kind;
use crate::authority::records::RegistryError;
use crate::authority::registration::ClientMetadata;
use crate::authority::registration::RegisteredClient;
use crate::authority::resources::RegisteredResource;
use crate::authority::resources::ResourceMetadata;
use crate::authority::state::Caller;
use crate::authority::state::RevocationRecord;
use crate::authority::state::Revoked;
use crate::authority::store::Revision;
use crate::grpc::Services;
use crate::grpc::caller;
use crate::grpc::page::Page;
use crate::grpc::preview;
use crate::grpc::status;
use crate::grpc::status::malformed;
use crate::grpc::status::unreadable;
use crate::messages;
use crate::messages::Masked as _;
use crate::proto::Client;
use crate::proto::CreateClientRequest;
use crate::proto::CreateGrantRequest;
use crate::proto::CreateProtectedResourceRequest;
use crate::proto::DeleteClientRequest;
use crate::proto::DeleteClientResponse;
use crate::proto::DeleteGrantRequest;
use crate::proto::DeleteGrantResponse;
use crate::proto::DeleteProtectedResourceRequest;
use crate::proto::DeleteProtectedResourceResponse;
use crate::proto::ForgetResourceRequest;
use crate::proto::ForgetResourceResponse;
use crate::proto::GetClientRequest;
use crate::proto::GetGrantRequest;
use crate::proto::GetProtectedResourceRequest;
use crate::proto::Grant;
use crate::proto::ListChangesRequest;
use crate::proto::ListChangesResponse;
use crate::proto::ListClientsRequest;
use crate::proto::ListClientsResponse;
use crate::proto::ListGrantsRequest;
use crate::proto::ListGrantsResponse;
use crate::proto::ListProtectedResourcesRequest;
use crate::proto::ListProtectedResourcesResponse;
use crate::proto::PreviewPatternRequest;
use crate::proto::PreviewPatternResponse;
use crate::proto::ProtectedResource;
use crate::proto::UpdateClientRequest;
use crate::proto::UpdateGrantRequest;
use crate::proto::UpdateProtectedResourceRequest;
use crate::proto::list_changes_request::Registration as Named;
use crate::proto::registry_service_server::RegistryService;

/// The most characters of the reason of a change.
const MAX_REASON: usize = 1000;

#[tonic::async_trait]
impl RegistryService for Services {
    async fn create_client(&self, request: Request<CreateClientRequest>) -> Result<Response<Client>, Status> {
        let (_, extensions, message) = request.into_parts();
        let caller = caller(&extensions)?;
        let metadata = ClientMetadata::try_from(required(message.client)?).map_err(unreadable)?;
        let by = by(caller, &message.reason)?;
        let created = self.authority.create_client(by, metadata, message.validate_only).await;
        self.written_client(created.as_deref())
    }

    async fn get_client(&self, request: Request<GetClientRequest>) -> Result<Response<Client>, Status> {
        let caller = caller(request.extensions())?;
        printed(self.authority.seen_client(caller, &request.get_ref().client_id).as_deref())
    }

    async fn list_clients(
        &self,
        request: Request<ListClientsRequest>,
    ) -> Result<Response<ListClientsResponse>, Status> {
        let (_, extensions, ListClientsRequest { page_size, page_token }) = request.into_parts();
        let page = Page::read(page_size, &page_token)?;
        let found = self.authority.seen_clients(caller(&extensions)?, page.after.as_deref(), page.size);
        let clients = found.entries.iter().map(|client| Client::from(&**client)).collect();
        Ok(Response::new(ListClientsResponse { clients, next_page_token: Page::token(found.next) }))
    }

    async fn update_client(&self, request: Request<UpdateClientRequest>) -> Result<Response<Client>, Status> {
        let (_, extensions, message) = request.into_parts();
        let caller = caller(&extensions)?;
        let refuse = |error: RegistryError| status::registry_error(&error);
        let mut client = required(message.client)?;
        let from = revision(&client.etag, Kind::Client)?;
        if let Some(mask) = message.update_mask.filter(|mask| !mask.paths.is_empty()) {
            let present = self.authority.seen_client(caller, &client.client_id).map_err(refuse)?;
            client = Client::from(&*present).masked(&client, &mask).map_err(unreadable)?;
        }
        let metadata = ClientMetadata::try_from(client).map_err(unreadable)?;
        let by = by(caller, &message.reason)?;
        let updated = self.authority.update_client(by, metadata, from, message.validate_only).await;
        self.written_client(updated.as_deref())
    }

    async fn delete_client(
        &self,
        request: Request<DeleteClientRequest>,
    ) -> Result<Response<DeleteClientResponse>, Status> {
        let (_, extensions, message) = request.into_parts();
        let caller = caller(&extensions)?;
        let from = revision_if_given(&message.etag, Kind::Client)?;
        let by = by(caller, &message.reason)?;
        self.authority
            .delete_client(by, &message.client_id, from)
            .await
            .map_err(|error| status::registry_error(&error))?;
        Ok(Response::new(DeleteClientResponse {}))
    }

    async fn create_protected_resource(
        &self,
        request: Request<CreateProtectedResourceRequest>,
    ) -> Result<Response<ProtectedResource>, Status> {
        let (_, extensions, message) = request.into_parts();
        let caller = caller(&extensions)?;
        let metadata = ResourceMetadata::try_from(required_resource(message.resource)?).map_err(unreadable)?;
        let by = by(caller, &message.reason)?;
        let created = self.authority.create_resource(by, metadata, message.validate_only).await;
        self.written_resource(created.as_deref())
    }

    async fn get_protected_resource(
        &self,
        request: Request<GetProtectedResourceRequest>,
    ) -> Result<Response<ProtectedResource>, Status> {
        let caller = caller(request.extensions())?;
        printed(self.authority.seen_resource(caller, &request.get_ref().audience).as_deref())
    }

    async fn list_protected_resources(
        &self,
        request: Request<ListProtectedResourcesRequest>,
    ) -> Result<Response<ListProtectedResourcesResponse>, Status> {
        let (_, extensions, ListProtectedResourcesRequest { page_size, page_token }) = request.into_parts();
        let page = Page::read(page_size, &page_token)?;
        let found = self.authority.seen_resources(caller(&extensions)?, page.after.as_deref(), page.size);
        let resources = found.entries.iter().map(|registered| ProtectedResource::from(&**registered)).collect();
        Ok(Response::new(ListProtectedResourcesResponse { resources, next_page_token: Page::token(found.next) }))
    }

    async fn update_protected_resource(
        &self,
        request: Request<UpdateProtectedResourceRequest>,
    ) -> Result<Response<ProtectedResource>, Status> {
        let (_, extensions, message) = request.into_parts();
        let caller = caller(&extensions)?;
        let refuse = |error: RegistryError| status::registry_error(&error);
        let mut resource = required_resource(message.resource)?;
        let from = revision(&resource.etag, Kind::Resource)?;
        if let Some(mask) = message.update_mask.filter(|mask| !mask.paths.is_empty()) {
            let present = self.authority.seen_resource(caller, &resource.audience).map_err(refuse)?;
            resource = ProtectedResource::from(&*present).masked(&resource, &mask).map_err(unreadable)?;
        }
        let metadata = ResourceMetadata::try_from(resource).map_err(unreadable)?;
        let by = by(caller, &message.reason)?;
        let updated = self.authority.update_resource(by, metadata, from, message.validate_only).await;
        self.written_resource(updated.as_deref())
    }

    async fn delete_protected_resource(
        &self,
        request: Request<DeleteProtectedResourceRequest>,
    ) -> Result<Response<DeleteProtectedResourceResponse>, Status> {
        let (_, extensions, message) = request.into_parts();
        let caller = caller(&extensions)?;
        let from = revision_if_given(&message.etag, Kind::Resource)?;
        let by = by(caller, &message.reason)?;
        self.authority
            .delete_resource(by, &message.audience, from)
            .await
            .map_err(|error| status::registry_error(&error))?;
        Ok(Response::new(DeleteProtectedResourceResponse {}))
    }

    async fn forget_resource(
        &self,
        request: Request<ForgetResourceRequest>,
    ) -> Result<Response<ForgetResourceResponse>, Status> {
        let (_, extensions, message) = request.into_parts();
        let caller = caller(&extensions)?;
        let forgotten = self.authority.forget_resource(caller.author(None), &message.audience).await;
        forgotten.map_err(|error| status::registry_error(&error))?;
        Ok(Response::new(ForgetResourceResponse {}))
    }

    async fn create_grant(&self, request: Request<CreateGrantRequest>) -> Result<Response<Grant>, Status> {
        let (_, extensions, message) = request.into_parts();
        let caller = caller(&extensions)?;
        let metadata = GrantMetadata::try_from(required_grant(message.grant)?).map_err(unreadable)?;
        let created = self.authority.create_grant(by(caller, &message.reason)?, metadata, message.validate_only).await;
        printed(created.as_deref())
    }

    async fn get_grant(&self, request: Request<GetGrantRequest>) -> Result<Response<Grant>, Status> {
        let caller = caller(request.extensions())?;
        printed(self.authority.seen_grant(caller, &request.get_ref().name).as_deref())
    }

    async fn list_grants(&self, request: Request<ListGrantsRequest>) -> Result<Response<ListGrantsResponse>, Status> {
        let (_, extensions, ListGrantsRequest { page_size, page_token }) = request.into_parts();
        let page = Page::read(page_size, &page_token)?;
        let found = self.authority.seen_grants(caller(&extensions)?, page.after.as_deref(), page.size);
        let grants = found.entries.iter().map(|grant| Grant::from(&**grant)).collect();
        Ok(Response::new(ListGrantsResponse { grants, next_page_token: Page::token(found.next) }))
    }

    async fn update_grant(&self, request: Request<UpdateGrantRequest>) -> Result<Response<Grant>, Status> {
        let (_, extensions, message) = request.into_parts();
        let caller = caller(&extensions)?;
        let grant = required_grant(message.grant)?;
        let from = revision(&grant.etag, Kind::Grant)?;
        let metadata = GrantMetadata::try_from(grant).map_err(unreadable)?;
        let by = by(caller, &message.reason)?;
        let updated = self.authority.update_grant(by, metadata, from, message.validate_only).await;
        printed(updated.as_deref())
    }

    async fn delete_grant(
        &self,
        request: Request<DeleteGrantRequest>,
    ) -> Result<Response<DeleteGrantResponse>, Status> {
        let (_, extensions, message) = request.into_parts();
        let caller = caller(&extensions)?;
        let from = revision_if_given(&message.etag, Kind::Grant)?;
        self.authority
            .delete_grant(by(caller, &message.reason)?, &message.name, from)
            .await
            .map_err(|error| status::registry_error(&error))?;
        Ok(Response::new(DeleteGrantResponse {}))
    }

    async fn preview_pattern(
        &self,
        request: Request<PreviewPatternRequest>,
    ) -> Result<Response<PreviewPatternResponse>, Status> {
        let (_, extensions, PreviewPatternRequest { spiffe_id }) = request.into_parts();
        let (authority, caller) = (Arc::clone(&self.authority), caller(&extensions)?.clone());
        preview::answer(authority, caller, &spiffe_id).await.map(Response::new)
    }

    async fn list_changes(
        &self,
        request: Request<ListChangesRequest>,
    ) -> Result<Response<ListChangesResponse>, Status> {
        let (_, extensions, ListChangesRequest { registration }) = request.into_parts();
        let caller = caller(&extensions)?;
        let refuse = |error: RegistryError| status::registry_error(&error);
        let changes = match registration {
            Some(Named::ClientId(client_id)) => {
                let history = self.authority.seen_client_history(caller, &client_id).await.map_err(refuse)?;
                history.into_iter().map(messages::change_of_client).collect()
            }
            Some(Named::Audience(audience)) => {
                let history = self.authority.seen_resource_history(caller, &audience).await.map_err(refuse)?;
                history.into_iter().map(messages::change_of_resource).collect()
            }
            Some(Named::Grant(name)) => {
                let history = self.authority.seen_grant_history(caller, &name).await.map_err(refuse)?;
                history.into_iter().map(messages::change_of_grant).collect()
            }
            Some(Named::KeyId(kid)) => {
                let history = self.authority.seen_signing_key_history(caller, &kid).await.map_err(refuse)?;
                history.into_iter().map(|change| messages::change_of_state(change, String::clone)).collect()
            }
            Some(Named::Revoked(key)) => {
                let revoked = Revoked::from_store_key(&key);
                let revoked = revoked.ok_or_else(|| malformed("revoked", "is no key of a revocation in the store"))?;
                let history = self.authority.seen_revocation_history(caller, &revoked).await.map_err(refuse)?;
                let state = |record: &RevocationRecord| serde_json::to_string(record).unwrap_or_default();
                history.into_iter().map(|change| messages::change_of_state(change, state)).collect()
            }
            None => {
                let which = "is missing: name a client_id, an audience, a grant, a key_id or what was revoked";
                return Err(malformed("registration", which));
            }
        };
        Ok(Response::new(ListChangesResponse { changes }))
    }
}

/// Who changes a registration, and why.
fn by<'a>(caller: &'a Caller, reason: &'a str) -> Result<ChangedBy<'a>, Status> {
    if reason.chars().count() > MAX_REASON {
        return Err(malformed("reason", "is longer than 1,000 characters"));
    }
    let reason = Some(reason).filter(|reason| !reason.is_empty());
    Ok(caller.author(reason))
}

/// The revision that an update was made from, by its `etag`.
fn revision(etag: &str, kind: Kind) -> Result<Revision, Status> {
    messages::revision(etag).ok_or_else(|| status::registry_error(&RegistryError::EtagMissing(kind)))
}

/// The revision that a deletion is bound to. Without an `etag` it is of any.
fn revision_if_given(etag: &str, kind: Kind) -> Result<Option<Revision>, Status> {
    if etag.is_empty() { Ok(None) } else { revision(etag, kind).map(Some) }
}

fn required_resource(resource: Option<ProtectedResource>) -> Result<ProtectedResource, Status> {
    resource.ok_or_else(|| malformed("resource", "is missing"))
}

fn required_grant(grant: Option<Grant>) -> Result<Grant, Status> {
    grant.ok_or_else(|| malformed("grant", "is missing"))
}

fn required(client: Option<Client>) -> Result<Client, Status> {
    client.ok_or_else(|| malformed("client", "is missing"))
}

impl Services {
    fn written_client(&self, client: Result<&RegisteredClient, &RegistryError>) -> Result<Response<Client>, Status> {
        let client = client.map_err(status::registry_error)?;
        Ok(Response::new(Client { warnings: self.authority.client_warnings(client), ..client.into() }))
    }

    fn written_resource(
        &self,
        resource: Result<&RegisteredResource, &RegistryError>,
    ) -> Result<Response<ProtectedResource>, Status> {
        let resource = resource.map_err(status::registry_error)?;
        let warnings = self.authority.resource_warnings(resource);
        Ok(Response::new(ProtectedResource { warnings, ..resource.into() }))
    }
}

fn printed<'a, T, M: From<&'a T>>(registered: Result<&'a T, &RegistryError>) -> Result<Response<M>, Status> {
    registered.map(|registered| Response::new(registered.into())).map_err(status::registry_error)
}
