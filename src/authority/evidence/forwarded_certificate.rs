//! Client certificates that a proxy passes on in a header: Envoy's `x-forwarded-client-cert` and RFC 9440's `Client-Cert`.
//!
//! Whether the one who sent the header may speak for somebody else is not decided here, nor which element of several
//! counts. Here it is only read, and whatever can be read in two ways is refused.
//!
//! # What can be forged
//!
//! A proxy that forwards a header which it did not make lets its client forge everything. Otherwise the proxy writes the
//! last element, and Envoy writes the values of `By`, `URI` and `DNS` into it as they stand in a certificate, without
//! quotes or escapes. A client whose certificate authority signs a URI or DNS name with a `;`, `,` or `"` in it can
//! therefore write more of the header than its name:
//!
//! * `Hash`, `Cert`, `Chain`, `Subject` and `By` of the same element: no. Envoy writes `URI` after all of these, and `DNS`
//!   last, so that a key of an earlier kind after one of a later kind is refused here, as is a second `Hash`, `Cert`,
//!   `Chain` or `Subject`, and a `Hash` that is not that of `Cert`.
//! * `URI` and `DNS`: yes. A URI name `spiffe://prod.example/a;DNS=b` reads as the two that it looks like. These are worth
//!   as much as the care of every certificate authority that the proxy trusts; where `Cert` is there, read them from it.
//! * Whole elements, with a `,`: yes, and the forged one is then the last. Where the proxy replaces the header
//!   (`SANITIZE_SET`) this shows, because exactly one element is right. Where it appends (`APPEND_FORWARD`) nothing does.
//!
//! A client that can sign no name with a comma, but whose own header is appended to, cannot reach into the proxy's element.
//! A quote that it leaves open ends at the first quote there, which something other than a separator follows; or never; or
//! at a quote in its own name, and then what it quotes holds the beginning of the proxy's element, for which it is refused.

mod element;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hex::FromHex as _;

/// The most bytes that a header value may have.
pub const MAX_HEADER_BYTES: usize = 64 * 1024;

/// The most elements that one `x-forwarded-client-cert` may have.
pub const MAX_ELEMENTS: usize = 32;

/// The most pairs that one element may have.
pub const MAX_PAIRS: usize = 256;

/// The most certificates that a chain may have, the client's own among them.
pub const MAX_CHAIN_CERTIFICATES: usize = 8;

/// What one hop says about its client in `x-forwarded-client-cert`. The module's documentation tells what to believe.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ForwardedElement {
    /// The URI names of the proxy's own certificate (`By`).
    pub by: Vec<String>,
    /// SHA-256 of the client certificate's DER (`Hash`).
    pub hash: Option<[u8; 32]>,
    /// The DER of the client certificate (`Cert`): what the PEM held, not looked into. Where `hash` is there it is its hash.
    pub certificate: Option<Vec<u8>>,
    /// The DER of the client certificate and of those that it presented with it (`Chain`), itself first. Where `certificate`
    /// or `hash` is there, the first is that certificate.
    pub chain: Vec<Vec<u8>>,
    /// The subject in RFC 4514 text with its own escapes (`Subject`); empty where the certificate has none.
    pub subject: Option<String>,
    /// The URI names of the client certificate (`URI`).
    pub uri: Vec<String>,
    /// The DNS names of the client certificate (`DNS`).
    pub dns: Vec<String>,
}

