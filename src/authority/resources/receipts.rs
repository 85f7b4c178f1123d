//! Whether presentations at a resource leave receipts, and who redeems them.

use std::ops::RangeInclusive;
use std::time::Duration;

use spiffe::SpiffeId;

use crate::authority::records::InvalidMetadata;
use crate::authority::registration::ClientId;
use crate::authority::registration::ClientPattern;
use crate::authority::resources::metadata::ReceiptsMetadata;
use crate::authority::resources::metadata::invalid;
use crate::authority::tokens::Receipt;

/// How long a receipt may be redeemed, unless the resource says otherwise.
const DEFAULT_TTL: Duration = Duration::from_secs(30);

/// What a resource may say.
const TTL: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_mins(1);

/// The most exchangers of a resource.
const MAX_EXCHANGERS: usize = 32;

/// Presentations at a resource leave receipts.
#[derive(Clone, Debug)]
pub struct Receipts {
    exchangers: Vec<ClientPattern>,
    /// How long a receipt is valid.
    pub ttl: Duration,
    /// How often it is redeemed.
    pub once: Once,
}

/// How often a receipt may be redeemed for the same target.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Once {
    /// Any number of times, always for the same token.
    Effect,
    /// A single time, which waits for the store.
    Strict,
}

impl Receipts {
    /// Parses what operators write.
    pub(super) fn parse(metadata: &ReceiptsMetadata) -> Result<Self, InvalidMetadata> {
        let refused = |problem: &str| invalid("receipts", problem);
        let ReceiptsMetadata { exchangers, ttl, once } = metadata;
        if exchangers.is_empty() {
            return Err(refused("exchangers names nobody: leave receipts out where nobody redeems them"));
        }
        if exchangers.len() > MAX_EXCHANGERS {
            return Err(refused("exchangers: there are too many"));
        }
        let exchangers = exchangers.iter().map(|text| {
            ClientPattern::parse(text).ok_or_else(|| refused(&format!("exchangers: {}", ClientPattern::SHAPE)))
        });
        let ttl = ttl.unwrap_or(DEFAULT_TTL);
        if !TTL.contains(&ttl) || ttl.subsec_nanos() != 0 {
            return Err(refused("ttl: must be whole seconds, from 1s to 60s"));
        }
        let once = match once.as_deref() {
            None | Some("effect") => Once::Effect,
            Some("strict") => Once::Strict,
            Some(_) => return Err(refused("once: is neither effect nor strict")),
        };
        Ok(Self { exchangers: exchangers.collect::<Result<_, _>>()?, ttl, once })
    }

    /// Whether a client may redeem a receipt: it is an exchanger of the resource now, and the one that the receipt names, if it
    /// names one.
    pub fn may_redeem(&self, client: &ClientId, receipt: &Receipt<'_>) -> bool {
        let is_named = receipt.exchanger.as_ref().is_none_or(|exchanger| *exchanger == client.as_str());
        is_named && self.may_be_redeemed_by(client)
    }

    /// Whether a client may redeem receipts of the resource.
    pub fn may_be_redeemed_by(&self, client: &ClientId) -> bool {
        self.exchangers.iter().any(|exchanger| exchanger.matches(client))
    }

    /// Whether the holder of a SPIFFE ID may redeem them under that name.
    pub fn may_be_redeemed_by_id(&self, id: &SpiffeId) -> bool {
        self.may_be_redeemed_by(&ClientId::from(id))
    }

    /// The exchangers that are no SPIFFE IDs.
    pub fn opaque(&self) -> impl Iterator<Item = &ClientId> {
        self.exchangers.iter().filter_map(|exchanger| match exchanger {
            ClientPattern::Exact(name) if !name.is_spiffe_id() => Some(name),
            ClientPattern::Exact(_) | ClientPattern::Below(_) => None,
        })
    }
}
