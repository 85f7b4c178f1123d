//! Two resources share an authority only where both have destination principals and none in common, wherever they are
//! registered: in several processes over one store, at once, and beside the records of versions that did not check it.

use std::sync::Arc;
use std::sync::Barrier;
use std::thread;

use lanyard::authority::records::Kind;
use lanyard::authority::records::RegistryError;
use lanyard::authority::resources::Finding;
use lanyard::authority::resources::RegisteredResource;
use lanyard::authority::resources::ResourceMetadata;
use lanyard::authority::resources::findings;
use lanyard::authority::store::Expected;
use lanyard::authority::store::Store as _;

use crate::support::authority::ADMIN;
use crate::support::authority::TestAuthority;
use crate::support::authority::ready;
use crate::support::resources::at;

const A: &str = "spiffe://prod.example/a";
const B: &str = "spiffe://prod.example/b";

type Created = Result<Arc<RegisteredResource>, RegistryError>;

/// Another replica: the same store, and a snapshot that knows nothing of what others wrote.
fn beside(fixture: &TestAuthority) -> TestAuthority {
    TestAuthority::on(Arc::clone(&fixture.store), |_| {}, TestAuthority::keys())
}

fn create(fixture: &TestAuthority, metadata: ResourceMetadata) -> Created {
    ready(fixture.authority.create_resource(&fixture.svid(ADMIN), metadata, false))
}

fn update(fixture: &TestAuthority, metadata: ResourceMetadata) -> Created {
    let from = fixture.authority.resource(&metadata.audience).unwrap().revision;
    ready(fixture.authority.update_resource(&fixture.svid(ADMIN), metadata, from, false))
}

fn delete(fixture: &TestAuthority, audience: &str) {
    ready(fixture.authority.delete_resource(&fixture.svid(ADMIN), audience, None)).unwrap();
}

fn taken(audience: &str, authority: &str) -> RegistryError {
    RegistryError::AuthorityTaken { audience: audience.to_owned(), authority: authority.to_owned() }
}

/// The record as an earlier version wrote it, whatever else is registered.
fn stored(fixture: &TestAuthority, metadata: ResourceMetadata) {
    let key = format!("/resources/{}", metadata.audience);
    let bytes = create(&TestAuthority::new(), metadata).unwrap().to_bytes().unwrap();
    ready(fixture.store.put(&key, bytes, Expected::Absent)).unwrap();
}

#[test]
fn an_authority_that_two_resources_may_not_share_is_refused_in_every_process() {
    let one = TestAuthority::new();
    create(&one, at("https://o.test", &[], &["o.test", "[fd00::1]"])).unwrap();
    create(&one, at("urn:a", &[A], &["mono.test"])).unwrap();
    for (metadata, by, authority) in [
        (at("https://p.test", &[], &["O.TEST"]), "https://o.test", "o.test"),
        (at("urn:p", &[], &["p.test", "o.test."]), "https://o.test", "o.test"),
        (at("urn:p", &[], &["[fd00:0:0::1]"]), "https://o.test", "[fd00::1]"),
        (at("urn:p", &[B], &["o.test"]), "https://o.test", "o.test"),
        (at("urn:p", &[], &["mono.test"]), "urn:a", "mono.test"),
        (at("urn:p", &[B, A], &["mono.test"]), "urn:a", "mono.test"),
    ] {
        for fixture in [&one, &beside(&one)] {
            assert_eq!(create(fixture, metadata.clone()).unwrap_err(), taken(by, authority));
        }
        let dry = ready(one.authority.create_resource(&one.svid(ADMIN), metadata, true));
        assert_eq!(dry.unwrap_err(), taken(by, authority));
    }
    // The nearest that may stand: another port, and principals that tell the two apart.
    for metadata in [at("urn:port", &[], &["o.test:8443"]), at("urn:b", &[B], &["mono.test"])] {
        create(&beside(&one), metadata).unwrap();
    }
    ready(one.authority.load()).unwrap();
    assert_eq!(one.found(A, "mono.test").as_deref(), Some("urn:a"));
    assert_eq!(one.found(B, "mono.test").as_deref(), Some("urn:b"));
    assert_eq!(one.found("", "o.test:8443").as_deref(), Some("urn:port"));
}

#[test]
fn a_change_of_authorities_or_principals_is_held_to_the_same() {
    let one = TestAuthority::new();
    create(&one, at("urn:a", &[A], &["a.test"])).unwrap();
    create(&one, at("urn:b", &[B], &["a.test"])).unwrap();
    create(&one, at("urn:c", &[], &["c.test"])).unwrap();
    let other = beside(&one);
    ready(other.authority.load()).unwrap();
    for fixture in [&one, &other] {
        let refused = |metadata| update(fixture, metadata).unwrap_err();
        assert_eq!(refused(at("urn:c", &[], &["c.test", "a.test"])), taken("urn:a", "a.test"));
        assert_eq!(refused(at("urn:b", &[], &["a.test"])), taken("urn:a", "a.test"));
        assert_eq!(refused(at("urn:b", &[B, A], &["a.test"])), taken("urn:a", "a.test"));
    }
    update(&one, at("urn:b", &[B], &["a.test", "b.test"])).unwrap();
    let owner = Some("team".to_owned());
    update(&other, ResourceMetadata { owner, ..at("urn:c", &[], &["c.test"]) }).unwrap();
    // What is given up is free.
    delete(&one, "urn:a");
    update(&one, at("urn:b", &[B, A], &["a.test"])).unwrap();
    create(&other, at("urn:d", &[], &["b.test"])).unwrap();
}

