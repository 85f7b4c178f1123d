//! The responses to Envoy's checks of requests, over gRPC as Envoy sends them.

use std::time::Duration;

use lanyard::proto::Client;
use lanyard::proto::ProtectedResource;
use lanyard::proto::RevokeTokenRequest;
use lanyard::proto::revoke_token_request::Target;
use tonic::Code;

use crate::support::check::Answer;
use crate::support::check::Asked;
use crate::support::check::answer;
use crate::support::check::metadata;
use crate::support::check::orders;
use crate::support::leaf::Leaf;
use crate::support::raw;
use crate::support::server::ORDERS;
use crate::support::server::TestServer;
use crate::support::server::spiffe_client;

const CHECKOUT: &str = "spiffe://prod.example/checkout";

/// A server with the orders resource, a workload, and its token.
async fn shop(change: impl FnOnce(&mut ProtectedResource)) -> (TestServer, Leaf, String) {
    let server = TestServer::start().await;
    let mut resource = orders();
    change(&mut resource);
    server.protect(resource).await.unwrap();
    let checkout = server.workload("/checkout").await;
    let token = server.token(&checkout).await;
    (server, checkout, token)
}

fn denied(http: i32, reason: &str, challenge: Option<&str>) -> Answer {
    Answer::Denied { http, reason: reason.to_owned(), challenge: challenge.map(ToOwned::to_owned) }
}

#[tokio::test]
async fn the_rightful_use_goes_through_and_says_who_calls() {
    let (server, checkout, token) = shop(|_| {}).await;
    let response = server.checks(&server.svid("/proxy")).check(Asked::with(&token, &checkout).message()).await;
    let response = response.unwrap().into_inner();
    let set = [
        ("x-lanyard-binding", "exact"),
        ("x-lanyard-client-id", CHECKOUT),
        ("x-lanyard-scope", "orders.read orders.write"),
        ("x-lanyard-subject", CHECKOUT),
    ];
    let expected = Answer::Through {
        set: set.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        removed: ["x-lanyard-actor", "x-lanyard-receipt", "x-lanyard-txn", "x-lanyard-txn-subject"]
            .map(ToOwned::to_owned)
            .to_vec(),
        response: [].into(),
    };
    assert_eq!(answer(&response), expected);
    for (name, value) in [
        ("client_id", CHECKOUT),
        ("sub", CHECKOUT),
        ("scope", "orders.read orders.write"),
        ("resource", ORDERS),
        ("match", "exact"),
        ("evidence_grade", "certificate"),
    ] {
        assert_eq!(metadata(&response, name).as_deref(), Some(value), "{name}");
    }
    assert_eq!(metadata(&response, "would_deny"), None);
}

// RFC 8705 section 3, RFC 6750 section 3
#[tokio::test]
async fn each_denial_has_the_status_the_code_and_the_challenge_of_its_kind() {
    let (server, checkout, token) = shop(|_| {}).await;
    let thief = server.workload("/thief").await;
    let fine = || Asked::with(&token, &checkout);
    let realm = format!("Bearer realm=\"{ORDERS}\"");
    let invalid = |sentence: &str| format!("{realm}, error=\"invalid_token\", error_description=\"{sentence}\"");
    for (asked, expected) in [
        (fine().without("authorization"), denied(401, "TOKEN_MISSING", Some(&realm))),
        (
            fine().certificate(&thief),
            denied(401, "CERTIFICATE_MISMATCH", Some(&invalid("the token is bound to another certificate"))),
        ),
        (
            fine().header("authorization", "Bearer AAAA"),
            denied(401, "TOKEN_MALFORMED", Some(&invalid("the token is not a well-formed access token"))),
        ),
        (
            fine().to("GET", "/admin/x"),
            denied(
                403,
                "INSUFFICIENT_SCOPE",
                Some(&format!(
                    "{realm}, error=\"insufficient_scope\", error_description=\"the token lacks a scope that this use needs\", scope=\"orders.admin\""
                )),
            ),
        ),
        (fine().to("DELETE", "/orders/1"), denied(403, "ROUTE_UNKNOWN", None)),
        (fine().to("GET", "/orders/../admin/x"), denied(400, "PATH_NOT_CANONICAL", None)),
        (fine().resource("https://unknown.example"), denied(403, "RESOURCE_UNKNOWN", None)),
    ] {
        let answer = server.check(asked.clone()).await;
        assert_eq!(answer, expected, "{asked:?}", asked = asked.attributes);
    }
}

