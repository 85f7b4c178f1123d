//! Uses of tokens through the authority: who may ask what, and what becomes of tokens when certificates and registrations
//! change.

use std::sync::Arc;
use std::time::Duration;

use lanyard::authority::access::Fronted;
use lanyard::authority::access::RoleHolder;
use lanyard::authority::access::Roles;
use lanyard::authority::decision::Decision;
use lanyard::authority::decision::NoDecision;
use lanyard::authority::decision::PresentedEvidence;
use lanyard::authority::decision::ValidateRequest;
use lanyard::authority::deny_reason::DenyReason;
use lanyard::authority::evidence::Evidence;
use lanyard::authority::identity::PeerIdentity;
use lanyard::authority::identity::SpiffeIdPattern;
use lanyard::authority::policy::Policy;
use lanyard::authority::state::Caller;

use crate::support::NOW;
use crate::support::Xorshift;
use crate::support::as_of_now::AsOfNow as _;
use crate::support::authority::ADMIN;
use crate::support::authority::CHECKOUT;
use crate::support::authority::ORDERS;
use crate::support::authority::PROXY;
use crate::support::authority::STOCK;
use crate::support::authority::TestAuthority;
use crate::support::authority::named_spiffe_client;
use crate::support::authority::ready;
use crate::support::authority::self_signed_client;
use crate::support::authority::spiffe_client;
use crate::support::ca::self_signed;
use crate::support::leaf::Leaf;
use crate::support::mint::part;
use crate::support::unreferenced::Unreferenced as _;

/// A fixture with one client, its certificate and its token.
fn with_token() -> (TestAuthority, Leaf, String) {
    let fixture = TestAuthority::new();
    fixture.register(spiffe_client(CHECKOUT));
    let leaf = fixture.prod.svid(CHECKOUT).issue();
    let token = fixture.token(&fixture.peer(&leaf));
    (fixture, leaf, token)
}

fn of(leaf: &Leaf) -> PresentedEvidence {
    PresentedEvidence::Of(Some(Evidence::from_der(leaf.certificate()).unwrap()))
}

fn ask(
    fixture: &TestAuthority,
    caller: &PeerIdentity,
    token: &str,
    evidence: PresentedEvidence,
    audience: Option<&str>,
) -> Result<Decision, NoDecision> {
    let request = ValidateRequest { access_token: token, evidence, audience, scope: "", receipt: false };
    fixture
        .authority
        .validate_binding(&fixture.authority.as_asker(caller), request)
        .unreferenced()
        .map(|evaluation| evaluation.decision)
}

fn allowed(decision: Result<Decision, NoDecision>) -> bool {
    matches!(decision, Ok(Decision::Allow(_)))
}

// RFC 8705 sections 2 and 6.2
#[test]
fn only_a_proxy_brings_evidence_of_another_connection() {
    let (fixture, leaf, token) = with_token();
    let (own, proxy, admin) = (fixture.peer(&leaf), fixture.svid(PROXY), fixture.svid(ADMIN));
    let thief = fixture.svid("spiffe://prod.example/ns/shop/sa/thief");
    let ask = |caller, evidence| ask(&fixture, caller, &token, evidence, Some(ORDERS));
    assert!(allowed(ask(&proxy, of(&leaf))));
    for caller in [&own, &thief, &admin] {
        assert_eq!(ask(caller, of(&leaf)), Err(NoDecision::NotAProxy));
        assert_eq!(ask(caller, PresentedEvidence::Of(None)), Err(NoDecision::NotAProxy));
    }
    // A caller that is no proxy and brings nothing means its own connection.
    for evidence in [|| PresentedEvidence::Nothing, || PresentedEvidence::OwnConnection] {
        assert!(allowed(ask(&own, evidence())));
        assert_eq!(ask(&thief, evidence()), Ok(Decision::Deny(DenyReason::CertificateMismatch)));
    }
}

// In a sidecar mesh a proxy shares its workload's certificate
#[test]
fn a_proxy_that_brings_nothing_is_never_evaluated_by_its_own_connection() {
    let (fixture, ..) = with_token();
    fixture.register(spiffe_client(PROXY));
    let proxy = fixture.svid(PROXY);
    let token = fixture.token(&proxy);
    let ask = |evidence| ask(&fixture, &proxy, &token, evidence, Some(ORDERS));
    for nothing in [PresentedEvidence::Nothing, PresentedEvidence::Of(None)] {
        assert_eq!(ask(nothing), Ok(Decision::Deny(DenyReason::EvidenceMissing)));
    }
    assert!(allowed(ask(PresentedEvidence::OwnConnection)));
}

