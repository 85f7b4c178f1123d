//! The one access table: whole, obeyed by the real server, and deaf to other spellings.

use std::collections::BTreeSet;

use axum::http::uri::PathAndQuery;
use lanyard::authority::access::CalledMethod;
use lanyard::authority::access::METHODS;
use lanyard::authority::access::MethodEntry;
use lanyard::authority::access::Protocol;
use lanyard::authority::access::Role;
use lanyard::proto;
use lanyard::proto::CreateGrantRequest;
use lanyard::proto::Grant;
use prost::Message as _;
use prost_types::FileDescriptorSet;
use tonic::Code;
use tonic::Request;
use tonic::Status;
use tonic::client::Grpc;
use tonic::transport::Channel;
use tonic_prost::ProstCodec;

use crate::support::ca::self_signed;
use crate::support::calls::refusal;
use crate::support::leaf::Leaf;
use crate::support::server::Setup;
use crate::support::server::TestServer;
use crate::support::server::connect;
use crate::support::server::reason_of;
use crate::support::wire::grpc_message_came_back;
use crate::support::wire::http1;

/// Every gRPC method that the descriptors name, as a path.
fn described() -> BTreeSet<String> {
    let sets = [
        proto::FILE_DESCRIPTOR_SET,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    ];
    let mut methods = BTreeSet::new();
    for file in sets.into_iter().flat_map(|set| FileDescriptorSet::decode(set).unwrap().file) {
        for service in &file.service {
            for method in &service.method {
                methods.insert(format!("/{}.{}/{}", file.package(), service.name(), method.name()));
            }
        }
    }
    methods
}

/// The rows of the table that are gRPC methods.
fn listed() -> BTreeSet<String> {
    METHODS.iter().map(|method| method.name.to_owned()).filter(|method| !is_http(method)).collect()
}

fn is_http(method: &str) -> bool {
    !method.contains('.') || method.starts_with("/.well-known/")
}

#[test]
fn the_table_names_each_method_that_is_served_and_no_other() {
    assert_eq!(listed(), described());
    let others: Vec<&str> = METHODS.iter().map(|method| method.name).filter(|method| is_http(method)).collect();
    let metadata = ["/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"];
    let endpoints = ["introspect", "jwks", "register", "revoke", "token"].map(|name| format!("/oauth2/{name}"));
    assert_eq!(others[..2], metadata);
    assert_eq!(others[2], "/audit/jwks");
    let (bundle, others) = others.split_last().unwrap();
    assert_eq!(*bundle, "/spiffe/bundle");
    assert_eq!(others[3..], endpoints);
}

#[test]
fn the_table_names_no_method_twice_and_gives_each_to_somebody() {
    assert_eq!(METHODS.iter().map(|method| method.name).collect::<BTreeSet<_>>().len(), METHODS.len());
    assert!(METHODS.iter().all(|method| !method.roles.is_empty()));
}

#[test]
fn the_table_is_sorted_by_name() {
    assert!(METHODS.is_sorted_by_key(|method| method.name));
}

/// Whether a method of gRPC reads what belongs to others, by its name. An export has a record of its own, and so have the explanations
/// that callers may ask about themselves.
fn is_read(method: &str) -> bool {
    let name = method.rsplit('/').next().unwrap_or_default();
    ["Get", "List", "Follow", "Preview", "Report", "Simulate", "ExplainExchange"]
        .iter()
        .any(|verb| name.starts_with(verb))
}

