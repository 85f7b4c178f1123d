//! `RegistryService` over real TLS: registrations, their changes, and who made them.

use std::time::Duration;

use lanyard::proto::Client;
use lanyard::proto::CreateClientRequest;
use lanyard::proto::DeleteClientRequest;
use lanyard::proto::GetClientRequest;
use lanyard::proto::ListClientsRequest;
use lanyard::proto::UpdateClientRequest;
use lanyard::proto::registry_service_client::RegistryServiceClient;
use prost_types::FieldMask;
use prost_types::Timestamp;
use tonic::Code;
use tonic::Response;
use tonic::Status;
use tonic::transport::Channel;

use crate::support::NOW;
use crate::support::ca::self_signed;
use crate::support::calls::pki_client;
use crate::support::calls::refusal;
use crate::support::calls::self_signed_client;
use crate::support::calls::spiffe_uri_client;
use crate::support::server::ORDERS;
use crate::support::server::Setup;
use crate::support::server::TestServer;
use crate::support::server::spiffe_client;

const CHECKOUT: &str = "spiffe://prod.example/checkout";
const ADMIN: &str = "spiffe://prod.example/admin";

/// An admin at work, on one connection.
struct Admin(RegistryServiceClient<Channel>);

impl Admin {
    async fn create(&mut self, client: Client, validate_only: bool) -> Result<Client, Status> {
        let request = CreateClientRequest { client: Some(client), validate_only, ..Default::default() };
        self.0.create_client(request).await.map(Response::into_inner)
    }

    async fn read(&mut self, client_id: &str) -> Result<Client, Status> {
        let request = GetClientRequest { client_id: client_id.to_owned() };
        self.0.get_client(request).await.map(Response::into_inner)
    }

    async fn update(&mut self, client: Client, fields: &[&str]) -> Result<Client, Status> {
        let paths = fields.iter().map(|field| (*field).to_owned()).collect();
        let update_mask = (!fields.is_empty()).then_some(FieldMask { paths });
        let request = UpdateClientRequest { client: Some(client), update_mask, ..Default::default() };
        self.0.update_client(request).await.map(Response::into_inner)
    }

    async fn delete(&mut self, client_id: &str, etag: &str) -> Result<(), Status> {
        let request =
            DeleteClientRequest { client_id: client_id.to_owned(), etag: etag.to_owned(), ..Default::default() };
        self.0.delete_client(request).await.map(drop)
    }

    async fn page(&mut self, page_size: i32, page_token: &str) -> Result<(Vec<String>, String), Status> {
        let request = ListClientsRequest { page_size, page_token: page_token.to_owned() };
        let page = self.0.list_clients(request).await?.into_inner();
        Ok((page.clients.into_iter().map(|client| client.client_id).collect(), page.next_page_token))
    }
}

async fn started() -> (TestServer, Admin) {
    let server = TestServer::start().await;
    let admin = Admin(server.registry(&server.svid("/admin")));
    (server, admin)
}

#[expect(clippy::unnecessary_wraps, reason = "this is what a message takes")]
fn at(seconds: u64) -> Option<Timestamp> {
    Some(Timestamp { seconds: i64::try_from(seconds).unwrap(), nanos: 0 })
}

fn refused(code: Code, reason: &str) -> (Code, String) {
    (code, reason.to_owned())
}

#[tokio::test]
async fn a_registration_is_returned_with_its_defaults_and_who_made_it_when() {
    let (_server, mut admin) = started().await;
    let asked = Client {
        owner: "team-shop".to_owned(),
        // What only the server says is not taken from a request.
        etag: "77".to_owned(),
        created_by: "somebody else".to_owned(),
        create_time: at(1),
        ..spiffe_client(CHECKOUT)
    };
    let created = admin.create(asked, false).await.unwrap();
    let expected = Client {
        spiffe_id: CHECKOUT.to_owned(),
        grant_types: vec!["client_credentials".to_owned()],
        tls_client_certificate_bound_access_tokens: Some(true),
        access_token_ttl: Some(prost_types::Duration { seconds: 300, nanos: 0 }),
        rotation: "strict".to_owned(),
        owner: "team-shop".to_owned(),
        etag: created.etag.clone(),
        create_time: at(NOW.0),
        update_time: at(NOW.0),
        created_by: ADMIN.to_owned(),
        updated_by: ADMIN.to_owned(),
        ..spiffe_client(CHECKOUT)
    };
    assert_eq!(created, expected);
    assert!(!created.etag.is_empty() && created.etag != "77");
    assert_eq!(admin.read(CHECKOUT).await.unwrap(), created);
    let request = ListClientsRequest::default();
    assert_eq!(admin.0.list_clients(request).await.unwrap().into_inner().clients, [created]);
}

