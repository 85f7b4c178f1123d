//! The answer to a call as one framed message, without tonic.

use tonic::Status;

use crate::authority::observe::RequestOutcome;
use crate::grpc::wire;
use crate::grpc::wire::Writer;

/// The answer to a call.
#[derive(Debug)]
pub struct ShortAnswer {
    /// The framed message.
    pub frame: Vec<u8>,
    /// The outcome for the metrics.
    pub outcome: RequestOutcome,
}

/// Room for the usual answer.
const ANSWER_BYTES: usize = 1024;

impl ShortAnswer {
    /// The answer whose message is written so.
    pub(super) fn written(
        write: impl FnOnce(&mut Writer<'_>) -> Result<RequestOutcome, Status>,
    ) -> Result<Self, Status> {
        let (mut frame, mut outcome) = (Vec::with_capacity(ANSWER_BYTES), Ok(RequestOutcome::Ok));
        wire::frame(&mut frame, |message| outcome = write(message));
        outcome.map(|outcome| Self { frame, outcome })
    }
}