#[test]
fn each_row_has_the_protocol_of_its_method_and_the_limits_that_go_with_it() {
    for method in METHODS {
        let protocol = match method.name {
            "/envoy.service.auth.v3.Authorization/Check" => Protocol::ExtAuthz,
            name if name.starts_with("/oauth2/") => Protocol::OAuth,
            name if is_http(name) => Protocol::Http,
            _ => Protocol::Grpc,
        };
        assert_eq!(method.protocol, protocol, "{}", method.name);
    }
    let those = |column: fn(&MethodEntry) -> bool| {
        METHODS.iter().filter(|method| column(method)).map(|method| method.name).collect::<Vec<_>>()
    };
    let tokens_and_documents = [
        "/.well-known/oauth-authorization-server",
        "/.well-known/openid-configuration",
        "/audit/jwks",
        "/lanyard.v1.TokenService/ExchangeToken",
        "/lanyard.v1.TokenService/IssueToken",
        "/oauth2/jwks",
        "/oauth2/token",
        "/spiffe/bundle",
    ];
    assert_eq!(those(|method| method.for_unknown_certificates), tokens_and_documents);
    // What operators alone may read.
    let reads = those(|method| {
        method.roles.contains(&Role::Admin) && !method.roles.contains(&Role::Workload) && is_read(method.name)
    });
    assert_eq!(those(|method| method.reads), reads);
    assert_eq!(reads.len(), 19);
    assert_eq!(those(|method| method.never_forwarded), ["/lanyard.v1.TokenService/AnnounceRotation"]);
    assert_eq!(those(|method| method.signed_on_request), ["/oauth2/introspect"]);
}

#[test]
fn an_auditor_reads_and_a_revoker_revokes_and_neither_may_do_more() {
    let open_to = |role| METHODS.iter().filter(move |method| method.roles.contains(&role)).map(|method| method.name);
    let read = [
        "/lanyard.v1.AdminService/ListAuditHeads",
        "/lanyard.v1.AdminService/ListFeatures",
        "/lanyard.v1.DecisionService/FollowDecisions",
        "/lanyard.v1.ExplanationService/ExplainCheck",
        "/lanyard.v1.ExplanationService/ExplainExchange",
        "/lanyard.v1.ExplanationService/ExplainIdentity",
        "/lanyard.v1.ExplanationService/ExplainRefusal",
        "/lanyard.v1.ExplanationService/ListRefusals",
        "/lanyard.v1.ExplanationService/ReportResource",
        "/lanyard.v1.ExplanationService/SimulateResource",
        "/lanyard.v1.KeyService/ListSigningKeys",
        "/lanyard.v1.ProposalService/GetProposal",
        "/lanyard.v1.ProposalService/ListProposals",
        "/lanyard.v1.RegistryService/GetClient",
        "/lanyard.v1.RegistryService/GetGrant",
        "/lanyard.v1.RegistryService/GetProtectedResource",
        "/lanyard.v1.RegistryService/ListChanges",
        "/lanyard.v1.RegistryService/ListClients",
        "/lanyard.v1.RegistryService/ListGrants",
        "/lanyard.v1.RegistryService/ListProtectedResources",
        "/lanyard.v1.RegistryService/PreviewPattern",
        "/lanyard.v1.TokenService/IntrospectToken",
        "/lanyard.v1.TokenService/ListRevocations",
        "/lanyard.v1.TokenService/WhoAmI",
        "/oauth2/introspect",
    ];
    assert_eq!(open_to(Role::Auditor).collect::<Vec<_>>(), read);
    let revoked = [
        "/lanyard.v1.ExplanationService/ExplainCheck",
        "/lanyard.v1.ExplanationService/ExplainIdentity",
        "/lanyard.v1.ExplanationService/ExplainRefusal",
        "/lanyard.v1.KeyService/ListSigningKeys",
        "/lanyard.v1.KeyService/RevokeSigningKey",
        "/lanyard.v1.TokenService/ListRevocations",
        "/lanyard.v1.TokenService/RevokeToken",
        "/lanyard.v1.TokenService/WhoAmI",
        "/oauth2/revoke",
    ];
    assert_eq!(open_to(Role::Revoker).collect::<Vec<_>>(), revoked);
    // An admin may do all that they may.
    let of_admins: BTreeSet<&str> = open_to(Role::Admin).collect();
    assert!(read.iter().chain(&revoked).all(|method| of_admins.contains(method)));
    let of_teams = [
        "/lanyard.v1.DecisionService/FollowDecisions",
        "/lanyard.v1.ExplanationService/ExplainCheck",
        "/lanyard.v1.ExplanationService/ExplainIdentity",
        "/lanyard.v1.ExplanationService/ExplainRefusal",
        "/lanyard.v1.ExplanationService/ReportResource",
        "/lanyard.v1.ExplanationService/SimulateResource",
        "/lanyard.v1.ProposalService/GetProposal",
        "/lanyard.v1.ProposalService/ListProposals",
        "/lanyard.v1.ProposalService/RejectProposal",
        "/lanyard.v1.RegistryService/CreateClient",
        "/lanyard.v1.RegistryService/CreateProtectedResource",
        "/lanyard.v1.RegistryService/DeleteClient",
        "/lanyard.v1.RegistryService/DeleteProtectedResource",
        "/lanyard.v1.RegistryService/GetClient",
        "/lanyard.v1.RegistryService/GetGrant",
        "/lanyard.v1.RegistryService/GetProtectedResource",
        "/lanyard.v1.RegistryService/ListChanges",
        "/lanyard.v1.RegistryService/ListClients",
        "/lanyard.v1.RegistryService/ListGrants",
        "/lanyard.v1.RegistryService/ListProtectedResources",
        "/lanyard.v1.RegistryService/PreviewPattern",
        "/lanyard.v1.RegistryService/UpdateClient",
        "/lanyard.v1.RegistryService/UpdateProtectedResource",
        "/lanyard.v1.TokenService/WhoAmI",
        "/oauth2/register",
    ];
    assert_eq!(open_to(Role::Team).collect::<Vec<_>>(), of_teams);
}