#[tokio::test]
async fn time_revocation_and_audience_are_evaluated_as_everywhere() {
    let (server, checkout, token) = shop(|_| {}).await;
    let reason = async |token: &str| server.check(Asked::with(token, &checkout)).await.reason().to_owned();
    assert_eq!(reason(&token).await, "");

    let elsewhere =
        Client { audience: vec!["https://b.example".to_owned()], ..spiffe_client("spiffe://prod.example/other") };
    server.register(elsewhere).await.unwrap();
    let other = server.svid("/other");
    let foreign = server.token(&other).await;
    assert_eq!(server.check(Asked::with(&foreign, &other)).await.reason(), "WRONG_AUDIENCE");

    let revoke = RevokeTokenRequest { target: Some(Target::Token(token.clone())), ..RevokeTokenRequest::default() };
    server.tokens(&server.svid("/admin")).revoke_token(revoke).await.unwrap();
    assert_eq!(reason(&token).await, "TOKEN_REVOKED");

    let fresh = server.token(&checkout).await;
    assert_eq!(reason(&fresh).await, "");
    server.advance(Duration::from_mins(5));
    assert_eq!(reason(&fresh).await, "TOKEN_EXPIRED");
}

// Fetch standard, CORS-preflight: it has no token, so it is denied, unless a route is public.
#[tokio::test]
async fn a_preflight_request_is_denied_as_any_request_without_a_token() {
    let (server, checkout, token) = shop(|_| {}).await;
    let preflight =
        |asked: Asked| asked.header("origin", "https://app.example").header("access-control-request-method", "GET");
    let asked = preflight(Asked::anonymous().to("OPTIONS", "/orders/1"));
    assert_ne!(server.check(asked).await.reason(), "");
    let asked = preflight(Asked::anonymous());
    assert_eq!(server.check(asked).await.reason(), "TOKEN_MISSING");
    let asked = Asked::with(&token, &checkout).header("authorization", &format!("bearer {token}"));
    assert_eq!(server.check(asked).await.reason(), "");
}

// RFC 6750 section 2.1
#[tokio::test]
async fn one_bearer_token_in_one_authorization_header_is_read_and_nothing_else() {
    let (server, checkout, token) = shop(|_| {}).await;
    let fine = || Asked::with(&token, &checkout);
    for (value, reason) in [
        (format!("Bearer {token}"), ""),
        (format!("bearer {token}"), ""),
        (format!("BEARER   {token}"), ""),
        (format!("Bearer {token},Bearer {token}"), "AUTHORIZATION_MALFORMED"),
        (format!("Bearer {token}, Basic eDp5"), "AUTHORIZATION_MALFORMED"),
        (format!("Basic eDp5,Bearer {token}"), "AUTHORIZATION_MALFORMED"),
        (format!("Bearer {token} {token}"), "AUTHORIZATION_MALFORMED"),
        (format!("Bearer\t{token}"), "TOKEN_MISSING"),
        (format!("Bearer\"{token}\""), "TOKEN_MISSING"),
        (format!("Bearer \"{token}\""), "AUTHORIZATION_MALFORMED"),
        (format!("Bearer {token}!"), "AUTHORIZATION_MALFORMED"),
        (format!("Bearer {token} "), "AUTHORIZATION_MALFORMED"),
        ("Bearer".to_owned(), "AUTHORIZATION_MALFORMED"),
        ("Bearer ".to_owned(), "AUTHORIZATION_MALFORMED"),
        ("Bearer ==".to_owned(), "AUTHORIZATION_MALFORMED"),
        ("Bearer é".to_owned(), "AUTHORIZATION_MALFORMED"),
        (format!("Basic {token}"), "TOKEN_MISSING"),
        (format!("DPoP {token}"), "TOKEN_MISSING"),
        (token.clone(), "TOKEN_MISSING"),
        (String::new(), "TOKEN_MISSING"),
        // A second text for the same signature is another token.
        (format!("Bearer {token}="), "TOKEN_MALFORMED"),
    ] {
        assert_eq!(server.check(fine().header("authorization", &value)).await.reason(), reason, "{value}");
    }
    let in_the_query = fine().without("authorization").to("GET", &format!("/orders/1?access_token={token}"));
    assert_eq!(server.check(in_the_query).await.reason(), "TOKEN_MISSING");
    let elsewhere = fine().without("authorization").header("x-authorization", &format!("Bearer {token}"));
    assert_eq!(server.check(elsewhere).await.reason(), "TOKEN_MISSING");
}

