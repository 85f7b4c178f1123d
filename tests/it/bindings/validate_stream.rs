//! `BindingService.ValidateBindings`: one answer for each question, in order, whatever comes between.

use std::time::Duration;

use axum::http::uri::PathAndQuery;
use lanyard::authority::clock::Timestamp;
use lanyard::authority::trust::TrustBundles;
use lanyard::proto::Client;
use lanyard::proto::DenyReason;
use lanyard::proto::RevokeTokenRequest;
use lanyard::proto::ValidateBindingRequest;
use lanyard::proto::ValidateBindingsResponse;
use lanyard::proto::revoke_token_request::Target;
use lanyard::proto::validate_binding_request::Evidence;
use prost::Message as _;
use tokio_stream::StreamExt as _;
use tonic::Code;
use tonic::Request;
use tonic::Status;
use tonic::client::Grpc;
use tonic_prost::ProstCodec;

use crate::support::NOW;
use crate::support::binding_stream::BindingStream;
use crate::support::binding_stream::StreamOutcome;
use crate::support::binding_stream::outcome_of;
use crate::support::calls::pki_client;
use crate::support::calls::use_of;
use crate::support::door::connect_h2;
use crate::support::door::within;
use crate::support::frames::DATA;
use crate::support::frames::END_HEADERS;
use crate::support::frames::END_STREAM;
use crate::support::frames::Frame;
use crate::support::frames::Frames;
use crate::support::frames::HEADERS;
use crate::support::frames::WINDOW_UPDATE;
use crate::support::frames::call;
use crate::support::leaf::Leaf;
use crate::support::server::ORDERS;
use crate::support::server::Setup;
use crate::support::server::TestServer;
use crate::support::server::certificate_of;
use crate::support::server::reason_of;

const METHOD: &str = "/lanyard.v1.BindingService/ValidateBindings";

/// A question by a proxy that has seen `leaf`.
fn seen(leaf: &Leaf, token: &str) -> ValidateBindingRequest {
    ValidateBindingRequest { evidence: certificate_of(leaf), ..use_of(token) }
}

fn failed(code: Code, reason: &str) -> StreamOutcome {
    StreamOutcome::Failed(code, reason.to_owned())
}

/// A question whose token is any bytes, as a proxy in C++ could send it.
#[derive(Clone, PartialEq, prost::Message)]
struct RawQuestion {
    #[prost(bytes = "vec", tag = "1")]
    access_token: Vec<u8>,
    #[prost(string, tag = "7")]
    audience: String,
    #[prost(bytes = "vec", tag = "2")]
    certificate: Vec<u8>,
}

#[tokio::test]
async fn each_question_gets_its_own_answer_in_order_and_a_bad_one_ends_nothing() {
    let server = TestServer::start().await;
    let checkout = server.workload("/checkout").await;
    let thief = server.svid("/thief");
    let token = server.token(&checkout).await;
    let good = seen(&checkout, &token);
    let mut stream = BindingStream::open(server.bindings(&server.svid("/orders-proxy"))).await;
    let questions = [
        (good.clone(), StreamOutcome::Allowed),
        (seen(&thief, &token), StreamOutcome::Denied(DenyReason::CertificateMismatch)),
        (use_of(&token), StreamOutcome::Denied(DenyReason::EvidenceMissing)),
        (use_of(""), failed(Code::InvalidArgument, "TOKEN_MISSING")),
        (ValidateBindingRequest::default(), failed(Code::InvalidArgument, "TOKEN_MISSING")),
        (good.clone(), StreamOutcome::Allowed),
        (
            ValidateBindingRequest { scope: "a  b".to_owned(), ..good.clone() },
            failed(Code::InvalidArgument, "SCOPE_MALFORMED"),
        ),
        (
            ValidateBindingRequest { audience: "https://b.example".to_owned(), ..good.clone() },
            failed(Code::PermissionDenied, "FOREIGN_RESOURCE"),
        ),
        (
            ValidateBindingRequest { evidence: Some(Evidence::CertificateThumbprint(vec![1])), ..good.clone() },
            failed(Code::InvalidArgument, "EVIDENCE_MALFORMED"),
        ),
        (use_of("x.y.z"), StreamOutcome::Denied(DenyReason::TokenMalformed)),
        // It fronts one resource, which need not be named.
        (ValidateBindingRequest { audience: String::new(), ..good.clone() }, StreamOutcome::Allowed),
        (
            ValidateBindingRequest { scope: "orders.admin".to_owned(), ..good.clone() },
            StreamOutcome::Denied(DenyReason::InsufficientScope),
        ),
        (good.clone(), StreamOutcome::Allowed),
    ];
    // One after the other, and all at once.
    for (question, answer) in &questions {
        assert_eq!(stream.ask(question).await.unwrap(), *answer, "{question:?}");
    }
    let BindingStream { questions: sender, answers } = stream;
    let all: Vec<_> = questions.iter().map(|(question, _)| question.clone()).collect();
    tokio::spawn(async move {
        for question in all {
            sender.send(question).await.unwrap();
        }
    });
    let answers: Result<Vec<_>, Status> = within(answers.collect()).await;
    let answers: Vec<StreamOutcome> = answers.unwrap().iter().map(outcome_of).collect();
    assert_eq!(answers, questions.map(|(_, answer)| answer));
}

