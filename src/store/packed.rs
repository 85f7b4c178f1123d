//! Entries in memory, each in one allocation: its key, its revision, its expiry, and its value in short.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::ops::Bound;

use crate::authority::clock::Timestamp;
use crate::authority::store::Revision;
use crate::authority::store::Versioned;
use crate::store::sample::Sample;
use crate::store::sample::put;
use crate::store::sample::take;
use crate::store::step::Entry;

/// What a record takes at most besides its key and its value.
const HEAD_BYTES: usize = 40;

/// How many samples there are for the records of one kind.
const SAMPLES: usize = 8;

/// Entries by key.
#[derive(Debug, Default)]
pub(super) struct Packed {
    records: BTreeSet<Record>,
    samples: Samples,
}

/// Values that others of their kind are like. None is ever dropped: what was packed with it could not be read.
#[derive(Debug, Default)]
pub(super) struct Samples(Vec<(String, Sample)>);

/// One entry: the length of the key, the key, the revision, the expiry and the number of the sample, each counted from 1 if
/// there is one, and the value.
#[derive(Debug)]
pub(super) struct Record(Box<[u8]>);

/// What a record holds besides the key.
struct Parts<'a> {
    revision: Revision,
    expires: Option<Timestamp>,
    sample: usize,
    value: &'a [u8],
}

impl Record {
    /// The entry that was packed into these bytes.
    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// What is compared first of the key: the 16 bytes after so many.
    fn piece(&self, after: usize) -> u128 {
        let mut piece = [0; 16];
        let rest = self.key().get(after..).unwrap_or_default();
        piece.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        u128::from_be_bytes(piece)
    }

    fn key(&self) -> &[u8] {
        let mut rest = &*self.0;
        let key = take(&mut rest).and_then(|length: usize| rest.get(..length));
        key.unwrap_or_default()
    }

    fn parts(&self) -> Option<Parts<'_>> {
        let mut rest = &*self.0;
        let length: usize = take(&mut rest)?;
        rest.split_off(..length)?;
        let (revision, expires, sample) = (Revision(take(&mut rest)?), take(&mut rest)?, take(&mut rest)?);
        Some(Parts { revision, expires: u64::checked_sub(expires, 1).map(Timestamp), sample, value: rest })
    }

    /// The bytes that it takes, without those of the allocator.
    #[cfg(test)]
    fn size(&self) -> usize {
        size_of::<Self>() + self.0.len()
    }
}

impl Borrow<[u8]> for Record {
    fn borrow(&self) -> &[u8] {
        self.key()
    }
}

impl PartialEq for Record {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Record {}

impl Ord for Record {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(other.key())
    }
}

impl PartialOrd for Record {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Samples {
    /// Adds a sample of its kind, unless there are enough.
    pub(super) fn add(&mut self, key: &str, value: &[u8]) {
        let kind = kind(key);
        let known = self.0.iter().filter(|(of, _)| of == kind).count();
        if known < SAMPLES
            && let Some(sample) = Sample::new(value)
        {
            self.0.push((kind.to_owned(), sample));
        }
    }

    /// An entry in short, and whether it is half as long as its text at most.
    pub(super) fn pack(
        &self,
        key: &str,
        revision: Revision,
        expires: Option<Timestamp>,
        value: &[u8],
    ) -> (Record, bool) {
        let mut bytes = Vec::with_capacity(key.len() + value.len() + HEAD_BYTES);
        put(&mut bytes, key.len());
        bytes.extend_from_slice(key.as_bytes());
        put(&mut bytes, revision.0);
        put(&mut bytes, expires.map_or(0, |expires| expires.0.saturating_add(1)));
        let (kind, head) = (kind(key), bytes.len());
        let mut shortest: Option<(usize, usize)> = None;
        let shorten = |bytes: &mut Vec<u8>, number: usize, sample: &Sample| {
            bytes.truncate(head);
            put(bytes, number);
            sample.shorten(key.as_bytes(), value, bytes);
        };
        for (number, (_, sample)) in (1..).zip(&self.0).filter(|(_, (of, _))| of == kind) {
            shorten(&mut bytes, number, sample);
            let length = bytes.len() - head;
            if length * 2 <= value.len() {
                return (Record(bytes.as_slice().into()), true);
            }
            if shortest.is_none_or(|(_, known)| length < known) {
                shortest = Some((number, length));
            }
        }
        let shortest = shortest.filter(|(_, length)| *length < value.len());
        if let Some((number, (_, sample))) = shortest.and_then(|(number, _)| Some((number, self.0.get(number - 1)?))) {
            shorten(&mut bytes, number, sample);
        } else {
            bytes.truncate(head);
            put(&mut bytes, 0_u64);
            bytes.extend_from_slice(value);
        }
        (Record(bytes.as_slice().into()), false)
    }

