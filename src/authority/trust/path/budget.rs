//! How much work one chain may cause, whatever it consists of.

use crate::authority::trust::path::signature::Verified;
use crate::authority::trust::unproven::Unproven;

/// The most comparisons of a name with a name constraint for one chain, as webpki and Go have it.
const MAX_NAME_COMPARISONS: u32 = 250_000;

/// The work for one chain: what was found, and what may still be done.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) budget: Budget,
    /// What came of verifying the signature of one certificate by another, by their places in the chain.
    pub(super) verified: Vec<((usize, usize), Verified)>,
}

impl Work {
    /// The work for this many presented certificates.
    pub(super) fn for_presented(certificates: usize) -> Self {
        let signatures = u32::try_from(certificates).unwrap_or(u32::MAX);
        let budget = Budget { signatures, verified: 0, name_comparisons: MAX_NAME_COMPARISONS };
        Self { budget, verified: Vec::new() }
    }
}

/// What is left for a chain: one signature check for each certificate of it, and one for each anchor that it may end at.
/// A path of these certificates takes no more, because each of them is signed once; what remains for issuers of one name
/// without key identifiers is one check for each of them.
#[derive(Debug)]
pub(super) struct Budget {
    signatures: u32,
    verified: u32,
    name_comparisons: u32,
}

impl Budget {
    /// Allows a check for each of the operator's anchors that the chain may end at.
    pub(super) fn allow_anchors(&mut self, anchors: usize) {
        self.signatures = self.signatures.saturating_add(u32::try_from(anchors).unwrap_or(u32::MAX));
    }

    /// Allows one signature check, also where its outcome is known: what is refused does not depend on that.
    pub(super) fn check_signature(&mut self) -> Result<(), Unproven> {
        take_one(&mut self.signatures)
    }

    pub(super) fn count_verified(&mut self) {
        self.verified = self.verified.saturating_add(1);
    }

    /// How many signatures were verified.
    pub(super) fn verified(&self) -> u32 {
        self.verified
    }

    pub(super) fn compare_names(&mut self) -> Result<(), Unproven> {
        take_one(&mut self.name_comparisons)
    }
}

fn take_one(left: &mut u32) -> Result<(), Unproven> {
    *left = left.checked_sub(1).ok_or(Unproven::PathTooComplex)?;
    Ok(())
}
