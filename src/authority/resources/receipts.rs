//! Whether presentations at a resource leave receipts, and who redeems them.

use std::ops::RangeInclusive;
use std::time::Duration;

use spiffe::SpiffeId;

use crate::authority::identity::SpiffeIdPattern;
use crate::authority::records::InvalidMetadata;
use crate::authority::registration::ClientId;
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
    exchangers: Vec<Exchanger>,
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

/// Who may redeem.
#[derive(Clone, Debug)]
enum Exchanger {
    Named(ClientId),
    Pattern(SpiffeIdPattern),
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
        let shape = "exchangers: each is a client_id, or a pattern such as spiffe://prod.example/ns/shop/*";
        let parse = |text: &String| match SpiffeIdPattern::parse(text) {
            Some(pattern) => Some(Exchanger::Pattern(pattern)),
            None => ClientId::parse(text).map(Exchanger::Named),
        };
        let exchangers = exchangers.iter().map(|text| parse(text).ok_or_else(|| refused(shape)));
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
        let id = client.spiffe_id();
        self.exchangers.iter().any(|exchanger| match exchanger {
            Exchanger::Named(name) => name == client,
            Exchanger::Pattern(pattern) => id.as_ref().is_some_and(|id| pattern.matches(id)),
        })
    }

    /// Whether the holder of a SPIFFE ID may redeem them under that name.
    pub fn may_be_redeemed_by_id(&self, id: &SpiffeId) -> bool {
        self.exchangers.iter().any(|exchanger| match exchanger {
            Exchanger::Named(_) => false,
            Exchanger::Pattern(pattern) => pattern.matches(id),
        })
    }

    /// The exchangers that are no SPIFFE IDs.
    pub fn opaque(&self) -> impl Iterator<Item = &ClientId> {
        self.exchangers.iter().filter_map(|exchanger| match exchanger {
            Exchanger::Named(name) => Some(name),
            Exchanger::Pattern(_) => None,
        })
    }
}
