//! `ListRevocations`.

use lanyard::proto::AssignedRole;
use lanyard::proto::ListRevocationsRequest;
use lanyard::proto::Revocation;
use lanyard::proto::RevocationKind;
use lanyard::proto::RevokeTokenRequest;
use lanyard::proto::revoke_token_request::Target;
use tonic::Code;

use crate::support::calls::refusal;
use crate::support::revocation::certificate;
use crate::support::revocation::client;
use crate::support::revocation::identities;
use crate::support::revocation::of;
use crate::support::revocation::trust_domain;
use crate::support::server::TestServer;

const ADMIN: &str = "spiffe://prod.example/admin";

/// All revocations of these kinds, by pages of this size.
async fn listed(server: &TestServer, kinds: &[RevocationKind], page_size: i32) -> Vec<Revocation> {
    let mut tokens = server.tokens(&server.svid("/admin"));
    let kinds: Vec<i32> = kinds.iter().map(|kind| i32::from(*kind)).collect();
    let (mut all, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListRevocationsRequest { page_size, page_token, kinds: kinds.clone() };
        let page = tokens.list_revocations(request).await.unwrap().into_inner();
        assert!(page_size == 0 || page.revocations.len() <= usize::try_from(page_size).unwrap());
        all.extend(page.revocations);
        if page.next_page_token.is_empty() {
            return all;
        }
        page_token = page.next_page_token;
    }
}

#[tokio::test]
async fn each_revocation_is_listed_once_by_kind_and_name_in_pages_of_any_size() {
    let server = TestServer::start().await;
    let leaf = server.workload("/checkout").await;
    let until = Some(prost_types::Timestamp { seconds: i64::try_from(server.now().0 + 60).unwrap(), nanos: 0 });
    let timed = RevokeTokenRequest { until, ..of(client("b")) };
    server.revoke_as(&server.svid("/admin"), timed).await.unwrap();
    for target in [
        Target::Role(AssignedRole::Proxy.into()),
        trust_domain("other.example"),
        identities("spiffe://prod.example/ns/shop/*"),
        identities("spiffe://prod.example/ns/a/*"),
        Target::IssuedToClientId("c".to_owned()),
        certificate(&leaf),
        client("spiffe://prod.example/z"),
        client("a"),
        Target::Jti("t/2".to_owned()),
        Target::Jti("t/1".to_owned()),
    ] {
        server.revoke(target).await;
    }
    server.lift(client("a")).await;
    let all = listed(&server, &[], 0).await;
    let names: Vec<_> = all.iter().map(|one| (one.kind(), one.name.as_str())).collect();
    let thumbprint = leaf.thumbprint().to_string();
    let expected = [
        (RevocationKind::Token, "t/1"),
        (RevocationKind::Token, "t/2"),
        (RevocationKind::Client, "a"),
        (RevocationKind::Client, "b"),
        (RevocationKind::Client, "spiffe://prod.example/z"),
        (RevocationKind::Certificate, &thumbprint),
        (RevocationKind::Issued, "c"),
        (RevocationKind::Identity, "spiffe://prod.example/ns/a/*"),
        (RevocationKind::Identity, "spiffe://prod.example/ns/shop/*"),
        (RevocationKind::TrustDomain, "other.example"),
        (RevocationKind::Role, "proxy"),
    ];
    assert_eq!(names, expected);
    assert!(all.iter().all(|one| one.revoked_by == ADMIN && one.revoke_time.is_some()));
    let (lifted, timed) = (&all[2], &all[3]);
    assert!(!lifted.in_effect && lifted.lifted_by == ADMIN && lifted.lift_time.is_some() && lifted.until.is_none());
    assert!(timed.in_effect && timed.until == until && timed.lift_time.is_none());
    for page_size in [1, 2, 3, 10, 11, 12, 2000] {
        assert_eq!(listed(&server, &[], page_size).await, all, "{page_size}");
    }
    for page_size in [0, 1] {
        let some = listed(&server, &[RevocationKind::Role, RevocationKind::Client], page_size).await;
        assert_eq!(some, [&all[2..5], &all[10..]].concat());
    }
}

#[tokio::test]
async fn only_an_admin_lists_revocations_and_only_what_can_be_read() {
    let server = TestServer::start().await;
    for leaf in [server.workload("/checkout").await, server.svid("/proxy")] {
        let refused = server.tokens(&leaf).list_revocations(ListRevocationsRequest::default()).await;
        assert_eq!(refusal(refused), (Code::PermissionDenied, "WRONG_ROLE".to_owned()));
    }
    let list = async |request| server.tokens(&server.svid("/admin")).list_revocations(request).await;
    let default = ListRevocationsRequest::default;
    for (request, reason) in [
        (ListRevocationsRequest { page_size: -1, ..default() }, "INVALID_REQUEST"),
        (ListRevocationsRequest { kinds: vec![0], ..default() }, "INVALID_REQUEST"),
        (ListRevocationsRequest { kinds: vec![1, 99], ..default() }, "INVALID_REQUEST"),
        (ListRevocationsRequest { page_token: "?".to_owned(), ..default() }, "INVALID_PAGE_TOKEN"),
        (ListRevocationsRequest { page_token: "YQ".to_owned(), ..default() }, "INVALID_PAGE_TOKEN"),
    ] {
        assert_eq!(refusal(list(request).await), (Code::InvalidArgument, reason.to_owned()));
    }
    assert_eq!(list(default()).await.unwrap().into_inner().revocations, []);
}
