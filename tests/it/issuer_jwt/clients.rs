//! Registrations by `issuer_jwt`, and the way from an assertion to an allowed use.

use lanyard::authority::trust::Unproven;
use lanyard::client::assertion::JWT_BEARER;
use lanyard::proto::Client;
use lanyard::proto::Decision;
use lanyard::proto::Match;
use serde_json::json;
use tonic::Code;

use crate::issuer_jwt::cluster::ACCOUNT;
use crate::issuer_jwt::cluster::CLUSTER;
use crate::issuer_jwt::cluster::Cluster;
use crate::issuer_jwt::cluster::SUBJECT;
use crate::issuer_jwt::cluster::UID;
use crate::issuer_jwt::cluster::account;
use crate::issuer_jwt::cluster::asserting;
use crate::issuer_jwt::cluster::started;
use crate::support::ca::self_signed;
use crate::support::calls::opened;
use crate::support::calls::refusal;
use crate::support::calls::refused_field;
use crate::support::calls::self_signed_client;
use crate::support::http::get;
use crate::support::server::TestServer;
use crate::support::server::certificate_of;
use crate::support::server::spiffe_client;

fn invalid() -> (Code, String) {
    (Code::Unauthenticated, "INVALID_CLIENT".to_owned())
}

#[tokio::test]
async fn a_service_account_gets_a_token_bound_to_a_certificate_that_it_made_itself() {
    let (server, cluster) = started().await;
    server.register(account("checkout")).await.unwrap();
    let [own, thief] = ["own", "thief"].map(|name| self_signed(name).issue());
    let issued = server.assert(&own, &cluster.token()).await.unwrap();
    let claims = opened(&issued.access_token).1;
    assert_eq!(claims["cnf"], json!({ "x5t#S256": own.thumbprint().to_string() }));
    assert_eq!((&claims["sub"], &claims["client_id"]), (&json!("checkout"), &json!("checkout")));
    assert!(claims.get("kubernetes.io").is_none(), "{claims}");
    let allowed = server.validate(&issued.access_token, certificate_of(&own)).await.unwrap();
    assert_eq!((allowed.decision(), allowed.r#match()), (Decision::Allow, Match::Exact));
    let denied = server.validate(&issued.access_token, certificate_of(&thief)).await.unwrap();
    assert_eq!(denied.decision(), Decision::Deny);
    // With nothing but the certificate, or nothing but the assertion, there is no token.
    assert_eq!(refusal(server.issue_as(&own, "checkout").await), invalid());
    assert_eq!(refusal(server.issue_as(&thief, "checkout").await), invalid());
    let nobody = server.tls_builder().with_no_client_auth();
    let nobody = crate::support::server::channel(server.addresses.mtls, nobody);
    let mut nobody = lanyard::proto::token_service_client::TokenServiceClient::new(nobody);
    assert!(nobody.issue_token(asserting("checkout", &cluster.token())).await.is_err());
}

#[tokio::test]
async fn the_token_endpoint_takes_the_assertion_as_the_message_does() {
    let (server, cluster) = started().await;
    server.register(account("checkout")).await.unwrap();
    let own = self_signed("own").issue();
    let assertion = cluster.token();
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", "checkout"),
        ("client_assertion_type", JWT_BEARER),
        ("client_assertion", assertion.as_str()),
    ];
    let issued = server.post(&own, "/oauth2/token", &form).await.ok();
    let token = issued["access_token"].as_str().unwrap();
    assert_eq!(opened(token).1["cnf"]["x5t#S256"], own.thumbprint().to_string());
    let refused = (401, "invalid_client".to_owned());
    assert_eq!(server.post(&own, "/oauth2/token", &form[..2]).await.error(), refused);
    // The subject names no client.
    let unnamed = [form[0], form[2], form[3]];
    assert_eq!(server.post(&own, "/oauth2/token", &unnamed).await.error(), (400, "invalid_request".to_owned()));
    let half = server.post(&own, "/oauth2/token", &form[..3]).await.error();
    assert_eq!(half, (400, "invalid_request".to_owned()));
}

#[tokio::test]
async fn a_claim_counts_only_as_the_text_that_is_registered() {
    let (server, cluster) = started().await;
    let pinned = |claims: &[(&str, &str)]| Client {
        claims: claims.iter().map(|(pointer, text)| ((*pointer).to_owned(), (*text).to_owned())).collect(),
        ..account("checkout")
    };
    let own = self_signed("own").issue();
    let mut client = server.register(pinned(&[(UID, ACCOUNT), ("/kubernetes.io/namespace", "shop")])).await.unwrap();
    assert_eq!(client.claims[UID], ACCOUNT);
    server.assert(&own, &cluster.token()).await.unwrap();
    let change = |pointer: &'static str, value: serde_json::Value| {
        cluster.token_with(|claims| {
            claims["jti"] = json!(format!("{pointer} {value}"));
            *claims.pointer_mut(pointer).unwrap() = value;
        })
    };
    for other in [
        // The account was deleted and made again.
        change(UID, json!("00000000-27d8-4d5a-a1f2-0c5b1d3f6a11")),
        change(UID, json!(format!("{ACCOUNT} "))),
        change(UID, json!([ACCOUNT])),
        change(UID, json!({ "uid": ACCOUNT })),
        change(UID, json!(null)),
        change("/kubernetes.io/serviceaccount", json!(ACCOUNT)),
        change("/kubernetes.io", json!({})),
        change("/kubernetes.io/namespace", json!("Shop")),
        change("/sub", json!("system:serviceaccount:shop:checkout2")),
        change("/sub", json!("system:serviceaccount:shop:*")),
        change("/sub", json!("system:serviceaccount:other:checkout")),
        change("/sub", json!("SYSTEM:serviceaccount:shop:checkout")),
    ] {
        assert_eq!(refusal(server.assert(&own, &other).await), invalid(), "{other}");
    }
    // A name with a slash is written with ~1, and a number is no text.
    let odd = cluster.token_with(|claims| {
        claims["jti"] = json!("odd");
        claims["a/b~c"] = json!("1");
        claims["number"] = json!(1);
    });
    for (claims, right) in [([("/a~1b~0c", "1")], true), ([("/a/b~0c", "1")], false), ([("/number", "1")], false)] {
        client = server.update(Client { etag: client.etag, ..pinned(&claims) }).await.unwrap();
        assert_eq!(server.assert(&own, &odd).await.is_ok(), right, "{claims:?}");
    }
}