#[tokio::test]
async fn an_update_keeps_who_registered_the_client_and_says_who_changed_it() {
    let mut setup = Setup::default();
    setup.roles = setup.roles.replace("admins: [", "admins: [{spiffe_id: spiffe://prod.example/other-admin}, ");
    setup.write();
    let server = setup.start().await.unwrap();
    let mut admin = Admin(server.registry(&server.svid("/admin")));
    let created = admin.create(spiffe_client(CHECKOUT), false).await.unwrap();
    server.advance(Duration::from_secs(10));
    let mut other = Admin(server.registry(&server.svid("/other-admin")));
    let changed = Client { owner: "team-shop".to_owned(), ..created.clone() };
    let updated = other.update(changed.clone(), &[]).await.unwrap();
    let expected = Client {
        etag: updated.etag.clone(),
        update_time: at(NOW.0 + 10),
        updated_by: "spiffe://prod.example/other-admin".to_owned(),
        ..changed
    };
    assert_eq!(updated, expected);
    assert_ne!(updated.etag, created.etag);
    assert_eq!(admin.read(CHECKOUT).await.unwrap(), updated);
}

#[tokio::test]
async fn an_update_without_a_mask_replaces_what_it_leaves_out() {
    let (_server, mut admin) = started().await;
    let first = Client {
        owner: "team-shop".to_owned(),
        access_token_ttl: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
        disabled: true,
        ..spiffe_client(CHECKOUT)
    };
    let created = admin.create(first, false).await.unwrap();
    let updated = admin.update(Client { etag: created.etag, ..spiffe_client(CHECKOUT) }, &[]).await.unwrap();
    assert_eq!((updated.owner.as_str(), updated.disabled), ("", false));
    assert_eq!(updated.access_token_ttl.unwrap().seconds, 300);
}

#[tokio::test]
async fn an_update_that_changes_nothing_keeps_the_etag_and_the_time() {
    let (server, mut admin) = started().await;
    let created = admin.create(spiffe_client(CHECKOUT), false).await.unwrap();
    server.advance(Duration::from_secs(10));
    assert_eq!(admin.update(created.clone(), &[]).await.unwrap(), created);
    let same_defaults = Client { etag: created.etag.clone(), ..spiffe_client(CHECKOUT) };
    assert_eq!(admin.update(same_defaults, &[]).await.unwrap(), created);
    assert_eq!(admin.update(created.clone(), &["scope", "owner"]).await.unwrap(), created);
}

#[tokio::test]
async fn a_mask_takes_the_named_fields_and_no_others() {
    let (_server, mut admin) = started().await;
    let first = Client { owner: "team-shop".to_owned(), ..spiffe_client(CHECKOUT) };
    let created = admin.create(first, false).await.unwrap();
    let wanted = Client {
        client_id: CHECKOUT.to_owned(),
        scope: "orders.read".to_owned(),
        owner: "somebody else".to_owned(),
        disabled: true,
        etag: created.etag.clone(),
        ..Client::default()
    };
    let updated = admin.update(wanted.clone(), &["scope"]).await.unwrap();
    let expected = Client { scope: "orders.read".to_owned(), etag: updated.etag.clone(), ..created };
    assert_eq!(updated, expected);
    let wanted = Client { etag: updated.etag, ..wanted };
    for mask in ["client_id", "etag", "create_time", "created_by", "Scope", "scope.x", "*", ""] {
        let outcome = admin.update(wanted.clone(), &["disabled", mask]).await;
        assert_eq!(refusal(outcome), refused(Code::InvalidArgument, "INVALID_REQUEST"), "{mask:?}");
    }
    assert!(!admin.read(CHECKOUT).await.unwrap().disabled);
}

