//! What would happen, and what does: an explanation has the verdict, the reason and the steps of the decision itself.

mod world;

use std::collections::BTreeMap;

use axum::http::header::AUTHORIZATION;
use lanyard::authority::access::CalledMethod;
use lanyard::authority::access::NotAdmitted;
use lanyard::authority::decision::AskedIdentity;
use lanyard::authority::decision::AskedToken;
use lanyard::authority::decision::CheckAnswer;
use lanyard::authority::decision::CheckQuestion;
use lanyard::authority::decision::CheckRequest;
use lanyard::authority::decision::ExplainedCheck;
use lanyard::authority::decision::TokenRequest;
use lanyard::authority::evidence::EvidenceGrade;
use lanyard::authority::identity::parse_spiffe_id;
use lanyard::authority::reference::Reference;
use lanyard::authority::resources::Destination;
use lanyard::authority::state::Caller;
use lanyard::authority::tokens::IssuedToken;
use lanyard::authority::trust::Unproven;

use self::world::MESH;
use self::world::MESH_WORKLOAD;
use self::world::PARTNER;
use self::world::REPORT;
use self::world::Sender;
use self::world::WITH_JWT;
use self::world::World;
use crate::support::as_of_now::AsOfNow as _;
use crate::support::authority::ADMIN;
use crate::support::authority::CHECKOUT;
use crate::support::authority::ORDERS;
use crate::support::authority::PROXY;
use crate::support::authority::STOCK;
use crate::support::authority::ready;
use crate::support::check::hex;
use crate::support::check::url_encoded;
use crate::support::leaf::Leaf;
use crate::support::logged::logged;
use crate::support::test_process::Chance;

const QUESTIONS: usize = 2000;

/// Each run asks the same.
const SEED: u64 = 17;

/// A question: numbers of what the world has, and texts.
struct Question {
    sender: usize,
    by_id: bool,
    token: Option<String>,
    /// The sender of the token, if it was issued.
    issued_to: Option<usize>,
    client_id: Option<&'static str>,
    scope: &'static str,
    method: &'static str,
    path: &'static str,
    destination: Destination<'static>,
    shown: EvidenceGrade,
}

fn pick<T: Copy>(chance: &mut Chance, from: &[T]) -> T {
    from[usize::try_from(chance.below(from.len() as u64)).unwrap()]
}

fn question(world: &World, chance: &mut Chance) -> Question {
    let sender = pick(chance, &(0..world.senders.len()).collect::<Vec<_>>());
    // Those of the same SPIFFE ID, which may have been issued with another certificate.
    let (id, number) = (world.senders[sender].leaf_id(), sender);
    let is_own = |token: &usize| {
        let issued_to = world.tokens[*token].sender;
        issued_to == number || (id.is_some() && world.senders[issued_to].leaf_id() == id)
    };
    let (own, any): (Vec<usize>, Vec<usize>) = (0..world.tokens.len()).partition(is_own);
    let foreign = ["garbage", "two words", "a.b.c"];
    let kind = chance.below(10);
    let issued = match kind {
        5..=7 if !own.is_empty() => Some(&world.tokens[pick(chance, &own)]),
        5..=8 => Some(&world.tokens[pick(chance, &any)]),
        _ => None,
    };
    let token = issued.map(|issued| issued.text.clone());
    let token = if kind == 9 { Some(pick(chance, &foreign).to_owned()) } else { token };
    let issued_to = issued.map(|issued| issued.sender);
    let named = |named| Destination { named: Some(named), principal: "", authority: "any" };
    let at = |authority| Destination { named: None, principal: "", authority };
    let orders = at("orders.shop.internal");
    let mesh = Destination { principal: MESH_WORKLOAD, ..orders };
    let destinations = [
        orders,
        orders,
        orders,
        orders,
        orders,
        orders,
        named(ORDERS),
        named(STOCK),
        at("stock.shop.internal:8443"),
        mesh,
        named(MESH),
        at("report.shop.internal"),
        at("old.shop.internal"),
        at("nowhere.internal"),
        at("stock.shop.internal"),
    ];
    let requests = [
        ("GET", "/orders/1"),
        ("GET", "/orders/1?x=../y"),
        ("POST", "/orders"),
        ("PUT", "/admin/a/b"),
        ("GET", "/healthz"),
        ("DELETE", "/orders/1"),
        ("GET", "/orders/../admin"),
    ];
    let (method, path) = pick(chance, &requests);
    let scopes = ["", "", "", "orders.read", "orders.write", "orders.admin", "orders.read orders.write", "a  b", "no"];
    let own_client = world.senders[sender].client_id;
    let clients = [
        own_client,
        own_client,
        own_client,
        own_client,
        None,
        Some(PARTNER),
        Some(CHECKOUT),
        Some(WITH_JWT),
        Some("é"),
    ];
    let grades =
        [EvidenceGrade::Certificate, EvidenceGrade::Certificate, EvidenceGrade::Thumbprint, EvidenceGrade::SpiffeId];
    Question {
        sender,
        by_id: world.senders[sender].id.is_some() && chance.below(2) == 0,
        token,
        issued_to,
        client_id: pick(chance, &clients),
        scope: pick(chance, &scopes),
        method,
        path,
        destination: pick(chance, &destinations),
        shown: pick(chance, &grades),
    }
}

