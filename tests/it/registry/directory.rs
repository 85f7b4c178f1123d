//! Which registration applies to a SPIFFE ID, while registrations are added and removed.

use lanyard::authority::decision::GrantError;
use lanyard::authority::decision::Mismatch;
use lanyard::authority::records::Kind;
use lanyard::authority::records::RegistryError;
use lanyard::authority::registration::CLIENTS;
use lanyard::authority::registration::ClientId;
use lanyard::authority::registration::ClientMetadata;
use lanyard::authority::registration::ClientRecord;
use lanyard::authority::registration::ClientRegistration;
use lanyard::authority::registration::ClientStatus;
use lanyard::authority::registration::RegisteredClient;
use lanyard::authority::registration::SpiffeClaim;
use lanyard::authority::registration::TokenEndpointAuthMethod;
use lanyard::authority::state::Entry;
use lanyard::authority::state::LoadError;
use lanyard::authority::state::Snapshot;
use lanyard::authority::store::Batch;
use lanyard::authority::store::Change;
use lanyard::authority::store::Expected;
use lanyard::authority::store::Revision;
use lanyard::authority::store::Store as _;
use lanyard::authority::store::Transaction;
use std::sync::Arc;

use crate::support::NOW;
use crate::support::authority::ADMIN;
use crate::support::authority::CHECKOUT;
use crate::support::authority::TestAuthority;
use crate::support::authority::named_spiffe_client;
use crate::support::authority::ready;
use crate::support::authority::spiffe_client;

const SHOP: &str = "spiffe://prod.example/ns/shop/*";
const ALL: &str = "spiffe://prod.example/*";

/// The scope that the registration for [`CHECKOUT`] gives, or why there is none.
fn granted(fixture: &TestAuthority) -> Result<String, GrantError> {
    fixture.issue(&fixture.svid(CHECKOUT), CHECKOUT).map(|token| token.scope.to_string())
}

fn scoped(metadata: ClientMetadata, scope: &str) -> ClientMetadata {
    ClientMetadata { scope: scope.to_owned(), ..metadata }
}

#[test]
fn the_exact_registration_comes_before_the_longest_pattern() {
    let fixture = TestAuthority::new();
    assert_eq!(granted(&fixture), Err(GrantError::InvalidClient(Mismatch::UnknownClient)));
    fixture.register(scoped(named_spiffe_client("all", ALL), "all"));
    assert_eq!(granted(&fixture).as_deref(), Ok("all"));
    fixture.register(scoped(named_spiffe_client("shop", SHOP), "shop"));
    assert_eq!(granted(&fixture).as_deref(), Ok("shop"));
    fixture.register(scoped(named_spiffe_client("checkout", CHECKOUT), "exact"));
    assert_eq!(granted(&fixture).as_deref(), Ok("exact"));
    fixture.delete("checkout");
    fixture.delete("shop");
    assert_eq!(granted(&fixture).as_deref(), Ok("all"));
    // The name of a registration for a SPIFFE ID is not a client_id.
    let refused = fixture.issue(&fixture.svid(CHECKOUT), "all").unwrap_err();
    assert_eq!(refused, GrantError::InvalidClient(Mismatch::UnknownClient));
}

#[test]
fn a_disabled_registration_at_any_level_refuses() {
    for disabled in ["checkout", "shop", "all"] {
        let fixture = TestAuthority::new();
        for (name, spiffe_id) in [("checkout", CHECKOUT), ("shop", SHOP), ("all", ALL)] {
            fixture.register(named_spiffe_client(name, spiffe_id));
        }
        assert!(granted(&fixture).is_ok());
        let mut metadata = fixture.authority.client(disabled).unwrap().registration.metadata();
        metadata.disabled = true;
        fixture.update(metadata.clone());
        assert_eq!(granted(&fixture), Err(GrantError::InvalidClient(Mismatch::DisabledClient)), "{disabled}");
        metadata.disabled = false;
        fixture.update(metadata);
        assert!(granted(&fixture).is_ok());
    }
}

