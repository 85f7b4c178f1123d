//! One SPIFFE ID or pattern is one client's, wherever the claims on it are made: of several authorities over one store, of
//! which each knows only its own snapshot, and beside the records of versions that kept no index.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Barrier;
use std::thread;

use lanyard::authority::records::Kind;
use lanyard::authority::records::RegistryError;
use lanyard::authority::registration::ClientMetadata;
use lanyard::authority::registration::INDEX;
use lanyard::authority::registration::RegisteredClient;
use lanyard::authority::store::Expected;
use lanyard::authority::store::Store as _;

use crate::support::authority::ADMIN;
use crate::support::authority::CHECKOUT;
use crate::support::authority::TestAuthority;
use crate::support::authority::named_spiffe_client;
use crate::support::authority::pki_client;
use crate::support::authority::ready;
use crate::support::authority::spiffe_client;
use crate::support::authority::spiffe_uri_client;

const SHOP: &str = "spiffe://prod.example/ns/shop/*";
const CART: &str = "spiffe://prod.example/ns/shop/sa/cart";

/// Another replica: the same store, and a snapshot that knows nothing of what others wrote.
fn beside(fixture: &TestAuthority) -> TestAuthority {
    TestAuthority::on(Arc::clone(&fixture.store), |_| {}, TestAuthority::keys())
}

/// All keys of the index, without its prefix, and whose they are.
fn index(fixture: &TestAuthority) -> BTreeMap<String, String> {
    let entries = ready(fixture.store.list(INDEX)).unwrap().entries.into_iter();
    let read = entries.map(|(key, entry)| {
        let value: serde_json::Value = serde_json::from_slice(&entry.value).unwrap();
        assert_eq!(value["schema"], 1);
        let key = key.strip_prefix("/index/spiffe/").unwrap().to_owned();
        (key, value["client_id"].as_str().unwrap().to_owned())
    });
    read.collect()
}

fn indexed(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    entries.iter().map(|(key, owner)| ((*key).to_owned(), (*owner).to_owned())).collect()
}

fn taken(by: &str) -> RegistryError {
    RegistryError::IdentityTaken(by.to_owned())
}

fn clients(fixture: &TestAuthority) -> usize {
    ready(fixture.store.list("/clients/")).unwrap().entries.len()
}

fn update(fixture: &TestAuthority, metadata: ClientMetadata) -> Result<Arc<RegisteredClient>, RegistryError> {
    let from = fixture.authority.client(&metadata.client_id).unwrap().revision;
    ready(fixture.authority.update_client(&fixture.svid(ADMIN), metadata, from, false))
}

fn delete(fixture: &TestAuthority, client_id: &str) -> Result<(), RegistryError> {
    ready(fixture.authority.delete_client(&fixture.svid(ADMIN), client_id, None))
}

/// The client's record as an earlier version wrote it: without a key in the index.
fn written_without_index(fixture: &TestAuthority, metadata: ClientMetadata) {
    let name = metadata.client_id.clone();
    let bytes = TestAuthority::new().register(metadata).to_bytes().unwrap();
    ready(fixture.store.put(&format!("/clients/{name}"), bytes, Expected::Absent)).unwrap();
}