fn asked(sender: &Sender, by_id: bool) -> AskedIdentity {
    match sender.id.filter(|_| by_id) {
        Some(id) => AskedIdentity::SpiffeId(parse_spiffe_id(id).unwrap()),
        None => AskedIdentity::from_chain(sender.leaf.chain.clone()).unwrap().unwrap(),
    }
}

fn explain(world: &World, admin: &Caller, question: &Question) -> ExplainedCheck {
    let token = match &question.token {
        Some(text) => AskedToken::Presented(text),
        None => {
            AskedToken::Requested { client_id: question.client_id.map(str::to_owned), scope: question.scope.to_owned() }
        }
    };
    let asked = CheckQuestion {
        identity: asked(&world.senders[question.sender], question.by_id),
        destination: question.destination,
        method: question.method,
        path: question.path,
        shown: question.shown,
        token,
    };
    world.fixture.authority.explain_check(admin, &asked).unwrap()
}

/// What really happened.
#[derive(Debug, Default)]
struct Real {
    code: Option<&'static str>,
    let_through: bool,
    audience: Option<String>,
    scope: Option<String>,
    reference: Option<Reference>,
    issued: Option<IssuedToken>,
}

/// Checks a request as the proxy.
fn check(world: &World, question: &Question, token: Option<&str>, leaf: &Leaf, uri: &str) -> Real {
    let (header, hash) = (token.map(|token| format!("Bearer {token}")), hex(leaf));
    let forwarded = format!("By={PROXY};Hash={hash};Subject=\"\"");
    let mut headers: Vec<(&str, &[u8])> =
        header.iter().map(|value| (AUTHORIZATION.as_str(), value.as_bytes())).collect();
    let certificate = if question.shown == EvidenceGrade::Certificate { url_encoded(leaf) } else { String::new() };
    if question.shown == EvidenceGrade::Thumbprint {
        headers.push(("x-forwarded-client-cert", forwarded.as_bytes()));
    }
    let principal = if uri.is_empty() { "a.dns.name" } else { uri };
    let Question { destination, method, path, .. } = *question;
    let request =
        CheckRequest { destination, method, path, headers, certificate: &certificate, principal, address: "" };
    let proxy = world.fixture.authority.as_caller(world.fixture.proxy());
    match world.fixture.authority.check(&proxy.clone().into(), &request).unwrap() {
        CheckAnswer::Deny(denial) => Real {
            code: Some(denial.refusal.code()),
            audience: denial.audience,
            scope: Some(denial.scope.to_string()),
            reference: Some(denial.reference),
            ..Real::default()
        },
        CheckAnswer::Allow(allowance) => Real {
            code: allowance.let_through.map(|(refusal, _)| refusal.code()),
            let_through: allowance.let_through.is_some(),
            audience: allowance.let_through.map(|_| REPORT.to_owned()),
            reference: allowance.let_through.map(|(_, reference)| reference),
            ..Real::default()
        },
    }
}

