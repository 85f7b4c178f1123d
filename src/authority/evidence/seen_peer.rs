//! The certificate that a proxy has seen: that of its own connection, or that of a connection to a gateway in front of
//! it.
//!
//! `x-forwarded-client-cert` is a header, and a client can send headers. The proxy writes the last element. That
//! element is trusted only where its `By` is the proxy's own SPIFFE ID, which the proxy has just proven. An element
//! that a gateway wrote is trusted where the resource names that gateway and the proxy saw the gateway as its peer.
//!
//! A proxy that passes a client's header on (Envoy's `FORWARD_ONLY`, `ALWAYS_FORWARD_ONLY`) writes no element, and the
//! client can write one in its name. What the proxy reports of its peer outside of the header must therefore be there,
//! and agree.

use std::sync::Arc;

use spiffe::SpiffeId;

use crate::authority::evidence::evidence_from::EvidenceFrom;
use crate::authority::evidence::forwarded_certificate::ForwardedElement;
use crate::authority::evidence::grades::Evidence;
use crate::authority::evidence::grades::InvalidEvidence;
use crate::authority::evidence::known;
use crate::authority::identity::is_spiffe_uri;
use crate::authority::identity::is_text_of;
use crate::authority::identity::parse_spiffe_id;

/// What an `ext_authz` request says about the proxy's immediate peer.
#[derive(Clone, Copy, Debug, Default)]
pub struct SeenPeer<'a> {
    /// `source.certificate`: percent-encoded PEM. Empty unless the proxy is configured to send it.
    pub certificate: &'a str,
    /// `source.principal`: the certificate's first URI name, or else its first DNS name, or its subject.
    pub principal: &'a str,
    /// The header `x-forwarded-client-cert`, its lines joined by commas. Empty where there is none.
    pub forwarded: &'a str,
    /// Whether the caller presents the header itself as its evidence, as in `ValidateBinding`. In a check it is one of
    /// the headers that the proxy received.
    pub presented: bool,
}

impl SeenPeer<'_> {
    /// Returns the evidence to check a resource's token against, from the source that `evidence_from` sets. `None`
    /// where there is none: evidence from another source is ignored. An error where evidence is present but cannot be
    /// read.
    pub fn evidence(&self, own: Option<&SpiffeId>, from: &EvidenceFrom) -> Result<Option<Evidence>, InvalidEvidence> {
        match from {
            EvidenceFrom::Peer | EvidenceFrom::Header => {
                if let Some(seen) = self.source_certificate()? {
                    return Ok(Some(seen));
                }
                let elements = self.elements()?;
                if let Some(element) = own_element(&elements, own)?.filter(|_| self.header_counts(from))
                    && let Some(forwarded) = self.forwarded_evidence(element)?
                {
                    return Ok(Some(forwarded));
                }
                // A DNS name or a subject is not evidence.
                is_spiffe_uri(self.principal).then(|| Evidence::from_spiffe_id(self.principal)).transpose()
            }
            EvidenceFrom::Via(gateways) => {
                let elements = self.elements()?;
                let own = own_element(&elements, own)?.filter(|_| self.header_counts(from));
                let Some(gateway) = own.map_or(Ok(None), |own| self.gateway_peer(own))? else { return Ok(None) };
                if !gateways.contains(&gateway) {
                    tracing::info!(peer = %gateway, "the immediate peer is none of the resource's gateways");
                    return Ok(None);
                }
                check_written_once(&elements, Some(&gateway))?;
                let before = elements.iter().rev().nth(1).filter(|element| is_by(element, Some(&gateway)));
                before.map_or(Ok(None), Evidence::from_element)
            }
        }
    }

    /// The name of the immediate peer, where the user of the token must be that peer and the proxy reports it.
    pub fn principal_of_user(&self, from: &EvidenceFrom) -> Option<&str> {
        match from {
            EvidenceFrom::Peer | EvidenceFrom::Header => Some(self.principal).filter(|principal| !principal.is_empty()),
            // It names the gateway, which is compared where the evidence is read.
            EvidenceFrom::Via(_) => None,
        }
    }

    /// Whether the header is evidence: the proxy reports a peer besides it, or the resource or the caller vouches for
    /// it.
    fn header_counts(&self, from: &EvidenceFrom) -> bool {
        let reported = !self.principal.is_empty() || !self.certificate.is_empty();
        let counts = reported || self.presented || *from == EvidenceFrom::Header;
        if !counts {
            tracing::info!("the proxy reports no peer besides the header, so the header is no evidence");
        }
        counts
    }

    /// The SPIFFE ID that the proxy reports of the evidence's certificate, where it shows no more of it than a
    /// thumbprint. It is a hint for the reason of a denial, and not evidence.
    pub(in crate::authority) fn reported_spiffe_id(
        &self,
        own: Option<&SpiffeId>,
        from: &EvidenceFrom,
    ) -> Option<SpiffeId> {
        let elements = self.elements().ok()?;
        let name = match from {
            EvidenceFrom::Peer | EvidenceFrom::Header if is_spiffe_uri(self.principal) => Some(self.principal),
            EvidenceFrom::Peer | EvidenceFrom::Header => {
                own_element(&elements, own).ok()?.and_then(|element| sole(&element.uri))
            }
            EvidenceFrom::Via(_) => {
                let gateway = self.gateway_peer(own_element(&elements, own).ok()??).ok()??;
                let before = elements.iter().rev().nth(1).filter(|element| is_by(element, Some(&gateway)));
                before.and_then(|element| sole(&element.uri))
            }
        };
        name.and_then(parse_spiffe_id)
    }

    fn elements(&self) -> Result<Arc<Vec<ForwardedElement>>, InvalidEvidence> {
        if self.forwarded.is_empty() {
            return Ok(Arc::default());
        }
        Ok(known::forwarded_client_cert(self.forwarded)?)
    }

    /// The certificate in `source.certificate`, if the proxy sends it.
    fn source_certificate(&self) -> Result<Option<Evidence>, InvalidEvidence> {
        if self.certificate.is_empty() {
            return Ok(None);
        }
        let seen = Evidence::Certificate(known::url_encoded_certificate::<InvalidEvidence>(self.certificate)?);
        check_principal(Some(seen), self.principal)
    }

    /// The SPIFFE ID of the immediate peer, where that is a gateway that wrote an element too. The proxy's own element
    /// describes it, and what the proxy says elsewhere must agree.
    fn gateway_peer(&self, element: &ForwardedElement) -> Result<Option<SpiffeId>, InvalidEvidence> {
        let forwarded = self.forwarded_evidence(element)?;
        let seen = self.source_certificate()?;
        if let (Some(Evidence::Certificate(seen)), Some(hash)) = (&seen, &element.hash)
            && seen.thumbprint().as_bytes() != hash
        {
            return Err(InvalidEvidence::Inconsistent);
        }
        Ok(match (seen, forwarded) {
            (Some(Evidence::Certificate(certificate)), _) | (None, Some(Evidence::Certificate(certificate))) => {
                sole(&certificate.names().uri).and_then(parse_spiffe_id)
            }
            _ if !self.principal.is_empty() => parse_spiffe_id(self.principal),
            _ => sole(&element.uri).and_then(parse_spiffe_id),
        })
    }

    /// The evidence in the proxy's own element. Names in it are not escaped, so that one name of a certificate can add
    /// further names. The principal, which is a single name, must therefore agree with the first.
    fn forwarded_evidence(&self, element: &ForwardedElement) -> Result<Option<Evidence>, InvalidEvidence> {
        let first = element.uri.first();
        if !self.principal.is_empty() && first.is_some_and(|first| first != self.principal) {
            return Err(InvalidEvidence::Inconsistent);
        }
        check_principal(Evidence::from_element(element)?, self.principal)
    }
}

