//! Whose certificate a proxy has seen: at its own door, or at that of a gateway in front of it.
//!
//! `x-forwarded-client-cert` is a header, and a client can send headers. What the proxy itself wrote is its last element,
//! and only that is believed, and only where its `By` is the proxy's own SPIFFE ID, which the proxy has just proven. What a
//! gateway wrote is believed where the resource names that gateway, and the proxy saw that it was the gateway that called.

use spiffe::SpiffeId;

use crate::authority::evidence::evidence_from::EvidenceFrom;
use crate::authority::evidence::forwarded_certificate::ForwardedElement;
use crate::authority::evidence::forwarded_certificate::parse_forwarded_client_cert;
use crate::authority::evidence::forwarded_certificate::parse_url_encoded_certificate;
use crate::authority::evidence::grades::Evidence;
use crate::authority::evidence::grades::InvalidEvidence;
use crate::authority::identity::is_spiffe_uri;
use crate::authority::identity::parse_spiffe_id;

/// What `ext_authz` tells of the proxy's immediate peer.
#[derive(Clone, Copy, Debug, Default)]
pub struct SeenPeer<'a> {
    /// `source.certificate`: percent-encoded PEM. Empty unless the proxy is told to send it.
    pub certificate: &'a str,
    /// `source.principal`: the certificate's first URI name, or else its first DNS name, or its subject.
    pub principal: &'a str,
    /// The header `x-forwarded-client-cert`, its lines joined by commas. Empty where there is none.
    pub forwarded: &'a str,
}

impl SeenPeer<'_> {
    /// The evidence that a resource is judged by, by the setting `evidence_from`. `None` where there is none: what does not
    /// come from whom it must come from is no evidence. An error where it should be there but cannot be read.
    pub fn evidence(&self, own: Option<&SpiffeId>, from: &EvidenceFrom) -> Result<Option<Evidence>, InvalidEvidence> {
        match from {
            EvidenceFrom::Peer => {
                if let Some(seen) = self.at_the_connection()? {
                    return Ok(Some(seen));
                }
                if let Some(told) = own_element(&self.elements()?, own)?.map_or(Ok(None), |own| self.told(own))? {
                    return Ok(Some(told));
                }
                // A name of another kind, or a subject, is evidence of nothing.
                is_spiffe_uri(self.principal).then(|| Evidence::from_spiffe_id(self.principal)).transpose()
            }
            EvidenceFrom::Via(gateways) => {
                let elements = self.elements()?;
                let Some(gateway) = self.immediate(&elements, own)? else { return Ok(None) };
                if !gateways.contains(&gateway) {
                    tracing::info!(peer = %gateway, "the immediate peer is none of the resource's gateways");
                    return Ok(None);
                }
                written_once(&elements, Some(&gateway))?;
                let before = elements.iter().rev().nth(1).filter(|element| is_by(element, Some(&gateway)));
                before.map_or(Ok(None), Evidence::from_element)
            }
        }
    }

    fn elements(&self) -> Result<Vec<ForwardedElement>, InvalidEvidence> {
        if self.forwarded.is_empty() {
            return Ok(Vec::new());
        }
        Ok(parse_forwarded_client_cert(self.forwarded.as_bytes())?)
    }

    /// The certificate of the connection, if the proxy sends it.
    fn at_the_connection(&self) -> Result<Option<Evidence>, InvalidEvidence> {
        if self.certificate.is_empty() {
            return Ok(None);
        }
        let seen = Evidence::from_der(&parse_url_encoded_certificate(self.certificate.as_bytes())?)?;
        agreeing(Some(seen), self.principal)
    }

    /// Who called the proxy, where that is a gateway that wrote an element too: the proxy's own element tells of it, and
    /// what the proxy says otherwise must agree.
    fn immediate(
        &self,
        elements: &[ForwardedElement],
        own: Option<&SpiffeId>,
    ) -> Result<Option<SpiffeId>, InvalidEvidence> {
        let Some(element) = own_element(elements, own)? else { return Ok(None) };
        let told = self.told(element)?;
        let seen = self.at_the_connection()?;
        if let (Some(Evidence::Certificate(seen)), Some(hash)) = (&seen, &element.hash)
            && seen.thumbprint().as_bytes() != hash
        {
            return Err(InvalidEvidence::Inconsistent);
        }
        Ok(match (seen, told) {
            (Some(Evidence::Certificate(certificate)), _) | (None, Some(Evidence::Certificate(certificate))) => {
                sole(&certificate.names().uri).and_then(parse_spiffe_id)
            }
            _ if is_spiffe_uri(self.principal) => parse_spiffe_id(self.principal),
            _ => sole(&element.uri).and_then(parse_spiffe_id),
        })
    }

    /// What the proxy's own element tells of the peer. Names in it are not escaped, so that a certificate's name can bring
    /// more of them along: the principal, which is a name by itself, must agree with the first.
    fn told(&self, element: &ForwardedElement) -> Result<Option<Evidence>, InvalidEvidence> {
        let first = element.uri.first();
        if is_spiffe_uri(self.principal) && first.is_some_and(|first| first != self.principal) {
            return Err(InvalidEvidence::Inconsistent);
        }
        agreeing(Evidence::from_element(element)?, self.principal)
    }
}

/// What the caller's own proxy wrote, and nobody before it.
fn own_element<'a>(
    elements: &'a [ForwardedElement],
    own: Option<&SpiffeId>,
) -> Result<Option<&'a ForwardedElement>, InvalidEvidence> {
    written_once(elements, own)?;
    Ok(elements.last().filter(|element| is_by(element, own)))
}

/// A proxy writes one element. Names are not escaped in it: where a certificate authority signs a name with a comma, the rest
/// of that name is read as a further element, behind the true one, which may say to be the proxy's too.
fn written_once(elements: &[ForwardedElement], writer: Option<&SpiffeId>) -> Result<(), InvalidEvidence> {
    let written = elements.iter().filter(|element| is_by(element, writer)).count();
    if written > 1 { Err(InvalidEvidence::Inconsistent) } else { Ok(()) }
}

/// Whether an element was written by the holder of this SPIFFE ID, which has one and no more (X509-SVID section 2).
fn is_by(element: &ForwardedElement, writer: Option<&SpiffeId>) -> bool {
    writer.is_some_and(|writer| sole(&element.by).is_some_and(|by| by == writer.to_string()))
}

fn sole(names: &[String]) -> Option<&str> {
    match names {
        [only] => Some(only),
        _ => None,
    }
}

/// The evidence, if it does not contradict the principal that the proxy saw: a URI principal is the certificate's first.
fn agreeing(evidence: Option<Evidence>, principal: &str) -> Result<Option<Evidence>, InvalidEvidence> {
    let agrees = match &evidence {
        _ if !is_spiffe_uri(principal) => true,
        Some(Evidence::Certificate(certificate)) => {
            certificate.names().uri.first().is_some_and(|first| first == principal)
        }
        Some(Evidence::SpiffeId(id)) => id.to_string() == principal,
        Some(Evidence::Thumbprint(_)) | None => true,
    };
    if agrees { Ok(evidence) } else { Err(InvalidEvidence::Inconsistent) }
}
