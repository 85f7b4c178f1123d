//! The access table: which roles may call each method, and the protocol of its responses. A method that is not in the
//! table is refused.

use crate::authority::access::roles::Role;

/// The path of the authorization server metadata (RFC 8414 section 3).
pub const METADATA: &str = "/.well-known/oauth-authorization-server";

/// The path of the same metadata for clients that look for OpenID Connect Discovery (its section 4). For an issuer with a
/// path, that path precedes or follows each of the two.
pub const OPENID_CONFIGURATION: &str = "/.well-known/openid-configuration";

/// The path of the public keys, which an issuer's path may precede.
pub const JWKS: &str = "/oauth2/jwks";

/// The path of the bundle document of the server's own trust domain (SPIFFE Federation section 5).
pub const SPIFFE_BUNDLE: &str = "/spiffe/bundle";

/// The path of the public key of the audit trail.
pub const AUDIT_JWKS: &str = "/audit/jwks";

/// The label in logs, spans and metrics of a method that is not in the table. The path itself comes from the caller and
/// may contain secrets.
pub const OTHER: &str = "other";

/// The prefix of all OAuth paths, including those without an endpoint.
const OAUTH: &str = "/oauth2/";

/// The format of refusals and failures.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Protocol {
    /// A gRPC status.
    Grpc,
    /// An OAuth error response (RFC 6749 section 5.2).
    OAuth,
    /// A denied response of Envoy's `ext_authz`, never a gRPC error, which Envoy could be configured to treat as
    /// permission (`failure_mode_allow`).
    ExtAuthz,
    /// An HTTP status.
    Http,
}

/// How urgent a request is when not all can be answered, the most urgent first.
#[derive(
    Clone,
    Copy,
    Debug,
    Eq,
    Hash,
    Ord,
    PartialEq,
    PartialOrd,
    strum::EnumCount,
    strum::IntoStaticStr,
    strum::VariantArray,
)]
#[strum(serialize_all = "snake_case")]
pub enum Priority {
    /// Health, and the revocations of admins and revokers.
    Vital,
    /// Checks and validations: a request of the mesh waits for each.
    Decision,
    /// Tokens, and what workloads do for their own: revocations, announced certificates.
    Issuing,
    /// All other methods.
    Rest,
}

impl Priority {
    /// Its name in the metrics.
    pub fn label(self) -> &'static str {
        self.into()
    }
}

/// A row of the access table.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a column of the table")]
pub struct MethodEntry {
    /// The request path: `/package.Service/Method` in gRPC.
    pub name: &'static str,
    /// The protocol of the method. [`CalledMethod::protocol`] returns that of a request.
    pub protocol: Protocol,
    /// The caller must hold one of these roles.
    pub roles: &'static [Role],
    /// Whether a peer with an unknown certificate can call the method, where such peers are accepted to request a
    /// token. They can read the public documents too.
    pub for_unknown_certificates: bool,
    /// Whether the method is refused to peers whose TLS is terminated in front of Lanyard.
    pub never_forwarded: bool,
    /// Whether a proxy on this machine can call the method, which has no certificate.
    pub for_local_proxies: bool,
    /// Whether it reads what only operators may, and changes nothing. Each such call is in the audit trail.
    pub reads: bool,
    /// How urgent the method is.
    pub priority: Priority,
    /// Whether it is [`Priority::Vital`] where an admin or a revoker calls it.
    pub vital_for_admins: bool,
    /// Whether its request is a stream of messages, between which its caller may pause.
    pub takes_a_stream: bool,
    /// Whether the response is signed for a caller that accepts the signed form (RFC 9701 section 4).
    pub signed_on_request: bool,
    /// Whether edges have the method: what needs no more than the part of the snapshot that they get, no key that signs, and no
    /// store that is written.
    pub at_edges: bool,
}

impl MethodEntry {
    const fn new(name: &'static str, protocol: Protocol, roles: &'static [Role]) -> Self {
        Self {
            name,
            protocol,
            roles,
            for_unknown_certificates: false,
            never_forwarded: false,
            for_local_proxies: false,
            reads: false,
            priority: Priority::Rest,
            vital_for_admins: false,
            takes_a_stream: false,
            signed_on_request: false,
            at_edges: false,
        }
    }

    const fn grpc(name: &'static str, roles: &'static [Role]) -> Self {
        Self::new(name, Protocol::Grpc, roles)
    }

    /// A public document, for every peer that a handshake accepts, at edges too.
    const fn document(name: &'static str, protocol: Protocol) -> Self {
        Self { for_unknown_certificates: true, at_edges: true, ..Self::new(name, protocol, &[Role::Anyone]) }
    }

