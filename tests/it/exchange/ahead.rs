//! What an exchange would come to, and what it does: an explanation has the verdict, the reason and the steps of the exchange itself.

use std::collections::BTreeMap;

use lanyard::authority::decision::AskedExchange;
use lanyard::authority::decision::AskedIdentity;
use lanyard::authority::decision::AskedPresentation;
use lanyard::authority::decision::ExchangeQuestion;
use lanyard::authority::decision::ExchangeRequest;
use lanyard::authority::decision::Step;
use lanyard::authority::decision::TokenRequest;
use lanyard::authority::identity::parse_spiffe_id;
use lanyard::authority::registration::ClientMetadata;
use lanyard::authority::registration::ExchangeRuleMetadata;
use lanyard::authority::resources::DelegatedMetadata;
use lanyard::authority::resources::ReceiptsMetadata;
use lanyard::authority::resources::ResourceMetadata;

use crate::exchange::receipts::receipt;
use crate::exchange::support::Shop;
use crate::exchange::support::at;
use crate::exchange::support::claims;
use crate::exchange::support::client;
use crate::exchange::support::id;
use crate::exchange::support::resource;
use crate::exchange::support::rule;
use crate::support::Xorshift;
use crate::support::as_of_now::AsOfNow as _;
use crate::support::authority::ADMIN;
use crate::support::authority::TestAuthority;
use crate::support::authority::ready;

const QUESTIONS: usize = 600;

/// Each run asks the same.
const SEED: u64 = 41;

// What most questions are about is there several times.
const SUBJECTS: [&str; 10] =
    ["plain", "plain", "plain", "plain", "plain", "vetoes", "lets-porter", "disabled", "reads", "nobody"];
const EXCHANGERS: [&str; 7] = ["checkout", "checkout", "porter", "porter", "plain", "nobody", "disabled-exchanger"];
const PLACES: [&str; 8] = ["shop", "shop", "shop", "shop", "kiosk", "kiosk", "desk", "absent"];
const TARGETS: [&str; 5] = ["orders", "stock", "closed", "absent", "few"];

/// Subjects, exchangers and targets of which some agree with each other and some do not.
fn world() -> Shop {
    let mut shop = Shop::empty(|_| {}, TestAuthority::keys());
    for name in ["shop", "desk", "orders", "stock"] {
        shop.protect(resource(name));
    }
    let receipts = ReceiptsMetadata { exchangers: vec![id("checkout")], ttl: None, once: None };
    shop.protect(ResourceMetadata { receipts: Some(receipts), ..resource("kiosk") });
    ready(shop.fixture.authority.open_receipt_keys()).unwrap();
    shop.protect(ResourceMetadata { delegated: None, ..resource("closed") });
    let few = DelegatedMetadata { actors: vec![id("porter")], max_actors: Some(1), mode: None };
    shop.protect(ResourceMetadata { delegated: Some(few), ..resource("few") });
    let places = || vec![at("shop"), at("desk"), at("kiosk")];
    let scope = "shop.read shop.write desk.read kiosk.read".to_owned();
    for name in ["plain", "vetoes", "lets-porter", "disabled", "reads"] {
        let subject = ClientMetadata { audience: places(), scope: scope.clone(), ..client(name, "shop", Vec::new()) };
        shop.register(match name {
            "vetoes" => ClientMetadata { delegates: Some(Vec::new()), ..subject },
            "lets-porter" => ClientMetadata { delegates: Some(vec![id("porter")]), ..subject },
            "reads" => ClientMetadata { scope: "shop.read".to_owned(), ..subject },
            "disabled" => ClientMetadata { disabled: true, ..subject },
            _ => subject,
        });
    }
    let targets = || TARGETS.map(at).to_vec();
    let presentation =
        |kind: &str, rule: ExchangeRuleMetadata| ExchangeRuleMetadata { presentation: Some(kind.to_owned()), ..rule };
    let all = "spiffe://prod.example/ns/shop/*";
    let rules = vec![
        rule(all, "shop", "orders"),
        presentation("report", rule(&id("plain"), "shop", "orders")),
        presentation("receipt", rule(&id("plain"), "shop", "stock")),
        presentation("independent", rule(&id("reads"), "shop", "stock")),
        rule(all, "shop", "closed"),
        rule(all, "shop", "absent"),
        rule(all, "shop", "few"),
        rule(&id("plain"), "desk", "stock"),
        presentation("receipt", rule(all, "kiosk", "orders")),
        presentation("independent", rule(&id("plain"), "kiosk", "stock")),
    ];
    shop.register(ClientMetadata { audience: targets(), ..client("checkout", "orders", rules) });
    let rules = TARGETS
        .iter()
        .flat_map(|target| ["shop", "desk", "kiosk"].map(|place| rule(all, place, target)))
        .collect::<Vec<_>>();
    shop.register(ClientMetadata { audience: targets(), ..client("porter", "orders", rules.clone()) });
    shop.register(ClientMetadata {
        audience: targets(),
        disabled: true,
        ..client("disabled-exchanger", "orders", rules)
    });
    shop
}

