//! No sequence of calls that are allowed widens a grant: neither the grants nor what another team has change, and whatever the
//! team's admin changed lies within its grant.

use lanyard::authority::access::GrantMetadata;
use lanyard::authority::access::Within;
use lanyard::authority::decision::within;
use lanyard::authority::records::Registration as _;
use lanyard::authority::records::RegistryError;
use lanyard::authority::registration::ClientMetadata;
use lanyard::authority::resources::ResourceMetadata;
use lanyard::authority::state::Caller;
use proptest::prelude::*;
use proptest::sample::select;

use super::stored::TEAM;
use super::stored::with_the_feature;
use crate::support::as_of_now::AsOfNow as _;
use crate::support::authority::ADMIN;
use crate::support::authority::TestAuthority;
use crate::support::authority::ready;

/// A call of the team's admin.
#[derive(Clone, Debug)]
enum Call {
    CreateClient(ClientMetadata),
    UpdateClient(ClientMetadata),
    DeleteClient(String),
    CreateResource(ResourceMetadata),
    UpdateResource(ResourceMetadata),
    DeleteResource(String),
    CreateGrant(GrantMetadata),
    UpdateGrant(GrantMetadata),
    DeleteGrant(String),
}

fn grant(team: &str) -> GrantMetadata {
    GrantMetadata {
        name: team.to_owned(),
        admins: vec![format!("spiffe://prod.example/ns/{team}-admins/*")],
        spiffe_ids: vec![format!("spiffe://prod.example/ns/{team}/*")],
        audiences: vec![format!("https://{team}.internal/*")],
        resources: vec![format!("https://{team}.internal/*")],
        authorities: vec![format!("*.{team}.internal")],
        scope: "read write".to_owned(),
        owners: vec![format!("team-{team}")],
        ..GrantMetadata::default()
    }
}

fn client() -> impl Strategy<Value = ClientMetadata> {
    let ids: &'static [&'static str] =
        &["ns/shop/sa/a", "ns/shop/*", "ns/shop/sa/*", "ns/billing/sa/a", "ns/*", "ns/shop-admins/ci"];
    let audiences: &'static [&'static str] =
        &["https://shop.internal/a", "https://shop.internal/b", "https://billing.internal/a"];
    let scopes: &'static [&'static str] = &["", "read", "read write", "read admin"];
    let owners: &'static [Option<&'static str>] = &[Some("team-shop"), Some("team-shop"), Some("team-billing"), None];
    let names: &'static [&'static str] = &["one", "two", "three"];
    (select(names), select(ids), select(audiences), select(scopes), select(owners)).prop_map(
        |(name, id, audience, scope, owner)| ClientMetadata {
            client_id: name.to_owned(),
            token_endpoint_auth_method: "spiffe_x509".to_owned(),
            spiffe_id: Some(format!("spiffe://prod.example/{id}")),
            audience: vec![audience.to_owned()],
            scope: scope.to_owned(),
            owner: owner.map(ToOwned::to_owned),
            ..ClientMetadata::default()
        },
    )
}

fn resource() -> impl Strategy<Value = ResourceMetadata> {
    let audiences: &'static [&'static str] =
        &["https://shop.internal/a", "https://shop.internal/b", "https://billing.internal/a"];
    let hosts: &'static [Option<&'static str>] =
        &[None, Some("a.shop.internal"), Some("b.shop.internal"), Some("a.billing.internal")];
    let scopes: &'static [&'static str] = &["", "read", "read write", "read admin"];
    let owners: &'static [Option<&'static str>] = &[Some("team-shop"), Some("team-shop"), Some("team-billing"), None];
    (select(audiences), select(hosts), select(scopes), select(owners)).prop_map(|(audience, host, scope, owner)| {
        ResourceMetadata {
            audience: audience.to_owned(),
            authorities: host.map(ToOwned::to_owned).into_iter().collect(),
            scope: scope.to_owned(),
            owner: owner.map(ToOwned::to_owned),
            ..ResourceMetadata::default()
        }
    })
}

fn wider_grant() -> impl Strategy<Value = GrantMetadata> {
    (select(&["shop", "billing", "new"][..]), select(&["read", "read admin"][..])).prop_map(|(name, scope)| {
        GrantMetadata {
            admins: vec!["spiffe://prod.example/ns/shop-admins/*".to_owned()],
            scope: scope.to_owned(),
            ..grant(name)
        }
    })
}

