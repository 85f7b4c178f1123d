//! A stream of `ValidateBindings` requests and their responses.

use lanyard::proto::Decision;
use lanyard::proto::DenyReason;
use lanyard::proto::ValidateBindingRequest;
use lanyard::proto::ValidateBindingsResponse;
use lanyard::proto::binding_service_client::BindingServiceClient;
use lanyard::proto::validate_bindings_response::Outcome;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use tonic::Status;
use tonic::Streaming;
use tonic::transport::Channel;

use crate::support::door::within;

/// An open stream.
pub struct BindingStream {
    pub questions: mpsc::Sender<ValidateBindingRequest>,
    pub answers: Streaming<ValidateBindingsResponse>,
}

/// The outcome in a response.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum StreamOutcome {
    Allowed,
    Denied(DenyReason),
    Failed(Code, String),
}

impl BindingStream {
    pub async fn open(mut bindings: BindingServiceClient<Channel>) -> Self {
        let (questions, queue) = mpsc::channel(1);
        let answers = within(bindings.validate_bindings(ReceiverStream::new(queue))).await.unwrap().into_inner();
        Self { questions, answers }
    }

    pub async fn send(&self, question: ValidateBindingRequest) {
        within(self.questions.send(question)).await.unwrap();
    }

    /// Receives the next outcome.
    pub async fn next(&mut self) -> Result<StreamOutcome, Status> {
        Ok(outcome_of(&within(self.answers.message()).await?.expect("the stream ended without an error")))
    }

    /// Sends a request and waits for its outcome.
    pub async fn ask(&mut self, question: &ValidateBindingRequest) -> Result<StreamOutcome, Status> {
        self.send(question.clone()).await;
        self.next().await
    }
}

pub fn outcome_of(answer: &ValidateBindingsResponse) -> StreamOutcome {
    match answer.outcome.as_ref().unwrap() {
        Outcome::Judged(response) => match response.decision() {
            Decision::Allow => StreamOutcome::Allowed,
            Decision::Deny => StreamOutcome::Denied(response.reason()),
            Decision::Unspecified => panic!("no decision: {response:?}"),
        },
        Outcome::Error(error) => {
            assert!(!error.message.is_empty());
            StreamOutcome::Failed(Code::from_i32(error.code), error.reason.clone())
        }
    }
}