#[tokio::test]
async fn a_workload_asks_about_its_own_connection_and_about_no_other() {
    let server = TestServer::start().await;
    let checkout = server.workload("/checkout").await;
    let token = server.token(&checkout).await;
    let mut stream = BindingStream::open(server.bindings(&checkout)).await;
    assert_eq!(stream.ask(&use_of(&token)).await.unwrap(), StreamOutcome::Allowed);
    let refused = failed(Code::PermissionDenied, "NOT_A_PROXY");
    assert_eq!(stream.ask(&seen(&checkout, &token)).await.unwrap(), refused);
    let mut thief = BindingStream::open(server.bindings(&server.svid("/thief"))).await;
    let denied = StreamOutcome::Denied(DenyReason::CertificateMismatch);
    assert_eq!(thief.ask(&use_of(&token)).await.unwrap(), denied);
}

#[tokio::test]
async fn a_question_that_cannot_be_read_or_is_too_large_is_an_error_for_itself_alone() {
    let server = TestServer::start().await;
    let checkout = server.workload("/checkout").await;
    let token = server.token(&checkout).await;
    let raw = |access_token: Vec<u8>| RawQuestion {
        access_token,
        audience: ORDERS.to_owned(),
        certificate: checkout.certificate().to_vec(),
    };
    let good = || raw(token.clone().into_bytes());
    let largest = 256 * 1024 - raw(Vec::new()).encoded_len() - 4;
    let questions = vec![
        good(),
        raw([token.as_bytes(), b"\xff"].concat()),
        good(),
        raw(vec![b'a'; 256 * 1024]),
        good(),
        raw(vec![b'a'; 3 * 1024 * 1024]),
        raw(vec![b'a'; largest]),
        raw(vec![0x80]),
        good(),
    ];
    assert_eq!(questions[6].encoded_len(), 256 * 1024);
    let mut client = Grpc::new(server.channel(&server.svid("/proxy")));
    client.ready().await.unwrap();
    let codec = ProstCodec::<RawQuestion, ValidateBindingsResponse>::default();
    let request = Request::new(tokio_stream::iter(questions));
    let answers = client.streaming(request, PathAndQuery::from_static(METHOD), codec).await.unwrap().into_inner();
    let answers: Result<Vec<_>, Status> = within(answers.collect()).await;
    let answers: Vec<StreamOutcome> = answers.unwrap().iter().map(outcome_of).collect();
    let unreadable = || failed(Code::InvalidArgument, "TOKEN_MISSING");
    let too_large = StreamOutcome::Denied(DenyReason::TokenMalformed);
    let (a, b, c) = (StreamOutcome::Allowed, unreadable(), unreadable());
    assert_eq!(answers, [a.clone(), b, a.clone(), c, a.clone(), unreadable(), too_large, unreadable(), a]);
}

/// A message in gRPC's framing.
fn framed(compressed: u8, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[compressed], &length[..], message].concat()
}

