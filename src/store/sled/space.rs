//! The space that is reserved on the disk for what takes away: a revocation must not fail because registrations filled it.

use std::path::Path;

use crate::authority::store::StoreError;

/// The most bytes that are reserved.
const MAX_RESERVED: u64 = 16 << 20;

/// The part of the disk that is reserved.
const PART: u64 = 64;

/// Whether so many bytes may be written of what does not only take away: not where less is then free than is reserved. A disk
/// that cannot be measured is taken for one with space.
pub(super) fn check(directory: &Path, bytes: u64) -> Result<(), StoreError> {
    let Ok(found) = rustix::fs::statvfs(directory) else { return Ok(()) };
    let [free, size] = [found.f_bavail, found.f_blocks].map(|blocks| blocks.saturating_mul(found.f_frsize));
    let reserved = MAX_RESERVED.min(size / PART);
    if free.saturating_sub(bytes) >= reserved {
        return Ok(());
    }
    let problem = format!("{free} bytes are free on the disk, and {reserved} are reserved for revocations");
    Err(StoreError::Unavailable(problem))
}
