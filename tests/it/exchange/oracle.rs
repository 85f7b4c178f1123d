//! Whoever tries tokens and receipts learns nothing about them: one answer for all that may be wrong with a subject.

use std::collections::BTreeSet;
use std::time::Duration;

use lanyard::proto::Client;
use lanyard::proto::Delegated;
use lanyard::proto::Delegates;
use lanyard::proto::ExchangeRule;
use lanyard::proto::ExchangeTokenRequest;
use lanyard::proto::IssueTokenRequest;
use lanyard::proto::ProtectedResource;
use lanyard::proto::Receipts;
use lanyard::proto::RevokeTokenRequest;
use lanyard::proto::ScopeGrant;
use lanyard::proto::ValidateBindingRequest;
use lanyard::proto::binding_service_client::BindingServiceClient;
use lanyard::proto::exchange_token_request::Subject;
use lanyard::proto::revoke_token_request::Target;
use lanyard::proto::validate_binding_request::Evidence;

use crate::exchange::support::refused_exchanges;
use crate::support::check;
use crate::support::http::post;
use crate::support::leaf::Leaf;
use crate::support::server::ORDERS;
use crate::support::server::TestServer;
use crate::support::server::certificate_of;
use crate::support::server::reason_of;
use crate::support::server::spiffe_client;
use crate::support::unreferenced::without_references;

const CHECKOUT: &str = "https://checkout.prod.example";
/// A resource whose receipts are redeemed once.
const STRICT: &str = "https://strict.prod.example";
const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const RECEIPT: &str = "urn:lanyard:params:oauth:token-type:presentation-receipt";

/// What is tried: by whom, and what for.
#[derive(Clone)]
struct Attempt {
    by: &'static str,
    token: Option<String>,
    receipt: Option<String>,
    target: &'static str,
}

impl Attempt {
    fn receipt(by: &'static str, receipt: &str) -> Self {
        Self { by, token: None, receipt: Some(receipt.to_owned()), target: ORDERS }
    }

    fn token(by: &'static str, token: &str) -> Self {
        Self { by, token: Some(token.to_owned()), receipt: None, target: ORDERS }
    }
}

fn rule(presented_at: &str, audience: &str) -> ExchangeRule {
    let grant = |gives: &str| ScopeGrant { needs: "submit".to_owned(), gives: gives.to_owned() };
    ExchangeRule {
        subjects: vec!["spiffe://prod.example/*".to_owned()],
        presented_at: presented_at.to_owned(),
        audience: audience.to_owned(),
        grants: vec![grant(if audience == ORDERS { "orders.read" } else { "submit" })],
        ..ExchangeRule::default()
    }
}

fn calling(path: &str, exchange: Vec<ExchangeRule>) -> Client {
    let grant = (!exchange.is_empty()).then_some(GRANT);
    Client {
        grant_types: ["client_credentials"].into_iter().chain(grant).map(ToOwned::to_owned).collect(),
        audience: [CHECKOUT, STRICT, ORDERS].map(ToOwned::to_owned).to_vec(),
        scope: "submit orders.read".to_owned(),
        exchange,
        ..spiffe_client(&format!("spiffe://prod.example{path}"))
    }
}

/// Resources, callers, and exchangers whose rules each ask for something else.
struct World {
    server: TestServer,
}

impl World {
    async fn new() -> Self {
        let server = TestServer::started(|setup| {
            setup.exchange = "{enabled: true}".to_owned();
            let sidecar = "proxies: [{spiffe_id: spiffe://prod.example/ex/sidecar, resources: ['*']}, ";
            setup.roles = setup.roles.replace("proxies: [", sidecar);
        })
        .await;
        let delegated =
            || Some(Delegated { actors: vec!["spiffe://prod.example/*".to_owned()], ..Delegated::default() });
        server.protect(ProtectedResource { delegated: delegated(), ..check::orders() }).await.unwrap();
        for (audience, once) in [(CHECKOUT, "effect"), (STRICT, "strict")] {
            let exchangers = vec!["spiffe://prod.example/ex/*".to_owned()];
            let receipts = Receipts { exchangers, once: once.to_owned(), ..Receipts::default() };
            let resource = ProtectedResource {
                audience: audience.to_owned(),
                scope: "submit".to_owned(),
                receipts: Some(receipts),
                delegated: delegated(),
                ..ProtectedResource::default()
            };
            server.protect(resource).await.unwrap();
        }
        let plain = || rule(CHECKOUT, ORDERS);
        let with = |presentation: &str| ExchangeRule { presentation: presentation.to_owned(), ..plain() };
        let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        for client in [
            calling("/frontend", Vec::new()),
            Client { delegates: Some(Delegates::default()), ..calling("/cautious", Vec::new()) },
            calling("/ex/good", vec![plain()]),
            calling("/ex/none", vec![with("none")]),
            calling(
                "/ex/several",
                vec![with("none"), ExchangeRule { presentation: "none".to_owned(), ..rule(STRICT, ORDERS) }],
            ),
            calling("/ex/sidecar", vec![with("independent")]),
            calling("/ex/certain", vec![ExchangeRule { least_evidence: "certificate".to_owned(), ..plain() }]),
            calling("/ex/short", vec![ExchangeRule { ttl: seconds(1), ..plain() }]),
            calling("/ex/one", vec![ExchangeRule { max_actors: 1, ..plain() }]),
            calling(
                "/ex/of-others",
                vec![ExchangeRule { subjects: vec!["spiffe://prod.example/nobody".to_owned()], ..plain() }],
            ),
            calling("/ex/relay", vec![plain(), rule(STRICT, CHECKOUT)]),
            calling("/outside", vec![plain()]),
        ] {
            server.register(client).await.unwrap();
        }
        Self { server }
    }

