//! The roles that the configuration gives, as `--role` takes them.

use clap::ValueEnum;

use crate::authority::access::GrantedRole;
use crate::proto::AssignedRole;

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(in crate::cli) enum Role {
    Admin,
    Proxy,
    Auditor,
    Revoker,
    Edge,
}

impl From<Role> for GrantedRole {
    fn from(role: Role) -> Self {
        match role {
            Role::Admin => Self::Admin,
            Role::Proxy => Self::Proxy,
            Role::Auditor => Self::Auditor,
            Role::Revoker => Self::Revoker,
            Role::Edge => Self::Edge,
        }
    }
}

impl From<Role> for AssignedRole {
    fn from(role: Role) -> Self {
        match role {
            Role::Admin => Self::Admin,
            Role::Proxy => Self::Proxy,
            Role::Auditor => Self::Auditor,
            Role::Revoker => Self::Revoker,
            Role::Edge => Self::Edge,
        }
    }
}