/// The element that the caller's own proxy wrote, not one before it.
fn own_element<'a>(
    elements: &'a [ForwardedElement],
    own: Option<&SpiffeId>,
) -> Result<Option<&'a ForwardedElement>, InvalidEvidence> {
    check_written_once(elements, own)?;
    Ok(elements.last().filter(|element| is_by(element, own)))
}

/// Checks that a proxy wrote at most one element. Names in an element are not escaped: where a certificate authority
/// signs a name with a comma, the rest of that name is parsed as a further element after the true one, which may claim
/// to be the proxy's too.
fn check_written_once(elements: &[ForwardedElement], writer: Option<&SpiffeId>) -> Result<(), InvalidEvidence> {
    let written = elements.iter().filter(|element| is_by(element, writer)).count();
    if written > 1 { Err(InvalidEvidence::Inconsistent) } else { Ok(()) }
}

/// Whether the holder of this SPIFFE ID wrote an element. An X509-SVID has exactly one SPIFFE ID (X509-SVID section 2).
fn is_by(element: &ForwardedElement, writer: Option<&SpiffeId>) -> bool {
    writer.is_some_and(|writer| sole(&element.by).is_some_and(|by| is_text_of(by, writer)))
}

fn sole(names: &[String]) -> Option<&str> {
    match names {
        [only] => Some(only),
        _ => None,
    }
}

/// Returns the evidence, if it agrees with the principal that the proxy saw: the first URI name of a certificate that
/// has one. A DNS name or a subject is not compared with a certificate without a SPIFFE ID.
fn check_principal(evidence: Option<Evidence>, principal: &str) -> Result<Option<Evidence>, InvalidEvidence> {
    let agrees = match &evidence {
        _ if principal.is_empty() => true,
        Some(Evidence::Certificate(certificate)) => {
            let first = certificate.names().uri.first();
            let comparable = is_spiffe_uri(principal) || first.is_some_and(|first| is_spiffe_uri(first));
            !comparable || first.is_some_and(|first| first == principal)
        }
        Some(Evidence::SpiffeId(id)) => is_text_of(principal, id),
        Some(Evidence::Thumbprint(_)) | None => true,
    };
    if agrees { Ok(evidence) } else { Err(InvalidEvidence::Inconsistent) }
}
