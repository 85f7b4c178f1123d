//! The roles by which shares differ.

use crate::authority::access::Roles;

/// The role by which a caller's share is chosen, the first that it holds.
#[derive(
    Clone,
    Copy,
    Debug,
    Eq,
    Hash,
    PartialEq,
    strum::EnumCount,
    strum::EnumString,
    strum::IntoStaticStr,
    strum::VariantArray,
)]
#[strum(serialize_all = "lowercase")]
pub enum CallerRole {
    /// An admin, or a revoker: what they revoke must get through under load.
    Admin,
    /// A proxy, or an edge, which proxies ask.
    Proxy,
    /// Any other caller with a certificate.
    Workload,
    /// A caller without one.
    Anonymous,
}

impl CallerRole {
    /// The role of a caller that holds these.
    pub fn of(roles: &Roles) -> Self {
        if roles.revokes_all() {
            Self::Admin
        } else if roles.proxy.is_some() || roles.edge.is_some() {
            Self::Proxy
        } else {
            Self::Workload
        }
    }

    /// Its name in the configuration and the metrics.
    pub fn label(self) -> &'static str {
        self.into()
    }

    /// Whether the reserve is for it.
    pub fn is_favoured(self) -> bool {
        matches!(self, Self::Admin | Self::Proxy)
    }
}