#[tokio::test]
async fn however_a_message_is_cut_into_frames_it_is_one_question() {
    let server = TestServer::start().await;
    let checkout = server.workload("/checkout").await;
    let good = seen(&checkout, &server.token(&checkout).await).encode_to_vec();
    let unread = [framed(1, &good), framed(2, &good), framed(0, &[0xff]), framed(0, &vec![b'a'; 256 * 1024 + 1])];
    let bytes = [framed(0, &good), unread.concat(), framed(0, &good), framed(0, &[]), framed(0, &good)].concat();
    for size in [1_000, 4_096, 16_384] {
        let mut frames = Frames::open(connect_h2(&server, &server.svid("/proxy")).await).await;
        frames.send(HEADERS, END_HEADERS, 1, &call(METHOD)).await.unwrap();
        let mut arrived = Vec::new();
        let (mut sent, window) = (0, 65_535);
        // The first byte alone, then the header alone.
        let (first, rest) = bytes.split_at(5);
        let chunks = [&first[..1], &first[1..]].into_iter().chain(rest.chunks(size));
        let mut granted = window;
        for chunk in chunks {
            while sent + chunk.len() > granted {
                let frame = within(frames.next()).await.unwrap();
                granted += window_update(&frame);
                arrived.extend(data(&frame));
            }
            frames.send(DATA, 0, 1, chunk).await.unwrap();
            sent += chunk.len();
        }
        frames.send(DATA, END_STREAM, 1, &[]).await.unwrap();
        loop {
            let frame = within(frames.next()).await.unwrap();
            arrived.extend(data(&frame));
            if frame.kind == HEADERS && frame.flags & END_STREAM != 0 {
                break;
            }
        }
        let unreadable = || failed(Code::InvalidArgument, "TOKEN_MISSING");
        let mut expected = vec![StreamOutcome::Allowed];
        expected.extend(std::iter::repeat_with(unreadable).take(4));
        expected.extend([StreamOutcome::Allowed, unreadable(), StreamOutcome::Allowed]);
        assert_eq!(messages(&arrived), expected, "frames of {size}");
    }
}

/// What a frame adds to the window of the whole connection, which the server opens later than that of the stream.
fn window_update(frame: &Frame) -> usize {
    if frame.kind == WINDOW_UPDATE && frame.stream == 0 {
        let increment: [u8; 4] = frame.payload[..].try_into().unwrap();
        return u32::from_be_bytes(increment).try_into().unwrap();
    }
    0
}

fn data(frame: &Frame) -> &[u8] {
    if frame.kind == DATA { &frame.payload } else { &[] }
}

fn messages(mut bytes: &[u8]) -> Vec<StreamOutcome> {
    let mut found = Vec::new();
    while let Some((head, rest)) = bytes.split_first_chunk::<5>() {
        let length = u32::from_be_bytes(head[1..].try_into().unwrap()).try_into().unwrap();
        found.push(outcome_of(&ValidateBindingsResponse::decode(&rest[..length]).unwrap()));
        bytes = &rest[length..];
    }
    found
}

#[tokio::test]
async fn a_stream_that_breaks_off_within_a_message_ends_with_an_error() {
    let server = TestServer::start().await;
    let checkout = server.workload("/checkout").await;
    let good = framed(0, &seen(&checkout, &server.token(&checkout).await).encode_to_vec());
    let mut frames = Frames::open(connect_h2(&server, &server.svid("/proxy")).await).await;
    frames.send(HEADERS, END_HEADERS, 1, &call(METHOD)).await.unwrap();
    frames.send(DATA, END_STREAM, 1, &[&good[..], &good[..100]].concat()).await.unwrap();
    let mut arrived = Vec::new();
    let trailers = loop {
        let frame = within(frames.next()).await.unwrap();
        arrived.extend(data(&frame));
        if frame.kind == HEADERS && frame.flags & END_STREAM != 0 {
            break frame.payload;
        }
    };
    assert_eq!(messages(&arrived), [StreamOutcome::Allowed]);
    assert!(!trailers.is_empty());
}

#[tokio::test]
async fn a_stream_ends_with_its_callers_certificate_and_not_before() {
    let server = TestServer::start().await;
    let checkout = server.workload("/checkout").await;
    let question = seen(&checkout, &server.token(&checkout).await);
    let proxy = server.setup.ca.svid("spiffe://prod.example/proxy").between(NOW, Timestamp(NOW.0 + 10)).issue();
    let mut stream = BindingStream::open(server.bindings(&proxy)).await;
    assert_eq!(stream.ask(&question).await.unwrap(), StreamOutcome::Allowed);
    server.advance(Duration::from_secs(10));
    assert_eq!(stream.ask(&question).await.unwrap(), StreamOutcome::Allowed);
    server.advance(Duration::from_secs(1));
    let status = stream.ask(&question).await.unwrap_err();
    assert_eq!((status.code(), reason_of(&status).as_str()), (Code::Unauthenticated, "CERTIFICATE_NOT_PROVEN"));
    assert_eq!(status.message(), "the certificate has expired");
}

