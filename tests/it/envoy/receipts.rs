//! Receipts through a real Envoy: the service behind it gets the one that Lanyard made, and none that a client sent.

use axum::body::Body;
use axum::http::Request;
use lanyard::proto::Receipts;
use serde_json::Value;

use crate::support::http::Reply;
use crate::support::mesh::Mesh;
use crate::support::mesh::get;
use crate::support::mesh::with_header;

/// All values of headers that some server might take for the receipt.
fn receipts(reply: &Reply) -> Vec<String> {
    assert_eq!(reply.status, 200, "{reply:?}");
    let seen: Value = serde_json::from_str(&reply.body).unwrap();
    let named = |name: &str| name.to_ascii_lowercase().replace('_', "-").contains("receipt");
    let headers = seen["headers"].as_object().unwrap().iter().filter(|(name, _)| named(name));
    headers.flat_map(|(_, values)| values.as_array().unwrap()).map(|value| value.as_str().unwrap().to_owned()).collect()
}

/// A request with what a client forges, in every spelling of the header.
fn forging(path: &str, token: &str) -> Request<Body> {
    let names =
        ["x-lanyard-receipt", "x-lanyard-receipt", "x_lanyard_receipt", "x-lanyard_receipt", "x_lanyard-receipt"];
    let request = names.into_iter().fold(get(path, token), |request, name| with_header(request, name, "lr1.a.b.c"));
    with_header(request, "x-lanyard-receipt", "lr1.a.b.c, lr1.d.e.f")
}

#[tokio::test]
async fn the_service_gets_the_receipt_that_was_made_and_none_that_a_client_sent_in_any_spelling() {
    let filter = "regex: \"x[-_]lanyard[-_].*\"";
    for changes in [Vec::new(), vec![(filter, "regex: \"nothing\"".to_owned())]] {
        let leaving = Receipts { exchangers: vec!["spiffe://prod.example/orders".to_owned()], ..Receipts::default() };
        let Some(mesh) = Mesh::start(changes, |resource| resource.receipts = Some(leaving)).await else { return };
        for http2 in [true, false] {
            let mut connection = mesh.open(&mesh.checkout, http2).await;
            let [one, two] = [
                receipts(&connection.send(forging("/orders/1", &mesh.token)).await),
                receipts(&connection.send(get("/orders/1", &mesh.token)).await),
            ];
            for seen in [&one, &two] {
                assert!(seen.len() == 1 && seen[0].starts_with("lr1.") && seen[0].len() > 300, "{seen:?}");
            }
            assert_ne!(one, two, "each presentation has its own");
            assert_eq!(receipts(&connection.send(forging("/healthz", &mesh.token)).await), [""; 0], "a public route");
        }
    }
}

#[tokio::test]
async fn where_a_resource_leaves_no_receipts_none_reaches_the_service() {
    let filter = "regex: \"x[-_]lanyard[-_].*\"";
    for changes in [Vec::new(), vec![(filter, "regex: \"nothing\"".to_owned())]] {
        let Some(mesh) = Mesh::start(changes, |_| {}).await else { return };
        for http2 in [true, false] {
            let mut connection = mesh.open(&mesh.checkout, http2).await;
            assert_eq!(receipts(&connection.send(forging("/orders/1", &mesh.token)).await), [""; 0]);
        }
    }
}
