//! `lanyard.v1.RegistryService`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use prost_types::FieldMask;
use tonic::Request;
use tonic::Response;
use tonic::Status;

use crate::authority::records::Kind;
use crate::authority::records::RegistryError;
use crate::authority::resources::RegisteredResource;
use crate::grpc::Services;
use crate::grpc::caller;
use crate::grpc::client_message;
use crate::grpc::resource_message;
use crate::grpc::status;
use crate::grpc::status::malformed;
use crate::proto::Client;
use crate::proto::CreateClientRequest;
use crate::proto::CreateProtectedResourceRequest;
use crate::proto::DeleteClientRequest;
use crate::proto::DeleteClientResponse;
use crate::proto::DeleteProtectedResourceRequest;
use crate::proto::DeleteProtectedResourceResponse;
use crate::proto::GetClientRequest;
use crate::proto::GetProtectedResourceRequest;
use crate::proto::ListClientsRequest;
use crate::proto::ListClientsResponse;
use crate::proto::ListProtectedResourcesRequest;
use crate::proto::ListProtectedResourcesResponse;
use crate::proto::ProtectedResource;
use crate::proto::UpdateClientRequest;
use crate::proto::UpdateProtectedResourceRequest;
use crate::proto::registry_service_server::RegistryService;

const DEFAULT_PAGE: usize = 100;
const MAX_PAGE: usize = 1000;

#[tonic::async_trait]
impl RegistryService for Services {
    async fn create_client(&self, request: Request<CreateClientRequest>) -> Result<Response<Client>, Status> {
        let (_, extensions, message) = request.into_parts();
        let caller = caller(&extensions)?;
        let metadata = client_message::read(required(message.client)?)?;
        let created = self.authority.create_client(&caller.identity, metadata, message.validate_only).await;
        printed(created.as_deref())
    }

    async fn get_client(&self, request: Request<GetClientRequest>) -> Result<Response<Client>, Status> {
        printed(self.authority.client(&request.get_ref().client_id).as_deref())
    }

    async fn list_clients(
        &self,
        request: Request<ListClientsRequest>,
    ) -> Result<Response<ListClientsResponse>, Status> {
        let ListClientsRequest { page_size, page_token } = request.into_inner();
        let page = Page::read(page_size, &page_token)?;
        let found = self.authority.clients(page.after.as_deref(), page.size + 1);
        let (clients, next_page_token) = page.cut(found, |client| client.registration.client_id.to_string());
        let clients = clients.iter().map(|client| client_message::print(client)).collect();
        Ok(Response::new(ListClientsResponse { clients, next_page_token }))
    }

    async fn update_client(&self, request: Request<UpdateClientRequest>) -> Result<Response<Client>, Status> {
        let (_, extensions, message) = request.into_parts();
        let caller = caller(&extensions)?;
        let refuse = |error: RegistryError| status::registry_error(&error);
        let mut client = required(message.client)?;
        let from =
            client_message::revision(&client.etag).ok_or_else(|| refuse(RegistryError::EtagMissing(Kind::Client)))?;
        if let Some(mask) = message.update_mask.filter(|mask| !mask.paths.is_empty()) {
            let present = self.authority.client(&client.client_id).map_err(refuse)?;
            client = masked(client_message::print(&present), &client, &mask)?;
        }
        let metadata = client_message::read(client)?;
        let updated = self.authority.update_client(&caller.identity, metadata, from, message.validate_only).await;
        printed(updated.as_deref())
    }

    async fn delete_client(
        &self,
        request: Request<DeleteClientRequest>,
    ) -> Result<Response<DeleteClientResponse>, Status> {
        let (_, extensions, message) = request.into_parts();
        let caller = caller(&extensions)?;
        let refuse = |error: RegistryError| status::registry_error(&error);
        let from = match message.etag.as_str() {
            "" => None,
            etag => {
                Some(client_message::revision(etag).ok_or_else(|| refuse(RegistryError::EtagMissing(Kind::Client)))?)
            }
        };
        self.authority.delete_client(&caller.identity, &message.client_id, from).await.map_err(refuse)?;
        Ok(Response::new(DeleteClientResponse {}))
    }

