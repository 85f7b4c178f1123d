//! Each kind: what waits, what is made once it is approved, and the nearest that does not wait.

use std::slice::from_ref;

use lanyard::authority::access::ControlledKind;
use lanyard::authority::access::GrantMetadata;
use lanyard::authority::decision::KeyChangeError;
use lanyard::authority::decision::LastAdmin;
use lanyard::authority::decision::ProposalError;
use lanyard::authority::decision::RevokeError;
use lanyard::authority::decision::RevokeRequest;
use lanyard::authority::records::Held;
use lanyard::authority::records::ProposalId;
use lanyard::authority::records::RegistryError;
use lanyard::authority::registration::ClientId;
use lanyard::authority::registration::ClientMetadata;
use lanyard::authority::resources::ResourceMetadata;
use lanyard::authority::state::Caller;
use lanyard::authority::state::Feature;
use lanyard::authority::state::FeatureError;

use super::support::SECOND;
use super::support::all_of;
use super::support::approve;
use super::support::by;
use super::support::clients;
use super::support::proposed;
use super::support::waiting;
use super::support::with;
use crate::support::authority::ADMIN;
use crate::support::authority::CHECKOUT;
use crate::support::authority::ORDERS;
use crate::support::authority::TestAuthority;
use crate::support::authority::named_spiffe_client;
use crate::support::authority::ready;
use crate::support::authority::spiffe_client;

fn create(fixture: &TestAuthority, caller: &Caller, metadata: ClientMetadata) -> Result<(), RegistryError> {
    ready(fixture.authority.create_client(caller.author(Some("a new one")), metadata, false)).map(drop)
}

fn update(fixture: &TestAuthority, caller: &Caller, metadata: ClientMetadata) -> Result<(), RegistryError> {
    let from = fixture.authority.client(&metadata.client_id)?.revision;
    ready(fixture.authority.update_client(caller.author(None), metadata, from, false)).map(drop)
}

fn delete(fixture: &TestAuthority, caller: &Caller, client_id: &str) -> Result<(), RegistryError> {
    ready(fixture.authority.delete_client(caller.author(None), client_id, None))
}

#[test]
fn a_client_is_registered_and_changed_once_another_admin_approves_it() {
    let fixture = with(all_of(&[ControlledKind::Client]));
    let (admin, second) = (by(&fixture, ADMIN), by(&fixture, SECOND));
    let id = proposed(create(&fixture, &admin, spiffe_client(CHECKOUT)));
    assert!(fixture.authority.client(CHECKOUT).is_err());
    assert_eq!(waiting(&fixture, &second), from_ref(&id));
    approve(&fixture, &second, &id).unwrap();
    let created = fixture.authority.client(CHECKOUT).unwrap();
    assert_eq!((&*created.record.created_by, waiting(&fixture, &second).len()), (ADMIN, 0));
    let wider = ClientMetadata { scope: "orders.read orders.write orders.admin".to_owned(), ..spiffe_client(CHECKOUT) };
    let id = proposed(update(&fixture, &admin, wider.clone()));
    assert_eq!(fixture.authority.client(CHECKOUT).unwrap().revision, created.revision);
    approve(&fixture, &second, &id).unwrap();
    let changed = fixture.authority.client(CHECKOUT).unwrap();
    assert_eq!(changed.registration.metadata().scope, wider.scope);
    let history = ready(fixture.authority.client_history(CHECKOUT)).unwrap();
    let who = history.iter().map(|one| (one.change.as_str(), one.by.as_str(), one.approved_by.as_deref()));
    assert_eq!(who.collect::<Vec<_>>(), [("created", ADMIN, Some(SECOND)), ("updated", ADMIN, Some(SECOND))]);
    assert_eq!(history[0].reason.as_deref(), Some("a new one"));
    // What changes nothing waits for nobody, and what is not controlled is changed at once.
    update(&fixture, &admin, wider).unwrap();
    let resource = ResourceMetadata { audience: ORDERS.to_owned(), ..ResourceMetadata::default() };
    ready(fixture.authority.create_resource(admin.author(None), resource, false)).unwrap();
}

#[test]
fn what_is_only_validated_is_not_proposed() {
    let fixture = with(all_of(&[ControlledKind::Client]));
    let admin = by(&fixture, ADMIN);
    ready(fixture.authority.create_client(admin.author(None), spiffe_client(CHECKOUT), true)).unwrap();
    let wrong = ClientMetadata { token_endpoint_auth_method: "none".to_owned(), ..spiffe_client(CHECKOUT) };
    assert!(matches!(create(&fixture, &admin, wrong), Err(RegistryError::Invalid(_))));
    assert_eq!(waiting(&fixture, &admin), Vec::<String>::new());
}

