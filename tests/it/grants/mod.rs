//! Grants to the admins of teams: what lies beyond one is refused in every protocol, and nothing that it allows widens it.

mod attempts;
mod dynamic;
mod property;
mod reports;
mod seen;
mod stored;
pub mod support;
mod takeovers;
