//! A flood of refusals: few records, from which no caller and no number is missing.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use lanyard::authority::access::CallerIdentity;
use lanyard::authority::access::ConnectionInfo;
use lanyard::authority::access::Sender;
use lanyard::authority::clock::Clock;
use lanyard::authority::clock::ManualClock;
use lanyard::authority::decision::Decision;
use lanyard::authority::decision::GrantErrorCode;
use lanyard::authority::observe::AuditEvent;
use lanyard::authority::observe::AuditRecord;
use lanyard::authority::observe::AuditSink;
use lanyard::authority::observe::FoldedRefusals;
use lanyard::authority::observe::RefusedRequest;
use lanyard::authority::observe::Samples;
use lanyard::authority::observe::Severity;
use serde_json::Value;

use crate::support::authority::CHECKOUT;
use crate::support::authority::TestAuthority;
use crate::support::authority::spiffe_client;

const MALFORMED: RefusedRequest = RefusedRequest::Token(GrantErrorCode::InvalidRequest);

#[derive(Clone, Debug, Default)]
struct Records(Arc<Mutex<Vec<Value>>>);

impl AuditSink for Records {
    fn wants(&self, _: AuditEvent, _: Severity) -> bool {
        true
    }

    fn record(&self, record: &AuditRecord) {
        self.0.lock().unwrap().push(serde_json::to_value(record).unwrap());
    }
}

impl Records {
    fn take(&self) -> Vec<Value> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

/// An authority whose refusals are folded.
fn folded() -> (TestAuthority, Arc<FoldedRefusals>, Records) {
    let mut fixture = TestAuthority::new();
    let records = Records::default();
    let clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(&fixture.clock);
    let refusals = Arc::new(FoldedRefusals::new(Arc::new(records.clone()), clock));
    fixture.authority = fixture.authority.with_audit(Arc::<FoldedRefusals>::clone(&refusals));
    (fixture, refusals, records)
}

fn sender(fixture: &TestAuthority, id: &str) -> Sender {
    Sender { identity: Some(CallerIdentity::Certificate(Arc::new(fixture.svid(id)))), ..Sender::default() }
}

fn from(address: u32, port: u16) -> Sender {
    let remote = Some(SocketAddr::from((Ipv4Addr::from(address), port)));
    Sender { identity: None, connection: ConnectionInfo { remote, listener: Some("mtls") } }
}

/// The sum of what records stand for, by the caller: one for each, and what it says of others.
fn sums(records: &[Value]) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for record in records {
        let caller = record["actor"].as_str().or_else(|| record["remote"].as_str()).unwrap();
        *sums.entry(caller.to_owned()).or_default() += record["repeated"].as_u64().unwrap_or(1);
    }
    sums
}

#[test]
fn of_ten_thousand_refusals_and_three_of_another_caller_both_are_seen_and_the_numbers_are_exact() {
    let (fixture, refusals, records) = folded();
    let [noisy, quiet] = ["spiffe://prod.example/noisy", "spiffe://prod.example/quiet"];
    let senders = [noisy, quiet].map(|id| sender(&fixture, id));
    for number in 0..10_000 {
        fixture.authority.report_refused(&senders[0], MALFORMED, "no body");
        if number % 4000 == 0 {
            fixture.authority.report_refused(&senders[1], MALFORMED, "no body");
        }
    }
    // The first of each are recorded at once and whole.
    let first = records.take();
    assert_eq!(sums(&first), BTreeMap::from([(noisy.to_owned(), 10), (quiet.to_owned(), 3)]));
    assert!(first.iter().all(|record| record["cause"] == "no body" && record.get("repeated").is_none()));
    // Nothing more within the second; and when it is over, the others as a number.
    refusals.tick();
    assert_eq!(records.take(), Vec::<Value>::new());
    fixture.clock.advance(Duration::from_secs(1));
    refusals.tick();
    let more = records.take();
    assert_eq!(sums(&more), BTreeMap::from([(noisy.to_owned(), 9_990)]));
    assert!(more.iter().all(|record| record["reason"] == "invalid_request" && record["event"] == "request_refused"));
    refusals.tick();
    assert_eq!(records.take(), Vec::<Value>::new());

    let families = fixture.authority.metric_families();
    let grants = families.iter().find(|family| family.name == "lanyard_grants_refused").unwrap();
    let Samples::Counters(samples) = &grants.samples else { panic!("{grants:?}") };
    let refused = samples.iter().find(|sample| sample.labels[0].1 == "invalid_request").unwrap();
    assert_eq!(refused.value, 10_003);
}

