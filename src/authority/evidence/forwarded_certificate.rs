//! Client certificates that a proxy passes on in a header: Envoy's `x-forwarded-client-cert` and RFC 9440's `Client-Cert`.
//!
//! This module only parses, and refuses every value that can be read in two ways. It does not decide whether the sender
//! of the header may speak for another peer, or which of several elements to use.
//!
//! # What can be forged
//!
//! A proxy that forwards a header which it did not write lets its client forge everything. Otherwise the proxy writes
//! the last element, and Envoy copies the values of `By`, `URI` and `DNS` into it from a certificate without quotes or
//! escapes. A client whose certificate authority signs a URI or DNS name with a `;`, `,` or `"` in it can therefore
//! write more of the header than its name:
//!
//! * `Hash`, `Cert`, `Chain`, `Subject` and `By` of the same element: no. Envoy writes `URI` after all of these, and
//!   `DNS` last. The parser refuses a key of an earlier kind after one of a later kind, a second `Hash`, `Cert`,
//!   `Chain` or `Subject`, and a `Hash` that is not the hash of `Cert`.
//! * `URI` and `DNS`: yes. A URI name `spiffe://prod.example/a;DNS=b` is parsed as a URI and a DNS name. These are only
//!   as trustworthy as every certificate authority that the proxy trusts; where `Cert` is present, read the names from
//!   it.
//! * Whole elements, with a `,`: yes, and the forged one is then the last. Where the proxy replaces the header
//!   (`SANITIZE_SET`) this is detected, because exactly one element is allowed. Where it appends (`APPEND_FORWARD`) it
//!   cannot be detected.
//!
//! A client that can sign no name with a comma, but whose own header is appended to, cannot change the proxy's element.
//! A quote that it leaves open has three possible ends. It ends at the first quote in the proxy's element, which is
//! followed by something other than a separator; or it never ends; or it ends at a quote in the client's own name. In
//! the last case the quoted value contains the beginning of the proxy's element. All three are refused.

mod element;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hex::FromHex as _;

/// The largest header value, in bytes.
pub const MAX_HEADER_BYTES: usize = 64 * 1024;

/// The most elements in one `x-forwarded-client-cert`.
pub const MAX_ELEMENTS: usize = 32;

/// The most pairs in one element.
pub const MAX_PAIRS: usize = 256;

/// The most certificates in a chain, including the client's own: as many as in a handshake.
pub const MAX_CHAIN_CERTIFICATES: usize = 10;

/// What one hop writes about its client in `x-forwarded-client-cert`. The module's documentation says which parts can
/// be forged.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ForwardedElement {
    /// The URI names of the proxy's own certificate (`By`).
    pub by: Vec<String>,
    /// SHA-256 of the client certificate's DER (`Hash`).
    pub hash: Option<[u8; 32]>,
    /// The DER of the client certificate (`Cert`), as decoded from the PEM and not parsed. Where `hash` is present, it
    /// is the hash of this.
    pub certificate: Option<Vec<u8>>,
    /// The DER of the client certificate and of those that it presented with it (`Chain`), the client's own first.
    /// Where `certificate` or `hash` is present, the first is that certificate.
    pub chain: Vec<Vec<u8>>,
    /// The subject in RFC 4514 text with its own escapes (`Subject`); empty where the certificate has none.
    pub subject: Option<String>,
    /// The URI names of the client certificate (`URI`).
    pub uri: Vec<String>,
    /// The DNS names of the client certificate (`DNS`).
    pub dns: Vec<String>,
}

