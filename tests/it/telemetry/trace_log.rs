//! The log of a server: one line for each refusal, with its reason and the caller's trace, and nothing in it that is secret or
//! more than text.

use axum::body::Body;
use axum::http::Method;
use axum::http::Request;
use axum::http::uri::PathAndQuery;
use lanyard::proto::AnnounceRotationRequest;
use lanyard::proto::IntrospectTokenRequest;
use lanyard::proto::IssueTokenRequest;
use lanyard::proto::ListClientsRequest;
use lanyard::proto::RevokeTokenRequest;
use lanyard::proto::ValidateBindingRequest;
use lanyard::proto::binding_service_client::BindingServiceClient;
use lanyard::proto::envoy::service::auth::v3::CheckRequest;
use lanyard::proto::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use lanyard::proto::revoke_token_request::Target;
use lanyard::proto::validate_binding_request::Evidence;
use serde_json::Value;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tonic::client::Grpc;
use tonic::transport::Channel;
use tonic_prost::ProstCodec;

use crate::support::binding_stream::BindingStream;
use crate::support::binding_stream::StreamOutcome;
use crate::support::ca::self_signed;
use crate::support::calls::use_of;
use crate::support::check::Asked;
use crate::support::child::real_time;
use crate::support::door::knock;
use crate::support::door::read_to_end;
use crate::support::http::get;
use crate::support::http::post;
use crate::support::http::raw;
use crate::support::observed::Observed;
use crate::support::observed::numbered;
use crate::support::observed::parent;
use crate::support::observed::with_parent;
use crate::support::observed::within_trace;
use crate::support::server::Setup;
use crate::support::server::certificate_of;

/// A call that is refused under a name of its own, which ends what is looked at.
async fn mark(server: &Observed, name: &str) {
    let reply = server.http(&server.svid(&format!("/{name}"))).await.send(get(&format!("/{name}"))).await;
    assert_eq!(reply.status, 404);
}

/// A message that is no check.
async fn checks_of_another_kind(channel: &Channel, parent: &str) -> tonic::Response<()> {
    let mut client = Grpc::new(channel.clone());
    client.ready().await.unwrap();
    let path = PathAndQuery::from_static("/envoy.service.auth.v3.Authorization/Check");
    let message = within_trace("x".to_owned(), parent);
    client.unary(message, path, ProstCodec::<String, ()>::default()).await.unwrap()
}

/// Requests of a workload that reach no handler, or only the protocol's own.
fn refused_over_http() -> Vec<(&'static str, u16, Request<Body>)> {
    let token = "/oauth2/token";
    let grant = ("grant_type", "client_credentials");
    let client = ("client_id", "spiffe://prod.example/checkout");
    let long = "x".repeat(100_000);
    let register = |bearer: &str| {
        let mut request = get("/oauth2/register?client_id=nobody");
        request.headers_mut().insert("authorization", bearer.parse().unwrap());
        request
    };
    let metadata = |metadata: &Value| raw(Method::POST, "/oauth2/register", "application/json", metadata.to_string());
    let workload = json!({"grant_types": ["client_credentials"], "token_endpoint_auth_method": "spiffe_x509"});
    vec![
        ("20", 400, post(token, &[grant])),
        ("21", 400, post(token, &[client, ("grant_type", "password")])),
        ("22", 400, raw(Method::POST, token, "application/json", "{}")),
        ("23", 405, get(token)),
        ("24", 413, post(token, &[grant, client, ("scope", &long)])),
        ("25", 400, post("/oauth2/introspect", &[client])),
        ("26", 400, post("/oauth2/revoke", &[client])),
        ("27", 401, register("Bearer planted")),
        ("28", 401, register("Basic planted")),
        ("29", 400, metadata(&json!({}))),
        ("30", 403, metadata(&workload)),
    ]
}

fn own_identity() -> Setup {
    Setup { registration: "own-identity".to_owned(), ..real_time() }
}

