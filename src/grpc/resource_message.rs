//! A protected resource as the registry's messages have it, and as the core has it.

use prost_types::FieldMask;
use tonic::Status;

use crate::authority::resources::Gateways;
use crate::authority::resources::RegisteredResource;
use crate::authority::resources::ResourceMetadata;
use crate::authority::resources::RouteMetadata;
use crate::grpc::client_message::etag;
use crate::grpc::client_message::timestamp;
use crate::grpc::status::malformed;
use crate::proto::EvidenceFrom;
use crate::proto::ProtectedResource;
use crate::proto::Route;

/// Reads what a request says of a resource. Output-only fields are not looked at.
pub(super) fn read(resource: ProtectedResource) -> ResourceMetadata {
    let some = |text: String| Some(text).filter(|text| !text.is_empty());
    let route = |Route { methods, path, scope, public }: Route| RouteMetadata { methods, path, scope, public };
    ResourceMetadata {
        audience: resource.audience,
        scope: resource.scope,
        routes: resource.routes.into_iter().map(route).collect(),
        least_evidence: some(resource.least_evidence),
        evidence_from: resource.evidence_from.map(|EvidenceFrom { via }| Gateways { via }),
        trust_domains: resource.trust_domains,
        mode: some(resource.mode),
        report_header: resource.report_header,
        remove_authorization: resource.remove_authorization,
        destination_principals: resource.destination_principals,
        authorities: resource.authorities,
        owner: some(resource.owner),
    }
}

/// Prints a resource as it stands.
pub(super) fn print(registered: &RegisteredResource) -> ProtectedResource {
    let ResourceMetadata {
        audience,
        scope,
        routes,
        least_evidence,
        evidence_from,
        trust_domains,
        mode,
        report_header,
        remove_authorization,
        destination_principals,
        authorities,
        owner,
    } = registered.registration.metadata.clone();
    let route = |RouteMetadata { methods, path, scope, public }: RouteMetadata| Route { methods, path, scope, public };
    ProtectedResource {
        audience,
        scope,
        routes: routes.into_iter().map(route).collect(),
        least_evidence: least_evidence.unwrap_or_default(),
        evidence_from: evidence_from.map(|Gateways { via }| EvidenceFrom { via }),
        trust_domains,
        mode: mode.unwrap_or_default(),
        report_header,
        remove_authorization,
        destination_principals,
        authorities,
        owner: owner.unwrap_or_default(),
        etag: etag(registered.revision),
        create_time: Some(timestamp(registered.record.create_time)),
        update_time: Some(timestamp(registered.record.update_time)),
        created_by: registered.record.created_by.clone(),
        updated_by: registered.record.updated_by.clone(),
    }
}

/// The present resource with the named fields taken from another.
pub(super) fn masked(
    present: ProtectedResource,
    wanted: &ProtectedResource,
    mask: &FieldMask,
) -> Result<ProtectedResource, Status> {
    let mut resource = present;
    for path in &mask.paths {
        match path.as_str() {
            "scope" => resource.scope.clone_from(&wanted.scope),
            "routes" => resource.routes.clone_from(&wanted.routes),
            "least_evidence" => resource.least_evidence.clone_from(&wanted.least_evidence),
            "evidence_from" => resource.evidence_from.clone_from(&wanted.evidence_from),
            "trust_domains" => resource.trust_domains.clone_from(&wanted.trust_domains),
            "mode" => resource.mode.clone_from(&wanted.mode),
            "report_header" => resource.report_header = wanted.report_header,
            "remove_authorization" => resource.remove_authorization = wanted.remove_authorization,
            "destination_principals" => {
                resource.destination_principals.clone_from(&wanted.destination_principals);
            }
            "authorities" => resource.authorities.clone_from(&wanted.authorities),
            "owner" => resource.owner.clone_from(&wanted.owner),
            _ => return Err(malformed("update_mask", "names a field that cannot be changed")),
        }
    }
    Ok(resource)
}
