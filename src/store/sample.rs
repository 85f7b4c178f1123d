//! Values in short: as what they have in common with a sample and with their own keys, and what is left.
//!
//! The records of one kind are JSON with the same members and mostly the same contents. What is in memory of a registration
//! is so a quarter of its text.

/// The shortest piece that is worth a reference.
const SHORTEST: usize = 6;

/// The longest text that is a sample: its places fit into 16 bits, and none is nothing.
const LONGEST: usize = 32 * 1024;

/// The pieces are found by a hash of their first four bytes.
const SAMPLE_SLOTS: usize = 4096;
const KEY_SLOTS: usize = 256;

/// A value that others of its kind are like.
#[derive(Debug)]
pub(super) struct Sample {
    text: Box<[u8]>,
    /// For each hash the place after which the piece begins; 0 for none.
    places: Box<[u16]>,
}

impl Sample {
    /// `None` where the text is too long for one.
    pub(super) fn new(text: &[u8]) -> Option<Self> {
        let mut found = [0; SAMPLE_SLOTS];
        find(text, &mut found);
        (text.len() <= LONGEST).then(|| Self { text: text.into(), places: found.into() })
    }

    pub(super) fn text(&self) -> &[u8] {
        &self.text
    }

    /// Appends what a value is besides the sample and its key: by turns a piece of its own and a piece of theirs.
    pub(super) fn shorten(&self, key: &[u8], value: &[u8], out: &mut Vec<u8>) {
        let mut key_places = [0; KEY_SLOTS];
        find(key, &mut key_places);
        let (mut own, mut at, mut after_last) = (0, 0, 0);
        while at < value.len() {
            let found = self.longest(key, &key_places, value.get(at..).unwrap_or_default(), after_last + at - own);
            let Some((place, length)) = found else {
                at += 1;
                continue;
            };
            put(out, at - own);
            out.extend_from_slice(value.get(own..at).unwrap_or_default());
            put(out, length);
            put(out, place);
            at += length;
            (own, after_last) = (at, place + length);
        }
        if own < value.len() {
            put(out, value.len() - own);
            out.extend_from_slice(value.get(own..).unwrap_or_default());
        }
    }

    /// The value that was shortened; `None` for anything else.
    pub(super) fn restore(&self, key: &[u8], mut short: &[u8]) -> Option<Vec<u8>> {
        let mut value = Vec::with_capacity(self.text.len() + short.len());
        while !short.is_empty() {
            let own = take(&mut short)?;
            value.extend_from_slice(short.split_off(..own)?);
            if short.is_empty() {
                break;
            }
            let (length, place) = (take(&mut short)?, take(&mut short)?);
            value.extend_from_slice(self.source(key, place)?.get(..length)?);
        }
        Some(value)
    }

    /// The longest beginning of a value that is in the sample or the key: its place and its length. `likely` is the place
    /// that follows the last piece, where what is between has the same length in both.
    fn longest(&self, key: &[u8], key_places: &[u16], value: &[u8], likely: usize) -> Option<(usize, usize)> {
        let hash = hash(value)?;
        let in_key = key_places.get(hash % KEY_SLOTS).filter(|place| **place > 0);
        let in_key = in_key.map(|place| self.text.len() + usize::from(*place) - 1);
        let in_text = self.places.get(hash % SAMPLE_SLOTS).filter(|place| **place > 0);
        let places = [in_key, Some(likely), in_text.map(|place| usize::from(*place) - 1)];
        let lengths = places.into_iter().flatten().map(|place| (place, common(self.source(key, place), value)));
        lengths.filter(|(_, length)| *length >= SHORTEST).max_by_key(|(_, length)| *length)
    }

    /// What begins at a place: in the sample, or behind it, in the key.
    fn source<'a>(&'a self, key: &'a [u8], place: usize) -> Option<&'a [u8]> {
        match place.checked_sub(self.text.len()) {
            None => self.text.get(place..),
            Some(place) => key.get(place..),
        }
    }
}

