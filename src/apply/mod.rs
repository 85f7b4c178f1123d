//! Brings a registry to the state that documents describe: reads each record, compares it, and creates or updates it.

mod document;
mod documents;
mod transport;

pub use crate::apply::document::Document;
pub use crate::apply::document::ServerFields;
pub use crate::apply::documents::Applied;
pub use crate::apply::documents::Mode;
pub use crate::apply::documents::Outcome;
pub use crate::apply::documents::apply;
pub use crate::apply::transport::Registry;
pub use crate::apply::transport::Transport;