/// Why a forwarded certificate cannot be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidForwardedCertificate {
    /// The header is missing or empty.
    #[error("no certificate was forwarded")]
    Empty,
    /// The header is longer than [`MAX_HEADER_BYTES`].
    #[error("the header is longer than {MAX_HEADER_BYTES} bytes")]
    TooLong,
    /// There are more than [`MAX_ELEMENTS`] elements.
    #[error("the header has more than {MAX_ELEMENTS} elements")]
    TooManyElements,
    /// An element has more than [`MAX_PAIRS`] pairs.
    #[error("an element has more than {MAX_PAIRS} pairs")]
    TooManyPairs,
    /// A byte is not printable ASCII.
    #[error("the header contains a byte that is not printable ASCII")]
    Unprintable,
    /// A pair is empty, or is not a key, an equals sign and a value.
    #[error("the header has something other than a key and its value")]
    Pair,
    /// A key is not one of Envoy's.
    #[error("the header has an unknown key")]
    UnknownKey,
    /// One element has `Hash`, `Cert`, `Chain` or `Subject` twice.
    #[error("an element repeats a key that may occur only once")]
    RepeatedKey,
    /// Something other than `URI` or `DNS` follows one of them, or `URI` follows `DNS`.
    #[error("an element has its keys in an order that no proxy writes")]
    MisplacedKey,
    /// A quote is not closed, something other than a separator follows a closed quote, or a value with a quote,
    /// backslash, space or equals sign is not quoted.
    #[error("a value is not quoted as it must be")]
    Quoting,
    /// `Hash` is not 64 hexadecimal digits.
    #[error("a hash is not 64 hexadecimal digits")]
    Hash,
    /// The certificate is not exactly one PEM block, percent-encoded.
    #[error("a certificate is not one percent-encoded PEM block")]
    Certificate,
    /// `Hash` is not the SHA-256 of `Cert`.
    #[error("a hash is not that of the certificate beside it")]
    HashMismatch,
    /// `Chain` is not PEM blocks, percent-encoded.
    #[error("a chain is not percent-encoded PEM blocks")]
    Chain,
    /// A chain has more than [`MAX_CHAIN_CERTIFICATES`] certificates.
    #[error("a chain has more than {MAX_CHAIN_CERTIFICATES} certificates")]
    ChainTooLong,
    /// `Chain` does not begin with the certificate that `Cert` or `Hash` names.
    #[error("a chain does not begin with the certificate beside it")]
    ChainMismatch,
    /// There is more than one `Client-Cert` header.
    #[error("the header occurs more than once")]
    RepeatedHeader,
    /// `Client-Cert` is not a single byte sequence, or `Client-Cert-Chain` not a list of them.
    #[error("the header is not a byte sequence, or not a list of them where a list is allowed")]
    ByteSequence,
}

/// Parses the value of `x-forwarded-client-cert`, several header lines joined by commas. The first element is from the
/// first hop, the last from the proxy that sent the header. There is at least one.
///
/// Keys are case-insensitive. Unknown keys are refused, since they could change the meaning of the others. Values may
/// be quoted, with `\"` for a quote. In `Subject`, which has escapes of its own (RFC 4514), a backslash and the
/// character after it are kept unchanged. Spaces are allowed after the comma before an element. `URI=` without a value
/// means that there is no name.
pub fn parse_forwarded_client_cert(header: &[u8]) -> Result<Vec<ForwardedElement>, InvalidForwardedCertificate> {
    element::elements(printable(header)?)
}

/// Parses the lines of an RFC 9440 `Client-Cert` header, one item for each line, into the DER of the certificate.
///
/// The header is a singleton (section 2.2): one byte sequence (RFC 8941 section 3.3.5) without parameters. A list or a
/// second line could mean that a proxy appended to a header of the client's. Base64 uses the standard alphabet with
/// padding.
pub fn parse_client_cert<'a>(
    values: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Vec<u8>, InvalidForwardedCertificate> {
    let mut values = values.into_iter();
    let value = values.next().ok_or(InvalidForwardedCertificate::Empty)?;
    if values.next().is_some() {
        return Err(InvalidForwardedCertificate::RepeatedHeader);
    }
    byte_sequence(printable(value)?.trim_matches(' ')).ok_or(InvalidForwardedCertificate::ByteSequence)
}