#[test]
fn a_request_has_one_protocol_by_its_method_and_its_content_type() {
    const METADATA: &str = "/.well-known/oauth-authorization-server";
    const OPENID: &str = "/.well-known/openid-configuration";
    for (path, name, by_grpc, by_another) in [
        ("/lanyard.v1.KeyService/GetJwks", "/lanyard.v1.KeyService/GetJwks", Protocol::Grpc, Protocol::Http),
        ("/lanyard.v1.KeyService/GetKeys", "other", Protocol::Grpc, Protocol::Http),
        ("/oauth2/token", "/oauth2/token", Protocol::Grpc, Protocol::OAuth),
        ("/oauth2/authorize", "other", Protocol::Grpc, Protocol::OAuth),
        ("/oauth2", "other", Protocol::Grpc, Protocol::Http),
        (METADATA, METADATA, Protocol::Grpc, Protocol::Http),
        ("/.well-known/oauth-authorization-server/tenant", METADATA, Protocol::Grpc, Protocol::Http),
        ("/.well-known/oauth-authorization-servers", "other", Protocol::Grpc, Protocol::Http),
        ("/tenant/.well-known/oauth-authorization-server", METADATA, Protocol::Grpc, Protocol::Http),
        ("/tenant/.well-known/openid-configuration", OPENID, Protocol::Grpc, Protocol::Http),
        ("/.well-known/openid-configuration/tenant", OPENID, Protocol::Grpc, Protocol::Http),
        ("/tenant/.well-known/openid-configurations", "other", Protocol::Grpc, Protocol::Http),
        ("/tenant/oauth2/jwks", "/oauth2/jwks", Protocol::Grpc, Protocol::OAuth),
        ("/tenant/oauth2/token", "other", Protocol::Grpc, Protocol::Http),
        ("/envoy.service.auth.v3.Authorization/Check/", "other", Protocol::Grpc, Protocol::Http),
        ("", "other", Protocol::Grpc, Protocol::Http),
    ] {
        let [grpc, another] = [true, false].map(|grpc| CalledMethod::find(path, grpc));
        assert_eq!((grpc.metric_label(), another.metric_label()), (name, name), "{path}");
        assert_eq!((grpc.protocol(), another.protocol()), (by_grpc, by_another), "{path}");
    }
    for method in METHODS {
        let found = CalledMethod::find(method.name, false).entry().unwrap();
        assert_eq!(found.name, method.name);
    }
    // Whatever it comes as, its answer must never let a request through.
    let check = "/envoy.service.auth.v3.Authorization/Check";
    assert_eq!([true, false].map(|grpc| CalledMethod::find(check, grpc).protocol()), [Protocol::ExtAuthz; 2]);
}