/// The same headers as Envoy sends them with `encode_raw_headers`.
fn raw(mut asked: Asked, more: &[(&str, &[u8])]) -> Asked {
    let mut headers: Vec<_> = asked.http().headers.drain().map(|(name, value)| (name, value.into_bytes())).collect();
    headers.extend(more.iter().map(|(name, value)| ((*name).to_owned(), value.to_vec())));
    let header = |(key, raw_value)| lanyard::proto::envoy::config::core::v3::HeaderValue {
        key,
        value: String::new(),
        raw_value,
    };
    let headers = headers.into_iter().map(header).collect();
    asked.http().header_map = Some(lanyard::proto::envoy::config::core::v3::HeaderMap { headers });
    asked
}

#[tokio::test]
async fn raw_headers_are_read_too_and_a_repeated_one_is_seen() {
    let (server, checkout, token) = shop(|_| {}).await;
    let fine = || Asked::with(&token, &checkout);
    let bearer = format!("Bearer {token}");
    assert_eq!(server.check(raw(fine(), &[])).await.reason(), "");
    assert_eq!(server.check(raw(fine(), &[("accept", b"\xff\xfe")])).await.reason(), "");
    for (name, value) in
        [("authorization", bearer.as_bytes()), ("Authorization", b"Basic eDp5"), ("authorization", b"")]
    {
        assert_eq!(server.check(raw(fine(), &[(name, value)])).await.reason(), "AUTHORIZATION_MALFORMED");
    }
    let unreadable = raw(fine().without("authorization"), &[("authorization", b"Bearer \xff")]);
    assert_eq!(server.check(unreadable).await.reason(), "AUTHORIZATION_MALFORMED");
    // One in each of the two places is two.
    let mut both = raw(fine(), &[]);
    both.http().headers.insert("authorization".to_owned(), bearer);
    assert_eq!(server.check(both).await.reason(), "AUTHORIZATION_MALFORMED");
    // Headers of ours that a client sent raw are overwritten, or removed where nothing is asserted.
    let forged: [(&str, &[u8]); 2] = [("x-lanyard-client-id", b"root"), ("X_Lanyard_Subject", b"\xff")];
    let Answer::Through { set, removed, .. } = server.check(raw(fine(), &forged)).await else { panic!() };
    assert_eq!(set["x-lanyard-client-id"], "spiffe://prod.example/checkout");
    assert_eq!(
        removed,
        ["X_Lanyard_Subject", "x-lanyard-actor", "x-lanyard-receipt", "x-lanyard-txn", "x-lanyard-txn-subject"]
    );
    let public = raw(Asked::anonymous().to("GET", "/healthz"), &forged);
    let Answer::Through { set, removed, .. } = server.check(public).await else { panic!() };
    assert!(set.is_empty() && forged.iter().all(|(name, _)| removed.iter().any(|one| one == name)), "{removed:?}");
}

// What a client says of itself under our names reaches no resource, in whatever spelling a server takes for them
#[tokio::test]
async fn no_header_of_ours_that_a_client_sent_reaches_the_resource() {
    let (server, checkout, token) = shop(|_| {}).await;
    let forged = |asked: Asked| {
        [
            "x-lanyard-subject",
            "x-lanyard-role",
            "x_lanyard_subject",
            "X-Lanyard-Client-Id",
            "x-lanyard_scope",
            "x-lanyard-",
        ]
        .into_iter()
        .fold(asked, |asked, name| asked.header(name, "admin"))
        .header("x-lanyar", "mine")
        .header("y-lanyard-subject", "mine")
    };
    let (always, fixed) = (
        [
            "X-Lanyard-Client-Id",
            "x-lanyard-",
            "x-lanyard-actor",
            "x-lanyard-receipt",
            "x-lanyard-role",
            "x-lanyard-txn",
            "x-lanyard-txn-subject",
            "x-lanyard_scope",
            "x_lanyard_subject",
        ],
        ["x-lanyard-binding", "x-lanyard-client-id", "x-lanyard-scope", "x-lanyard-subject"],
    );
    let all: Vec<&str> = always.into_iter().chain(fixed).collect();
    let Answer::Through { set, removed, .. } = server.check(forged(Asked::with(&token, &checkout))).await else {
        panic!("denied")
    };
    assert_eq!(removed, always);
    assert_eq!(set["x-lanyard-subject"], CHECKOUT);
    // On a public route no client is asserted.
    let public = forged(Asked::anonymous()).to("GET", "/healthz");
    let Answer::Through { set, mut removed, .. } = server.check(public).await else { panic!("denied") };
    let mut all = all;
    removed.sort_unstable();
    all.sort_unstable();
    assert_eq!((set.len(), removed), (0, all.into_iter().map(ToOwned::to_owned).collect()));
}

