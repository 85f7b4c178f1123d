//! The depth-first search for a path from a leaf to an anchor.

use crate::authority::clock::Timestamp;
use crate::authority::trust::known_signatures::KnownSignatures;
use crate::authority::trust::path::anchor::Anchor;
use crate::authority::trust::path::budget::Work;
use crate::authority::trust::path::certificate::PathCertificate;
use crate::authority::trust::path::policies;
use crate::authority::trust::path::purpose::Purpose;
use crate::authority::trust::path::signature::Verified;
use crate::authority::trust::unproven::Unproven;

/// One search.
pub(super) struct Search<'a> {
    /// The chain, the leaf first.
    certificates: &'a [Option<PathCertificate>],
    work: &'a mut Work,
    anchors: &'a [Anchor],
    /// Whether each certificate of the chain leads to an anchor by names and key identifiers.
    leading: Vec<bool>,
    purpose: Purpose,
    now: Timestamp,
    known: Option<&'a KnownSignatures>,
    /// The places in the chain of the certificates of the path so far, the leaf first.
    path: Vec<usize>,
    /// Why the first path failed that had valid signatures, or else the first that could not be followed.
    why: Option<Failed>,
}

/// Why a path failed, and whether the signatures up to there are valid: any peer can present a certificate with the name
/// of a CA.
struct Failed {
    reason: Unproven,
    signed: bool,
}

impl<'a> Search<'a> {
    pub(super) fn new(
        (certificates, work): (&'a [Option<PathCertificate>], &'a mut Work),
        anchors: &'a [Anchor],
        purpose: Purpose,
        now: Timestamp,
        known: Option<&'a KnownSignatures>,
    ) -> Self {
        let leading = vec![false; certificates.len()];
        Self { certificates, work, anchors, leading, purpose, now, known, path: vec![0], why: None }
    }

    /// Runs the search.
    pub(super) fn run(mut self) -> Result<Timestamp, Unproven> {
        let ends = self.follow_names();
        // Anybody can present certificates that lead nowhere; no signature is verified for them.
        if self.leading.first() != Some(&true) {
            return Err(Unproven::NoPath);
        }
        self.work.budget.allow_anchors(ends);
        match self.extend(Timestamp(u64::MAX))? {
            Some(until) => Ok(until),
            None => Err(self.why.map_or(Unproven::NoPath, |failed| failed.reason)),
        }
    }

    /// Finds the certificates that lead to an anchor by names and key identifiers, and returns how many anchors there are
    /// at their ends.
    fn follow_names(&mut self) -> usize {
        let presented = || self.certificates.iter().enumerate().filter_map(|(place, one)| Some((place, one.as_ref()?)));
        let is_end = |anchor: &&Anchor| presented().any(|(_, one)| one.may_be_signed_by(anchor.certificate()));
        let ends: Vec<&Anchor> = self.anchors.iter().filter(is_end).collect();
        let mut leading = vec![false; self.certificates.len()];
        let mut found: Vec<&PathCertificate> = ends.iter().map(|anchor| anchor.certificate()).collect();
        while let Some(issuer) = found.pop() {
            for (place, certificate) in presented() {
                if let Some(leads @ false) = leading.get_mut(place)
                    && certificate.may_be_signed_by(issuer)
                {
                    *leads = true;
                    found.push(certificate);
                }
            }
        }
        self.leading = leading;
        ends.len()
    }

    /// Extends the path to an anchor. `until` is the end of the shortest validity of the issuers in it. The error is
    /// only that the bounds are reached.
    fn extend(&mut self, until: Timestamp) -> Result<Option<Timestamp>, Unproven> {
        // Names that differ in their bytes are compared only where none are equal in them, or none lead to an anchor.
        for identical in [true, false] {
            for anchor in self.candidates(identical) {
                if self.ends_at(anchor.certificate())? {
                    return Ok(Some(until.min(anchor.certificate().not_after)));
                }
            }
            for place in self.intermediates(identical) {
                if let Some(issuer_until) = self.step_to(place)? {
                    self.path.push(place);
                    if let Some(until) = self.extend(until.min(issuer_until))? {
                        return Ok(Some(until));
                    }
                    self.path.pop();
                }
            }
        }
        Ok(None)
    }

