//! What a token request may get: who asks is settled by the certificate, what is granted by the registration.

use lanyard::authority::decision::GrantError;
use lanyard::authority::decision::Mismatch;
use lanyard::authority::decision::TokenRequest;
use lanyard::authority::identity::PeerIdentity;
use serde_json::Value;
use serde_json::json;

use crate::support::as_of_now::AsOfNow as _;
use crate::support::authority::CHECKOUT;
use crate::support::authority::ORDERS;
use crate::support::authority::STOCK;
use crate::support::authority::TestAuthority;
use crate::support::authority::named_spiffe_client;
use crate::support::authority::pki_client;
use crate::support::authority::ready;
use crate::support::authority::self_signed_client;
use crate::support::authority::spiffe_client;
use crate::support::ca::self_signed;
use crate::support::mint::part;
use crate::support::unreferenced::Unreferenced as _;

const THIEF: &str = "spiffe://prod.example/ns/shop/sa/thief";

fn request(client_id: Option<&str>) -> TokenRequest {
    TokenRequest { client_id: client_id.map(str::to_owned), ..TokenRequest::default() }
}

fn client_of(fixture: &TestAuthority, peer: &PeerIdentity, client_id: Option<&str>) -> Result<Value, GrantError> {
    let token = ready(fixture.authority.issue_token(&fixture.authority.as_caller(peer), &request(client_id)))
        .unreferenced()?
        .access_token;
    Ok(part(&token, 1)["client_id"].clone())
}

// RFC 8705 section 2: only an SVID says itself who asks
#[test]
fn a_client_id_may_be_left_out_by_an_svid_only() {
    let fixture = TestAuthority::new();
    fixture.register(spiffe_client(CHECKOUT));
    let own = self_signed("batch").issue();
    fixture.register(self_signed_client("batch", &own.pem()));
    let (svid, batch) = (fixture.svid(CHECKOUT), fixture.peer(&own));
    for named in [None, Some(CHECKOUT)] {
        assert_eq!(client_of(&fixture, &svid, named), Ok(json!(CHECKOUT)));
    }
    assert_eq!(client_of(&fixture, &batch, Some("batch")), Ok(json!("batch")));
    assert_eq!(client_of(&fixture, &batch, None), Err(GrantError::InvalidRequest));
    for malformed in ["", "two words", "é", "spiffe://prod.example", "SPIFFE://prod.example/a"] {
        assert_eq!(client_of(&fixture, &svid, Some(malformed)), Err(GrantError::InvalidRequest), "{malformed:?}");
    }
}

// RFC 8705 section 2; RFC 9068 section 2.2: a certificate authenticates its own client and no other
#[test]
fn a_certificate_that_the_registration_does_not_expect_is_an_invalid_client() {
    let fixture = TestAuthority::new();
    fixture.register(spiffe_client(CHECKOUT));
    fixture.register(spiffe_client(THIEF));
    let own = self_signed("batch").issue();
    fixture.register(self_signed_client("batch", &own.pem()));
    let mut by_dns = pki_client("legacy");
    by_dns.tls_client_auth_san_dns = Some("legacy.example".to_owned());
    fixture.register(by_dns);
    let peers = [
        (THIEF, fixture.svid(THIEF)),
        ("batch", fixture.peer(&own)),
        ("legacy", fixture.peer(&fixture.partner.client_certificate().dns("legacy.example").issue())),
        (CHECKOUT, fixture.svid(CHECKOUT)),
    ];
    for (own_id, peer) in &peers {
        for (id, _) in &peers {
            let expected =
                if id == own_id { Ok(json!(id)) } else { Err(GrantError::InvalidClient(Mismatch::Certificate)) };
            assert_eq!(client_of(&fixture, peer, Some(id)), expected, "{own_id} asks as {id}");
        }
        let unknown = client_of(&fixture, peer, Some("nobody"));
        assert_eq!(unknown, Err(GrantError::InvalidClient(Mismatch::UnknownClient)));
    }
}

// draft-ietf-oauth-spiffe-client-auth section 5.1: a pattern covers both, and still neither is the other
#[test]
fn a_pattern_lets_each_svid_ask_in_its_own_name_only() {
    let fixture = TestAuthority::new();
    fixture.register(named_spiffe_client("shop", "spiffe://prod.example/ns/shop/*"));
    let peer = fixture.svid(THIEF);
    assert_eq!(client_of(&fixture, &peer, Some(THIEF)), Ok(json!(THIEF)));
    assert_eq!(client_of(&fixture, &peer, None), Ok(json!(THIEF)));
    let refused = client_of(&fixture, &peer, Some(CHECKOUT));
    assert_eq!(refused, Err(GrantError::InvalidClient(Mismatch::Certificate)));
}