/// All kinds of refusals: what the log must say of each, and in which trace.
async fn refuse_each(server: &Observed) -> Vec<(&'static str, &'static str, String)> {
    let (checkout, token) = server.workload("/checkout").await;
    let (proxy, thief) = (server.svid("/proxy"), server.svid("/thief"));
    let mut checks = AuthorizationClient::new(server.channel(&proxy));
    mark(server, "begin").await;

    drop(
        server.tokens(&thief).issue_token(within_trace(IssueTokenRequest::default(), &parent("01"))).await.unwrap_err(),
    );
    let question = ValidateBindingRequest { evidence: certificate_of(&thief), ..use_of(&token) };
    server.bindings(&proxy).validate_binding(within_trace(question.clone(), &parent("02"))).await.unwrap();
    server.bindings(&proxy).validate_binding(within_trace(use_of("x"), &parent("03"))).await.unwrap();
    drop(server.bindings(&checkout).validate_binding(within_trace(question.clone(), &parent("04"))).await.unwrap_err());
    checks.check(within_trace(Asked::with(&token, &thief).message(), &parent("05"))).await.unwrap();
    checks.check(within_trace(CheckRequest::default(), &parent("06"))).await.unwrap();
    // A proxy that does not trace itself: the trace is its client's.
    checks.check(Asked::anonymous().header("traceparent", &parent("07")).message()).await.unwrap();
    let both = Asked::anonymous().header("traceparent", &parent("ff")).message();
    checks.check(within_trace(both, &parent("08"))).await.unwrap();
    drop(
        server
            .registry(&checkout)
            .list_clients(within_trace(ListClientsRequest::default(), &parent("09")))
            .await
            .unwrap_err(),
    );
    let introspect =
        |token: &str| IntrospectTokenRequest { token: token.to_owned(), ..IntrospectTokenRequest::default() };
    server.tokens(&proxy).introspect_token(within_trace(introspect("x"), &parent("10"))).await.unwrap();
    drop(server.tokens(&thief).introspect_token(within_trace(introspect(&token), &parent("11"))).await.unwrap_err());
    let form = [("grant_type", "client_credentials"), ("client_id", "nobody")];
    let mut http = server.http(&checkout).await;
    assert_eq!(http.send(with_parent(post("/oauth2/token", &form), &parent("12"))).await.status, 401);
    assert_eq!(http.send(with_parent(get("/nowhere"), &parent("13"))).await.status, 404);
    drop(checks_of_another_kind(&server.channel(&proxy), &parent("14")).await);
    let unreadable = ValidateBindingRequest { evidence: Some(Evidence::CertificateThumbprint(vec![1])), ..use_of("x") };
    drop(server.bindings(&proxy).validate_binding(within_trace(unreadable, &parent("15"))).await.unwrap_err());
    let revoke = |target| RevokeTokenRequest { target: Some(target), ..RevokeTokenRequest::default() };
    let lift = |target| RevokeTokenRequest { lift: true, ..revoke(target) };
    for (end, path, request) in [
        ("16", "/checkout", revoke(Target::Jti("A".repeat(22)))),
        ("17", "/admin", revoke(Target::Jti(String::new()))),
        ("18", "/admin", lift(Target::Jti("A".repeat(22)))),
        ("19", "/checkout", lift(Target::RevokedClientId("nobody".to_owned()))),
    ] {
        let mut tokens = server.tokens(&server.svid(path));
        drop(tokens.revoke_token(within_trace(request, &parent(end))).await.unwrap_err());
    }
    let nothing = RevokeTokenRequest::default();
    drop(server.tokens(&checkout).revoke_token(within_trace(nothing, &parent("31"))).await.unwrap_err());
    drop(server.tokens(&proxy).introspect_token(within_trace(introspect(""), &parent("32"))).await.unwrap_err());
    let successor = AnnounceRotationRequest { certificate: thief.certificate().to_vec(), intermediates: Vec::new() };
    drop(server.tokens(&checkout).announce_rotation(within_trace(successor, &parent("33"))).await.unwrap_err());
    for (end, status, request) in refused_over_http() {
        // For the last one nothing is registered.
        let mut http = server.http(if end == "30" { &thief } else { &checkout }).await;
        assert_eq!(http.send(with_parent(request, &parent(end))).await.status, status, "{end}");
    }
    let mut stream = BindingStream::open(BindingServiceClient::new(server.channel(&proxy))).await;
    assert!(matches!(stream.ask(&question).await.unwrap(), StreamOutcome::Denied(_)));
    drop(stream);
    let unknown = self_signed("nobody").issue();
    assert!(!knock(server.mtls, server.tls(&unknown)).await.is_jwks());

    vec![
        ("token refused", "invalid_client", numbered("01")),
        ("binding denied", "CERTIFICATE_MISMATCH", numbered("02")),
        ("binding denied", "TOKEN_MALFORMED", numbered("03")),
        ("no decision", "NOT_A_PROXY", numbered("04")),
        ("check denied", "RESOURCE_UNKNOWN", numbered("05")),
        ("check denied", "REQUEST_MALFORMED", numbered("06")),
        ("check denied", "RESOURCE_UNKNOWN", numbered("07")),
        ("check denied", "RESOURCE_UNKNOWN", numbered("08")),
        ("a call was not admitted", "WRONG_ROLE", numbered("09")),
        ("introspection denied", "TOKEN_MALFORMED", numbered("10")),
        ("client refused", "invalid_client", numbered("11")),
        ("token refused", "invalid_client", numbered("12")),
        ("a call was not admitted", "NO_SUCH_METHOD", numbered("13")),
        ("check denied", "REQUEST_MALFORMED", numbered("14")),
        ("no decision", "EVIDENCE_MALFORMED", numbered("15")),
        ("revocation refused", "NOT_YOURS", numbered("16")),
        ("revocation refused", "INVALID_REQUEST", numbered("17")),
        ("revocation refused", "NOT_LIFTABLE", numbered("18")),
        ("revocation refused", "NOT_YOURS", numbered("19")),
        ("revocation refused", "INVALID_REQUEST", numbered("31")),
        ("introspection refused", "INVALID_REQUEST", numbered("32")),
        ("rotation refused", "NOT_LINEAGE", numbered("33")),
        ("token refused", "invalid_request", numbered("20")),
        ("token refused", "unsupported_grant_type", numbered("21")),
        ("token refused", "invalid_request", numbered("22")),
        ("token refused", "invalid_request", numbered("23")),
        ("token refused", "invalid_request", numbered("24")),
        ("introspection refused", "invalid_request", numbered("25")),
        ("revocation refused", "invalid_request", numbered("26")),
        ("registration refused", "invalid_token", numbered("27")),
        ("registration refused", "invalid_token", numbered("28")),
        ("registration refused", "invalid_client_metadata", numbered("29")),
        ("registration refused", "access_denied", numbered("30")),
        ("binding denied", "CERTIFICATE_MISMATCH", String::new()),
        // Before any request there is no trace. It comes last: the log may hear of it after the client.
        ("a handshake was refused", "NOT_YET_VALID", String::new()),
    ]
}

