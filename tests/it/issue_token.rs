//! `TokenService.IssueToken` over real TLS.

use lanyard::proto::Decision;

use crate::support::server::TestServer;
use crate::support::server::certificate_of;

#[tokio::test]
async fn a_registered_workload_gets_a_token_bound_to_its_certificate() {
    let server = TestServer::start().await;
    let checkout = server.workload("/checkout").await;
    let token = server.token(&checkout).await;
    let own = server.validate(&token, certificate_of(&checkout)).await.unwrap();
    assert_eq!(own.decision(), Decision::Allow);
    let thief = server.workload("/thief").await;
    let stolen = server.validate(&token, certificate_of(&thief)).await.unwrap();
    assert_eq!(stolen.decision(), Decision::Deny);
}
