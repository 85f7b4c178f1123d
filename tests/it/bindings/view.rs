//! One request is decided by one view, and a token by its holder.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lanyard::authority::Authority;
use lanyard::authority::access::CalledMethod;
use lanyard::authority::access::Requester;
use lanyard::authority::clock::Clock;
use lanyard::authority::clock::SystemEntropy;
use lanyard::authority::clock::Timestamp;
use lanyard::authority::decision::ClientAssertion;
use lanyard::authority::decision::Decision;
use lanyard::authority::decision::Match;
use lanyard::authority::decision::PresentedEvidence;
use lanyard::authority::decision::TokenRequest;
use lanyard::authority::decision::ValidateRequest;
use lanyard::authority::deny_reason::DenyReason;
use lanyard::authority::evidence::Evidence;
use lanyard::authority::observe::Family;
use lanyard::authority::observe::Samples;
use lanyard::authority::registration::ClientMetadata;
use lanyard::authority::resources::ResourceMetadata;
use lanyard::authority::state::Caller;
use serde_json::Value;

use crate::support::NOW;
use crate::support::as_of_now::AsOfNow as _;
use crate::support::authority::ADMIN;
use crate::support::authority::CHECKOUT;
use crate::support::authority::ORDERS;
use crate::support::authority::PROXY;
use crate::support::authority::TestAuthority;
use crate::support::authority::ready;
use crate::support::authority::spiffe_client;
use crate::support::leaf::Leaf;
use crate::support::mint::Mint;

const THIEF: &str = "spiffe://prod.example/ns/shop/sa/thief";

/// Counts how often it is read.
#[derive(Debug, Default)]
struct CountingClock(AtomicU64);

impl Clock for CountingClock {
    fn now(&self) -> Timestamp {
        self.0.fetch_add(1, Ordering::Relaxed);
        NOW
    }

    fn elapsed(&self) -> Duration {
        Duration::from_secs(NOW.0)
    }
}

fn question(access_token: &str, evidence: Evidence) -> ValidateRequest<'_> {
    let evidence = PresentedEvidence::Of(Some(evidence));
    ValidateRequest { access_token, evidence, audience: Some(ORDERS), scope: "", receipt: false }
}

fn certificate(leaf: &Leaf) -> Evidence {
    Evidence::from_der(leaf.certificate()).unwrap()
}

#[test]
fn a_request_reads_the_clock_once() {
    let fixture = TestAuthority::new();
    let clock = Arc::new(CountingClock::default());
    let (policy, entropy) = (fixture.authority.policy().clone(), Arc::new(SystemEntropy::default()));
    let (time, trust) = (Arc::<CountingClock>::clone(&clock), (*fixture.authority.trust()).clone());
    let store = Arc::<lanyard::store::memory::MemoryStore>::clone(&fixture.store);
    let (keys, sealer) = TestAuthority::keys().open_in(&*store);
    let authority = Authority::new(policy, time, entropy, store, keys, sealer, trust);
    let leaf = fixture.prod.svid(CHECKOUT).issue();
    let admin = authority.prove_now(&fixture.prod.svid(ADMIN).issue().chain).unwrap();
    ready(authority.create_client(&admin, spiffe_client(CHECKOUT), false)).unwrap();
    let [workload, proxy] =
        [leaf.chain.clone(), fixture.prod.svid(PROXY).issue().chain].map(|chain| authority.admit(chain).unwrap());
    let reads = |what: &str, request: &mut dyn FnMut()| {
        let before = clock.0.load(Ordering::Relaxed);
        request();
        assert_eq!(clock.0.load(Ordering::Relaxed) - before, 1, "{what}");
    };
    let authorize = |connection, method| authority.authorize_now(connection, CalledMethod::find(method, true)).unwrap();
    let mut token = String::new();
    reads("IssueToken", &mut || {
        let caller = authorize(&workload, "/lanyard.v1.TokenService/IssueToken");
        token = ready(authority.issue_token(&caller, &TokenRequest::default())).unwrap().access_token;
    });
    reads("ValidateBinding", &mut || {
        let caller = authorize(&proxy, "/lanyard.v1.BindingService/ValidateBinding");
        let evaluation =
            authority.validate_binding(&caller.clone().into(), question(&token, certificate(&leaf))).unwrap();
        assert!(matches!(evaluation.decision, Decision::Allow(_)));
    });
    reads("IntrospectToken", &mut || {
        let caller = authorize(&proxy, "/lanyard.v1.TokenService/IntrospectToken");
        let requester = authority.requester(&caller, None, &ClientAssertion::default()).unwrap();
        assert!(authority.introspect(&caller.view, &requester, &token).unwrap().is_some());
    });
}

#[test]
fn what_changes_after_a_request_was_admitted_counts_from_the_next_one_on() {
    let mint = Mint::new();
    let authority = &mint.fixture.authority;
    let ask = |caller: &Caller| {
        authority
            .validate_binding(&caller.clone().into(), question(&mint.token, certificate(&mint.leaf)))
            .unwrap()
            .decision
    };
    let under_way = authority.as_caller(&mint.fixture.svid(PROXY));
    mint.fixture.delete(CHECKOUT);
    mint.fixture.clock.set(Timestamp(NOW.0 + 3600));
    assert!(matches!(ask(&under_way), Decision::Allow(_)));
    assert_eq!(ask(&Caller { view: authority.view(), ..under_way }), Decision::Deny(DenyReason::TokenExpired));
    mint.fixture.clock.set(NOW);
    assert_eq!(ask(&authority.as_caller(&mint.fixture.svid(PROXY))), Decision::Deny(DenyReason::ClientUnknown));
}

