//! Receipts that are redeemed at all replicas at once.

use std::collections::BTreeSet;

use lanyard::proto::Client;
use lanyard::proto::CreateClientRequest;
use lanyard::proto::CreateProtectedResourceRequest;
use lanyard::proto::Delegated;
use lanyard::proto::ExchangeRule;
use lanyard::proto::ExchangeTokenRequest;
use lanyard::proto::IssueTokenRequest;
use lanyard::proto::ProtectedResource;
use lanyard::proto::Receipts;
use lanyard::proto::ScopeGrant;
use lanyard::proto::ValidateBindingRequest;
use lanyard::proto::exchange_token_request::Subject;
use lanyard::proto::token_service_client::TokenServiceClient;
use tokio::task::JoinSet;
use tonic::Status;
use tonic::transport::Channel;

use crate::replicas::fleet::COUNT;
use crate::replicas::fleet::Fleet;
use crate::support::check::orders;
use crate::support::door::within;
use crate::support::etcd::Options;
use crate::support::leaf::Leaf;
use crate::support::mint::part;
use crate::support::server::ORDERS;
use crate::support::server::certificate_of;
use crate::support::server::reason_of;
use crate::support::server::spiffe_client;

/// A resource whose receipts are one token, and one whose receipts are redeemed once.
const PLACES: [(&str, &str); 2] =
    [("https://effect.prod.example", "effect"), ("https://strict.prod.example", "strict")];
const CHECKOUT: &str = "spiffe://prod.example/checkout";

/// How often each receipt is redeemed.
const REDEMPTIONS: usize = 1000;

async fn registered(fleet: &Fleet) {
    let admin = fleet.at(0);
    let resource = |resource| CreateProtectedResourceRequest { resource: Some(resource), ..Default::default() };
    let client = |client| CreateClientRequest { client: Some(client), ..Default::default() };
    let delegated = Delegated { actors: vec![CHECKOUT.to_owned()], ..Delegated::default() };
    let target = ProtectedResource { delegated: Some(delegated), ..orders() };
    admin.registry().create_protected_resource(resource(target)).await.unwrap();
    let mut rules = Vec::new();
    for (audience, once) in PLACES {
        let ttl = Some(prost_types::Duration { seconds: 60, nanos: 0 });
        let receipts = Receipts { exchangers: vec![CHECKOUT.to_owned()], ttl, once: once.to_owned() };
        let place = ProtectedResource {
            audience: audience.to_owned(),
            scope: "submit".to_owned(),
            receipts: Some(receipts),
            ..ProtectedResource::default()
        };
        admin.registry().create_protected_resource(resource(place)).await.unwrap();
        rules.push(ExchangeRule {
            subjects: vec!["spiffe://prod.example/frontend".to_owned()],
            presented_at: audience.to_owned(),
            audience: ORDERS.to_owned(),
            grants: vec![ScopeGrant { needs: "submit".to_owned(), gives: "orders.read".to_owned() }],
            ..ExchangeRule::default()
        });
    }
    let frontend = Client {
        audience: PLACES.map(|(audience, _)| audience.to_owned()).to_vec(),
        scope: "submit".to_owned(),
        ..spiffe_client("spiffe://prod.example/frontend")
    };
    let exchange = "urn:ietf:params:oauth:grant-type:token-exchange";
    let grant_types = ["client_credentials", exchange].map(ToOwned::to_owned).to_vec();
    let checkout = Client { grant_types, exchange: rules, ..spiffe_client(CHECKOUT) };
    for one in [frontend, checkout] {
        admin.registry().create_client(client(one)).await.unwrap();
    }
}

/// The receipt of a presentation there, as soon as this replica makes one.
async fn receipt(fleet: &Fleet, index: usize, token: &str, leaf: &Leaf, audience: &str) -> String {
    let mut replica = fleet.at(index);
    within(async {
        loop {
            let request = ValidateBindingRequest {
                access_token: token.to_owned(),
                evidence: certificate_of(leaf),
                audience: audience.to_owned(),
                receipt: true,
                ..ValidateBindingRequest::default()
            };
            let answer = replica.ask(request).await.unwrap();
            if !answer.receipt.is_empty() {
                return answer.receipt;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

async fn redeem(mut tokens: TokenServiceClient<Channel>, receipt: String) -> Result<String, Status> {
    let request = ExchangeTokenRequest {
        subject: Some(Subject::Receipt(receipt)),
        audience: vec![ORDERS.to_owned()],
        ..ExchangeTokenRequest::default()
    };
    Ok(tokens.exchange_token(request).await?.into_inner().access_token)
}

/// What comes of a receipt that is redeemed at all replicas at once, as soon as all of them know the exchanger.
async fn redeemed(fleet: &Fleet, checkout: &Leaf, receipt: &str) -> Vec<Result<String, Status>> {
    let clients: Vec<_> = (0..COUNT).map(|index| TokenServiceClient::new(fleet.channel(index, checkout))).collect();
    for client in &clients {
        within(async {
            while client.clone().issue_token(IssueTokenRequest::default()).await.is_err() {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
    let mut all = JoinSet::new();
    for number in 0..REDEMPTIONS {
        all.spawn(redeem(clients[number % COUNT].clone(), receipt.to_owned()));
    }
    let mut outcomes = Vec::new();
    while let Some(outcome) = within(all.join_next()).await {
        outcomes.push(outcome.unwrap());
    }
    outcomes
}

// X6
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receipt_is_one_token_at_three_replicas_and_a_strict_one_is_redeemed_once() {
    let exchanging = |setup: &mut crate::support::server::Setup| setup.exchange = "{enabled: true}".to_owned();
    let Some(fleet) = Fleet::start_with(Options::default(), exchanging).await else { return };
    registered(&fleet).await;
    let (frontend, checkout) = (fleet.svid("/frontend"), fleet.svid("/checkout"));
    let token = fleet.token(0, &frontend).await;
    let [effect, strict] = PLACES.map(|(audience, _)| audience);

    let text = receipt(&fleet, 1, &token, &frontend, effect).await;
    let tokens: Vec<String> = redeemed(&fleet, &checkout, &text).await.into_iter().map(Result::unwrap).collect();
    let claims: BTreeSet<String> = tokens.iter().map(|token| serde_json::to_string(&part(token, 1)).unwrap()).collect();
    assert_eq!((tokens.len(), claims.len()), (REDEMPTIONS, 1), "{claims:#?}");

    let text = receipt(&fleet, 2, &token, &frontend, strict).await;
    let outcomes = redeemed(&fleet, &checkout, &text).await;
    let (issued, refused): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert_eq!((issued.len(), refused.len()), (1, REDEMPTIONS - 1));
    let reasons: BTreeSet<String> = refused.into_iter().map(|outcome| reason_of(&outcome.unwrap_err())).collect();
    assert_eq!(reasons, BTreeSet::from(["SUBJECT_NOT_ACCEPTED".to_owned()]));
    println!("of {REDEMPTIONS} redemptions at {COUNT} replicas: one token; of a strict receipt: one");
}