    const fn of(self, priority: Priority) -> Self {
        Self { priority, ..self }
    }

    const fn local(self) -> Self {
        Self { for_local_proxies: true, ..self }
    }

    const fn read(self) -> Self {
        Self { reads: true, ..self }
    }

    const fn streamed(self) -> Self {
        Self { takes_a_stream: true, ..self }
    }

    const fn at_edges(self) -> Self {
        Self { at_edges: true, ..self }
    }

    const fn oauth(name: &'static str, roles: &'static [Role]) -> Self {
        Self::new(name, Protocol::OAuth, roles)
    }
}

/// Those who may learn what a token says that they hold.
const INTROSPECTING: &[Role] = &[Role::Workload, Role::Proxy, Role::Admin, Role::Auditor];

/// Those who hold a role of their own.
const ANY_ROLE: &[Role] =
    &[Role::Workload, Role::Proxy, Role::Admin, Role::Auditor, Role::Revoker, Role::Team, Role::Edge];

/// Those who read what belongs to the server as a whole.
const READERS: &[Role] = &[Role::Admin, Role::Auditor];

/// Those who read what is registered, or what of it lies within their grants.
const REGISTRY_READERS: &[Role] = &[Role::Admin, Role::Auditor, Role::Team];

/// Those who register, or register what lies within their grants.
const REGISTRANTS: &[Role] = &[Role::Admin, Role::Team];

/// Those who read what can be revoked.
const REVOCATION_READERS: &[Role] = &[Role::Admin, Role::Auditor, Role::Revoker];