    /// A token of the holder of this certificate, for these resources.
    async fn token(&self, leaf: &Leaf, audience: &[&str]) -> String {
        let audience = audience.iter().map(|&one| one.to_owned()).collect();
        let request = IssueTokenRequest { audience, ..IssueTokenRequest::default() };
        let issued = self.server.tokens(leaf).issue_token(request).await;
        issued.unwrap().into_inner().access_token
    }

    /// The receipt that this proxy gets of a presentation.
    async fn presented(&self, proxy: &str, token: &str, evidence: Option<Evidence>, audience: &str) -> String {
        let request = ValidateBindingRequest {
            access_token: token.to_owned(),
            evidence,
            audience: audience.to_owned(),
            receipt: true,
            ..ValidateBindingRequest::default()
        };
        let mut bindings = BindingServiceClient::new(self.server.channel(&self.server.svid(proxy)));
        let answer = bindings.validate_binding(request).await.unwrap().into_inner();
        assert!(!answer.receipt.is_empty(), "{answer:?}");
        answer.receipt
    }

    async fn over_grpc(&self, attempt: &Attempt) -> Result<String, tonic::Status> {
        let Attempt { by, token, receipt, target } = attempt.clone();
        let (subject, beside) = match (token, receipt) {
            (Some(token), receipt) => (Subject::AccessToken(token), receipt),
            (None, receipt) => (Subject::Receipt(receipt.unwrap()), None),
        };
        let request = ExchangeTokenRequest {
            subject: Some(subject),
            presentation_receipt: beside.unwrap_or_default(),
            audience: vec![target.to_owned()],
            ..ExchangeTokenRequest::default()
        };
        let answer = self.server.tokens(&self.server.svid(by)).exchange_token(request).await?;
        Ok(answer.into_inner().access_token)
    }

    async fn over_http(&self, attempt: &Attempt) -> (u16, String) {
        let Attempt { by, token, receipt, target } = attempt;
        let client_id = format!("spiffe://prod.example{by}");
        let mut form = vec![("grant_type", GRANT), ("client_id", client_id.as_str()), ("resource", *target)];
        match (token, receipt) {
            (Some(token), receipt) => {
                form.extend([("subject_token", token.as_str()), ("subject_token_type", ACCESS_TOKEN)]);
                form.extend(receipt.iter().map(|receipt| ("receipt", receipt.as_str())));
            }
            (None, receipt) => {
                form.extend([("subject_token", receipt.as_deref().unwrap()), ("subject_token_type", RECEIPT)]);
            }
        }
        let reply = self.server.send(&self.server.svid(by), post("/oauth2/token", &form)).await;
        (reply.status, without_references(&reply.body))
    }