    /// The kinds of the samples, and their texts.
    pub(super) fn all(&self) -> impl ExactSizeIterator<Item = (&str, &[u8])> {
        self.0.iter().map(|(kind, sample)| (kind.as_str(), sample.text()))
    }

    /// Adds a sample as it was among [`all`](Self::all); whether it can be one.
    pub(super) fn add_again(&mut self, kind: &str, text: &[u8]) -> bool {
        let sample = Sample::new(text).map(|sample| (kind.to_owned(), sample));
        let is_one = sample.is_some();
        self.0.extend(sample);
        is_one
    }

    fn unpack(&self, record: &Record) -> Option<Entry> {
        let Parts { revision, expires, sample, value } = record.parts()?;
        let value = match sample.checked_sub(1) {
            None => value.into(),
            Some(sample) => self.0.get(sample)?.1.restore(record.key(), value)?.into(),
        };
        Some(Versioned { value, revision, expires })
    }
}

/// The kind of a record: the first part of its key.
fn kind(key: &str) -> &str {
    let end = key.match_indices('/').nth(1).map_or(key.len(), |(at, _)| at);
    key.get(..end).unwrap_or(key)
}

/// Sorts records as [`Packed::new`] has them, which takes it less time then. Keys of one kind begin alike, and lie anywhere in
/// memory: sixteen bytes behind what they have in common decide of most of them.
pub(super) fn sorted(records: Vec<Record>) -> Vec<Record> {
    let mut kinds: BTreeMap<Vec<u8>, Vec<Record>> = BTreeMap::new();
    for record in records {
        let kind = record.key().splitn(3, |byte| *byte == b'/').nth(1).unwrap_or_default();
        match kinds.get_mut(kind) {
            Some(known) => known.push(record),
            None => drop(kinds.insert(kind.to_owned(), vec![record])),
        }
    }
    let sort = |records: Vec<Record>| {
        let first = records.first().map(|first| first.key().to_owned()).unwrap_or_default();
        let alike = |record: &Record| first.iter().zip(record.key()).take_while(|(one, other)| one == other).count();
        let common = records.iter().map(alike).min().unwrap_or_default();
        let mut pieces: Vec<(u128, Record)> =
            records.into_iter().map(|record| (record.piece(common), record)).collect();
        pieces.sort_unstable();
        pieces.into_iter().map(|(_, record)| record)
    };
    kinds.into_values().flat_map(sort).collect()
}

impl Packed {
    /// Entries that were packed with these samples. Each key occurs once.
    pub(super) fn new(records: Vec<Record>, samples: Samples) -> Self {
        Self { records: records.into_iter().collect(), samples }
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    pub(super) fn samples(&self) -> &Samples {
        &self.samples
    }

    /// The entries as they are in memory, in the order of their keys, each with its key and its content.
    pub(super) fn records(&self) -> impl Iterator<Item = (&Record, Option<(&str, Entry)>)> {
        self.records.iter().map(|record| {
            let key = std::str::from_utf8(record.key()).ok();
            (record, key.zip(self.samples.unpack(record)))
        })
    }

    pub(super) fn get(&self, key: &str) -> Option<Entry> {
        self.samples.unpack(self.records.get(key.as_bytes())?)
    }

    /// The expiry of the entry at a key.
    pub(super) fn expires(&self, key: &str) -> Option<Timestamp> {
        self.records.get(key.as_bytes())?.parts()?.expires
    }

    pub(super) fn insert(&mut self, key: &str, entry: &Entry) {
        let pack = |samples: &Samples| samples.pack(key, entry.revision, entry.expires, &entry.value);
        let (mut record, is_short) = pack(&self.samples);
        if !is_short {
            self.samples.add(key, &entry.value);
            record = pack(&self.samples).0;
        }
        self.records.replace(record);
    }

    pub(super) fn remove(&mut self, key: &str) {
        self.records.remove(key.as_bytes());
    }

    /// The keys after one, or from one on, with their revisions and expiries.
    pub(super) fn keys<'a>(
        &'a self,
        from: Bound<&str>,
    ) -> impl Iterator<Item = (&'a str, Revision, Option<Timestamp>)> + use<'a> {
        self.range(from).filter_map(|record| {
            let Parts { revision, expires, .. } = record.parts()?;
            Some((std::str::from_utf8(record.key()).ok()?, revision, expires))
        })
    }

    /// The entries after a key, or from one on.
    pub(super) fn entries<'a>(&'a self, from: Bound<&str>) -> impl Iterator<Item = (&'a str, Entry)> + use<'a> {
        self.range(from)
            .filter_map(|record| Some((std::str::from_utf8(record.key()).ok()?, self.samples.unpack(record)?)))
    }

    fn range<'a>(&'a self, from: Bound<&str>) -> impl Iterator<Item = &'a Record> + use<'a> {
        self.records.range::<[u8], _>((from.map(str::as_bytes), Bound::Unbounded))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(value: &str, expires: Option<u64>) -> Entry {
        Versioned { value: value.as_bytes().into(), revision: Revision(1 << 40), expires: expires.map(Timestamp) }
    }

    /// A registration as it is stored, and its claim.
    fn registration(number: usize) -> [(String, Entry); 2] {
        let id = format!("spiffe://prod.example/ns/team-{}/sa/service-{number}", number % 97);
        let value = format!(
            "{{\"schema\":1,\"creation_id\":\"{:043}\",\"metadata\":{{\"client_id\":\"{id}\",\
             \"token_endpoint_auth_method\":\"spiffe_x509\",\"spiffe_id\":\"{id}\",\"scope\":\"orders.read\",\
             \"audience\":[\"https://team-{}.prod.example\"],\"grant_types\":[\"client_credentials\"],\
             \"tls_client_certificate_bound_access_tokens\":true,\"access_token_ttl\":\"5m\",\"rotation\":\"strict\"}},\
             \"create_time\":{},\"created_by\":\"spiffe://prod.example/admin\",\"update_time\":{},\
             \"updated_by\":\"spiffe://prod.example/admin\"}}",
            number * 7919,
            number % 97,
            1_800_000_000 + number,
            1_800_000_000 + number,
        );
        let claim = format!("{{\"schema\":1,\"client_id\":\"{id}\"}}");
        [(format!("/clients/{id}"), entry(&value, None)), (format!("/index/spiffe/{id}"), entry(&claim, None))]
    }

    #[test]
    fn entries_are_read_as_they_were_written_in_the_order_of_their_keys() {
        let mut packed = Packed::default();
        let long = "x".repeat(60_000);
        let odd =
            [("/clients/a", "\"", Some(0)), ("", "", None), ("/clients/\u{1F511}", long.as_str(), Some(u64::MAX - 1))];
        for (key, value, expires) in odd {
            packed.insert(key, &entry(value, expires));
        }
        for (key, value) in (0..500).rev().flat_map(registration) {
            packed.insert(&key, &value);
        }
        for (key, value, expires) in odd {
            assert_eq!(packed.get(key), Some(entry(value, expires)), "{key}");
            assert_eq!(packed.expires(key), expires.map(Timestamp));
        }
        for (key, value) in (0..500).flat_map(registration) {
            assert_eq!(packed.get(&key), Some(value), "{key}");
        }
        assert_eq!(packed.len(), 1003);
        assert!(packed.entries(Bound::Unbounded).map(|(key, _)| key).is_sorted());
        assert_eq!(packed.keys(Bound::Excluded("/index")).count(), 500);
        packed.insert("/clients/a", &entry("1", None));
        packed.remove("");
        assert_eq!((packed.len(), packed.get("/clients/a"), packed.get("")), (1002, Some(entry("1", None)), None));
    }

    #[test]
    fn records_are_sorted_by_their_keys() {
        let keys =
            ["/a/b", "/a/bb", "/a/b\0", "/a/c", "/a-/c", "/a", "", "/", "/b/12345678901234567", "/b/12345678901234566"];
        let samples = Samples::default();
        let records = |keys: &[&str]| -> Vec<Record> {
            keys.iter().map(|key| samples.pack(key, Revision(1), None, b"1").0).collect()
        };
        let sorted = sorted(records(&keys));
        let packed = Packed::new(sorted, Samples::default());
        let mut wanted = keys;
        wanted.sort_unstable();
        assert_eq!(packed.keys(Bound::Unbounded).map(|(key, ..)| key).collect::<Vec<_>>(), wanted);
        let one_kind =
            super::sorted(records(&["/b/2", "/b/10", "/b/", "/b/1", "/b/123456789012345678", "/b/12345678901234567"]));
        assert!(one_kind.is_sorted());
    }

    /// So that the memory for a million registrations stays within a gigabyte.
    #[test]
    fn a_registration_and_its_claim_take_less_than_half_of_their_text() {
        let mut packed = Packed::default();
        let (mut text, mut count) = (0, 0);
        for (key, value) in (0..1000).flat_map(registration) {
            text += key.len() + value.value.len();
            packed.insert(&key, &value);
            count += 1;
        }
        let size: usize = packed.records.iter().map(Record::size).sum();
        assert_eq!(count, 2000);
        assert!(size / 1000 < 320, "{} of {} bytes each", size / 1000, text / 1000);
    }
}
