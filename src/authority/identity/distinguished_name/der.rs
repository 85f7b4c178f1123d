//! The DER of an X.501 Name: a sequence of sets of type and value.

use x509_parser::asn1_rs::Any;
use x509_parser::asn1_rs::Class;
use x509_parser::asn1_rs::FromDer;
use x509_parser::asn1_rs::Tag;

use crate::authority::identity::distinguished_name::Attribute;
use crate::authority::identity::distinguished_name::InvalidDistinguishedName;
use crate::authority::identity::distinguished_name::RelativeName;
use crate::authority::identity::distinguished_name::attribute_type::AttributeType;

/// The relative names, in the order of the encoding.
pub(super) fn relative_names(name: &[u8]) -> Result<Vec<RelativeName>, InvalidDistinguishedName> {
    let (rest, mut sequence) = element(name, Tag::Sequence)?;
    if !rest.is_empty() {
        return Err(InvalidDistinguishedName::Encoding);
    }
    let mut names = Vec::new();
    while !sequence.is_empty() {
        let (rest, mut set) = element(sequence, Tag::Set)?;
        sequence = rest;
        if set.is_empty() {
            return Err(InvalidDistinguishedName::Encoding);
        }
        let mut attributes = Vec::new();
        while !set.is_empty() {
            let (rest, attribute) = element(set, Tag::Sequence)?;
            set = rest;
            let (value, kind) = element(attribute, Tag::Oid)?;
            let kind = AttributeType::from_der_content(kind).ok_or(InvalidDistinguishedName::Encoding)?;
            attributes.push(Attribute::from_encoding(kind, value)?);
        }
        names.push(RelativeName::new(attributes)?);
    }
    Ok(names)
}

/// Returns what follows the first element of `input`, and the content of that element. Its tag must be `tag`.
fn element(input: &[u8], tag: Tag) -> Result<(&[u8], &[u8]), InvalidDistinguishedName> {
    let (rest, element) = Any::from_der(input).map_err(|_| InvalidDistinguishedName::Encoding)?;
    let constructed = tag != Tag::Oid;
    if element.class() != Class::Universal || element.tag() != tag || element.header.is_constructed() != constructed {
        return Err(InvalidDistinguishedName::Encoding);
    }
    Ok((rest, element.data))
}
