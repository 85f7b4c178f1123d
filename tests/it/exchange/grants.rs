//! Grants of the authorization server of another trust domain: which are taken, from whom, and once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lanyard::authority::access::Requester;
use lanyard::authority::decision::Decision;
use lanyard::authority::decision::ExchangeRefusal;
use lanyard::authority::decision::ExchangeRequest;
use lanyard::authority::decision::LastAdmin;
use lanyard::authority::decision::RevokeRequest;
use lanyard::authority::deny_reason::DenyReason;
use lanyard::authority::registration::ClientId;
use lanyard::authority::registration::ClientMetadata;
use lanyard::authority::registration::ClientPattern;
use lanyard::authority::registration::JWT_BEARER_GRANT;
use lanyard::authority::registration::ScopeGrant;
use lanyard::authority::registration::TOKEN_EXCHANGE;
use lanyard::authority::resources::DelegatedMetadata;
use lanyard::authority::resources::ResourceMetadata;
use lanyard::authority::scope::Scope;
use lanyard::authority::tokens::IssuedToken;
use lanyard::authority::trust::GrantTerms;
use lanyard::authority::trust::IssuerKeys;
use lanyard::authority::trust::JwtAuthorities;
use lanyard::authority::trust::Proves;
use lanyard::authority::trust::TrustBundles;
use lanyard::authority::trust::TrustedIssuer;
use lanyard::store::memory::MemoryStore;
use serde_json::Value;
use serde_json::json;
use spiffe::TrustDomain;

use crate::exchange::support::at;
use crate::exchange::support::claims;
use crate::exchange::support::refused_exchanges;
use crate::exchange::support::resource;
use crate::issuer_jwt::cluster::jwk;
use crate::support::NOW;
use crate::support::as_of_now::AsOfNow as _;
use crate::support::authority::ADMIN;
use crate::support::authority::ISSUER;
use crate::support::authority::TestAuthority;
use crate::support::authority::ready;
use crate::support::authority::spiffe_client;
use crate::support::jwt_svid::JwtKey;
use crate::support::leaf::Leaf;
use crate::support::unreferenced::Unreferenced as _;

const PARTNER: &str = "https://lanyard.staging.example";
const CHECKOUT: &str = "spiffe://staging.example/checkout";
const FRONTEND: &str = "spiffe://staging.example/web/frontend";
const TOKEN_ENDPOINT: &str = "https://mtls.prod.example/oauth2/token";

/// A change of the claims of a grant.
type Change = fn(&mut Value);

fn patterns(texts: &[&str]) -> Vec<ClientPattern> {
    texts.iter().map(|text| ClientPattern::parse(text).unwrap()).collect()
}

fn terms() -> GrantTerms {
    let grant = |needs: &str, gives: &str| ScopeGrant {
        needs: Scope::parse(needs).unwrap(),
        gives: Scope::parse(gives).unwrap(),
    };
    GrantTerms {
        token_endpoint: TOKEN_ENDPOINT.to_owned(),
        typ: "authorization-grant+jwt".to_owned(),
        trust_domain: Some(TrustDomain::new("staging.example").unwrap()),
        subjects: patterns(&["spiffe://staging.example/*", "https://lanyard.staging.example#alice"]),
        clients: patterns(&[CHECKOUT, "spiffe://staging.example/other"]),
        grants: vec![grant("partner.order", "orders.write orders.read"), grant("partner.look", "orders.read")],
        audience: vec![at("orders")],
        ttl: Duration::from_mins(1),
        once_strict: false,
    }
}

/// A server that takes grants of a partner, whose trust domain it is federated with.
struct Partnered {
    fixture: TestAuthority,
    key: JwtKey,
    checkout: Leaf,
}

impl Partnered {
    fn new() -> Self {
        Self::on(Arc::new(MemoryStore::new()), terms(), JwtKey::new("partner-1"))
    }

