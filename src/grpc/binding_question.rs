//! A `ValidateBindingRequest`, read without copying.

use crate::authority::decision::PresentedEvidence;
use crate::authority::evidence::Evidence;
use crate::authority::evidence::InvalidEvidence;
use crate::grpc::wire::Fields;
use crate::grpc::wire::Unreadable;
use crate::proto::ValidateBindingRequest;
use crate::proto::validate_binding_request;

/// A request to validate one use of one token.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct BindingQuestion<'a> {
    pub(super) access_token: &'a str,
    pub(super) brought: Option<Brought<'a>>,
    pub(super) audience: &'a str,
    pub(super) scope: &'a str,
    pub(super) receipt: bool,
}

/// The evidence that a request brings, not read yet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Brought<'a> {
    Certificate(&'a [u8]),
    Thumbprint(&'a [u8]),
    SpiffeId(&'a str),
    ForwardedClientCert(&'a str),
    OwnConnection(bool),
}

impl<'a> BindingQuestion<'a> {
    /// Reads an encoded message.
    pub(super) fn read(message: &'a [u8]) -> Result<Self, Unreadable> {
        let (mut question, mut fields) = (Self::default(), Fields::of(message));
        while let Some((number, value)) = fields.next()? {
            match number {
                1 => question.access_token = value.text()?,
                2 => question.brought = Some(Brought::Certificate(value.bytes()?)),
                3 => question.brought = Some(Brought::Thumbprint(value.bytes()?)),
                4 => question.brought = Some(Brought::SpiffeId(value.text()?)),
                5 => question.brought = Some(Brought::ForwardedClientCert(value.text()?)),
                6 => question.brought = Some(Brought::OwnConnection(value.bool()?)),
                7 => question.audience = value.text()?,
                8 => question.scope = value.text()?,
                9 => question.receipt = value.bool()?,
                _ => {}
            }
        }
        Ok(question)
    }

    /// The same of a message that prost has read.
    pub(super) fn of(message: &'a ValidateBindingRequest) -> Self {
        let brought = message.evidence.as_ref().map(|evidence| match evidence {
            validate_binding_request::Evidence::Certificate(der) => Brought::Certificate(der),
            validate_binding_request::Evidence::CertificateThumbprint(digest) => Brought::Thumbprint(digest),
            validate_binding_request::Evidence::SpiffeId(text) => Brought::SpiffeId(text),
            validate_binding_request::Evidence::ForwardedClientCert(header) => Brought::ForwardedClientCert(header),
            validate_binding_request::Evidence::OwnConnection(own) => Brought::OwnConnection(*own),
        });
        Self {
            access_token: &message.access_token,
            brought,
            audience: &message.audience,
            scope: &message.scope,
            receipt: message.receipt,
        }
    }

    /// Reads the evidence.
    pub(super) fn evidence(&self) -> Result<PresentedEvidence, InvalidEvidence> {
        Ok(match self.brought {
            // `own_connection: false` is the same as leaving it out.
            None | Some(Brought::OwnConnection(false)) => PresentedEvidence::Nothing,
            Some(Brought::OwnConnection(true)) => PresentedEvidence::OwnConnection,
            Some(Brought::Certificate(der)) => PresentedEvidence::Of(Some(Evidence::from_der(der)?)),
            Some(Brought::Thumbprint(digest)) => PresentedEvidence::Of(Some(Evidence::from_thumbprint(digest)?)),
            Some(Brought::SpiffeId(text)) => PresentedEvidence::Of(Some(Evidence::from_spiffe_id(text)?)),
            Some(Brought::ForwardedClientCert(header)) => PresentedEvidence::Forwarded(header.to_owned()),
        })
    }
}
