//! What the registrations permit of a token: compared once, remembered, and compared again after each change.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use lanyard::authority::clock::Clock as _;
use lanyard::authority::clock::Timestamp;
use lanyard::authority::decision::Decision;
use lanyard::authority::decision::PresentedEvidence;
use lanyard::authority::decision::ValidateRequest;
use lanyard::authority::deny_reason::DenyReason;
use lanyard::authority::evidence::Evidence;
use lanyard::authority::registration::AllowedHosts;
use lanyard::authority::registration::ClientMetadata;
use lanyard::authority::registration::JwksUriPolicy;
use lanyard::authority::registration::RegisteredClient;
use lanyard::authority::registration::Rotation;
use lanyard::authority::scope::Scope;
use lanyard::authority::state::Caller;
use lanyard::authority::state::PublishingClient;
use lanyard::authority::store::Expected;
use lanyard::authority::store::Revision;
use lanyard::authority::store::Store as _;
use lanyard::authority::tokens::Compared;
use lanyard::authority::tokens::VerifiedToken;
use lanyard::authority::trust::Bundle;
use lanyard::authority::trust::TrustBundles;
use lanyard::authority::trust::Unproven;
use serde_json::Value;
use spiffe::TrustDomain;

use crate::support::NOW;
use crate::support::as_of_now::AsOfNow as _;
use crate::support::authority::CHECKOUT;
use crate::support::authority::ORDERS;
use crate::support::authority::PROXY;
use crate::support::authority::TestAuthority;
use crate::support::authority::ready;
use crate::support::authority::self_signed_client;
use crate::support::authority::spiffe_client;
use crate::support::ca::self_signed;
use crate::support::leaf::Leaf;
use crate::support::mint::Mint;
use crate::support::mint::part;

fn denied(fixture: &TestAuthority, token: &str, leaf: &Leaf) -> Option<DenyReason> {
    match fixture.evaluate(token, leaf) {
        Decision::Allow(_) => None,
        Decision::Deny(reason) => Some(reason),
    }
}

#[test]
fn a_token_is_compared_once_with_the_same_registrations_and_trust_and_again_after_a_change() {
    let mint = Mint::new();
    let claims = serde_json::from_value(Value::Object(part(&mint.token, 1))).unwrap();
    let key_id = mint.fixture.authority.keys().active().unwrap().key_id().clone();
    let token = VerifiedToken::new(key_id, claims);
    let client = mint.fixture.authority.client(CHECKOUT).unwrap();
    let with = |change: &dyn Fn(&mut RegisteredClient)| {
        let mut client = RegisteredClient::clone(&client);
        change(&mut client);
        client
    };
    let revised = with(&|client| client.revision = Revision(client.revision.0 + 1));
    let renamed = with(&|client| client.registration.client_id = spiffe_client_id("spiffe://prod.example/other"));
    let limit = with(&|client| Arc::make_mut(&mut client.registration.terms).rotation = Rotation::Identity);
    let comparisons = Cell::new(0);
    let compare = |client: &RegisteredClient, limit: Option<&RegisteredClient>, trust_generation: u64| {
        comparisons.set(0);
        for _ in 0..3 {
            token.permitted(Compared { client, limit, trust_generation }, || {
                comparisons.set(comparisons.get() + 1);
                (false, None)
            });
        }
        comparisons.get()
    };
    // Each differs from the one before in one thing.
    assert_eq!(compare(&client, None, 0), 1);
    assert_eq!(compare(&client, None, 0), 0);
    assert_eq!(compare(&client, None, 1), 1);
    assert_eq!(compare(&revised, None, 1), 1);
    assert_eq!(compare(&renamed, None, 1), 1);
    assert_eq!(compare(&renamed, Some(&limit), 1), 1);
    assert_eq!(compare(&renamed, Some(&revised), 1), 1);
    assert_eq!(compare(&renamed, Some(&revised), 1), 0);
    assert_eq!(compare(&renamed, None, 1), 1);
}

fn spiffe_client_id(text: &str) -> lanyard::authority::registration::ClientId {
    lanyard::authority::registration::ClientId::parse(text).unwrap()
}

