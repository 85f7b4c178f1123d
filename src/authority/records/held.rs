//! What becomes of a change that a second admin has to approve.

use std::fmt;

/// The prefix of the proposed changes in the store. Their place follows, so that there are never more than places.
pub const PROPOSALS: &str = "/proposals/";

/// The schema of the records of proposed changes that this version writes.
pub(in crate::authority) const PROPOSAL_SCHEMA: u32 = 1;

/// The identifier of a proposed change: its place among those that wait, and a random number, so that no other one ever
/// has it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ProposalId {
    place: u8,
    number: u32,
}

impl ProposalId {
    /// The identifier of what waits at a place. `chance` is random.
    pub(in crate::authority) fn new(place: u8, chance: u32) -> Self {
        Self { place, number: chance }
    }

    /// Parses its text.
    pub fn parse(text: &str) -> Option<Self> {
        let (place, number) = text.split_once('-')?;
        let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if (place.len(), number.len()) != (2, 8) || !is_hex(place) || !is_hex(number) {
            return None;
        }
        Some(Self { place: u8::from_str_radix(place, 16).ok()?, number: u32::from_str_radix(number, 16).ok()? })
    }

    /// Its place among those that wait.
    pub(in crate::authority) fn place(self) -> u8 {
        self.place
    }
}

impl fmt::Display for ProposalId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:02x}-{:08x}", self.place, self.number)
    }
}

/// Why a change was not made, which a second admin has to approve.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Held {
    /// It is proposed.
    #[error("the change is proposed as {0}, and is made once another admin approves it")]
    Proposed(ProposalId),
    /// As many are proposed as may be.
    #[error("a second admin has to approve the change, and as many changes are proposed as may be")]
    TooMany,
    /// Its answer would go to nobody once it is made.
    #[error("a second admin has to approve the change, which is proposed with `lanyard apply`")]
    NotHere,
    /// The store keeps no proposals yet.
    #[error(
        "a second admin has to approve the change, and proposals need the feature dual-control: \
             `lanyard store feature enable dual-control`"
    )]
    NotEnabled,
    /// A replica that runs keeps no proposals.
    #[error(
        "a second admin has to approve the change, and a replica that runs knows no proposals: upgrade or stop it first"
    )]
    OldReplica,
}

impl Held {
    /// The fixed code.
    pub fn code(self) -> &'static str {
        match self {
            Self::Proposed(_) => "PROPOSED",
            Self::TooMany => "TOO_MANY_PROPOSALS",
            Self::NotHere => "APPROVAL_NEEDED",
            Self::NotEnabled => "FEATURE_NOT_ENABLED",
            Self::OldReplica => "REPLICA_TOO_OLD",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_is_read_as_it_is_written_and_nothing_else_is() {
        let id = ProposalId::new(127, 0x0a0b_0c0d);
        assert_eq!(id.to_string(), "7f-0a0b0c0d");
        assert_eq!(ProposalId::parse("7f-0a0b0c0d"), Some(id));
        for text in ["", "7f", "7f-0a0b0c0", "7f-0a0b0c0de", "+f-0a0b0c0d", "7f-+a0b0c0d", "/../x-00000000"] {
            assert_eq!(ProposalId::parse(text), None, "{text}");
        }
    }
}
