//! `lanyard.v1.AdminService`.

use std::collections::BTreeSet;
use std::pin::Pin;

use futures_core::Stream;
use futures_util::stream;
use strum::VariantArray as _;
use tonic::Request;
use tonic::Response;
use tonic::Status;

use crate::authority::backup::Lines;
use crate::authority::observe;
use crate::authority::state;
use crate::authority::state::FeatureRecord;
use crate::grpc::Services;
use crate::grpc::caller;
use crate::grpc::status;
use crate::messages;
use crate::proto::AuditHead;
use crate::proto::EnableFeatureRequest;
use crate::proto::EnableFeatureResponse;
use crate::proto::ExportStoreRequest;
use crate::proto::ExportStoreResponse;
use crate::proto::Feature;
use crate::proto::ListAuditHeadsRequest;
use crate::proto::ListAuditHeadsResponse;
use crate::proto::ListFeaturesRequest;
use crate::proto::ListFeaturesResponse;
use crate::proto::admin_service_server::AdminService;

/// The size of a message from which on it is sent, in bytes. No line is longer than a message may be.
const MESSAGE_BYTES: usize = 64 * 1024;

/// The most heads of the audit trail in an answer, 200 bytes each.
const MAX_HEADS: usize = 1000;

#[tonic::async_trait]
impl AdminService for Services {
    type ExportStoreStream = Pin<Box<dyn Stream<Item = Result<ExportStoreResponse, Status>> + Send>>;

    async fn export_store(
        &self,
        request: Request<ExportStoreRequest>,
    ) -> Result<Response<Self::ExportStoreStream>, Status> {
        let caller = caller(request.extensions())?;
        let export = self.authority.export_store(caller).await.map_err(|_| status::store_unavailable())?;
        // The lines are made as they are sent.
        Ok(Response::new(Box::pin(stream::iter(Messages(export.into_lines())))))
    }

    async fn list_features(&self, _: Request<ListFeaturesRequest>) -> Result<Response<ListFeaturesResponse>, Status> {
        let enabled = self.authority.enabled_features();
        let own = state::Feature::VARIANTS.iter().map(|own| own.name());
        let names: BTreeSet<&str> = own.chain(enabled.all().map(|(name, ..)| name)).collect();
        let features = names.into_iter().map(|name| feature(name, enabled.record_of(name))).collect();
        Ok(Response::new(ListFeaturesResponse { features }))
    }

    async fn enable_feature(
        &self,
        request: Request<EnableFeatureRequest>,
    ) -> Result<Response<EnableFeatureResponse>, Status> {
        let (_, extensions, EnableFeatureRequest { name }) = request.into_parts();
        let enabled = self.authority.enable_feature(caller(&extensions)?, &name).await;
        let (record, already_enabled) = enabled.map_err(status::refused(|error| status::feature_error(&error)))?;
        Ok(Response::new(EnableFeatureResponse { feature: Some(feature(&name, Some(&record))), already_enabled }))
    }

    async fn list_audit_heads(
        &self,
        _: Request<ListAuditHeadsRequest>,
    ) -> Result<Response<ListAuditHeadsResponse>, Status> {
        let heads = self.authority.audit_heads(MAX_HEADS).await.map_err(|_| status::store_unavailable())?;
        Ok(Response::new(ListAuditHeadsResponse { heads: heads.into_iter().map(audit_head).collect() }))
    }
}

fn audit_head(head: observe::AuditHead) -> AuditHead {
    let observe::AuditHead { chain, sequence, hash, time, has_ended } = head;
    AuditHead { chain, sequence, hash, time: Some(messages::timestamp(time)), has_ended }
}

fn feature(name: &str, record: Option<&FeatureRecord>) -> Feature {
    Feature {
        name: name.to_owned(),
        description: state::Feature::named(name).map(|own| own.description().to_owned()).unwrap_or_default(),
        enabled: record.is_some(),
        enable_time: record.map(|record| messages::timestamp(record.enable_time)),
        enabled_by: record.map(|record| record.enabled_by.clone()).unwrap_or_default(),
    }
}

/// The lines of an export, several to a message.
struct Messages(Lines);

impl Iterator for Messages {
    type Item = Result<ExportStoreResponse, Status>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut data = Vec::new();
        while data.len() < MESSAGE_BYTES
            && let Some(line) = self.0.next()
        {
            match line {
                Ok(line) => data.extend_from_slice(&line),
                Err(error) => {
                    tracing::error!(%error, "a record cannot be exported");
                    return Some(Err(status::broken()));
                }
            }
        }
        (!data.is_empty()).then_some(Ok(ExportStoreResponse { data }))
    }
}
