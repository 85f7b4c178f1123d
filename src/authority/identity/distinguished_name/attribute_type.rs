//! Attribute types. They are compared as object identifiers; their names are only notation.

/// The content octets of an object identifier.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct AttributeType(Vec<u8>);

impl AttributeType {
    /// Parses a dotted object identifier, also with the prefix `OID.` of RFC 1779, or a name in any case. `None` if it is
    /// none of these.
    pub(super) fn from_text(text: &str) -> Option<Self> {
        let (prefix, rest) = text.split_at_checked(4).unwrap_or_default();
        let dotted = if prefix.eq_ignore_ascii_case("OID.") { rest } else { text };
        if dotted.starts_with(|c: char| c.is_ascii_digit()) {
            return encode(dotted).map(Self);
        }
        let (_, dotted) = NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text))?;
        encode(dotted).map(Self)
    }

    /// Reads the content of a DER object identifier. `None` if it is not the single valid encoding of an identifier
    /// (X.690 section 8.19): with a second encoding one type would look like two.
    pub(super) fn from_der_content(content: &[u8]) -> Option<Self> {
        if content.last()? & 0x80 != 0 {
            return None;
        }
        let mut starts_an_arc = true;
        for octet in content {
            if starts_an_arc && *octet == 0x80 {
                return None;
            }
            starts_an_arc = octet & 0x80 == 0;
        }
        Some(Self(content.to_vec()))
    }

    /// Whether the type is one that names a place or an organization: the end of a name in RFC 4514 text.
    pub(super) fn is_general(&self) -> bool {
        ["C", "ST", "L", "O", "DC"].iter().any(|name| Self::from_text(name).as_ref() == Some(self))
    }

    /// Whether the type is one that names the subject itself: the start of a name in RFC 4514 text.
    pub(super) fn is_specific(&self) -> bool {
        ["CN", "UID", "serialNumber", "emailAddress"].iter().any(|name| Self::from_text(name).as_ref() == Some(self))
    }

    /// Whether values of this type are IA5 strings: domainComponent and emailAddress.
    pub(super) fn is_ia5(&self) -> bool {
        const DOMAIN_COMPONENT: &[u8] = &[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x19];
        const EMAIL_ADDRESS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x01];
        self.0 == DOMAIN_COMPONENT || self.0 == EMAIL_ADDRESS
    }
}

/// The names that RFC 4514 section 3 requires, then those that RFC 4519 registers and those that OpenSSL and keytool print.
/// `S` is left out, because its meaning differs between programs.
const NAMES: &[(&str, &str)] = &[
    ("CN", "2.5.4.3"),
    ("L", "2.5.4.7"),
    ("ST", "2.5.4.8"),
    ("O", "2.5.4.10"),
    ("OU", "2.5.4.11"),
    ("C", "2.5.4.6"),
    ("STREET", "2.5.4.9"),
    ("DC", "0.9.2342.19200300.100.1.25"),
    ("UID", "0.9.2342.19200300.100.1.1"),
    ("commonName", "2.5.4.3"),
    ("localityName", "2.5.4.7"),
    ("stateOrProvinceName", "2.5.4.8"),
    ("organizationName", "2.5.4.10"),
    ("organizationalUnitName", "2.5.4.11"),
    ("countryName", "2.5.4.6"),
    ("streetAddress", "2.5.4.9"),
    ("domainComponent", "0.9.2342.19200300.100.1.25"),
    ("userId", "0.9.2342.19200300.100.1.1"),
    ("emailAddress", "1.2.840.113549.1.9.1"),
    ("E", "1.2.840.113549.1.9.1"),
    ("SN", "2.5.4.4"),
    ("surname", "2.5.4.4"),
    ("serialNumber", "2.5.4.5"),
    ("title", "2.5.4.12"),
    ("T", "2.5.4.12"),
    ("description", "2.5.4.13"),
    ("businessCategory", "2.5.4.15"),
    ("postalCode", "2.5.4.17"),
    ("name", "2.5.4.41"),
    ("GN", "2.5.4.42"),
    ("givenName", "2.5.4.42"),
    ("initials", "2.5.4.43"),
    ("generationQualifier", "2.5.4.44"),
    ("generation", "2.5.4.44"),
    ("x500UniqueIdentifier", "2.5.4.45"),
    ("dnQualifier", "2.5.4.46"),
    ("DNQ", "2.5.4.46"),
    ("pseudonym", "2.5.4.65"),
    ("organizationIdentifier", "2.5.4.97"),
    ("jurisdictionL", "1.3.6.1.4.1.311.60.2.1.1"),
    ("jurisdictionST", "1.3.6.1.4.1.311.60.2.1.2"),
    ("jurisdictionC", "1.3.6.1.4.1.311.60.2.1.3"),
    ("jurisdictionLocalityName", "1.3.6.1.4.1.311.60.2.1.1"),
    ("jurisdictionStateOrProvinceName", "1.3.6.1.4.1.311.60.2.1.2"),
    ("jurisdictionCountryName", "1.3.6.1.4.1.311.60.2.1.3"),
];