/// Why a forwarded certificate was not read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidForwardedCertificate {
    /// There is no header, or nothing in it.
    #[error("no certificate was forwarded")]
    Empty,
    /// The header is longer than [`MAX_HEADER_BYTES`].
    #[error("the header is longer than {MAX_HEADER_BYTES} bytes")]
    TooLong,
    /// There are more than [`MAX_ELEMENTS`].
    #[error("the header has more than {MAX_ELEMENTS} elements")]
    TooManyElements,
    /// An element has more than [`MAX_PAIRS`].
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
    /// `Hash`, `Cert`, `Chain` or `Subject` is there twice in one element.
    #[error("an element has a key twice that may be there once")]
    RepeatedKey,
    /// Something other than `URI` or `DNS` follows one of them, or `URI` follows `DNS`.
    #[error("an element has its keys in an order that no proxy writes")]
    MisplacedKey,
    /// A quote is not closed, something follows a closed quote, or a quote, backslash, space or equals sign stands where it
    /// needs quotes.
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
    /// A chain has more than [`MAX_CHAIN_CERTIFICATES`].
    #[error("a chain has more than {MAX_CHAIN_CERTIFICATES} certificates")]
    ChainTooLong,
    /// `Chain` does not begin with the certificate that `Cert` or `Hash` names.
    #[error("a chain does not begin with the certificate beside it")]
    ChainMismatch,
    /// `Client-Cert` is there more than once.
    #[error("the header is there more than once")]
    RepeatedHeader,
    /// `Client-Cert` is not a single byte sequence, or `Client-Cert-Chain` not a list of them.
    #[error("the header is not a byte sequence, or not a list of them where it may be one")]
    ByteSequence,
}

/// Reads the value of `x-forwarded-client-cert`, several header lines joined by commas. The first element is that of the
/// first hop, the last that of the proxy which sent the header. There is at least one.
///
/// Keys are read in any case; unknown ones are refused, since what they would say about the others is not known. Values
/// may be quoted, `\"` being a quote; in `Subject`, which has escapes of its own (RFC 4514), a backslash and what follows it
/// are kept as they are. An element may follow its comma after spaces. `URI=` without a value means that there is no name.
pub fn parse_forwarded_client_cert(header: &[u8]) -> Result<Vec<ForwardedElement>, InvalidForwardedCertificate> {
    element::elements(printable(header)?)
}

/// Reads the lines of an RFC 9440 `Client-Cert` header, one item a line, into the DER of the certificate.
///
/// It is a singleton (section 2.2), one byte sequence (RFC 8941 section 3.3.5) without parameters: a list or a second line
/// could mean that a proxy appended to what a client had sent. Base64 is the standard alphabet with its padding.
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

/// Reads the lines of an RFC 9440 `Client-Cert-Chain` header, one item a line, into the DER of the certificates that stand
/// above the one in `Client-Cert`, in the order of the TLS handshake. None where there is no line.
///
/// It is a list of byte sequences without parameters (section 2.3), which may go on in a further line. With the certificate
/// of `Client-Cert` there are at most [`MAX_CHAIN_CERTIFICATES`]. That it means nothing without `Client-Cert` is for the
/// caller to see to.
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

/// RFC 8941 section 3.3.5, without parameters, and not empty.
fn byte_sequence(item: &str) -> Option<Vec<u8>> {
    let base64 = item.strip_prefix(':').and_then(|rest| rest.strip_suffix(':'));
    base64.and_then(|base64| STANDARD.decode(base64).ok()).filter(|der| !der.is_empty())
}

/// Reads a percent-encoded PEM certificate into its DER: Envoy's `Cert`, and `source.certificate` of `ext_authz`.
///
/// A bare `+` is a plus sign, as base64 has it, and never a space.
pub fn parse_url_encoded_certificate(text: &[u8]) -> Result<Vec<u8>, InvalidForwardedCertificate> {
    let certificates = percent_decoded(printable(text)?).and_then(|pem| pem_certificates(&pem));
    match certificates.map(<[Vec<u8>; 1]>::try_from) {
        Some(Ok([certificate])) => Ok(certificate),
        Some(Err(_)) | None => Err(InvalidForwardedCertificate::Certificate),
    }
}

/// Reads percent-encoded PEM certificates into their DER: Envoy's `Chain`, which has the client's own first.
fn parse_url_encoded_chain(text: &str) -> Result<Vec<Vec<u8>>, InvalidForwardedCertificate> {
    let certificates = percent_decoded(text).and_then(|pem| pem_certificates(&pem));
    let certificates = certificates.ok_or(InvalidForwardedCertificate::Chain)?;
    if certificates.len() > MAX_CHAIN_CERTIFICATES {
        return Err(InvalidForwardedCertificate::ChainTooLong);
    }
    Ok(certificates)
}

/// Header values have no business with other bytes: Envoy escapes them in `Subject`, and names in certificates are ASCII.
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

/// `CERTIFICATE` blocks, at least one, with nothing before, between or after them but line ends (RFC 7468).
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