/// Hits and misses of the cache of tokens.
fn token_lookups(families: &[Family]) -> [u64; 2] {
    ["lanyard_cache_hits", "lanyard_cache_misses"].map(|name| {
        let family = families.iter().find(|family| family.name == name).unwrap();
        let Samples::Counters(samples) = &family.samples else { panic!("{name}") };
        samples.iter().find(|sample| sample.labels.iter().any(|(_, value)| value == "tokens")).unwrap().value
    })
}

#[test]
fn introspection_verifies_a_token_once() {
    let mint = Mint::new();
    let authority = &mint.fixture.authority;
    let admin = authority.as_caller(&mint.fixture.svid(ADMIN));
    let requester = Requester { client_id: None, roles: admin.roles.clone(), sender: admin.sender() };
    let introspect = || {
        assert!(authority.introspect(&admin.view, &requester, &mint.token).unwrap().is_some());
        token_lookups(&authority.metric_families())
    };
    assert_eq!(introspect(), [0, 1]);
    assert_eq!(introspect(), [1, 1]);
}

/// A token of `CHECKOUT` that names somebody else as its subject.
fn on_behalf_of(mint: &Mint, subject: &str) -> String {
    let mut claims = mint.claims();
    claims.insert("sub".to_owned(), Value::from(subject));
    mint.sign(&Value::Object(mint.header()).to_string(), &Value::Object(claims).to_string())
}

fn registered_with(rotation: &str) -> Mint {
    let mint = Mint::new();
    let rotation = Some(rotation.to_owned());
    let updated = mint.fixture.update(ClientMetadata { rotation, ..spiffe_client(CHECKOUT) });
    assert_eq!(updated.registration.client_id.as_str(), CHECKOUT);
    let token = mint.fixture.token(&mint.fixture.peer(&mint.leaf));
    Mint { token, ..mint }
}

#[test]
fn evidence_and_rotation_go_by_the_holder_of_a_token_and_not_by_its_subject() {
    let mint = registered_with("identity");
    mint.fixture.clock.set(Timestamp(NOW.0 + 1));
    let authority = &mint.fixture.authority;
    let proxy = authority.as_caller(&mint.fixture.svid(PROXY));
    let ask = |token: &str, evidence: Evidence| {
        authority.validate_binding(&proxy.clone().into(), question(token, evidence)).unwrap()
    };
    let matched = |token: &str, evidence: Evidence| match ask(token, evidence).decision {
        Decision::Allow(verdict) => Ok(verdict.matched),
        Decision::Deny(reason) => Err(reason),
    };
    let renewed = |id: &str| {
        certificate(&mint.fixture.prod.svid(id).between(Timestamp(NOW.0 + 1), Timestamp(NOW.0 + 3600)).issue())
    };
    for subject in [CHECKOUT, THIEF, "user@shop.example"] {
        let token = on_behalf_of(&mint, subject);
        assert_eq!(matched(&token, certificate(&mint.leaf)), Ok(Match::Exact), "{subject}");
        assert_eq!(matched(&token, renewed(CHECKOUT)), Ok(Match::SameIdentity), "{subject}");
        assert_eq!(matched(&token, renewed(THIEF)), Err(DenyReason::CertificateMismatch), "{subject}");
    }
}

#[test]
fn trust_domains_and_spiffe_ids_go_by_the_holder_of_a_token_and_not_by_its_subject() {
    let mint = registered_with("identity");
    let authority = &mint.fixture.authority;
    let admin = mint.fixture.svid(ADMIN);
    let only = |trust_domain: &str| ResourceMetadata {
        audience: ORDERS.to_owned(),
        trust_domains: vec![trust_domain.to_owned()],
        least_evidence: Some("spiffe_id".to_owned()),
        ..ResourceMetadata::default()
    };
    let resource = ready(authority.create_resource(&admin, only("prod.example"), false)).unwrap();
    let ask = |token: &str, id: &str| {
        let proxy = authority.as_caller(&mint.fixture.svid(PROXY));
        let evidence = Evidence::from_spiffe_id(id).unwrap();
        authority.validate_binding(&proxy.clone().into(), question(token, evidence)).unwrap().decision
    };
    let elsewhere = "spiffe://staging.example/ns/shop/sa/checkout";
    let token = on_behalf_of(&mint, elsewhere);
    assert!(matches!(ask(&token, CHECKOUT), Decision::Allow(_)));
    assert_eq!(ask(&token, elsewhere), Decision::Deny(DenyReason::CertificateMismatch));
    ready(authority.update_resource(&admin, only("staging.example"), resource.revision, false)).unwrap();
    assert_eq!(ask(&token, CHECKOUT), Decision::Deny(DenyReason::TrustDomainNotAccepted));
}
