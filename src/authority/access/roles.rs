//! Roles, the peers that hold them by configuration, and the resources that a proxy fronts.

use std::sync::Arc;

use spiffe::SpiffeId;

use crate::authority::identity::CertificateThumbprint;
use crate::authority::identity::PeerIdentity;
use crate::authority::identity::SpiffeIdPattern;

/// A role of a peer. A peer holds a set of roles.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// Any authenticated peer, and on the public listener any caller.
    Anyone,
    /// A peer with a verified SVID, or a registered peer. It requests tokens and queries its own connection.
    Workload,
    /// Presents evidence about the connections of other peers, for the resources that it fronts.
    Proxy,
    /// Registers clients and resources.
    Admin,
}

/// A role that the configuration assigns.
#[derive(
    Clone,
    Copy,
    Debug,
    Eq,
    Hash,
    Ord,
    PartialEq,
    PartialOrd,
    strum::EnumString,
    strum::IntoStaticStr,
    strum::VariantArray,
)]
#[strum(serialize_all = "lowercase")]
pub enum GrantedRole {
    /// [`Role::Admin`].
    Admin,
    /// [`Role::Proxy`].
    Proxy,
}

/// How the configuration identifies a peer that holds a role.
#[derive(Clone, Debug, PartialEq)]
pub enum RoleHolder {
    /// By SPIFFE ID or, for proxies, by a pattern of SPIFFE IDs.
    Spiffe(SpiffeIdPattern),
    /// By the thumbprint of its certificate.
    Thumbprint(CertificateThumbprint),
}

impl RoleHolder {
    fn is(&self, peer: &PeerIdentity) -> bool {
        self.is_named_by(peer.spiffe_id(), Some(peer.thumbprint()))
    }

    /// Whether a SPIFFE ID or a thumbprint is the holder's.
    fn is_named_by(&self, id: Option<&SpiffeId>, thumbprint: Option<CertificateThumbprint>) -> bool {
        match self {
            Self::Spiffe(pattern) => id.is_some_and(|id| pattern.matches(id)),
            Self::Thumbprint(own) => thumbprint == Some(*own),
        }
    }
}

/// The protected resources that a proxy fronts, by audience.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Fronted {
    /// All protected resources.
    Every,
    /// The resources with these audiences.
    Audiences(Arc<[String]>),
}

impl Fronted {
    /// Whether the proxy may check tokens for this audience.
    pub fn includes(&self, audience: &str) -> bool {
        match self {
            Self::Every => true,
            Self::Audiences(audiences) => audiences.iter().any(|fronted| fronted == audience),
        }
    }

    /// The audience, if the proxy fronts exactly one.
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

/// The roles that the configuration assigns.
#[derive(Clone, Debug, Default)]
pub struct RoleGrants {
    /// The holders of the Admin role.
    pub admins: Vec<RoleHolder>,
    /// The holders of the Proxy role, and the resources that each fronts. The first entry that matches a peer applies.
    pub proxies: Vec<(RoleHolder, Fronted)>,
}

/// The roles that one peer holds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Roles {
    /// Whether the peer holds the Workload role.
    pub workload: bool,
    /// Whether the peer holds the Admin role.
    pub admin: bool,
    /// The resources that it fronts, if the peer holds the Proxy role.
    pub proxy: Option<Fronted>,
}

impl RoleGrants {
    /// The roles of a peer. `registered` says whether its certificate belongs to a client. A peer with an SVID is
    /// always a workload.
    pub fn roles_of(&self, peer: &PeerIdentity, registered: bool) -> Roles {
        let proxy = self.proxies.iter().find(|(holder, _)| holder.is(peer)).map(|(_, fronted)| fronted.clone());
        Roles {
            workload: registered || peer.spiffe_id().is_some(),
            admin: self.admins.iter().any(|holder| holder.is(peer)),
            proxy,
        }
    }

    /// Whether a role is assigned to this SPIFFE ID, or to this thumbprint.
    pub fn assigns(&self, role: GrantedRole, id: Option<&SpiffeId>, thumbprint: Option<CertificateThumbprint>) -> bool {
        self.holders(role).any(|holder| holder.is_named_by(id, thumbprint))
    }

    /// The holders of a role.
    pub fn holders(&self, role: GrantedRole) -> Box<dyn Iterator<Item = &RoleHolder> + '_> {
        match role {
            GrantedRole::Admin => Box::new(self.admins.iter()),
            GrantedRole::Proxy => Box::new(self.proxies.iter().map(|(holder, _)| holder)),
        }
    }

    /// Whether a role is assigned to this thumbprint. Such a certificate is accepted without any other proof.
    pub fn names_certificate(&self, thumbprint: &CertificateThumbprint) -> bool {
        let holders = self.admins.iter().chain(self.proxies.iter().map(|(holder, _)| holder));
        holders.into_iter().any(|holder| *holder == RoleHolder::Thumbprint(*thumbprint))
    }
}

impl Roles {
    /// Whether the peer holds one of these roles.
    pub fn any_of(&self, wanted: &[Role]) -> bool {
        wanted.iter().any(|role| match role {
            Role::Anyone => true,
            Role::Workload => self.workload,
            Role::Proxy => self.proxy.is_some(),
            Role::Admin => self.admin,
        })
    }
}