struct Question {
    subject: &'static str,
    exchanger: &'static str,
    place: &'static str,
    target: &'static str,
    scope: String,
    by_id: bool,
}

fn question(random: &mut Xorshift) -> Question {
    let target = *random.pick(&TARGETS);
    let scopes = ["", "", "", "read", "write", "read write", "admin", "a  b"];
    let scope = match *random.pick(&scopes) {
        "read write" => format!("{target}.read {target}.write"),
        kind @ ("read" | "write" | "admin") => format!("{target}.{kind}"),
        other => other.to_owned(),
    };
    let subject = *random.pick(&SUBJECTS);
    let exchanger = *random.pick(&EXCHANGERS);
    let place = *random.pick(&PLACES);
    Question { subject, exchanger, place, target, scope, by_id: random.below(2) == 0 }
}

fn asked(shop: &Shop, name: &str, by_id: bool) -> AskedIdentity {
    if by_id {
        return AskedIdentity::SpiffeId(parse_spiffe_id(&id(name)).unwrap());
    }
    let leaf = if name == "nobody" { shop.fixture.prod.svid(&id(name)).issue() } else { shop.leaf(name).clone() };
    AskedIdentity::from_chain(leaf.chain.clone()).unwrap().unwrap()
}

/// A question for the explanation.
fn of(shop: &Shop, question: &Question) -> ExchangeQuestion {
    ExchangeQuestion {
        presented: AskedPresentation::At {
            subject: asked(shop, question.subject, question.by_id),
            resource: at(question.place),
        },
        exchanger: asked(shop, question.exchanger, question.by_id),
        requested: AskedExchange::AccessToken,
        audience: at(question.target),
        scope: question.scope.clone(),
    }
}

/// What there is to say of a step whatever was compared: the tokens differ.
pub fn walked(steps: &[Step]) -> Vec<(&'static str, bool)> {
    steps.iter().map(|step| (step.check.code(), step.passed)).collect()
}

pub fn counted(shop: &Shop) -> String {
    let families = shop.fixture.authority.metric_families().into_iter();
    let decided = families.filter(|family| !["cache", "path_signatures"].iter().any(|part| family.name.contains(part)));
    format!("{:?} {:?}", decided.collect::<Vec<_>>(), shop.fixture.authority.refusals().size())
}

#[test]
fn explanations_agree_with_600_generated_exchanges() {
    let shop = world();
    let authority = &shop.fixture.authority;
    let admin = authority.as_caller(&shop.fixture.svid(ADMIN));
    let mut random = Xorshift::new(SEED);
    let questions: Vec<Question> = (0..QUESTIONS).map(|_| question(&mut random)).collect();
    let before = counted(&shop);
    let explained: Vec<_> =
        questions.iter().map(|question| authority.explain_exchange(&admin, &of(&shop, question)).unwrap()).collect();
    assert_eq!(counted(&shop), before, "nothing is issued, counted or remembered");
    let mut seen = BTreeMap::<&str, usize>::new();
    for (question, explained) in questions.iter().zip(explained) {
        let Question { subject, exchanger, place, target, scope, .. } = question;
        let what = format!("{subject} at {place}, {exchanger} for {target} {scope:?}: {explained:?}");
        let peer = |name: &str| shop.fixture.svid(&id(name));
        let subject_peer = if *subject == "nobody" { peer(subject) } else { shop.peer(subject) };
        let exchanger_peer = if *exchanger == "nobody" { peer(exchanger) } else { shop.peer(exchanger) };
        let code = explained.granted.as_ref().err().map(|why| why.code);
        *seen.entry(code.unwrap_or("issued")).or_default() += 1;
        // First the subject gets a token, or none.
        let wanted = TokenRequest { audience: vec![at(place)], ..TokenRequest::default() };
        let presented = match ready(authority.issue_token(&authority.as_caller(&subject_peer), &wanted)) {
            Ok(presented) => presented,
            Err(refused) => {
                assert_eq!(code, Some(refused.error.code().as_str()), "{what}");
                assert!(explained.subject_token.unwrap().granted.is_err() && explained.steps.is_empty(), "{what}");
                continue;
            }
        };
        let terms = explained.subject_token.as_ref().unwrap().granted.as_ref().unwrap();
        assert_eq!((&terms.scope, terms.expires_in), (&presented.scope, presented.expires_in), "{what}");
        // Where receipts are left, that of the presentation is exchanged.
        let text = presented.access_token;
        let receipt = (*place == "kiosk").then(|| receipt(&shop, subject, &text, place));
        let access_token = receipt.is_none().then_some(text);
        let request = ExchangeRequest {
            receipt,
            access_token,
            audience: vec![at(target)],
            scope: scope.clone(),
            ..ExchangeRequest::default()
        };
        match (ready(authority.exchange_token(&authority.as_caller(&exchanger_peer), &request)), &explained.granted) {
            (Ok(issued), Ok(terms)) => {
                assert_eq!((&issued.scope, issued.expires_in), (&terms.scope, terms.expires_in), "{what}");
                let said = claims(&issued.access_token);
                assert_eq!(
                    (&said["sub"], said["act"]["sub"].as_str()),
                    (&terms.subject.as_str().into(), Some(terms.actors[0].as_str()))
                );
                let applying: Vec<_> = explained.rules.iter().filter(|rule| rule.applies).collect();
                assert_eq!(applying.len(), 1, "{what}");
                assert_eq!(terms.reported, applying[0].rule.presentation.as_deref() == Some("report"), "{what}");
                assert!(explained.steps.iter().all(|step| step.passed), "{what}");
            }
            (Err(refused), Err(why)) => {
                let (refusal, _) = authority.why(&admin, &refused.reference.to_string()).unwrap();
                assert_eq!((refusal.reason, &refusal.cause, &refusal.fix), (why.code, &why.cause, &why.fix), "{what}");
                assert_eq!(walked(&refusal.steps), walked(&explained.steps), "{what}");
            }
            (real, _) => panic!("{real:?}, but {what}"),
        }
    }
    println!("{seen:?}");
    // A world in which everything is refused for one reason would agree too.
    for code in [
        "issued",
        "invalid_client",
        "invalid_target",
        "NOT_GRANTED",
        "UNAUTHORIZED_CLIENT",
        "NO_RULE",
        "TARGET_NOT_IN_RULES",
        "RECEIPT_MISSING",
        "NOT_FOR_CLIENT",
        "VETOED",
        "TARGET_UNKNOWN",
        "TARGET_NOT_ACCEPTING",
        "INVALID_SCOPE",
    ] {
        assert!(seen.contains_key(code), "{code} not in {seen:?}");
    }
    assert!(seen["issued"] > QUESTIONS / 20, "{seen:?}");
}