#[test]
fn to_disable_a_client_and_to_delete_one_that_nothing_else_covers_waits_for_nobody() {
    let fixture = with(all_of(&[ControlledKind::Client]));
    let (admin, second) = (by(&fixture, ADMIN), by(&fixture, SECOND));
    for client in [spiffe_client(CHECKOUT), named_spiffe_client("all", "spiffe://prod.example/ns/shop/*")] {
        approve(&fixture, &second, &proposed(create(&fixture, &admin, client))).unwrap();
    }
    // A wider pattern would cover it.
    proposed(delete(&fixture, &admin, CHECKOUT));
    let disabled = ClientMetadata { disabled: true, ..spiffe_client(CHECKOUT) };
    let more = ClientMetadata { scope: "orders.admin".to_owned(), ..disabled.clone() };
    proposed(update(&fixture, &admin, more));
    update(&fixture, &admin, disabled).unwrap();
    // It was disabled, and is not let in again by one admin in any way.
    proposed(update(&fixture, &admin, spiffe_client(CHECKOUT)));
    proposed(delete(&fixture, &admin, CHECKOUT));
    delete(&fixture, &admin, "all").unwrap();
    // Disabled, it would refuse what a narrower one covers.
    proposed(delete(&fixture, &admin, CHECKOUT));
}

#[test]
fn a_rule_with_names_holds_what_would_get_at_them_by_another_name() {
    let fixture = with(clients(&["spiffe://prod.example/ns/pay/*", "https://pay.shop.internal"]));
    let admin = by(&fixture, ADMIN);
    create(&fixture, &admin, spiffe_client(CHECKOUT)).unwrap();
    let pay = "spiffe://prod.example/ns/pay/sa/api";
    let to_pay = ClientMetadata { audience: vec!["https://pay.shop.internal".to_owned()], ..spiffe_client(CHECKOUT) };
    proposed(create(&fixture, &admin, named_spiffe_client("other", pay)));
    proposed(create(&fixture, &admin, named_spiffe_client("wide", "spiffe://prod.example/*")));
    proposed(update(&fixture, &admin, to_pay));
    create(&fixture, &admin, named_spiffe_client("stock", "spiffe://prod.example/ns/stock/*")).unwrap();
}

#[test]
fn a_resource_waits_to_be_registered_and_forgotten_and_not_to_be_deleted() {
    let fixture = with(all_of(&[ControlledKind::Resource]));
    let (admin, second) = (by(&fixture, ADMIN), by(&fixture, SECOND));
    let resource = ResourceMetadata { audience: ORDERS.to_owned(), ..ResourceMetadata::default() };
    let id = proposed(ready(fixture.authority.create_resource(admin.author(None), resource.clone(), false)));
    approve(&fixture, &second, &id).unwrap();
    let present = fixture.authority.resource(ORDERS).unwrap();
    let reported = ResourceMetadata { mode: Some("report".to_owned()), ..resource.clone() };
    let change = fixture.authority.update_resource(admin.author(None), reported, present.revision, false);
    let id = proposed(ready(change));
    approve(&fixture, &second, &id).unwrap();
    ready(fixture.authority.delete_resource(admin.author(None), ORDERS, None)).unwrap();
    let id = proposed(ready(fixture.authority.forget_resource(admin.author(None), ORDERS)));
    assert_eq!(fixture.authority.resource(ORDERS).unwrap_err(), RegistryError::Deleted);
    approve(&fixture, &second, &id).unwrap();
    assert!(matches!(fixture.authority.resource(ORDERS), Err(RegistryError::NotFound(_))));
}

#[test]
fn a_grant_waits_to_be_made_and_not_to_be_deleted() {
    let fixture = with(all_of(&[ControlledKind::Grant]));
    let (admin, second) = (by(&fixture, ADMIN), by(&fixture, SECOND));
    let grant = GrantMetadata {
        name: "shop".to_owned(),
        admins: vec!["spiffe://prod.example/ns/shop-admins/*".to_owned()],
        spiffe_ids: vec!["spiffe://prod.example/ns/shop/*".to_owned()],
        owners: vec!["team-shop".to_owned()],
        ..GrantMetadata::default()
    };
    let id = proposed(ready(fixture.authority.create_grant(admin.author(None), grant, false)));
    approve(&fixture, &second, &id).unwrap();
    assert_eq!(fixture.authority.view().snapshot.grants.len(), 1);
    ready(fixture.authority.delete_grant(admin.author(None), "shop", None)).unwrap();
}

