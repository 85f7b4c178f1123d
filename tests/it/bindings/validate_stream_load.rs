//! Many questions over one stream: the answers stay right and in order, and the server's memory stays as it was.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use lanyard::authority::clock::Clock;
use lanyard::authority::clock::ManualClock;
use lanyard::authority::clock::Timestamp;
use lanyard::proto::CreateClientRequest;
use lanyard::proto::DenyReason;
use lanyard::proto::GetJwksRequest;
use lanyard::proto::IssueTokenRequest;
use lanyard::proto::ValidateBindingRequest;
use lanyard::proto::binding_service_client::BindingServiceClient;
use lanyard::proto::key_service_client::KeyServiceClient;
use lanyard::proto::registry_service_client::RegistryServiceClient;
use lanyard::proto::token_service_client::TokenServiceClient;
use lanyard::proto::validate_binding_request::Evidence;
use lanyard::proto::validate_bindings_response::Outcome;
use prost_types::value::Kind;
use tonic::Code;
use tonic::transport::Channel;
use tonic::transport::Endpoint;

use crate::support::Xorshift;
use crate::support::binding_stream::BindingStream;
use crate::support::binding_stream::StreamOutcome;
use crate::support::binding_stream::outcome_of;
use crate::support::calls::opened;
use crate::support::calls::use_of;
use crate::support::child::Serve;
use crate::support::child::real_time;
use crate::support::door::within;
use crate::support::leaf::Leaf;
use crate::support::server::Setup;
use crate::support::server::certificate_of;
use crate::support::server::channel;
use crate::support::server::connect;
use crate::support::server::spiffe_client;

/// A question, its answer, and the token that an answer about a good one must name.
type Case = (ValidateBindingRequest, StreamOutcome, Option<String>);

fn channel_of(setup: &Setup, serve: &Serve, leaf: &Leaf) -> Channel {
    let config = setup.tls_builder(rustls::DEFAULT_VERSIONS);
    let mut config = config.with_client_auth_cert(leaf.chain.clone(), leaf.private_key()).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    channel(serve.mtls, config)
}

/// All kinds of questions about the tokens of several workloads.
async fn cases(setup: &Setup, serve: &Serve) -> Vec<Case> {
    let svid = |path: &str| setup.ca.svid(&format!("spiffe://prod.example/{path}")).issue();
    let mut registry = RegistryServiceClient::new(channel_of(setup, serve, &svid("admin")));
    let thief = svid("thief");
    let mut cases = Vec::new();
    for number in 0..8 {
        let name = format!("workload-{number}");
        let client = Some(spiffe_client(&format!("spiffe://prod.example/{name}")));
        registry.create_client(CreateClientRequest { client, ..Default::default() }).await.unwrap();
        let leaf = svid(&name);
        let mut tokens = TokenServiceClient::new(channel_of(setup, serve, &leaf));
        let token = tokens.issue_token(IssueTokenRequest::default()).await.unwrap().into_inner().access_token;
        let jti = opened(&token).1["jti"].as_str().map(str::to_owned);
        let good = ValidateBindingRequest { evidence: certificate_of(&leaf), ..use_of(&token) };
        let thumbprint = |leaf: &Leaf| Some(Evidence::CertificateThumbprint(leaf.thumbprint().as_bytes().to_vec()));
        // In the middle of the signature, where every bit is significant.
        let (before, after) = token.split_at(token.len() - 20);
        let bad_signature = format!("{before}{}{}", if after.starts_with('A') { 'B' } else { 'A' }, &after[1..]);
        let kinds = [
            (good.clone(), StreamOutcome::Allowed, true),
            (ValidateBindingRequest { evidence: thumbprint(&leaf), ..good.clone() }, StreamOutcome::Allowed, true),
            (
                ValidateBindingRequest { evidence: certificate_of(&thief), ..good.clone() },
                StreamOutcome::Denied(DenyReason::CertificateMismatch),
                true,
            ),
            (use_of(&token), StreamOutcome::Denied(DenyReason::EvidenceMissing), true),
            (
                ValidateBindingRequest { audience: "https://b.example".to_owned(), ..good.clone() },
                StreamOutcome::Denied(DenyReason::WrongAudience),
                true,
            ),
            (
                ValidateBindingRequest { scope: "orders.admin".to_owned(), ..good.clone() },
                StreamOutcome::Denied(DenyReason::InsufficientScope),
                true,
            ),
            (use_of(&bad_signature), StreamOutcome::Denied(DenyReason::BadSignature), false),
            (use_of(&name), StreamOutcome::Denied(DenyReason::TokenMalformed), false),
            (use_of(""), StreamOutcome::Failed(Code::InvalidArgument, "TOKEN_MISSING".to_owned()), false),
            (
                ValidateBindingRequest { evidence: Some(Evidence::CertificateThumbprint(vec![1])), ..good.clone() },
                StreamOutcome::Failed(Code::InvalidArgument, "EVIDENCE_MALFORMED".to_owned()),
                false,
            ),
        ];
        cases.extend(kinds.map(|(question, answer, named)| (question, answer, jti.clone().filter(|_| named))));
    }
    cases
}

