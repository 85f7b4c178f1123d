//! What becomes of a proposal: it is made once, for what it was proposed for, within its time, on any replica.

use std::slice::from_ref;
use std::sync::Arc;
use std::time::Duration;

use lanyard::authority::access::ControlledKind;
use lanyard::authority::backup::MovedRecord;
use lanyard::authority::decision::ProposalError;
use lanyard::authority::observe::Samples;
use lanyard::authority::records::Held;
use lanyard::authority::records::PROPOSALS;
use lanyard::authority::records::RegistryError;
use lanyard::authority::registration::ClientMetadata;
use lanyard::authority::store::Expected;
use lanyard::authority::store::Store as _;

use super::support::SECOND;
use super::support::all_of;
use super::support::approve;
use super::support::by;
use super::support::on;
use super::support::proposed;
use super::support::reject;
use super::support::waiting;
use super::support::with;
use crate::support::authority::ADMIN;
use crate::support::authority::CHECKOUT;
use crate::support::authority::TestAuthority;
use crate::support::authority::ready;
use crate::support::authority::spiffe_client;

fn controlled() -> TestAuthority {
    with(all_of(&[ControlledKind::Client]))
}

fn create(fixture: &TestAuthority, who: &str, client_id: &str) -> Result<(), RegistryError> {
    let caller = by(fixture, who);
    ready(fixture.authority.create_client(caller.author(None), spiffe_client(client_id), false)).map(drop)
}

fn rescope(fixture: &TestAuthority, who: &str, scope: &str) -> Result<(), RegistryError> {
    let (caller, from) = (by(fixture, who), fixture.authority.client(CHECKOUT)?.revision);
    let metadata = ClientMetadata { scope: scope.to_owned(), ..spiffe_client(CHECKOUT) };
    ready(fixture.authority.update_client(caller.author(None), metadata, from, false)).map(drop)
}

#[test]
fn a_proposal_is_made_once() {
    let fixture = controlled();
    let second = by(&fixture, SECOND);
    let id = proposed(create(&fixture, ADMIN, CHECKOUT));
    approve(&fixture, &second, &id).unwrap();
    assert_eq!(approve(&fixture, &second, &id), Err(ProposalError::NotFound));
    ready(fixture.authority.delete_client(second.author(None), CHECKOUT, None)).unwrap();
    assert_eq!(approve(&fixture, &second, &id), Err(ProposalError::NotFound));
    assert!(fixture.authority.client(CHECKOUT).is_err());
}

#[test]
fn a_proposal_that_is_rejected_or_past_its_time_is_not_made() {
    let fixture = controlled();
    let second = by(&fixture, SECOND);
    let id = proposed(create(&fixture, ADMIN, CHECKOUT));
    reject(&fixture, &second, &id).unwrap();
    assert_eq!(approve(&fixture, &second, &id), Err(ProposalError::NotFound));
    let id = proposed(create(&fixture, ADMIN, CHECKOUT));
    fixture.clock.advance(Duration::from_secs(3599));
    assert_eq!(waiting(&fixture, &second), from_ref(&id));
    fixture.clock.advance(Duration::from_secs(1));
    assert_eq!(waiting(&fixture, &by(&fixture, SECOND)), Vec::<String>::new());
    assert_eq!(approve(&fixture, &by(&fixture, SECOND), &id), Err(ProposalError::NotFound));
    assert!(fixture.authority.client(CHECKOUT).is_err());
    let id = proposed(create(&fixture, ADMIN, CHECKOUT));
    approve(&fixture, &by(&fixture, SECOND), &id).unwrap();
}

#[test]
fn a_proposal_is_not_made_for_another_revision_than_it_was_proposed_for() {
    let fixture = controlled();
    let second = by(&fixture, SECOND);
    let [first, same] = [create(&fixture, ADMIN, CHECKOUT), create(&fixture, SECOND, CHECKOUT)].map(proposed);
    assert_ne!(first, same);
    approve(&fixture, &second, &first).unwrap();
    assert_eq!(approve(&fixture, &by(&fixture, ADMIN), &same), Err(ProposalError::Outdated));
    let [wide, narrow] =
        ["orders.read orders.write orders.admin", "orders.read"].map(|scope| proposed(rescope(&fixture, ADMIN, scope)));
    approve(&fixture, &second, &narrow).unwrap();
    assert_eq!(approve(&fixture, &second, &wide), Err(ProposalError::Outdated));
    let seen = ready(fixture.authority.seen_proposals(&second)).unwrap();
    assert!(seen.iter().all(|one| one.is_outdated), "{seen:?}");
    let (_, states) = ready(fixture.authority.seen_proposal(&second, &wide)).unwrap();
    assert!(format!("{states:?}").contains("before: None"), "{states:?}");
    assert_eq!(fixture.authority.client(CHECKOUT).unwrap().registration.metadata().scope, "orders.read");
    approve(&fixture, &second, &proposed(rescope(&fixture, ADMIN, "orders.write"))).unwrap();
}

