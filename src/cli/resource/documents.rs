//! What the commands for all that is registered need to know of protected resources.

use std::path::Path;

use tonic::Response;
use tonic::Status;

use crate::cli::documents::Registered;
use crate::cli::documents::Registry;
use crate::cli::error::CommandError;
use crate::cli::resource::yaml::EvidenceFromYaml;
use crate::cli::resource::yaml::ResourceYaml;
use crate::cli::status::Needs;
use crate::proto::CreateProtectedResourceRequest;
use crate::proto::DeleteProtectedResourceRequest;
use crate::proto::GetProtectedResourceRequest;
use crate::proto::ListProtectedResourcesRequest;
use crate::proto::ProtectedResource;
use crate::proto::UpdateProtectedResourceRequest;
use crate::yaml::Node;

impl Registered for ResourceYaml {
    type Message = ProtectedResource;

    const KIND: &'static str = "resource";
    const NAME: &'static str = "audience";
    const NEEDS: Needs = Needs::Resources;
    const HEADER: [&'static str; 5] = ["AUDIENCE", "MODE", "EVIDENCE", "ROUTES", "OWNER"];
    const OTHER: &'static str = "client";

    fn name(&self) -> &str {
        &self.audience
    }

    fn message(&self, etag: String) -> ProtectedResource {
        ProtectedResource { etag, ..self.clone().into() }
    }

    fn etag(message: &ProtectedResource) -> &str {
        &message.etag
    }

    fn row(&self) -> [String; 5] {
        let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let least = or_dash(&self.least_evidence);
        let evidence = match &self.evidence_from {
            EvidenceFromYaml::Peer => least,
            EvidenceFromYaml::Via(gateways) => match gateways.via.as_slice() {
                [only] => format!("{least} via {only}"),
                several => format!("{least} via {} gateways", several.len()),
            },
        };
        [self.audience.clone(), or_dash(&self.mode), evidence, self.routes.len().to_string(), or_dash(&self.owner)]
    }

    fn is_other(document: &Node) -> bool {
        document.get("client_id").is_some()
    }

    fn completed(self, _: &Path) -> Result<Self, CommandError> {
        Ok(self)
    }

    async fn read(registry: &mut Registry, name: &str) -> Result<ProtectedResource, Status> {
        let request = GetProtectedResourceRequest { audience: name.to_owned() };
        registry.get_protected_resource(request).await.map(Response::into_inner)
    }

    async fn page(registry: &mut Registry, page_token: String) -> Result<(Vec<ProtectedResource>, String), Status> {
        let request = ListProtectedResourcesRequest { page_size: 0, page_token };
        let page = registry.list_protected_resources(request).await?.into_inner();
        Ok((page.resources, page.next_page_token))
    }

    async fn create(
        registry: &mut Registry,
        message: ProtectedResource,
        validate_only: bool,
    ) -> Result<ProtectedResource, Status> {
        let request = CreateProtectedResourceRequest { resource: Some(message), validate_only };
        registry.create_protected_resource(request).await.map(Response::into_inner)
    }

    async fn update(
        registry: &mut Registry,
        message: ProtectedResource,
        validate_only: bool,
    ) -> Result<ProtectedResource, Status> {
        let request = UpdateProtectedResourceRequest { resource: Some(message), update_mask: None, validate_only };
        registry.update_protected_resource(request).await.map(Response::into_inner)
    }

    async fn remove(registry: &mut Registry, name: String, etag: String) -> Result<(), Status> {
        registry.delete_protected_resource(DeleteProtectedResourceRequest { audience: name, etag }).await.map(drop)
    }
}
