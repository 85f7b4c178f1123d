//! What is kept of the changes of a registration: from what to what, by whom, when and why, in the transaction of the change.

use std::time::Duration;

use lanyard::authority::access::ChangedBy;
use lanyard::authority::clock::Clock as _;
use lanyard::authority::clock::Timestamp;
use lanyard::authority::identity::PeerIdentity;
use lanyard::authority::policy::RegistrationPolicy;
use lanyard::authority::records::HISTORY;
use lanyard::authority::records::MAX_CHANGES;
use lanyard::authority::records::RegistrationChange;
use lanyard::authority::records::RegistryError;
use lanyard::authority::registration::ClientMetadata;
use lanyard::authority::store::Expected;
use lanyard::authority::store::Store as _;
use lanyard::proto::Client;
use lanyard::proto::CreateClientRequest;
use lanyard::proto::DeleteProtectedResourceRequest;
use lanyard::proto::ListChangesRequest;
use lanyard::proto::list_changes_request::Registration;
use lanyard::proto::registration_change::After;
use lanyard::proto::registration_change::Before;
use tonic::Code;

use crate::support::as_of_now::AsOfNow as _;
use crate::support::authority::ADMIN;
use crate::support::authority::CHECKOUT;
use crate::support::authority::TestAuthority;
use crate::support::authority::named_spiffe_client;
use crate::support::authority::ready;
use crate::support::authority::spiffe_client;
use crate::support::calls::refusal;
use crate::support::check::orders;
use crate::support::server::TestServer;
use crate::support::server::spiffe_client as client_message;

const KEPT: Duration = Duration::from_hours(24);

fn keeping(history: Duration) -> TestAuthority {
    TestAuthority::with(|policy| policy.history = history, TestAuthority::keys())
}

fn because<'a>(identity: &'a PeerIdentity, reason: &'a str) -> ChangedBy<'a> {
    ChangedBy { reason: Some(reason), ..ChangedBy::from(identity) }
}

fn owned(owner: &str) -> ClientMetadata {
    ClientMetadata { owner: Some(owner.to_owned()), ..spiffe_client(CHECKOUT) }
}

fn update(fixture: &TestAuthority, metadata: ClientMetadata, reason: &str) {
    let from = fixture.authority.client(CHECKOUT).unwrap().revision;
    let admin = fixture.svid(ADMIN);
    ready(fixture.authority.update_client(because(&admin, reason), metadata, from, false)).unwrap();
}

fn history(fixture: &TestAuthority) -> Vec<RegistrationChange<ClientMetadata>> {
    ready(fixture.authority.client_history(CHECKOUT)).unwrap()
}

/// Each change in words: what it was, from which owner to which, and why.
fn told(fixture: &TestAuthority) -> Vec<String> {
    let owner = |metadata: &Option<ClientMetadata>| match metadata {
        Some(metadata) => metadata.owner.clone().unwrap_or_else(|| "nobody".to_owned()),
        None => "none".to_owned(),
    };
    let tell = |one: RegistrationChange<ClientMetadata>| {
        let reason = one.reason.unwrap_or_default();
        format!("{}: {} -> {}: {reason}", one.change, owner(&one.before), owner(&one.after))
    };
    history(fixture).into_iter().map(tell).collect()
}

