//! The short road of the calls that count: from a message that has arrived whole to its answer, without tonic between.
//!
//! Anything else (several pieces or messages, a compressed or unreadable one, one that is too large) goes the long way:
//! tonic says what is wrong with it.

use std::pin::Pin;
use std::sync::Arc;

use prost::Message as _;
use tonic::Status;

use crate::authority::Authority;
use crate::authority::access::CalledMethod;
use crate::authority::decision::CheckRequest;
use crate::authority::observe::RequestOutcome;
use crate::authority::state::Admitted;
use crate::authority::state::Asker;
use crate::grpc::MAX_CHECK_BYTES;
use crate::grpc::MAX_REQUEST_BYTES;
use crate::grpc::binding_question::BindingQuestion;
use crate::grpc::bindings;
use crate::grpc::check_question;
use crate::grpc::ext_authz;
use crate::grpc::short_answer::ShortAnswer;
use crate::grpc::status;
use crate::grpc::tokens;
use crate::grpc::wire::HEAD_BYTES;
use crate::proto::IssueTokenRequest;

/// A call that has a short road.
#[derive(Clone, Copy, Debug)]
pub enum ShortCall {
    /// `BindingService.ValidateBinding`
    ValidateBinding,
    /// `Authorization.Check`
    Check,
    /// `TokenService.IssueToken`
    IssueToken,
}

/// The message of a call, borrowed from its frame.
#[derive(Debug)]
pub struct ShortQuestion<'a>(Kind<'a>);

#[derive(Debug)]
enum Kind<'a> {
    ValidateBinding(BindingQuestion<'a>),
    /// `None` if it describes no HTTP request.
    Check(Option<CheckRequest<'a>>),
    IssueToken(IssueTokenRequest),
}

/// How a call is answered.
#[expect(missing_debug_implementations, reason = "futures have none")]
pub enum ShortAnswering {
    /// At once.
    Ready(Result<ShortAnswer, Status>),
    /// Once what it waits for is there: a signature, or published certificates.
    Waiting(Pin<Box<dyn Future<Output = Result<ShortAnswer, Status>> + Send>>),
}

impl ShortCall {
    /// The call of a method, if that has a short road.
    pub fn of(method: CalledMethod) -> Option<Self> {
        match method.canonical_name()? {
            "/lanyard.v1.BindingService/ValidateBinding" => Some(Self::ValidateBinding),
            "/envoy.service.auth.v3.Authorization/Check" => Some(Self::Check),
            "/lanyard.v1.TokenService/IssueToken" => Some(Self::IssueToken),
            _ => None,
        }
    }

    /// Reads a body: `None` if it is anything but one whole message that can be read.
    pub fn read(self, body: &[u8]) -> Option<ShortQuestion<'_>> {
        let ([compressed, length @ ..], message) = body.split_first_chunk::<HEAD_BYTES>()?;
        let most = match self {
            Self::ValidateBinding | Self::IssueToken => MAX_REQUEST_BYTES,
            Self::Check => MAX_CHECK_BYTES,
        };
        let whole = usize::try_from(u32::from_be_bytes(*length)) == Ok(message.len());
        if *compressed != 0 || !whole || message.len() > most {
            return None;
        }
        Some(ShortQuestion(match self {
            Self::ValidateBinding => Kind::ValidateBinding(BindingQuestion::read(message).ok()?),
            Self::Check => Kind::Check(check_question::read(message).ok()?),
            Self::IssueToken => Kind::IssueToken(IssueTokenRequest::decode(message).ok()?),
        }))
    }
}

impl ShortQuestion<'_> {
    /// Answers the call of an admitted caller.
    /// `body` is what the question was read from.
    pub fn answer(self, authority: &Arc<Authority>, admitted: Admitted, body: &[u8]) -> ShortAnswering {
        ShortAnswering::Ready(match self.0 {
            Kind::ValidateBinding(question) => {
                let asker = Asker::from(admitted);
                ShortAnswer::written(|message| {
                    bindings::evaluate(authority, &asker, &question, message).map(|()| RequestOutcome::Ok)
                })
            }
            Kind::Check(request) => {
                let asker = Asker::from(admitted);
                if request.as_ref().is_some_and(|request| authority.check_waits(&asker, request)) {
                    return check_when_signed(authority, asker, body);
                }
                ShortAnswer::written(|message| ext_authz::check(authority, &asker, request.as_ref(), message))
            }
            Kind::IssueToken(request) => {
                let Some(caller) = admitted.into_caller() else {
                    return ShortAnswering::Ready(Err(status::broken()));
                };
                let authority = Arc::clone(authority);
                return ShortAnswering::Waiting(Box::pin(async move {
                    let issued = tokens::issue(&authority, caller, request).await?;
                    ShortAnswer::written(|message| {
                        message.encoded(&issued.encode_to_vec());
                        Ok(RequestOutcome::Ok)
                    })
                }));
            }
        })
    }
}

/// Answers a check that waits for a signature: it is read once more, from a copy that waits with it.
fn check_when_signed(authority: &Arc<Authority>, asker: Asker, body: &[u8]) -> ShortAnswering {
    let (authority, body) = (Arc::clone(authority), body.to_vec());
    ShortAnswering::Waiting(Box::pin(async move {
        let message = body.get(HEAD_BYTES..).unwrap_or_default();
        let request = check_question::read(message).map_err(|_| status::broken())?;
        let checked = ext_authz::check_when_signed(&authority, &asker, request.as_ref()).await?;
        ShortAnswer::written(|message| Ok(ext_authz::write(&checked, message)))
    }))
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::proto::ValidateBindingRequest;
    use crate::proto::envoy::service::auth::v3::CheckRequest;

    fn framed(compressed: u8, message: &[u8]) -> Vec<u8> {
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        [&[compressed], length.as_slice(), message].concat()
    }

    #[test]
    fn one_whole_message_is_read_and_anything_else_goes_the_long_way() {
        let message = |bytes: usize| ValidateBindingRequest { access_token: "a".repeat(bytes), ..Default::default() };
        let good = framed(0, &message(700).encode_to_vec());
        let read = |body: &[u8]| ShortCall::ValidateBinding.read(body).is_some();
        assert!(read(&good) && read(&framed(0, b"")));
        assert!(ShortCall::Check.read(&framed(0, &CheckRequest::default().encode_to_vec())).is_some());
        let largest = message(MAX_REQUEST_BYTES - 4).encode_to_vec();
        assert_eq!(largest.len(), MAX_REQUEST_BYTES);
        assert!(read(&framed(0, &largest)));
        let cases = [
            b"".to_vec(),
            good[..4].to_vec(),
            good[..good.len() - 1].to_vec(),
            [good.as_slice(), b"x"].concat(),
            [good.as_slice(), &good].concat(),
            framed(1, &good[5..]),
            framed(2, &good[5..]),
            framed(0, &message(MAX_REQUEST_BYTES - 3).encode_to_vec()),
            framed(0, b"\x0a\x01\xff"),
            framed(0, b"\x0b\x0c"),
        ];
        for body in cases {
            assert!(!read(&body), "{:?}", body.get(..20));
        }
    }
}
