//! Brings a registry to the state that documents describe: reads each record, compares it, and creates or updates it.
//! Changes are recorded in a journal, and can be undone.

mod difference;
mod document;
mod documents;
mod grant;
mod journal;
mod transport;

pub use crate::apply::difference::Difference;
pub use crate::apply::difference::differences;
pub use crate::apply::document::Document;
pub use crate::apply::document::ServerFields;
pub use crate::apply::document::Write;
pub use crate::apply::documents::Applied;
pub use crate::apply::documents::Conditions;
pub use crate::apply::documents::Mode;
pub use crate::apply::documents::Outcome;
pub use crate::apply::documents::apply;
pub use crate::apply::documents::check;
pub use crate::apply::documents::proposal_of;
pub use crate::apply::documents::write;
pub use crate::apply::journal::Journal;
pub use crate::apply::journal::undo;
pub use crate::apply::transport::Registry;
pub use crate::apply::transport::Transport;