    fn certificate(&self, place: usize) -> Option<&'a PathCertificate> {
        self.certificates.get(place).and_then(Option::as_ref)
    }

    /// The last certificate of the path, whose issuer is wanted.
    fn head(&self) -> Option<&'a PathCertificate> {
        self.path.last().and_then(|place| self.certificate(*place))
    }

    /// The anchors with the name of the issuer, those first whose key identifier is the issuer's.
    fn candidates(&self, identical: bool) -> Vec<&'a Anchor> {
        let Some(head) = self.head() else { return Vec::new() };
        let named = |anchor: &&Anchor| has_name(anchor.certificate(), head, identical);
        let mut found: Vec<&Anchor> = self.anchors.iter().filter(named).collect();
        found.sort_by_key(|anchor| !head.names_key_of(anchor.certificate()));
        found
    }

    /// The places of the presented certificates with the name of the issuer that lead to an anchor and are not in the
    /// path yet. A CA's own successor has its name and another key.
    fn intermediates(&self, identical: bool) -> Vec<usize> {
        let Some(head) = self.head() else { return Vec::new() };
        let is_new = |candidate: &PathCertificate| {
            let mut path = self.path.iter().filter_map(|place| self.certificate(*place));
            !path.any(|one| one.key == candidate.key && one.subject.matches(&candidate.subject))
        };
        let places = 1..self.certificates.len();
        let mut found: Vec<(bool, usize)> = places
            .filter_map(|place| {
                let candidate = self.certificate(place)?;
                let leads = self.leading.get(place).is_some_and(|leads| *leads);
                let fits = leads && has_name(candidate, head, identical) && is_new(candidate);
                fits.then(|| (!head.names_key_of(candidate), place))
            })
            .collect();
        found.sort_unstable();
        found.into_iter().map(|(_, place)| place).collect()
    }

    /// Whether the path ends at this anchor: it has signed the last certificate, and allows all below it.
    fn ends_at(&mut self, anchor: &PathCertificate) -> Result<bool, Unproven> {
        let verified = self.verify(anchor)?;
        if !self.is_valid(verified) {
            return Ok(false);
        }
        let fault = self.validity_fault(anchor).or_else(|| self.path_length_fault(anchor));
        if let Some(reason) = fault {
            self.fail(reason, true);
            return Ok(false);
        }
        if let Err(reason) = self.check_all_names(anchor)? {
            self.fail(reason, true);
            return Ok(false);
        }
        if !self.fulfils_policies(anchor) {
            self.fail(Unproven::PolicyRequired, true);
            return Ok(false);
        }
        self.remember(anchor);
        Ok(true)
    }

    /// Remembers the signatures of the path, which ends at this anchor. Those of other paths are not: whoever has a certificate
    /// may present any number of others beside it.
    fn remember(&self, anchor: &PathCertificate) {
        let Some(known) = self.known.filter(|_| self.work.budget.verified() > 0) else { return };
        let path = || self.path.iter().filter_map(|place| self.certificate(*place));
        for (signed, issuer) in path().zip(path().skip(1).chain([anchor])) {
            known.insert(digest(signed, issuer));
        }
    }

    /// Whether the last certificate of the path is signed by this issuer. The error is that the bounds are reached.
    fn verify(&mut self, issuer: &PathCertificate) -> Result<Verified, Unproven> {
        self.work.budget.check_signature()?;
        let Some(head) = self.head() else { return Ok(Verified::Invalid) };
        if self.known.is_some_and(|known| known.has(&digest(head, issuer))) {
            return Ok(Verified::Valid);
        }
        self.work.budget.count_verified();
        let (message, signature) = head.signed();
        Ok(issuer.key.verify(message, signature))
    }

    fn fulfils_policies(&self, anchor: &PathCertificate) -> bool {
        let path = || self.path.iter().rev().filter_map(|place| self.certificate(*place));
        // Few certificates have any, and whether one is self-issued costs a comparison of names.
        if !anchor.policies.matter() && !path().any(|certificate| certificate.policies.matter()) {
            return true;
        }
        let step = |certificate: &'a PathCertificate| (&certificate.policies, certificate.is_self_issued());
        let steps: Vec<policies::Step<'_>> = path().map(step).collect();
        policies::fulfilled(&anchor.policies, &steps)
    }

    /// Whether the certificate at this place may be the next of the path: it has signed the last one, and keeps the
    /// rules for issuers. Returns the end of its validity.
    fn step_to(&mut self, place: usize) -> Result<Option<Timestamp>, Unproven> {
        let (Some(head), Some(issuer)) = (self.path.last().copied(), self.certificate(place)) else { return Ok(None) };
        // What one certificate of a key has signed, all certificates of that key have.
        let has_key = |one: usize| self.certificate(one).is_some_and(|one| one.key == issuer.key);
        let mut verified = self.work.verified.iter();
        let known = verified.find(|((signed, by), _)| *signed == head && has_key(*by)).map(|(_, verified)| *verified);
        let verified = if let Some(verified) = known {
            verified
        } else {
            let verified = self.verify(issuer)?;
            self.work.verified.push(((head, place), verified));
            verified
        };
        if !self.is_valid(verified) {
            return Ok(None);
        }
        if let Some(reason) = self.issuer_fault(issuer) {
            self.fail(reason, true);
            return Ok(None);
        }
        Ok(Some(issuer.not_after))
    }

    /// Notes why a signature is not valid.
    fn is_valid(&mut self, verified: Verified) -> bool {
        match verified {
            Verified::Valid => return true,
            Verified::Invalid => {}
            Verified::UnsupportedAlgorithm => self.fail(Unproven::UnsupportedSignature, false),
            Verified::UnsupportedKey => self.fail(Unproven::UnsupportedKey, false),
        }
        false
    }

    /// The rules for the issuers of a path that are not anchors (section 6.1.4 k to n).
    fn issuer_fault(&self, issuer: &PathCertificate) -> Option<Unproven> {
        if let Some(reason) = self.validity_fault(issuer) {
            return Some(reason);
        }
        if !issuer.is_version_3 || issuer.is_ca != Some(true) {
            return Some(Unproven::IssuerNotCa);
        }
        // X509-SVID section 4.3: the signing certificates of SVIDs have the extension.
        if !issuer.key_cert_sign.unwrap_or(!self.purpose.is_svid()) {
            return Some(Unproven::IssuerKeyUsage);
        }
        if issuer.has_spiffe_path() {
            return Some(Unproven::IssuerSpiffeId);
        }
        if !self.purpose.is_among(issuer.purposes) {
            return Some(Unproven::IssuerExtendedKeyUsage);
        }
        if let Some(extension) = issuer.critical {
            return Some(Unproven::CriticalExtension(extension));
        }
        if issuer.constraints.is_err() {
            return Some(Unproven::UnsupportedNameConstraints);
        }
        self.path_length_fault(issuer)
    }

    fn validity_fault(&self, issuer: &PathCertificate) -> Option<Unproven> {
        if self.now > issuer.not_after {
            Some(Unproven::IssuerExpired)
        } else if self.now < issuer.not_before {
            Some(Unproven::IssuerNotYetValid)
        } else {
            None
        }
    }

    /// Section 4.2.1.9: the number of intermediates below an issuer that are not self-issued.
    fn path_length_fault(&self, issuer: &PathCertificate) -> Option<Unproven> {
        let most = usize::try_from(issuer.path_length?).unwrap_or(usize::MAX);
        let below = self.path.iter().skip(1).filter_map(|place| self.certificate(*place));
        (below.filter(|one| !one.is_self_issued()).count() > most).then_some(Unproven::PathLength)
    }

    /// The name constraints of the anchor and of all issuers below it. They are looked at once an anchor has signed the
    /// path: whoever has no certificate of it may present any number of names and constraints.
    fn check_all_names(&mut self, anchor: &PathCertificate) -> Result<Result<(), Unproven>, Unproven> {
        let below = self.path.len();
        let mut checked = self.check_names(anchor, below)?;
        for depth in (1..below).rev() {
            let Some(issuer) = self.path.get(depth).and_then(|place| self.certificate(*place)) else { continue };
            if checked.is_ok() {
                checked = self.check_names(issuer, depth)?;
            }
        }
        Ok(checked)
    }

    /// The name constraints of an issuer, for the first `below` certificates of the path but the self-issued
    /// intermediates (section 6.1.3 b and c).
    fn check_names(&mut self, issuer: &PathCertificate, below: usize) -> Result<Result<(), Unproven>, Unproven> {
        let Ok(constraints) = &issuer.constraints else { return Ok(Err(Unproven::UnsupportedNameConstraints)) };
        if constraints.is_empty() {
            return Ok(Ok(()));
        }
        for depth in 0..below {
            let Some(certificate) = self.path.get(depth).and_then(|place| self.certificate(*place)) else { continue };
            if depth > 0 && certificate.is_self_issued() {
                continue;
            }
            match constraints.check(certificate.names(), &certificate.subject, &mut self.work.budget) {
                Ok(()) => {}
                Err(Unproven::PathTooComplex) => return Err(Unproven::PathTooComplex),
                Err(reason) => return Ok(Err(reason)),
            }
        }
        Ok(Ok(()))
    }

    fn fail(&mut self, reason: Unproven, signed: bool) {
        if self.why.as_ref().is_none_or(|why| signed && !why.signed) {
            self.why = Some(Failed { reason, signed });
        }
    }
}

/// Whether a certificate may have signed another, and has the issuer's name in the same bytes, or in others.
fn has_name(issuer: &PathCertificate, signed: &PathCertificate, identical: bool) -> bool {
    signed.may_be_signed_by(issuer) && issuer.subject.is_identical(&signed.issuer) == identical
}

fn digest(signed: &PathCertificate, issuer: &PathCertificate) -> [u8; 32] {
    let (message, signature) = signed.signed();
    issuer.key.digest(message, signature)
}
