//! What an exchange would come to, for what is no token of this server that was presented, and for what is no access token: an
//! explanation has the verdict, the reason and the steps of the exchange itself.

use std::collections::BTreeMap;
use std::time::Duration;

use lanyard::authority::decision::AskedExchange;
use lanyard::authority::decision::AskedIdentity;
use lanyard::authority::decision::AskedPresentation;
use lanyard::authority::decision::ExchangeQuestion;
use lanyard::authority::decision::ExchangeRefusal;
use lanyard::authority::decision::ExchangeRequest;
use lanyard::authority::decision::ExplainedExchange;
use lanyard::authority::decision::JwtGrantRequest;
use lanyard::authority::decision::TokenRequest;
use lanyard::authority::decision::TxnRequest;
use lanyard::authority::decision::TxnSubject;
use lanyard::authority::identity::PeerIdentity;
use lanyard::authority::identity::parse_spiffe_id;
use lanyard::authority::policy::Policy;
use lanyard::authority::reference::Refused;
use lanyard::authority::registration::ChainingTarget;
use lanyard::authority::registration::ClientMetadata;
use lanyard::authority::registration::ClientPattern;
use lanyard::authority::registration::GRANT_TYP;
use lanyard::authority::registration::ScopeGrant;
use lanyard::authority::registration::ScopeGrantMetadata;
use lanyard::authority::registration::ToldActors;
use lanyard::authority::registration::TxnRuleMetadata;
use lanyard::authority::registration::TxnTokenPolicy;
use lanyard::authority::resources::ReceiptsMetadata;
use lanyard::authority::resources::ResourceMetadata;
use lanyard::authority::scope::Scope;
use lanyard::authority::tokens::IssuedToken;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::exchange::ahead::counted;
use crate::exchange::ahead::walked;
use crate::exchange::gateway::Gateway;
use crate::exchange::gateway::IDP;
use crate::exchange::gateway::foreign_rule;
use crate::exchange::gateway::grant_types;
use crate::exchange::gateway::terms;
use crate::exchange::receipts::receipt;
use crate::exchange::support::Shop;
use crate::exchange::support::at;
use crate::exchange::support::claims;
use crate::exchange::support::client;
use crate::exchange::support::id;
use crate::exchange::support::resource;
use crate::support::NOW;
use crate::support::as_of_now::AsOfNow as _;
use crate::support::authority::ADMIN;
use crate::support::authority::TestAuthority;
use crate::support::authority::ready;
use crate::support::jwt_svid::JwtKey;

const PARTNER: &str = "https://lanyard.partner.example";
const TRUST_DOMAIN: &str = "prod.example";

/// A request that would bring a token into a transaction token.
const SECRET: &str = "eyJhbGciOiJFUzI1NiJ9.e30.AAAA";