// RFC 7662 sections 2.2 and 4
#[test]
fn the_audience_is_named_by_the_request_or_follows_from_the_proxy() {
    let (fixture, leaf, token) = with_token();
    let proxy = fixture.svid(PROXY);
    let evaluate = |fronted: Option<Fronted>, audience| {
        let roles =
            Roles { workload: true, admin: false, proxy: fronted.clone(), auditor: false, revoker: false, edge: None };
        let evidence = if fronted.is_some() { of(&leaf) } else { PresentedEvidence::OwnConnection };
        let caller = if fronted.is_some() { proxy.clone() } else { fixture.peer(&leaf) };
        let request = ValidateRequest { access_token: &token, evidence, audience, scope: "", receipt: false };
        let caller = Caller { roles, ..fixture.authority.as_caller(&caller) };
        fixture
            .authority
            .validate_binding(&caller.clone().into(), request)
            .unreferenced()
            .map(|evaluation| evaluation.decision)
    };
    let fronting = |audiences: &[&str]| {
        Some(Fronted::Audiences(audiences.iter().map(|audience| (*audience).to_owned()).collect()))
    };
    for unnamed in [None, Some("")] {
        assert!(allowed(evaluate(fronting(&[ORDERS]), unnamed)));
        assert_eq!(evaluate(fronting(&[STOCK]), unnamed), Ok(Decision::Deny(DenyReason::WrongAudience)));
        for unclear in [fronting(&[ORDERS, STOCK]), fronting(&[]), Some(Fronted::Every), None] {
            assert_eq!(evaluate(unclear, unnamed), Err(NoDecision::AudienceMissing));
        }
    }
    assert!(allowed(evaluate(fronting(&[ORDERS, STOCK]), Some(ORDERS))));
    assert!(allowed(evaluate(Some(Fronted::Every), Some(ORDERS))));
    assert!(allowed(evaluate(None, Some(ORDERS))));
    assert_eq!(evaluate(fronting(&[STOCK]), Some(ORDERS)), Err(NoDecision::ForeignResource));
    assert_eq!(evaluate(fronting(&[]), Some(ORDERS)), Err(NoDecision::ForeignResource));
    let (upper, slash) = (ORDERS.to_uppercase(), format!("{ORDERS}/"));
    for near in [STOCK, &upper, &slash, &ORDERS[..ORDERS.len() - 1], &format!("{ORDERS} {STOCK}")] {
        assert_eq!(evaluate(None, Some(near)), Ok(Decision::Deny(DenyReason::WrongAudience)), "{near}");
    }
}

#[test]
fn a_question_that_cannot_be_read_gets_no_decision() {
    let (fixture, leaf, token) = with_token();
    let own = fixture.peer(&leaf);
    let own = fixture.authority.as_caller(&own);
    let ask = |access_token, scope| {
        let request = ValidateRequest {
            access_token,
            evidence: PresentedEvidence::Nothing,
            audience: Some(ORDERS),
            scope,
            receipt: false,
        };
        fixture
            .authority
            .validate_binding(&own.clone().into(), request)
            .unreferenced()
            .map(|evaluation| evaluation.decision)
    };
    assert!(allowed(ask(&token, "orders.read")));
    assert_eq!(ask("", "orders.read"), Err(NoDecision::TokenMissing));
    for scope in [" ", "orders.read ", "a  b", "a\"b", "é"] {
        assert_eq!(ask(&token, scope), Err(NoDecision::ScopeMalformed), "{scope:?}");
    }
}