#[tokio::test]
async fn a_hundred_thousand_questions_are_answered_in_order_in_flat_memory() {
    const QUESTIONS: usize = 100_000;
    let setup = real_time();
    setup.write();
    let serve = Serve::start(&setup, 1024);
    let cases = Arc::new(cases(&setup, &serve).await);
    let proxy = setup.ca.svid("spiffe://prod.example/proxy").issue();
    let bindings = BindingServiceClient::new(channel_of(&setup, &serve, &proxy));
    let BindingStream { questions, mut answers } = BindingStream::open(bindings).await;
    let order = |seed| {
        let mut random = Xorshift::new(seed);
        std::iter::repeat_with(move || random.below(80)).take(QUESTIONS)
    };
    assert_eq!(cases.len(), 80);
    let sender = {
        let (cases, order) = (Arc::clone(&cases), order(7));
        tokio::spawn(async move {
            for case in order {
                questions.send(cases[case].0.clone()).await.unwrap();
            }
        })
    };
    let mut settled = 0;
    for (number, case) in order(7).enumerate() {
        let answer = within(answers.message()).await.unwrap().unwrap();
        let (question, expected, jti) = &cases[case];
        assert_eq!(outcome_of(&answer), *expected, "answer {number} to {question:?}");
        assert_eq!(named(answer.outcome.unwrap()), *jti, "answer {number} to {question:?}");
        if number == QUESTIONS / 10 {
            settled = serve.resident();
        }
    }
    assert_eq!(within(answers.message()).await.unwrap(), None);
    let grown = serve.resident().saturating_sub(settled);
    // Had they been kept, the answers alone would take some 50 MB.
    assert!(grown < 8 * 1024 * 1024, "{grown} bytes more than the {settled} after a tenth of the answers");
    sender.await.unwrap();
}

/// The token that an answer names.
fn named(outcome: Outcome) -> Option<String> {
    let Outcome::Judged(evaluated) = outcome else { return None };
    let Some(Kind::StringValue(jti)) = evaluated.claims?.fields.remove("jti")?.kind else { panic!("a jti is text") };
    Some(jti)
}

/// A clock that counts how often it is looked at, which is at least once a question.
#[derive(Debug)]
struct Counting {
    clock: Arc<ManualClock>,
    looks: AtomicUsize,
}

impl Clock for Counting {
    fn now(&self) -> Timestamp {
        self.looks.fetch_add(1, Ordering::SeqCst);
        self.clock.now()
    }

    fn elapsed(&self) -> Duration {
        self.clock.elapsed()
    }
}

#[tokio::test]
async fn a_peer_that_asks_and_does_not_read_is_not_read_from_either_until_it_does() {
    const QUESTIONS: usize = 20_000;
    let setup = Setup::default();
    setup.write();
    let clock = Arc::new(Counting { clock: Arc::clone(&setup.clock), looks: AtomicUsize::default() });
    let server = setup.start_by(Arc::clone(&clock) as Arc<dyn Clock>).await.unwrap();
    let checkout = server.workload("/checkout").await;
    let token = server.token(&checkout).await;
    let questions = [
        (ValidateBindingRequest { evidence: certificate_of(&checkout), ..use_of(&token) }, StreamOutcome::Allowed),
        (use_of(&token), StreamOutcome::Denied(DenyReason::EvidenceMissing)),
        (use_of(""), StreamOutcome::Failed(Code::InvalidArgument, "TOKEN_MISSING".to_owned())),
    ];
    // A client that gives room for a hundred answers or so; tonic's own would for ten thousand.
    let (config, address) = (server.tls(&server.svid("/proxy")), server.addresses.mtls);
    let connector = tower::service_fn(move |_: tonic::transport::Uri| {
        let config = config.clone();
        async move { connect(address, config).await.map(TokioIo::new) }
    });
    let narrow = Endpoint::from_static("https://localhost")
        .initial_stream_window_size(65_535)
        .initial_connection_window_size(65_535)
        .connect_with_connector_lazy(connector);
    let BindingStream { questions: sender, mut answers } = BindingStream::open(BindingServiceClient::new(narrow)).await;
    let sent = Arc::new(AtomicUsize::default());
    let sending = tokio::spawn({
        let (questions, sent) = (questions.clone(), Arc::clone(&sent));
        async move {
            for number in 0..QUESTIONS {
                sender.send(questions[number % 3].0.clone()).await.unwrap();
                sent.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
    // A thread of the server that has questions to read makes progress between two other calls on it.
    let mut others: Vec<_> = (0..4).map(|_| KeyServiceClient::new(server.channel(&server.svid("/checkout")))).collect();
    let mut before = usize::MAX;
    while before != sent.load(Ordering::SeqCst) {
        before = sent.load(Ordering::SeqCst);
        for _ in 0..50 {
            for other in &mut others {
                within(other.get_jwks(GetJwksRequest {})).await.unwrap();
            }
        }
    }
    assert!(before < QUESTIONS / 2, "{before} questions were taken from a peer that has read no answer");
    let looks = clock.looks.load(Ordering::SeqCst);
    assert!(looks < QUESTIONS / 5, "{looks} looks at the clock for a peer that has read no answer");
    for number in 0..QUESTIONS {
        let answer = within(answers.message()).await.unwrap().unwrap();
        assert_eq!(outcome_of(&answer), questions[number % 3].1, "{number}");
    }
    assert_eq!(within(answers.message()).await.unwrap(), None);
    sending.await.unwrap();
}