/// The line of each refusal, with its message, its reason and its trace.
async fn refusal_lines(server: &Observed) -> Vec<(String, (&'static str, &'static str, String))> {
    let expected = refuse_each(server).await;
    server.lines_until("/begin");
    let lines = server.process.until("a handshake was refused");
    mark(server, "end").await;
    assert_eq!(server.lines_until("/end"), Vec::<String>::new());
    assert_eq!(lines.len(), expected.len(), "{}", lines.join("\n"));
    lines.into_iter().zip(expected).collect()
}

#[tokio::test]
async fn each_refusal_is_one_line_with_its_reason_and_the_callers_trace_in_json() {
    let server = Observed::start_on(own_identity(), "log: {format: json}\n", &[]);
    for (line, (message, reason, trace)) in refusal_lines(&server).await {
        let json: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert_eq!(json["message"], message, "{line}");
        assert_eq!((&json["reason"], &json["target"]), (&json!(reason), &json!("lanyard::audit")), "{line}");
        assert!(!line.contains("planted"), "{line}");
        match (message, trace.as_str()) {
            ("a handshake was refused", _) => assert!(json.get("trace_id").is_none(), "{line}"),
            (_, "") => assert!(json["trace_id"].as_str().unwrap().len() == 32, "{line}"),
            (_, trace) => assert_eq!(json["trace_id"], trace, "{line}"),
        }
    }
}

#[tokio::test]
async fn each_refusal_is_one_line_with_its_reason_and_the_callers_trace_in_text() {
    // The filter hides everything at info but these: what is asked of a line does not depend on it.
    let level = "warn,lanyard::audit=info,lanyard::server=info";
    let server = Observed::start_on(own_identity(), &format!("log: {{level: '{level}'}}\n"), &[]);
    for (line, (message, reason, trace)) in refusal_lines(&server).await {
        assert!(line.contains(message) && line.contains(reason) && !line.contains("request{"), "{line}");
        let (_, printed) = line.split_once(" trace_id=").unwrap_or((&line, ""));
        match (message, trace.as_str()) {
            ("a handshake was refused", _) => assert_eq!(printed, "", "{line}"),
            (_, "") => assert!(printed.len() == 32, "{line}"),
            (_, trace) => assert_eq!(printed, trace, "{line}"),
        }
    }
}