/// The access table, sorted by name.
pub const METHODS: &[MethodEntry] = &[
    MethodEntry::document(METADATA, Protocol::Http),
    MethodEntry::document(OPENID_CONFIGURATION, Protocol::Http),
    MethodEntry::document(AUDIT_JWKS, Protocol::Http),
    MethodEntry::new("/envoy.service.auth.v3.Authorization/Check", Protocol::ExtAuthz, &[Role::Proxy])
        .of(Priority::Decision)
        .local()
        .at_edges(),
    MethodEntry::grpc("/grpc.health.v1.Health/Check", &[Role::Anyone]).of(Priority::Vital).local().at_edges(),
    MethodEntry::grpc("/grpc.health.v1.Health/Watch", &[Role::Anyone]).of(Priority::Vital).local().at_edges(),
    MethodEntry::grpc("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", &[Role::Anyone])
        .streamed()
        .at_edges(),
    MethodEntry::grpc("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", &[Role::Anyone])
        .streamed()
        .at_edges(),
    MethodEntry::grpc("/lanyard.v1.AdminService/EnableFeature", &[Role::Admin]),
    MethodEntry::grpc("/lanyard.v1.AdminService/ExportStore", &[Role::Admin]),
    MethodEntry::grpc("/lanyard.v1.AdminService/ListAuditHeads", READERS).read(),
    MethodEntry::grpc("/lanyard.v1.AdminService/ListFeatures", READERS).read(),
    MethodEntry::grpc("/lanyard.v1.BindingService/ValidateBinding", &[Role::Workload, Role::Proxy])
        .of(Priority::Decision)
        .local()
        .at_edges(),
    MethodEntry::grpc("/lanyard.v1.BindingService/ValidateBindings", &[Role::Workload, Role::Proxy])
        .of(Priority::Decision)
        .streamed()
        .local()
        .at_edges(),
    MethodEntry::grpc("/lanyard.v1.DecisionService/FollowDecisions", REGISTRY_READERS).read().at_edges(),
    MethodEntry::grpc("/lanyard.v1.ExplanationService/ExplainCheck", ANY_ROLE).at_edges(),
    MethodEntry::grpc("/lanyard.v1.ExplanationService/ExplainExchange", READERS).read(),
    MethodEntry::grpc("/lanyard.v1.ExplanationService/ExplainIdentity", ANY_ROLE),
    MethodEntry::grpc("/lanyard.v1.ExplanationService/ExplainRefusal", ANY_ROLE).at_edges(),
    MethodEntry::grpc("/lanyard.v1.ExplanationService/ListRefusals", READERS).read().at_edges(),
    MethodEntry::grpc("/lanyard.v1.ExplanationService/ReportResource", REGISTRY_READERS).read().at_edges(),
    MethodEntry::grpc("/lanyard.v1.ExplanationService/SimulateResource", REGISTRY_READERS).read(),
    MethodEntry::grpc("/lanyard.v1.KeyService/GetJwks", &[Role::Anyone]).at_edges(),
    MethodEntry::grpc("/lanyard.v1.KeyService/ListSigningKeys", REVOCATION_READERS).read(),
    MethodEntry::grpc("/lanyard.v1.KeyService/ResealKeys", &[Role::Admin]),
    // As a revocation of a token, it must get through under load.
    MethodEntry::grpc("/lanyard.v1.KeyService/RevokeSigningKey", &[Role::Admin, Role::Revoker]).of(Priority::Vital),
    MethodEntry::grpc("/lanyard.v1.KeyService/RotateSigningKey", &[Role::Admin]),
    MethodEntry::grpc("/lanyard.v1.ProposalService/ApproveProposal", &[Role::Admin]),
    MethodEntry::grpc("/lanyard.v1.ProposalService/GetProposal", REGISTRY_READERS).read(),
    MethodEntry::grpc("/lanyard.v1.ProposalService/ListProposals", REGISTRY_READERS).read(),
    MethodEntry::grpc("/lanyard.v1.ProposalService/RejectProposal", REGISTRANTS),
    MethodEntry::grpc("/lanyard.v1.RegistryService/CreateClient", REGISTRANTS),
    MethodEntry::grpc("/lanyard.v1.RegistryService/CreateGrant", &[Role::Admin]),
    MethodEntry::grpc("/lanyard.v1.RegistryService/CreateProtectedResource", REGISTRANTS),
    MethodEntry::grpc("/lanyard.v1.RegistryService/DeleteClient", REGISTRANTS),
    MethodEntry::grpc("/lanyard.v1.RegistryService/DeleteGrant", &[Role::Admin]),
    MethodEntry::grpc("/lanyard.v1.RegistryService/DeleteProtectedResource", REGISTRANTS),
    MethodEntry::grpc("/lanyard.v1.RegistryService/ForgetResource", &[Role::Admin]),
    MethodEntry::grpc("/lanyard.v1.RegistryService/GetClient", REGISTRY_READERS).read(),
    MethodEntry::grpc("/lanyard.v1.RegistryService/GetGrant", REGISTRY_READERS).read(),
    MethodEntry::grpc("/lanyard.v1.RegistryService/GetProtectedResource", REGISTRY_READERS).read(),
    MethodEntry::grpc("/lanyard.v1.RegistryService/ListChanges", REGISTRY_READERS).read(),
    MethodEntry::grpc("/lanyard.v1.RegistryService/ListClients", REGISTRY_READERS).read(),
    MethodEntry::grpc("/lanyard.v1.RegistryService/ListGrants", REGISTRY_READERS).read(),
    MethodEntry::grpc("/lanyard.v1.RegistryService/ListProtectedResources", REGISTRY_READERS).read(),
    MethodEntry::grpc("/lanyard.v1.RegistryService/PreviewPattern", REGISTRY_READERS).read(),
    MethodEntry::grpc("/lanyard.v1.RegistryService/UpdateClient", REGISTRANTS),
    MethodEntry::grpc("/lanyard.v1.RegistryService/UpdateGrant", &[Role::Admin]),
    MethodEntry::grpc("/lanyard.v1.RegistryService/UpdateProtectedResource", REGISTRANTS),
    MethodEntry::grpc("/lanyard.v1.SnapshotService/WatchRevocations", &[Role::Edge, Role::Proxy]).streamed().at_edges(),
    MethodEntry::grpc("/lanyard.v1.SnapshotService/WatchSnapshot", &[Role::Edge]).streamed().at_edges(),
    MethodEntry {
        // The method binds the next certificate to the current connection.
        never_forwarded: true,
        ..MethodEntry::grpc("/lanyard.v1.TokenService/AnnounceRotation", &[Role::Workload]).of(Priority::Issuing)
    },
    MethodEntry {
        for_unknown_certificates: true,
        ..MethodEntry::grpc("/lanyard.v1.TokenService/ExchangeToken", &[Role::Workload]).of(Priority::Issuing)
    },
    MethodEntry::grpc("/lanyard.v1.TokenService/IntrospectToken", INTROSPECTING).of(Priority::Decision).at_edges(),
    MethodEntry {
        for_unknown_certificates: true,
        ..MethodEntry::grpc("/lanyard.v1.TokenService/IssueToken", &[Role::Workload]).of(Priority::Issuing)
    },
    MethodEntry::grpc("/lanyard.v1.TokenService/ListRevocations", REVOCATION_READERS).read(),
    MethodEntry {
        vital_for_admins: true,
        ..MethodEntry::grpc("/lanyard.v1.TokenService/RevokeToken", &[Role::Workload, Role::Admin, Role::Revoker])
            .of(Priority::Issuing)
    },
    MethodEntry::grpc("/lanyard.v1.TokenService/WhoAmI", ANY_ROLE).at_edges(),
    MethodEntry {
        signed_on_request: true,
        ..MethodEntry::oauth("/oauth2/introspect", INTROSPECTING).of(Priority::Decision).at_edges()
    },
    MethodEntry::document(JWKS, Protocol::OAuth),
    MethodEntry::oauth("/oauth2/register", &[Role::Workload, Role::Admin, Role::Team]),
    MethodEntry {
        vital_for_admins: true,
        ..MethodEntry::oauth("/oauth2/revoke", &[Role::Workload, Role::Admin, Role::Revoker]).of(Priority::Issuing)
    },
    MethodEntry {
        for_unknown_certificates: true,
        ..MethodEntry::oauth("/oauth2/token", &[Role::Workload]).of(Priority::Issuing)
    },
    MethodEntry::document(SPIFFE_BUNDLE, Protocol::Http),
];

