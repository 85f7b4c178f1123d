//! The client library exchanges what was presented to a service, against a real server.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use hyper::header::HeaderName;
use hyper::header::HeaderValue;
use lanyard::client::exchanged::ExchangeSettings;
use lanyard::client::exchanged::Exchanged;
use lanyard::client::files::FileError;
use lanyard::client::presented::Presented;
use lanyard::client::token::BoundToken;
use lanyard::client::token::TokenError;
use lanyard::proto::Client;
use lanyard::proto::Delegated;
use lanyard::proto::ExchangeRule;
use lanyard::proto::GetClientRequest;
use lanyard::proto::ProtectedResource;
use lanyard::proto::Receipts;
use lanyard::proto::ScopeGrant;
use lanyard::proto::UpdateClientRequest;
use lanyard::proto::ValidateBindingRequest;
use serde_json::Map;
use serde_json::Value;

use crate::support::check::orders;
use crate::support::child::real_time;
use crate::support::door::within;
use crate::support::leaf::Leaf;
use crate::support::mint::part;
use crate::support::server::ORDERS;
use crate::support::server::Setup;
use crate::support::server::TestServer;
use crate::support::server::certificate_of;
use crate::support::server::spiffe_client;
use crate::support::workload::CHECKOUT;
use crate::support::workload::Workload;

const CHECKOUT_RESOURCE: &str = "https://checkout.prod.example";
const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

/// A checkout that exchanges what its callers present, with its files.
struct Shop {
    server: TestServer,
    checkout: Workload,
    leaf: Leaf,
}

impl Shop {
    /// The new tokens have this lifetime, in seconds.
    async fn start(ttl: i64) -> Self {
        let setup = Setup { exchange: "{enabled: true}".to_owned(), ..real_time() };
        setup.write();
        let server = Box::pin(setup.start()).await.unwrap();
        let delegated = Delegated { actors: vec![CHECKOUT.to_owned()], ..Delegated::default() };
        server.protect(ProtectedResource { delegated: Some(delegated), ..orders() }).await.unwrap();
        let checkout = ProtectedResource {
            audience: CHECKOUT_RESOURCE.to_owned(),
            scope: "checkout.submit".to_owned(),
            receipts: Some(Receipts { exchangers: vec![CHECKOUT.to_owned()], ..Receipts::default() }),
            ..ProtectedResource::default()
        };
        server.protect(checkout).await.unwrap();
        let grant = ScopeGrant { needs: "checkout.submit".to_owned(), gives: "orders.read orders.write".to_owned() };
        let rule = ExchangeRule {
            subjects: vec!["spiffe://prod.example/web/*".to_owned()],
            presented_at: CHECKOUT_RESOURCE.to_owned(),
            audience: ORDERS.to_owned(),
            grants: vec![grant],
            presentation: "none".to_owned(),
            ttl: Some(prost_types::Duration { seconds: ttl, nanos: 0 }),
            ..ExchangeRule::default()
        };
        let client = Client {
            grant_types: vec!["client_credentials".to_owned(), GRANT.to_owned()],
            exchange: vec![rule],
            ..spiffe_client(CHECKOUT)
        };
        server.register(client).await.unwrap();
        let checkout = Workload::beside(&server);
        let leaf = server.svid("/checkout");
        checkout.hold(&leaf);
        Self { server, checkout, leaf }
    }

    fn exchanged(&self) -> Exchanged {
        let settings = self.checkout.settings();
        let (server, credentials) = (settings.server, settings.credentials);
        Exchanged::start(ExchangeSettings { server, credentials, client_id: String::new() }).unwrap()
    }

    /// What a caller of this name presents.
    async fn presented(&self, name: &str) -> Presented {
        let caller = Client {
            audience: vec![CHECKOUT_RESOURCE.to_owned()],
            scope: "checkout.submit".to_owned(),
            ..spiffe_client(&format!("spiffe://prod.example{name}"))
        };
        self.server.register(caller).await.unwrap();
        let token = self.server.token(&self.server.svid(name)).await;
        let value = HeaderValue::try_from(format!("Bearer {token}")).unwrap();
        Presented::from_headers(&HeaderMap::from_iter([(AUTHORIZATION, value)])).unwrap()
    }

    /// The receipt of a presentation by this caller, as the proxy of the checkout passes it on.
    async fn receipt(&self, caller: &Leaf, token: &str) -> HeaderMap {
        let request = ValidateBindingRequest {
            access_token: token.to_owned(),
            evidence: certificate_of(caller),
            audience: CHECKOUT_RESOURCE.to_owned(),
            receipt: true,
            ..ValidateBindingRequest::default()
        };
        let answer = self.server.bindings(&self.server.svid("/proxy")).validate_binding(request).await.unwrap();
        let value = HeaderValue::try_from(answer.into_inner().receipt).unwrap();
        HeaderMap::from_iter([(HeaderName::from_static("x-lanyard-receipt"), value)])
    }