/// What is exchanged.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Source {
    /// The token of a client, at a resource.
    Presented(&'static str, &'static str),
    /// Whom the exchanger names.
    Stated(&'static str),
    /// A token of another issuer, by its issuer, its subject and its scopes.
    Foreign(&'static str, &'static str, &'static str),
}

const SOURCES: [Source; 14] = [
    Source::Presented("frontend", "edge"),
    Source::Presented("frontend", "kiosk"),
    Source::Presented("vetoes", "edge"),
    Source::Presented("reads", "edge"),
    Source::Presented("nobody", "edge"),
    Source::Stated("edge"),
    Source::Stated("frontend"),
    Source::Stated("vetoes"),
    Source::Stated("nobody"),
    Source::Foreign(IDP, "alice", "shop.buy"),
    Source::Foreign(IDP, "bob", "shop.view"),
    Source::Foreign(IDP, "alice", ""),
    Source::Foreign(IDP, "spiffe://prod.example/ns/shop/sa/frontend", "shop.buy"),
    Source::Foreign("https://other.example", "alice", "shop.buy"),
];

const EXCHANGERS: [&str; 4] = ["edge", "porter", "frontend", "nobody"];

/// What is asked for: of which kind, for whom, with which scopes, and with which details.
#[derive(Clone, Debug)]
struct Wanted {
    kind: &'static str,
    audience: String,
    scope: &'static str,
    details: Map<String, Value>,
}

fn wanted() -> Vec<Wanted> {
    let of = |kind, audience: &str, scope, details: Value| {
        let Value::Object(details) = details else { unreachable!() };
        Wanted { kind, audience: audience.to_owned(), scope, details }
    };
    let mut all = Vec::new();
    for scope in ["trade.stocks", "trade.view", "nightly.settle", "admin", "a  b"] {
        for details in [json!({}), json!({ "ticker": "X" }), json!({ "batch": 7 }), json!({ "ticker": SECRET })] {
            all.push(of("txn", TRUST_DOMAIN, scope, details));
        }
    }
    all.push(of("txn", "other.example", "trade.view", json!({})));
    all.push(of("txn", TRUST_DOMAIN, "", json!({})));
    for scope in ["", "orders.read", "orders.admin"] {
        all.push(of("access", &at("orders"), scope, json!({})));
    }
    all.push(of("access", &at("closed"), "", json!({})));
    all.push(of("access", &at("absent"), "", json!({})));
    for scope in ["", "partner.order", "partner.none"] {
        all.push(of("grant", PARTNER, scope, json!({})));
    }
    all.push(of("grant", "https://nobody.example", "", json!({})));
    all
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn txn_rules() -> Vec<TxnRuleMetadata> {
    let grant = |needs: &str, gives: &str| ScopeGrantMetadata { needs: needs.to_owned(), gives: gives.to_owned() };
    vec![
        TxnRuleMetadata {
            subjects: texts(&["spiffe://prod.example/ns/shop/*"]),
            presented_at: Some(at("edge")),
            grants: vec![grant("edge.write", "trade.stocks trade.view"), grant("edge.read", "trade.view")],
            details: texts(&["ticker"]),
            ttl: Some(Duration::from_secs(25)),
            ..TxnRuleMetadata::default()
        },
        TxnRuleMetadata {
            subjects: vec!["self".to_owned(), id("vetoes")],
            scope: Some("nightly.settle".to_owned()),
            details: texts(&["batch"]),
            ..TxnRuleMetadata::default()
        },
        TxnRuleMetadata {
            subjects: texts(&["alice"]),
            issuer: Some(IDP.to_owned()),
            grants: vec![grant("shop.buy", "trade.stocks")],
            details: texts(&["ticker"]),
            ..TxnRuleMetadata::default()
        },
    ]
}

fn chaining() -> ChainingTarget {
    let pattern = |text: &str| ClientPattern::parse(text).unwrap();
    let grant = |needs: &str, gives: &str| ScopeGrant {
        needs: Scope::parse(needs).unwrap(),
        gives: Scope::parse(gives).unwrap(),
    };
    ChainingTarget {
        issuer: PARTNER.to_owned(),
        clients: vec![pattern(&id("edge"))],
        subjects: vec![pattern(&id("frontend")), pattern(&id("edge")), pattern(&id("vetoes"))],
        presented_at: vec![at("edge")],
        grants: vec![grant("edge.write", "partner.order partner.look"), grant("orders.read", "partner.self")],
        ttl: Duration::from_mins(1),
        told: ToldActors::All,
        typ: GRANT_TYP.to_owned(),
    }
}

/// An edge that exchanges what workloads and users bring, for tokens, transaction tokens and grants; and a porter that may exchange,
/// and has no rule.
fn world() -> Gateway {
    let policy = TxnTokenPolicy {
        trust_domain: TRUST_DOMAIN.to_owned(),
        ttl: Duration::from_mins(1),
        max_ttl: Duration::from_mins(5),
        max_replacements: 3,
        max_context: 4096,
    };
    let configured = |lanyard: &mut Policy| {
        lanyard.txn_tokens = Some(policy);
        lanyard.chaining = vec![chaining()];
    };
    let mut shop = Shop::empty(configured, TestAuthority::keys());
    let receipts = ReceiptsMetadata { exchangers: vec![id("edge"), id("porter")], ttl: None, once: None };
    shop.protect(ResourceMetadata { receipts: Some(receipts), ..resource("edge") });
    for name in ["kiosk", "orders"] {
        shop.protect(resource(name));
    }
    shop.protect(ResourceMetadata { delegated: None, ..resource("closed") });
    ready(shop.fixture.authority.open_receipt_keys()).unwrap();
    for (name, delegates, scope) in [
        ("frontend", None, "edge.read edge.write kiosk.read"),
        ("vetoes", Some(Vec::new()), "edge.read edge.write kiosk.read"),
        ("reads", None, "edge.read kiosk.read"),
    ] {
        let audience = vec![at("edge"), at("kiosk")];
        let scope = scope.to_owned();
        shop.register(ClientMetadata { audience, scope, delegates, ..client(name, "edge", Vec::new()) });
    }
    let rules = vec![foreign_rule(&["*"], "orders"), foreign_rule(&["alice"], "closed")];
    let audience = vec![at("orders"), at("closed"), at("absent")];
    shop.register(ClientMetadata { txn: txn_rules(), audience, ..client("edge", "orders", rules) });
    shop.register(ClientMetadata { grant_types: grant_types(), ..client("porter", "orders", Vec::new()) });
    let gateway = Gateway { shop, key: JwtKey::new("idp-1") };
    gateway.trust(terms());
    gateway
}

fn by_id(name: &str) -> AskedIdentity {
    AskedIdentity::SpiffeId(parse_spiffe_id(&id(name)).unwrap())
}

fn question(from: Source, exchanger: &str, wanted: &Wanted) -> ExchangeQuestion {
    ExchangeQuestion {
        presented: match from {
            Source::Presented(name, place) => AskedPresentation::At { subject: by_id(name), resource: at(place) },
            Source::Stated(name) => AskedPresentation::Stated(by_id(name)),
            Source::Foreign(issuer, subject, scope) => AskedPresentation::Foreign {
                issuer: issuer.to_owned(),
                subject: subject.to_owned(),
                scope: Scope::parse(scope).unwrap(),
            },
        },
        exchanger: by_id(exchanger),
        requested: match wanted.kind {
            "txn" => AskedExchange::TxnToken { context: Map::new(), details: wanted.details.clone() },
            "grant" => AskedExchange::JwtGrant,
            _ => AskedExchange::AccessToken,
        },
        audience: wanted.audience.clone(),
        scope: wanted.scope.to_owned(),
    }
}

fn peer(shop: &Shop, name: &str) -> PeerIdentity {
    if name == "nobody" { shop.fixture.svid(&id(name)) } else { shop.peer(name) }
}

/// What the exchanger would send. `Err`: the code for which the subject gets nothing to present.
fn request(world: &Gateway, from: Source, wanted: &Wanted) -> Result<ExchangeRequest, &'static str> {
    let authority = &world.shop.fixture.authority;
    let base = ExchangeRequest {
        audience: vec![wanted.audience.clone()],
        scope: wanted.scope.to_owned(),
        ..ExchangeRequest::default()
    };
    match from {
        Source::Stated(_) => Ok(base),
        Source::Foreign(issuer, subject, scope) => {
            let mut claims = Gateway::claims();
            (claims["iss"], claims["sub"]) = (json!(issuer), json!(subject));
            (claims["scope"], claims["exp"]) = (json!(scope), json!(NOW.0 + 3600));
            let header = json!({ "alg": "ES256", "kid": "idp-1" });
            let token = world.key.sign(&header.to_string(), &claims.to_string());
            Ok(ExchangeRequest { jwt: Some(token), ..base })
        }
        Source::Presented(name, place) => {
            let token = TokenRequest { audience: vec![at(place)], ..TokenRequest::default() };
            let issued = ready(authority.issue_token(&authority.as_caller(&peer(&world.shop, name)), &token));
            let token = issued.map_err(|refused| refused.error.code().as_str())?.access_token;
            Ok(match place {
                "edge" => ExchangeRequest { receipt: Some(receipt(&world.shop, name, &token, place)), ..base },
                _ => ExchangeRequest { access_token: Some(token), ..base },
            })
        }
    }
}

/// The exchange itself.
fn asked(
    world: &Gateway,
    (from, exchanger): (Source, &str),
    (wanted, exchange): (&Wanted, ExchangeRequest),
) -> Result<IssuedToken, Refused<ExchangeRefusal>> {
    let authority = &world.shop.fixture.authority;
    let caller = authority.as_caller(&peer(&world.shop, exchanger));
    let stated = if let Source::Stated(name) = from { json!({ "sub": id(name) }).as_object().cloned() } else { None };
    match wanted.kind {
        "txn" => {
            let subject = stated.map_or(TxnSubject::Presented, TxnSubject::Stated);
            let request = TxnRequest { exchange, subject, details: wanted.details.clone(), ..TxnRequest::default() };
            ready(authority.issue_txn_token(&caller, &request))
        }
        "grant" => ready(authority.issue_jwt_grant(&caller, &JwtGrantRequest { exchange, itself: stated })),
        _ => ready(authority.exchange_token(&caller, &exchange)),
    }
}

/// Compares an explanation with the exchange, and returns its code.
fn agrees(
    world: &Gateway,
    (from, exchanger): (Source, &str),
    wanted: &Wanted,
    explained: &ExplainedExchange,
) -> String {
    let what = format!("{from:?} by {exchanger}, {wanted:?}: {explained:?}");
    let authority = &world.shop.fixture.authority;
    let admin = authority.as_caller(&world.shop.fixture.svid(ADMIN));
    let code = explained.granted.as_ref().err().map_or("issued", |why| why.code);
    let exchange = match request(world, from, wanted) {
        Ok(exchange) => exchange,
        Err(refused) => {
            assert_eq!((code, explained.steps.len()), (refused, 0), "{what}");
            return code.to_owned();
        }
    };
    match (asked(world, (from, exchanger), (wanted, exchange)), &explained.granted) {
        (Ok(issued), Ok(terms)) => {
            assert_eq!((&issued.scope, issued.expires_in), (&terms.scope, terms.expires_in), "{what}");
            let said = claims(&issued.access_token);
            assert_eq!(said["sub"].as_str(), Some(terms.subject.as_str()), "{what}");
            assert_eq!(
                said.get("act").map(|act| act["sub"].as_str()),
                terms.actors.first().map(|one| Some(one.as_str()))
            );
            assert!(explained.steps.iter().all(|step| step.passed), "{what}");
            let applying = explained.rules.iter().map(|rule| rule.applies);
            let applying = applying.chain(explained.txn_rules.iter().map(|rule| rule.applies)).filter(|one| *one);
            assert_eq!(applying.count(), usize::from(wanted.kind != "grant"), "{what}");
        }
        (Err(refused), Err(why)) => {
            let (refusal, _) = authority.why(&admin, &refused.reference.to_string()).unwrap();
            assert_eq!((refusal.reason, &refusal.cause, &refusal.fix), (why.code, &why.cause, &why.fix), "{what}");
            assert_eq!(walked(&refusal.steps), walked(&explained.steps), "{what}");
        }
        (real, _) => panic!("{real:?}, but {what}"),
    }
    code.to_owned()
}

#[test]
fn explanations_agree_about_transaction_tokens_grants_and_subjects_of_other_issuers() {
    let world = world();
    let authority = &world.shop.fixture.authority;
    let admin = authority.as_caller(&world.shop.fixture.svid(ADMIN));
    let (wanted, mut cases) = (wanted(), Vec::new());
    for from in SOURCES {
        for exchanger in EXCHANGERS {
            // A client names nobody for an access token, and no grant is made for a token of another issuer.
            let makes_sense = |wanted: &&Wanted| match from {
                Source::Presented(..) => true,
                Source::Stated(_) => wanted.kind != "access",
                Source::Foreign(..) => wanted.kind != "grant",
            };
            cases.extend(wanted.iter().filter(makes_sense).map(|wanted| (from, exchanger, wanted)));
        }
    }
    let before = counted(&world.shop);
    let explain = |(from, exchanger, wanted): &(Source, &str, &Wanted)| {
        authority.explain_exchange(&admin, &question(*from, exchanger, wanted)).unwrap()
    };
    let explained: Vec<_> = cases.iter().map(explain).collect();
    assert_eq!(counted(&world.shop), before, "nothing is issued, counted or remembered");
    let mut seen = BTreeMap::<(&str, String), usize>::new();
    for ((from, exchanger, wanted), explained) in cases.iter().zip(&explained) {
        let code = agrees(&world, (*from, exchanger), wanted, explained);
        *seen.entry((wanted.kind, code)).or_default() += 1;
    }
    println!("{seen:?}");
    // A world in which everything is refused for one reason would agree too.
    for (kind, codes) in [
        (
            "txn",
            "issued NOT_THE_TRUST_DOMAIN CONTEXT_REFUSED INVALID_SCOPE REQUEST_MALFORMED NO_RULE RECEIPT_MISSING VETOED",
        ),
        ("txn", "UNAUTHORIZED_CLIENT NOT_GRANTED FOREIGN_INVALID"),
        ("access", "issued INVALID_SCOPE TARGET_NOT_IN_RULES TARGET_NOT_ACCEPTING FOREIGN_INVALID NO_RULE"),
        ("grant", "issued TARGET_NOT_IN_RULES NO_RULE RECEIPT_MISSING VETOED INVALID_SCOPE"),
    ] {
        for code in codes.split(' ') {
            assert!(seen.contains_key(&(kind, code.to_owned())), "{kind} {code} not in {seen:?}");
        }
    }
}

#[test]
fn the_rules_for_transaction_tokens_that_nearly_apply_are_told() {
    let world = world();
    let authority = &world.shop.fixture.authority;
    let admin = authority.as_caller(&world.shop.fixture.svid(ADMIN));
    let wanted = wanted();
    let told = |from| {
        let explained = authority.explain_exchange(&admin, &question(from, "edge", &wanted[0])).unwrap();
        assert!(explained.rules.is_empty());
        let rules = explained.txn_rules.into_iter();
        rules.map(|claim| (claim.rule.subjects[0].clone(), claim.applies, claim.outcome)).collect::<Vec<_>>()
    };
    let (applies, others) = ("applies: it is the most specific one", "does not apply: it is about other subjects");
    let elsewhere = "does not apply: it is about what is presented otherwise";
    let all = "spiffe://prod.example/ns/shop/*".to_owned();
    assert_eq!(told(Source::Presented("frontend", "edge")), [(all.clone(), true, applies)]);
    assert_eq!(told(Source::Presented("frontend", "kiosk")), [(all.clone(), false, elsewhere)]);
    assert_eq!(told(Source::Stated("edge")), [(all.clone(), false, elsewhere), ("self".to_owned(), true, applies)]);
    assert_eq!(told(Source::Stated("reads")), [(all, false, elsewhere), ("self".to_owned(), false, others)]);
    assert_eq!(told(Source::Foreign(IDP, "alice", "")), [("alice".to_owned(), true, applies)]);
    assert_eq!(told(Source::Foreign(IDP, "bob", "")), [("alice".to_owned(), false, others)]);
}

#[test]
fn what_is_not_configured_is_said_to_be_missing() {
    let shop = Shop::new();
    let authority = &shop.fixture.authority;
    let admin = authority.as_caller(&shop.fixture.svid(ADMIN));
    for (wanted, code, key) in [
        (&wanted()[0], "TXN_TOKENS_NOT_ENABLED", "`txn_tokens`"),
        (wanted().last().unwrap(), "CHAINING_NOT_ENABLED", "`chaining.to`"),
    ] {
        let asked = question(Source::Stated("checkout"), "checkout", wanted);
        let why = authority.explain_exchange(&admin, &asked).unwrap().granted.unwrap_err();
        assert_eq!(why.code, code);
        assert!(why.fix.contains(key), "{}", why.fix);
    }
}