// The one who asks cannot tell an unknown client from a wrong certificate
#[test]
fn all_ways_to_be_an_invalid_client_read_the_same() {
    let mismatches =
        [Mismatch::UnknownClient, Mismatch::AmbiguousClient, Mismatch::DisabledClient, Mismatch::Certificate];
    let texts = mismatches.map(|mismatch| GrantError::InvalidClient(mismatch).to_string());
    assert!(texts.iter().all(|text| *text == texts[0]));
}

// RFC 6749 section 3.3; RFC 9068 section 3
#[test]
fn a_scope_within_the_registered_one_is_granted_as_asked_and_nothing_beyond() {
    let fixture = TestAuthority::new();
    fixture.register(spiffe_client(CHECKOUT));
    let peer = fixture.svid(CHECKOUT);
    let ask = |scope: &str| {
        let request = TokenRequest { scope: scope.to_owned(), ..request(None) };
        let issued =
            ready(fixture.authority.issue_token(&fixture.authority.as_caller(&peer), &request)).unreferenced()?;
        assert_eq!(part(&issued.access_token, 1)["scope"], json!(issued.scope.to_string()));
        Ok(issued.scope.to_string())
    };
    for (asked, granted) in [
        ("", "orders.read orders.write"),
        ("orders.read", "orders.read"),
        ("orders.write orders.read", "orders.write orders.read"),
        ("orders.read orders.read", "orders.read"),
    ] {
        assert_eq!(ask(asked).as_deref(), Ok(granted));
    }
    for beyond in ["orders.admin", "orders.read orders.admin", "Orders.read", "orders", " ", "orders.read ", "a\"b"] {
        assert_eq!(ask(beyond), Err(GrantError::InvalidScope), "{beyond:?}");
    }
}

// RFC 9068 sections 3 and 5
#[test]
fn an_audience_within_the_registered_ones_is_granted_as_asked_and_nothing_beyond() {
    let fixture = TestAuthority::new();
    let mut metadata = spiffe_client(CHECKOUT);
    metadata.audience = vec![ORDERS.to_owned(), STOCK.to_owned()];
    fixture.register(metadata);
    let peer = fixture.svid(CHECKOUT);
    let ask = |audience: &[&str]| {
        let audience = audience.iter().map(|one| (*one).to_owned()).collect();
        let request = TokenRequest { audience, ..request(None) };
        let issued =
            ready(fixture.authority.issue_token(&fixture.authority.as_caller(&peer), &request)).unreferenced()?;
        Ok(part(&issued.access_token, 1)["aud"].clone())
    };
    assert_eq!(ask(&[]), Ok(json!([ORDERS, STOCK])));
    assert_eq!(ask(&[STOCK]), Ok(json!(STOCK)));
    assert_eq!(ask(&[STOCK, ORDERS, STOCK]), Ok(json!([STOCK, ORDERS])));
    let slash = format!("{ORDERS}/");
    for beyond in [&["https://bank.example"][..], &[ORDERS, "https://bank.example"], &[&slash], &[""], &[STOCK; 129]] {
        assert_eq!(ask(beyond), Err(GrantError::InvalidTarget), "{beyond:?}");
    }
}

// A refusal of the client comes before one of what it asks for
#[test]
fn who_asks_is_settled_before_what_is_asked_for() {
    let fixture = TestAuthority::new();
    fixture.register(spiffe_client(CHECKOUT));
    let wrong = TokenRequest {
        client_id: Some(CHECKOUT.to_owned()),
        scope: "orders.admin".to_owned(),
        audience: vec!["https://bank.example".to_owned()],
        ..TokenRequest::default()
    };
    let refused = |peer: &PeerIdentity| {
        ready(fixture.authority.issue_token(&fixture.authority.as_caller(peer), &wrong)).unwrap_err().error
    };
    assert_eq!(refused(&fixture.svid(THIEF)), GrantError::InvalidClient(Mismatch::Certificate));
    assert_eq!(refused(&fixture.svid(CHECKOUT)), GrantError::InvalidScope);
}
