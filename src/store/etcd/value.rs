//! The form of keys, revisions and values in etcd. A value has a first line that says which form it is and
//! when it expires, then the value as it is, so that `etcdctl get` shows it.
//!
//! The expiry is here, to the second, and not only in etcd's lease: a lease may last longer, and etcd renews all leases
//! when its leader changes.

use std::sync::Arc;

use crate::authority::clock::Timestamp;
use crate::authority::store::Revision;
use crate::authority::store::StoreError;
use crate::authority::store::Versioned;

/// The first line of a value that does not expire.
const FORM: &str = "lanyard 1";

/// What follows on the first line before the time of expiry, in seconds since 1970.
const EXPIRES: &str = " expires=";

/// The longest first line, in bytes.
const MAX_LINE: usize = 64;

/// Adds the first line.
pub(super) fn encode(value: &[u8], expires: Option<Timestamp>) -> Vec<u8> {
    let line = match expires {
        Some(expires) => format!("{FORM}{EXPIRES}{}\n", expires.0),
        None => format!("{FORM}\n"),
    };
    [line.as_bytes(), value].concat()
}

/// The value and its expiry; `None` if this is not the form that this version writes.
pub(super) fn decode(stored: &[u8]) -> Option<(Arc<[u8]>, Option<Timestamp>)> {
    let end = stored.iter().take(MAX_LINE).position(|byte| *byte == b'\n')?;
    let (line, value) = stored.split_at_checked(end)?;
    let (line, value) = (std::str::from_utf8(line).ok()?, value.strip_prefix(b"\n")?);
    let expires = match line.strip_prefix(FORM)? {
        "" => None,
        rest => Some(Timestamp(rest.strip_prefix(EXPIRES)?.parse().ok()?)),
    };
    Some((value.into(), expires))
}

/// A revision of etcd, which is never negative.
pub(super) fn revision(revision: Option<i64>) -> Revision {
    Revision(u64::try_from(revision.unwrap_or_default()).unwrap_or_default())
}

/// A revision as etcd writes it.
pub(super) fn signed(revision: Revision) -> i64 {
    i64::try_from(revision.0).unwrap_or(i64::MAX)
}

/// What was read at a key, whether or not it has expired.
pub(super) type Entry = Versioned<Arc<[u8]>>;

/// The error for a record that Lanyard has not written.
pub(super) fn foreign(key: &[u8]) -> StoreError {
    let key = String::from_utf8_lossy(key);
    StoreError::Unavailable(format!("etcd: the value at {key} is not of the form that this version writes"))
}

/// The first key that does not begin with this prefix, which is text: no byte of it is 0xff.
pub(super) fn after_prefix(mut prefix: Vec<u8>) -> Vec<u8> {
    if let Some(last) = prefix.last_mut() {
        *last += 1;
    }
    prefix
}

#[cfg(test)]
mod tests {
    use super::decode;
    use super::encode;
    use crate::authority::clock::Timestamp;

    #[test]
    fn values_come_back_with_their_expiry() {
        for value in [&b""[..], b"\n", b"{\"a\":1}", b"lanyard 1\n", b"\x00\xff"] {
            for expires in [None, Some(Timestamp(0)), Some(Timestamp(u64::MAX))] {
                assert_eq!(decode(&encode(value, expires)), Some((value.into(), expires)));
            }
        }
    }

    #[test]
    fn what_another_program_wrote_is_not_read() {
        for stored in [
            &b""[..],
            b"{}",
            b"lanyard 1",
            b"lanyard 2\n{}",
            b"lanyard 1 \n{}",
            b"lanyard 1 expires=\n{}",
            b"lanyard 1 expires=-1\n{}",
            b"lanyard 1 expires=1 x\n{}",
            b"\xff\n{}",
        ] {
            assert_eq!(decode(stored), None, "{}", String::from_utf8_lossy(stored));
        }
    }
}
