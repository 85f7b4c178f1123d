//! Roles, the peers that hold them by configuration, and the resources that a proxy fronts.

use std::fmt;
use std::sync::Arc;

use spiffe::SpiffeId;
use strum::VariantArray as _;

use crate::authority::access::edge_grant::EdgeGrant;
use crate::authority::access::fronted::Fronted;
use crate::authority::access::local_proxy::LocalProxy;
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
    /// Reads what admins read, but no sealed secrets, and changes nothing.
    Auditor,
    /// Revokes what admins revoke. Lifts and changes nothing.
    Revoker,
    /// Registers what lies within the grants that it holds. The store has them, not the configuration.
    Team,
    /// Follows the snapshot, or what of it is granted: it decides by it beside the proxies that ask it.
    Edge,
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
    /// [`Role::Auditor`].
    Auditor,
    /// [`Role::Revoker`].
    Revoker,
    /// [`Role::Edge`].
    Edge,
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
    /// Whether the peer is the holder.
    pub fn is(&self, peer: &PeerIdentity) -> bool {
        self.is_named_by(peer.spiffe_id(), Some(peer.thumbprint()))
    }

    /// Whether a SPIFFE ID or a thumbprint is the holder's.
    fn is_named_by(&self, id: Option<&SpiffeId>, thumbprint: Option<CertificateThumbprint>) -> bool {
        match self {
            Self::Spiffe(pattern) => id.is_some_and(|id| pattern.matches(id)),
            Self::Thumbprint(own) => thumbprint == Some(*own),
        }
    }

    /// How specific the holder is: one certificate, one SPIFFE ID, then patterns, the longest first.
    pub fn specificity(&self) -> (u8, usize) {
        match self {
            Self::Thumbprint(_) => (2, 0),
            Self::Spiffe(SpiffeIdPattern::Exact(_)) => (1, 0),
            Self::Spiffe(SpiffeIdPattern::Below(prefix)) => (0, prefix.len()),
        }
    }
}

impl fmt::Display for RoleHolder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spiffe(SpiffeIdPattern::Exact(id)) => id.fmt(formatter),
            Self::Spiffe(SpiffeIdPattern::Below(prefix)) => write!(formatter, "{prefix}*"),
            Self::Thumbprint(thumbprint) => thumbprint.fmt(formatter),
        }
    }
}

/// The roles that the configuration assigns.
#[derive(Clone, Debug, Default)]
pub struct RoleGrants {
    /// The holders of the Admin role.
    pub admins: Vec<RoleHolder>,
    /// The holders of the Proxy role, and the resources that each fronts. The most specific entry that matches a peer
    /// applies: its thumbprint, its exact SPIFFE ID, then the longest pattern.
    pub proxies: Vec<(RoleHolder, Fronted)>,
    /// The holders of the Auditor role.
    pub auditors: Vec<RoleHolder>,
    /// The holders of the Revoker role.
    pub revokers: Vec<RoleHolder>,
    /// The holders of the Edge role, and what each is told. The most specific entry applies, as for proxies.
    pub edges: Vec<(RoleHolder, EdgeGrant)>,
    /// The proxies on this machine, which hold the Proxy role and no other; one entry for each user.
    pub local_proxies: Vec<Arc<LocalProxy>>,
}

/// The roles that one peer holds.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a role")]
pub struct Roles {
    /// Whether the peer holds the Workload role.
    pub workload: bool,
    /// Whether the peer holds the Admin role.
    pub admin: bool,
    /// The resources that it fronts, if the peer holds the Proxy role.
    pub proxy: Option<Fronted>,
    /// Whether the peer holds the Auditor role.
    pub auditor: bool,
    /// Whether the peer holds the Revoker role.
    pub revoker: bool,
    /// What it is told, if the peer holds the Edge role.
    pub edge: Option<EdgeGrant>,
}