#[tokio::test]
async fn a_registration_says_exactly_who_and_is_refused_by_the_field_that_does_not() {
    let (server, _) = started().await;
    let claim = |pointer: &str, text: &str| Client {
        claims: [(pointer.to_owned(), text.to_owned())].into(),
        ..account("checkout")
    };
    let method = "tls_client_certificate_bound_access_tokens";
    for (client, field) in [
        (Client { issuer: String::new(), ..account("checkout") }, "issuer"),
        (Client { issuer: format!("{CLUSTER}/"), ..account("checkout") }, "issuer"),
        (Client { issuer: "https://elsewhere.example".to_owned(), ..account("checkout") }, "issuer"),
        (Client { subject: String::new(), ..account("checkout") }, "subject"),
        (Client { subject: "system:serviceaccount:shop:*".to_owned(), ..account("checkout") }, "subject"),
        (Client { subject: "spiffe://prod.example/checkout".to_owned(), ..account("checkout") }, "subject"),
        (Client { subject: "a\nb".to_owned(), ..account("checkout") }, "subject"),
        (claim("uid", "x"), "claims"),
        (claim("", "x"), "claims"),
        (claim("/a~2", "x"), "claims"),
        (claim("/a~", "x"), "claims"),
        (claim("/a", ""), "claims"),
        (Client { tls_client_certificate_bound_access_tokens: Some(false), ..account("checkout") }, method),
        (Client { rotation: "identity".to_owned(), ..account("checkout") }, "rotation"),
        (Client { spiffe_id: "spiffe://prod.example/a".to_owned(), ..account("checkout") }, "spiffe_id"),
        (Client { jwks: "{\"keys\":[]}".to_owned(), ..account("checkout") }, "jwks"),
        // Nobody takes the name of a workload that an SVID proves.
        (account("spiffe://prod.example/checkout"), "client_id"),
        (Client { issuer: CLUSTER.to_owned(), ..spiffe_client("spiffe://prod.example/a") }, "issuer"),
        (Client { subject: SUBJECT.to_owned(), ..spiffe_client("spiffe://prod.example/a") }, "subject"),
        (Client { claims: claim("/a", "x").claims, ..self_signed_client("own", "") }, "claims"),
    ] {
        let told = format!("{client:?}");
        assert_eq!(refused_field(server.register(client).await), field, "{told}");
    }
    let most = (0..16).map(|number| (format!("/{number}"), "x".to_owned()));
    let many =
        Client { claims: most.clone().chain([("/16".to_owned(), "x".to_owned())]).collect(), ..account("checkout") };
    assert_eq!(refused_field(server.register(many).await), "claims");
    let registered = server.register(Client { claims: most.collect(), ..account("checkout") }).await.unwrap();
    assert_eq!((registered.token_endpoint_auth_method.as_str(), registered.subject.as_str()), ("issuer_jwt", SUBJECT));
}

// An issuer that nobody configured opens nothing, the handshake least of all.
#[tokio::test]
async fn without_a_trusted_issuer_there_is_no_such_method_and_no_such_connection() {
    let server = TestServer::start().await;
    assert_eq!(refused_field(server.register(account("checkout")).await), "issuer");
    let own = self_signed("own").issue();
    let cluster = Cluster::new();
    assert_eq!(server.server.authority().admit(own.chain.clone()).unwrap_err(), Unproven::Unknown);
    let svid = server.workload("/checkout").await;
    assert_eq!(refusal(server.assert(&svid, &cluster.token()).await), invalid());
    assert!(server.server.authority().admit(svid.chain.clone()).is_ok());
}

#[tokio::test]
async fn the_metadata_name_the_method_where_an_issuer_is_trusted() {
    for (server, served) in [(started().await.0, true), (TestServer::start().await, false)] {
        let leaf = server.svid("/admin");
        let metadata = server.send(&leaf, get("/.well-known/oauth-authorization-server")).await.json();
        let methods = metadata["token_endpoint_auth_methods_supported"].as_array().unwrap();
        assert_eq!(methods.contains(&json!("issuer_jwt")), served, "{metadata}");
    }
}