#[tokio::test]
async fn a_public_route_needs_nothing_and_its_neighbours_do() {
    let (server, checkout, token) = shop(|_| {}).await;
    for asked in [
        Asked::anonymous().to("GET", "/healthz"),
        Asked::anonymous().to("GET", "/healthz?x=y"),
        Asked::with("garbage", &checkout).to("GET", "/healthz"),
        Asked::anonymous().to("GET", "/healthz").header("authorization", "Bearer a,b"),
    ] {
        assert_eq!(server.check(asked).await.http(), 200);
    }
    for (method, path) in
        [("POST", "/healthz"), ("GET", "/healthz/"), ("GET", "/healthz/x"), ("GET", "/Healthz"), ("HEAD", "/healthz")]
    {
        assert_eq!(
            server.check(Asked::anonymous().to(method, path)).await.reason(),
            "ROUTE_UNKNOWN",
            "{method} {path}"
        );
        assert_eq!(server.check(Asked::with(&token, &checkout).to(method, path)).await.reason(), "ROUTE_UNKNOWN");
    }
}

#[tokio::test]
async fn the_token_is_taken_out_where_the_resource_is_not_to_have_it() {
    let (server, checkout, token) = shop(|resource| resource.remove_authorization = true).await;
    let Answer::Through { removed, .. } = server.check(Asked::with(&token, &checkout)).await else { panic!("denied") };
    assert_eq!(
        removed,
        ["authorization", "x-lanyard-actor", "x-lanyard-receipt", "x-lanyard-txn", "x-lanyard-txn-subject"]
    );
}

#[tokio::test]
async fn a_token_without_scopes_leaves_no_scope_of_the_clients_behind() {
    let (server, _, _) = shop(|_| {}).await;
    let bare = Client { scope: String::new(), ..spiffe_client("spiffe://prod.example/bare") };
    server.register(bare).await.unwrap();
    let bare = server.svid("/bare");
    let token = server.token(&bare).await;
    let asked = Asked::with(&token, &bare).to("GET", "/whoami").header("x-lanyard-scope", "orders.admin");
    let Answer::Through { set, removed, .. } = server.check(asked).await else { panic!("denied") };
    let gone = ["x-lanyard-actor", "x-lanyard-receipt", "x-lanyard-scope", "x-lanyard-txn", "x-lanyard-txn-subject"]
        .map(ToOwned::to_owned);
    assert_eq!((set.contains_key("x-lanyard-scope"), removed), (false, gone.to_vec()));
    assert_eq!(server.check(Asked::with(&token, &bare)).await.reason(), "INSUFFICIENT_SCOPE");
}