fn call() -> impl Strategy<Value = Call> {
    let audiences: &'static [&'static str] =
        &["https://shop.internal/a", "https://shop.internal/b", "https://billing.internal/a"];
    prop_oneof![
        4 => client().prop_map(Call::CreateClient),
        4 => client().prop_map(Call::UpdateClient),
        1 => select(&["one", "two", "three"][..]).prop_map(|name| Call::DeleteClient(name.to_owned())),
        3 => resource().prop_map(Call::CreateResource),
        3 => resource().prop_map(Call::UpdateResource),
        1 => select(audiences).prop_map(|name| Call::DeleteResource(name.to_owned())),
        1 => wider_grant().prop_map(Call::CreateGrant),
        1 => wider_grant().prop_map(Call::UpdateGrant),
        1 => select(&["shop", "billing"][..]).prop_map(|name| Call::DeleteGrant(name.to_owned())),
    ]
}

/// Makes a call, past the table of methods, which would not let the caller reach the grants.
fn make(fixture: &TestAuthority, team: &Caller, call: Call) -> Result<(), RegistryError> {
    let (authority, by) = (&fixture.authority, team.author(None));
    let snapshot = authority.view().snapshot;
    match call {
        Call::CreateClient(metadata) => ready(authority.create_client(by, metadata, false)).map(drop),
        Call::UpdateClient(metadata) => {
            let from = authority.client(&metadata.client_id)?.revision;
            ready(authority.update_client(by, metadata, from, false)).map(drop)
        }
        Call::DeleteClient(name) => ready(authority.delete_client(by, &name, None)),
        Call::CreateResource(metadata) => ready(authority.create_resource(by, metadata, false)).map(drop),
        Call::UpdateResource(metadata) => {
            let from = authority.resource(&metadata.audience)?.revision;
            ready(authority.update_resource(by, metadata, from, false)).map(drop)
        }
        Call::DeleteResource(name) => ready(authority.delete_resource(by, &name, None)),
        Call::CreateGrant(metadata) => ready(authority.create_grant(by, metadata, false)).map(drop),
        Call::UpdateGrant(metadata) => {
            let from = snapshot.grants.named(&metadata.name).map(|grant| grant.revision).unwrap_or_default();
            ready(authority.update_grant(by, metadata, from, false)).map(drop)
        }
        Call::DeleteGrant(name) => ready(authority.delete_grant(by, &name, None)),
    }
}

/// What the registry holds beyond the team's grant, and all grants.
fn beyond(fixture: &TestAuthority, team: &Caller) -> (Vec<ClientMetadata>, Vec<ResourceMetadata>, Vec<GrantMetadata>) {
    let (snapshot, bounds) = (fixture.authority.view().snapshot, Within::Grants(&team.grants));
    let clients = snapshot.directory.all().map(|client| client.registration.clone());
    let clients = clients.filter(|client| within(bounds, client, true).is_err());
    let resources = snapshot.resources.by_name().all().map(|resource| resource.registration.clone());
    let resources = resources.filter(|resource| within(bounds, resource, true).is_err());
    let grants = snapshot.grants.all().map(|grant| grant.registration.metadata().into_owned());
    let mut clients: Vec<_> = clients.map(|client| client.metadata()).collect();
    clients.sort_by(|one, other| one.client_id.cmp(&other.client_id));
    (clients, resources.map(|resource| resource.metadata).collect(), grants.collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_allowed_calls_widens_a_grant(calls in proptest::collection::vec(call(), 1..40)) {
        let fixture = with_the_feature();
        let admin = fixture.svid(ADMIN);
        for team in ["shop", "billing"] {
            ready(fixture.authority.create_grant(&admin, grant(team), false)).unwrap();
        }
        // One of each beyond the grant, under names that the calls use.
        let foreign = ClientMetadata {
            client_id: "three".to_owned(),
            token_endpoint_auth_method: "spiffe_x509".to_owned(),
            spiffe_id: Some("spiffe://prod.example/ns/billing/sa/a".to_owned()),
            audience: vec!["https://billing.internal/a".to_owned()],
            owner: Some("team-billing".to_owned()),
            ..ClientMetadata::default()
        };
        ready(fixture.authority.create_client(&admin, foreign, false)).unwrap();
        let foreign = ResourceMetadata { audience: "https://billing.internal/a".to_owned(), ..ResourceMetadata::default() };
        ready(fixture.authority.create_resource(&admin, foreign, false)).unwrap();
        let team = fixture.authority.as_caller(&fixture.svid(TEAM));
        let before = beyond(&fixture, &team);
        for call in calls {
            let team = fixture.authority.as_caller(&fixture.svid(TEAM));
            let done = make(&fixture, &team, call.clone());
            let is_about_grants = matches!(call, Call::CreateGrant(_) | Call::UpdateGrant(_) | Call::DeleteGrant(_));
            prop_assert!(!is_about_grants || done.is_err(), "{call:?}");
            prop_assert_eq!(&beyond(&fixture, &team), &before, "{:?} {:?}", call, done);
        }
    }
}
