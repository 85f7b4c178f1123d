//! Grants of the authorization server of another trust domain: which are taken, for whom and where, once, and what ends what came of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use lanyard::authority::decision::Decision;
use lanyard::authority::decision::ExchangeRequest;
use lanyard::authority::decision::RevokeRequest;
use lanyard::authority::deny_reason::DenyReason;
use lanyard::authority::registration::ClientId;
use lanyard::authority::registration::ClientMetadata;
use lanyard::authority::resources::DelegatedMetadata;
use lanyard::authority::resources::ResourceMetadata;
use lanyard::authority::trust::GrantTerms;
use lanyard::store::memory::MemoryStore;
use serde_json::json;

use crate::exchange::partner::CHECKOUT;
use crate::exchange::partner::FRONTEND;
use crate::exchange::partner::PARTNER;
use crate::exchange::partner::Partnered;
use crate::exchange::partner::terms;
use crate::exchange::partner::using;
use crate::exchange::partner::using_grant;
use crate::exchange::support::at;
use crate::exchange::support::claims;
use crate::exchange::support::refused_exchanges;
use crate::exchange::support::resource;
use crate::support::NOW;
use crate::support::as_of_now::AsOfNow as _;
use crate::support::authority::ADMIN;
use crate::support::authority::TestAuthority;
use crate::support::authority::ready;
use crate::support::jwt_svid::JwtKey;
use crate::support::unreferenced::Unreferenced as _;

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