#[tokio::test]
async fn report_mode_lets_a_denial_through_asserts_nothing_and_changes_no_other_protocol() {
    let (server, checkout, token) = shop(|resource| resource.mode = "report".to_owned()).await;
    let thief = server.workload("/thief").await;
    for (asked, reason) in [
        (Asked::with(&token, &thief), "CERTIFICATE_MISMATCH"),
        (Asked::anonymous(), "TOKEN_MISSING"),
        (Asked::with(&token, &checkout).to("GET", "/nowhere"), "ROUTE_UNKNOWN"),
        (Asked::with(&token, &checkout).to("GET", "/a/../b"), "PATH_NOT_CANONICAL"),
        (Asked::with(&token, &checkout).to("GET", "/admin/x"), "INSUFFICIENT_SCOPE"),
        (Asked::with(&token, &checkout).header("authorization", "Bearer a,b"), "AUTHORIZATION_MALFORMED"),
    ] {
        let asked = asked.header("x-lanyard-subject", "admin").header("x-lanyard-more", "admin");
        let response = server.checks(&server.svid("/proxy")).check(asked.message()).await.unwrap().into_inner();
        let Answer::Through { set, removed, response: headers } = answer(&response) else { panic!("denied") };
        assert_eq!((set.len(), headers.len()), (0, 0), "{reason}");
        assert!(removed.contains(&"x-lanyard-subject".to_owned()) && removed.contains(&"x-lanyard-more".to_owned()));
        assert_eq!(metadata(&response, "would_deny").as_deref(), Some(reason));
        assert_eq!(metadata(&response, "client_id"), None);
    }
    // A valid request is asserted as usual. One for an unknown resource is denied: there is no mode without a resource.
    let Answer::Through { set, .. } = server.check(Asked::with(&token, &checkout)).await else { panic!("denied") };
    assert_eq!(set.len(), 4);
    let unknown = Asked::with(&token, &checkout).resource("https://unknown.example");
    assert_eq!(server.check(unknown).await.reason(), "RESOURCE_UNKNOWN");
    let stolen = server.validate(&token, crate::support::server::certificate_of(&thief)).await.unwrap();
    assert_eq!(stolen.reason(), lanyard::proto::DenyReason::CertificateMismatch);
}

#[tokio::test]
async fn the_reason_is_in_a_response_header_only_where_the_resource_asks_for_it() {
    let (server, checkout, token) = shop(|resource| {
        resource.mode = "report".to_owned();
        resource.report_header = true;
    })
    .await;
    let Answer::Through { response, .. } = server.check(Asked::anonymous()).await else { panic!("denied") };
    assert_eq!(response.keys().collect::<Vec<_>>(), ["x-lanyard-reference", "x-lanyard-report"]);
    assert_eq!(response["x-lanyard-report"], "TOKEN_MISSING");
    let Answer::Through { response, .. } = server.check(Asked::with(&token, &checkout)).await else { panic!("denied") };
    assert!(response.is_empty());
}

// A caller that may not ask gets a denial, since an error is what failure_mode_allow lets through
#[tokio::test]
async fn only_a_proxy_may_ask_and_whoever_is_none_is_answered_with_a_denial() {
    let (server, checkout, token) = shop(|_| {}).await;
    for leaf in [&checkout, &server.svid("/admin"), &server.svid("/unregistered")] {
        let answer = server.check_as(leaf, Asked::with(&token, &checkout)).await;
        assert_eq!(answer, denied(403, "NOT_A_PROXY", None));
    }
    assert_eq!(server.check_as(&server.svid("/orders-proxy"), Asked::with(&token, &checkout)).await.http(), 200);
    let expiring = server.svid("/proxy");
    let mut checks = server.checks(&expiring);
    assert_eq!(answer(checks.check(Asked::with(&token, &checkout).message()).await.unwrap().get_ref()).http(), 200);
    server.advance(Duration::from_hours(2));
    let over = checks.check(Asked::with(&token, &checkout).message()).await.unwrap();
    assert_eq!(answer(over.get_ref()), denied(403, "NOT_A_PROXY", None));
}

#[tokio::test]
async fn what_is_no_check_at_all_is_denied_and_never_an_error() {
    let (server, checkout, token) = shop(|_| {}).await;
    let proxy = server.svid("/proxy");
    let mut empty = Asked::with(&token, &checkout);
    empty.attributes.request = None;
    let grown = Asked::with(&token, &checkout).header("x-more", &"x".repeat(2 * 1024 * 1024));
    for asked in [empty, grown] {
        assert_eq!(server.check_as(&proxy, asked).await, denied(400, "REQUEST_MALFORMED", None));
    }
    // A message that is none: CVE-2023-27488.
    let channel = server.channel(&proxy);
    for bytes in [b"\xff\xff\xff".to_vec(), b"\x0a\x06\x22\x04\x12\x02\x3a\xff".to_vec(), b"\x0a\xff\x01".to_vec()] {
        let response = raw::call(channel.clone(), "/envoy.service.auth.v3.Authorization/Check", bytes).await;
        assert_eq!(answer(&response.unwrap()), denied(400, "REQUEST_MALFORMED", None));
    }
    let status = raw::call::<()>(channel, "/lanyard.v1.BindingService/ValidateBinding", b"\xff".to_vec()).await;
    assert_ne!(status.unwrap_err().code(), Code::Ok);
}