    /// How many exchanges the server has carried out, and how many it has refused.
    async fn counted(&self) -> [u64; 2] {
        let [done, refused, failed] = self.server.page().await.requests("lanyard.v1.TokenService/ExchangeToken");
        assert_eq!(failed, 0);
        [done, refused]
    }
}

fn claims(token: &BoundToken) -> Map<String, Value> {
    part(token.as_str(), 1)
}

#[tokio::test]
async fn all_who_ask_for_the_same_at_once_share_one_exchange() {
    let shop = Shop::start(120).await;
    let presented = shop.presented("/web/frontend").await;
    let exchanged = shop.exchanged();
    let asked = (0..50).map(|_| exchanged.token(&presented, ORDERS, "orders.read"));
    let tokens: Vec<BoundToken> = within(join_all(asked)).await.into_iter().map(Result::unwrap).collect();
    assert!(tokens.iter().all(|token| token.as_str() == tokens[0].as_str()));
    assert_eq!(shop.counted().await, [1, 0]);
    // It is kept, also for a clone.
    let again = exchanged.clone().token(&presented, ORDERS, "orders.read").await.unwrap();
    assert_eq!(again.as_str(), tokens[0].as_str());
    assert_eq!(shop.counted().await, [1, 0]);
    let said = claims(&again);
    assert_eq!(said["sub"], "spiffe://prod.example/web/frontend");
    assert_eq!(said["act"]["sub"], CHECKOUT);
    assert_eq!(said["cnf"]["x5t#S256"], shop.leaf.thumbprint().to_string());
    assert_eq!((again.scope(), again.certificate()), ("orders.read", shop.leaf.certificate()));
    let shown = format!("{exchanged:?} {presented:?} {again:?}");
    assert!(!shown.contains("eyJ"), "{shown}");
}

#[tokio::test]
async fn no_subject_no_presentation_and_no_scope_shares_a_token_with_another() {
    let shop = Shop::start(120).await;
    let exchanged = shop.exchanged();
    let (one, other) = (shop.presented("/web/one").await, shop.presented("/web/other").await);
    let fresh = shop.server.token(&shop.server.svid("/web/one")).await;
    let questions = [(&one, ""), (&other, ""), (&one, "orders.read"), (&Presented::access_token(fresh), "")];
    let asked = questions.iter().map(|(presented, scope)| exchanged.token(presented, ORDERS, scope));
    let tokens: Vec<BoundToken> = within(join_all(asked)).await.into_iter().map(Result::unwrap).collect();
    let said: Vec<String> = tokens.iter().map(|token| claims(token)["sub"].as_str().unwrap().to_owned()).collect();
    let ids = ["one", "other", "one", "one"].map(|name| format!("spiffe://prod.example/web/{name}"));
    assert_eq!(said, ids);
    assert_eq!(tokens[0].scope(), "orders.read orders.write");
    assert_eq!(tokens[2].scope(), "orders.read");
    assert_eq!(shop.counted().await, [4, 0]);
    for ((presented, scope), token) in questions.iter().zip(&tokens) {
        let again = exchanged.token(presented, ORDERS, scope).await.unwrap();
        assert_eq!(again.as_str(), token.as_str());
    }
    assert_eq!(shop.counted().await, [4, 0]);
}

#[tokio::test]
async fn a_receipt_is_exchanged_once_and_another_one_of_the_same_token_anew() {
    let shop = Shop::start(120).await;
    shop.presented("/web/frontend").await;
    let (exchanged, caller) = (shop.exchanged(), shop.server.svid("/web/frontend"));
    let token = shop.server.token(&caller).await;
    let headers = [shop.receipt(&caller, &token).await, shop.receipt(&caller, &token).await];
    let receipts = headers.map(|headers| Presented::from_headers(&headers).unwrap());
    let mut texts = BTreeSet::new();
    for receipt in receipts.iter().chain(&receipts) {
        let token = exchanged.token(receipt, ORDERS, "orders.read").await.unwrap();
        assert_eq!(claims(&token)["sub"], "spiffe://prod.example/web/frontend");
        texts.insert(token.as_str().to_owned());
    }
    assert_eq!((texts.len(), shop.counted().await), (2, [2, 0]));
    // What is no receipt of the server gets nothing of what is kept.
    exchanged.token(&Presented::receipt("lr1.a.b.c"), ORDERS, "orders.read").await.unwrap_err();
}

