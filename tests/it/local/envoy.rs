//! A real Envoy that asks over the socket.

use axum::body::Body;
use axum::http::Request;

use crate::support::local::SOCKET;
use crate::support::mesh::Mesh;
use crate::support::mesh::get;
use crate::support::mesh::reason;
use crate::support::mesh::seen;

#[tokio::test]
async fn envoy_asks_over_the_socket_and_what_is_denied_does_not_pass() {
    let Some(mesh) = Mesh::start_local(|user| user).await else { return };
    let rightful = mesh.legitimate().await;
    assert_eq!(rightful.status, 200, "{rightful:?}");
    assert_eq!(seen(&rightful, "x-lanyard-client-id"), ["spiffe://prod.example/checkout"]);
    let stolen = mesh.send(&mesh.thief, get("/orders/1", &mesh.token)).await;
    assert_eq!((stolen.status, reason(&stolen)), (401, "CERTIFICATE_MISMATCH".to_owned()));
    let none = mesh.send(&mesh.checkout, Request::get("/orders/1").body(Body::empty()).unwrap()).await;
    assert_eq!((none.status, reason(&none)), (401, "TOKEN_MISSING".to_owned()));
    assert_eq!(mesh.upstream.reached(), 1);
    // It asked there, and nowhere else.
    let page = mesh.server.page().await;
    assert_eq!(page.get("lanyard_connections_accepted_total{listener=\"local\"}"), Some(1));
    assert_eq!(page.requests("envoy.service.auth.v3.Authorization/Check"), [1, 2, 0]);
    assert!(mesh.server.setup.path(SOCKET).exists());
}

#[tokio::test]
async fn an_envoy_of_another_user_gets_no_answer_and_lets_nothing_pass() {
    let Some(mesh) = Mesh::start_local(|user| user + 1).await else { return };
    let refused = mesh.legitimate().await;
    assert_eq!(refused.status, 503, "{refused:?}");
    assert_eq!(mesh.upstream.reached(), 0);
    let page = mesh.server.page().await;
    assert!(page.get("lanyard_handshakes_refused_total{reason=\"USER_UNKNOWN\"}") > Some(0));
    assert_eq!(page.requests("envoy.service.auth.v3.Authorization/Check"), [0, 0, 0]);
}
