//! The port through which records are stored, and the parts common to all records.

mod port;
mod record;

pub use crate::authority::store::port::Batch;
pub use crate::authority::store::port::Change;
pub use crate::authority::store::port::Expected;
pub use crate::authority::store::port::KeyRevisions;
pub use crate::authority::store::port::Listing;
pub use crate::authority::store::port::ListingPart;
pub use crate::authority::store::port::MAX_KEY_BYTES;
pub use crate::authority::store::port::MAX_TRANSACTION_BYTES;
pub use crate::authority::store::port::MAX_TRANSACTION_OPERATIONS;
pub use crate::authority::store::port::MAX_VALUE_BYTES;
pub use crate::authority::store::port::Revision;
pub use crate::authority::store::port::Store;
pub use crate::authority::store::port::StoreError;
pub use crate::authority::store::port::StoreFuture;
pub use crate::authority::store::port::Transaction;
pub use crate::authority::store::port::Versioned;
pub use crate::authority::store::port::Watch;
pub use crate::authority::store::port::Write;
pub use crate::authority::store::record::TooNew;
pub use crate::authority::store::record::UnreadableRecord;
pub(in crate::authority) use crate::authority::store::record::read as read_record;
