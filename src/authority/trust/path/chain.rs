//! The chain that a peer presents.

use rustls_pki_types::CertificateDer;

use crate::authority::clock::Timestamp;
use crate::authority::identity::InvalidCertificate;
use crate::authority::trust::known_signatures::KnownSignatures;
use crate::authority::trust::path::anchor::Anchor;
use crate::authority::trust::path::budget::Work;
use crate::authority::trust::path::certificate::PathCertificate;
use crate::authority::trust::path::purpose::Purpose;
use crate::authority::trust::path::search::Search;
use crate::authority::trust::unproven::Unproven;

/// A leaf and the certificates that came with it, in any order. The work that all searches for a path cause together is
/// bounded.
#[derive(Debug)]
pub(in crate::authority::trust) struct Chain {
    /// The leaf first. `None` for one that cannot be parsed: no path leads through it.
    certificates: Vec<Option<PathCertificate>>,
    work: Work,
}

impl Chain {
    /// Parses the certificates. The caller has bounded their number and their sizes. One that is presented twice counts
    /// once.
    pub(in crate::authority::trust) fn parse(
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
    ) -> Result<Self, Unproven> {
        let leaf = PathCertificate::parse(leaf).map_err(|_| Unproven::Invalid(InvalidCertificate::NotACertificate))?;
        let is_new =
            |(place, other): &(usize, &CertificateDer<'_>)| others.iter().take(*place).all(|earlier| earlier != *other);
        let others = others.iter().enumerate().filter(is_new).map(|(_, other)| PathCertificate::parse(other).ok());
        let certificates: Vec<_> = std::iter::once(Some(leaf)).chain(others).collect();
        let work = Work::for_presented(certificates.len());
        Ok(Self { certificates, work })
    }

    /// Looks for a path to one of the anchors on which every certificate keeps its rules. Returns the end of the
    /// shortest validity in it, without the leaf's, which the caller looks at.
    ///
    /// What is wrong with the leaf is the reason only where there is a path apart from that.
    pub(in crate::authority::trust) fn path_to(
        &mut self,
        anchors: &[Anchor],
        purpose: Purpose,
        now: Timestamp,
        known: Option<&KnownSignatures>,
    ) -> Result<Timestamp, Unproven> {
        let until = Search::new((&self.certificates, &mut self.work), anchors, purpose, now, known).run()?;
        self.check_leaf(purpose)?;
        Ok(until)
    }

    /// Checks that the leaf may authenticate a peer.
    pub(in crate::authority::trust) fn check_leaf(&self, purpose: Purpose) -> Result<(), Unproven> {
        self.leaf().and_then(|leaf| leaf_fault(leaf, purpose)).map_or(Ok(()), Err)
    }

    /// How many signatures were verified so far.
    pub(in crate::authority::trust) fn verified_signatures(&self) -> u32 {
        self.work.budget.verified()
    }

    /// Whether the leaf's issuer and subject have the same name.
    pub(in crate::authority::trust) fn is_self_issued(&self) -> bool {
        self.leaf().is_some_and(PathCertificate::is_self_issued)
    }

    fn leaf(&self) -> Option<&PathCertificate> {
        self.certificates.first().and_then(Option::as_ref)
    }
}

/// What keeps a leaf from authenticating a peer.
fn leaf_fault(leaf: &PathCertificate, purpose: Purpose) -> Option<Unproven> {
    if !leaf.is_version_3 {
        return Some(Unproven::UnsupportedVersion);
    }
    if leaf.is_ca == Some(true) || leaf.key_cert_sign == Some(true) {
        return Some(Unproven::SigningCertificate);
    }
    if let Some(extension) = leaf.critical {
        return Some(Unproven::CriticalExtension(extension));
    }
    if !leaf.key.is_supported() {
        return Some(Unproven::UnsupportedKey);
    }
    (!purpose.is_among(leaf.purposes)).then_some(Unproven::ExtendedKeyUsage)
}
