//! The principal that a proxy reports, compared with the certificate that a token was bound to.

use std::sync::Arc;
use std::time::Duration;

use lanyard::authority::decision::BindingRequest;
use lanyard::authority::decision::Decision;
use lanyard::authority::decision::decide;
use lanyard::authority::deny_reason::DenyReason;
use lanyard::authority::evidence::Evidence;
use lanyard::authority::registration::ClientMetadata;
use lanyard::authority::registration::ClientStatus;
use lanyard::authority::resources::Demands;
use lanyard::authority::scope::Scope;
use lanyard::authority::state::LineagePolicy;
use lanyard::authority::state::Lineages;
use lanyard::authority::tokens::Compared;
use lanyard::authority::tokens::VerifiedToken;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::support::NOW;
use crate::support::authority::CHECKOUT;
use crate::support::authority::ISSUER;
use crate::support::authority::ORDERS;
use crate::support::authority::TestAuthority;
use crate::support::authority::named_spiffe_client;
use crate::support::authority::pki_client;
use crate::support::authority::spiffe_client;
use crate::support::authority::spiffe_uri_client;
use crate::support::leaf::Leaf;
use crate::support::leaf::LeafBuilder;
use crate::support::mint::part;

const OTHER: &str = "spiffe://prod.example/thief";

/// One client, its certificate, and the claims of its token.
struct Holder {
    fixture: TestAuthority,
    client_id: &'static str,
    leaf: Leaf,
    claims: Map<String, Value>,
}

impl Holder {
    fn new(client_id: &'static str, metadata: ClientMetadata, issue: impl FnOnce(&TestAuthority) -> Leaf) -> Self {
        let fixture = TestAuthority::new();
        fixture.register(metadata);
        let leaf = issue(&fixture);
        let token = fixture.issue(&fixture.peer(&leaf), client_id).unwrap().access_token;
        let claims = part(&token, 1);
        Self { fixture, client_id, leaf, claims }
    }

    /// As a token that was issued before the claim existed.
    fn older(mut self) -> Self {
        assert!(self.claims.remove("lanyard_spiffe_id").is_some());
        self
    }

    /// The reason to deny the right certificate's use where the proxy reports this principal.
    fn reason(&self, principal: Option<&str>) -> Option<DenyReason> {
        let key = self.fixture.authority.keys().active().unwrap().key_id().clone();
        let claims = serde_json::from_value(Value::Object(self.claims.clone())).unwrap();
        let token = VerifiedToken::new(key, claims);
        let client = self.fixture.authority.client(self.client_id).unwrap();
        let compared = Compared { client: &client, limit: None, trust_generation: 0 };
        let permitted = token.permitted(compared, || (false, None));
        let decision = decide(&BindingRequest {
            token: &token,
            issuer: ISSUER,
            evidence: Some(&Evidence::Thumbprint(self.leaf.thumbprint())),
            principal,
            client: &ClientStatus::Registered(Arc::clone(&client)),
            permitted: Some(&permitted),
            refused: None,
            revoked: None,
            broken: None,
            vouched: false,
            same_identity: false,
            lineages: &Lineages::default(),
            lineage: LineagePolicy::default(),
            demands: &Demands::of(ORDERS, None, Scope::default()),
            now: NOW,
            verdict_ttl: Duration::from_secs(5),
        });
        match decision {
            Decision::Allow(_) => None,
            Decision::Deny(reason) => Some(reason),
        }
    }
}

fn by_uri() -> Holder {
    let metadata = spiffe_uri_client("checkout", CHECKOUT);
    Holder::new("checkout", metadata, |fixture| fixture.prod.svid(CHECKOUT).issue())
}

fn by_dns(uri: Option<&'static str>) -> Holder {
    let metadata = ClientMetadata { tls_client_auth_san_dns: Some("shop.example".to_owned()), ..pki_client("shop") };
    Holder::new("shop", metadata, |fixture| {
        let builder = fixture.partner.client_certificate().dns("shop.example");
        uri.into_iter().fold(builder, LeafBuilder::uri).issue()
    })
}

const MISMATCH: Option<DenyReason> = Some(DenyReason::CertificateMismatch);

#[test]
#[expect(clippy::useless_vec, reason = "an array of them is too large for the stack")]
fn a_token_keeps_the_spiffe_id_of_its_certificate_where_its_client_id_is_another() {
    let pattern = named_spiffe_client("shop", "spiffe://prod.example/*");
    for (holder, claim) in vec![
        (Holder::new(CHECKOUT, spiffe_client(CHECKOUT), |fixture| fixture.prod.svid(CHECKOUT).issue()), None),
        (Holder::new(CHECKOUT, pattern, |fixture| fixture.prod.svid(CHECKOUT).issue()), None),
        (by_uri(), Some(json!(CHECKOUT))),
        (by_dns(None), Some(json!(""))),
        (by_dns(Some("https://shop.example/")), Some(json!(""))),
    ] {
        assert_eq!(holder.claims.get("lanyard_spiffe_id"), claim.as_ref());
    }
}

#[test]
fn another_principal_than_the_certificate_s_own_denies_and_none_decides_nothing() {
    let spiffe = Holder::new(CHECKOUT, spiffe_client(CHECKOUT), |fixture| fixture.prod.svid(CHECKOUT).issue());
    for holder in [spiffe, by_uri()] {
        for own in [None, Some(CHECKOUT)] {
            assert_eq!(holder.reason(own), None, "{own:?}");
        }
        for other in [OTHER, "", "checkout", "CN=checkout", "checkout.prod.example", "SPIFFE://prod.example/checkout"] {
            assert_eq!(holder.reason(Some(other)), MISMATCH, "{other}");
        }
    }
    let no_spiffe_id = by_dns(None);
    for own in [None, Some("shop.example"), Some("CN=shop"), Some("https://shop.example/")] {
        assert_eq!(no_spiffe_id.reason(own), None, "{own:?}");
    }
    assert_eq!(no_spiffe_id.reason(Some(OTHER)), MISMATCH);
}

#[test]
fn a_token_without_the_claim_is_compared_with_what_is_registered_or_with_nothing() {
    let registered = by_uri().older();
    assert_eq!((registered.reason(Some(CHECKOUT)), registered.reason(None)), (None, None));
    for other in [OTHER, "CN=checkout"] {
        assert_eq!(registered.reason(Some(other)), MISMATCH, "{other}");
    }
    // Whether its certificate had a SPIFFE ID is not known.
    let unknown = by_dns(None).older();
    for principal in [OTHER, "shop.example"] {
        assert_eq!(unknown.reason(Some(principal)), None, "{principal}");
    }
}
