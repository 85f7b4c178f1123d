//! Receipts of presentations: who gets one, what it proves, who redeems it and how often, and the keys that authenticate them.

mod forged;
mod keys;
mod made;
mod redeemed;
mod support;