/// Parses the lines of an RFC 9440 `Client-Cert-Chain` header, one item for each line, into the DER of the certificates
/// above the one in `Client-Cert`, in the order of the TLS handshake. Empty where there is no line.
///
/// The header is a list of byte sequences without parameters (section 2.3), which may continue on a further line.
/// Together with the certificate of `Client-Cert` there are at most [`MAX_CHAIN_CERTIFICATES`]. The caller checks that
/// `Client-Cert` is present; the chain has no meaning without it.
pub fn parse_client_cert_chain<'a>(
    values: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Vec<Vec<u8>>, InvalidForwardedCertificate> {
    let mut certificates = Vec::new();
    for value in values {
        for item in printable(value)?.split(',') {
            let certificate = byte_sequence(item.trim_matches(' '));
            certificates.push(certificate.ok_or(InvalidForwardedCertificate::ByteSequence)?);
            if certificates.len() >= MAX_CHAIN_CERTIFICATES {
                return Err(InvalidForwardedCertificate::ChainTooLong);
            }
        }
    }
    Ok(certificates)
}

/// Parses a byte sequence (RFC 8941 section 3.3.5) that has no parameters and is not empty.
fn byte_sequence(item: &str) -> Option<Vec<u8>> {
    let base64 = item.strip_prefix(':').and_then(|rest| rest.strip_suffix(':'));
    base64.and_then(|base64| STANDARD.decode(base64).ok()).filter(|der| !der.is_empty())
}

/// Parses a percent-encoded PEM certificate into its DER: Envoy's `Cert`, and `source.certificate` of `ext_authz`.
///
/// A bare `+` is a plus sign of base64, never a space.
pub fn parse_url_encoded_certificate(text: &[u8]) -> Result<Vec<u8>, InvalidForwardedCertificate> {
    let certificates = percent_decoded(printable(text)?).and_then(|pem| pem_certificates(&pem));
    match certificates.map(<[Vec<u8>; 1]>::try_from) {
        Some(Ok([certificate])) => Ok(certificate),
        Some(Err(_)) | None => Err(InvalidForwardedCertificate::Certificate),
    }
}

/// Parses percent-encoded PEM certificates into their DER: Envoy's `Chain`, with the client's own first.
fn parse_url_encoded_chain(text: &str) -> Result<Vec<Vec<u8>>, InvalidForwardedCertificate> {
    let certificates = percent_decoded(text).and_then(|pem| pem_certificates(&pem));
    let certificates = certificates.ok_or(InvalidForwardedCertificate::Chain)?;
    if certificates.len() > MAX_CHAIN_CERTIFICATES {
        return Err(InvalidForwardedCertificate::ChainTooLong);
    }
    Ok(certificates)
}

/// Other bytes are never needed: Envoy escapes them in `Subject`, and names in certificates are ASCII.
fn printable(value: &[u8]) -> Result<&str, InvalidForwardedCertificate> {
    if value.len() > MAX_HEADER_BYTES {
        return Err(InvalidForwardedCertificate::TooLong);
    }
    let text = str::from_utf8(value).map_err(|_| InvalidForwardedCertificate::Unprintable)?;
    if !text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Err(InvalidForwardedCertificate::Unprintable);
    }
    if text.is_empty() { Err(InvalidForwardedCertificate::Empty) } else { Ok(text) }
}

/// `None` where a percent sign is not followed by two hexadecimal digits.
fn percent_decoded(text: &str) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            decoded.extend(<[u8; 1]>::from_hex([bytes.next()?, bytes.next()?]).ok()?);
        } else {
            decoded.push(byte);
        }
    }
    Some(decoded)
}

/// One or more `CERTIFICATE` blocks (RFC 7468). Only line ends are allowed before, between and after them.
fn pem_certificates(pem: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut rest = str::from_utf8(pem).ok()?.trim_ascii_end();
    let mut certificates = Vec::new();
    loop {
        let block = rest.strip_prefix("-----BEGIN CERTIFICATE-----")?;
        let (body, after) = block.split_once("-----END CERTIFICATE-----")?;
        let base64: Vec<u8> = body.bytes().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
        certificates.push(STANDARD.decode(base64).ok().filter(|der| !der.is_empty())?);
        rest = after.trim_start_matches(['\r', '\n']);
        if rest.is_empty() {
            return Some(certificates);
        }
    }
}