#[tokio::test]
async fn a_refusal_is_told_to_all_who_wait_and_is_not_kept() {
    let shop = Shop::start(120).await;
    let (exchanged, stranger) = (shop.exchanged(), shop.presented("/ops/stranger").await);
    let asked = (0..10).map(|_| exchanged.token(&stranger, ORDERS, ""));
    for refused in within(join_all(asked)).await {
        let refused = refused.unwrap_err();
        assert!(matches!(*refused, TokenError::Refused(_)) && !refused.is_temporary(), "{refused:?}");
        assert_eq!(refused.reason().as_deref(), Some("SUBJECT_NOT_ACCEPTED"));
        assert!(!format!("{refused:?} {refused}").contains("eyJ"));
    }
    assert_eq!(shop.counted().await, [0, 1]);
    exchanged.token(&stranger, ORDERS, "").await.unwrap_err();
    assert_eq!(shop.counted().await, [0, 2]);
    // Now a rule is about it.
    let mut registry = shop.server.registry(&shop.server.svid("/admin"));
    let request = GetClientRequest { client_id: CHECKOUT.to_owned() };
    let mut client = registry.get_client(request).await.unwrap().into_inner();
    client.exchange[0].subjects = vec!["spiffe://prod.example/*".to_owned()];
    registry.update_client(UpdateClientRequest { client: Some(client), ..Default::default() }).await.unwrap();
    let token = exchanged.token(&stranger, ORDERS, "").await.unwrap();
    assert_eq!(claims(&token)["sub"], "spiffe://prod.example/ops/stranger");
    // A good token is not given out in place of an error either.
    let refused = exchanged.token(&stranger, "https://nowhere.prod.example", "").await.unwrap_err();
    assert_eq!(refused.reason().as_deref(), Some("INVALID_TARGET"));
}

#[tokio::test]
async fn a_token_is_given_out_again_until_ten_seconds_before_its_end() {
    let shop = Shop::start(11).await;
    let (exchanged, presented) = (shop.exchanged(), shop.presented("/web/frontend").await);
    let first = exchanged.token(&presented, ORDERS, "").await.unwrap();
    let asked = tokio::time::Instant::now();
    let second = within(async {
        loop {
            let token = exchanged.token(&presented, ORDERS, "").await.unwrap();
            if token.as_str() != first.as_str() {
                return token;
            }
            assert!(asked.elapsed() < first.life(), "it was given out to its end");
        }
    })
    .await;
    assert!(first.is_usable() && second.usable_until() > first.usable_until());
    assert_eq!(first.life(), Duration::from_secs(11));
    assert_eq!(shop.counted().await, [2, 0]);
    // One that has not so long to live is never given out again.
    let shop = Shop::start(10).await;
    let (exchanged, presented) = (shop.exchanged(), shop.presented("/web/frontend").await);
    for count in 1..4 {
        exchanged.token(&presented, ORDERS, "").await.unwrap();
        assert_eq!(shop.counted().await, [count, 0]);
    }
}

#[tokio::test]
async fn with_a_new_certificate_a_token_is_exchanged_that_is_bound_to_it() {
    let shop = Shop::start(120).await;
    let (exchanged, presented) = (shop.exchanged(), shop.presented("/web/frontend").await);
    let first = exchanged.token(&presented, ORDERS, "").await.unwrap();
    let next = shop.server.svid("/checkout");
    shop.checkout.hold(&next);
    let second = within(async {
        loop {
            let token = exchanged.token(&presented, ORDERS, "").await.unwrap();
            if token.certificate() != first.certificate() {
                return token;
            }
            assert_eq!(token.as_str(), first.as_str());
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(second.certificate(), next.certificate());
    assert_eq!(claims(&second)["cnf"]["x5t#S256"], next.thumbprint().to_string());
    assert_eq!(shop.counted().await, [2, 0]);
}

#[tokio::test]
async fn wrong_files_are_told_at_the_start_and_a_server_that_is_gone_with_the_call() {
    let shop = Shop::start(120).await;
    let (exchanged, presented) = (shop.exchanged(), shop.presented("/web/frontend").await);
    let first = exchanged.token(&presented, ORDERS, "").await.unwrap();
    shop.server.server.stop().await;
    // What is kept needs no server.
    assert_eq!(exchanged.token(&presented, ORDERS, "").await.unwrap().as_str(), first.as_str());
    let error = within(exchanged.token(&presented, ORDERS, "orders.read")).await.unwrap_err();
    assert!(error.is_temporary(), "{error:?}");
    let mut settings = shop.checkout.settings();
    let lanyard::client::supply::Credentials::Files(files) = &mut settings.credentials else { panic!("no files") };
    files.cert = shop.checkout.path("missing.pem");
    let settings =
        ExchangeSettings { server: settings.server, credentials: settings.credentials, client_id: String::new() };
    let error = Exchanged::start(settings).unwrap_err();
    assert!(
        matches!(&error, FileError::Unreadable(path, _) if *path == shop.checkout.path("missing.pem")),
        "{error:?}"
    );
}
