//! An authority with two admins, whose changes of some kinds wait for the other one.

use std::sync::Arc;
use std::time::Duration;

use lanyard::authority::access::ControlRule;
use lanyard::authority::access::ControlledKind;
use lanyard::authority::access::DualControl;
use lanyard::authority::access::NamePattern;
use lanyard::authority::access::RoleHolder;
use lanyard::authority::clock::Timestamp;
use lanyard::authority::decision::ProposalError;
use lanyard::authority::identity::PeerIdentity;
use lanyard::authority::identity::SpiffeIdPattern;
use lanyard::authority::policy::Policy;
use lanyard::authority::records::Held;
use lanyard::authority::records::RegistryError;
use lanyard::authority::reference::Refused;
use lanyard::authority::state::Caller;
use lanyard::authority::state::Feature;
use lanyard::authority::state::FeatureRecord;
use lanyard::authority::state::ProposalRecord;
use lanyard::authority::store::Batch;
use lanyard::authority::store::Change;
use lanyard::authority::store::Expected;
use lanyard::authority::store::Store as _;
use lanyard::store::memory::MemoryStore;

use crate::support::as_of_now::AsOfNow as _;
use crate::support::authority::TestAuthority;
use crate::support::authority::ready;
use crate::support::logged::logged;

pub const SECOND: &str = "spiffe://prod.example/ns/ops/sa/second";

/// What is controlled: all of these kinds.
pub fn all_of(kinds: &[ControlledKind]) -> DualControl {
    let rules = kinds.iter().map(|kind| ControlRule { kind: *kind, names: Vec::new() }).collect();
    DualControl { rules, ttl: Duration::from_hours(1) }
}

/// Clients with these names.
pub fn clients(names: &[&str]) -> DualControl {
    let names = names.iter().map(|name| NamePattern::parse(name).unwrap()).collect();
    let rules = vec![ControlRule { kind: ControlledKind::Client, names }];
    DualControl { rules, ttl: Duration::from_hours(1) }
}

pub fn second_admin(policy: &mut Policy) {
    policy.roles.admins.push(RoleHolder::Spiffe(SpiffeIdPattern::parse(SECOND).unwrap()));
    policy.history = Duration::from_hours(24);
}

/// An authority that controls this, with all features.
pub fn with(control: DualControl) -> TestAuthority {
    on(Arc::new(MemoryStore::new()), control)
}

pub fn on(store: Arc<MemoryStore>, control: DualControl) -> TestAuthority {
    let change = |policy: &mut Policy| {
        second_admin(policy);
        policy.dual_control = control;
    };
    let fixture = TestAuthority::on(store, change, TestAuthority::keys());
    for feature in [Feature::DualControl, Feature::TeamGrants] {
        enable(&fixture, feature);
    }
    fixture
}

pub fn enable(fixture: &TestAuthority, feature: Feature) {
    let (key, value) = (feature.key(), FeatureRecord::new(Timestamp(1), "").to_bytes().unwrap());
    let revision = ready(fixture.store.put(&key, value.clone(), Expected::Any)).unwrap();
    fixture.authority.apply(&Batch { revision, changes: vec![Change { key, value: Some(value.into()) }] });
}

/// A request of the holder of a SPIFFE ID, by a new certificate.
pub fn by(fixture: &TestAuthority, spiffe_id: &str) -> Caller {
    caller(fixture, &fixture.svid(spiffe_id))
}

pub fn caller(fixture: &TestAuthority, peer: &PeerIdentity) -> Caller {
    fixture.authority.as_caller(peer)
}

/// The identifier under which a change waits.
pub fn proposed<T: std::fmt::Debug>(outcome: Result<T, RegistryError>) -> String {
    match outcome {
        Err(RegistryError::Held(Held::Proposed(id))) => id.to_string(),
        other => panic!("{other:?}"),
    }
}

/// Approves a change. The log says of each change that is made who approved it.
pub fn approve(fixture: &TestAuthority, caller: &Caller, id: &str) -> Result<ProposalRecord, ProposalError> {
    let (outcome, lines) = logged(|| ready(fixture.authority.approve_proposal(caller, id)));
    if outcome.is_ok() {
        let (steps, changes): (Vec<_>, Vec<_>) =
            lines.iter().filter(|line| line.contains("lanyard::audit")).partition(|line| line.contains(": proposal "));
        let approved_by = format!(" approved_by=\"{}\"", caller.identity);
        assert!(!changes.is_empty() && changes.iter().all(|line| line.contains(&approved_by)), "{lines:#?}");
        assert_eq!(steps.len(), 1, "{lines:#?}");
    }
    outcome.map_err(|Refused { error, .. }| error)
}

pub fn reject(fixture: &TestAuthority, caller: &Caller, id: &str) -> Result<ProposalRecord, ProposalError> {
    ready(fixture.authority.reject_proposal(caller, id)).map_err(|Refused { error, .. }| error)
}

/// The identifiers of what a caller sees waiting.
pub fn waiting(fixture: &TestAuthority, caller: &Caller) -> Vec<String> {
    let seen = ready(fixture.authority.seen_proposals(caller)).unwrap();
    seen.iter().map(|seen| seen.record.id().to_owned()).collect()
}