/// A server, and one peer a role that holds that role and no other.
async fn one_peer_a_role() -> (TestServer, Vec<(Role, Leaf)>) {
    let [admin, proxy, auditor, revoker, edge] =
        ["admin", "proxy", "auditor", "revoker", "edge"].map(|name| self_signed(name).issue());
    let setup = Setup {
        roles: format!(
            "{{admins: [{{certificate_thumbprint: '{}'}}], \
             proxies: [{{certificate_thumbprint: '{}', resources: ['*']}}], \
             auditors: [{{certificate_thumbprint: '{}'}}], revokers: [{{certificate_thumbprint: '{}'}}], \
             edges: [{{certificate_thumbprint: '{}', resources: ['*']}}]}}",
            admin.thumbprint(),
            proxy.thumbprint(),
            auditor.thumbprint(),
            revoker.thumbprint(),
            edge.thumbprint()
        ),
        ..Setup::default()
    };
    setup.write();
    let server = setup.start().await.unwrap();
    let nobody = server.setup.corp.client_certificate().dns("nobody.corp.example").issue();
    let workload = server.svid("/checkout");
    let grant = Grant {
        name: "team".to_owned(),
        admins: vec!["spiffe://prod.example/team/admin".to_owned()],
        owners: vec!["team".to_owned()],
        ..Grant::default()
    };
    let mut registry = server.registry(&admin);
    registry.create_grant(CreateGrantRequest { grant: Some(grant), ..CreateGrantRequest::default() }).await.unwrap();
    let team = server.svid("/team/admin");
    let peers = vec![
        (Role::Anyone, nobody),
        (Role::Workload, workload),
        (Role::Proxy, proxy),
        (Role::Admin, admin),
        (Role::Auditor, auditor),
        (Role::Revoker, revoker),
        (Role::Edge, edge),
        (Role::Team, team),
    ];
    (server, peers)
}

/// Calls a method with an empty message, and waits for the head of the answer.
async fn call(channel: &Channel, method: &str) -> Result<(), Status> {
    let mut client = Grpc::new(channel.clone());
    client.ready().await.unwrap();
    let path = PathAndQuery::try_from(method).unwrap();
    client.server_streaming(Request::new(()), path, ProstCodec::<(), ()>::default()).await.map(drop)
}

#[tokio::test]
async fn each_method_is_open_to_the_roles_of_its_row_and_to_no_other() {
    let (server, peers) = one_peer_a_role().await;
    for (role, leaf) in &peers {
        let channel = server.channel(leaf);
        // How a check is refused is a matter of its own: see the tests of ext_authz.
        let plain = |method: &str| method.contains('.') && method != "/envoy.service.auth.v3.Authorization/Check";
        for MethodEntry { name: method, roles, .. } in METHODS.iter().filter(|method| plain(method.name)) {
            let outcome = call(&channel, method).await;
            // Whose SPIFFE ID a grant names is a workload too.
            let is_workload = *role == Role::Team && roles.contains(&Role::Workload);
            if roles.contains(role) || roles.contains(&Role::Anyone) || is_workload {
                // What an empty message comes to is not asked here, but it comes to the method.
                if let Err(status) = outcome {
                    assert_ne!(status.code(), Code::Unimplemented, "{role:?} {method}");
                    assert_ne!(reason_of(&status), "WRONG_ROLE", "{role:?} {method}");
                }
            } else {
                let refused = (Code::PermissionDenied, "WRONG_ROLE".to_owned());
                assert_eq!(refusal(outcome), refused, "{role:?} {method}");
            }
        }
    }
}

#[tokio::test]
async fn a_method_that_is_not_in_the_table_is_refused_to_everybody() {
    let (server, peers) = one_peer_a_role().await;
    for (role, leaf) in &peers {
        let channel = server.channel(leaf);
        for method in [
            "/",
            "/lanyard.v1.RegistryService",
            "/lanyard.v1.RegistryService/",
            "/lanyard.v1.RegistryService/DropClients",
            "/lanyard.v2.RegistryService/GetClient",
            "/grpc.health.v1.Health/List",
            "/envoy.service.auth.v2.Authorization/Check",
            "/oauth2/authorize",
        ] {
            let refused = (Code::Unimplemented, "NO_SUCH_METHOD".to_owned());
            assert_eq!(refusal(call(&channel, method).await), refused, "{role:?} {method}");
        }
    }
}

