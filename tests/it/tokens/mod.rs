//! Access tokens that are issued and verified.

mod access_tokens;
mod clock;
mod explained;
mod grants;
mod issue_token;
mod malformed;
mod permitted;
mod resource_scopes;
mod sealed_keys;
mod signing_keys;
mod texts;
mod uses;
