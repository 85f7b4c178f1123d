//! Roles, who holds them by the configuration, and what a proxy fronts.

use std::sync::Arc;

use crate::authority::identity::CertificateThumbprint;
use crate::authority::identity::PeerIdentity;
use crate::authority::identity::SpiffeIdPattern;

/// What a peer may act as. A peer holds a set of them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// Any proven peer, and on the public listener anybody.
    Anyone,
    /// A proven SVID, or a registered peer: asks for tokens, and about its own connection.
    Workload,
    /// Brings evidence about the connections of others, for the resources that it fronts.
    Proxy,
    /// Registers clients.
    Admin,
}

/// How the configuration names a peer that holds a role.
#[derive(Clone, Debug, PartialEq)]
pub enum RoleHolder {
    /// By SPIFFE ID, or, for proxies, by pattern.
    Spiffe(SpiffeIdPattern),
    /// By its very certificate.
    Thumbprint(CertificateThumbprint),
}

impl RoleHolder {
    fn is(&self, peer: &PeerIdentity) -> bool {
        match self {
            Self::Spiffe(pattern) => peer.spiffe_id().is_some_and(|id| pattern.matches(id)),
            Self::Thumbprint(thumbprint) => *thumbprint == peer.thumbprint(),
        }
    }
}

/// The protected resources that a proxy fronts, by their audiences.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Fronted {
    /// All of them.
    Every,
    /// These.
    Audiences(Arc<[String]>),
}

impl Fronted {
    /// Whether the proxy may ask about uses of this audience.
    pub fn includes(&self, audience: &str) -> bool {
        match self {
            Self::Every => true,
            Self::Audiences(audiences) => audiences.iter().any(|fronted| fronted == audience),
        }
    }

    /// The one audience that it is tied to, if it is one.
    pub fn only(&self) -> Option<&str> {
        match self {
            Self::Audiences(audiences) => match &**audiences {
                [only] => Some(only),
                _ => None,
            },
            Self::Every => None,
        }
    }
}

/// The roles that the configuration gives.
#[derive(Clone, Debug, Default)]
pub struct RoleGrants {
    /// Who holds Admin.
    pub admins: Vec<RoleHolder>,
    /// Who holds Proxy, and for what. The first entry that names a peer counts.
    pub proxies: Vec<(RoleHolder, Fronted)>,
}

/// The roles that one peer holds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Roles {
    /// Whether it is a workload.
    pub workload: bool,
    /// Whether it is an admin.
    pub admin: bool,
    /// What it fronts, if it is a proxy.
    pub proxy: Option<Fronted>,
}

impl RoleGrants {
    /// The roles of a peer. `registered` says whether it is the certificate of some client; an SVID is a workload anyway.
    pub fn roles_of(&self, peer: &PeerIdentity, registered: bool) -> Roles {
        let proxy = self.proxies.iter().find(|(holder, _)| holder.is(peer)).map(|(_, fronted)| fronted.clone());
        Roles {
            workload: registered || peer.spiffe_id().is_some(),
            admin: self.admins.iter().any(|holder| holder.is(peer)),
            proxy,
        }
    }

    /// Whether a role is given to this very certificate, which is then let in without any other proof.
    pub fn names_certificate(&self, thumbprint: &CertificateThumbprint) -> bool {
        let holders = self.admins.iter().chain(self.proxies.iter().map(|(holder, _)| holder));
        holders.into_iter().any(|holder| *holder == RoleHolder::Thumbprint(*thumbprint))
    }
}

impl Roles {
    /// Whether one of these is held.
    pub fn any_of(&self, wanted: &[Role]) -> bool {
        wanted.iter().any(|role| match role {
            Role::Anyone => true,
            Role::Workload => self.workload,
            Role::Proxy => self.proxy.is_some(),
            Role::Admin => self.admin,
        })
    }
}
