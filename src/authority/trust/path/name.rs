//! A distinguished name in a path: compared by its bytes, and where those differ as RFC 5280 section 7.1 compares.

use std::sync::OnceLock;

use crate::authority::identity::DistinguishedName;

/// An issuer's or a subject's name.
#[derive(Debug)]
pub(super) struct Name {
    der: Box<[u8]>,
    prepared: OnceLock<Option<DistinguishedName>>,
}

impl Name {
    /// Takes the DER of an X.501 Name.
    pub(super) fn new(der: &[u8]) -> Self {
        Self { der: der.into(), prepared: OnceLock::new() }
    }

    /// The DER.
    pub(super) fn der(&self) -> &[u8] {
        &self.der
    }

    /// Whether the name has no relative names.
    pub(super) fn is_empty(&self) -> bool {
        *self.der == [0x30, 0]
    }

    /// Whether both have the same bytes.
    pub(super) fn is_identical(&self, other: &Self) -> bool {
        self.der == other.der
    }

    /// Whether both are the same name, however it is written.
    pub(super) fn matches(&self, other: &Self) -> bool {
        self.is_identical(other)
            || self.prepared().is_some_and(|own| other.prepared().is_some_and(|other| own == other))
    }

    /// The name prepared for comparison; `None` if it cannot be prepared, so that only its bytes compare.
    pub(super) fn prepared(&self) -> Option<&DistinguishedName> {
        self.prepared.get_or_init(|| DistinguishedName::from_der(&self.der).ok()).as_ref()
    }
}