#[test]
fn a_proxy_is_named_by_its_exact_id_a_pattern_or_its_very_certificate() {
    let own = self_signed("edge").issue();
    let change = |policy: &mut Policy| {
        let below = SpiffeIdPattern::parse("spiffe://prod.example/ns/mesh/*").unwrap();
        let stock = Fronted::Audiences(Arc::new([STOCK.to_owned()]));
        policy.roles.proxies.push((RoleHolder::Spiffe(below), stock.clone()));
        policy.roles.proxies.push((RoleHolder::Thumbprint(own.thumbprint()), stock));
    };
    let fixture = TestAuthority::with(change, TestAuthority::keys());
    let fronted = |peer: &PeerIdentity| fixture.authority.roles_now(peer).proxy;
    assert_eq!(fronted(&fixture.svid(PROXY)), Some(Fronted::Every));
    for peer in [fixture.svid("spiffe://prod.example/ns/mesh/sa/other"), fixture.peer(&own)] {
        assert!(fronted(&peer).unwrap().includes(STOCK));
        assert!(!fronted(&peer).unwrap().includes(ORDERS));
    }
    for stranger in ["spiffe://prod.example/ns/meshes/sa/proxy", CHECKOUT, "spiffe://prod.example/ns/mesh"] {
        assert_eq!(fronted(&fixture.svid(stranger)), None, "{stranger}");
    }
    let same_name = fixture.peer(&fixture.staging.svid("spiffe://staging.example/ns/mesh/sa/proxy").issue());
    assert_eq!(fronted(&same_name), None);
}

// RFC 8705 sections 3 and 6.3
#[test]
fn the_old_token_with_the_renewed_certificate_is_denied_and_a_new_token_is_allowed() {
    let (fixture, leaf, old) = with_token();
    for renewed in
        [fixture.prod.svid(CHECKOUT).issue(), fixture.prod.svid(CHECKOUT).key(&leaf.key).common_name("b").issue()]
    {
        assert_eq!(fixture.evaluate(&old, &renewed), Decision::Deny(DenyReason::CertificateRenewed));
        let new = fixture.token(&fixture.peer(&renewed));
        assert!(matches!(fixture.evaluate(&new, &renewed), Decision::Allow(_)));
        assert_eq!(fixture.evaluate(&new, &leaf), Decision::Deny(DenyReason::CertificateRenewed));
    }
    assert!(matches!(fixture.evaluate(&old, &leaf), Decision::Allow(_)));
}

// D1: at once, and from the cache of verified tokens too
#[test]
fn a_disabled_deleted_or_recreated_client_loses_its_tokens_at_once() {
    let (fixture, leaf, token) = with_token();
    let evaluate = || fixture.evaluate(&token, &leaf);
    assert!(matches!(evaluate(), Decision::Allow(_)));
    let mut disabled = spiffe_client(CHECKOUT);
    disabled.disabled = true;
    fixture.update(disabled);
    assert_eq!(evaluate(), Decision::Deny(DenyReason::ClientDisabled));
    fixture.update(spiffe_client(CHECKOUT));
    assert!(matches!(evaluate(), Decision::Allow(_)));
    fixture.delete(CHECKOUT);
    assert_eq!(evaluate(), Decision::Deny(DenyReason::ClientUnknown));
    fixture.register(spiffe_client(CHECKOUT));
    assert_eq!(evaluate(), Decision::Deny(DenyReason::ClientRecreated));
}

#[test]
fn a_more_specific_registration_takes_its_tokens_from_the_wider_one() {
    let (fixture, leaf, token) = with_token();
    fixture.delete(CHECKOUT);
    fixture.register(named_spiffe_client("shop", "spiffe://prod.example/ns/shop/*"));
    assert_eq!(fixture.evaluate(&token, &leaf), Decision::Deny(DenyReason::ClientRecreated));
    let by_pattern = fixture.token(&fixture.peer(&leaf));
    assert!(matches!(fixture.evaluate(&by_pattern, &leaf), Decision::Allow(_)));
    fixture.register(spiffe_client(CHECKOUT));
    assert_eq!(fixture.evaluate(&by_pattern, &leaf), Decision::Deny(DenyReason::ClientRecreated));
}

// RFC 8705 section 3.4: where the server and the registration both allow unbound tokens, they still open nothing here
#[test]
fn an_unbound_token_needs_two_settings_and_confirms_nothing() {
    for (server, client, is_bound) in
        [(false, None, true), (true, None, true), (true, Some(true), true), (true, Some(false), false)]
    {
        let fixture = TestAuthority::with(|policy| policy.unbound_tokens = server, TestAuthority::keys());
        let mut metadata = spiffe_client(CHECKOUT);
        metadata.tls_client_certificate_bound_access_tokens = client;
        fixture.register(metadata);
        let leaf = fixture.prod.svid(CHECKOUT).issue();
        let token = fixture.token(&fixture.peer(&leaf));
        assert_eq!(part(&token, 1).contains_key("cnf"), is_bound);
        match fixture.evaluate(&token, &leaf) {
            Decision::Allow(_) => assert!(is_bound),
            Decision::Deny(reason) => assert_eq!((is_bound, reason), (false, DenyReason::NotBound)),
        }
    }
}

