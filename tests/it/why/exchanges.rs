//! What an exchange would come to, asked over the wire and by the command line.

use lanyard::proto::AskedForeignSubject;
use lanyard::proto::AskedIdentity;
use lanyard::proto::Client;
use lanyard::proto::Delegated;
use lanyard::proto::ExchangeRule;
use lanyard::proto::ExplainExchangeRequest;
use lanyard::proto::ExplainExchangeResponse;
use lanyard::proto::ProtectedResource;
use lanyard::proto::ScopeGrant;
use lanyard::proto::TokenType;
use lanyard::proto::explanation_service_client::ExplanationServiceClient;
use prost_types::Struct;
use tonic::Code;
use tonic::Status;

use super::scene::Scene;
use crate::support::calls::refusal;
use crate::support::calls::refused_field;
use crate::support::check::orders;
use crate::support::leaf::Leaf;
use crate::support::server::ORDERS;
use crate::support::server::TestServer;
use crate::support::server::spiffe_client;

const FRONTEND: &str = "spiffe://prod.example/frontend";
const CHECKOUT: &str = "spiffe://prod.example/checkout";
const PLACE: &str = "https://checkout.prod.example";

/// A frontend whose tokens the checkout may exchange for the orders.
async fn scene() -> Scene {
    let delegated = Delegated { actors: vec![CHECKOUT.to_owned()], ..Delegated::default() };
    let scene = Scene::with(ProtectedResource { delegated: Some(delegated), ..orders() }).await;
    let place = ProtectedResource {
        audience: PLACE.to_owned(),
        scope: "checkout.submit".to_owned(),
        ..ProtectedResource::default()
    };
    scene.server.protect(place).await.unwrap();
    let frontend =
        Client { audience: vec![PLACE.to_owned()], scope: "checkout.submit".to_owned(), ..spiffe_client(FRONTEND) };
    scene.server.register(frontend).await.unwrap();
    let rule = ExchangeRule {
        subjects: vec![FRONTEND.to_owned()],
        presented_at: PLACE.to_owned(),
        audience: ORDERS.to_owned(),
        grants: vec![ScopeGrant { needs: "checkout.submit".to_owned(), gives: "orders.read".to_owned() }],
        presentation: "none".to_owned(),
        ..ExchangeRule::default()
    };
    let grant = "urn:ietf:params:oauth:grant-type:token-exchange".to_owned();
    let grant_types = vec!["client_credentials".to_owned(), grant];
    scene.server.register(Client { grant_types, exchange: vec![rule], ..spiffe_client(CHECKOUT) }).await.unwrap();
    scene
}

fn by_id(id: &str) -> AskedIdentity {
    AskedIdentity { spiffe_id: id.to_owned(), ..AskedIdentity::default() }
}

fn question() -> ExplainExchangeRequest {
    let (presented_at, audience) = (PLACE.to_owned(), ORDERS.to_owned());
    let (subject, exchanger) = (Some(by_id(FRONTEND)), Some(by_id(CHECKOUT)));
    ExplainExchangeRequest { subject, presented_at, exchanger, audience, ..ExplainExchangeRequest::default() }
}

async fn explain(
    server: &TestServer,
    caller: &Leaf,
    asked: ExplainExchangeRequest,
) -> Result<ExplainExchangeResponse, Status> {
    let answer = ExplanationServiceClient::new(server.channel(caller)).explain_exchange(asked).await;
    answer.map(tonic::Response::into_inner)
}

#[tokio::test]
async fn an_exchange_is_explained_to_those_who_read_all_and_to_nobody_else() {
    let Scene { server, .. } = scene().await;
    let told = explain(&server, &server.svid("/admin"), question()).await.unwrap();
    assert!(told.granted && !told.reported && told.reason.is_empty(), "{told:?}");
    assert_eq!((told.subject.as_str(), told.scope.as_str()), (FRONTEND, "orders.read"));
    assert_eq!((&told.actors, told.registration.as_str()), (&vec![CHECKOUT.to_owned()], CHECKOUT));
    assert_eq!(told.expires_in.map(|span| span.seconds), Some(120));
    assert_eq!(told.subject_token.unwrap().scope, "checkout.submit");
    assert!(told.rules[0].applies && told.steps.iter().all(|step| step.passed));
    // Nobody else, of its own exchange either.
    for path in ["/checkout", "/frontend", "/proxy"] {
        let refused = refusal(explain(&server, &server.svid(path), question()).await);
        assert_eq!(refused, (Code::PermissionDenied, "WRONG_ROLE".to_owned()), "{path}");
    }
}

