//! Transaction tokens through a real Envoy: the service gets the one that was minted at the edge and none that a client sent, and a
//! resource that looks at them takes exactly one.

use axum::body::Body;
use axum::http::Request;
use lanyard::proto::ProtectedResource;
use lanyard::proto::Route;
use lanyard::proto::RouteTxn;
use serde_json::Value;

use crate::support::check::route;
use crate::support::http::Reply;
use crate::support::mesh::Mesh;
use crate::support::mesh::get;
use crate::support::mesh::reason;
use crate::support::mesh::seen;
use crate::support::mesh::with_header;
use crate::support::mint::part;

/// Orders are read in a transaction that is minted; the rest of the resource needs one.
fn minting(resource: &mut ProtectedResource) {
    let txn = RouteTxn {
        scope: "order.read".to_owned(),
        details: [("order".to_owned(), "{id}".to_owned())].into(),
        context: vec!["req_ip".to_owned()],
    };
    for one in &mut resource.routes {
        if one.path == "/orders/{id}" {
            one.txn = Some(txn.clone());
        }
    }
    resource.routes.push(Route { txn_scope: "order.pay".to_owned(), ..route(&["GET"], "/pay", "") });
    resource.txn_token = "require".to_owned();
}

/// All values of headers that some server might take for a transaction token.
fn txn_tokens(reply: &Reply) -> Vec<String> {
    assert_eq!(reply.status, 200, "{reply:?}");
    let seen: Value = serde_json::from_str(&reply.body).unwrap();
    let named = |name: &str| name.to_ascii_lowercase().replace('_', "-") == "txn-token";
    let headers = seen["headers"].as_object().unwrap().iter().filter(|(name, _)| named(name));
    headers.flat_map(|(_, values)| values.as_array().unwrap()).map(|value| value.as_str().unwrap().to_owned()).collect()
}

