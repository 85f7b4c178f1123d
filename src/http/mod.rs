//! The HTTP voice.

pub mod discovery;
pub mod ops;
