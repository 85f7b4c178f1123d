//! A stream of questions about bindings, and its answers.

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

/// What an answer comes to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Said {
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

    /// The next answer.
    pub async fn next(&mut self) -> Result<Said, Status> {
        Ok(said(&within(self.answers.message()).await?.expect("the stream ended as if all were answered")))
    }

    /// Asks, and waits for the answer.
    pub async fn ask(&mut self, question: &ValidateBindingRequest) -> Result<Said, Status> {
        self.send(question.clone()).await;
        self.next().await
    }
}

pub fn said(answer: &ValidateBindingsResponse) -> Said {
    match answer.outcome.as_ref().unwrap() {
        Outcome::Judged(judged) => match judged.decision() {
            Decision::Allow => Said::Allowed,
            Decision::Deny => Said::Denied(judged.reason()),
            Decision::Unspecified => panic!("no decision: {judged:?}"),
        },
        Outcome::Error(error) => {
            assert!(!error.message.is_empty());
            Said::Failed(Code::from_i32(error.code), error.reason.clone())
        }
    }
}
