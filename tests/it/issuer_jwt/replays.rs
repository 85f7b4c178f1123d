//! An assertion belongs to the certificate of its first use (SA-05).

use std::time::Duration;

use lanyard::authority::access::CalledMethod;
use lanyard::authority::access::METHODS;
use serde_json::json;
use tonic::Code;

use crate::issuer_jwt::cluster::account;
use crate::issuer_jwt::cluster::asserting;
use crate::issuer_jwt::cluster::started;
use crate::support::as_of_now::AsOfNow as _;
use crate::support::ca::self_signed;
use crate::support::calls::opened;
use crate::support::calls::refusal;
use crate::support::server::TestServer;

fn invalid() -> (Code, String) {
    (Code::Unauthenticated, "INVALID_CLIENT".to_owned())
}

async fn reused(server: &TestServer) -> u64 {
    server.page().await.get("lanyard_assertions_reused_total").unwrap()
}

#[tokio::test]
async fn a_stolen_assertion_gets_nothing_with_another_certificate_and_is_told() {
    let (server, cluster) = started().await;
    server.register(account("checkout")).await.unwrap();
    server.register(account("twin")).await.unwrap();
    let [own, thief] = ["own", "thief"].map(|name| self_signed(name).issue());
    let assertion = cluster.token();
    // What is refused ties nothing: the thief cannot shut its owner out with a request that gets nothing.
    let wrong = server.issue(&thief, asserting("nobody", &assertion)).await;
    assert_eq!(refusal(wrong), invalid());
    for _ in 0..2 {
        let token = server.assert(&own, &assertion).await.unwrap().access_token;
        assert_eq!(opened(&token).1["cnf"]["x5t#S256"], own.thumbprint().to_string());
    }
    assert_eq!(reused(&server).await, 0);
    for client_id in ["checkout", "twin"] {
        assert_eq!(refusal(server.issue(&thief, asserting(client_id, &assertion)).await), invalid(), "{client_id}");
    }
    assert_eq!(reused(&server).await, 2);
    // Another text of the same assertion is the same assertion: a header that says no more, and a signature of its own.
    let again = cluster
        .key
        .sign(&json!({ "alg": "ES256", "kid": "first", "typ": "JWT" }).to_string(), &cluster.claims().to_string());
    assert_eq!(refusal(server.assert(&thief, &again).await), invalid());
    server.assert(&own, &again).await.unwrap();
    // The next one is the thief's own, if it is one at all.
    server.assert(&thief, &cluster.fresh("next")).await.unwrap();
    assert_eq!(refusal(server.assert(&own, &cluster.fresh("next")).await), invalid());
    server.advance(Duration::from_secs(599));
    assert_eq!(refusal(server.assert(&thief, &assertion).await), invalid());
}

#[tokio::test]
async fn an_assertion_without_a_jti_is_known_by_what_is_signed() {
    let (server, cluster) = started().await;
    server.register(account("checkout")).await.unwrap();
    let [own, thief] = ["own", "thief"].map(|name| self_signed(name).issue());
    let bare = |iat: u64| {
        cluster.token_with(|claims| {
            claims.as_object_mut().unwrap().remove("jti");
            claims["iat"] = json!(claims["iat"].as_u64().unwrap() - iat);
        })
    };
    // ECDSA: each signature is another text.
    let (first, second) = (bare(0), bare(0));
    assert_ne!(first, second);
    server.assert(&own, &first).await.unwrap();
    for stolen in [&first, &second] {
        assert_eq!(refusal(server.assert(&thief, stolen).await), invalid());
    }
    server.assert(&thief, &bare(1)).await.unwrap();
}

#[tokio::test]
async fn a_connection_with_a_self_made_certificate_reaches_what_it_is_for_and_nothing_else() {
    let (server, cluster) = started().await;
    server.register(account("checkout")).await.unwrap();
    let own = self_signed("own").issue();
    server.assert(&own, &cluster.token()).await.unwrap();
    let connection = server.server.authority().admit(own.chain.clone()).unwrap();
    for method in METHODS.iter().filter(|method| !method.for_unknown_certificates) {
        let called = CalledMethod::find(method.name, true);
        assert!(server.server.authority().authorize_now(&connection, called).is_err(), "{}", method.name);
    }
    // A certificate that claims an identity has to prove it.
    let foreign = crate::support::ca::TestCa::new("prod.example").svid("spiffe://prod.example/checkout").issue();
    assert!(server.server.authority().admit(foreign.chain).is_err());
    assert!(server.server.authority().admit(self_signed("own").expired().issue().chain).is_err());
}
