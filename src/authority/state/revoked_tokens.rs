//! The revocations of tokens, of which there may be a million. That of a token of this server is 48 bytes in one allocation.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::ops::Bound;
use std::sync::Arc;

use imbl::OrdSet;

use crate::authority::clock::Timestamp;
use crate::authority::records::Shared;
use crate::authority::state::revoked::RevocationRecord;
use crate::authority::store::Revision;

/// The length of a `jti` of this server: 128 bits, base64url.
const JTI_BYTES: usize = 22;

/// The last characters that such a text may have, in their order: four of their six bits are zero.
const LAST: &[u8; 4] = b"AQgw";

/// The characters of base64url in the order of ASCII.
const CHARACTERS: &[u8; 64] = b"-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz";

/// A revoked token: its `jti`, the record, and its revision.
type Row = (String, RevocationRecord, Revision);

/// All revocations of tokens, by their `jti`s. A clone shares what does not change.
#[derive(Clone, Debug, Default)]
pub(super) struct RevokedTokens {
    /// Those of tokens that this server issued.
    short: OrdSet<ByName<Short>>,
    /// Those of other names, or with a record that is not short.
    long: OrdSet<ByName<Long>>,
    /// Who made them.
    revokers: Shared<str>,
}

/// What is compared by its name.
trait Named {
    type Name: Ord + ?Sized;

    fn name(&self) -> &Self::Name;
}

/// 128 bits that are ordered as the texts are.
type Bits = [u8; 16];

#[derive(Debug)]
struct Short {
    bits: Bits,
    revision: Revision,
    /// In seconds, and 0 for none.
    until: u32,
    revoked_at: u32,
    revoked_by: Arc<str>,
}

#[derive(Debug)]
struct Long {
    jti: Box<str>,
    record: RevocationRecord,
    revision: Revision,
}

impl Named for Short {
    type Name = Bits;

    fn name(&self) -> &Bits {
        &self.bits
    }
}

impl Named for Long {
    type Name = str;

    fn name(&self) -> &str {
        &self.jti
    }
}

#[derive(Debug)]
struct ByName<T>(Arc<T>);

impl<T> Clone for ByName<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl Borrow<Bits> for ByName<Short> {
    fn borrow(&self) -> &Bits {
        self.0.name()
    }
}

impl Borrow<str> for ByName<Long> {
    fn borrow(&self) -> &str {
        self.0.name()
    }
}

impl<T: Named> Ord for ByName<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.name().cmp(other.0.name())
    }
}

impl<T: Named> PartialOrd for ByName<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T: Named> PartialEq for ByName<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0.name() == other.0.name()
    }
}

impl<T: Named> Eq for ByName<T> {}

impl Short {
    /// `None` where the name or the record says more than this can.
    fn new(jti: &str, record: &RevocationRecord, revision: Revision) -> Option<Self> {
        let bits = bits(jti)?;
        if record.lifted.is_some() {
            return None;
        }
        let (revoked_at, revoked_by) = (u32::try_from(record.revoked_at.0).ok()?, Arc::clone(&record.revoked_by));
        let until = match record.until {
            Some(until) => u32::try_from(until.0).ok().filter(|until| *until > 0)?,
            None => 0,
        };
        Some(Self { bits, revision, until, revoked_at, revoked_by })
    }

    fn until(&self) -> Option<Timestamp> {
        (self.until > 0).then(|| Timestamp(self.until.into()))
    }

    fn record(&self) -> RevocationRecord {
        RevocationRecord::of(Timestamp(self.revoked_at.into()), Arc::clone(&self.revoked_by), self.until())
    }
}

impl RevokedTokens {
    /// Adds a revocation, and replaces that of the same token.
    pub(super) fn insert(&mut self, jti: &str, mut record: RevocationRecord, revision: Revision) {
        self.remove(jti);
        self.revokers.add(&mut record.revoked_by);
        match Short::new(jti, &record, revision) {
            Some(short) => drop(self.short.insert(ByName(Arc::new(short)))),
            None => drop(self.long.insert(ByName(Arc::new(Long { jti: jti.into(), record, revision })))),
        }
    }

    pub(super) fn remove(&mut self, jti: &str) {
        if let Some(ByName(removed)) = bits(jti).and_then(|bits| self.short.remove(&bits)) {
            self.revokers.remove(&removed.revoked_by);
        }
        if let Some(ByName(removed)) = self.long.remove(jti) {
            self.revokers.remove(&removed.record.revoked_by);
        }
    }