#[test]
fn two_registrations_for_one_identity_are_refused_and_neither_is_used_if_stored() {
    let fixture = TestAuthority::new();
    fixture.register(named_spiffe_client("one", CHECKOUT));
    fixture.register(named_spiffe_client("shop", SHOP));
    for other in [named_spiffe_client("two", CHECKOUT), spiffe_client(CHECKOUT), named_spiffe_client("three", SHOP)] {
        assert!(matches!(fixture.try_register(other).unwrap_err(), RegistryError::IdentityTaken(_)));
    }
    // Written by an earlier version, which keeps no index, at the same moment through another replica.
    let elsewhere = TestAuthority::new().register(named_spiffe_client("two", CHECKOUT));
    let bytes = elsewhere.to_bytes().unwrap();
    let revision = ready(fixture.store.put("/clients/two", bytes, Expected::Absent)).unwrap();
    fixture.authority.apply(&change_of(&fixture, "two", revision));
    assert_eq!(granted(&fixture), Err(GrantError::InvalidClient(Mismatch::AmbiguousClient)));
    fixture.delete("two");
    assert!(granted(&fixture).is_ok());
}

#[test]
fn each_change_is_made_from_the_state_that_it_names() {
    let fixture = TestAuthority::new();
    let admin = fixture.svid(ADMIN);
    let first = fixture.register(spiffe_client(CHECKOUT));
    assert_eq!(fixture.try_register(spiffe_client(CHECKOUT)).unwrap_err(), RegistryError::Exists(Kind::Client));
    let second = fixture.update(scoped(spiffe_client(CHECKOUT), "second"));
    assert!(second.revision > first.revision);
    assert_eq!(second.record.creation_id, first.record.creation_id);
    let update = |metadata, from, only| ready(fixture.authority.update_client(&admin, metadata, from, only));
    let stale = update(scoped(spiffe_client(CHECKOUT), "third"), first.revision, false);
    assert_eq!(stale.unwrap_err(), RegistryError::Conflict(Kind::Client));
    let unchanged = update(scoped(spiffe_client(CHECKOUT), "second"), second.revision, false).unwrap();
    assert_eq!(unchanged.revision, second.revision);
    update(scoped(spiffe_client(CHECKOUT), "fourth"), second.revision, true).unwrap();
    assert_eq!(granted(&fixture).as_deref(), Ok("second"));
    let delete = |from| ready(fixture.authority.delete_client(&admin, CHECKOUT, from));
    assert_eq!(delete(Some(first.revision)), Err(RegistryError::Conflict(Kind::Client)));
    assert_eq!(delete(Some(second.revision)), Ok(()));
    assert_eq!(delete(None), Err(RegistryError::NotFound(Kind::Client)));
    assert_eq!(
        update(spiffe_client(CHECKOUT), second.revision, false).unwrap_err(),
        RegistryError::NotFound(Kind::Client)
    );
    assert_ne!(fixture.register(spiffe_client(CHECKOUT)).record.creation_id, first.record.creation_id);
}

