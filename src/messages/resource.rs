//! Conversion of a protected resource between the registry's message and the core's metadata.

use crate::authority::resources::EvidenceSource;
use crate::authority::resources::ReceiptsMetadata;
use crate::authority::resources::RegisteredResource;
use crate::authority::resources::ResourceMetadata;
use crate::authority::resources::RouteMetadata;
use crate::authority::resources::RouteTxnMetadata;
use crate::messages::common::Malformed;
use crate::messages::common::Masked;
use crate::messages::common::duration;
use crate::messages::common::duration_message;
use crate::messages::common::etag;
use crate::messages::common::set;
use crate::messages::common::take_one_of;
use crate::messages::common::timestamp;
use crate::messages::exchange;
use crate::proto::EvidenceFrom;
use crate::proto::ProtectedResource;
use crate::proto::Receipts;
use crate::proto::Route;
use crate::proto::RouteTxn;

impl TryFrom<ProtectedResource> for ResourceMetadata {
    type Error = Malformed;

    /// Output-only fields are ignored.
    fn try_from(resource: ProtectedResource) -> Result<Self, Malformed> {
        Ok(Self {
            audience: resource.audience,
            scope: resource.scope,
            routes: resource.routes.into_iter().map(route).collect(),
            least_evidence: set(resource.least_evidence),
            evidence_from: resource.evidence_from.map(|EvidenceFrom { via, header }| EvidenceSource { via, header }),
            trust_domains: resource.trust_domains,
            mode: set(resource.mode),
            report_header: resource.report_header,
            remove_authorization: resource.remove_authorization,
            destination_principals: resource.destination_principals,
            authorities: resource.authorities,
            delegated: resource.delegated.map(exchange::delegated),
            owner: set(resource.owner),
            record_allowed: resource.record_allowed,
            managed_by: set(resource.managed_by),
            max_staleness: duration("max_staleness", resource.max_staleness)?,
            receipts: resource.receipts.map(receipts).transpose()?,
            txn_token: set(resource.txn_token),
            txn_once: resource.txn_once,
        })
    }
}

impl From<ResourceMetadata> for ProtectedResource {
    /// Output-only fields are left out.
    fn from(metadata: ResourceMetadata) -> Self {
        Self {
            audience: metadata.audience,
            scope: metadata.scope,
            routes: metadata.routes.into_iter().map(route_message).collect(),
            least_evidence: metadata.least_evidence.unwrap_or_default(),
            evidence_from: metadata.evidence_from.map(|EvidenceSource { via, header }| EvidenceFrom { via, header }),
            trust_domains: metadata.trust_domains,
            mode: metadata.mode.unwrap_or_default(),
            report_header: metadata.report_header,
            remove_authorization: metadata.remove_authorization,
            destination_principals: metadata.destination_principals,
            authorities: metadata.authorities,
            delegated: metadata.delegated.map(exchange::delegated_message),
            owner: metadata.owner.unwrap_or_default(),
            record_allowed: metadata.record_allowed,
            managed_by: metadata.managed_by.unwrap_or_default(),
            max_staleness: metadata.max_staleness.map(duration_message),
            receipts: metadata.receipts.map(receipts_message),
            txn_token: metadata.txn_token.unwrap_or_default(),
            txn_once: metadata.txn_once,
            etag: String::new(),
            create_time: None,
            update_time: None,
            created_by: String::new(),
            updated_by: String::new(),
            warnings: Vec::new(),
            suspended: String::new(),
        }
    }
}

fn route(Route { methods, path, scope, public, txn, txn_scope }: Route) -> RouteMetadata {
    let minted = |RouteTxn { scope, details, context }: RouteTxn| {
        let details = details.into_iter().collect();
        RouteTxnMetadata { scope, details, context }
    };
    RouteMetadata { methods, path, scope, public, txn: txn.map(minted), txn_scope }
}

fn route_message(RouteMetadata { methods, path, scope, public, txn, txn_scope }: RouteMetadata) -> Route {
    let minted = |RouteTxnMetadata { scope, details, context }: RouteTxnMetadata| {
        let details = details.into_iter().collect();
        RouteTxn { scope, details, context }
    };
    Route { methods, path, scope, public, txn: txn.map(minted), txn_scope }
}

fn receipts(Receipts { exchangers, ttl, once }: Receipts) -> Result<ReceiptsMetadata, Malformed> {
    Ok(ReceiptsMetadata { exchangers, ttl: duration("receipts", ttl)?, once: set(once) })
}

fn receipts_message(ReceiptsMetadata { exchangers, ttl, once }: ReceiptsMetadata) -> Receipts {
    Receipts { exchangers, ttl: ttl.map(duration_message), once: once.unwrap_or_default() }
}

impl From<&RegisteredResource> for ProtectedResource {
    fn from(resource: &RegisteredResource) -> Self {
        Self {
            etag: etag(resource.revision),
            create_time: Some(timestamp(resource.record.create_time)),
            update_time: Some(timestamp(resource.record.update_time)),
            created_by: resource.record.created_by.to_string(),
            updated_by: resource.record.updated_by.to_string(),
            suspended: resource.suspended.map(|why| why.to_string()).unwrap_or_default(),
            ..resource.registration.metadata.clone().into()
        }
    }
}

impl Masked for ProtectedResource {
    fn take(&mut self, field: &str, from: &Self) -> Option<()> {
        take_one_of!(
            self, from, field: scope, routes, least_evidence, evidence_from, trust_domains, mode, report_header,
            remove_authorization, destination_principals, authorities, delegated, owner, managed_by, max_staleness, record_allowed,
            receipts, txn_token, txn_once,
        );
        Some(())
    }
}