#[tokio::test]
async fn a_question_about_an_exchange_that_cannot_be_read_is_refused_by_its_field() {
    let Scene { server, .. } = scene().await;
    let admin = server.svid("/admin");
    let foreign = |issuer: &str, subject: &str, scope: &str| {
        let [issuer, name, scope] = [issuer, subject, scope].map(ToOwned::to_owned);
        let foreign_subject = Some(AskedForeignSubject { issuer, subject: name, scope });
        ExplainExchangeRequest { subject: None, presented_at: String::new(), foreign_subject, ..question() }
    };
    let grant = i32::from(TokenType::JwtGrant);
    let garbage = Some(AskedIdentity { certificates: vec![b"garbage".to_vec()], ..AskedIdentity::default() });
    for (asked, field) in [
        (ExplainExchangeRequest { subject: None, ..question() }, "subject"),
        (ExplainExchangeRequest { subject: Some(by_id("frontend")), ..question() }, "subject.spiffe_id"),
        (ExplainExchangeRequest { subject: garbage.clone(), ..question() }, "subject.certificates"),
        (ExplainExchangeRequest { exchanger: None, ..question() }, "exchanger"),
        (ExplainExchangeRequest { exchanger: garbage, ..question() }, "exchanger.certificates"),
        (ExplainExchangeRequest { presented_at: String::new(), ..question() }, "presented_at"),
        (ExplainExchangeRequest { audience: String::new(), ..question() }, "audience"),
        (ExplainExchangeRequest { requested: 9, ..question() }, "requested"),
        (ExplainExchangeRequest { request_details: Some(Struct::default()), ..question() }, "request_details"),
        (ExplainExchangeRequest { request_context: Some(Struct::default()), ..question() }, "request_context"),
        (ExplainExchangeRequest { subject: Some(by_id(FRONTEND)), ..foreign("https://a", "b", "") }, "foreign_subject"),
        (ExplainExchangeRequest { requested: grant, ..foreign("https://a", "b", "") }, "foreign_subject"),
        (foreign("", "b", ""), "foreign_subject.issuer"),
        (foreign("https://a", "", ""), "foreign_subject.subject"),
        (foreign("https://a", "b", "c  d"), "foreign_subject.scope"),
    ] {
        assert_eq!(refused_field(explain(&server, &admin, asked).await), field);
    }
    // What is not registered is an answer.
    let asked = ExplainExchangeRequest { audience: "https://nowhere.prod.example".to_owned(), ..question() };
    assert_eq!(explain(&server, &admin, asked).await.unwrap().reason, "TARGET_NOT_IN_RULES");
    let asked = ExplainExchangeRequest { exchanger: Some(by_id("spiffe://unknown.example/a")), ..question() };
    let told = explain(&server, &admin, asked).await.unwrap();
    assert_eq!((told.reason.as_str(), told.steps.len()), ("UNKNOWN_TRUST_DOMAIN", 0));
}

#[tokio::test]
async fn the_command_line_prints_each_step_of_an_exchange_the_rules_and_what_to_do() {
    let scene = scene().await;
    let asked = ["exchange", "explain", "--presented-at", PLACE, "--audience", ORDERS, "--as", CHECKOUT, "--subject"];
    let ask = async |who: &str, more: &[&str]| scene.run(who, &[asked.as_slice(), more].concat()).await;
    let granted = ask("admin", &[FRONTEND, "-o", "json"]).await.json(0);
    assert_eq!((&granted["granted"], &granted["scope"]), (&true.into(), &"orders.read".into()));
    assert_eq!((&granted["rules"][0]["applies"], &granted["expires_in"]), (&true.into(), &120.into()));
    let text = ask("admin", &[FRONTEND]).await.ok();
    for line in [
        "exchange      would be issued\n",
        "subject       spiffe://prod.example/frontend\n",
        "actors        spiffe://prod.example/checkout\n",
        "what the subject presents\ntoken         would be issued",
        "steps of the exchange\n",
        "rules of the client\n  yes  spiffe://prod.example/frontend  at https://checkout.prod.example",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    let refused = ask("admin", &[FRONTEND, "--scope", "orders.write"]).await;
    assert_eq!(refused.code, Some(3), "{refused:?}");
    for line in
        ["exchange      would not be issued\n", "reason        INVALID_SCOPE\n", "  no  scope", "fix           "]
    {
        assert!(refused.stdout.contains(line), "{line} in {}", refused.stdout);
    }
    ask("proxy", &[FRONTEND]).await.refused("WRONG_ROLE", "");
    let unreadable = scene.run("admin", &["exchange", "explain", "--subject", FRONTEND]).await;
    assert_eq!(unreadable.code, Some(2), "{unreadable:?}");
}