#[tokio::test]
async fn a_mask_can_move_a_client_to_another_method_if_it_names_all_that_goes_with_it() {
    let (_server, mut admin) = started().await;
    let pem = self_signed("ci").issue().pem();
    let created = admin.create(self_signed_client("ci", &pem), false).await.unwrap();
    let by_dns = Client {
        tls_client_auth_san_dns: "ci.corp.example".to_owned(),
        etag: created.etag.clone(),
        ..pki_client("ci")
    };
    let method = "token_endpoint_auth_method";
    let half = admin.update(by_dns.clone(), &[method, "tls_client_auth_san_dns", "client_ca"]).await;
    assert_eq!(refusal(half), refused(Code::InvalidArgument, "INVALID_CLIENT_METADATA"));
    let moved = admin.update(by_dns, &[method, "tls_client_auth_san_dns", "client_ca", "jwks"]).await.unwrap();
    assert_eq!((moved.jwks.as_str(), moved.tls_client_auth_san_dns.as_str()), ("", "ci.corp.example"));
}

#[tokio::test]
async fn certificates_in_pem_are_kept_as_jwks_and_replaced_by_new_ones() {
    let (_server, mut admin) = started().await;
    let created = admin.create(self_signed_client("ci", &self_signed("ci").issue().pem()), false).await.unwrap();
    assert_eq!(created.certificate_pem, "");
    assert!(created.jwks.contains("x5c"));
    let wanted = Client { certificate_pem: self_signed("ci").issue().pem(), ..created.clone() };
    let renewed = admin.update(wanted, &["certificate_pem"]).await.unwrap();
    assert_ne!(renewed.jwks, created.jwks);
    assert_eq!(renewed.certificate_pem, "");
}

#[tokio::test]
async fn a_change_must_be_made_from_the_present_state() {
    let (_server, mut admin) = started().await;
    let created = admin.create(spiffe_client(CHECKOUT), false).await.unwrap();
    let change =
        |etag: &str, owner: &str| Client { owner: owner.to_owned(), etag: etag.to_owned(), ..spiffe_client(CHECKOUT) };
    let present = admin.update(change(&created.etag, "first"), &[]).await.unwrap();
    let stale = refused(Code::Aborted, "ETAG_MISMATCH");
    assert_eq!(refusal(admin.update(change(&created.etag, "second"), &[]).await), stale);
    assert_eq!(refusal(admin.update(change(&created.etag, "second"), &["owner"]).await), stale);
    // Nor one that would change nothing.
    assert_eq!(refusal(admin.update(change(&created.etag, "first"), &[]).await), stale);
    assert_eq!(refusal(admin.delete(CHECKOUT, &created.etag).await), stale);
    let missing = refused(Code::InvalidArgument, "ETAG_MISSING");
    let odd = [format!("0{}", present.etag), format!("+{}", present.etag), format!(" {}", present.etag)];
    for malformed in odd.iter().map(String::as_str).chain(["x", "-1", "99999999999999999999", "*"]) {
        assert_eq!(refusal(admin.update(change(malformed, "second"), &[]).await), missing, "{malformed:?}");
        assert_eq!(refusal(admin.delete(CHECKOUT, malformed).await), missing, "{malformed:?}");
    }
    assert_eq!(refusal(admin.update(change("", "second"), &[]).await), missing);
    assert_eq!(admin.read(CHECKOUT).await.unwrap(), present);
    admin.delete(CHECKOUT, &present.etag).await.unwrap();
}

#[tokio::test]
async fn a_deleted_client_is_not_there_any_more() {
    let (_server, mut admin) = started().await;
    let created = admin.create(spiffe_client(CHECKOUT), false).await.unwrap();
    admin.delete(CHECKOUT, "").await.unwrap();
    let gone = refused(Code::NotFound, "CLIENT_NOT_FOUND");
    assert_eq!(refusal(admin.read(CHECKOUT).await), gone);
    assert_eq!(refusal(admin.delete(CHECKOUT, "").await), gone);
    assert_eq!(refusal(admin.update(created.clone(), &[]).await), gone);
    assert_eq!(refusal(admin.update(created.clone(), &["scope"]).await), gone);
    assert_eq!(admin.page(0, "").await.unwrap(), (vec![], String::new()));
    let again = admin.create(spiffe_client(CHECKOUT), false).await.unwrap();
    assert_ne!(again.etag, created.etag);
    assert_eq!(refusal(admin.update(created, &[]).await), refused(Code::Aborted, "ETAG_MISMATCH"));
}