#[test]
fn another_reason_is_no_part_of_a_flood_and_a_flood_that_lasts_has_one_record_each_second() {
    let (fixture, refusals, records) = folded();
    let caller = sender(&fixture, CHECKOUT);
    let refuse = |request, times: usize| {
        for _ in 0..times {
            fixture.authority.report_refused(&caller, request, "");
        }
        records.take().len()
    };
    // As many as are no flood, and one more.
    assert_eq!((refuse(MALFORMED, 10), refuse(MALFORMED, 1)), (10, 0));
    assert_eq!(refuse(RefusedRequest::Token(GrantErrorCode::InvalidScope), 1), 1);
    assert_eq!(refuse(RefusedRequest::Introspection("invalid_request"), 1), 1);
    let next_second = || {
        fixture.clock.advance(Duration::from_secs(1));
        refusals.tick();
        records.take().iter().map(|record| record["repeated"].as_u64()).collect::<Vec<_>>()
    };
    assert_eq!(next_second(), [Some(1)]);
    assert_eq!(refuse(MALFORMED, 5), 1);
    assert_eq!(next_second(), [Some(4)]);
    assert_eq!(refuse(MALFORMED, 5), 1);
    // After a second without others the flood is over.
    assert_eq!((next_second(), refuse(MALFORMED, 1)), (vec![Some(4)], 1));
    assert_eq!((next_second(), refuse(MALFORMED, 10)), (vec![], 10));
    // What was counted is not lost where the server stops, or the next second begins before the number is recorded.
    assert_eq!(refuse(MALFORMED, 2), 0);
    fixture.clock.advance(Duration::from_secs(1));
    assert_eq!(refuse(MALFORMED, 2), 1);
    refusals.finish();
    assert_eq!(records.take()[0]["repeated"], 3);
}

#[test]
fn callers_without_a_name_are_told_apart_by_their_address_and_beyond_a_bound_not_at_all() {
    let (fixture, refusals, records) = folded();
    for address in 0..5000 {
        for port in [1, 2] {
            fixture.authority.report_refused(&from(address, port), MALFORMED, "");
        }
    }
    // Those of the callers that are told apart, and the first ones of all others.
    assert_eq!(records.take().len(), 2 * 1024 + 10);
    refusals.finish();
    assert_eq!(sums(&records.take()), BTreeMap::from([("other callers".to_owned(), 2 * (5000 - 1024) - 10)]));
    // By address, and not by its port.
    for port in 1..=12 {
        fixture.authority.report_refused(&from(7, port), MALFORMED, "");
    }
    assert_eq!(records.take().len(), 10);
    refusals.finish();
    assert_eq!(sums(&records.take()), BTreeMap::from([("0.0.0.7".to_owned(), 2)]));
}

#[test]
fn allowances_and_changes_are_recorded_one_by_one() {
    let (fixture, _, records) = folded();
    fixture.register(spiffe_client(CHECKOUT));
    let checkout = fixture.svid(CHECKOUT);
    for _ in 0..3 {
        fixture.issue(&checkout, CHECKOUT).unwrap();
    }
    let leaf = fixture.prod.svid(CHECKOUT).issue();
    let token = fixture.token(&fixture.peer(&leaf));
    for _ in 0..3 {
        assert!(matches!(fixture.evaluate(&token, &leaf), Decision::Allow(_)));
    }
    let events: Vec<_> = records.take().iter().map(|record| record["event"].as_str().unwrap().to_owned()).collect();
    let expected = [vec!["client_changed"], vec!["token_issued"; 4], vec!["binding_decided"; 3]].concat();
    assert_eq!(events, expected);
}