#[test]
fn of_claims_on_one_authority_at_once_exactly_one_is_made() {
    const REPLICAS: usize = 4;
    for _ in 0..20 {
        let fixture = TestAuthority::new();
        let replicas: Vec<TestAuthority> = (0..REPLICAS).map(|_| beside(&fixture)).collect();
        let start = Barrier::new(REPLICAS);
        let outcomes: Vec<_> = thread::scope(|scope| {
            let register = |(n, replica)| {
                let (start, replica): (&Barrier, &TestAuthority) = (&start, replica);
                scope.spawn(move || {
                    start.wait();
                    create(replica, at(&format!("urn:{n}"), &[], &["o.test"]))
                })
            };
            let threads: Vec<_> = replicas.iter().enumerate().map(register).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let (made, refused): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
        assert_eq!((made.len(), ready(fixture.store.list("/resources/")).unwrap().entries.len()), (1, 1));
        let winner = made[0].as_ref().unwrap().registration.audience();
        assert!(refused.iter().all(|refused| *refused.as_ref().unwrap_err() == taken(winner, "o.test")), "{refused:?}");
    }
}

#[test]
fn stored_collisions_stay_readable_are_denied_and_do_not_grow() {
    let fixture = TestAuthority::new();
    stored(&fixture, at("urn:a", &[], &["o.test", "a.test"]));
    stored(&fixture, at("urn:b", &[], &["o.test"]));
    stored(&fixture, at("urn:c", &[A], &["o.test"]));
    ready(fixture.authority.load()).unwrap();
    assert_eq!(fixture.found("", "o.test"), None);
    assert_eq!(fixture.found("", "a.test").as_deref(), Some("urn:a"));
    let all: Vec<ResourceMetadata> =
        fixture.authority.resources(None, 9).iter().map(|one| one.registration.metadata.clone()).collect();
    let audiences = ["urn:a", "urn:b", "urn:c"].map(ToOwned::to_owned).to_vec();
    let expected = [
        Finding::SharedAuthority { authority: "o.test".to_owned(), audiences },
        Finding::NotByHost { audience: "urn:c".to_owned() },
    ];
    assert_eq!(findings(&all.iter().collect::<Vec<_>>()), expected);
    // What collides already can be changed, and collides with nothing else.
    let owner = Some("team".to_owned());
    update(&fixture, ResourceMetadata { owner, ..at("urn:b", &[], &["o.test"]) }).unwrap();
    update(&fixture, at("urn:b", &[], &["o.test", "b.test"])).unwrap();
    let grown = update(&fixture, at("urn:b", &[], &["o.test", "a.test"]));
    assert_eq!(grown.unwrap_err(), taken("urn:a", "a.test"));
    delete(&fixture, "urn:a");
    update(&fixture, at("urn:c", &[A], &[])).unwrap();
    assert_eq!(fixture.found("", "o.test").as_deref(), Some("urn:b"));
    assert!(matches!(create(&fixture, at("urn:d", &[], &["o.test"])), Err(RegistryError::AuthorityTaken { .. })));
}

#[test]
fn a_resource_of_as_many_authorities_as_there_may_be_is_written_in_one_transaction() {
    let fixture = TestAuthority::new();
    let hosts = |letter: char| (0..128).map(|n| format!("{letter}{n}.test")).collect::<Vec<_>>();
    let many = |letter| ResourceMetadata { authorities: hosts(letter), ..at("urn:many", &[], &[]) };
    create(&fixture, many('a')).unwrap();
    update(&fixture, many('b')).unwrap();
    assert_eq!(create(&fixture, at("urn:one", &[], &["b127.test"])).unwrap_err(), taken("urn:many", "b127.test"));
    create(&fixture, at("urn:one", &[], &["a127.test"])).unwrap();
}

#[test]
fn a_name_that_is_taken_is_said_to_be_and_an_unreadable_record_claims_all() {
    let one = TestAuthority::new();
    create(&one, at("urn:a", &[], &["a.test"])).unwrap();
    let again = create(&beside(&one), at("urn:a", &[], &["a.test"])).unwrap_err();
    assert_eq!(again, RegistryError::Exists(Kind::Resource));
    ready(one.store.put("/resources/urn:a", b"{\"schema\":9}".to_vec(), Expected::Any)).unwrap();
    assert_eq!(create(&beside(&one), at("urn:b", &[], &["a.test"])).unwrap_err(), RegistryError::Unavailable);
}