#[test]
fn the_same_change_by_the_same_admin_is_one_proposal() {
    let fixture = controlled();
    let ids = [0; 3].map(|_| proposed(create(&fixture, ADMIN, CHECKOUT)));
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_ne!(proposed(create(&fixture, SECOND, CHECKOUT)), ids[0]);
}

#[test]
fn there_are_never_more_proposals_than_places_nor_of_one_admin_than_its_share() {
    let fixture = controlled();
    let name = |number: usize| format!("spiffe://prod.example/ns/shop/sa/{number}");
    let first: Vec<String> = (0..48).map(|number| proposed(create(&fixture, ADMIN, &name(number)))).collect();
    assert_eq!(create(&fixture, ADMIN, CHECKOUT), Err(RegistryError::Held(Held::TooMany)));
    proposed(create(&fixture, SECOND, CHECKOUT));
    reject(&fixture, &by(&fixture, SECOND), &first[7]).unwrap();
    let again = proposed(create(&fixture, ADMIN, CHECKOUT));
    // It has the place of the one that was rejected, and another identifier.
    assert_eq!((again.split('-').next(), again == first[7]), (first[7].split('-').next(), false));
    assert_eq!(approve(&fixture, &by(&fixture, SECOND), &first[7]), Err(ProposalError::NotFound));
}

#[test]
fn a_proposal_outlives_a_restart_and_is_approved_by_another_replica() {
    let fixture = controlled();
    let id = proposed(create(&fixture, ADMIN, CHECKOUT));
    let another = on(Arc::clone(&fixture.store), all_of(&[ControlledKind::Client]));
    ready(another.authority.load()).unwrap();
    approve(&another, &by(&another, SECOND), &id).unwrap();
    assert_eq!(approve(&fixture, &by(&fixture, SECOND), &id), Err(ProposalError::NotFound));
    assert!(another.authority.client(CHECKOUT).is_ok());
}

#[test]
fn proposals_are_not_moved_to_another_store_whose_revisions_are_others() {
    let fixture = controlled();
    proposed(create(&fixture, ADMIN, CHECKOUT));
    let all = ready(fixture.store.list("")).unwrap();
    assert!(all.entries.iter().any(|(key, _)| key.starts_with(PROPOSALS)));
    assert!(MovedRecord::all(&all).iter().all(|moved| !moved.key.starts_with(PROPOSALS)));
}

#[test]
fn a_proposal_that_cannot_be_read_is_not_made_and_hides_no_other() {
    let fixture = controlled();
    let [damaged, other] =
        [CHECKOUT, "spiffe://prod.example/ns/shop/sa/other"].map(|id| proposed(create(&fixture, ADMIN, id)));
    let key = format!("{PROPOSALS}000");
    ready(fixture.store.put(&key, b"{\"schema\":9}".to_vec(), Expected::Any)).unwrap();
    let second = by(&fixture, SECOND);
    assert_eq!(approve(&fixture, &second, &damaged), Err(ProposalError::Unreadable));
    assert_eq!(waiting(&fixture, &second), from_ref(&other));
    approve(&fixture, &second, &other).unwrap();
}

#[test]
fn the_metrics_say_how_many_changes_wait_and_for_how_long_the_first_of_them() {
    let fixture = controlled();
    let counted = || {
        ready(fixture.authority.count_proposals()).unwrap();
        let families = fixture.authority.metric_families();
        ["lanyard_proposals_waiting", "lanyard_proposal_age_seconds"].map(|name| {
            let Samples::Gauges(samples) = &families.iter().find(|family| family.name == name).unwrap().samples else {
                panic!("{name} is no gauge")
            };
            samples[0].value
        })
    };
    assert_eq!(counted(), [0, 0]);
    let id = proposed(create(&fixture, ADMIN, CHECKOUT));
    fixture.clock.advance(Duration::from_secs(50));
    proposed(create(&fixture, ADMIN, "spiffe://prod.example/ns/shop/sa/other"));
    fixture.clock.advance(Duration::from_secs(10));
    assert_eq!(counted(), [2, 60]);
    // One more that cannot be read is none that anybody may approve.
    ready(fixture.store.put(&format!("{PROPOSALS}099"), b"{\"schema\":9}".to_vec(), Expected::Any)).unwrap();
    approve(&fixture, &by(&fixture, SECOND), &id).unwrap();
    assert_eq!(counted(), [1, 10]);
    fixture.clock.advance(Duration::from_hours(1));
    assert_eq!(counted(), [0, 0]);
}
