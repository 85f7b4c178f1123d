//! The grammar of `x-forwarded-client-cert`: elements by commas, pairs by semicolons, values with or without quotes.

use hex::FromHex as _;
use sha2::Digest as _;
use sha2::Sha256;

use crate::authority::evidence::forwarded_certificate::ForwardedElement;
use crate::authority::evidence::forwarded_certificate::InvalidForwardedCertificate;
use crate::authority::evidence::forwarded_certificate::MAX_ELEMENTS;
use crate::authority::evidence::forwarded_certificate::MAX_PAIRS;
use crate::authority::evidence::forwarded_certificate::parse_url_encoded_certificate;
use crate::authority::evidence::forwarded_certificate::parse_url_encoded_chain;

/// `header` is printable ASCII and not empty.
pub(super) fn elements(header: &str) -> Result<Vec<ForwardedElement>, InvalidForwardedCertificate> {
    let mut elements = Vec::new();
    let mut reader = ElementReader::default();
    let mut rest = header;
    loop {
        let (key, value, after) = pair(rest)?;
        reader.read(key, value)?;
        if let Some(next) = after.strip_prefix(';') {
            rest = next;
            continue;
        }
        elements.push(std::mem::take(&mut reader).finish()?);
        if elements.len() > MAX_ELEMENTS {
            return Err(InvalidForwardedCertificate::TooManyElements);
        }
        let Some(next) = after.strip_prefix(',') else { return Ok(elements) };
        // Whoever joins header lines may put spaces after the comma (RFC 9110 section 5.3).
        rest = next.trim_start_matches(' ');
    }
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Key {
    By,
    Hash,
    Cert,
    Chain,
    Subject,
    Uri,
    Dns,
}

impl Key {
    fn parse(text: &str) -> Result<Self, InvalidForwardedCertificate> {
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return Err(InvalidForwardedCertificate::Pair);
        }
        match text.to_ascii_lowercase().as_str() {
            "by" => Ok(Self::By),
            "hash" => Ok(Self::Hash),
            "cert" => Ok(Self::Cert),
            "chain" => Ok(Self::Chain),
            "subject" => Ok(Self::Subject),
            "uri" => Ok(Self::Uri),
            "dns" => Ok(Self::Dns),
            _ => Err(InvalidForwardedCertificate::UnknownKey),
        }
    }

    /// Whether Envoy writes names of certificates under it, which it does not quote.
    fn holds_names(self) -> bool {
        matches!(self, Self::By | Self::Uri | Self::Dns)
    }

    /// Where it may stand in an element: none may follow one of a higher place. The client's names come last, so that
    /// nothing else can be written by means of them.
    fn place(self) -> u8 {
        match self {
            Self::By | Self::Hash | Self::Cert | Self::Chain | Self::Subject => 0,
            Self::Uri => 1,
            Self::Dns => 2,
        }
    }
}

#[derive(Default)]
struct ElementReader {
    element: ForwardedElement,
    pairs: usize,
    place: u8,
    read_once: Vec<Key>,
}

impl ElementReader {
    fn read(&mut self, key: Key, value: String) -> Result<(), InvalidForwardedCertificate> {
        self.pairs = self.pairs.saturating_add(1);
        if self.pairs > MAX_PAIRS {
            return Err(InvalidForwardedCertificate::TooManyPairs);
        }
        if !key.holds_names() {
            if self.read_once.contains(&key) {
                return Err(InvalidForwardedCertificate::RepeatedKey);
            }
            self.read_once.push(key);
        }
        if key.place() < self.place {
            return Err(InvalidForwardedCertificate::MisplacedKey);
        }
        self.place = key.place();
        let element = &mut self.element;
        match key {
            Key::Hash => element.hash = Some(hash(&value)?),
            Key::Cert if value.is_empty() => return Err(InvalidForwardedCertificate::Certificate),
            Key::Cert => element.certificate = Some(parse_url_encoded_certificate(value.as_bytes())?),
            Key::Chain => element.chain = parse_url_encoded_chain(&value)?,
            Key::Subject => element.subject = Some(value),
            Key::By | Key::Uri | Key::Dns if value.is_empty() => {}
            Key::By => element.by.push(value),
            Key::Uri => element.uri.push(value),
            Key::Dns => element.dns.push(value),
        }
        Ok(())
    }

