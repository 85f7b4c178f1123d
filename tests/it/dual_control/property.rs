//! No sequence of calls of one admin, by whatever certificates, changes what is controlled, but to take away.

use std::collections::BTreeMap;
use std::time::Duration;

use lanyard::authority::access::ControlledKind;
use lanyard::authority::access::DualControl;
use lanyard::authority::access::GrantMetadata;
use lanyard::authority::records::Registration as _;
use lanyard::authority::records::RegistryError;
use lanyard::authority::registration::ClientId;
use lanyard::authority::registration::ClientMetadata;
use lanyard::authority::registration::ClientStatus;
use lanyard::authority::resources::ResourceMetadata;
use lanyard::authority::state::Caller;
use proptest::prelude::*;
use proptest::sample::select;

use super::support::SECOND;
use super::support::all_of;
use super::support::approve;
use super::support::by;
use super::support::proposed;
use super::support::reject;
use super::support::waiting;
use super::support::with;
use crate::support::authority::ADMIN;
use crate::support::authority::TestAuthority;
use crate::support::authority::named_spiffe_client;
use crate::support::authority::ready;

const NAMES: &[&str] = &["one", "two", "three"];
const IDS: &[&str] = &["ns/shop/sa/a", "ns/shop/sa/b", "ns/shop/*", "ns/*"];
const AUDIENCES: &[&str] = &["https://a.shop.internal", "https://b.shop.internal"];

#[derive(Clone, Debug)]
enum Call {
    CreateClient(ClientMetadata),
    UpdateClient(ClientMetadata),
    DeleteClient(&'static str),
    CreateResource(ResourceMetadata),
    UpdateResource(ResourceMetadata),
    DeleteResource(&'static str),
    Forget(&'static str),
    CreateGrant(GrantMetadata),
    DeleteGrant,
    Rotate,
    ApproveAll,
    RejectAll,
    LetTimePass,
}

fn client() -> impl Strategy<Value = ClientMetadata> {
    let scopes: &'static [&'static str] = &["orders.read", "orders.read orders.write"];
    (select(NAMES), select(IDS), select(scopes), any::<bool>()).prop_map(|(name, id, scope, disabled)| {
        let client = named_spiffe_client(name, &format!("spiffe://prod.example/{id}"));
        ClientMetadata { scope: scope.to_owned(), disabled, ..client }
    })
}

fn resource() -> impl Strategy<Value = ResourceMetadata> {
    let modes: &'static [&'static str] = &["enforce", "report"];
    (select(AUDIENCES), select(modes)).prop_map(|(audience, mode)| ResourceMetadata {
        audience: audience.to_owned(),
        mode: Some(mode.to_owned()),
        ..ResourceMetadata::default()
    })
}

fn grant() -> impl Strategy<Value = GrantMetadata> {
    select(&["orders.read", "orders.write"][..]).prop_map(|scope| GrantMetadata {
        name: "shop".to_owned(),
        admins: vec![ADMIN.to_owned()],
        spiffe_ids: vec!["spiffe://prod.example/ns/shop/*".to_owned()],
        scope: scope.to_owned(),
        owners: vec!["team-shop".to_owned()],
        ..GrantMetadata::default()
    })
}

fn call() -> impl Strategy<Value = Call> {
    prop_oneof![
        4 => client().prop_map(Call::CreateClient),
        4 => client().prop_map(Call::UpdateClient),
        2 => select(NAMES).prop_map(Call::DeleteClient),
        2 => resource().prop_map(Call::CreateResource),
        2 => resource().prop_map(Call::UpdateResource),
        1 => select(AUDIENCES).prop_map(Call::DeleteResource),
        1 => select(AUDIENCES).prop_map(Call::Forget),
        2 => grant().prop_map(Call::CreateGrant),
        1 => Just(Call::DeleteGrant),
        1 => Just(Call::Rotate),
        3 => Just(Call::ApproveAll),
        1 => Just(Call::RejectAll),
        1 => Just(Call::LetTimePass),
    ]
}

fn make(fixture: &TestAuthority, admin: &Caller, call: Call) -> Result<(), RegistryError> {
    let (authority, by) = (&fixture.authority, admin.author(None));
    match call {
        Call::CreateClient(metadata) => ready(authority.create_client(by, metadata, false)).map(drop),
        Call::UpdateClient(metadata) => {
            let from = authority.client(&metadata.client_id)?.revision;
            ready(authority.update_client(by, metadata, from, false)).map(drop)
        }
        Call::DeleteClient(name) => ready(authority.delete_client(by, name, None)),
        Call::CreateResource(metadata) => ready(authority.create_resource(by, metadata, false)).map(drop),
        Call::UpdateResource(metadata) => {
            let from = authority.resource(&metadata.audience)?.revision;
            ready(authority.update_resource(by, metadata, from, false)).map(drop)
        }
        Call::DeleteResource(name) => ready(authority.delete_resource(by, name, None)),
        Call::Forget(name) => ready(authority.forget_resource(by, name)),
        Call::CreateGrant(metadata) => ready(authority.create_grant(by, metadata, false)).map(drop),
        Call::DeleteGrant => ready(authority.delete_grant(by, "shop", None)),
        Call::Rotate => {
            drop(ready(authority.rotate_signing_key(admin)));
            Ok(())
        }
        Call::ApproveAll => {
            for id in waiting(fixture, admin) {
                drop(approve(fixture, admin, &id));
            }
            Ok(())
        }
        Call::RejectAll => {
            for id in waiting(fixture, admin) {
                drop(reject(fixture, admin, &id));
            }
            Ok(())
        }
        Call::LetTimePass => {
            fixture.clock.advance(Duration::from_secs(40));
            Ok(())
        }
    }
}

/// What workloads may get, what guards the resources, what teams may do, and the keys.
#[derive(Clone, Debug, PartialEq)]
struct Allowed {
    clients: BTreeMap<&'static str, Option<ClientMetadata>>,
    resources: BTreeMap<&'static str, Option<ResourceMetadata>>,
    grants: BTreeMap<String, GrantMetadata>,
    next_key: bool,
}

fn allowed(fixture: &TestAuthority) -> Allowed {
    let snapshot = fixture.authority.view().snapshot;
    let status =
        |id: &str| match snapshot.directory.status(&ClientId::parse(&format!("spiffe://prod.example/{id}")).unwrap()) {
            ClientStatus::Registered(client) => Some(client.registration.metadata()),
            ClientStatus::Unknown | ClientStatus::Ambiguous | ClientStatus::Suspended | ClientStatus::Disabled => None,
        };
    let clients = ["ns/shop/sa/a", "ns/shop/sa/b", "ns/shop/sa/c", "ns/other/sa/a"].map(|id| (id, status(id)));
    let resource = |audience: &&'static str| {
        let named = snapshot.resources.named(audience).map(|resource| resource.registration.metadata.clone());
        (*audience, named)
    };
    Allowed {
        clients: clients.into(),
        resources: AUDIENCES.iter().map(resource).collect(),
        grants: snapshot
            .grants
            .all()
            .map(|grant| (grant.registration.name().to_owned(), grant.registration.metadata().into_owned()))
            .collect(),
        next_key: fixture.authority.keys().next_key().is_some(),
    }
}