#[tokio::test]
async fn another_spelling_of_a_method_is_another_method() {
    let server = TestServer::start().await;
    let leaf = server.svid("/checkout");
    let answered = async |path: &str| {
        let stream = connect(server.addresses.mtls, server.tls(&leaf)).await.unwrap();
        grpc_message_came_back(stream, path).await
    };
    assert!(answered("/lanyard.v1.KeyService/GetJwks").await);
    for path in [
        "lanyard.v1.KeyService/GetJwks",
        "//lanyard.v1.KeyService/GetJwks",
        "/lanyard.v1.KeyService//GetJwks",
        "/lanyard.v1.KeyService/GetJwks/",
        "/lanyard.v1.KeyService%2fGetJwks",
        "/lanyard.v1.KeyService%2FGetJwks",
        "%2flanyard.v1.KeyService/GetJwks",
        "/lanyard.v1.KeyService/GetJwk%73",
        "/lanyard%2ev1.KeyService/GetJwks",
        "/lanyard.v1.keyservice/getjwks",
        "/LANYARD.V1.KEYSERVICE/GETJWKS",
        "/lanyard.v1.KeyService/getJwks",
        "/lanyard.v1/KeyService/GetJwks",
        "/lanyard-v1-KeyService/GetJwks",
        "/./lanyard.v1.KeyService/GetJwks",
        "/x/../lanyard.v1.KeyService/GetJwks",
        "/lanyard.v1.KeyService/./GetJwks",
        "/lanyard.v1.KeyService/GetJwks/.",
        "/lanyard.v1.KeyService/GetJwks;x=y",
        "/lanyard.v1.KeyService\\GetJwks",
        "/lanyard.v1.KeyService/GetJwks ",
        " /lanyard.v1.KeyService/GetJwks",
        "/lanyard.v1.KeyService/GetJwks\0",
        "/lanyard.v1.KeyService/GetJwks\t",
        "https://localhost/lanyard.v1.KeyService/GetJwks",
        "localhost/lanyard.v1.KeyService/GetJwks",
        "*",
        "",
    ] {
        assert!(!answered(path).await, "{path:?}");
    }
}

#[tokio::test]
async fn the_http_paths_of_the_mtls_listener_have_one_spelling_too() {
    let server = TestServer::start().await;
    let mut config = server.tls(&server.svid("/checkout"));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let status = async |request: &str| {
        let stream = connect(server.addresses.mtls, config.clone()).await.unwrap();
        http1(stream, request).await.status
    };
    assert_eq!(status("GET /oauth2/jwks").await, 200);
    assert_eq!(status("POST /oauth2/jwks").await, 405);
    for target in [
        "/",
        "/oauth2/jwks/",
        "//oauth2/jwks",
        "/oauth2//jwks",
        "/OAuth2/jwks",
        "/oauth2/%6awks",
        "/oauth2%2fjwks",
        "/oauth2/./jwks",
        "/oauth2/authorize",
        "/oauth2/token/",
        "/livez",
        "/readyz",
        "/metrics",
        "/.well-known/nothing",
    ] {
        assert_eq!(status(&format!("GET {target}")).await, 404, "{target}");
    }
}

#[tokio::test]
async fn without_grpc_a_wrong_role_is_told_so_in_http() {
    let server = TestServer::start().await;
    let mut config = server.tls(&server.svid("/checkout"));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let stream = connect(server.addresses.mtls, config).await.unwrap();
    let answer = http1(stream, "POST /lanyard.v1.RegistryService/ListClients").await;
    let sentence = "the caller holds none of the roles that this method asks for";
    assert_eq!((answer.status, answer.body.as_str()), (403, sentence));
}
