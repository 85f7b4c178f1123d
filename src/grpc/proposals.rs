//! `lanyard.v1.ProposalService`.

use tonic::Request;
use tonic::Response;
use tonic::Status;

use crate::authority::state::ProposalRecord;
use crate::authority::state::ProposedStates;
use crate::authority::state::SeenProposal;
use crate::grpc::Services;
use crate::grpc::caller;
use crate::grpc::status;
use crate::messages;
use crate::messages::timestamp;
use crate::proto::ApproveProposalRequest;
use crate::proto::ApproveProposalResponse;
use crate::proto::GetProposalRequest;
use crate::proto::ListProposalsRequest;
use crate::proto::ListProposalsResponse;
use crate::proto::Proposal;
use crate::proto::RegistrationChange;
use crate::proto::RejectProposalRequest;
use crate::proto::RejectProposalResponse;
use crate::proto::proposal_service_server::ProposalService;

#[tonic::async_trait]
impl ProposalService for Services {
    async fn list_proposals(
        &self,
        request: Request<ListProposalsRequest>,
    ) -> Result<Response<ListProposalsResponse>, Status> {
        let seen = self.authority.seen_proposals(caller(request.extensions())?).await;
        let seen = seen.map_err(|error| status::proposal_error(&error))?;
        let proposals = seen.iter().map(|one| Proposal { outdated: one.is_outdated, ..listed(&one.record) }).collect();
        Ok(Response::new(ListProposalsResponse { proposals }))
    }

    async fn get_proposal(&self, request: Request<GetProposalRequest>) -> Result<Response<Proposal>, Status> {
        let (_, extensions, GetProposalRequest { id }) = request.into_parts();
        let seen = self.authority.seen_proposal(caller(&extensions)?, &id).await;
        let (SeenProposal { record, is_outdated }, states) = seen.map_err(|error| status::proposal_error(&error))?;
        let change = match states {
            ProposedStates::Client(change) => messages::change_of_client(*change),
            ProposedStates::Resource(change) => messages::change_of_resource(*change),
            ProposedStates::Grant(change) => messages::change_of_grant(*change),
            ProposedStates::State(change) => messages::change_of_state(change, String::clone),
        };
        Ok(Response::new(Proposal { change: Some(change), outdated: is_outdated, ..listed(&record) }))
    }

    async fn approve_proposal(
        &self,
        request: Request<ApproveProposalRequest>,
    ) -> Result<Response<ApproveProposalResponse>, Status> {
        let (_, extensions, ApproveProposalRequest { id }) = request.into_parts();
        let approved = self.authority.approve_proposal(caller(&extensions)?, &id).await;
        let record = approved.map_err(status::refused(|error| status::proposal_error(&error)))?;
        Ok(Response::new(ApproveProposalResponse { proposal: Some(listed(&record)) }))
    }

    async fn reject_proposal(
        &self,
        request: Request<RejectProposalRequest>,
    ) -> Result<Response<RejectProposalResponse>, Status> {
        let (_, extensions, RejectProposalRequest { id }) = request.into_parts();
        let rejected = self.authority.reject_proposal(caller(&extensions)?, &id).await;
        let record = rejected.map_err(status::refused(|error| status::proposal_error(&error)))?;
        Ok(Response::new(RejectProposalResponse { proposal: Some(listed(&record)) }))
    }
}

/// A proposal without what it changes.
fn listed(record: &ProposalRecord) -> Proposal {
    let change: &str = record.change.into();
    Proposal {
        id: record.id().to_owned(),
        kind: record.kind.name().to_owned(),
        name: record.name.clone(),
        change: Some(RegistrationChange {
            change: change.to_owned(),
            time: Some(timestamp(record.time)),
            changed_by: record.proposer.name.clone(),
            reason: record.reason.clone().unwrap_or_default(),
            ..RegistrationChange::default()
        }),
        by_team: !record.proposer.as_admin,
        expire_time: Some(timestamp(record.expires)),
        outdated: false,
    }
}