    fn on(store: Arc<MemoryStore>, terms: GrantTerms, key: JwtKey) -> Self {
        let fixture = TestAuthority::on(store, |policy| policy.exchange.enabled = true, TestAuthority::keys());
        let checkout = fixture.staging.svid(CHECKOUT).issue();
        let partnered = Self { fixture, key, checkout };
        partnered.trust(terms);
        partnered
    }

    fn registered(self) -> Self {
        let admin = self.fixture.authority.as_caller(&self.fixture.svid(ADMIN));
        ready(self.fixture.authority.enable_feature(&admin, "exchange")).unwrap();
        let delegated = DelegatedMetadata {
            actors: vec!["spiffe://staging.example/*".to_owned()],
            max_actors: Some(8),
            mode: None,
        };
        self.fixture.protect(ResourceMetadata { delegated: Some(delegated), ..resource("orders") });
        for name in [CHECKOUT, "spiffe://staging.example/other", "spiffe://staging.example/third"] {
            self.fixture.register(using(name));
        }
        self
    }

    fn trust(&self, terms: GrantTerms) {
        let trusted = TrustedIssuer {
            name: "partner".to_owned(),
            issuer: PARTNER.to_owned(),
            audience: ISSUER.to_owned(),
            max_age: Duration::from_mins(1),
            proves: Proves::Grants(Box::new(terms)),
        };
        let keys = JwtAuthorities::new(&[jwk(&self.key)]);
        let keys = IssuerKeys { trusted: trusted.into(), keys, confirmed: None, good_until: None };
        self.replace_issuers(BTreeMap::from([(PARTNER.to_owned(), keys)]));
    }

    fn replace_issuers(&self, issuers: BTreeMap<String, IssuerKeys>) {
        let before = self.fixture.authority.trust().as_ref().clone();
        self.fixture.authority.replace_trust(TrustBundles { issuers, ..before });
    }

    fn claims(&self) -> Value {
        json!({
            "iss": PARTNER, "aud": ISSUER, "sub": FRONTEND, "client_id": CHECKOUT, "jti": "grant-1", "iat": NOW.0,
            "exp": NOW.0 + 60, "scope": "partner.order", "act": { "sub": CHECKOUT },
            "cnf": { "x5t#S256": self.checkout.thumbprint().to_string() },
        })
    }

    fn signed(&self, claims: &Value) -> String {
        let header = json!({ "alg": "ES256", "kid": "partner-1", "typ": "authorization-grant+jwt" });
        self.key.sign(&header.to_string(), &claims.to_string())
    }

    fn grant_with(&self, change: impl FnOnce(&mut Value)) -> String {
        let mut claims = self.claims();
        change(&mut claims);
        self.signed(&claims)
    }

    fn use_by(&self, leaf: &Leaf, request: &ExchangeRequest) -> Result<IssuedToken, ExchangeRefusal> {
        let authority = &self.fixture.authority;
        ready(authority.redeem_jwt_grant(&authority.as_caller(&self.fixture.peer(leaf)), request)).unreferenced()
    }

    /// The exact reason, by the metrics; empty where it is not refused.
    fn reason(&self, leaf: &Leaf, request: &ExchangeRequest) -> String {
        let before = refused_exchanges(&self.fixture.authority);
        drop(self.use_by(leaf, request));
        let after = refused_exchanges(&self.fixture.authority);
        let grown = after.iter().find(|(reason, count)| before[*reason] < **count);
        grown.map(|(reason, _)| reason.clone()).unwrap_or_default()
    }

    /// Why the checkout gets nothing for a grant with changed claims.
    fn refused(&self, change: impl FnOnce(&mut Value)) -> String {
        self.reason(&self.checkout, &using_grant(&self.grant_with(change)))
    }

    fn denied(&self, token: &str) -> Option<DenyReason> {
        match self.fixture.evaluate(token, &self.checkout) {
            Decision::Allow(_) => None,
            Decision::Deny(reason) => Some(reason),
        }
    }