#[test]
fn the_operators_limit_narrows_scope_audience_and_rotation_and_adds_nothing() {
    let mint = Mint::new();
    let claims = serde_json::from_value(Value::Object(part(&mint.token, 1))).unwrap();
    let token = VerifiedToken::new(mint.fixture.authority.keys().active().unwrap().key_id().clone(), claims);
    let client = mint.fixture.authority.client(CHECKOUT).unwrap();
    let mut limit = RegisteredClient::clone(&client);
    let mut own = RegisteredClient::clone(&client);
    Arc::make_mut(&mut own.registration.terms).rotation = Rotation::Identity;
    Arc::make_mut(&mut limit.registration.terms).rotation = Rotation::Lineage;
    Arc::make_mut(&mut limit.registration.terms).scope = Scope::parse("orders.read orders.admin").unwrap();
    let permitted = |limit: Option<&RegisteredClient>| {
        token.permitted(Compared { client: &own, limit, trust_generation: 0 }, || (false, None))
    };
    let alone = permitted(None);
    assert_eq!((alone.scope.as_ref(), alone.audience.as_ref(), alone.rotation), (None, None, Rotation::Identity));
    let limited = permitted(Some(&limit));
    assert_eq!(limited.scope, Some(Scope::parse("orders.read").unwrap()));
    assert_eq!((limited.audience.as_ref(), limited.rotation), (None, Rotation::Strict));
}

// A token of the same second may have been issued before the change or after it
#[test]
fn a_token_of_the_second_in_which_the_authentication_changed_is_denied_also_after_a_restart() {
    let fixture = TestAuthority::new();
    let [old, new] = ["old", "new"].map(|name| self_signed(name).issue());
    fixture.register(self_signed_client("own", &old.pem()));
    fixture.update(self_signed_client("own", &new.pem()));
    let issue = || fixture.issue(&fixture.peer(&new), "own").unwrap().access_token;
    let same_second = issue();
    fixture.clock.advance(Duration::from_secs(1));
    let later = issue();
    assert_eq!(denied(&fixture, &same_second, &new), Some(DenyReason::AuthenticationChanged));
    assert_eq!(denied(&fixture, &later, &new), None);
    // The record keeps it: another change of it, and reading it again.
    fixture.update(ClientMetadata { owner: Some("team".to_owned()), ..self_signed_client("own", &new.pem()) });
    ready(fixture.authority.load()).unwrap();
    assert_eq!(denied(&fixture, &same_second, &new), Some(DenyReason::AuthenticationChanged));
    assert_eq!(denied(&fixture, &later, &new), None);
    let record = fixture.authority.client("own").unwrap().record.clone();
    assert_eq!(record.authentication_changed_at, Some(NOW));
    let stored = ready(fixture.store.get("/clients/own")).unwrap().unwrap().value;
    assert!(String::from_utf8_lossy(&stored).contains("\"authentication_changed_at\":1800000000"));
}

// The same remembered token, asked about by requests that began before a change and after it
#[test]
fn each_request_is_decided_by_its_own_view_though_the_token_is_remembered() {
    let fixture = TestAuthority::new();
    fixture.register(spiffe_client(CHECKOUT));
    let leaf = fixture.prod.svid(CHECKOUT).issue();
    let token = fixture.token(&fixture.peer(&leaf));
    let proxy = fixture.svid(PROXY);
    let ask = |caller: &Caller| {
        let request = ValidateRequest {
            access_token: &token,
            evidence: PresentedEvidence::Of(Some(Evidence::from_der(leaf.certificate()).unwrap())),
            audience: Some(ORDERS),
            scope: "orders.write",
            receipt: false,
        };
        match fixture.authority.validate_binding(&caller.clone().into(), request).unwrap().decision {
            Decision::Allow(_) => None,
            Decision::Deny(reason) => Some(reason),
        }
    };
    let before = fixture.authority.as_caller(&proxy);
    fixture.update(ClientMetadata { scope: "orders.read".to_owned(), ..spiffe_client(CHECKOUT) });
    let narrowed = fixture.authority.as_caller(&proxy);
    fixture.authority.replace_trust(TrustBundles::default());
    let untrusted = fixture.authority.as_caller(&proxy);
    for _ in 0..2 {
        assert_eq!(ask(&before), None);
        assert_eq!(ask(&narrowed), Some(DenyReason::InsufficientScope));
        assert_eq!(ask(&untrusted), Some(DenyReason::TrustDomainUntrusted));
    }
}