#[tokio::test]
async fn a_handshake_that_fails_is_one_line_with_the_code_that_it_is_counted_under() {
    let setup = Setup { tls: "  handshake_timeout: 300ms".to_owned(), ..real_time() };
    let server = Observed::start_on(setup, "log: {format: json}\n", &[]);
    for (first, reason) in [(&b"GET / HTTP/1.1\r\n\r\n"[..], "HANDSHAKE_FAILED"), (b"", "TOO_SLOW")] {
        let mut stranger = TcpStream::connect(server.mtls).await.unwrap();
        stranger.write_all(first).await.unwrap();
        read_to_end(&mut stranger).await;
        let line = server.process.until("a handshake failed").pop().unwrap();
        let json: Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&json["reason"], &json["target"]), (&json!(reason), &json!("lanyard::audit")), "{line}");
        assert!(json["cause"].as_str().is_some_and(|cause| !cause.is_empty()), "{line}");
    }
    mark(&server, "end").await;
    assert_eq!(server.lines_until("/end"), Vec::<String>::new());
}

#[tokio::test]
async fn a_request_without_a_trace_gets_one_of_its_own() {
    let server = Observed::start("");
    for name in ["one", "two"] {
        mark(&server, name).await;
    }
    let id = |mark| {
        let line = server.process.until(mark).pop().unwrap();
        line.split_once(" trace_id=").unwrap_or_else(|| panic!("{line}")).1.to_owned()
    };
    let (one, two) = (id("/one"), id("/two"));
    for id in [&one, &two] {
        assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()) && *id != "0".repeat(32), "{id}");
    }
    assert_ne!(one, two);
}

#[tokio::test]
async fn what_callers_send_neither_begins_a_line_nor_reaches_a_terminal() {
    for format in ["text", "json"] {
        let server = Observed::start(&format!("log: {{format: {format}, level: trace}}\n"));
        let proxy = server.svid("/proxy");
        let odd = "one\r\ntwo\u{1b}[31mthree\u{9b}four\u{7}";
        let question = ValidateBindingRequest { audience: odd.to_owned(), ..use_of("x") };
        server.bindings(&proxy).validate_binding(question).await.unwrap();
        let mut asked = Asked::anonymous().to("GET\r\nnext", odd).resource(odd).principal(odd);
        asked.http().host = odd.to_owned();
        AuthorizationClient::new(server.channel(&proxy)).check(asked.message()).await.unwrap();
        drop(
            server
                .tokens(&proxy)
                .issue_token(IssueTokenRequest { client_id: odd.to_owned(), ..IssueTokenRequest::default() })
                .await,
        );
        mark(&server, "end").await;
        let lines = server.lines_until("/end");
        assert!(lines.iter().any(|line| line.contains("[31mthree")), "{}", lines.join("\n"));
        for line in &lines {
            assert!(!line.chars().any(char::is_control), "{line:?}");
            assert!(!line.starts_with("two") && !line.starts_with("next"), "{line:?}");
            assert!(format == "text" || serde_json::from_str::<Value>(line).is_ok(), "{line}");
        }
    }
}

#[tokio::test]
async fn no_token_is_in_the_log_at_its_finest() {
    let setup = real_time();
    let level = "trace,h2=trace,hyper=trace,hyper_util=trace,tonic=trace,tower=trace,rustls=trace,sled=trace";
    let server = Observed::start_on(setup, &format!("log: {{level: '{level}'}}\n"), &[]);
    let (checkout, token) = server.workload("/checkout").await;
    let proxy = server.svid("/proxy");
    let question = ValidateBindingRequest { evidence: certificate_of(&checkout), ..use_of(&token) };
    server.bindings(&proxy).validate_binding(question).await.unwrap();
    let asked = Asked::with(&token, &checkout).message();
    AuthorizationClient::new(server.channel(&proxy)).check(asked).await.unwrap();
    let mut planted = post("/oauth2/introspect", &[("token", &token)]);
    planted.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    planted.headers_mut().insert("cookie", "planted-cookie".parse().unwrap());
    server.http(&proxy).await.send(planted).await;
    let in_query = Request::get(format!("/nowhere?access_token={token}")).body(Body::empty()).unwrap();
    server.http(&proxy).await.send(in_query).await;
    mark(&server, "end").await;
    let lines = server.lines_until("/end").join("\n");
    // Allowed bindings are logged at debug: this shows that the log was read at its most detailed level.
    assert!(lines.contains("binding allowed"), "{lines}");
    let parts: Vec<&str> = token.split('.').collect();
    for secret in [&token[token.len() - 40..], parts[1], parts[2], "planted-cookie"] {
        assert!(!lines.contains(secret), "{secret} is in the log");
    }
    let foreign = |line: &&str| {
        ["h2", "hyper", "hyper_util", "tonic", "tower"].iter().any(|name| line.contains(&format!(" {name}::")))
    };
    assert_eq!(lines.lines().find(foreign), None);
}
