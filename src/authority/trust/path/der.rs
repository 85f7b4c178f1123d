//! Walks DER that has been parsed before, for the parts whose bytes the parser does not give.

use x509_parser::asn1_rs::Any;
use x509_parser::asn1_rs::Class;
use x509_parser::asn1_rs::FromDer as _;

/// The encoding is not what it should be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Malformed;

/// One element: its tag and content.
#[derive(Clone, Copy, Debug)]
pub(super) struct Element<'a> {
    /// The tag number of a context-specific element; `None` for a universal one.
    pub(super) context: Option<u32>,
    /// The content octets.
    pub(super) content: &'a [u8],
}

/// Takes the first element off `input`.
pub(super) fn first<'a>(input: &mut &'a [u8]) -> Result<Element<'a>, Malformed> {
    let (rest, any) = Any::from_der(input).map_err(|_| Malformed)?;
    *input = rest;
    let context = match any.class() {
        Class::ContextSpecific => Some(any.tag().0),
        Class::Universal => None,
        Class::Application | Class::Private => return Err(Malformed),
    };
    Ok(Element { context, content: any.data })
}

/// The content of the only element of `input`.
pub(super) fn only(mut input: &[u8]) -> Result<&[u8], Malformed> {
    let element = first(&mut input)?;
    if input.is_empty() { Ok(element.content) } else { Err(Malformed) }
}

/// The tag and the length of an element in DER.
pub(super) fn header(tag: u8, length: usize) -> Vec<u8> {
    let mut header = vec![tag];
    if let Ok(short @ 0..0x80) = u8::try_from(length) {
        header.push(short);
    } else {
        let bytes = length.to_be_bytes();
        let significant: Vec<u8> = bytes.into_iter().skip_while(|byte| *byte == 0).collect();
        header.push(0x80 | u8::try_from(significant.len()).unwrap_or(0x7f));
        header.extend(significant);
    }
    header
}

/// All elements of `input`, one after the other.
pub(super) fn all(mut input: &[u8]) -> Result<Vec<Element<'_>>, Malformed> {
    let mut elements = Vec::new();
    while !input.is_empty() {
        elements.push(first(&mut input)?);
    }
    Ok(elements)
}