/// Requests a token as a peer does.
fn issue(world: &World, sender: &Sender, request: &TokenRequest) -> Result<IssuedToken, &'static str> {
    let authority = &world.fixture.authority;
    let connection = authority.admit(sender.leaf.chain.clone()).map_err(Unproven::code)?;
    let method = CalledMethod::find("/lanyard.v1.TokenService/IssueToken", true);
    let caller = authority.authorize_now(&connection, method).map_err(|error| {
        // As the handshake of such a peer is refused.
        if let NotAdmitted::Unproven(why) = error { why.code() } else { error.code() }
    })?;
    ready(authority.issue_token(&caller, request)).map_err(|refused| refused.error.code().as_str())
}

/// Makes the request that a question is about.
fn happen(world: &World, question: &Question) -> Real {
    let sender = &world.senders[question.sender];
    // By its SPIFFE ID alone, a sender has the certificate that its token is bound to.
    let uri = sender.leaf_id().unwrap_or_default();
    if let Some(token) = &question.token {
        return check(world, question, Some(token), &sender.leaf, &uri);
    }
    let without = check(world, question, None, &sender.leaf, &uri);
    if without.code != Some("TOKEN_MISSING") {
        return without;
    }
    let audience = without.audience.clone().into_iter().collect();
    let request = TokenRequest { audience, ..world.request(sender, question.client_id, question.scope) };
    match issue(world, sender, &request) {
        Err(code) => Real { code: Some(code), reference: None, ..without },
        Ok(issued) => {
            let checked = check(world, question, Some(&issued.access_token), &sender.leaf, &uri);
            Real { issued: Some(issued), reference: None, ..checked }
        }
    }
}

/// The numbers of decisions and refusals. What is cached is counted as it is looked up.
fn counted(world: &World) -> String {
    let families = world.fixture.authority.metric_families().into_iter();
    let decided = families.filter(|family| !["cache", "path_signatures"].iter().any(|part| family.name.contains(part)));
    format!("{:?} {:?}", decided.collect::<Vec<_>>(), world.fixture.authority.refusals().size())
}