#[tokio::test]
async fn of_changes_made_at_once_from_the_same_state_one_is_taken() {
    let (_server, mut admin) = started().await;
    let created = admin.create(spiffe_client(CHECKOUT), false).await.unwrap();
    let mut changes = tokio::task::JoinSet::new();
    for number in 0..16 {
        let mut admin = Admin(admin.0.clone());
        let change = Client { owner: number.to_string(), ..created.clone() };
        let new = spiffe_client("spiffe://prod.example/new");
        changes.spawn(async move { (admin.update(change, &[]).await, admin.create(new, false).await) });
    }
    let (updates, creations): (Vec<_>, Vec<_>) = changes.join_all().await.into_iter().unzip();
    for (outcomes, lost) in
        [(updates, refused(Code::Aborted, "ETAG_MISMATCH")), (creations, refused(Code::AlreadyExists, "CLIENT_EXISTS"))]
    {
        let (taken, others): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
        assert_eq!(taken.len(), 1);
        for outcome in others {
            assert_eq!(refusal(outcome), lost);
        }
    }
}

#[tokio::test]
async fn a_list_comes_in_pages_in_the_order_of_the_names() {
    let (_server, mut admin) = started().await;
    for name in ["e", "b", "d", "a", "c", "f"] {
        let client = Client { tls_client_auth_san_dns: format!("{name}.corp.example"), ..pki_client(name) };
        admin.create(client, false).await.unwrap();
    }
    for (size, pages) in [(2, vec![2, 2, 2]), (4, vec![4, 2]), (5, vec![5, 1]), (6, vec![6]), (i32::MAX, vec![6])] {
        let (mut names, mut sizes, mut token) = (Vec::new(), Vec::new(), String::new());
        loop {
            let (page, next) = admin.page(size, &token).await.unwrap();
            sizes.push(page.len());
            names.extend(page);
            if next.is_empty() {
                break;
            }
            token = next;
        }
        assert_eq!((names.concat().as_str(), sizes), ("abcdef", pages));
    }
    // What is deleted between two pages is missed, and nothing else.
    let (_, token) = admin.page(2, "").await.unwrap();
    admin.delete("b", "").await.unwrap();
    admin.delete("c", "").await.unwrap();
    assert_eq!(admin.page(2, &token).await.unwrap().0, ["d", "e"]);
}

#[tokio::test]
async fn a_page_that_cannot_be_meant_is_refused() {
    let (_server, mut admin) = started().await;
    admin.create(spiffe_client(CHECKOUT), false).await.unwrap();
    assert_eq!(refusal(admin.page(-1, "").await), refused(Code::InvalidArgument, "INVALID_REQUEST"));
    for token in ["garbage!", "a", "YQ==", "_w", "YR", " ", "ü"] {
        let outcome = admin.page(1, token).await;
        assert_eq!(refusal(outcome), refused(Code::InvalidArgument, "INVALID_PAGE_TOKEN"), "{token:?}");
    }
}

#[tokio::test]
async fn a_check_stores_nothing_and_refuses_what_would_not_be_stored() {
    let (_server, mut admin) = started().await;
    let checked = admin.create(spiffe_client(CHECKOUT), true).await.unwrap();
    assert_eq!((checked.spiffe_id.as_str(), checked.created_by.as_str()), (CHECKOUT, ADMIN));
    assert_eq!(refusal(admin.read(CHECKOUT).await), refused(Code::NotFound, "CLIENT_NOT_FOUND"));

    let created = admin.create(spiffe_client(CHECKOUT), false).await.unwrap();
    assert_eq!(
        refusal(admin.create(spiffe_client(CHECKOUT), true).await),
        refused(Code::AlreadyExists, "CLIENT_EXISTS")
    );
    let other = Client { client_id: "other".to_owned(), spiffe_id: CHECKOUT.to_owned(), ..spiffe_client("") };
    assert_eq!(refusal(admin.create(other, true).await), refused(Code::AlreadyExists, "IDENTITY_TAKEN"));

    let check =
        |client: Client| UpdateClientRequest { client: Some(client), validate_only: true, ..Default::default() };
    let changed = Client { owner: "team-shop".to_owned(), ..created.clone() };
    let checked = admin.0.update_client(check(changed.clone())).await.unwrap().into_inner();
    assert_eq!(checked, changed);
    assert_eq!(admin.read(CHECKOUT).await.unwrap(), created);
    let stale = admin.0.update_client(check(Client { etag: "999".to_owned(), ..changed })).await;
    assert_eq!(refusal(stale), refused(Code::Aborted, "ETAG_MISMATCH"));

    let large = Client { owner: "x".repeat(70 * 1024), ..spiffe_client("spiffe://prod.example/large") };
    let too_large = refused(Code::InvalidArgument, "REGISTRATION_TOO_LARGE");
    assert_eq!(refusal(admin.create(large.clone(), true).await), too_large);
    let large = Client { owner: large.owner, ..created };
    assert_eq!(refusal(admin.0.update_client(check(large)).await), too_large);
}

