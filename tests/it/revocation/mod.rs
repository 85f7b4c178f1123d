//! Revocations: whom and what they refuse, for how long, and who is told.

mod admins;
mod ends;
mod identities;
mod listed;
mod peers;