// RFC 8705 section 3.4: the setting of the server holds for what was registered under another one too
#[test]
fn a_client_for_unbound_tokens_gets_bound_ones_once_the_server_requires_them() {
    let before = TestAuthority::with(|policy| policy.unbound_tokens = true, TestAuthority::keys());
    let mut metadata = spiffe_client(CHECKOUT);
    metadata.tls_client_certificate_bound_access_tokens = Some(false);
    before.register(metadata);
    let after =
        TestAuthority::on(Arc::clone(&before.store), |policy| policy.unbound_tokens = false, TestAuthority::keys());
    ready(after.authority.load()).unwrap();
    assert!(part(&after.token(&after.svid(CHECKOUT)), 1).contains_key("cnf"));
}

// Many tokens and certificates; each token goes with one
#[test]
fn a_token_is_allowed_with_its_own_certificate_and_with_no_other() {
    let fixture = TestAuthority::new();
    let mut uses = Vec::new();
    for number in 0..20 {
        let leaf = if number % 2 == 0 {
            let id = format!("spiffe://prod.example/ns/shop/sa/s{number}");
            fixture.register(spiffe_client(&id));
            fixture.prod.svid(&id).issue()
        } else {
            let leaf = self_signed("batch").issue();
            fixture.register(self_signed_client(&format!("batch-{number}"), &leaf.pem()));
            leaf
        };
        let peer = fixture.peer(&leaf);
        let client_id = peer.spiffe_id().map_or_else(|| format!("batch-{number}"), ToString::to_string);
        uses.push((fixture.issue(&peer, &client_id).unwrap().access_token, leaf));
    }
    for (one, (token, _)) in uses.iter().enumerate() {
        for (other, (_, leaf)) in uses.iter().enumerate() {
            assert_eq!(matches!(fixture.evaluate(token, leaf), Decision::Allow(_)), one == other, "{one} {other}");
        }
    }
}

// What is remembered of a token changes no answer
#[test]
fn an_authority_that_remembers_tokens_answers_as_one_that_has_never_seen_them() {
    let keys = TestAuthority::keys();
    let warm = TestAuthority::with(|_| {}, keys.clone());
    let ids: Vec<String> = (0..4).map(|number| format!("spiffe://prod.example/ns/shop/sa/s{number}")).collect();
    let leaves: Vec<Leaf> = ids.iter().chain(&ids).map(|id| warm.prod.svid(id).issue()).collect();
    let mut random = Xorshift::new(4);
    let mut now = NOW;
    let mut tokens = vec!["garbage".to_owned()];
    let (mut allowed, mut denied) = (0, 0);
    for _ in 0..150 {
        let at = random.below(ids.len());
        let id = &ids[at];
        match (random.below(8), warm.authority.client(id).ok()) {
            (0, _) => {
                now = now.after(Duration::from_secs(random.next() % 40));
                warm.clock.set(now);
            }
            (1, Some(_)) => warm.delete(id),
            (2, Some(client)) => {
                let mut metadata = client.registration.metadata();
                metadata.disabled = !metadata.disabled;
                warm.update(metadata);
            }
            (3, _) => {
                let mut twin = random.pick(&tokens).clone();
                twin.push(*random.pick(&['A', '=', '.']));
                tokens.push(twin);
            }
            (_, None) => drop(warm.register(spiffe_client(id))),
            (_, Some(_)) => tokens.extend(warm.issue(&warm.peer(&leaves[at]), id).map(|token| token.access_token)),
        }
        let cold = TestAuthority::on(Arc::clone(&warm.store), |_| {}, keys.clone());
        cold.clock.set(now);
        // The reason of a denial depends on the bundles. The proxy that asks is proven by those of before.
        cold.evaluate("x", &leaves[0]);
        cold.authority.replace_trust((*warm.authority.trust()).clone());
        ready(cold.authority.load()).unwrap();
        for _ in 0..6 {
            let recent = tokens.len() - random.below(tokens.len().min(12)) - 1;
            let (token, leaf) = (&tokens[recent], random.pick(&leaves));
            let expected = cold.evaluate(token, leaf);
            for _ in 0..2 {
                assert_eq!(warm.evaluate(token, leaf), expected);
            }
            if matches!(expected, Decision::Allow(_)) { allowed += 1 } else { denied += 1 }
        }
    }
    assert!(allowed > 20 && denied > 100, "{allowed} allowed, {denied} denied");
}
