//! The roles of operators beside Admin: an auditor reads what all others registered, and a revoker revokes it.

use lanyard::authority::registration::ClientId;
use lanyard::proto::Decision;
use lanyard::proto::IntrospectTokenRequest;
use lanyard::proto::ListChangesRequest;
use lanyard::proto::ListClientsRequest;
use lanyard::proto::ListRevocationsRequest;
use lanyard::proto::ListSigningKeysRequest;
use lanyard::proto::RevokeSigningKeyRequest;
use lanyard::proto::RevokeTokenRequest;
use lanyard::proto::Role;
use lanyard::proto::RotateSigningKeyRequest;
use lanyard::proto::WhoAmIRequest;
use lanyard::proto::key_service_client::KeyServiceClient;
use lanyard::proto::list_changes_request::Registration;
use lanyard::proto::revoke_token_request::Target;
use tonic::Code;

use crate::support::calls::refusal;
use crate::support::leaf::Leaf;
use crate::support::mint::kid_of;
use crate::support::revocation::client;
use crate::support::revocation::of;
use crate::support::server::TestServer;
use crate::support::server::certificate_of;

const CHECKOUT: &str = "spiffe://prod.example/checkout";

async fn start() -> (TestServer, Leaf, Leaf) {
    let server = TestServer::start().await;
    let (auditor, revoker) = (server.svid("/auditor"), server.svid("/revoker"));
    (server, auditor, revoker)
}

fn wrong_role() -> (Code, String) {
    (Code::PermissionDenied, "WRONG_ROLE".to_owned())
}

#[tokio::test]
async fn an_auditor_sees_what_others_registered_and_revoked_and_a_workload_does_not() {
    let (server, auditor, _) = start().await;
    let checkout = server.workload("/checkout").await;
    let token = server.token(&checkout).await;
    server.revoke(Target::Jti("one".to_owned())).await;
    let mut registry = server.registry(&auditor);
    let listed = registry.list_clients(ListClientsRequest::default()).await.unwrap().into_inner();
    assert_eq!(listed.clients.iter().map(|client| client.client_id.as_str()).collect::<Vec<_>>(), [CHECKOUT]);
    let changes = ListChangesRequest { registration: Some(Registration::ClientId(CHECKOUT.to_owned())) };
    assert_eq!(registry.list_changes(changes.clone()).await.unwrap().into_inner().changes.len(), 1);
    let mut tokens = server.tokens(&auditor);
    let revoked = tokens.list_revocations(ListRevocationsRequest::default()).await.unwrap().into_inner();
    assert_eq!(revoked.revocations.len(), 1);
    let introspect = || IntrospectTokenRequest { token: token.clone(), ..IntrospectTokenRequest::default() };
    assert!(tokens.introspect_token(introspect()).await.unwrap().into_inner().active);

    let other = server.workload("/other").await;
    assert_eq!(refusal(server.registry(&other).list_changes(changes).await), wrong_role());
    let named = IntrospectTokenRequest { client_id: "spiffe://prod.example/other".to_owned(), ..introspect() };
    assert!(!server.tokens(&other).introspect_token(named).await.unwrap().into_inner().active);
}

#[tokio::test]
async fn an_auditor_revokes_nothing_that_is_not_its_own() {
    let (server, auditor, revoker) = start().await;
    server.workload("/checkout").await;
    let refused = server.revoke_as(&auditor, of(client(CHECKOUT))).await;
    assert_eq!(refusal(refused), (Code::PermissionDenied, "NOT_YOURS".to_owned()));
    server.revoke_as(&revoker, of(client(CHECKOUT))).await.unwrap();
}

#[tokio::test]
async fn a_revoker_revokes_tokens_clients_and_signing_keys_and_lifts_nothing() {
    let (server, _, revoker) = start().await;
    let checkout = server.workload("/checkout").await;
    let token = server.token(&checkout).await;
    let decision = async || server.validate(&token, certificate_of(&checkout)).await.unwrap().decision();
    assert_eq!(decision().await, Decision::Allow);
    server.revoke_as(&revoker, of(Target::Token(token.clone()))).await.unwrap();
    assert_eq!(decision().await, Decision::Deny);

    server.revoke_as(&revoker, of(client(CHECKOUT))).await.unwrap();
    let lift = || RevokeTokenRequest { lift: true, ..of(client(CHECKOUT)) };
    let refused = (Code::PermissionDenied, "ONLY_ADMINS_LIFT".to_owned());
    assert_eq!(refusal(server.revoke_as(&revoker, lift()).await), refused);
    assert!(
        server
            .server
            .authority()
            .view()
            .snapshot
            .revocations
            .has_client(&ClientId::parse(CHECKOUT).unwrap(), server.now())
    );
    server.revoke_as(&server.svid("/admin"), lift()).await.unwrap();

    let mut keys = KeyServiceClient::new(server.channel(&revoker));
    let kid = kid_of(&token);
    let listed = keys.list_signing_keys(ListSigningKeysRequest {}).await.unwrap().into_inner().keys;
    assert_eq!(listed.iter().map(|key| &*key.kid).collect::<Vec<_>>(), [&*kid]);
    let revoke = RevokeSigningKeyRequest { kid: kid.clone(), reason: "stolen".to_owned() };
    keys.revoke_signing_key(revoke).await.unwrap();
    assert_ne!(kid_of(&server.token(&checkout).await), kid);
    let rotated = keys.rotate_signing_key(RotateSigningKeyRequest {}).await;
    assert_eq!(refusal(rotated), wrong_role());
}

#[tokio::test]
async fn whoami_names_the_roles_of_operators() {
    let (server, auditor, revoker) = start().await;
    for (leaf, role) in [(&auditor, Role::Auditor), (&revoker, Role::Revoker), (&server.svid("/admin"), Role::Admin)] {
        let answer = server.tokens(leaf).who_am_i(WhoAmIRequest {}).await.unwrap().into_inner();
        assert_eq!(answer.roles().collect::<Vec<_>>(), [Role::Workload, role]);
    }
}