/// The method that a request calls. It is looked up once, when the request head has been read.
#[derive(Clone, Copy, Debug)]
pub struct CalledMethod {
    /// The index in the table and the entry; `None` for a method that is not in the table.
    row: Option<(usize, &'static MethodEntry)>,
    protocol: Protocol,
    grpc: bool,
}

impl CalledMethod {
    /// Looks a path up in the table. Paths are compared byte by byte: another spelling of a name is another method.
    /// `grpc` says whether the request's content type is gRPC's.
    pub fn find(path: &str, grpc: bool) -> Self {
        let row = position(path).and_then(|position| Some((position, METHODS.get(position)?)));
        let own = match row {
            Some((_, entry)) => entry.protocol,
            None if path.starts_with(OAUTH) => Protocol::OAuth,
            None => Protocol::Http,
        };
        let protocol = match (own, grpc) {
            (Protocol::ExtAuthz, _) => Protocol::ExtAuthz,
            (Protocol::Grpc | Protocol::OAuth | Protocol::Http, true) => Protocol::Grpc,
            (Protocol::OAuth, false) => Protocol::OAuth,
            // Only a gRPC client can read a gRPC status.
            (Protocol::Grpc | Protocol::Http, false) => Protocol::Http,
        };
        Self { row, protocol, grpc }
    }

    /// What a peer calls to get a token, for a question about a peer that has not called.
    pub(in crate::authority) fn issue_token() -> Self {
        Self::find("/lanyard.v1.TokenService/IssueToken", true)
    }

    /// The table entry; `None` for a method that is not in the table.
    pub fn entry(&self) -> Option<&'static MethodEntry> {
        self.row.map(|(_, entry)| entry)
    }

    /// The index in the table.
    pub(in crate::authority) fn position(&self) -> Option<usize> {
        self.row.map(|(position, _)| position)
    }

    /// The name in the table: one of a fixed set, independent of what callers send.
    pub fn canonical_name(&self) -> Option<&'static str> {
        self.entry().map(|entry| entry.name)
    }

    /// Its canonical name, or [`OTHER`].
    pub fn metric_label(&self) -> &'static str {
        self.canonical_name().unwrap_or(OTHER)
    }

    /// How urgent the request is. A method that is not in the table is not.
    pub fn priority(&self, is_admin: impl FnOnce() -> bool) -> Priority {
        self.entry().map_or(Priority::Rest, |entry| {
            if entry.vital_for_admins && is_admin() { Priority::Vital } else { entry.priority }
        })
    }

    /// Whether it reads what only admins may.
    pub fn reads(&self) -> bool {
        self.entry().is_some_and(|entry| entry.reads)
    }

    /// The protocol in which refusals and internal errors are returned.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Whether the request's content type is gRPC's.
    pub fn is_grpc(&self) -> bool {
        self.grpc
    }
}

/// The roles of which one is needed to call a method of this name; none where there is no such method.
pub fn roles_that_may_call(name: &str) -> &'static [Role] {
    METHODS.iter().find(|entry| entry.name == name).map_or(&[], |entry| entry.roles)
}

fn position(path: &str) -> Option<usize> {
    let at = |name: &str| METHODS.binary_search_by(|entry| entry.name.cmp(name)).ok();
    // The documents of an issuer with a path. The router knows which path that is.
    let of_issuer =
        |name: &str| path.ends_with(name) || path.strip_prefix(name).is_some_and(|tail| tail.starts_with('/'));
    let document = || [METADATA, OPENID_CONFIGURATION].into_iter().find(|name| of_issuer(name));
    let keys = || path.ends_with(JWKS).then_some(JWKS);
    at(path).or_else(|| at(document().or_else(keys)?))
}
