//! The state that decisions read, as it was at one moment.

mod caller;
mod freshness;
mod last_admin;
mod lineages;
mod load_error;
mod published_jwks;
mod refusal;
mod revocations;
mod revoked;
mod snapshot;
mod view;

pub use crate::authority::state::caller::Caller;
pub use crate::authority::state::freshness::Stale;
pub(in crate::authority) use crate::authority::state::freshness::StoreFeed;
pub use crate::authority::state::lineages::Descent;
pub use crate::authority::state::lineages::LINEAGES;
pub use crate::authority::state::lineages::LineagePolicy;
pub use crate::authority::state::lineages::LineageRecord;
pub use crate::authority::state::lineages::Lineages;
pub use crate::authority::state::lineages::store_key as succession_key;
pub use crate::authority::state::load_error::LoadError;
pub use crate::authority::state::published_jwks::FetchedJwks;
pub use crate::authority::state::published_jwks::JwksSource;
pub use crate::authority::state::published_jwks::PublishedJwks;
pub use crate::authority::state::revocations::Revocations;
pub use crate::authority::state::revoked::REVOCATIONS;
pub use crate::authority::state::revoked::RevocationRecord;
pub use crate::authority::state::revoked::Revoked;
pub use crate::authority::state::revoked::RevokedKind;
pub use crate::authority::state::revoked::lifting;
pub use crate::authority::state::snapshot::Entry;
pub use crate::authority::state::snapshot::Indexed;
pub use crate::authority::state::snapshot::PREFIXES;
pub use crate::authority::state::snapshot::Snapshot;
pub use crate::authority::state::snapshot::Unusable;
pub use crate::authority::state::view::View;