// SPIFFE Federation section 5.2.5: the bound of the handshake and that of tokens are one
#[test]
fn a_bundle_counts_for_tokens_as_long_as_it_counts_in_the_handshake() {
    let fixture = TestAuthority::new();
    fixture.register(spiffe_client(CHECKOUT));
    let leaf = fixture.prod.svid(CHECKOUT).issue();
    let token = fixture.token(&fixture.peer(&leaf));
    let prod = TrustDomain::new("prod.example").unwrap();
    let until = NOW.after(Duration::from_mins(1));
    let trust = |bundle: Option<Bundle>| TrustBundles {
        trust_domains: bundle.map(|bundle| (prod.clone(), bundle)).into_iter().collect(),
        ..TrustBundles::default()
    };
    let bounded = || Bundle { good_until: Some(until), ..fixture.prod.anchors().into() };
    // A proxy that is proven keeps asking; only the holder's bundle is looked at.
    assert_eq!(denied(&fixture, &token, &leaf), None);
    fixture.authority.replace_trust(trust(Some(bounded())));
    for (now, expected, handshake) in [
        (until, None, None),
        (Timestamp(until.0 + 1), Some(DenyReason::TrustDomainUntrusted), Some(Unproven::StaleBundle)),
    ] {
        fixture.clock.set(now);
        assert_eq!(fixture.authority.prove_now(&leaf.chain).err(), handshake);
        assert_eq!(denied(&fixture, &token, &leaf), expected, "{now:?}");
    }
    // Confirmed again, it counts again.
    let confirmed = Bundle { good_until: Some(Timestamp(until.0 + 60)), ..fixture.prod.anchors().into() };
    fixture.authority.replace_trust(trust(Some(confirmed)));
    assert_eq!(denied(&fixture, &token, &leaf), None);
    for (bundle, handshake) in [(None, Unproven::UnknownTrustDomain), (Some(Bundle::default()), Unproven::NoPath)] {
        fixture.authority.replace_trust(trust(bundle));
        assert_eq!(fixture.authority.prove_now(&leaf.chain).unwrap_err(), handshake);
        assert_eq!(denied(&fixture, &token, &leaf), Some(DenyReason::TrustDomainUntrusted));
    }
}

// RFC 8705 section 2.2: the certificates are those that the client publishes
#[test]
fn a_jwks_uri_that_is_not_fetched_removes_no_certificate_before_its_bound() {
    let keep = Duration::from_mins(1);
    let allowed_hosts = AllowedHosts::parse(&["keys.example".to_owned()]).unwrap();
    let policy = JwksUriPolicy { allowed_hosts, keep, on_demand: false };
    let fixture = TestAuthority::with(|settings| settings.jwks_uri = policy, TestAuthority::keys());
    let text = "https://keys.example/jwks";
    let metadata =
        ClientMetadata { jwks_uri: Some(text.to_owned()), certificate_pem: None, ..self_signed_client("billing", "") };
    let publishing = PublishingClient::of(&fixture.register(metadata)).unwrap();
    let publish = |leaves: &[&Leaf]| {
        let pem: String = leaves.iter().map(|leaf| leaf.pem()).collect();
        let json = lanyard::authority::registration::jwks_from_pem(&pem).unwrap().to_string();
        let now = fixture.clock.now();
        ready(fixture.authority.store_published_jwks(&publishing, json.as_bytes(), now, || ())).unwrap();
    };
    let [old, new] = ["old", "new"].map(|name| self_signed(name).issue());
    publish(&[&old]);
    let token = fixture.issue(&fixture.peer(&old), "billing").unwrap().access_token;
    assert_eq!(denied(&fixture, &token, &old), None);
    fixture.clock.advance(Duration::from_secs(59));
    assert_eq!(denied(&fixture, &token, &old), None);
    fixture.clock.advance(Duration::from_secs(1));
    assert_eq!(denied(&fixture, &token, &old), Some(DenyReason::AuthenticationChanged));
    publish(&[&old, &new]);
    assert_eq!(denied(&fixture, &token, &old), None);
    publish(&[&new]);
    assert_eq!(denied(&fixture, &token, &old), Some(DenyReason::AuthenticationChanged));

    // Of a record that cannot be read nothing is known, and it is not taken to have the certificate.
    publish(&[&old]);
    assert_eq!(denied(&fixture, &token, &old), None);
    ready(fixture.store.put("/published-jwks/billing", b"{".to_vec(), Expected::Any)).unwrap();
    ready(fixture.authority.load()).unwrap();
    assert_eq!(denied(&fixture, &token, &old), Some(DenyReason::AuthenticationChanged));
    fixture.clock.advance(Duration::from_secs(1));
    publish(&[&old]);
    assert_eq!(denied(&fixture, &token, &old), None);

    // What is fetched after a clock that was ahead was set back counts.
    let now = fixture.clock.now();
    fixture.clock.advance(Duration::from_secs(30));
    publish(&[&old]);
    fixture.clock.set(now);
    fixture.authority.published_jwks_follow_clock();
    publish(&[&new]);
    assert_eq!(denied(&fixture, &token, &old), Some(DenyReason::AuthenticationChanged));
}
