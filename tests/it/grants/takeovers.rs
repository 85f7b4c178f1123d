//! What a team's admin tries with what is not its team's, and with grants themselves.

use lanyard::proto::Client;
use lanyard::proto::DeleteClientRequest;
use lanyard::proto::DeleteGrantRequest;
use lanyard::proto::DeleteProtectedResourceRequest;
use lanyard::proto::EnableFeatureRequest;
use lanyard::proto::ExportStoreRequest;
use lanyard::proto::ForgetResourceRequest;
use lanyard::proto::Grant;
use lanyard::proto::ListFeaturesRequest;
use lanyard::proto::ListRevocationsRequest;
use lanyard::proto::ListSigningKeysRequest;
use lanyard::proto::ProtectedResource;
use lanyard::proto::RotateSigningKeyRequest;
use lanyard::proto::UpdateClientRequest;
use lanyard::proto::UpdateGrantRequest;
use lanyard::proto::admin_service_client::AdminServiceClient;
use lanyard::proto::key_service_client::KeyServiceClient;
use prost_types::FieldMask;
use tonic::Code;

use super::support::BILLING_ADMIN;
use super::support::SHOP_ADMIN;
use super::support::beyond;
use super::support::by_shop;
use super::support::create;
use super::support::create_grant;
use super::support::create_resource;
use super::support::grant_of;
use super::support::shop_client;
use super::support::shop_resource;
use super::support::update;
use super::support::update_resource;
use super::support::with_grants;
use crate::support::calls::refusal;
use crate::support::leaf::Leaf;
use crate::support::revocation::client as revoked_client;
use crate::support::revocation::of;
use crate::support::server::TestServer;

fn billing_client() -> Client {
    Client {
        client_id: "invoices".to_owned(),
        spiffe_id: "spiffe://prod.example/ns/billing/sa/invoices".to_owned(),
        owner: "team-billing".to_owned(),
        ..shop_client()
    }
}

fn billing_resource() -> ProtectedResource {
    ProtectedResource {
        audience: "https://billing.internal/invoices".to_owned(),
        owner: "team-billing".to_owned(),
        authorities: vec!["invoices.billing.internal".to_owned()],
        destination_principals: Vec::new(),
        ..shop_resource()
    }
}

async fn delete(server: &TestServer, leaf: &Leaf, client_id: &str, etag: &str) -> Result<(), tonic::Status> {
    let request = DeleteClientRequest {
        client_id: client_id.to_owned(),
        etag: etag.to_owned(),
        ..DeleteClientRequest::default()
    };
    server.registry(leaf).delete_client(request).await.map(drop)
}

async fn delete_resource(server: &TestServer, leaf: &Leaf, audience: &str) -> Result<(), tonic::Status> {
    let request =
        DeleteProtectedResourceRequest { audience: audience.to_owned(), ..DeleteProtectedResourceRequest::default() };
    server.registry(leaf).delete_protected_resource(request).await.map(drop)
}

#[tokio::test]
async fn another_teams_client_is_not_taken_over_changed_or_deleted() {
    let server = with_grants().await;
    let [team, billing] = [SHOP_ADMIN, BILLING_ADMIN].map(|path| server.svid(path));
    let present = create(&server, &billing, billing_client()).await.unwrap();
    // It would be the team's own client afterwards.
    let taken = Client { client_id: "invoices".to_owned(), etag: present.etag.clone(), ..shop_client() };
    assert_eq!(beyond(update(&server, &team, taken.clone()).await), by_shop("spiffe_id"));
    let masked = UpdateClientRequest {
        client: Some(taken),
        update_mask: Some(FieldMask { paths: vec!["scope".to_owned()] }),
        ..UpdateClientRequest::default()
    };
    assert_eq!(beyond(server.registry(&team).update_client(masked).await), by_shop("spiffe_id"));
    assert_eq!(beyond(delete(&server, &team, "invoices", &present.etag).await), by_shop("spiffe_id"));
    assert_eq!(beyond(delete(&server, &team, "invoices", "").await), by_shop("spiffe_id"));
    // A new one for its identity is beyond the grant, and one of its name for another is refused by the name.
    let same_identity =
        Client { client_id: "checkout".to_owned(), spiffe_id: present.spiffe_id.clone(), ..shop_client() };
    assert_eq!(beyond(create(&server, &team, same_identity).await), by_shop("spiffe_id"));
    let same_name = Client { client_id: "invoices".to_owned(), ..shop_client() };
    assert_eq!(refusal(create(&server, &team, same_name).await), (Code::AlreadyExists, "CLIENT_EXISTS".to_owned()));

    let changed = Client { scope: "orders.write".to_owned(), ..present };
    let changed = update(&server, &billing, changed).await.unwrap();
    delete(&server, &billing, "invoices", &changed.etag).await.unwrap();
}

