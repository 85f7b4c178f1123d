//! What a path is to prove.

use crate::authority::trust::path::certificate::Purposes;

/// What a leaf is to be proven for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::authority::trust) enum Purpose {
    /// The X509-SVID of a client.
    SvidOfClient,
    /// The X509-SVID of a server.
    SvidOfServer,
    /// Another certificate of a client.
    Client,
}

impl Purpose {
    pub(super) fn is_svid(self) -> bool {
        match self {
            Self::SvidOfClient | Self::SvidOfServer => true,
            Self::Client => false,
        }
    }

    /// Whether an extendedKeyUsage allows it.
    pub(super) fn is_among(self, purposes: Option<Purposes>) -> bool {
        purposes.is_none_or(|purposes| match self {
            Self::SvidOfClient | Self::Client => purposes.client_auth,
            Self::SvidOfServer => purposes.server_auth,
        })
    }
}