    /// What is wrong, by the reason that is counted, and what is tried.
    async fn causes(&self) -> Vec<(&'static str, Attempt)> {
        let frontend = self.server.svid("/frontend");
        let receipt = async |token: &str, leaf: &Leaf, audience: &str| {
            self.presented("/proxy", token, certificate_of(leaf), audience).await
        };
        let good = self.token(&frontend, &[CHECKOUT]).await;
        let [other, revoked] = [self.token(&frontend, &[CHECKOUT]).await, self.token(&frontend, &[CHECKOUT]).await];
        let several = self.token(&frontend, &[CHECKOUT, STRICT]).await;
        let revoke = RevokeTokenRequest { target: Some(Target::Token(revoked.clone())), ..Default::default() };
        let (message, signature) = good.rsplit_once('.').unwrap();
        let forged = format!("{message}.{}{}", if signature.starts_with('A') { 'B' } else { 'A' }, &signature[1..]);
        let of_good = receipt(&good, &frontend, CHECKOUT).await;
        let thumbprint = Some(Evidence::CertificateThumbprint(frontend.thumbprint().as_bytes().to_vec()));
        let weak = self.presented("/proxy", &good, thumbprint, CHECKOUT).await;
        let invented = self.presented("/ex/sidecar", &good, certificate_of(&frontend), CHECKOUT).await;
        let cautious = self.server.svid("/cautious");
        let of_cautious = receipt(&self.token(&cautious, &[CHECKOUT]).await, &cautious, CHECKOUT).await;
        let exchanger = self.server.svid("/ex/good");
        let own = receipt(&self.token(&exchanger, &[CHECKOUT]).await, &exchanger, CHECKOUT).await;
        // The relay has got a token for the frontend's, and calls the checkout with it.
        let relay = self.server.svid("/ex/relay");
        let spent = receipt(&self.token(&frontend, &[STRICT]).await, &frontend, STRICT).await;
        let for_relay = Attempt { target: CHECKOUT, ..Attempt::receipt("/ex/relay", &spent) };
        let exchanging = ExchangeTokenRequest {
            subject: Some(Subject::Receipt(spent)),
            audience: vec![CHECKOUT.to_owned()],
            ..ExchangeTokenRequest::default()
        };
        let delegated = self.server.tokens(&relay).exchange_token(exchanging).await.unwrap().into_inner().access_token;
        let of_delegated = receipt(&delegated, &relay, CHECKOUT).await;
        self.server.tokens(&self.server.svid("/admin")).revoke_token(revoke).await.unwrap();
        vec![
            ("SUBJECT_INVALID", Attempt::token("/ex/none", "a.b.c")),
            ("SUBJECT_INVALID", Attempt::token("/ex/none", &forged)),
            ("SUBJECT_DENIED", Attempt::token("/ex/none", &revoked)),
            ("RECEIPT_INVALID", Attempt::receipt("/ex/good", &format!("{of_good}A"))),
            ("RECEIPT_INVALID", Attempt::receipt("/ex/good", &good)),
            ("RECEIPT_OF_ANOTHER", Attempt { token: Some(other), ..Attempt::receipt("/ex/good", &of_good) }),
            ("NOT_FOR_CLIENT", Attempt::receipt("/outside", &of_good)),
            ("NO_RULE", Attempt::receipt("/ex/of-others", &of_good)),
            ("PLACE_UNKNOWN", Attempt::token("/ex/several", &several)),
            ("RECEIPT_MISSING", Attempt::token("/ex/good", &good)),
            ("NOT_INDEPENDENT", Attempt::receipt("/ex/sidecar", &invented)),
            ("RECEIPT_TOO_WEAK", Attempt::receipt("/ex/certain", &weak)),
            ("VETOED", Attempt::receipt("/ex/good", &of_cautious)),
            ("ACTOR_IS_SUBJECT", Attempt::receipt("/ex/good", &own)),
            ("ACTOR_IN_CHAIN", Attempt::receipt("/ex/relay", &of_delegated)),
            ("TOO_MANY_ACTORS", Attempt::receipt("/ex/one", &of_delegated)),
            ("RECEIPT_SPENT", for_relay),
            ("LIFETIME_OVER", Attempt::receipt("/ex/short", &of_good)),
            // The nearest one that is good.
            ("", Attempt::receipt("/ex/good", &of_good)),
        ]
    }
}

// X28: live ones are not told from dead ones, nor one's own faults from another's
#[tokio::test]
async fn whatever_is_wrong_with_the_subject_one_answer_is_given() {
    let world = Box::pin(World::new()).await;
    let causes = world.causes().await;
    world.server.advance(Duration::from_secs(2));
    let authority = world.server.server.authority();
    let (mut over_http, mut over_grpc, mut seen) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for (expected, attempt) in causes {
        let before = refused_exchanges(authority);
        let (reply, answer) = (world.over_http(&attempt).await, world.over_grpc(&attempt).await);
        if expected.is_empty() {
            assert_eq!(reply.0, 200, "{reply:?}");
            assert!(answer.is_ok(), "{answer:?}");
            continue;
        }
        // Both have found what is meant to be wrong, and nothing else was counted.
        let after = refused_exchanges(authority);
        let grown: Vec<_> = after.iter().filter(|(reason, count)| before[*reason] < **count).collect();
        assert_eq!(grown, [(&expected.to_owned(), &(before[expected] + 2))], "{reply:?}");
        seen.insert(expected);
        over_http.insert(reply);
        let status = answer.unwrap_err();
        over_grpc.insert((format!("{:?}", status.code()), without_references(status.message()), reason_of(&status)));
    }
    assert!(seen.len() >= 15, "{seen:?}");
    assert_eq!(over_http.len(), 1, "{over_http:#?}");
    assert_eq!(over_grpc.len(), 1, "{over_grpc:#?}");
}
