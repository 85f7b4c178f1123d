//! Moving what a store holds: exports, imports, and the check of every record.
//!
//! An export is a text of JSON Lines: a header, a line for each record in the order of their keys, and a last line with the
//! number of the records and the SHA-256 of all lines before it. A text that was cut, changed or reordered is refused before
//! anything of it is imported.

mod batches;
mod export;
mod import;
mod mark;
mod moved;
mod read;
mod replay;
mod verify;

pub use crate::authority::backup::export::Export;
pub use crate::authority::backup::export::Lines;
pub use crate::authority::backup::import::Cutoff;
pub use crate::authority::backup::import::ImportError;
pub use crate::authority::backup::import::Imported;
pub use crate::authority::backup::import::Plan;
pub use crate::authority::backup::import::clear;
pub use crate::authority::backup::import::import;
pub use crate::authority::backup::mark::IMPORT;
pub use crate::authority::backup::mark::UnfinishedImport;
pub use crate::authority::backup::moved::MovedRecord;
pub use crate::authority::backup::moved::in_use;
pub use crate::authority::backup::moved::is_moved;
pub use crate::authority::backup::read::BadExport;
pub use crate::authority::backup::read::Problem;
pub use crate::authority::backup::read::read;
pub use crate::authority::backup::replay::NotReplayed;
pub use crate::authority::backup::replay::Replayed;
pub use crate::authority::backup::replay::replay;
pub use crate::authority::backup::verify::AboutExchange;
pub use crate::authority::backup::verify::Checked;
pub use crate::authority::backup::verify::Fault;
pub use crate::authority::backup::verify::Wrong;
pub use crate::authority::backup::verify::verify;