#[tokio::test]
async fn a_stream_ends_when_its_callers_bundle_is_withdrawn_or_its_certificate_revoked() {
    let server = TestServer::start().await;
    let checkout = server.workload("/checkout").await;
    let question = seen(&checkout, &server.token(&checkout).await);
    let (first, second) = (server.svid("/proxy"), server.svid("/proxy"));
    let mut revoked = BindingStream::open(server.bindings(&first)).await;
    let mut other = BindingStream::open(server.bindings(&second)).await;
    assert_eq!(revoked.ask(&question).await.unwrap(), StreamOutcome::Allowed);
    let target = Target::CertificateThumbprint(first.thumbprint().as_bytes().to_vec());
    let request = RevokeTokenRequest { target: Some(target), ..RevokeTokenRequest::default() };
    server.tokens(&server.svid("/admin")).revoke_token(request).await.unwrap();
    let status = revoked.ask(&question).await.unwrap_err();
    assert_eq!((status.code(), reason_of(&status).as_str()), (Code::Unauthenticated, "CERTIFICATE_NOT_PROVEN"));
    assert_eq!(other.ask(&question).await.unwrap(), StreamOutcome::Allowed);
    server.server.authority().replace_trust(TrustBundles::default());
    let status = other.ask(&question).await.unwrap_err();
    assert_eq!((status.code(), reason_of(&status).as_str()), (Code::Unauthenticated, "CERTIFICATE_NOT_PROVEN"));
}

#[tokio::test]
async fn a_stream_ends_when_its_caller_holds_its_role_no_longer() {
    let server = TestServer::start().await;
    let leaf = server.setup.corp.client_certificate().dns("billing.corp.example").issue();
    let client = Client { tls_client_auth_san_dns: "billing.corp.example".to_owned(), ..pki_client("billing") };
    server.register(client).await.unwrap();
    let own = use_of(&server.issue_as(&leaf, "billing").await.unwrap().access_token);
    let mut stream = BindingStream::open(server.bindings(&leaf)).await;
    assert_eq!(stream.ask(&own).await.unwrap(), StreamOutcome::Allowed);
    server.delete("billing").await;
    let status = stream.ask(&own).await.unwrap_err();
    assert_eq!((status.code(), reason_of(&status).as_str()), (Code::PermissionDenied, "WRONG_ROLE"));
}

/// The status that an idle stream ends with.
async fn end_of(mut stream: BindingStream) -> (Code, String) {
    let status = stream.next().await.unwrap_err();
    (status.code(), reason_of(&status))
}

#[tokio::test]
async fn idle_and_busy_streams_end_with_unavailable_at_the_maximum_age_of_the_connection() {
    let setup = Setup { tls: "  connection_max_age: 1s".to_owned(), ..Setup::default() };
    setup.write();
    let server = setup.start().await.unwrap();
    let checkout = server.workload("/checkout").await;
    let question = seen(&checkout, &server.token(&checkout).await);
    let over = (Code::Unavailable, "CONNECTION_OVER".to_owned());
    let silent = BindingStream::open(server.bindings(&server.svid("/proxy"))).await;
    let mut idle = BindingStream::open(server.bindings(&server.svid("/proxy"))).await;
    assert_eq!(idle.ask(&question).await.unwrap(), StreamOutcome::Allowed);
    let busy = async {
        let BindingStream { questions, mut answers } =
            BindingStream::open(server.bindings(&server.svid("/proxy"))).await;
        tokio::spawn(async move { while questions.send(question.clone()).await.is_ok() {} });
        loop {
            match within(answers.message()).await {
                Ok(answer) => assert_eq!(outcome_of(&answer.unwrap()), StreamOutcome::Allowed),
                Err(status) => return status,
            }
        }
    };
    let (silent, idle, busy) = tokio::join!(end_of(silent), end_of(idle), busy);
    assert_eq!((busy.code(), reason_of(&busy)), over, "{busy:?}");
    assert_eq!((silent, idle), (over.clone(), over));
}

#[tokio::test]
async fn a_server_that_stops_ends_its_streams_with_unavailable() {
    let server = TestServer::start().await;
    let mut stream = BindingStream::open(server.bindings(&server.svid("/proxy"))).await;
    assert_eq!(stream.ask(&use_of("")).await.unwrap(), failed(Code::InvalidArgument, "TOKEN_MISSING"));
    let TestServer { server, .. } = server;
    let (end, ()) = tokio::join!(end_of(stream), within(server.stop()));
    assert_eq!(end, (Code::Unavailable, "CONNECTION_OVER".to_owned()));
}