#[tokio::test]
async fn a_registration_too_large_for_the_store_is_refused_and_leaves_the_old_one() {
    let (_server, mut admin) = started().await;
    let created = admin.create(spiffe_client(CHECKOUT), false).await.unwrap();
    let large = |client: Client| Client { owner: "x".repeat(70 * 1024), ..client };
    let too_large = refused(Code::InvalidArgument, "REGISTRATION_TOO_LARGE");
    assert_eq!(refusal(admin.update(large(created.clone()), &[]).await), too_large);
    assert_eq!(refusal(admin.create(large(spiffe_client("spiffe://prod.example/large")), false).await), too_large);
    let larger = Client { owner: "x".repeat(300 * 1024), ..created.clone() };
    assert_eq!(admin.update(larger, &[]).await.unwrap_err().code(), Code::OutOfRange);
    assert_eq!(admin.read(CHECKOUT).await.unwrap(), created);
}

#[tokio::test]
async fn one_spiffe_id_or_pattern_is_one_clients() {
    let (_server, mut admin) = started().await;
    let taken = refused(Code::AlreadyExists, "IDENTITY_TAKEN");
    let named =
        |name: &str, id: &str| Client { client_id: name.to_owned(), spiffe_id: id.to_owned(), ..spiffe_client("") };
    let by_uri = spiffe_uri_client(CHECKOUT, CHECKOUT);
    let first = admin.create(named("first", CHECKOUT), false).await.unwrap();
    let pattern = "spiffe://prod.example/ns/shop/*";
    admin.create(named("shop", pattern), false).await.unwrap();
    assert_eq!(refusal(admin.create(named("second", CHECKOUT), false).await), taken);
    assert_eq!(refusal(admin.create(spiffe_client(CHECKOUT), false).await), taken);
    assert_eq!(refusal(admin.create(by_uri, false).await), taken);
    assert_eq!(refusal(admin.create(named("shop-2", pattern), false).await), taken);
    // Narrower and wider ones are others.
    admin.create(named("cart", "spiffe://prod.example/ns/shop/cart"), false).await.unwrap();
    let wide = admin.create(named("all", "spiffe://prod.example/ns/*"), false).await.unwrap();
    let onto = Client { spiffe_id: pattern.to_owned(), ..wide };
    assert_eq!(refusal(admin.update(onto, &[]).await), taken);
    // An identity that was given up is free.
    admin.update(Client { spiffe_id: "spiffe://prod.example/else".to_owned(), ..first }, &[]).await.unwrap();
    admin.create(named("second", CHECKOUT), false).await.unwrap();
    admin.delete("second", "").await.unwrap();
    admin.create(spiffe_client(CHECKOUT), false).await.unwrap();
}

#[tokio::test]
async fn a_request_without_a_client_is_refused_by_the_fields_name() {
    let (_server, mut admin) = started().await;
    let created = admin.0.create_client(CreateClientRequest::default()).await;
    assert_eq!(crate::support::calls::refused_field(created), "client");
    let updated = admin.0.update_client(UpdateClientRequest::default()).await;
    assert_eq!(crate::support::calls::refused_field(updated), "client");
    let gone = refused(Code::NotFound, "CLIENT_NOT_FOUND");
    assert_eq!(refusal(admin.read("").await), gone);
    assert_eq!(refusal(admin.delete("", "").await), gone);
    assert_eq!(refusal(admin.read(ORDERS).await), gone);
}
