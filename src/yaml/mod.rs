//! YAML, parsed into a tree whose nodes have their places, and deserialized from the tree into types. It fixes what the
//! parser leaves open, both for the configuration and for registrations: null is not text, a type error names the key
//! and its place, and no message shows a value that may be secret.

mod error;
mod node;
mod parse;
mod place;
mod reader;

pub use crate::yaml::error::YamlError;
pub(crate) use crate::yaml::error::nearest;
pub(crate) use crate::yaml::node::Node;
pub(crate) use crate::yaml::parse::PlainScalars;
pub(crate) use crate::yaml::parse::document;
pub(crate) use crate::yaml::parse::documents;
pub(crate) use crate::yaml::parse::to_string;
pub(crate) use crate::yaml::parse::variable;
pub use crate::yaml::place::Place;
pub(crate) use crate::yaml::reader::read;

#[cfg(test)]
mod tests;