    fn short(&self, jti: &str) -> Option<&Short> {
        self.short.get(&bits(jti)?).map(|ByName(short)| &**short)
    }

    fn long(&self, jti: &str) -> Option<&Long> {
        self.long.get(jti).map(|ByName(long)| &**long)
    }

    /// The record of a token's revocation, and its revision.
    pub(super) fn get(&self, jti: &str) -> Option<(RevocationRecord, Revision)> {
        let short = self.short(jti).map(|short| (short.record(), short.revision));
        short.or_else(|| self.long(jti).map(|long| (long.record.clone(), long.revision)))
    }

    /// Whether a token is refused.
    pub(super) fn refuses(&self, jti: &str, now: Timestamp) -> bool {
        self.short(jti).is_some_and(|short| short.until().is_none_or(|until| now <= until))
            || self.long(jti).is_some_and(|long| long.record.is_in_effect(now))
    }

    /// The revocations after that of a token, in the order of their names.
    pub(super) fn after(&self, after: Option<&str>) -> impl Iterator<Item = Row> + use<'_> {
        let from = after.map_or(Bound::Unbounded, |after| Bound::Included(first_bits(after)));
        let last = after.map(ToOwned::to_owned);
        let short = self.short.range::<_, Bits>((from, Bound::Unbounded));
        let short = short.map(|ByName(short)| (text(&short.bits), short.record(), short.revision));
        let short = short.skip_while(move |(jti, ..)| last.as_ref().is_some_and(|last| jti <= last));
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let long = self.long.range::<_, str>((from, Bound::Unbounded));
        let long = long.map(|ByName(long)| (long.jti.to_string(), long.record.clone(), long.revision));
        let (mut short, mut long) = (short.peekable(), long.peekable());
        std::iter::from_fn(move || match (short.peek(), long.peek()) {
            (Some((one, ..)), Some((other, ..))) if one > other => long.next(),
            (Some(_), _) => short.next(),
            (None, _) => long.next(),
        })
    }

    pub(super) fn len(&self) -> usize {
        self.short.len() + self.long.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.short.is_empty() && self.long.is_empty()
    }

    /// The number of revocations by this caller.
    pub(super) fn revoked_by(&self, caller: &str) -> usize {
        self.revokers.count(caller)
    }
}

/// The place of a character in the order of ASCII.
fn rank(character: u8) -> Option<u128> {
    let (first, rank) = match character {
        b'-' => (b'-', 0),
        b'0'..=b'9' => (b'0', 1),
        b'A'..=b'Z' => (b'A', 11),
        b'_' => (b'_', 37),
        b'a'..=b'z' => (b'a', 38),
        _ => return None,
    };
    Some(u128::from(character - first + rank))
}

/// The bits of a `jti` of this server: for each character its rank, so that they are ordered as the texts are.
fn bits(jti: &str) -> Option<Bits> {
    let (last, first) = jti.as_bytes().first_chunk::<JTI_BYTES>().filter(|_| jti.len() == JTI_BYTES)?.split_last()?;
    let bits = first.iter().try_fold(0_u128, |bits, character| Some((bits << 6) | rank(*character)?))?;
    let last = LAST.iter().position(|character| character == last)?;
    Some(((bits << 2) | u128::try_from(last).ok()?).to_be_bytes())
}

/// Bits that no `jti` after this text is before.
fn first_bits(text: &str) -> Bits {
    let known = text.bytes().map_while(rank).chain(std::iter::repeat(0)).take(JTI_BYTES - 1);
    (known.fold(0, |bits, rank| (bits << 6) | rank) << 2).to_be_bytes()
}