    fn revoke(&self, target: RevokeRequest) {
        let authority = &self.fixture.authority;
        let admin = authority.as_caller(&self.fixture.svid(ADMIN));
        let requester = Requester { client_id: None, roles: admin.roles.clone(), sender: admin.sender() };
        ready(authority.revoke(&admin, &requester, target, LastAdmin::Stays)).unwrap();
    }
}

/// A client of the partner that uses grants here.
fn using(name: &str) -> ClientMetadata {
    ClientMetadata {
        grant_types: ["client_credentials", JWT_BEARER_GRANT].map(ToOwned::to_owned).to_vec(),
        audience: vec![at("orders")],
        scope: "orders.read".to_owned(),
        ..spiffe_client(name)
    }
}

fn using_grant(grant: &str) -> ExchangeRequest {
    ExchangeRequest { jwt: Some(grant.to_owned()), ..ExchangeRequest::default() }
}

// IC-10, IC-13, IC-15, IC-16
#[test]
fn a_client_of_the_partner_acts_here_for_whom_its_grant_names_with_its_own_certificate() {
    let partnered = Partnered::new().registered();
    let issued = partnered.use_by(&partnered.checkout, &using_grant(&partnered.grant_with(|_| {}))).unwrap();
    let said = claims(&issued.access_token);
    assert_eq!((&said["sub"], &said["client_id"]), (&json!(FRONTEND), &json!(CHECKOUT)));
    assert_eq!(said["act"], json!({ "sub": CHECKOUT }));
    assert_eq!(
        (said["aud"].as_str(), said["scope"].as_str()),
        (Some(at("orders").as_str()), Some("orders.write orders.read"))
    );
    assert_eq!(said["exp"], json!(NOW.0 + 60));
    assert_eq!(said["cnf"], json!({ "x5t#S256": partnered.checkout.thumbprint().to_string() }));
    assert_eq!(
        (&said["lanyard_from"][0]["iss"], &said["lanyard_from"][0]["jti"]),
        (&json!(PARTNER), &json!("grant-1"))
    );
    assert_eq!(partnered.denied(&issued.access_token), None);
    // Another certificate of the same client is none of the token's.
    let other = partnered.fixture.staging.svid(CHECKOUT).issue();
    assert!(matches!(partnered.fixture.evaluate(&issued.access_token, &other), Decision::Deny(_)));
    // Once: IC-13.
    assert_eq!(partnered.refused(|_| {}), "GRANT_USED");
    assert_eq!(partnered.refused(|claims| claims["jti"] = json!("grant-2")), "");
    // The history that the partner tells is kept with its issuer.
    let told = json!({ "sub": CHECKOUT, "act": { "sub": "spiffe://staging.example/edge", "act": { "sub": "a", "iss": "https://x" } } });
    let grant = partnered.grant_with(|claims| (claims["jti"], claims["act"]) = (json!("grant-3"), told));
    let said = claims(&partnered.use_by(&partnered.checkout, &using_grant(&grant)).unwrap().access_token);
    let kept =
        json!({ "sub": "spiffe://staging.example/edge", "iss": PARTNER, "act": { "sub": "a", "iss": "https://x" } });
    assert_eq!(said["act"], json!({ "sub": CHECKOUT, "act": kept }));
    // Untold, the client is the actor all the same.
    let grant = partnered.grant_with(|claims| {
        claims["jti"] = json!("grant-4");
        claims.as_object_mut().unwrap().remove("act");
    });
    let said = claims(&partnered.use_by(&partnered.checkout, &using_grant(&grant)).unwrap().access_token);
    assert_eq!(said["act"], json!({ "sub": CHECKOUT }));
}

