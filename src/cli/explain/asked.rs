//! The identity that a question is about, on the command line.

use std::path::PathBuf;

use crate::cli::error::CommandError;
use crate::client::files;
use crate::proto::AskedIdentity;

/// An identity as an argument.
#[derive(Clone, Debug)]
pub(super) enum IdentityArgument {
    /// A SPIFFE ID.
    SpiffeId(String),
    /// A file with its certificate and the intermediates.
    File(PathBuf),
}

impl From<&str> for IdentityArgument {
    fn from(text: &str) -> Self {
        if text.starts_with("spiffe://") { Self::SpiffeId(text.to_owned()) } else { Self::File(PathBuf::from(text)) }
    }
}

impl IdentityArgument {
    /// The identity for the server.
    pub(super) fn read(self) -> Result<AskedIdentity, CommandError> {
        match self {
            Self::SpiffeId(spiffe_id) => Ok(AskedIdentity { spiffe_id, ..AskedIdentity::default() }),
            Self::File(path) => {
                let chain = files::certificate_chain(&path)?;
                let certificates = chain.into_iter().map(|certificate| certificate.to_vec()).collect();
                Ok(AskedIdentity { certificates, ..AskedIdentity::default() })
            }
        }
    }
}
