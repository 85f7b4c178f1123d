//! Distinguished names, prepared for comparison.
//!
//! A registration contains a name as RFC 4514 text, a certificate contains one as DER. Both are parsed into one
//! prepared form, and two prepared names are equal exactly when distinguishedNameMatch holds (RFC 4517 section 4.2.15,
//! RFC 5280 section 7.1): the same number of relative names, equal one by one in order, with the attributes of each in
//! any order. Names are never converted to text for a comparison, and DER is never rebuilt from text (RFC 4514 section
//! 5.2).

mod attribute_type;
mod der;
mod prepare;
mod text;

use std::str;

use x509_parser::asn1_rs::Any;
use x509_parser::asn1_rs::Class;
use x509_parser::asn1_rs::FromDer;
use x509_parser::asn1_rs::Tag;

use crate::authority::identity::distinguished_name::attribute_type::AttributeType;
use crate::authority::identity::distinguished_name::prepare::prepare;

/// The largest name, in bytes of text or of DER.
pub const MAX_NAME_BYTES: usize = 4 * 1024;

/// The most relative names in a name.
pub const MAX_RELATIVE_NAMES: usize = 64;

/// A name prepared for comparison: `==` is distinguishedNameMatch, and equal names have equal hashes.
///
/// Values written as `PrintableString`, `UTF8String` or `IA5String` compare as text by caseIgnoreMatch, whichever of
/// the three each side uses. Any other value compares octet by octet, including its tag and length, and never equals
/// text. A value that cannot be prepared is Undefined in RFC 4518. Here it is an error, so that it never equals
/// anything: code points that Unicode 3.2 does not assign, private use, `TeletexString`, `BMPString` and
/// `UniversalString` (RFC 5280 makes support for these three optional), and an empty value. U+0000 is refused too, in
/// addition to the RFC, because other implementations have read it as the end of the string.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct DistinguishedName(Vec<RelativeName>);

/// Why a text or a DER encoding is not a comparable name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidDistinguishedName {
    /// The name has no relative names, so it identifies no subject.
    #[error("the name is empty")]
    Empty,
    /// The name is longer than [`MAX_NAME_BYTES`].
    #[error("the name is longer than {MAX_NAME_BYTES} bytes")]
    TooLong,
    /// The name has more than [`MAX_RELATIVE_NAMES`].
    #[error("the name has more than {MAX_RELATIVE_NAMES} relative names")]
    TooManyRelativeNames,
    /// The text breaks the grammar of RFC 4514 section 3.
    #[error("the name is not RFC 4514 text from byte {at} on")]
    Syntax {
        /// The offset in bytes from the start of the text.
        at: usize,
    },
    /// An attribute's type is neither a known short name nor a dotted object identifier.
    #[error("the attribute type at byte {at} is not known")]
    UnknownAttributeType {
        /// The offset in bytes from the start of the text.
        at: usize,
    },
    /// One relative name has two values of the same type (X.501 allows one).
    #[error("a relative name has two values of one type")]
    RepeatedAttributeType,
    /// A value has no characters.
    #[error("a value is empty")]
    EmptyValue,
    /// A value contains U+0000.
    #[error("a value contains a null character")]
    Null,
    /// A value's octets are not valid characters of its type, or its escapes are not UTF-8.
    #[error("a value is not encoded as its type demands")]
    Characters,
    /// A value is a `TeletexString`, `BMPString` or `UniversalString`.
    #[error("a value has a string type that is not supported")]
    UnsupportedString,
    /// A value contains a code point that RFC 4518 section 2.4 prohibits.
    #[error("a value contains a prohibited character")]
    ProhibitedCharacter,
    /// The DER, or the BER after a `#`, is not well formed.
    #[error("the encoding is malformed")]
    Encoding,
}

impl DistinguishedName {
    /// Parses RFC 4514 text, such as `CN=checkout,O=Example\, Inc.,C=DE`: the last relative name comes first.
    ///
    /// By default `openssl x509 -subject` prints the opposite order, which names another subject (see
    /// [`DistinguishedName::is_probably_reversed`]); `-nameopt RFC2253` prints this form. Values written as `#hex` contain BER with definite lengths.
    pub fn parse(text: &str) -> Result<Self, InvalidDistinguishedName> {
        within_limit(text.len())?;
        let mut names = text::relative_names(text)?;
        names.reverse();
        Self::new(names)
    }

    /// Whether the name was probably written in the order of `openssl x509 -subject`: it begins with the most specific
    /// relative name, such as the common name, and ends with a country or an organization.
    pub fn is_probably_reversed(&self) -> bool {
        let (Some(first), Some(last)) = (self.0.first(), self.0.last()) else { return false };
        let general = |name: &RelativeName| name.0.iter().any(|attribute| attribute.kind.is_general());
        let specific = |name: &RelativeName| name.0.iter().any(|attribute| attribute.kind.is_specific());
        specific(first) && !general(first) && general(last) && !specific(last)
    }