// A subject that is no SPIFFE ID is named by its issuer; the client itself acts for nobody.
#[test]
fn a_subject_is_named_by_its_trust_domain_or_its_issuer_and_the_client_itself_is_no_actor() {
    let partnered = Partnered::new().registered();
    let grant = partnered.grant_with(|claims| claims["sub"] = json!("alice"));
    let said = claims(&partnered.use_by(&partnered.checkout, &using_grant(&grant)).unwrap().access_token);
    assert_eq!(said["sub"], "https://lanyard.staging.example#alice");
    let grant = partnered.grant_with(|claims| {
        (claims["sub"], claims["jti"]) = (json!(CHECKOUT), json!("grant-2"));
        claims.as_object_mut().unwrap().remove("act");
    });
    let issued = partnered.use_by(&partnered.checkout, &using_grant(&grant)).unwrap();
    let said = claims(&issued.access_token);
    assert_eq!((&said["sub"], said.get("act"), said.get("lanyard_from")), (&json!(CHECKOUT), None, None));
    // No more than the client may have by itself.
    assert_eq!(said["scope"], "orders.read");
    assert_eq!(partnered.denied(&issued.access_token), None);
}

// X27 and IC-11, IC-14, TX14: each fault of a grant, beside those that it differs from in that alone
#[test]
fn each_fault_of_a_grant_has_its_reason_and_the_client_hears_one_sentence() {
    let partnered = Partnered::new().registered();
    let (checkout, key) = (&partnered.checkout, JwtKey::new("partner-1"));
    let faults: [(&str, Change); 30] = [
        // Another authorization server's, and this server's own.
        ("GRANT_INVALID", |claims| claims["aud"] = json!("https://lanyard.other.example")),
        ("GRANT_INVALID", |claims| claims["aud"] = json!([ISSUER, "https://lanyard.other.example"])),
        ("GRANT_INVALID", |claims| claims["aud"] = json!(format!("{ISSUER}/"))),
        ("GRANT_INVALID", |claims| claims["aud"] = json!(null)),
        ("GRANT_INVALID", |claims| claims["iss"] = json!(ISSUER)),
        ("GRANT_INVALID", |claims| claims["iss"] = json!("https://lanyard.other.example")),
        ("GRANT_INVALID", |claims| claims["exp"] = json!(NOW.0)),
        ("GRANT_INVALID", |claims| claims["exp"] = json!(NOW.0 + 61)),
        ("GRANT_INVALID", |claims| claims["iat"] = json!(NOW.0 + 6)),
        ("GRANT_INVALID", |claims| drop(claims.as_object_mut().unwrap().remove("iat"))),
        ("GRANT_INVALID", |claims| drop(claims.as_object_mut().unwrap().remove("jti"))),
        ("GRANT_INVALID", |claims| drop(claims.as_object_mut().unwrap().remove("client_id"))),
        ("GRANT_INVALID", |claims| claims["jti"] = json!(7)),
        // Unbound, and bound to what nobody proves.
        ("GRANT_INVALID", |claims| drop(claims.as_object_mut().unwrap().remove("cnf"))),
        ("GRANT_INVALID", |claims| claims["cnf"] = json!({ "jkt": "x" })),
        ("GRANT_INVALID", |claims| claims["cnf"]["jkt"] = json!("x")),
        ("GRANT_BOUND_ELSEWHERE", |claims| claims["cnf"] = json!({ "x5t#S256": "A".repeat(43) })),
        ("GRANT_NOT_FOR_CLIENT", |claims| claims["client_id"] = json!("spiffe://staging.example/other")),
        // Names that are not its to give.
        ("GRANT_INVALID", |claims| claims["sub"] = json!("spiffe://prod.example/ns/shop/sa/frontend")),
        ("GRANT_INVALID", |claims| claims["sub"] = json!("SPIFFE://staging.example/web")),
        ("GRANT_INVALID", |claims| claims["sub"] = json!("a b")),
        ("GRANT_SUBJECT_NOT_ACCEPTED", |claims| claims["sub"] = json!("bob")),
        // Actors that the client is not one of, and malformed ones.
        ("GRANT_INVALID", |claims| claims["act"] = json!({ "sub": "spiffe://staging.example/other" })),
        ("GRANT_INVALID", |claims| claims["act"] = json!({ "sub": CHECKOUT, "iss": "https://x" })),
        ("GRANT_INVALID", |claims| claims["act"] = json!("x")),
        ("GRANT_INVALID", |claims| claims["may_act"] = json!({ "sub": CHECKOUT, "iss": ISSUER })),
        ("INVALID_SCOPE", |claims| claims["scope"] = json!("orders.write")),
        ("INVALID_SCOPE", |claims| drop(claims.as_object_mut().unwrap().remove("scope"))),
        ("GRANT_INVALID", |claims| claims["scope"] = json!(null)),
        ("GRANT_INVALID", |claims| claims["sub"] = json!(null)),
    ];
    for (number, (expected, fault)) in faults.into_iter().enumerate() {
        assert_eq!(partnered.refused(fault), expected, "{number}");
        let outcome = partnered.use_by(checkout, &using_grant(&partnered.grant_with(fault)));
        let told =
            if expected == "INVALID_SCOPE" { ExchangeRefusal::InvalidScope } else { ExchangeRefusal::InvalidGrant };
        assert_eq!(outcome.unwrap_err(), told, "{number}");
    }
    // Another key, another typ, and a header with a key in it.
    let header = |change: Change| {
        let mut header = json!({ "alg": "ES256", "kid": "partner-1", "typ": "authorization-grant+jwt" });
        change(&mut header);
        header.to_string()
    };
    let claims = partnered.claims().to_string();
    for (number, grant) in [
        key.sign(&header(|_| {}), &claims),
        partnered.key.sign(&header(|header| header["typ"] = json!("JWT")), &claims),
        partnered.key.sign(&header(|header| header["typ"] = json!("at+jwt")), &claims),
        partnered.key.sign(&header(|header| drop(header.as_object_mut().unwrap().remove("typ"))), &claims),
        partnered.key.sign(&header(|header| header["jku"] = json!("https://attacker.example")), &claims),
        partnered.key.sign(&header(|header| header["kid"] = json!("partner-2")), &claims),
        "garbage".to_owned(),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(partnered.reason(checkout, &using_grant(&grant)), "GRANT_INVALID", "{number}");
    }
    // Nothing of all that has used it up; the token endpoint is a name of this server too.
    assert_eq!(partnered.refused(|claims| claims["aud"] = json!(TOKEN_ENDPOINT)), "");
    let application = partnered.key.sign(
        &header(|header| header["typ"] = json!("application/authorization-grant+JWT")),
        &partnered.grant_claims("grant-2").to_string(),
    );
    assert_eq!(partnered.reason(checkout, &using_grant(&application)), "");
    // In its time: no leeway.
    partnered.fixture.clock.advance(Duration::from_secs(59));
    assert_eq!(partnered.refused(|claims| claims["jti"] = json!("grant-3")), "");
    partnered.fixture.clock.advance(Duration::from_secs(1));
    assert_eq!(partnered.refused(|claims| claims["jti"] = json!("grant-4")), "GRANT_INVALID");
}

