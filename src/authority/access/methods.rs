//! The one table of methods: who may call each, and in which protocol it answers. What is not in the table is refused.

use crate::authority::access::roles::Role;

/// Where the metadata is (RFC 8414 section 3); an issuer with a path has that path behind it.
pub const METADATA: &str = "/.well-known/oauth-authorization-server";

/// Where the bundle document of the server's own trust domain is (SPIFFE Federation section 5).
pub const SPIFFE_BUNDLE: &str = "/spiffe/bundle";

/// What a method that is not in the table is called in logs, spans and metrics: its own name is the caller's, and may hold
/// what should not be told.
pub const OTHER: &str = "other";

/// All paths below this are OAuth's, whether or not there is an endpoint.
const OAUTH: &str = "/oauth2/";

/// How refusals and failures are printed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Protocol {
    /// A gRPC status.
    Grpc,
    /// An error of RFC 6749 section 5.2.
    OAuth,
    /// A denied response of Envoy's, never an error, which Envoy could take as leave to let the request through.
    ExtAuthz,
    /// An HTTP status.
    Http,
}

/// A row of the access table.
#[derive(Debug)]
pub struct MethodEntry {
    /// The path: `/package.Service/Method` in gRPC.
    pub name: &'static str,
    /// The protocol of the method itself; see [`CalledMethod::protocol`] for that of a request.
    pub protocol: Protocol,
    /// The roles of which a caller must hold one.
    pub roles: &'static [Role],
    /// Whether a peer whose certificate is unknown can reach it, where such peers are let in to ask for a token.
    pub for_unknown_certificates: bool,
    /// Whether no peer can reach it whose TLS ended before Lanyard.
    pub never_forwarded: bool,
    /// Whether the answer is signed for a caller that accepts the signed form (RFC 9701 section 4).
    pub signed_on_request: bool,
}

impl MethodEntry {
    const fn new(name: &'static str, protocol: Protocol, roles: &'static [Role]) -> Self {
        Self {
            name,
            protocol,
            roles,
            for_unknown_certificates: false,
            never_forwarded: false,
            signed_on_request: false,
        }
    }

    const fn grpc(name: &'static str, roles: &'static [Role]) -> Self {
        Self::new(name, Protocol::Grpc, roles)
    }

    const fn oauth(name: &'static str, roles: &'static [Role]) -> Self {
        Self::new(name, Protocol::OAuth, roles)
    }
}