#[test]
fn each_change_is_kept_with_what_was_before_and_after_it_and_outlives_its_registration() {
    let fixture = keeping(KEPT);
    let (authority, admin) = (&fixture.authority, fixture.svid(ADMIN));
    assert_eq!(
        ready(authority.client_history(CHECKOUT)),
        Err(RegistryError::NotFound(lanyard::authority::records::Kind::Client))
    );
    let created = ready(authority.create_client(because(&admin, "new"), owned("shop"), false)).unwrap();
    // What only validates, and what changes nothing, leaves nothing.
    ready(authority.update_client(&admin, owned("other"), created.revision, true)).unwrap();
    ready(authority.update_client(&admin, owned("shop"), created.revision, false)).unwrap();
    update(&fixture, owned("sales"), "it moved");
    update(&fixture, ClientMetadata { disabled: true, ..owned("sales") }, "");
    assert_eq!(
        told(&fixture),
        ["created: none -> shop: new", "updated: shop -> sales: it moved", "disabled: sales -> sales: "]
    );
    let kept = history(&fixture);
    assert_eq!(kept.iter().map(|one| one.number).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(kept.iter().all(|one| one.by == ADMIN && one.time == fixture.clock.now()));
    ready(authority.delete_client(because(&admin, "gone"), CHECKOUT, None)).unwrap();
    ready(authority.create_client(&admin, owned("again"), false)).unwrap();
    assert_eq!(told(&fixture)[3..], ["deleted: sales -> none: gone", "created: none -> again: "]);
    // Another replica reads the same, and its snapshot holds nothing of it.
    let other = TestAuthority::on(std::sync::Arc::clone(&fixture.store), |_| {}, TestAuthority::keys());
    ready(other.authority.load()).unwrap();
    assert_eq!(told(&other), told(&fixture));
}

#[test]
fn a_change_that_fails_leaves_nothing_and_one_that_another_version_made_is_no_part_of_its_neighbours() {
    let fixture = keeping(KEPT);
    let admin = fixture.svid(ADMIN);
    let created = ready(fixture.authority.create_client(&admin, owned("shop"), false)).unwrap();
    let other = TestAuthority::on(std::sync::Arc::clone(&fixture.store), |_| {}, TestAuthority::keys());
    ready(other.authority.load()).unwrap();
    // A version that keeps nothing.
    update(&other, owned("unseen"), "");
    let stale = ready(fixture.authority.update_client(&admin, owned("late"), created.revision, false));
    assert!(matches!(stale, Err(RegistryError::Conflict(_))), "{stale:?}");
    ready(fixture.authority.load()).unwrap();
    assert_eq!(told(&fixture), ["created: none -> none: "], "what it made is not known any more");
    update(&fixture, owned("sales"), "");
    assert_eq!(told(&fixture), ["created: none -> none: ", "updated: unseen -> sales: "]);
}

#[test]
fn as_many_changes_are_kept_as_the_bound_says_for_as_long_as_the_configuration_says() {
    let fixture = keeping(KEPT);
    let admin = fixture.svid(ADMIN);
    ready(fixture.authority.create_client(&admin, owned("0"), false)).unwrap();
    for number in 1..=MAX_CHANGES + 5 {
        update(&fixture, owned(&number.to_string()), "");
    }
    let all = told(&fixture);
    assert_eq!(all.len(), MAX_CHANGES);
    assert_eq!(all.first().unwrap(), "updated: 5 -> 6: ");
    assert_eq!(all.last().unwrap(), &format!("updated: {} -> {}: ", MAX_CHANGES + 4, MAX_CHANGES + 5));
    let listing = ready(fixture.store.list(HISTORY)).unwrap();
    let ends: Vec<_> = listing.entries.iter().map(|(_, stored)| stored.expires).collect();
    let day = 24 * 60 * 60;
    let end = Timestamp(fixture.clock.now().after(KEPT).0.next_multiple_of(day));
    assert_eq!(ends, vec![Some(end); MAX_CHANGES], "to the end of a day");

    let without = keeping(Duration::ZERO);
    ready(without.authority.create_client(&without.svid(ADMIN), owned("0"), false)).unwrap();
    assert_eq!(ready(without.store.list(HISTORY)).unwrap().entries, []);
    assert_eq!(history(&without), []);
}

#[test]
fn names_that_begin_alike_have_histories_of_their_own_and_what_is_too_large_is_left_out() {
    let fixture = keeping(KEPT);
    let admin = fixture.svid(ADMIN);
    let client = |name: &str| ClientMetadata {
        client_id: name.to_owned(),
        spiffe_id: Some(format!("spiffe://prod.example/{}", name.replace([':', '%'], "-"))),
        ..spiffe_client(CHECKOUT)
    };
    for name in ["a", "a:b", "ab", "a%3Ab", "a:0000000001-abcdef01"] {
        ready(fixture.authority.create_client(&admin, client(name), false)).unwrap();
    }
    for name in ["a", "a:b", "ab", "a%3Ab", "a:0000000001-abcdef01"] {
        assert_eq!(ready(fixture.authority.client_history(name)).unwrap().len(), 1, "{name}");
    }
    let large = |length: usize| ClientMetadata { owner: Some("x".repeat(length)), ..client("large") };
    let created = ready(fixture.authority.create_client(&admin, large(64_800), false)).unwrap();
    let reason = "x".repeat(1000);
    let by = because(&admin, &reason);
    ready(fixture.authority.update_client(by, large(1), created.revision, false)).unwrap();
    let kept = ready(fixture.authority.client_history("large")).unwrap();
    assert_eq!(kept.len(), 2);
    assert!(kept[1].before.is_none() && kept[1].after.is_some(), "{kept:?}");
}

#[test]
fn a_replica_that_lags_behind_deletes_nothing_that_it_does_not_know() {
    let fixture = keeping(KEPT);
    let admin = fixture.svid(ADMIN);
    ready(fixture.authority.create_client(&admin, owned("shop"), false)).unwrap();
    let behind = TestAuthority::on(std::sync::Arc::clone(&fixture.store), |_| {}, TestAuthority::keys());
    ready(behind.authority.load()).unwrap();
    update(&fixture, owned("sales"), "");
    let now = fixture.authority.client(CHECKOUT).unwrap().revision;
    for etag in [Some(now), None] {
        let refused = ready(behind.authority.delete_client(&admin, CHECKOUT, etag));
        assert!(matches!(refused, Err(RegistryError::Conflict(_))), "{refused:?}");
    }
    ready(fixture.authority.delete_client(&admin, CHECKOUT, Some(now))).unwrap();
    assert_eq!(told(&fixture)[2..], ["deleted: sales -> none: "]);
}

#[test]
fn records_that_are_moved_to_another_store_keep_their_history() {
    let fixture = keeping(KEPT);
    ready(fixture.authority.create_client(&fixture.svid(ADMIN), owned("shop"), false)).unwrap();
    update(&fixture, owned("sales"), "it moved");
    let other = keeping(KEPT);
    // In another order, and so with other revisions.
    for (key, stored) in ready(fixture.store.list("")).unwrap().entries.into_iter().rev() {
        ready(other.store.put(&key, stored.value.to_vec(), Expected::Absent)).unwrap();
    }
    ready(other.authority.load()).unwrap();
    assert_eq!(told(&other), told(&fixture));
    assert_eq!(told(&other), ["created: none -> shop: ", "updated: shop -> sales: it moved"]);
}

#[test]
fn what_workloads_change_of_their_own_registrations_is_not_kept() {
    let fixture = TestAuthority::with(
        |policy| (policy.history, policy.registration) = (KEPT, RegistrationPolicy::OwnIdentity),
        TestAuthority::keys(),
    );
    let authority = &fixture.authority;
    fixture.register(named_spiffe_client("pattern", "spiffe://prod.example/*"));
    let workload = authority.as_caller(&fixture.svid(CHECKOUT));
    let made = ready(authority.register_dynamically(&workload, spiffe_client(CHECKOUT))).unwrap();
    ready(authority.replace_registration(&workload, &made.client, owned("x"))).unwrap();
    assert_eq!(history(&fixture), []);
    let owner =
        ClientMetadata { disabled: true, ..authority.client(CHECKOUT).unwrap().registration.metadata().clone() };
    update(&fixture, owner, "it misbehaves");
    assert_eq!(history(&fixture).len(), 1);
}

#[tokio::test]
async fn admins_read_the_history_over_grpc_and_others_do_not() {
    let server = TestServer::start().await;
    let mut admin = server.registry(&server.svid("/admin"));
    let of = |client_id: &str| ListChangesRequest { registration: Some(Registration::ClientId(client_id.to_owned())) };
    let id = "spiffe://prod.example/history";
    let request = CreateClientRequest {
        client: Some(client_message(id)),
        reason: "a new service".to_owned(),
        ..Default::default()
    };
    let created = admin.create_client(request.clone()).await.unwrap().into_inner();
    let changes = admin.list_changes(of(id)).await.unwrap().into_inner().changes;
    let [only] = changes.as_slice() else { panic!("{changes:?}") };
    assert_eq!((only.change.as_str(), only.changed_by.as_str()), ("created", "spiffe://prod.example/admin"));
    assert_eq!((only.reason.as_str(), only.number), ("a new service", 1));
    assert_eq!(only.before, None);
    let expected = Client { etag: String::new(), create_time: None, update_time: None, ..created };
    let expected = Client { created_by: String::new(), updated_by: String::new(), warnings: Vec::new(), ..expected };
    assert_eq!(only.after, Some(After::ClientAfter(expected)));

    server.protect(orders()).await.unwrap();
    let audience = orders().audience;
    let deletion = DeleteProtectedResourceRequest { audience: audience.clone(), ..Default::default() };
    admin.delete_protected_resource(deletion).await.unwrap();
    let of_resource = ListChangesRequest { registration: Some(Registration::Audience(audience)) };
    let changes = admin.list_changes(of_resource).await.unwrap().into_inner().changes;
    assert_eq!(changes.len(), 2);
    assert!(matches!(&changes[1].before, Some(Before::ResourceBefore(before)) if before.scope == orders().scope));
    assert_eq!(changes[1].after, None);

    let unknown = refusal(admin.list_changes(of("nobody")).await);
    assert_eq!(unknown, (Code::NotFound, "CLIENT_NOT_FOUND".to_owned()));
    let empty = refusal(admin.list_changes(ListChangesRequest::default()).await);
    assert_eq!(empty.0, Code::InvalidArgument);
    let long = CreateClientRequest { reason: "x".repeat(1001), ..request };
    assert_eq!(refusal(admin.create_client(long).await).0, Code::InvalidArgument);
    for path in ["/proxy", "/history"] {
        let mut other = server.registry(&server.svid(path));
        assert_eq!(refusal(other.list_changes(of(id)).await), (Code::PermissionDenied, "WRONG_ROLE".to_owned()));
    }
}