impl Partnered {
    fn grant_claims(&self, jti: &str) -> Value {
        let mut claims = self.claims();
        claims["jti"] = json!(jti);
        claims
    }
}

// X27: by another client, over another certificate
#[test]
fn a_grant_is_worth_nothing_to_anybody_else_and_over_no_other_certificate() {
    let partnered = Partnered::new().registered();
    let grant = using_grant(&partnered.grant_with(|_| {}));
    let svid = |id: &str| partnered.fixture.staging.svid(id).issue();
    let (again, other) = (svid(CHECKOUT), svid("spiffe://staging.example/other"));
    assert_eq!(partnered.reason(&again, &grant), "GRANT_BOUND_ELSEWHERE");
    assert_eq!(partnered.reason(&other, &grant), "GRANT_NOT_FOR_CLIENT");
    // One that names a client which may use none of this issuer.
    let third = svid("spiffe://staging.example/third");
    let theirs = partnered.grant_with(|claims| {
        claims["client_id"] = json!("spiffe://staging.example/third");
        claims["act"] = json!({ "sub": "spiffe://staging.example/third" });
        claims["cnf"] = json!({ "x5t#S256": third.thumbprint().to_string() });
    });
    assert_eq!(partnered.reason(&third, &using_grant(&theirs)), "GRANT_NOT_FOR_CLIENT");
    // Who pretends to be the client, and a client that is not registered for the grant type.
    let pretending = ExchangeRequest { client_id: Some(CHECKOUT.to_owned()), ..grant.clone() };
    assert_eq!(partnered.reason(&other, &pretending), "NOT_GRANTED");
    partnered.fixture.update(ClientMetadata { grant_types: vec!["client_credentials".to_owned()], ..using(CHECKOUT) });
    assert_eq!(partnered.reason(&partnered.checkout, &grant), "UNAUTHORIZED_CLIENT");
    let exchanging = vec!["client_credentials".to_owned(), TOKEN_EXCHANGE.to_owned()];
    partnered.fixture.update(ClientMetadata { grant_types: exchanging, ..using(CHECKOUT) });
    assert_eq!(partnered.reason(&partnered.checkout, &grant), "UNAUTHORIZED_CLIENT");
    partnered.fixture.update(using(CHECKOUT));
    assert_eq!(partnered.reason(&partnered.checkout, &grant), "");
}