    /// The text of a name with its relative names in the opposite order.
    pub fn in_reverse(text: &str) -> String {
        let (mut parts, mut start, mut escaped) = (Vec::new(), 0, false);
        for (at, character) in text.char_indices() {
            if character == ',' && !escaped {
                parts.extend(text.get(start..at));
                start = at + 1;
            }
            escaped = character == '\\' && !escaped;
        }
        parts.extend(text.get(start..));
        parts.iter().rev().map(|part| part.trim_start_matches(' ')).collect::<Vec<_>>().join(",")
    }

    /// Parses the DER of an X.501 Name, such as a certificate's subject. A subject without relative names is
    /// [`InvalidDistinguishedName::Empty`].
    pub fn from_der(name: &[u8]) -> Result<Self, InvalidDistinguishedName> {
        within_limit(name.len())?;
        Self::new(der::relative_names(name)?)
    }

    /// Whether it is `prefix`, or a name below it: a subtree of directory names (RFC 5280 section 4.2.1.10).
    pub fn begins_with(&self, prefix: &Self) -> bool {
        self.0.starts_with(&prefix.0)
    }

    fn new(names: Vec<RelativeName>) -> Result<Self, InvalidDistinguishedName> {
        match names.len() {
            0 => Err(InvalidDistinguishedName::Empty),
            1..=MAX_RELATIVE_NAMES => Ok(Self(names)),
            _ => Err(InvalidDistinguishedName::TooManyRelativeNames),
        }
    }
}

/// The attributes of one relative name, sorted by type: their order has no meaning.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct RelativeName(Vec<Attribute>);

impl RelativeName {
    fn new(mut attributes: Vec<Attribute>) -> Result<Self, InvalidDistinguishedName> {
        attributes.sort_by(|one, other| one.kind.cmp(&other.kind));
        let repeated = attributes.iter().zip(attributes.iter().skip(1)).any(|(one, next)| one.kind == next.kind);
        if repeated { Err(InvalidDistinguishedName::RepeatedAttributeType) } else { Ok(Self(attributes)) }
    }
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Attribute {
    kind: AttributeType,
    value: Value,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum Value {
    /// Text after the six preparation steps of RFC 4518 section 2.
    Prepared(String),
    /// The whole encoding of a value that is not text.
    Octets(Vec<u8>),
}

impl Attribute {
    fn from_text(kind: AttributeType, text: &str) -> Result<Self, InvalidDistinguishedName> {
        if text.is_empty() {
            return Err(InvalidDistinguishedName::EmptyValue);
        }
        if text.contains('\0') {
            return Err(InvalidDistinguishedName::Null);
        }
        // caseIgnoreIA5Match is defined only on ASCII, where it equals caseIgnoreMatch.
        if kind.is_ia5() && !text.is_ascii() {
            return Err(InvalidDistinguishedName::Characters);
        }
        let prepared = prepare(text).ok_or(InvalidDistinguishedName::ProhibitedCharacter)?;
        Ok(Self { kind, value: Value::Prepared(prepared) })
    }

    /// `encoding` is one whole element: tag, length and content.
    fn from_encoding(kind: AttributeType, encoding: &[u8]) -> Result<Self, InvalidDistinguishedName> {
        let (rest, element) = Any::from_der(encoding).map_err(|_| InvalidDistinguishedName::Encoding)?;
        if !rest.is_empty() {
            return Err(InvalidDistinguishedName::Encoding);
        }
        let octets = Self { kind: kind.clone(), value: Value::Octets(encoding.to_vec()) };
        if element.class() != Class::Universal {
            return Ok(octets);
        }
        let text = match element.tag() {
            Tag::Utf8String => str::from_utf8(element.data).map_err(|_| InvalidDistinguishedName::Characters)?,
            // All of ASCII is accepted in a PrintableString: existing certificates have an `@` or `_` in one.
            Tag::PrintableString | Tag::Ia5String => {
                if !element.data.is_ascii() {
                    return Err(InvalidDistinguishedName::Characters);
                }
                str::from_utf8(element.data).map_err(|_| InvalidDistinguishedName::Characters)?
            }
            Tag::TeletexString | Tag::BmpString | Tag::UniversalString => {
                return Err(InvalidDistinguishedName::UnsupportedString);
            }
            _ => return Ok(octets),
        };
        if element.header.is_constructed() {
            return Err(InvalidDistinguishedName::Encoding);
        }
        Self::from_text(kind, text)
    }
}

fn within_limit(bytes: usize) -> Result<(), InvalidDistinguishedName> {
    if bytes > MAX_NAME_BYTES { Err(InvalidDistinguishedName::TooLong) } else { Ok(()) }
}
