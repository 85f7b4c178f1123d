//! How much work one chain may cause, whatever it consists of.

use crate::authority::trust::path::signature::Verified;
use crate::authority::trust::unproven::Unproven;

/// The most signatures that are verified for one chain.
const MAX_SIGNATURES: u32 = 100;

/// The most comparisons of a name with a name constraint for one chain, as webpki and Go have it.
const MAX_NAME_COMPARISONS: u32 = 250_000;

/// The work for one chain: what was found, and what may still be done.
#[derive(Debug, Default)]
pub(super) struct Work {
    pub(super) budget: Budget,
    /// What came of verifying the signature of one certificate by another, by their places in the chain.
    pub(super) verified: Vec<((usize, usize), Verified)>,
}

/// What is left for a chain.
#[derive(Debug)]
pub(super) struct Budget {
    signatures: u32,
    name_comparisons: u32,
}

impl Default for Budget {
    fn default() -> Self {
        Self { signatures: MAX_SIGNATURES, name_comparisons: MAX_NAME_COMPARISONS }
    }
}

impl Budget {
    pub(super) fn verify_signature(&mut self) -> Result<(), Unproven> {
        take_one(&mut self.signatures)
    }

    pub(super) fn compare_names(&mut self) -> Result<(), Unproven> {
        take_one(&mut self.name_comparisons)
    }
}

fn take_one(left: &mut u32) -> Result<(), Unproven> {
    *left = left.checked_sub(1).ok_or(Unproven::PathTooComplex)?;
    Ok(())
}