impl RoleGrants {
    /// The roles of a peer. `registered` says whether its certificate belongs to a client. A peer with an SVID is
    /// always a workload.
    pub fn roles_of(&self, peer: &PeerIdentity, registered: bool) -> Roles {
        Roles {
            workload: registered || peer.spiffe_id().is_some(),
            admin: self.admins.iter().any(|holder| holder.is(peer)),
            proxy: most_specific(&self.proxies, peer).cloned(),
            auditor: self.auditors.iter().any(|holder| holder.is(peer)),
            revoker: self.revokers.iter().any(|holder| holder.is(peer)),
            edge: most_specific(&self.edges, peer).cloned(),
        }
    }

    /// The proxies of a user of this machine.
    pub fn local_proxy(&self, user: u32) -> Option<&Arc<LocalProxy>> {
        self.local_proxies.iter().find(|proxy| proxy.user == user)
    }

    /// A holder that two entries of `proxies` name with different resources. Neither of them is more specific.
    pub fn contradictory_proxy(&self) -> Option<&RoleHolder> {
        contradictory(&self.proxies, Fronted::is_same_as)
    }

    /// The same of `edges`.
    pub fn contradictory_edge(&self) -> Option<&RoleHolder> {
        contradictory(&self.edges, EdgeGrant::eq)
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
            GrantedRole::Auditor => Box::new(self.auditors.iter()),
            GrantedRole::Revoker => Box::new(self.revokers.iter()),
            GrantedRole::Edge => Box::new(self.edges.iter().map(|(holder, _)| holder)),
        }
    }

    /// Whether a role is assigned to this thumbprint. Such a certificate is accepted without any other proof.
    pub fn names_certificate(&self, thumbprint: &CertificateThumbprint) -> bool {
        let named = RoleHolder::Thumbprint(*thumbprint);
        GrantedRole::VARIANTS.iter().any(|role| self.holders(*role).any(|holder| *holder == named))
    }
}

impl Roles {
    /// The role Proxy alone.
    pub fn of_proxy(fronted: Fronted) -> Self {
        Self { workload: false, admin: false, proxy: Some(fronted), auditor: false, revoker: false, edge: None }
    }

    /// Whether the peer holds one of these roles.
    pub fn any_of(&self, wanted: &[Role]) -> bool {
        wanted.iter().any(|role| match role {
            Role::Anyone => true,
            Role::Workload => self.workload,
            Role::Proxy => self.proxy.is_some(),
            Role::Admin => self.admin,
            Role::Auditor => self.auditor,
            Role::Revoker => self.revoker,
            Role::Edge => self.edge.is_some(),
            // Grants are looked up for the methods that they open alone.
            Role::Team => false,
        })
    }

    /// Whether the peer reads what any registration is about.
    pub fn reads_all(&self) -> bool {
        self.admin || self.auditor
    }

    /// Whether the peer may revoke what is not its own.
    pub fn revokes_all(&self) -> bool {
        self.admin || self.revoker
    }

    /// The roles that are left to a peer whose TLS is terminated in front of Lanyard: those of operators are not.
    #[must_use]
    pub fn forwarded(self) -> Self {
        Self { admin: false, auditor: false, revoker: false, edge: None, ..self }
    }
}

/// What the most specific entry that matches a peer says: its thumbprint, its exact SPIFFE ID, then the longest pattern.
fn most_specific<'a, T>(entries: &'a [(RoleHolder, T)], peer: &PeerIdentity) -> Option<&'a T> {
    let matching = entries.iter().filter(|(holder, _)| holder.is(peer));
    matching.max_by_key(|(holder, _)| holder.specificity()).map(|(_, given)| given)
}

fn contradictory<T>(entries: &[(RoleHolder, T)], same: impl Fn(&T, &T) -> bool) -> Option<&RoleHolder> {
    entries.iter().enumerate().find_map(|(place, (holder, given))| {
        let mut earlier = entries.iter().take(place);
        earlier.any(|(known, other)| known == holder && !same(given, other)).then_some(holder)
    })
}
