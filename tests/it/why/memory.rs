//! What is remembered is bounded, and a flood of one kind displaces no other.

use std::net::Ipv6Addr;
use std::net::SocketAddr;

use lanyard::authority::access::CallerIdentity;
use lanyard::authority::access::ConnectionInfo;
use lanyard::authority::access::NotAdmitted;
use lanyard::authority::access::Sender;
use lanyard::authority::identity::PresentedCertificate;
use lanyard::authority::observe::HandshakeError;
use lanyard::authority::observe::MAX_REFUSALS_BYTES;
use lanyard::authority::observe::RefusalFilter;
use lanyard::authority::reference::Reference;
use lanyard::authority::trust::Unproven;

use crate::support::authority::CHECKOUT;
use crate::support::authority::TestAuthority;

const THIEF: &str = "spiffe://prod.example/ns/shop/sa/thief";

const METHOD: &str = "/lanyard.v1.RegistryService/ListClients";

/// A handshake of one of many strangers, with an address and a name of its own.
fn stranger(fixture: &TestAuthority, known: &PresentedCertificate, number: u32) -> Reference {
    let address = SocketAddr::from((Ipv6Addr::from(u128::from(number)), 443));
    let id = format!("spiffe://prod.example/ns/{number}/sa/{}", "x".repeat(200));
    let presented = PresentedCertificate { names: vec![id.clone()], spiffe_id: Some(id), ..known.clone() };
    let connection = ConnectionInfo { remote: Some(address), listener: Some("mtls") };
    let error = HandshakeError::Unproven(Unproven::NoPath);
    fixture.authority.report_handshake(connection, Some(&presented), error, &Unproven::NoPath.to_string())
}

/// A call of this peer that is not admitted.
fn refused(fixture: &TestAuthority, id: &str) -> Reference {
    let sender = Sender { identity: Some(CallerIdentity::Certificate(fixture.svid(id).into())), ..Sender::default() };
    fixture.authority.report_not_admitted(&sender, METHOD, NotAdmitted::WrongRole, false)
}

#[test]
fn a_million_strangers_stay_within_the_bound_and_displace_no_caller() {
    let fixture = TestAuthority::new();
    let memory = fixture.authority.refusals();
    let of_caller = refused(&fixture, CHECKOUT);
    let (_, of_callers) = memory.size();
    let known = PresentedCertificate::from(fixture.svid(THIEF).certificate());
    let first = stranger(&fixture, &known, 0);
    let mut last = first;
    for number in 1..1_000_000 {
        last = stranger(&fixture, &known, number);
        if number % 10_000 == 0 {
            let (_, bytes) = memory.size();
            assert!(bytes - of_callers <= MAX_REFUSALS_BYTES / 4, "{bytes}");
        }
    }
    let (count, bytes) = memory.size();
    assert!(count > 500 && bytes > MAX_REFUSALS_BYTES / 8, "{count} of {bytes} bytes: the bound is used");
    assert!(memory.find(first).is_none() && memory.find(last).is_some());
    assert!(memory.find(of_caller).is_some());
}

#[test]
fn of_one_kind_the_newest_are_kept_and_another_kind_is_not_displaced() {
    let fixture = TestAuthority::new();
    let memory = fixture.authority.refusals();
    let of_other = refused(&fixture, THIEF);
    let of_one: Vec<Reference> = (0..1000).map(|_| refused(&fixture, CHECKOUT)).collect();
    let kept: Vec<bool> = of_one.iter().map(|reference| memory.find(*reference).is_some()).collect();
    assert_eq!(kept.iter().filter(|kept| **kept).count(), 8);
    assert!(kept[992..].iter().all(|kept| *kept));
    assert!(memory.find(of_other).is_some());
    let newest = memory.newest(&RefusalFilter::default(), 3);
    let newest: Vec<Reference> = newest.iter().map(|refusal| refusal.reference).collect();
    assert_eq!(newest, [of_one[999], of_one[998], of_one[997]]);
    let filter = RefusalFilter { caller: Some(THIEF.to_owned()), ..RefusalFilter::default() };
    assert_eq!(memory.newest(&filter, 3).len(), 1);
}