#[test]
fn a_claim_that_this_replica_does_not_know_of_is_refused_as_one_that_it_knows() {
    let one = TestAuthority::new();
    let other = beside(&one);
    one.register(named_spiffe_client("one", CHECKOUT));
    one.register(named_spiffe_client("shop", SHOP));
    one.register(spiffe_uri_client(CART, CART));
    let known = |claim: &ClientMetadata| one.try_register(claim.clone()).unwrap_err();
    for (claim, by) in [
        (named_spiffe_client("two", CHECKOUT), "one"),
        (spiffe_client(CHECKOUT), "one"),
        (named_spiffe_client("three", SHOP), "shop"),
        (named_spiffe_client("cart", CART), CART),
        (spiffe_uri_client(CHECKOUT, CHECKOUT), "one"),
    ] {
        assert!(other.authority.client(by).is_err());
        assert_eq!(other.try_register(claim.clone()).unwrap_err(), taken(by));
        assert_eq!(known(&claim), taken(by));
    }
    // Nor by changing what one has.
    other.register(named_spiffe_client("wide", "spiffe://prod.example/ns/*"));
    assert_eq!(update(&other, named_spiffe_client("wide", SHOP)).unwrap_err(), taken("shop"));
    assert_eq!(clients(&one), 4);
    // A name that is taken is said to be.
    assert_eq!(
        other.try_register(named_spiffe_client("one", CHECKOUT)).unwrap_err(),
        RegistryError::Exists(Kind::Client)
    );
    assert_eq!(other.try_register(named_spiffe_client("one", CART)).unwrap_err(), taken(CART));
}