/// The one access table, sorted by name.
pub const METHODS: &[MethodEntry] = &[
    MethodEntry::new(METADATA, Protocol::Http, &[Role::Anyone]),
    MethodEntry::new("/envoy.service.auth.v3.Authorization/Check", Protocol::ExtAuthz, &[Role::Proxy]),
    MethodEntry::grpc("/grpc.health.v1.Health/Check", &[Role::Anyone]),
    MethodEntry::grpc("/grpc.health.v1.Health/Watch", &[Role::Anyone]),
    MethodEntry::grpc("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", &[Role::Anyone]),
    MethodEntry::grpc("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", &[Role::Anyone]),
    MethodEntry::grpc("/lanyard.v1.BindingService/ValidateBinding", &[Role::Workload, Role::Proxy]),
    MethodEntry::grpc("/lanyard.v1.BindingService/ValidateBindings", &[Role::Workload, Role::Proxy]),
    MethodEntry::grpc("/lanyard.v1.KeyService/GetJwks", &[Role::Anyone]),
    MethodEntry::grpc("/lanyard.v1.RegistryService/CreateClient", &[Role::Admin]),
    MethodEntry::grpc("/lanyard.v1.RegistryService/CreateProtectedResource", &[Role::Admin]),
    MethodEntry::grpc("/lanyard.v1.RegistryService/DeleteClient", &[Role::Admin]),
    MethodEntry::grpc("/lanyard.v1.RegistryService/DeleteProtectedResource", &[Role::Admin]),
    MethodEntry::grpc("/lanyard.v1.RegistryService/GetClient", &[Role::Admin]),
    MethodEntry::grpc("/lanyard.v1.RegistryService/GetProtectedResource", &[Role::Admin]),
    MethodEntry::grpc("/lanyard.v1.RegistryService/ListClients", &[Role::Admin]),
    MethodEntry::grpc("/lanyard.v1.RegistryService/ListProtectedResources", &[Role::Admin]),
    MethodEntry::grpc("/lanyard.v1.RegistryService/UpdateClient", &[Role::Admin]),
    MethodEntry::grpc("/lanyard.v1.RegistryService/UpdateProtectedResource", &[Role::Admin]),
    MethodEntry {
        // It binds the next certificate to the present connection.
        never_forwarded: true,
        ..MethodEntry::grpc("/lanyard.v1.TokenService/AnnounceRotation", &[Role::Workload])
    },
    MethodEntry::grpc("/lanyard.v1.TokenService/IntrospectToken", &[Role::Workload, Role::Proxy, Role::Admin]),
    MethodEntry {
        for_unknown_certificates: true,
        ..MethodEntry::grpc("/lanyard.v1.TokenService/IssueToken", &[Role::Workload])
    },
    MethodEntry::grpc("/lanyard.v1.TokenService/RevokeToken", &[Role::Workload, Role::Admin]),
    MethodEntry {
        signed_on_request: true,
        ..MethodEntry::oauth("/oauth2/introspect", &[Role::Workload, Role::Proxy, Role::Admin])
    },
    MethodEntry::oauth("/oauth2/jwks", &[Role::Anyone]),
    MethodEntry::oauth("/oauth2/register", &[Role::Workload, Role::Admin]),
    MethodEntry::oauth("/oauth2/revoke", &[Role::Workload, Role::Admin]),
    MethodEntry { for_unknown_certificates: true, ..MethodEntry::oauth("/oauth2/token", &[Role::Workload]) },
    MethodEntry::new(SPIFFE_BUNDLE, Protocol::Http, &[Role::Anyone]),
];

/// The method that a request calls, found once when its head has been read.
#[derive(Clone, Copy, Debug)]
pub struct CalledMethod {
    /// Its position in the table and its row; `None` for a method that is not there.
    row: Option<(usize, &'static MethodEntry)>,
    protocol: Protocol,
    grpc: bool,
}

impl CalledMethod {
    /// Looks a path up in the table. Paths are compared whole: another spelling of a name is another method. `grpc` says
    /// whether the request's content type is gRPC's.
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
            // Only a gRPC client reads a gRPC status.
            (Protocol::Grpc | Protocol::Http, false) => Protocol::Http,
        };
        Self { row, protocol, grpc }
    }

    /// Its row; `None` for a method that is not in the table.
    pub fn entry(&self) -> Option<&'static MethodEntry> {
        self.row.map(|(_, entry)| entry)
    }

    /// Where it stands in the table.
    pub(in crate::authority) fn position(&self) -> Option<usize> {
        self.row.map(|(position, _)| position)
    }

    /// Its name as the table has it: one of a fixed set, whatever callers ask for.
    pub fn canonical_name(&self) -> Option<&'static str> {
        self.entry().map(|entry| entry.name)
    }

    /// Its canonical name, or [`OTHER`].
    pub fn metric_label(&self) -> &'static str {
        self.canonical_name().unwrap_or(OTHER)
    }

    /// The protocol in which the request is refused, and in which it is said that something broke.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Whether the request's content type is gRPC's.
    pub fn is_grpc(&self) -> bool {
        self.grpc
    }
}

fn position(path: &str) -> Option<usize> {
    let at = |name: &str| METHODS.binary_search_by(|entry| entry.name.cmp(name)).ok();
    let below_metadata = || path.strip_prefix(METADATA).is_some_and(|tail| tail.starts_with('/'));
    at(path).or_else(|| if below_metadata() { at(METADATA) } else { None })
}
