//! Why the revocations are not confirmed at present.

use crate::client::token::TokenError;

/// Why the stream ended, or why there is none.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// There is no certificate, no connection, or the server ended the stream.
    #[error(transparent)]
    Failed(#[from] TokenError),
    /// The server issues tokens under another name.
    #[error("the server's tokens are those of the issuer {0}")]
    OtherIssuer(String),
    /// The server did not answer for 10 seconds.
    #[error("the server does not answer")]
    Silent,
    /// The server sent what it must not at that point, such as changes before the first listing.
    #[error("the server's answer is not understood")]
    Unexpected,
    /// The server knows less than what was received already, or its own snapshot is too old.
    #[error("the server is behind")]
    Behind,
    /// There is no server in the settings.
    #[error("no server is named")]
    NoServer,
}
