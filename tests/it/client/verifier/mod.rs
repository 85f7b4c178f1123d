//! Tokens that are verified without asking a server about each.

mod issued;
mod real;
mod revoked;
mod stream;
mod uses;
