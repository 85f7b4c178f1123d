//! The text of RFC 4514 section 3. Of what older forms of this text allowed, spaces around separators and the `OID.`
//! prefix are read, as programs still print them (RFC 2253 section 4); quoted values and semicolons are refused.

use hex::FromHex as _;

use crate::authority::identity::distinguished_name::Attribute;
use crate::authority::identity::distinguished_name::InvalidDistinguishedName;
use crate::authority::identity::distinguished_name::MAX_RELATIVE_NAMES;
use crate::authority::identity::distinguished_name::RelativeName;
use crate::authority::identity::distinguished_name::attribute_type::AttributeType;

/// The relative names, in the order of the text: the last comes first.
pub(super) fn relative_names(text: &str) -> Result<Vec<RelativeName>, InvalidDistinguishedName> {
    let mut names = Vec::new();
    if text.is_empty() {
        return Ok(names);
    }
    let mut attributes = Vec::new();
    let mut rest = text;
    loop {
        let offset = |rest: &str| text.len() - rest.len();
        rest = rest.trim_start_matches(' ');
        let (kind, value) =
            rest.split_once('=').ok_or_else(|| InvalidDistinguishedName::Syntax { at: offset(rest) })?;
        let kind = attribute_type(kind.trim_end_matches(' '), offset(rest))?;
        let value = value.trim_start_matches(' ');
        let (attribute, after) = match value.strip_prefix('#') {
            Some(hex) => hex_value(kind, hex, offset(hex))?,
            None => string_value(kind, value, offset(value))?,
        };
        attributes.push(attribute);
        let separator = after.chars().next();
        if separator != Some('+') {
            names.push(RelativeName::new(std::mem::take(&mut attributes))?);
            if names.len() > MAX_RELATIVE_NAMES {
                return Err(InvalidDistinguishedName::TooManyRelativeNames);
            }
        }
        match separator {
            None => return Ok(names),
            Some(separator) => rest = after.get(separator.len_utf8()..).unwrap_or_default(),
        }
    }
}

fn attribute_type(text: &str, at: usize) -> Result<AttributeType, InvalidDistinguishedName> {
    let grammatical = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
    if text.is_empty() || !text.chars().all(grammatical) {
        return Err(InvalidDistinguishedName::Syntax { at });
    }
    AttributeType::from_text(text).ok_or(InvalidDistinguishedName::UnknownAttributeType { at })
}

/// `text` follows a `#`. Returns the attribute, and the rest of the text, starting at its separator.
fn hex_value(kind: AttributeType, text: &str, at: usize) -> Result<(Attribute, &str), InvalidDistinguishedName> {
    let end = text.find([',', '+']).unwrap_or(text.len());
    let (digits, rest) = text.split_at_checked(end).ok_or(InvalidDistinguishedName::Syntax { at })?;
    let encoding = hex::decode(digits.trim_end_matches(' ')).map_err(|_| InvalidDistinguishedName::Syntax { at })?;
    if encoding.is_empty() {
        return Err(InvalidDistinguishedName::Syntax { at });
    }
    Ok((Attribute::from_encoding(kind, &encoding)?, rest))
}

/// Returns the attribute, and the rest of the text, starting at its separator. `start` is the offset of `value` in the
/// text.
fn string_value(kind: AttributeType, value: &str, start: usize) -> Result<(Attribute, &str), InvalidDistinguishedName> {
    let mut octets = Vec::new();
    // A space at the end of a value is part of it only if it is escaped.
    let mut bare_spaces = 0;
    let mut end = value.len();
    let mut characters = value.char_indices();
    while let Some((index, character)) = characters.next() {
        let syntax = InvalidDistinguishedName::Syntax { at: start.saturating_add(index) };
        match character {
            ',' | '+' => {
                end = index;
                break;
            }
            '\\' => {
                bare_spaces = 0;
                let escaped = characters.next().map(|(_, escaped)| escaped).ok_or(syntax)?;
                if is_special(escaped) {
                    octets.push(u8::try_from(escaped).map_err(|_| syntax)?);
                } else {
                    octets.push(octet(escaped, characters.next().map(|(_, low)| low)).ok_or(syntax)?);
                }
            }
            '"' | ';' | '<' | '>' => return Err(syntax),
            '\0' => return Err(InvalidDistinguishedName::Null),
            plain => {
                bare_spaces = if plain == ' ' { bare_spaces + 1 } else { 0 };
                octets.extend_from_slice(plain.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
    }
    octets.truncate(octets.len() - bare_spaces);
    let text = String::from_utf8(octets).map_err(|_| InvalidDistinguishedName::Characters)?;
    Ok((Attribute::from_text(kind, &text)?, value.get(end..).unwrap_or_default()))
}

fn is_special(character: char) -> bool {
    matches!(character, '\\' | ' ' | '"' | '#' | '+' | ',' | ';' | '<' | '=' | '>')
}

/// The octet of two hexadecimal digits.
fn octet(high: char, low: Option<char>) -> Option<u8> {
    let [octet] = <[u8; 1]>::from_hex([u8::try_from(high).ok()?, u8::try_from(low?).ok()?]).ok()?;
    Some(octet)
}