    async fn create_protected_resource(
        &self,
        request: Request<CreateProtectedResourceRequest>,
    ) -> Result<Response<ProtectedResource>, Status> {
        let (_, extensions, message) = request.into_parts();
        let caller = caller(&extensions)?;
        let metadata = resource_message::read(required_resource(message.resource)?);
        let created = self.authority.create_resource(&caller.identity, metadata, message.validate_only).await;
        printed_resource(created.as_deref())
    }

    async fn get_protected_resource(
        &self,
        request: Request<GetProtectedResourceRequest>,
    ) -> Result<Response<ProtectedResource>, Status> {
        printed_resource(self.authority.resource(&request.get_ref().audience).as_deref())
    }

    async fn list_protected_resources(
        &self,
        request: Request<ListProtectedResourcesRequest>,
    ) -> Result<Response<ListProtectedResourcesResponse>, Status> {
        let ListProtectedResourcesRequest { page_size, page_token } = request.into_inner();
        let page = Page::read(page_size, &page_token)?;
        let found = self.authority.resources(page.after.as_deref(), page.size + 1);
        let (resources, next_page_token) = page.cut(found, |registered| registered.registration.audience().to_owned());
        let resources = resources.iter().map(|registered| resource_message::print(registered)).collect();
        Ok(Response::new(ListProtectedResourcesResponse { resources, next_page_token }))
    }

    async fn update_protected_resource(
        &self,
        request: Request<UpdateProtectedResourceRequest>,
    ) -> Result<Response<ProtectedResource>, Status> {
        let (_, extensions, message) = request.into_parts();
        let caller = caller(&extensions)?;
        let refuse = |error: RegistryError| status::registry_error(&error);
        let mut resource = required_resource(message.resource)?;
        let from = client_message::revision(&resource.etag)
            .ok_or_else(|| refuse(RegistryError::EtagMissing(Kind::Resource)))?;
        if let Some(mask) = message.update_mask.filter(|mask| !mask.paths.is_empty()) {
            let present = self.authority.resource(&resource.audience).map_err(refuse)?;
            resource = resource_message::masked(resource_message::print(&present), &resource, &mask)?;
        }
        let metadata = resource_message::read(resource);
        let updated = self.authority.update_resource(&caller.identity, metadata, from, message.validate_only).await;
        printed_resource(updated.as_deref())
    }

    async fn delete_protected_resource(
        &self,
        request: Request<DeleteProtectedResourceRequest>,
    ) -> Result<Response<DeleteProtectedResourceResponse>, Status> {
        let (_, extensions, message) = request.into_parts();
        let caller = caller(&extensions)?;
        let refuse = |error: RegistryError| status::registry_error(&error);
        let from = match message.etag.as_str() {
            "" => None,
            etag => {
                Some(client_message::revision(etag).ok_or_else(|| refuse(RegistryError::EtagMissing(Kind::Resource)))?)
            }
        };
        self.authority.delete_resource(&caller.identity, &message.audience, from).await.map_err(refuse)?;
        Ok(Response::new(DeleteProtectedResourceResponse {}))
    }
}

/// One page of a list.
struct Page {
    size: usize,
    after: Option<String>,
}

impl Page {
    fn read(page_size: i32, page_token: &str) -> Result<Self, Status> {
        let size = match usize::try_from(page_size) {
            Ok(0) => DEFAULT_PAGE,
            Ok(size) => size.min(MAX_PAGE),
            Err(_) => return Err(malformed("page_size", "is negative")),
        };
        let after = decode_page_token(page_token).map_err(|error| status::registry_error(&error))?;
        Ok(Self { size, after })
    }