#[test]
fn the_target_is_one_of_the_entry_and_of_the_clients_own_and_takes_delegated_tokens() {
    let partnered = Partnered::new().registered();
    let mut number = 0;
    let mut to = |audience: &[&str], scope: &str| {
        number += 1;
        let grant = partnered.grant_with(|claims| claims["jti"] = json!(format!("to-{number}")));
        let audience = audience.iter().map(|name| at(name)).collect();
        let request = ExchangeRequest { audience, scope: scope.to_owned(), ..using_grant(&grant) };
        partnered.reason(&partnered.checkout, &request)
    };
    assert_eq!(to(&["orders"], "orders.read"), "");
    assert_eq!(to(&[], "orders.write orders.read"), "");
    assert_eq!(to(&["stock"], ""), "TARGET_NOT_IN_RULES");
    assert_eq!(to(&["orders", "stock"], ""), "SEVERAL_TARGETS");
    assert_eq!(to(&["orders"], "orders.admin"), "INVALID_SCOPE");
    assert_eq!(to(&["orders"], "partner.order"), "INVALID_SCOPE");
    partnered.fixture.update(ClientMetadata { audience: vec![at("stock")], ..using(CHECKOUT) });
    assert_eq!(to(&["orders"], ""), "TARGET_NOT_IN_RULES");
    partnered.fixture.update(using(CHECKOUT));
    let orders = |change: &dyn Fn(&mut ResourceMetadata)| {
        let delegated = DelegatedMetadata {
            actors: vec!["spiffe://staging.example/*".to_owned()],
            max_actors: Some(8),
            mode: None,
        };
        let mut metadata = ResourceMetadata { delegated: Some(delegated), ..resource("orders") };
        change(&mut metadata);
        let authority = &partnered.fixture.authority;
        let from = authority.resource(&metadata.audience).unwrap().revision;
        ready(authority.update_resource(&partnered.fixture.svid(ADMIN), metadata, from, false)).unwrap();
    };
    orders(&|orders| orders.delegated = None);
    assert_eq!(to(&["orders"], ""), "TARGET_NOT_ACCEPTING");
    orders(&|orders| orders.trust_domains = vec!["prod.example".to_owned()]);
    assert_eq!(to(&["orders"], ""), "TARGET_NOT_ACCEPTING");
    orders(&|orders| orders.trust_domains = vec!["staging.example".to_owned()]);
    assert_eq!(to(&["orders"], ""), "");
    // A subject that is registered here has its veto.
    let vetoing = ClientMetadata { delegates: Some(Vec::new()), ..using(FRONTEND) };
    partnered.fixture.register(vetoing.clone());
    assert_eq!(to(&["orders"], ""), "VETOED");
    partnered.fixture.update(ClientMetadata { delegates: Some(vec![CHECKOUT.to_owned()]), ..vetoing });
    assert_eq!(to(&["orders"], ""), "");
}