#[test]
fn explanations_agree_with_the_decisions_about_2000_generated_requests() {
    let world = World::new();
    let admin = world.fixture.authority.as_caller(&world.fixture.svid(ADMIN));
    let mut chance = Chance::seeded(SEED);
    let questions: Vec<Question> = (0..QUESTIONS).map(|_| question(&world, &mut chance)).collect();
    let before = counted(&world);
    let (explained, log) =
        logged(|| questions.iter().map(|question| explain(&world, &admin, question)).collect::<Vec<_>>());
    // Nothing is counted, remembered or recorded.
    assert_eq!(counted(&world), before);
    assert_eq!(log, Vec::<String>::new());
    let (mut seen, mut steps_compared) = (BTreeMap::<&str, usize>::new(), 0);
    for (question, explained) in questions.iter().zip(&explained) {
        let real = happen(&world, question);
        let sender = &world.senders[question.sender];
        let what = format!(
            "{:?} {:?} by id: {}, token of {:?}, {} {} at {:?}, {:?}: {explained:?}",
            sender.leaf_id(),
            sender.client_id,
            question.by_id,
            question.issued_to,
            question.method,
            question.path,
            question.destination,
            question.shown
        );
        let code = explained.why_not.as_ref().map(|why| why.code);
        assert_eq!((code, explained.let_through), (real.code, real.let_through), "{what}");
        *seen.entry(code.unwrap_or("allowed")).or_default() += 1;
        if let (Some(audience), false) = (&real.audience, real.let_through) {
            assert_eq!(
                (&explained.resource, &real.scope),
                (&Some(audience.clone()), &Some(explained.scope.clone())),
                "{what}"
            );
        }
        assert_eq!(explained.steps.last().unwrap().passed, code.is_none(), "{what}");
        let granted = explained.token.as_ref().and_then(|token| token.granted.as_ref().ok());
        let granted = granted.map(|terms| (terms.scope.to_string(), terms.expires_in));
        assert_eq!(granted, real.issued.map(|issued| (issued.scope.to_string(), issued.expires_in)), "{what}");
        // With the same certificate and the same token each step compares the same.
        if let (Some(reference), false, Some(_)) = (real.reference, question.by_id, sender.leaf_id()) {
            let (refusal, _) = world.fixture.authority.why(&admin, &reference.to_string()).unwrap();
            let route = explained.route.clone().unwrap_or_default();
            let fix = &explained.why_not.as_ref().unwrap().fix;
            assert_eq!((&refusal.steps, refusal.route, &refusal.fix), (&explained.steps, route, fix), "{what}");
            steps_compared += 1;
        }
    }
    println!("{steps_compared} with the same steps; {seen:?}");
    // A world in which everything is denied for one reason would agree too.
    for code in [
        "allowed",
        "RESOURCE_UNKNOWN",
        "ROUTE_UNKNOWN",
        "PATH_NOT_CANONICAL",
        "AUTHORIZATION_MALFORMED",
        "TOKEN_MALFORMED",
        "TOKEN_EXPIRED",
        "CLIENT_UNKNOWN",
        "CLIENT_DISABLED",
        "CLIENT_RECREATED",
        "AUTHENTICATION_CHANGED",
        "TRUST_DOMAIN_UNTRUSTED",
        "TOKEN_REVOKED",
        "CLIENT_REVOKED",
        "WRONG_AUDIENCE",
        "TRUST_DOMAIN_NOT_ACCEPTED",
        "NOT_BOUND",
        "EVIDENCE_TOO_WEAK",
        "CERTIFICATE_RENEWED",
        "CERTIFICATE_MISMATCH",
        "INSUFFICIENT_SCOPE",
        "invalid_client",
        "invalid_scope",
        "invalid_target",
        "WRONG_ROLE",
        "UNKNOWN",
        "UNKNOWN_TRUST_DOMAIN",
        "IDENTITY_REVOKED",
        "EXPIRED",
        "NO_PATH",
    ] {
        assert!(seen.contains_key(code), "{code} not in {seen:?}");
    }
    assert!(seen["allowed"] > QUESTIONS / 20 && steps_compared > QUESTIONS / 10, "{steps_compared}, {seen:?}");
}

#[test]
fn what_an_identity_would_be_granted_is_what_it_is_issued() {
    let world = World::new();
    let admin = world.fixture.authority.as_caller(&world.fixture.svid(ADMIN));
    let (mut issued, mut refused) = (0, 0);
    for (sender, by_id) in world.senders.iter().flat_map(|sender| [(sender, false), (sender, true)]) {
        if by_id && sender.id.is_none() {
            continue;
        }
        let explained = world.fixture.authority.explain_identity(&admin, &asked(sender, by_id)).unwrap();
        let proven = world.fixture.prove(&sender.leaf).map_err(Unproven::code);
        assert_eq!(explained.proven, proven.is_ok(), "{explained:?}");
        if let Some(why) = &explained.why_not {
            let request = world.request(sender, sender.client_id, "");
            assert_eq!(issue(&world, sender, &request).unwrap_err(), why.code);
            assert!(explained.tokens.is_empty(), "{explained:?}");
            refused += 1;
        }
        for token in &explained.tokens {
            let client_id = token.client_id.as_ref().unwrap().as_str();
            let real = issue(&world, sender, &world.request(sender, Some(client_id), ""));
            let real = real.map(|issued| (issued.scope.to_string(), issued.expires_in));
            let explained = token.granted.as_ref().map(|terms| (terms.scope.to_string(), terms.expires_in));
            assert_eq!(explained.map_err(|why| why.code), real, "{token:?}");
            if token.granted.is_ok() { issued += 1 } else { refused += 1 }
        }
        // What applies is what the token is issued by.
        let applies = explained.claims.iter().find(|claim| claim.applies);
        let by_spiffe_id = explained.tokens.iter().find(|token| token.granted.is_ok() && sender.client_id.is_none());
        if let Some(token) = by_spiffe_id {
            let applies = applies.unwrap().client.registration.client_id.to_string();
            assert_eq!(token.registration, Some(applies), "{explained:?}");
        }
    }
    assert!(issued > 20 && refused > 20, "{issued} {refused}");
}
