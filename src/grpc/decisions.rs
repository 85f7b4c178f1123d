//! `lanyard.v1.DecisionService`: decisions as they are made, to those who follow them.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::LazyLock;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use futures_core::Stream;
use tonic::Request;
use tonic::Response;
use tonic::Status;

use crate::authority::Authority;
use crate::authority::access::CalledMethod;
use crate::authority::access::ConnectionInfo;
use crate::authority::access::NotAdmitted;
use crate::authority::access::Peer;
use crate::authority::access::Sender;
use crate::authority::observe::AuditOutcome;
use crate::authority::observe::DecisionFilter;
use crate::authority::observe::Followed;
use crate::authority::observe::FollowedDecision;
use crate::authority::observe::Follower;
use crate::grpc::Services;
use crate::grpc::caller;
use crate::grpc::not_followed;
use crate::grpc::status;
use crate::grpc::status::malformed;
use crate::messages::timestamp;
use crate::proto::DecisionOutcome;
use crate::proto::FollowDecisionsRequest;
use crate::proto::FollowDecisionsResponse;
use crate::proto::RecordedDecision;
use crate::proto::decision_service_server::DecisionService;

/// The longest text that decisions are filtered by, and the most stars in it: each decision is compared with it, on the thread
/// that makes it.
const MAX_FILTER_BYTES: usize = 2048;
const MAX_STARS: usize = 8;

/// The method's full name, as in the access table.
const METHOD: &str = "/lanyard.v1.DecisionService/FollowDecisions";

/// [`METHOD`] resolved once, because each message needs it.
static CALLED_METHOD: LazyLock<CalledMethod> = LazyLock::new(|| CalledMethod::find(METHOD, true));

#[tonic::async_trait]
impl DecisionService for Services {
    type FollowDecisionsStream = Pin<Box<dyn Stream<Item = Result<FollowDecisionsResponse, Status>> + Send>>;

    async fn follow_decisions(
        &self,
        request: Request<FollowDecisionsRequest>,
    ) -> Result<Response<Self::FollowDecisionsStream>, Status> {
        let (_, extensions, message) = request.into_parts();
        let caller = caller(&extensions)?;
        let peer = extensions.get::<Peer>().cloned();
        let peer = peer.ok_or_else(|| Status::internal("the request did not pass the guard"))?;
        let follower = self.authority.follow(caller, filter(message)?).ok_or_else(not_followed::too_many_followers)?;
        let (authority, connection) = (Arc::clone(&self.authority), caller.connection);
        Ok(Response::new(Box::pin(Decisions { authority, peer, connection, follower: Some(follower) })))
    }
}

fn filter(message: FollowDecisionsRequest) -> Result<DecisionFilter, Status> {
    let outcome = match DecisionOutcome::try_from(message.outcome) {
        Ok(DecisionOutcome::Unspecified) => None,
        Ok(DecisionOutcome::Allowed) => Some(AuditOutcome::Allowed),
        Ok(DecisionOutcome::Denied) => Some(AuditOutcome::Denied),
        Ok(DecisionOutcome::Reported) => Some(AuditOutcome::Reported),
        Err(_) => return Err(malformed("outcome", "is none that this server knows")),
    };
    let sent = |text: String| Some(text).filter(|text| !text.is_empty());
    let FollowDecisionsRequest { resource, caller, reason, .. } = message;
    for (field, text) in [("resource", &resource), ("caller", &caller), ("reason", &reason)] {
        if text.len() > MAX_FILTER_BYTES {
            return Err(malformed(field, "is too long"));
        }
    }
    if caller.bytes().filter(|byte| *byte == b'*').count() > MAX_STARS {
        return Err(malformed("caller", "has too many stars"));
    }
    Ok(DecisionFilter { resource: sent(resource), caller: sent(caller), reason: sent(reason), outcome })
}

/// The messages of one stream. Before each the caller is authorized again, as at a request.
struct Decisions {
    authority: Arc<Authority>,
    peer: Peer,
    connection: ConnectionInfo,
    /// `None` once the stream has ended.
    follower: Option<Follower>,
}

impl Stream for Decisions {
    type Item = Result<FollowDecisionsResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(follower) = &self.follower else { return Poll::Ready(None) };
        let next = ready!(follower.poll_next(context));
        let authorized = self.authority.authorize(self.authority.view(), Some(&self.peer), *CALLED_METHOD);
        // Who follows everything must still be one who may.
        let authorized = authorized.and_then(|caller| {
            let sees_it = !follower.sees_all() || caller.is_some_and(|caller| caller.roles().reads_all());
            if sees_it { Ok(()) } else { Err(NotAdmitted::WrongRole) }
        });
        Poll::Ready(Some(match authorized {
            Ok(()) => Ok(printed(&next)),
            Err(error) => {
                self.follower = None;
                let sender = Sender::of(Some(&self.peer), self.connection);
                let reference = self.authority.report_not_admitted(&sender, METHOD, error, true);
                Err(status::referring(&status::not_admitted(error), reference))
            }
        }))
    }
}

fn printed(followed: &Followed) -> FollowDecisionsResponse {
    let decision = followed.decision.as_deref().map(decision);
    FollowDecisionsResponse { missed: followed.missed, decision }
}

fn decision(decision: &FollowedDecision) -> RecordedDecision {
    let outcome = match decision.outcome {
        AuditOutcome::Allowed | AuditOutcome::Changed => DecisionOutcome::Allowed,
        AuditOutcome::Denied => DecisionOutcome::Denied,
        AuditOutcome::Reported => DecisionOutcome::Reported,
    };
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    RecordedDecision {
        time: Some(timestamp(decision.at)),
        event: decision.event.to_owned(),
        outcome: outcome.into(),
        reason: decision.reason.unwrap_or_default().to_owned(),
        reference: decision.reference.map(|reference| reference.to_string()).unwrap_or_default(),
        caller: text(&decision.caller),
        evidence: text(&decision.evidence),
        client_id: text(&decision.client_id),
        resource: text(&decision.resource),
        route: text(&decision.route),
        method: text(&decision.method),
        path: text(&decision.path),
        jti: text(&decision.jti),
    }
}