#[test]
fn of_equal_registrations_at_once_exactly_one_is_made_and_the_others_are_told() {
    const REPLICAS: usize = 4;
    for _ in 0..50 {
        let fixture = TestAuthority::new();
        let replicas: Vec<TestAuthority> = (0..REPLICAS).map(|_| beside(&fixture)).collect();
        let start = Barrier::new(REPLICAS);
        let outcomes: Vec<_> = thread::scope(|scope| {
            let register = |(n, replica)| {
                let (start, replica): (&Barrier, &TestAuthority) = (&start, replica);
                scope.spawn(move || {
                    start.wait();
                    replica.try_register(named_spiffe_client(&format!("client-{n}"), CHECKOUT))
                })
            };
            let threads: Vec<_> = replicas.iter().enumerate().map(register).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let (made, refused): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
        assert_eq!((made.len(), clients(&fixture)), (1, 1));
        let winner = made[0].as_ref().unwrap().registration.client_id.as_str();
        assert!(refused.iter().all(|refused| *refused.as_ref().unwrap_err() == taken(winner)), "{refused:?}");
        assert_eq!(index(&fixture), indexed(&[(CHECKOUT, winner)]));
    }
}

#[test]
fn an_identity_that_is_given_up_is_free_for_everybody() {
    let one = TestAuthority::new();
    one.register(named_spiffe_client("one", CHECKOUT));
    let other = beside(&one);
    update(&one, named_spiffe_client("one", SHOP)).unwrap();
    assert_eq!(index(&one), indexed(&[(SHOP, "one")]));
    other.register(named_spiffe_client("two", CHECKOUT));
    assert_eq!(index(&one), indexed(&[(CHECKOUT, "two"), (SHOP, "one")]));
    delete(&one, "one").unwrap();
    assert_eq!(index(&one), indexed(&[(CHECKOUT, "two")]));
    other.register(named_spiffe_client("one", SHOP));
    // What keeps its identity keeps its key.
    let changed = ClientMetadata { owner: Some("team".to_owned()), ..named_spiffe_client("two", CHECKOUT) };
    update(&other, changed).unwrap();
    assert_eq!(index(&one), indexed(&[(CHECKOUT, "two"), (SHOP, "one")]));
    for name in ["one", "two"] {
        delete(&other, name).unwrap();
    }
    assert_eq!((index(&one), clients(&one)), (indexed(&[]), 0));
}

#[test]
fn a_client_without_an_identity_has_no_key_in_the_index() {
    let fixture = TestAuthority::new();
    fixture.register(ClientMetadata { tls_client_auth_san_dns: Some("ci.example".to_owned()), ..pki_client("ci") });
    assert_eq!(index(&fixture), indexed(&[]));
    delete(&fixture, "ci").unwrap();
}

#[test]
fn a_change_from_another_state_leaves_the_index_as_it_is() {
    let one = TestAuthority::new();
    one.register(named_spiffe_client("one", CHECKOUT));
    let other = beside(&one);
    ready(other.authority.load()).unwrap();
    update(&one, named_spiffe_client("one", SHOP)).unwrap();
    // The other replica still knows the first state.
    assert_eq!(update(&other, named_spiffe_client("one", CART)).unwrap_err(), RegistryError::Conflict(Kind::Client));
    assert_eq!(delete(&other, "one"), Err(RegistryError::Conflict(Kind::Client)));
    assert_eq!(index(&one), indexed(&[(SHOP, "one")]));
}

#[test]
fn records_of_earlier_versions_keep_their_identity_and_get_their_key_when_they_are_changed() {
    let fixture = TestAuthority::new();
    written_without_index(&fixture, named_spiffe_client("old", CHECKOUT));
    written_without_index(&fixture, named_spiffe_client("older", SHOP));
    let before = ready(fixture.store.list("")).unwrap();
    ready(fixture.authority.load()).unwrap();
    assert_eq!(ready(fixture.store.list("")).unwrap(), before, "loading writes nothing");
    assert_eq!(fixture.try_register(named_spiffe_client("new", CHECKOUT)).unwrap_err(), taken("old"));
    assert_eq!(fixture.try_register(named_spiffe_client("new", SHOP)).unwrap_err(), taken("older"));
    let changed = ClientMetadata { owner: Some("team".to_owned()), ..named_spiffe_client("old", CHECKOUT) };
    update(&fixture, changed).unwrap();
    assert_eq!(index(&fixture), indexed(&[(CHECKOUT, "old")]));
    assert_eq!(beside(&fixture).try_register(named_spiffe_client("new", CHECKOUT)).unwrap_err(), taken("old"));
    // One that moves or goes without ever having had a key.
    update(&fixture, named_spiffe_client("older", CART)).unwrap();
    assert_eq!(index(&fixture), indexed(&[(CHECKOUT, "old"), (CART, "older")]));
    written_without_index(&fixture, named_spiffe_client("oldest", SHOP));
    ready(fixture.authority.load()).unwrap();
    delete(&fixture, "oldest").unwrap();
    fixture.register(named_spiffe_client("new", SHOP));
}

#[test]
fn a_key_whose_client_was_deleted_or_changed_by_an_earlier_version_is_taken_over() {
    let fixture = TestAuthority::new();
    fixture.register(named_spiffe_client("one", CHECKOUT));
    fixture.register(named_spiffe_client("shop", SHOP));
    // As an earlier version does it, which knows nothing of the index.
    ready(fixture.store.delete("/clients/one", Expected::Any)).unwrap();
    let moved = TestAuthority::new().register(named_spiffe_client("shop", CART)).to_bytes().unwrap();
    ready(fixture.store.put("/clients/shop", moved, Expected::Any)).unwrap();
    let later = beside(&fixture);
    ready(later.authority.load()).unwrap();
    later.register(named_spiffe_client("two", CHECKOUT));
    later.register(named_spiffe_client("three", SHOP));
    assert_eq!(index(&fixture), indexed(&[(CHECKOUT, "two"), (SHOP, "three")]));
    // Its own key that was left behind is no obstacle either.
    ready(fixture.store.delete("/clients/two", Expected::Any)).unwrap();
    let latest = beside(&fixture);
    ready(latest.authority.load()).unwrap();
    latest.register(named_spiffe_client("two", CHECKOUT));
}

#[test]
fn what_cannot_be_read_is_nobody_elses() {
    for (key, value) in
        [(format!("{INDEX}spiffe/{CHECKOUT}"), "{\"schema\":9}"), ("/clients/one".to_owned(), "{\"schema\":9}")]
    {
        let fixture = TestAuthority::new();
        fixture.register(named_spiffe_client("one", CHECKOUT));
        ready(fixture.store.put(&key, value.into(), Expected::Any)).unwrap();
        let refused = beside(&fixture).try_register(named_spiffe_client("two", CHECKOUT)).unwrap_err();
        assert!(matches!(refused, RegistryError::Unavailable | RegistryError::IdentityTaken(_)), "{refused:?}");
        assert_eq!(clients(&fixture), 1);
    }
}