/// The `jti` with these bits.
fn text(bits: &Bits) -> String {
    let bits = u128::from_be_bytes(*bits);
    let character = |shift: usize| {
        let rank = usize::try_from((bits >> shift) & 0x3f).unwrap_or_default();
        CHARACTERS.get(rank).copied().unwrap_or_default()
    };
    let first = (1..JTI_BYTES).rev().map(|place| character(6 * place - 4));
    let last = usize::try_from(bits & 3).ok().and_then(|last| LAST.get(last)).copied();
    first.chain(last).map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::any;
    use proptest::prop_assert_eq;
    use proptest::proptest;

    use super::*;
    use crate::authority::state::revoked::Lifted;

    fn record(until: Option<u64>) -> RevocationRecord {
        RevocationRecord::new(Timestamp(1_800_000_000), "spiffe://prod.example/admin", until.map(Timestamp))
    }

    /// So that the memory for a million revocations stays bounded: the node of the set takes some 20 bytes besides.
    #[test]
    fn the_revocation_of_a_token_takes_little_memory_of_its_own() {
        assert_eq!(size_of::<Short>(), 48);
        let mut tokens = RevokedTokens::default();
        for jti in ["AAAAAAAAAAAAAAAAAAAAAA", "BAAAAAAAAAAAAAAAAAAAAA", "other"] {
            tokens.insert(jti, record(None), Revision(1));
        }
        assert_eq!((tokens.short.len(), tokens.long.len()), (2, 1));
        let by: Vec<_> = tokens.after(None).map(|(_, record, _)| record.revoked_by).collect();
        assert!(matches!(by.as_slice(), [one, two, three] if Arc::ptr_eq(one, two) && Arc::ptr_eq(two, three)));
        assert_eq!(tokens.revoked_by("spiffe://prod.example/admin"), 3);
        for (jti, left) in [("other", 2), ("BAAAAAAAAAAAAAAAAAAAAA", 1), ("BAAAAAAAAAAAAAAAAAAAAA", 1)] {
            tokens.remove(jti);
            assert_eq!((tokens.len(), tokens.revoked_by("spiffe://prod.example/admin")), (left, left));
        }
    }

    #[test]
    fn what_cannot_be_said_in_short_is_kept_as_it_is() {
        let jti = "AAAAAAAAAAAAAAAAAAAAAA";
        let mut lifted = record(Some(1_800_003_600));
        lifted.lifted = Some(Box::new(Lifted { at: Timestamp(1_800_000_060), by: None }));
        let odd = [record(Some(0)), record(Some(u64::MAX)), record(Some(1 << 32)), lifted];
        let mut tokens = RevokedTokens::default();
        for (revision, record) in (1..).zip([record(None), record(Some(u32::MAX.into()))].into_iter().chain(odd)) {
            tokens.insert(jti, record.clone(), Revision(revision));
            assert_eq!(tokens.get(jti), Some((record.clone(), Revision(revision))));
            assert_eq!(tokens.len(), 1);
            for now in [0, 1_800_000_000, u64::from(u32::MAX), u64::from(u32::MAX) + 1, u64::MAX].map(Timestamp) {
                assert_eq!(tokens.refuses(jti, now), record.is_in_effect(now), "{record:?} {now:?}");
            }
        }
        assert!(!tokens.refuses("AAAAAAAAAAAAAAAAAAAAAQ", Timestamp(0)));
    }

    #[test]
    fn only_texts_that_have_128_bits_are_bits() {
        for odd in
            ["", "AAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAAB", "AAAAAAAAAA+AAAAAAAAAAA"]
        {
            assert_eq!(bits(odd), None, "{odd}");
        }
    }

    proptest! {
        #[test]
        fn bits_are_the_text_and_its_order(one: u128, other: u128) {
            let [one, other] = [one, other].map(u128::to_be_bytes);
            prop_assert_eq!(bits(&text(&one)), Some(one));
            prop_assert_eq!(text(&one).cmp(&text(&other)), one.cmp(&other));
        }

        #[test]
        fn what_is_after_a_name_is_listed_in_the_order_of_the_names(
            names in proptest::collection::btree_set("[-_A-Za-z0-9]{21}[AQgw]|[!-~]{1,24}", 0..40),
            odd_after in "[!-~]{0,24}",
            at in any::<proptest::sample::Index>(),
        ) {
            let mut tokens = RevokedTokens::default();
            for name in names.iter().rev() {
                tokens.insert(name, record(None), Revision(1));
            }
            let all: Vec<String> = names.iter().cloned().collect();
            let known = (!all.is_empty()).then(|| at.get(&all).clone());
            for after in [None, Some(odd_after), known] {
                let listed: Vec<String> = tokens.after(after.as_deref()).map(|(jti, ..)| jti).collect();
                let wanted = names.iter().filter(|name| after.as_ref().is_none_or(|after| *name > after));
                prop_assert_eq!(listed, wanted.cloned().collect::<Vec<_>>());
            }
        }
    }
}