    fn finish(self) -> Result<ForwardedElement, InvalidForwardedCertificate> {
        let ForwardedElement { hash, certificate, chain, .. } = &self.element;
        let is_hash_of = |der: &[u8]| hash.is_none_or(|hash| hash == *Sha256::digest(der));
        if let Some(certificate) = certificate
            && !is_hash_of(certificate)
        {
            return Err(InvalidForwardedCertificate::HashMismatch);
        }
        if let Some(first) = chain.first()
            && !certificate.as_ref().map_or_else(|| is_hash_of(first), |certificate| certificate == first)
        {
            return Err(InvalidForwardedCertificate::ChainMismatch);
        }
        Ok(self.element)
    }
}

/// The first pair of `input`, and the rest from the separator after it on.
fn pair(input: &str) -> Result<(Key, String, &str), InvalidForwardedCertificate> {
    let (key, value) = input.split_once('=').ok_or(InvalidForwardedCertificate::Pair)?;
    let key = Key::parse(key)?;
    let (value, rest) = match value.strip_prefix('"') {
        Some(quoted) => quoted_value(key, quoted)?,
        None => bare_value(key, value)?,
    };
    Ok((key, value, rest))
}

fn bare_value(key: Key, input: &str) -> Result<(String, &str), InvalidForwardedCertificate> {
    let (value, rest) = input.split_at_checked(input.find([';', ',']).unwrap_or(input.len())).unwrap_or_default();
    // An equals sign needs quotes too, but Envoy writes names as they stand, and a URI may well have a query.
    if value.contains(['"', '\\', ' ']) || (value.contains('=') && !key.holds_names()) {
        return Err(InvalidForwardedCertificate::Quoting);
    }
    Ok((String::from(value), rest))
}

/// `input` follows the opening quote. A backslash takes the character after it along, whichever it is: Envoy's `Subject`
/// ends in `\\"` where the subject ends in a backslash.
fn quoted_value(key: Key, input: &str) -> Result<(String, &str), InvalidForwardedCertificate> {
    let mut value = String::new();
    let mut characters = input.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => {
                let rest = characters.as_str();
                let ends = rest.is_empty() || rest.starts_with([';', ',']);
                return if ends && !holds_an_element(&value) {
                    Ok((value, rest))
                } else {
                    Err(InvalidForwardedCertificate::Quoting)
                };
            }
            '\\' => match characters.next() {
                Some(escaped) if key == Key::Subject => value.extend(['\\', escaped]),
                Some('"') => value.push('"'),
                _ => return Err(InvalidForwardedCertificate::Quoting),
            },
            plain => value.push(plain),
        }
    }
    Err(InvalidForwardedCertificate::Quoting)
}

/// Whether a quoted value holds what a proxy writes of a client: `Hash` and its digits, after a separator. The quote was then
/// left open by a client whose header was appended to, and closed by a name that it had signed.
fn holds_an_element(value: &str) -> bool {
    value.match_indices([',', ';']).any(|(at, _)| {
        let after = value.get(at.saturating_add(1)..).unwrap_or_default().trim_start_matches(' ');
        let (key, digits) = after.split_at_checked(5).unwrap_or_default();
        key.eq_ignore_ascii_case("Hash=")
            && digits.get(..64).is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
    })
}

fn hash(text: &str) -> Result<[u8; 32], InvalidForwardedCertificate> {
    <[u8; 32]>::from_hex(text).map_err(|_| InvalidForwardedCertificate::Hash)
}
