//! Clocks: a step back, and the years in which fields of time overflow.

use std::sync::Arc;

use lanyard::authority::clock::Clock as _;
use lanyard::authority::clock::ManualClock;
use lanyard::authority::clock::Timestamp;
use lanyard::proto::Decision;
use lanyard::proto::DenyReason;

use crate::support::ca::TestCa;
use crate::support::server::Setup;
use crate::support::server::TRUST_DOMAIN;
use crate::support::server::TestServer;
use crate::support::server::certificate_of;

#[tokio::test]
async fn a_clock_that_steps_back_by_five_seconds_denies_nothing_and_by_ten_a_new_token() {
    let server = TestServer::start().await;
    let checkout = server.workload("/checkout").await;
    let token = server.token(&checkout).await;
    let issued = server.now();
    for (back, reason) in [
        (1, DenyReason::Unspecified),
        (5, DenyReason::Unspecified),
        (10, DenyReason::TokenNotYetValid),
        (0, DenyReason::Unspecified),
    ] {
        server.setup.clock.set(Timestamp(issued.0 - back));
        assert_eq!(server.validate(&token, certificate_of(&checkout)).await.unwrap().reason(), reason, "{back}");
    }
}

// The ends of 32 bits with and without a sign, and the year from which X.509 writes times in another type (RFC 5280
// section 4.1.2.5)
#[tokio::test]
async fn tokens_are_issued_and_used_in_the_years_2038_2050_and_2106() {
    for now in [2_147_483_647, 2_147_483_648, 2_524_608_000, 4_294_967_295, 4_294_967_296] {
        let now = Timestamp(now);
        let setup =
            Setup { ca: TestCa::at(TRUST_DOMAIN, now), clock: Arc::new(ManualClock::new(now)), ..Setup::default() };
        setup.write();
        let server = setup.start().await.unwrap();
        let checkout = server.workload("/checkout").await;
        let token = server.token(&checkout).await;
        let decided = server.validate(&token, certificate_of(&checkout)).await.unwrap();
        assert_eq!((decided.decision(), decided.reason()), (Decision::Allow, DenyReason::Unspecified), "{now:?}");
        assert_eq!(server.setup.clock.now(), now);
    }
}
