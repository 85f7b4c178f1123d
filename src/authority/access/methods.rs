//! Who may call what: the roles, and the one table of methods. What is not in the table is refused.

use crate::authority::access::roles::Role;

/// Where the metadata is (RFC 8414 section 3); an issuer with a path has that path behind it.
pub const METADATA: &str = "/.well-known/oauth-authorization-server";

/// Where the bundle document of the server's own trust domain is (SPIFFE Federation section 5).
pub const SPIFFE_BUNDLE: &str = "/spiffe/bundle";

/// The one access table: each method's full name, and the roles of which a caller must hold one.
pub const METHODS: &[(&str, &[Role])] = &[
    ("/envoy.service.auth.v3.Authorization/Check", &[Role::Proxy]),
    ("/grpc.health.v1.Health/Check", &[Role::Anyone]),
    ("/grpc.health.v1.Health/Watch", &[Role::Anyone]),
    ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", &[Role::Anyone]),
    ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", &[Role::Anyone]),
    ("/lanyard.v1.BindingService/ValidateBinding", &[Role::Workload, Role::Proxy]),
    ("/lanyard.v1.BindingService/ValidateBindings", &[Role::Workload, Role::Proxy]),
    ("/lanyard.v1.KeyService/GetJwks", &[Role::Anyone]),
    ("/lanyard.v1.RegistryService/CreateClient", &[Role::Admin]),
    ("/lanyard.v1.RegistryService/CreateProtectedResource", &[Role::Admin]),
    ("/lanyard.v1.RegistryService/DeleteClient", &[Role::Admin]),
    ("/lanyard.v1.RegistryService/DeleteProtectedResource", &[Role::Admin]),
    ("/lanyard.v1.RegistryService/GetClient", &[Role::Admin]),
    ("/lanyard.v1.RegistryService/GetProtectedResource", &[Role::Admin]),
    ("/lanyard.v1.RegistryService/ListClients", &[Role::Admin]),
    ("/lanyard.v1.RegistryService/ListProtectedResources", &[Role::Admin]),
    ("/lanyard.v1.RegistryService/UpdateClient", &[Role::Admin]),
    ("/lanyard.v1.RegistryService/UpdateProtectedResource", &[Role::Admin]),
    ("/lanyard.v1.TokenService/AnnounceRotation", &[Role::Workload]),
    ("/lanyard.v1.TokenService/IntrospectToken", &[Role::Workload, Role::Proxy, Role::Admin]),
    ("/lanyard.v1.TokenService/IssueToken", &[Role::Workload]),
    ("/lanyard.v1.TokenService/RevokeToken", &[Role::Workload, Role::Admin]),
    (METADATA, &[Role::Anyone]),
    ("/oauth2/introspect", &[Role::Workload, Role::Proxy, Role::Admin]),
    ("/oauth2/jwks", &[Role::Anyone]),
    ("/oauth2/register", &[Role::Workload, Role::Admin]),
    ("/oauth2/revoke", &[Role::Workload, Role::Admin]),
    ("/oauth2/token", &[Role::Workload]),
    (SPIFFE_BUNDLE, &[Role::Anyone]),
];

/// All that a peer can reach whose certificate is unknown, where such peers are let in to ask for a token.
pub const FOR_UNKNOWN_CERTIFICATES: [&str; 2] = ["/lanyard.v1.TokenService/IssueToken", "/oauth2/token"];

/// What no peer can reach whose TLS ended before Lanyard: it binds the next certificate to the present connection.
pub const NEVER_FORWARDED: [&str; 1] = ["/lanyard.v1.TokenService/AnnounceRotation"];

/// The roles of which the caller of a method must hold one; `None` for a method that is not there. The name is compared
/// whole: another spelling of it is another method.
pub fn roles_for(method: &str) -> Option<&'static [Role]> {
    METHODS.get(position(method)?).map(|(_, roles)| *roles)
}

/// The method as the table has it: one of a fixed set of names, whatever callers ask for.
pub fn canonical_name(method: &str) -> Option<&'static str> {
    METHODS.get(position(method)?).map(|(name, _)| *name)
}

/// What a method that is not in the table is called in logs, spans and measures: its own name is the caller's, and may hold
/// what should not be told.
pub const OTHER: &str = "other";

/// A name to tell of a method by.
pub fn metric_label(method: &str) -> &'static str {
    canonical_name(method).unwrap_or(OTHER)
}

/// Where a method stands in the table.
pub(in crate::authority) fn position(method: &str) -> Option<usize> {
    let tail = method.strip_prefix(METADATA);
    let method = if tail.is_some_and(|tail| tail.starts_with('/')) { METADATA } else { method };
    METHODS.iter().position(|(name, _)| *name == method)
}