/// Encodes the `numericoid` of RFC 4512 section 1.4 as in X.690 section 8.19. Arcs may have 128 bits, because 2.25
/// holds a UUID in one arc.
fn encode(dotted: &str) -> Option<Vec<u8>> {
    let mut arcs = dotted.split('.').map(arc);
    let (first, second) = (arcs.next()??, arcs.next()??);
    if first > 2 || (first < 2 && second > 39) {
        return None;
    }
    let mut content = Vec::new();
    push_arc(&mut content, second.checked_add(first * 40)?);
    for arc in arcs {
        push_arc(&mut content, arc?);
    }
    Some(content)
}

fn arc(digits: &str) -> Option<u128> {
    let leading_zero = digits.len() > 1 && digits.starts_with('0');
    if leading_zero || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

/// Seven bits in each octet, the most significant first, with the top bit set on all but the last.
fn push_arc(content: &mut Vec<u8>, arc: u128) {
    let groups = (128 - arc.leading_zeros()).div_ceil(7).max(1);
    for group in (0..groups).rev() {
        let more = if group == 0 { 0 } else { 0x80 };
        let [low, ..] = (arc >> (group * 7)).to_le_bytes();
        content.push(low & 0x7f | more);
    }
}

#[cfg(test)]
mod tests {
    use super::AttributeType;
    use super::NAMES;
    use super::encode;

    #[test]
    fn every_name_stands_for_an_identifier_that_reads_back_from_its_encoding() {
        for (name, dotted) in NAMES {
            let content = encode(dotted).unwrap();
            assert_eq!(AttributeType::from_der_content(&content), AttributeType::from_text(name), "{name}");
        }
    }

    #[test]
    fn the_ia5_types_are_domain_component_and_email_address() {
        let names = NAMES.iter().map(|(name, _)| *name);
        let ia5: Vec<_> = names.filter(|name| AttributeType::from_text(name).unwrap().is_ia5()).collect();
        assert_eq!(ia5, ["DC", "domainComponent", "emailAddress", "E"]);
    }

    #[test]
    fn a_dotted_identifier_is_read_only_in_its_one_form() {
        assert_eq!(encode("2.999.3").unwrap(), [0x88, 0x37, 3]);
        assert_eq!(encode("2.25.340282366920938463463374607431768211455").unwrap().len(), 20);
        for refused in [
            "",
            "2",
            "3.1",
            "1.40",
            "2.05",
            "2..5",
            "2.5.",
            ".2.5",
            "2.+5",
            "2.5.-1",
            "2.5.4a",
            "2.25.340282366920938463463374607431768211456",
        ] {
            assert_eq!(encode(refused), None, "{refused}");
        }
    }

    #[test]
    fn a_padded_or_unfinished_encoding_of_an_identifier_is_refused() {
        assert!(AttributeType::from_der_content(&[0x55, 4, 3]).is_some());
        for refused in [&[][..], &[0x80, 0x55, 4, 3], &[0x55, 4, 0x80, 3], &[0x55, 4, 0x83]] {
            assert_eq!(AttributeType::from_der_content(refused), None, "{refused:x?}");
        }
    }
}