    /// The page, and the token of the next one, out of one entry more than the page has, if there are as many.
    fn cut<T>(&self, mut entries: Vec<T>, name: impl Fn(&T) -> String) -> (Vec<T>, String) {
        let more = entries.len() > self.size;
        entries.truncate(self.size);
        let last = entries.last().filter(|_| more).map(name);
        let next_page_token = last.map(|name| URL_SAFE_NO_PAD.encode(name)).unwrap_or_default();
        (entries, next_page_token)
    }
}

fn required_resource(resource: Option<ProtectedResource>) -> Result<ProtectedResource, Status> {
    resource.ok_or_else(|| malformed("resource", "is missing"))
}

fn printed_resource(
    registered: Result<&RegisteredResource, &RegistryError>,
) -> Result<Response<ProtectedResource>, Status> {
    registered.map(|registered| Response::new(resource_message::print(registered))).map_err(status::registry_error)
}

fn required(client: Option<Client>) -> Result<Client, Status> {
    client.ok_or_else(|| malformed("client", "is missing"))
}

fn printed(
    client: Result<&crate::authority::registration::RegisteredClient, &RegistryError>,
) -> Result<Response<Client>, Status> {
    client.map(|client| Response::new(client_message::print(client))).map_err(status::registry_error)
}

fn decode_page_token(token: &str) -> Result<Option<String>, RegistryError> {
    if token.is_empty() {
        return Ok(None);
    }
    let name = URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    name.map(Some).ok_or(RegistryError::InvalidPageToken)
}

/// The present client with the named fields taken from another.
fn masked(present: Client, wanted: &Client, mask: &FieldMask) -> Result<Client, Status> {
    let mut client = present;
    for path in &mask.paths {
        match path.as_str() {
            "token_endpoint_auth_method" => {
                client.token_endpoint_auth_method.clone_from(&wanted.token_endpoint_auth_method);
            }
            "spiffe_id" => client.spiffe_id.clone_from(&wanted.spiffe_id),
            "tls_client_auth_subject_dn" => {
                client.tls_client_auth_subject_dn.clone_from(&wanted.tls_client_auth_subject_dn);
            }
            "tls_client_auth_san_dns" => client.tls_client_auth_san_dns.clone_from(&wanted.tls_client_auth_san_dns),
            "tls_client_auth_san_uri" => client.tls_client_auth_san_uri.clone_from(&wanted.tls_client_auth_san_uri),
            "tls_client_auth_san_ip" => client.tls_client_auth_san_ip.clone_from(&wanted.tls_client_auth_san_ip),
            "tls_client_auth_san_email" => {
                client.tls_client_auth_san_email.clone_from(&wanted.tls_client_auth_san_email);
            }
            "client_ca" => client.client_ca.clone_from(&wanted.client_ca),
            "jwks_uri" => client.jwks_uri.clone_from(&wanted.jwks_uri),
            "jwks" => client.jwks.clone_from(&wanted.jwks),
            "certificate_pem" => {
                // The certificates are kept as jwks, which new ones replace.
                client.jwks.clear();
                client.certificate_pem.clone_from(&wanted.certificate_pem);
            }
            "scope" => client.scope.clone_from(&wanted.scope),
            "audience" => client.audience.clone_from(&wanted.audience),
            "grant_types" => client.grant_types.clone_from(&wanted.grant_types),
            "tls_client_certificate_bound_access_tokens" => {
                client.tls_client_certificate_bound_access_tokens = wanted.tls_client_certificate_bound_access_tokens;
            }
            "access_token_ttl" => client.access_token_ttl = wanted.access_token_ttl,
            "rotation" => client.rotation.clone_from(&wanted.rotation),
            "owner" => client.owner.clone_from(&wanted.owner),
            "disabled" => client.disabled = wanted.disabled,
            _ => return Err(malformed("update_mask", "names a field that cannot be changed")),
        }
    }
    Ok(client)
}
