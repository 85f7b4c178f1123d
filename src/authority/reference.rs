//! The reference of a refusal: short, of one replica, and not to be guessed.

use std::fmt;

use serde::Serialize;
use serde::Serializer;
use sha2::Digest as _;
use sha2::Sha256;

/// Crockford's base 32: no letter is mistaken for a digit.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// The response header in which HTTP callers get the reference of a refusal.
pub const REFERENCE_HEADER: &str = "x-lanyard-reference";

const BITS: u32 = 5;

/// How many characters name the replica.
const TAG_CHARACTERS: u32 = 3;

/// How many characters are random.
const NUMBER_CHARACTERS: u32 = 12;

/// Which of the replicas that share a store, as the beginning of its references: 15 bits of the hash of its name, which is
/// not for callers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ReplicaTag(u64);

impl ReplicaTag {
    /// The tag of a replica; of a server that is none, for an empty name.
    pub fn of(name: &str) -> Self {
        let [high, low, ..] = <[u8; 32]>::from(Sha256::digest(name));
        Self(u64::from(u16::from_be_bytes([high, low])) & mask(TAG_CHARACTERS))
    }
}

/// The reference of one refusal: the replica that refused, and 60 random bits. Its text has a hyphen between the two.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Reference {
    replica: ReplicaTag,
    number: u64,
}

impl Reference {
    /// A reference of this replica. `chance` is random.
    pub fn new(replica: ReplicaTag, chance: u64) -> Self {
        Self { replica, number: chance & mask(NUMBER_CHARACTERS) }
    }

    /// Parses the text form, in which case does not matter.
    pub fn parse(text: &str) -> Option<Self> {
        let (tag, number) = text.split_once('-')?;
        Some(Self { replica: ReplicaTag(digits(tag, TAG_CHARACTERS)?), number: digits(number, NUMBER_CHARACTERS)? })
    }

    /// The replica that refused.
    pub fn replica(self) -> ReplicaTag {
        self.replica
    }

    /// The random part.
    pub(in crate::authority) fn number(self) -> u64 {
        self.number
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_digits(formatter, self.replica.0, TAG_CHARACTERS)?;
        formatter.write_str("-")?;
        write_digits(formatter, self.number, NUMBER_CHARACTERS)
    }
}

impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// An error, and the reference of the refusal that it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Refused<E> {
    /// The error.
    pub error: E,
    /// What its caller may ask about it with.
    pub reference: Reference,
}

impl<E: fmt::Display> fmt::Display for Refused<E> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ({})", self.error, self.reference)
    }
}

impl<E: std::error::Error> std::error::Error for Refused<E> {}

fn mask(characters: u32) -> u64 {
    !(u64::MAX << (characters * BITS))
}

fn write_digits(formatter: &mut fmt::Formatter<'_>, value: u64, characters: u32) -> fmt::Result {
    for place in (0..characters).rev() {
        let digit = usize::try_from((value >> (place * BITS)) & mask(1)).unwrap_or_default();
        let character = ALPHABET.get(digit).copied().unwrap_or_default();
        fmt::Write::write_char(formatter, char::from(character))?;
    }
    Ok(())
}

fn digits(text: &str, characters: u32) -> Option<u64> {
    if u32::try_from(text.len()) != Ok(characters) {
        return None;
    }
    text.bytes().try_fold(0, |value: u64, byte| {
        let digit = ALPHABET.iter().position(|known| *known == byte.to_ascii_lowercase())?;
        Some(value << BITS | u64::try_from(digit).ok()?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_reference_is_read_back_in_any_case_and_nothing_else_is() {
        for (name, chance) in [("", 0), ("lanyard-0", u64::MAX), ("lanyard-1", 0x0123_4567_89ab_cdef)] {
            let reference = Reference::new(ReplicaTag::of(name), chance);
            let text = reference.to_string();
            assert_eq!(text.len(), 16, "{text}");
            assert_eq!(Reference::parse(&text), Some(reference), "{text}");
            assert_eq!(Reference::parse(&text.to_uppercase()), Some(reference), "{text}");
            for other in [&text[1..], &text.replace('-', ""), &format!("{text}0"), &text.replace('-', "-u")[..16]] {
                assert_eq!(Reference::parse(other), None, "{other}");
            }
        }
        assert_ne!(ReplicaTag::of("lanyard-0"), ReplicaTag::of("lanyard-1"));
        for text in ["", "-", "é-", "000-00000000000l"] {
            assert_eq!(Reference::parse(text), None, "{text}");
        }
    }
}