/// Whether the later one allows nothing that the earlier one did not.
fn is_no_more(before: &Allowed, after: &Allowed) -> bool {
    let clients = after.clients.iter().all(|(id, now)| now.is_none() || before.clients[id] == *now);
    let resources = after.resources.iter().all(|(name, now)| now.is_none() || before.resources[name] == *now);
    let grants = after.grants.iter().all(|(name, now)| before.grants.get(name) == Some(now));
    clients && resources && grants && before.next_key == after.next_key
}

/// What two admins make of it first, so that there is something to take away and to widen.
fn set_up() -> TestAuthority {
    use ControlledKind::{Client, Feature, Grant, Resource, Revocation, SigningKey};
    let control = all_of(&[Client, Resource, Grant, SigningKey, Revocation, Feature]);
    // Some proposals expire between the calls.
    let fixture = with(DualControl { ttl: Duration::from_mins(1), ..control });
    let (admin, second) = (by(&fixture, ADMIN), by(&fixture, SECOND));
    let id = |id: &str| format!("spiffe://prod.example/{id}");
    for client in [named_spiffe_client("one", &id(IDS[0])), named_spiffe_client("two", &id(IDS[2]))] {
        let made = ready(fixture.authority.create_client(admin.author(None), client, false)).map(drop);
        approve(&fixture, &second, &proposed(made)).unwrap();
    }
    let resource = ResourceMetadata { audience: AUDIENCES[0].to_owned(), ..ResourceMetadata::default() };
    let made = ready(fixture.authority.create_resource(admin.author(None), resource, false)).map(drop);
    approve(&fixture, &second, &proposed(made)).unwrap();
    fixture
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_calls_of_one_admin_allows_more(calls in proptest::collection::vec(call(), 1..40)) {
        let fixture = set_up();
        let mut before = allowed(&fixture);
        for call in calls {
            // By a new certificate each time.
            let done = make(&fixture, &by(&fixture, ADMIN), call.clone());
            let after = allowed(&fixture);
            prop_assert!(is_no_more(&before, &after), "{:?} {:?}\n{:?}\n{:?}", call, done, before, after);
            before = after;
        }
    }

    #[test]
    fn the_same_calls_allow_more_once_a_second_admin_approves_them(metadata in client()) {
        let fixture = set_up();
        let wanted = ClientMetadata { client_id: "three".to_owned(), disabled: false, ..metadata };
        let made = ready(fixture.authority.create_client(by(&fixture, ADMIN).author(None), wanted.clone(), false));
        if let Err(RegistryError::Held(_)) = &made {
            approve(&fixture, &by(&fixture, SECOND), &proposed(made)).unwrap();
            prop_assert!(fixture.authority.client("three").is_ok());
        }
    }
}
