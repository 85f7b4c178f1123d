//! Distinguished names, ready to be compared.
//!
//! A registration writes a name as RFC 4514 text, a certificate carries one as DER. Both are read into one prepared form,
//! and two prepared names are equal exactly when distinguishedNameMatch holds (RFC 4517 section 4.2.15, RFC 5280 section
//! 7.1): as many relative names, equal one by one in order, the attributes within one in any order. Nothing is ever
//! rendered to be compared, and no DER is rebuilt from text (RFC 4514 section 5.2).

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

/// The most bytes that a name may have, as text or as DER.
pub const MAX_NAME_BYTES: usize = 4 * 1024;

/// The most relative names that a name may have.
pub const MAX_RELATIVE_NAMES: usize = 64;

/// A name prepared for comparison: `==` is distinguishedNameMatch, and equal names have equal hashes.
///
/// Values written as `PrintableString`, `UTF8String` or `IA5String` compare as text by caseIgnoreMatch, whichever of the
/// three each side used. Any other value compares octet by octet, its tag and length included; such a value never equals
/// text. What cannot be prepared is Undefined in RFC 4518, and an error here, so that it never equals anything: code
/// points that Unicode 3.2 does not have, private use, `TeletexString`, `BMPString` and `UniversalString` (RFC 5280 leaves
/// these three to us), an empty value, and, beyond the RFC, U+0000, which others have taken for the end of the string.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct DistinguishedName(Vec<RelativeName>);

/// Why something is not a name that can be compared.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidDistinguishedName {
    /// There are no relative names: it names nobody.
    #[error("the name is empty")]
    Empty,
    /// It is longer than [`MAX_NAME_BYTES`].
    #[error("the name is longer than {MAX_NAME_BYTES} bytes")]
    TooLong,
    /// It has more than [`MAX_RELATIVE_NAMES`].
    #[error("the name has more than {MAX_RELATIVE_NAMES} relative names")]
    TooManyRelativeNames,
    /// The text breaks the grammar of RFC 4514 section 3.
    #[error("the name is not RFC 4514 text from byte {at} on")]
    Syntax {
        /// Where, in bytes from the start.
        at: usize,
    },
    /// An attribute's type is neither a known short name nor a dotted object identifier.
    #[error("the attribute type at byte {at} is not known")]
    UnknownAttributeType {
        /// Where, in bytes from the start.
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
    /// A value's octets are not the characters that its type or its escapes promise.
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
    /// Reads the text of RFC 4514, such as `CN=checkout,O=Example\, Inc.,C=DE`: the last relative name comes first.
    ///
    /// What `openssl x509 -subject` prints by default is in the opposite order and is refused or names somebody else;
    /// `-nameopt RFC2253` prints this form. Values written as `#hex` hold BER with definite lengths.
    pub fn parse(text: &str) -> Result<Self, InvalidDistinguishedName> {
        within_limit(text.len())?;
        let mut names = text::relative_names(text)?;
        names.reverse();
        Self::new(names)
    }

    /// Reads the DER of an X.501 Name, such as a certificate's subject. A subject without relative names is
    /// [`InvalidDistinguishedName::Empty`].
    pub fn from_der(name: &[u8]) -> Result<Self, InvalidDistinguishedName> {
        within_limit(name.len())?;
        Self::new(der::relative_names(name)?)
    }

    fn new(names: Vec<RelativeName>) -> Result<Self, InvalidDistinguishedName> {
        match names.len() {
            0 => Err(InvalidDistinguishedName::Empty),
            1..=MAX_RELATIVE_NAMES => Ok(Self(names)),
            _ => Err(InvalidDistinguishedName::TooManyRelativeNames),
        }
    }
}

/// The attributes of one relative name, sorted by type: their order carries no meaning.
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
    /// Text after the six steps of RFC 4518.
    Prepared(String),
    /// The whole encoding of what is not text.
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
        // caseIgnoreIA5Match is defined on ASCII only; there it says what caseIgnoreMatch says.
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
            // All of ASCII in a PrintableString: certificates with an `@` or `_` in one exist, and mean what they say.
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