#[test]
fn the_rules_that_nearly_apply_are_told_with_what_they_lack() {
    let shop = world();
    let authority = &shop.fixture.authority;
    let admin = authority.as_caller(&shop.fixture.svid(ADMIN));
    let question = |subject: &'static str, place, target| {
        let question = Question { subject, exchanger: "checkout", place, target, scope: String::new(), by_id: true };
        authority.explain_exchange(&admin, &of(&shop, &question)).unwrap()
    };
    let told = |subject, place, target| {
        let rules = question(subject, place, target).rules.into_iter();
        rules.map(|claim| (claim.rule.audience, claim.applies, claim.outcome)).collect::<Vec<_>>()
    };
    assert_eq!(
        told("plain", "desk", "orders"),
        [
            (at("orders"), false, "does not apply: it is about tokens that were presented elsewhere"),
            (at("orders"), false, "does not apply: it is about tokens that were presented elsewhere"),
            (at("stock"), false, "does not apply: it is for another audience"),
            (at("orders"), false, "does not apply: it is about tokens that were presented elsewhere"),
        ]
    );
    let shop_rules = told("plain", "shop", "orders");
    assert_eq!(shop_rules[0], (at("orders"), false, "does not apply: a more specific one does"));
    assert_eq!(shop_rules[1], (at("orders"), true, "applies: it is the most specific one"));
    let reads = told("reads", "shop", "orders");
    assert_eq!(reads[0], (at("orders"), true, "applies: it is the most specific one"));
    assert_eq!(reads[1], (at("orders"), false, "does not apply: it is about other subjects"));
    // What is missing, and what to do about it.
    let why = question("vetoes", "shop", "orders").granted.unwrap_err();
    assert_eq!(why.code, "VETOED");
    assert!(why.fix.contains(&format!("add {} to `delegates`", id("checkout"))), "{}", why.fix);
}

#[test]
fn with_exchange_switched_off_an_explanation_says_so() {
    let shop = Shop::with(|policy| policy.exchange.enabled = false, TestAuthority::keys());
    let authority = &shop.fixture.authority;
    let admin = authority.as_caller(&shop.fixture.svid(ADMIN));
    let question = ExchangeQuestion {
        presented: AskedPresentation::At { subject: asked(&shop, "frontend", true), resource: at("checkout") },
        exchanger: asked(&shop, "checkout", true),
        requested: AskedExchange::AccessToken,
        audience: at("orders"),
        scope: String::new(),
    };
    let why = authority.explain_exchange(&admin, &question).unwrap().granted.unwrap_err();
    assert_eq!(why.code, "NOT_ENABLED");
    assert!(why.fix.contains("exchange.enabled"), "{}", why.fix);
}