#[test]
fn the_signing_keys_wait_to_be_rotated_and_not_to_be_revoked() {
    let fixture = with(all_of(&[ControlledKind::SigningKey]));
    let (admin, second) = (by(&fixture, ADMIN), by(&fixture, SECOND));
    let kid = fixture.authority.keys().active_key().unwrap().key_id().to_string();
    let held = ready(fixture.authority.rotate_signing_key(&admin)).unwrap_err().error;
    let KeyChangeError::Held(Held::Proposed(id)) = held else { panic!("{held:?}") };
    assert!(fixture.authority.keys().next_key().is_none());
    approve(&fixture, &second, &id.to_string()).unwrap();
    let next = fixture.authority.keys().next_key().unwrap().key_id().to_string();
    let history = ready(fixture.authority.signing_key_history(&next)).unwrap();
    assert_eq!((&*history[0].by, history[0].approved_by.as_deref()), (ADMIN, Some(SECOND)));
    ready(fixture.authority.revoke_signing_key(&admin, &kid, "leaked")).unwrap();
    assert_eq!(fixture.authority.keys().active_key().unwrap().key_id().as_str(), next);
}

#[test]
fn a_revocation_is_made_at_once_and_waits_to_be_lifted() {
    let fixture = with(all_of(&[ControlledKind::Revocation]));
    let (admin, second) = (by(&fixture, ADMIN), by(&fixture, SECOND));
    let request = || RevokeRequest::Client(ClientId::parse(CHECKOUT).unwrap(), None);
    let requester = |caller: &Caller| lanyard::authority::access::Requester {
        client_id: None,
        roles: caller.roles.clone(),
        sender: caller.sender(),
    };
    ready(fixture.authority.revoke(&admin, &requester(&admin), request(), LastAdmin::Stays)).unwrap();
    let lift = || ready(fixture.authority.lift_revocation(&by(&fixture, ADMIN), &requester(&admin), request()));
    let held = lift().unwrap_err().error;
    let RevokeError::Held(Held::Proposed(id)) = held else { panic!("{held:?}") };
    // The same change is one proposal.
    assert_eq!(lift().unwrap_err().error, held);
    let in_effect = || {
        let view = fixture.authority.view();
        view.snapshot.revocations.has_client(&ClientId::parse(CHECKOUT).unwrap(), view.now)
    };
    assert!(in_effect());
    approve(&fixture, &second, &id.to_string()).unwrap();
    assert!(!in_effect());
}

#[test]
fn a_feature_waits_to_be_enabled_but_the_one_that_keeps_proposals() {
    let fixture = with(all_of(&[ControlledKind::Feature]));
    let (admin, second) = (by(&fixture, ADMIN), by(&fixture, SECOND));
    let held = ready(fixture.authority.enable_feature(&admin, "managed-by")).unwrap_err().error;
    let FeatureError::Held(Held::Proposed(id)) = held else { panic!("{held:?}") };
    assert!(!fixture.authority.enabled_features().is_enabled(Feature::ManagedBy));
    approve(&fixture, &second, &id.to_string()).unwrap();
    assert!(fixture.authority.enabled_features().is_enabled(Feature::ManagedBy));
    let bare = TestAuthority::with(
        |policy| policy.dual_control = all_of(&[ControlledKind::Feature, ControlledKind::Client]),
        TestAuthority::keys(),
    );
    let admin = by(&bare, ADMIN);
    assert_eq!(create(&bare, &admin, spiffe_client(CHECKOUT)), Err(RegistryError::Held(Held::NotEnabled)));
    ready(bare.authority.enable_feature(&admin, "dual-control")).unwrap();
    proposed(create(&bare, &admin, spiffe_client(CHECKOUT)));
}

#[test]
fn nothing_is_approved_under_an_identifier_that_is_none() {
    let fixture = with(all_of(&[ControlledKind::Client]));
    let (admin, second) = (by(&fixture, ADMIN), by(&fixture, SECOND));
    let id = proposed(create(&fixture, &admin, spiffe_client(CHECKOUT)));
    let last = if id.ends_with('0') { "1" } else { "0" };
    let other = format!("{}{last}", id.strip_suffix(|_: char| true).unwrap());
    assert!(ProposalId::parse(&other).is_some());
    for wrong in [&*other, "", "00", "../clients/a", "ff-00000000"] {
        assert_eq!(approve(&fixture, &second, wrong), Err(ProposalError::NotFound), "{wrong}");
    }
    approve(&fixture, &second, &id.to_uppercase()).unwrap();
}