#[tokio::test]
async fn what_an_admin_made_of_a_teams_client_is_not_undone_and_nothing_is_handed_over() {
    let server = with_grants().await;
    let (team, admin) = (server.svid(SHOP_ADMIN), server.svid("/admin"));
    let present = create(&server, &team, shop_client()).await.unwrap();
    let given_away = Client { owner: "team-billing".to_owned(), ..present.clone() };
    assert_eq!(beyond(update(&server, &team, given_away).await), by_shop("owner"));
    let more = Client { scope: "orders.read orders.admin".to_owned(), ..present.clone() };
    let more = update(&server, &admin, more).await.unwrap();
    let back = Client { scope: "orders.read".to_owned(), ..more.clone() };
    assert_eq!(beyond(update(&server, &team, back.clone()).await), by_shop("scope"));
    assert_eq!(beyond(delete(&server, &team, "checkout", &more.etag).await), by_shop("scope"));
    let back = update(&server, &admin, back).await.unwrap();
    // It lies within the grant again, but what it was does not.
    let again = Client { scope: "orders.read orders.admin".to_owned(), ..back.clone() };
    assert_eq!(beyond(update(&server, &team, again).await), by_shop("scope"));
    delete(&server, &team, "checkout", &back.etag).await.unwrap();
}

#[tokio::test]
async fn another_teams_resource_is_not_taken_over_changed_or_deleted() {
    let server = with_grants().await;
    let [team, billing] = [SHOP_ADMIN, BILLING_ADMIN].map(|path| server.svid(path));
    let present = create_resource(&server, &billing, billing_resource()).await.unwrap();
    let changed = ProtectedResource { owner: "team-shop".to_owned(), ..present.clone() };
    assert_eq!(beyond(update_resource(&server, &team, changed).await), by_shop("audience"));
    assert_eq!(beyond(delete_resource(&server, &team, &present.audience).await), by_shop("audience"));
    // A resource of its own does not get the other's host either.
    let same_host = ProtectedResource { authorities: present.authorities.clone(), ..shop_resource() };
    assert_eq!(beyond(create_resource(&server, &team, same_host).await), by_shop("authorities"));
    let changed = ProtectedResource { mode: "report".to_owned(), ..present.clone() };
    update_resource(&server, &billing, changed).await.unwrap();
    delete_resource(&server, &billing, &present.audience).await.unwrap();
}

#[tokio::test]
async fn a_teams_admin_changes_no_grants_and_holds_no_other_role() {
    let server = with_grants().await;
    let (team, admin) = (server.svid(SHOP_ADMIN), server.svid("/admin"));
    let wrong_role = || (Code::PermissionDenied, "WRONG_ROLE".to_owned());
    let own = server.registry(&team).get_grant(lanyard::proto::GetGrantRequest { name: "shop".to_owned() }).await;
    let own = own.unwrap().into_inner();
    let wider = Grant { scope: "orders.read orders.write orders.admin".to_owned(), ..own.clone() };
    let request = UpdateGrantRequest { grant: Some(wider.clone()), ..UpdateGrantRequest::default() };
    assert_eq!(refusal(server.registry(&team).update_grant(request.clone()).await), wrong_role());
    let another = Grant { admins: own.admins.clone(), ..grant_of("other") };
    assert_eq!(refusal(create_grant(&server, &team, another.clone()).await), wrong_role());
    let deletion = |name: &str| DeleteGrantRequest { name: name.to_owned(), ..DeleteGrantRequest::default() };
    assert_eq!(refusal(server.registry(&team).delete_grant(deletion("shop")).await), wrong_role());
    create_resource(&server, &team, shop_resource()).await.unwrap();
    delete_resource(&server, &team, &shop_resource().audience).await.unwrap();
    let forget = || ForgetResourceRequest { audience: shop_resource().audience };
    assert_eq!(refusal(server.registry(&team).forget_resource(forget()).await), wrong_role());
    let mut tokens = server.tokens(&team);
    assert_eq!(refusal(tokens.list_revocations(ListRevocationsRequest::default()).await), wrong_role());
    create(&server, &team, shop_client()).await.unwrap();
    let revoked = server.revoke_as(&team, of(revoked_client("checkout"))).await;
    assert!(revoked.is_err(), "{revoked:?}");
    let mut keys = KeyServiceClient::new(server.channel(&team));
    assert_eq!(refusal(keys.list_signing_keys(ListSigningKeysRequest {}).await), wrong_role());
    assert_eq!(refusal(keys.rotate_signing_key(RotateSigningKeyRequest {}).await), wrong_role());
    let mut whole = AdminServiceClient::new(server.channel(&team));
    assert_eq!(refusal(whole.export_store(ExportStoreRequest {}).await.map(drop)), wrong_role());
    assert_eq!(refusal(whole.list_features(ListFeaturesRequest {}).await), wrong_role());
    let feature = EnableFeatureRequest { name: "team-grants".to_owned() };
    assert_eq!(refusal(whole.enable_feature(feature).await), wrong_role());

    server.registry(&admin).update_grant(request).await.unwrap();
    create_grant(&server, &admin, another).await.unwrap();
    server.registry(&admin).forget_resource(forget()).await.unwrap();
    server.registry(&admin).delete_grant(deletion("shop")).await.unwrap();
}