/// Twenty ways to send a transaction token that are not the one header with the one token.
fn spellings(token: &str) -> Vec<Vec<(&'static str, String)>> {
    let one = |name, value: String| vec![(name, value)];
    let two = |names: [&'static str; 2]| names.map(|name| (name, token.to_owned())).to_vec();
    vec![
        one("txn_token", token.to_owned()),
        one("TXN_TOKEN", token.to_owned()),
        one("Txn_Token", token.to_owned()),
        one("tXn_tOkEn", token.to_owned()),
        two(["txn-token", "txn-token"]),
        two(["txn-token", "Txn-Token"]),
        two(["TXN-TOKEN", "Txn-Token"]),
        two(["txn-token", "txn_token"]),
        two(["txn_token", "txn-token"]),
        two(["txn_token", "txn_token"]),
        two(["TXN_TOKEN", "txn-token"]),
        one("txn-token", format!("{token},{token}")),
        one("txn-token", format!("{token}, {token}")),
        one("txn-token", format!("{token},")),
        one("txn-token", format!(",{token}")),
        one("txn-token", format!("Bearer {token}")),
        one("txn-token", format!("N_A {token}")),
        one("txn-token", format!("\"{token}\"")),
        one("txn-token", format!("{token};q=1")),
        one("txn-token", format!("{token}=")),
    ]
}

fn sending(path: &str, bearer: &str, headers: &[(&'static str, String)]) -> Request<Body> {
    headers.iter().fold(get(path, bearer), |request, (name, value)| with_header(request, name, value))
}

#[tokio::test]
async fn the_service_gets_the_transaction_token_that_was_minted_and_none_that_a_client_sent() {
    // Also where Envoy does not take out what begins like Lanyard's headers.
    let filter = "regex: \"x[-_]lanyard[-_].*\"";
    for changes in [Vec::new(), vec![(filter, "regex: \"nothing\"".to_owned())]] {
        let Some(mesh) = Mesh::start(changes, minting).await else { return };
        let first = mesh.send(&mesh.checkout, get("/orders/17", &mesh.token)).await;
        let sent = txn_tokens(&first);
        let [minted] = &sent[..] else { panic!("{first:?}") };
        let claims = part(minted, 1);
        assert_eq!((&claims["tctx"]["order"], &claims["rctx"]["req_ip"]), (&"17".into(), &"127.0.0.1".into()));
        assert_eq!(seen(&first, "x-lanyard-txn"), [claims["txn"].as_str().unwrap()]);
        assert_eq!(seen(&first, "x-lanyard-txn-subject"), [claims["sub"].as_str().unwrap()]);
        for http2 in [true, false] {
            let mut connection = mesh.open(&mesh.checkout, http2).await;
            for headers in spellings(minted).into_iter().chain([vec![("txn-token", minted.clone())]]) {
                let forged = [("x-lanyard-txn", "forged".to_owned()), ("x_lanyard_txn_subject", "forged".to_owned())];
                let headers = [headers, forged.to_vec()].concat();
                let reply = connection.send(sending("/orders/18", &mesh.token, &headers)).await;
                let sent = txn_tokens(&reply);
                let [own] = &sent[..] else { panic!("{headers:?}: {reply:?}") };
                let claims = part(own, 1);
                assert!(own != minted && claims["tctx"]["order"] == "18", "{headers:?}");
                assert_eq!(seen(&reply, "x-lanyard-txn"), [claims["txn"].as_str().unwrap()], "{headers:?}");
                assert!(!reply.body.contains("forged"), "{headers:?}");
                // A public route of a resource that looks at them gets none.
                let public = connection.send(sending("/healthz", &mesh.token, &headers)).await;
                assert_eq!(txn_tokens(&public), [""; 0], "{headers:?}");
                assert!(!public.body.contains("forged"), "{headers:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_resource_that_needs_one_takes_the_one_header_and_none_of_twenty_other_spellings() {
    let Some(mesh) = Mesh::start(Vec::new(), minting).await else { return };
    let sent = txn_tokens(&mesh.send(&mesh.checkout, get("/orders/17", &mesh.token)).await);
    let [minted] = &sent[..] else { panic!("{sent:?}") };
    for http2 in [true, false] {
        let mut connection = mesh.open(&mesh.checkout, http2).await;
        for name in ["txn-token", "Txn-Token"] {
            let reply = connection.send(sending("/whoami", &mesh.token, &[(name, minted.clone())])).await;
            assert_eq!(txn_tokens(&reply), [minted.as_str()], "{name}");
            assert_eq!(seen(&reply, "x-lanyard-txn"), [part(minted, 1)["txn"].as_str().unwrap()]);
        }
        for headers in spellings(minted) {
            // Envoy closes a connection over HTTP/1.1 after a 400.
            let reply = mesh.open(&mesh.checkout, http2).await.send(sending("/whoami", &mesh.token, &headers)).await;
            assert_eq!((reply.status, reason(&reply).as_str()), (400, "TXN_TOKEN_MALFORMED"), "{headers:?}");
        }
        for (headers, path, status, expected) in [
            (vec![], "/whoami", 403, "TXN_TOKEN_MISSING"),
            (vec![("txn-token", mesh.token.clone())], "/whoami", 403, "TXN_TOKEN_INVALID"),
            (vec![("txn-token", minted.clone())], "/pay", 403, "TXN_SCOPE_MISSING"),
        ] {
            let reply = connection.send(sending(path, &mesh.token, &headers)).await;
            assert_eq!((reply.status, reason(&reply).as_str()), (status, expected), "{path}");
        }
        // X21: it is no access token, whoever sends it.
        let reply = connection.send(sending("/whoami", minted, &[("txn-token", minted.clone())])).await;
        assert_eq!((reply.status, reason(&reply).as_str()), (401, "TOKEN_TYPE"));
    }
    let thief = mesh.send(&mesh.thief, sending("/whoami", &mesh.token, &[("txn-token", minted.clone())])).await;
    assert_eq!(reason(&thief), "CERTIFICATE_MISMATCH");
}