#[test]
fn clients_are_listed_in_the_order_of_their_names_page_by_page() {
    let fixture = TestAuthority::new();
    for name in ["c", "a", "d", "b"] {
        fixture.register(named_spiffe_client(name, &format!("spiffe://prod.example/{name}")));
    }
    let page = |after: Option<&str>, count| {
        let clients = fixture.authority.clients(after, count);
        clients.iter().map(|client| client.registration.client_id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(page(None, 3), ["a", "b", "c"]);
    assert_eq!(page(Some("c"), 3), ["d"]);
    assert_eq!(page(Some("bb"), 1), ["c"]);
    assert!(page(Some("d"), 3).is_empty());
}

#[test]
fn what_was_registered_is_read_again_after_a_restart() {
    let fixture = TestAuthority::new();
    let first = fixture.register(spiffe_client(CHECKOUT));
    let again = TestAuthority::on(Arc::clone(&fixture.store), |_| {}, TestAuthority::keys());
    assert!(again.authority.client(CHECKOUT).is_err());
    ready(again.authority.load()).unwrap();
    let read = again.authority.client(CHECKOUT).unwrap();
    assert_eq!((&read.record, read.revision), (&first.record, first.revision));
    assert_eq!(read.registration.metadata(), first.registration.metadata());
    // Another load does not lose what was written after its listing began.
    again.register(named_spiffe_client("later", SHOP));
    ready(again.authority.load()).unwrap();
    assert!(again.authority.client("later").is_ok());
}

#[test]
fn a_record_that_cannot_be_read_stops_the_start() {
    let fixture = TestAuthority::new();
    fixture.register(spiffe_client(CHECKOUT));
    let good = ready(fixture.store.get(&format!("/clients/{CHECKOUT}"))).unwrap().unwrap().value;
    for (key, value) in [
        ("/clients/garbage", b"{".to_vec()),
        ("/clients/empty", Vec::new()),
        // Deleting the client would delete another key than this.
        ("/clients/moved", good.to_vec()),
    ] {
        let fixture = TestAuthority::new();
        ready(fixture.store.put(key, value, Expected::Any)).unwrap();
        let error = ready(fixture.authority.load()).unwrap_err();
        assert!(matches!(&error, LoadError::Record { key: named, .. } if named == key), "{error}");
    }
}

fn change_of(fixture: &TestAuthority, name: &str, revision: Revision) -> Batch {
    let key = format!("/clients/{name}");
    let value = ready(fixture.store.get(&key)).unwrap().map(|entry| entry.value);
    Batch { revision, changes: vec![Change { key, value }] }
}

// D1
#[test]
fn a_change_that_comes_late_revives_and_reverts_nothing() {
    let fixture = TestAuthority::new();
    let first = fixture.register(scoped(spiffe_client(CHECKOUT), "first"));
    let written = change_of(&fixture, CHECKOUT, first.revision);
    let second = fixture.update(scoped(spiffe_client(CHECKOUT), "second"));
    fixture.authority.apply(&written);
    assert_eq!(granted(&fixture).as_deref(), Ok("second"));
    fixture.delete(CHECKOUT);
    fixture.authority.apply(&written);
    assert_eq!(granted(&fixture), Err(GrantError::InvalidClient(Mismatch::UnknownClient)));
    let third = fixture.register(scoped(spiffe_client(CHECKOUT), "third"));
    let gone = Change { value: None, ..written.changes[0].clone() };
    let deletion = Batch { revision: Revision(second.revision.0 + 1), changes: vec![gone] };
    assert!(third.revision > deletion.revision);
    fixture.authority.apply(&deletion);
    assert_eq!(granted(&fixture).as_deref(), Ok("third"));
}

#[test]
fn a_write_that_the_watch_has_overtaken_is_not_taken_in() {
    let client = |revision| {
        let registration = ClientRegistration::parse(spiffe_client(CHECKOUT)).unwrap();
        let record = ClientRecord::new("creation".into(), NOW, "admin");
        RegisteredClient::new(registration, record, Revision(revision))
    };
    let key = format!("{CLIENTS}{CHECKOUT}");
    let write = |snapshot: &mut Snapshot, revision| {
        snapshot.apply(&key, Some(Entry::Client(Box::new(client(revision)))), Revision(revision));
    };
    let status = |snapshot: &Snapshot| snapshot.directory.status(&ClientId::parse(CHECKOUT).unwrap());
    let mut snapshot = Snapshot::default();
    write(&mut snapshot, 5);
    snapshot.apply(&key, None, Revision(6));
    snapshot.advance_to(Revision(6));
    // The thread that made write 5 gets to run only now.
    write(&mut snapshot, 5);
    assert!(matches!(status(&snapshot), ClientStatus::Unknown));
    write(&mut snapshot, 7);
    assert!(matches!(status(&snapshot), ClientStatus::Registered(_)));
    // A snapshot that was listed before write 7 and before the deletion 8 takes both over.
    let listed = || {
        let mut listed = Snapshot::default();
        write(&mut listed, 4);
        listed.advance_to(Revision(6));
        listed
    };
    let mut reloaded = listed();
    reloaded.merge_newer(&snapshot);
    assert_eq!(reloaded.directory.named(CHECKOUT).unwrap().revision, Revision(7));
    snapshot.apply(&key, None, Revision(8));
    let mut reloaded = listed();
    reloaded.merge_newer(&snapshot);
    assert!(reloaded.directory.is_empty());
}

#[test]
fn a_change_that_cannot_be_read_suspends_its_client_and_lets_no_wider_pattern_in() {
    let fixture = TestAuthority::new();
    fixture.register(named_spiffe_client("shop", SHOP));
    let exact = fixture.register(named_spiffe_client("checkout", CHECKOUT));
    assert!(granted(&fixture).is_ok());
    let unreadable = Change { key: "/clients/checkout".to_owned(), value: Some(b"{\"schema\":9}".as_slice().into()) };
    let revision = Revision(exact.revision.0 + 1);
    fixture.authority.apply(&Batch { revision, changes: vec![unreadable] });
    assert_eq!(granted(&fixture), Err(GrantError::InvalidClient(Mismatch::SuspendedClient)));
    fixture.authority.apply(&Batch { revision: Revision(revision.0 + 1), ..change_of(&fixture, "checkout", revision) });
    assert!(granted(&fixture).is_ok());
}

/// As many as are read in more than one part, by several threads.
#[test]
fn many_registrations_are_read_again_after_a_restart() {
    const MANY: usize = 20_000;
    let fixture = TestAuthority::new();
    for begin in (0..MANY).step_by(100) {
        let mut transaction = Transaction::default();
        for number in begin..begin + 100 {
            let id = format!("spiffe://prod.example/sa/{number:05}");
            let registration = ClientRegistration::parse(spiffe_client(&id)).unwrap();
            let record = ClientRecord::new(format!("creation {number}").into(), NOW, "admin");
            let value = RegisteredClient::new(registration, record, Revision::default()).to_bytes().unwrap();
            transaction = transaction.put(&format!("{CLIENTS}{id}"), value);
        }
        ready(fixture.store.transact(transaction)).unwrap();
    }
    ready(fixture.authority.load()).unwrap();
    let listed = fixture.authority.clients(None, usize::MAX);
    assert_eq!(listed.len(), MANY);
    for (number, client) in listed.iter().enumerate() {
        let id = format!("spiffe://prod.example/sa/{number:05}");
        assert_eq!(client.registration.client_id.as_str(), id);
        assert_eq!(*client.record.creation_id, format!("creation {number}"));
        assert!(Arc::ptr_eq(&fixture.authority.client(&id).unwrap(), client));
    }
}

/// So that the memory for a million registrations stays within a gigabyte: the record itself, and its two texts.
#[test]
fn a_registration_takes_little_memory_of_its_own() {
    assert!(size_of::<RegisteredClient>() <= 176, "{}", size_of::<RegisteredClient>());
    let fixture = TestAuthority::new();
    for number in 0..3 {
        fixture.register(spiffe_client(&format!("spiffe://prod.example/sa/{number}")));
    }
    fixture.register(scoped(spiffe_client(CHECKOUT), "another"));
    let clients = fixture.authority.clients(None, 9);
    let [other, first, rest @ ..] = clients.as_slice() else { unreachable!() };
    for client in rest {
        assert!(Arc::ptr_eq(&client.registration.terms, &first.registration.terms));
        assert!(Arc::ptr_eq(&client.record.created_by, &first.record.created_by));
        assert!(Arc::ptr_eq(&client.record.updated_by, &first.record.created_by));
    }
    assert!(!Arc::ptr_eq(&other.registration.terms, &first.registration.terms));
    for client in &clients {
        let TokenEndpointAuthMethod::Spiffe(_, SpiffeClaim::Exact(id)) = &client.registration.method else {
            unreachable!()
        };
        assert_eq!(id.as_ptr(), client.registration.client_id.as_str().as_ptr());
    }
    // And read again, where each record was parsed apart.
    let again = TestAuthority::on(Arc::clone(&fixture.store), |_| {}, TestAuthority::keys());
    ready(again.authority.load()).unwrap();
    let read = again.authority.clients(None, 9);
    assert!(Arc::ptr_eq(&read[1].registration.terms, &read[2].registration.terms));
    assert!(Arc::ptr_eq(&read[1].record.created_by, &read[2].record.updated_by));
}