#[tokio::test]
async fn a_grant_counts_as_it_is_now_and_members_of_two_grants_are_not_put_together() {
    let server = with_grants().await;
    let (team, admin) = (server.svid(SHOP_ADMIN), server.svid("/admin"));
    let second = Grant {
        scope: "stock.read".to_owned(),
        spiffe_ids: vec!["spiffe://prod.example/ns/stock/*".to_owned()],
        admins: grant_of("shop").admins,
        ..grant_of("stock")
    };
    let second = create_grant(&server, &admin, second).await.unwrap();
    let stock = Client {
        client_id: "stock".to_owned(),
        spiffe_id: "spiffe://prod.example/ns/stock/sa/a".to_owned(),
        scope: "stock.read".to_owned(),
        owner: "team-stock".to_owned(),
        ..shop_client()
    };
    let both = Client { scope: "stock.read orders.read".to_owned(), ..stock.clone() };
    assert_eq!(beyond(create(&server, &team, both).await), ("stock".to_owned(), "scope".to_owned()));
    let present = create(&server, &team, stock).await.unwrap();
    // It may be moved from one of its grants to the other, as a whole.
    let moved = Client { client_id: "stock".to_owned(), etag: present.etag.clone(), ..shop_client() };
    let present = update(&server, &team, moved).await.unwrap();

    let narrower = Grant { scope: String::new(), ..second };
    let request = UpdateGrantRequest { grant: Some(narrower), ..UpdateGrantRequest::default() };
    server.registry(&admin).update_grant(request).await.unwrap();
    let back = Client {
        spiffe_id: "spiffe://prod.example/ns/stock/sa/a".to_owned(),
        scope: "stock.read".to_owned(),
        owner: "team-stock".to_owned(),
        ..present
    };
    assert_eq!(beyond(update(&server, &team, back).await), ("stock".to_owned(), "scope".to_owned()));
    for name in ["shop", "stock"] {
        let deletion = DeleteGrantRequest { name: name.to_owned(), ..DeleteGrantRequest::default() };
        server.registry(&admin).delete_grant(deletion).await.unwrap();
    }
    let refused = delete(&server, &team, "stock", "").await;
    assert_eq!(refusal(refused), (Code::PermissionDenied, "WRONG_ROLE".to_owned()));
}

#[tokio::test]
async fn what_reaches_beyond_a_registration_of_its_own_is_no_teams_to_set() {
    let server = with_grants().await;
    let shop = server.svid(SHOP_ADMIN);
    for rotation in ["identity", "lineage"] {
        let client = Client { rotation: rotation.to_owned(), ..shop_client() };
        assert_eq!(beyond(create(&server, &shop, client).await), by_shop("rotation"), "{rotation}");
    }
    // A pattern that is disabled would disable what others registered below it.
    let pattern = |disabled| Client {
        client_id: "all-of-the-shop".to_owned(),
        spiffe_id: "spiffe://prod.example/ns/shop/*".to_owned(),
        disabled,
        ..shop_client()
    };
    assert_eq!(beyond(create(&server, &shop, pattern(true)).await), by_shop("disabled"));
    create(&server, &shop, pattern(false)).await.unwrap();
    let strict = Client { rotation: "strict".to_owned(), disabled: true, ..shop_client() };
    create(&server, &shop, strict).await.unwrap();
}
