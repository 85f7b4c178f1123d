//! The object identifier of an extension, as a value that an error can hold.

use std::fmt;

use x509_parser::asn1_rs::Oid;

/// The longest object identifier that is kept whole, in bytes of its DER content.
const MAX_BYTES: usize = 24;

/// The object identifier of an extension. It prints as its name in the RFCs where it has one, and in dotted form.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct ExtensionOid {
    bytes: [u8; MAX_BYTES],
    length: u8,
    /// The identifier is longer than what is kept.
    cut: bool,
}

impl ExtensionOid {
    /// `content` is the DER of the identifier without tag and length.
    pub fn from_der_content(content: &[u8]) -> Self {
        let mut bytes = [0; MAX_BYTES];
        let mut length: u8 = 0;
        for (kept, byte) in bytes.iter_mut().zip(content) {
            *kept = *byte;
            length = length.saturating_add(1);
        }
        Self { bytes, length, cut: content.len() > MAX_BYTES }
    }

    fn content(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }

    /// The name in RFC 5280 and other RFCs of an extension that certificates often have.
    fn name(&self) -> Option<&'static str> {
        Some(match self.content() {
            [0x55, 0x1d, 14] => "subjectKeyIdentifier",
            [0x55, 0x1d, 18] => "issuerAltName",
            [0x55, 0x1d, 30] => "nameConstraints",
            [0x55, 0x1d, 32] => "certificatePolicies",
            [0x55, 0x1d, 33] => "policyMappings",
            [0x55, 0x1d, 35] => "authorityKeyIdentifier",
            [0x55, 0x1d, 36] => "policyConstraints",
            [0x55, 0x1d, 46] => "freshestCRL",
            [0x55, 0x1d, 54] => "inhibitAnyPolicy",
            [0x2b, 6, 1, 5, 5, 7, 1, 1] => "authorityInfoAccess",
            [0x2b, 6, 1, 5, 5, 7, 1, 24] => "TLS feature",
            [0x2b, 6, 1, 5, 5, 7, 1, 14] => "proxyCertInfo",
            [0x2b, 6, 1, 4, 1, 0xd6, 0x79, 2, 4, 3] => "certificate transparency poison",
            [0x60, 0x86, 0x48, 1, 0x86, 0xf8, 0x42, 1, 1] => "Netscape certificate type",
            _ => return None,
        })
    }
}

impl fmt::Display for ExtensionOid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let oid = Oid::new(self.content().into());
        let dotted = oid.to_id_string();
        let end = if self.cut { "…" } else { "" };
        match self.name() {
            Some(name) => write!(formatter, "{name} ({dotted}{end})"),
            None => write!(formatter, "{dotted}{end}"),
        }
    }
}

impl fmt::Debug for ExtensionOid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}