/// Finds for each hash the last place, counted from 1, at which a piece with it begins. Where the text is long, of its
/// beginning.
fn find<const SLOTS: usize>(text: &[u8], places: &mut [u16; SLOTS]) {
    for (place, piece) in (1..=u16::MAX).zip(text.windows(4)) {
        if let Some(slot) = hash(piece).and_then(|hash| places.get_mut(hash % SLOTS)) {
            *slot = place;
        }
    }
}

fn hash(piece: &[u8]) -> Option<usize> {
    let first = u32::from_le_bytes(*piece.first_chunk()?);
    // Fibonacci hashing; the upper bits are the good ones.
    usize::try_from(first.wrapping_mul(0x9e37_79b1) >> 16).ok()
}

fn common(source: Option<&[u8]>, value: &[u8]) -> usize {
    source.unwrap_or_default().iter().zip(value).take_while(|(one, other)| one == other).count()
}

/// Appends a number: seven bits a byte, the lowest first.
pub(super) fn put(out: &mut Vec<u8>, number: impl TryInto<u64>) {
    let mut number = number.try_into().unwrap_or(u64::MAX);
    while let Some(rest) = Some(number >> 7).filter(|rest| *rest > 0) {
        out.push(0x80 | low(number));
        number = rest;
    }
    out.push(low(number));
}

fn low(number: u64) -> u8 {
    u8::try_from(number & 0x7f).unwrap_or_default()
}

/// Takes a number from the beginning.
pub(super) fn take<T: TryFrom<u64>>(from: &mut &[u8]) -> Option<T> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = *from.split_off_first()?;
        number |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return T::try_from(number).ok();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::any;
    use proptest::prop_assert_eq;
    use proptest::proptest;

    use super::*;

    fn shortened(sample: &str, key: &str, value: &str) -> usize {
        let sample = Sample::new(sample.as_bytes()).unwrap();
        let mut short = Vec::new();
        sample.shorten(key.as_bytes(), value.as_bytes(), &mut short);
        assert_eq!(sample.restore(key.as_bytes(), &short).as_deref(), Some(value.as_bytes()));
        short.len()
    }

    #[test]
    fn what_a_value_has_in_common_with_the_sample_and_its_key_takes_little() {
        let sample = r#"{"schema":1,"client_id":"spiffe://prod.example/ns/shop/sa/checkout","time":1800000000}"#;
        assert!(shortened(sample, "", sample) < 6);
        let [key, value] =
            ["/clients/spiffe://prod.example/ns/bank/sa/ledger-17", "spiffe://prod.example/ns/bank/sa/ledger-17"];
        let other = sample.replace("spiffe://prod.example/ns/shop/sa/checkout", value);
        assert!(shortened(sample, key, &other) < 16, "{}", shortened(sample, key, &other));
        let other = sample.replace("1800000000", "1799999999");
        assert!(shortened(sample, "", &other) < 24);
        shortened("", "", "");
        shortened("", "", value);
        shortened(sample, key, "");
    }

    proptest! {
        #[test]
        fn any_value_is_restored(
            sample: Vec<u8>,
            key: Vec<u8>,
            pieces in proptest::collection::vec((0_usize..3, 0_usize..64, 0_usize..64), 0..20),
        ) {
            // Pieces of both, and some of its own.
            let own: Vec<u8> = (0..=255).collect();
            let sources = [&sample, &key, &own];
            let value: Vec<u8> = pieces.into_iter().flat_map(|(source, from, length)| {
                sources[source].iter().copied().skip(from).take(length).collect::<Vec<u8>>()
            }).collect();
            let sample = Sample::new(&sample).unwrap();
            let mut short = Vec::new();
            sample.shorten(&key, &value, &mut short);
            prop_assert_eq!(sample.restore(&key, &short), Some(value));
        }

        #[test]
        fn any_bytes_are_restored_as_something_or_nothing(sample: Vec<u8>, key: Vec<u8>, short: Vec<u8>) {
            drop(Sample::new(&sample).unwrap().restore(&key, &short));
        }

        #[test]
        fn any_number_is_taken_as_it_was_put(number in any::<u64>()) {
            let mut out = Vec::new();
            put(&mut out, number);
            let mut rest = out.as_slice();
            prop_assert_eq!(take(&mut rest), Some(number));
            prop_assert_eq!(rest.len(), 0);
        }
    }
}