// IC-13, X29: at a replica, and in the store where the entry says so
#[test]
fn a_grant_is_good_once_at_each_replica_and_once_at_all_together_where_the_entry_says_so() {
    for (once_strict, elsewhere) in [(false, ""), (true, "GRANT_USED")] {
        let terms = GrantTerms { once_strict, ..terms() };
        let store = Arc::new(MemoryStore::new());
        let first = Partnered::on(Arc::clone(&store), terms, JwtKey::new("partner-1")).registered();
        let grant = using_grant(&first.grant_with(|_| {}));
        assert_eq!(first.reason(&first.checkout, &grant), "");
        assert_eq!(first.reason(&first.checkout, &grant), "GRANT_USED");
        // Another replica, with the same trust.
        let second = TestAuthority::on(store, |policy| policy.exchange.enabled = true, TestAuthority::keys());
        second.authority.replace_trust(first.fixture.authority.trust().as_ref().clone());
        ready(second.authority.load()).unwrap();
        let caller = second.authority.as_caller(&second.peer(&first.checkout));
        let before = refused_exchanges(&second.authority);
        let outcome = ready(second.authority.redeem_jwt_grant(&caller, &grant)).unreferenced();
        assert_eq!(outcome.is_ok(), !once_strict);
        let after = refused_exchanges(&second.authority);
        let grown = after.iter().find(|(reason, count)| before[*reason] < **count).map(|(reason, _)| reason.as_str());
        assert_eq!(grown.unwrap_or_default(), elsewhere);
    }
}

#[test]
fn what_ends_a_grant_here_ends_what_came_of_it() {
    type End = fn(&Partnered);
    let ends: [(&str, End, Option<DenyReason>); 6] = [
        ("nothing", |_| {}, None),
        (
            "the grant",
            |partnered| partnered.revoke(RevokeRequest::TokenId("grant-1".to_owned())),
            Some(DenyReason::DelegationBroken),
        ),
        (
            "the subject",
            |partnered| partnered.revoke(RevokeRequest::Client(ClientId::parse(FRONTEND).unwrap(), None)),
            Some(DenyReason::DelegationBroken),
        ),
        (
            "the client",
            |partnered| partnered.revoke(RevokeRequest::Client(ClientId::parse(CHECKOUT).unwrap(), None)),
            Some(DenyReason::ClientRevoked),
        ),
        ("the issuer", |partnered| partnered.replace_issuers(BTreeMap::new()), Some(DenyReason::DelegationBroken)),
        (
            "the certificate",
            |partnered| partnered.revoke(RevokeRequest::Certificate(partnered.checkout.thumbprint(), None)),
            Some(DenyReason::CertificateRevoked),
        ),
    ];
    for (what, end, expected) in ends {
        let partnered = Partnered::new().registered();
        let issued = partnered.use_by(&partnered.checkout, &using_grant(&partnered.grant_with(|_| {}))).unwrap();
        assert_eq!(partnered.denied(&issued.access_token), None);
        end(&partnered);
        assert_eq!(partnered.denied(&issued.access_token), expected, "{what}");
    }
    let partnered = Partnered::new().registered();
    partnered.revoke(RevokeRequest::TokenId("grant-1".to_owned()));
    assert_eq!(partnered.refused(|_| {}), "GRANT_DENIED");
    assert_eq!(partnered.refused(|claims| claims["jti"] = json!("grant-2")), "");
}
