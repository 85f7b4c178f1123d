//! Scopes belong to the resources that define them (RFC 9068 section 2.2.3): in a token request, and at each use.

use lanyard::authority::decision::Decision;
use lanyard::authority::decision::GrantError;
use lanyard::authority::decision::PresentedEvidence;
use lanyard::authority::decision::TokenRequest;
use lanyard::authority::decision::ValidateRequest;
use lanyard::authority::deny_reason::DenyReason;
use lanyard::authority::evidence::Evidence;
use lanyard::authority::identity::PeerIdentity;
use lanyard::authority::registration::ClientMetadata;
use lanyard::authority::resources::ResourceMetadata;

use crate::support::as_of_now::AsOfNow as _;
use crate::support::authority::ADMIN;
use crate::support::authority::CHECKOUT;
use crate::support::authority::ORDERS;
use crate::support::authority::PROXY;
use crate::support::authority::STOCK;
use crate::support::authority::TestAuthority;
use crate::support::authority::ready;
use crate::support::authority::spiffe_client;
use crate::support::leaf::Leaf;
use crate::support::unreferenced::Unreferenced as _;

/// A resource that defines no scope.
const PLAIN: &str = "https://plain.shop.internal";
/// An audience that is registered nowhere.
const NOWHERE: &str = "https://nowhere.shop.internal";

const ALL: &str = "orders.read orders.write stock.read audit";

struct ScopedResources {
    fixture: TestAuthority,
    leaf: Leaf,
    peer: PeerIdentity,
}

impl ScopedResources {
    /// Orders and stock define scopes, `audit` both of them.
    fn new() -> Self {
        let fixture = TestAuthority::new();
        let resources =
            [(ORDERS, "orders.read orders.write audit"), (STOCK, "stock.read stock.write audit"), (PLAIN, "")];
        for (audience, scope) in resources {
            let (audience, scope) = (audience.to_owned(), scope.to_owned());
            let metadata = ResourceMetadata { audience, scope, ..ResourceMetadata::default() };
            ready(fixture.authority.create_resource(&fixture.svid(ADMIN), metadata, false)).unwrap();
        }
        let audience = [ORDERS, STOCK, PLAIN, NOWHERE].map(ToOwned::to_owned).to_vec();
        fixture.register(ClientMetadata { scope: ALL.to_owned(), audience, ..spiffe_client(CHECKOUT) });
        let leaf = fixture.prod.svid(CHECKOUT).issue();
        let peer = fixture.peer(&leaf);
        Self { fixture, leaf, peer }
    }

    fn request(&self, audience: &[&str], scope: &str) -> Result<(String, String), GrantError> {
        let audience = audience.iter().map(|&one| one.to_owned()).collect();
        let request = TokenRequest { scope: scope.to_owned(), audience, ..TokenRequest::default() };
        let issued = ready(self.fixture.authority.issue_token(&self.fixture.authority.as_caller(&self.peer), &request))
            .unreferenced()?;
        Ok((issued.scope.to_string(), issued.access_token))
    }

    fn granted(&self, audience: &[&str], scope: &str) -> Result<String, GrantError> {
        self.request(audience, scope).map(|(granted, _)| granted)
    }

    /// Whether a use that needs this scope is allowed, and the scope that its answer names.
    fn used(&self, token: &str, audience: &str, scope: &str) -> Result<String, DenyReason> {
        let proxy = self.fixture.authority.as_caller(&self.fixture.svid(PROXY));
        let evidence = PresentedEvidence::Of(Some(Evidence::from_der(self.leaf.certificate()).unwrap()));
        let request =
            ValidateRequest { access_token: token, evidence, audience: Some(audience), scope, receipt: false };
        let evaluation = self.fixture.authority.validate_binding(&proxy.clone().into(), request).unwrap();
        match evaluation.decision {
            Decision::Allow(_) => Ok(evaluation.claims().unwrap().scope.clone().unwrap_or_default()),
            Decision::Deny(reason) => Err(reason),
        }
    }
}

#[test]
fn a_request_gets_the_registered_scopes_that_its_resources_define_and_no_others() {
    let fixture = ScopedResources::new();
    for (audience, asked, granted) in [
        (&[ORDERS][..], "", Ok("orders.read orders.write audit")),
        (&[STOCK], "", Ok("stock.read audit")),
        (&[ORDERS, STOCK], "", Ok(ALL)),
        (&[ORDERS], "orders.read", Ok("orders.read")),
        (&[ORDERS, STOCK], "stock.read orders.read", Ok("stock.read orders.read")),
        (&[ORDERS], "stock.read", Err(GrantError::InvalidScope)),
        (&[ORDERS], "orders.read stock.read", Err(GrantError::InvalidScope)),
        // Defined by the resource, but not registered for the client.
        (&[STOCK], "stock.write", Err(GrantError::InvalidScope)),
        // One that defines no scope, and one that is registered nowhere, take every registered scope.
        (&[PLAIN], "", Ok(ALL)),
        (&[NOWHERE], "stock.read", Ok("stock.read")),
        (&[ORDERS, NOWHERE], "stock.read", Ok("stock.read")),
        (&[], "", Ok(ALL)),
    ] {
        assert_eq!(fixture.granted(audience, asked), granted.map(ToOwned::to_owned), "{audience:?} {asked}");
    }
}

#[test]
fn a_token_for_several_resources_opens_at_each_only_what_that_one_defines() {
    let fixture = ScopedResources::new();
    let (_, token) = fixture.request(&[], "").unwrap();
    let insufficient = || Err(DenyReason::InsufficientScope);
    let [orders, stock] = ["orders.read orders.write audit", "stock.read audit"].map(|scope| Ok(scope.to_owned()));
    for (audience, scope, expected) in [
        (ORDERS, "orders.read", orders.clone()),
        (ORDERS, "", orders.clone()),
        (ORDERS, "audit", orders),
        (ORDERS, "stock.read", insufficient()),
        (STOCK, "stock.read", stock),
        (STOCK, "orders.read", insufficient()),
        (STOCK, "stock.write", insufficient()),
        (PLAIN, "orders.read stock.read", Ok(ALL.to_owned())),
        (NOWHERE, "orders.read stock.read", Ok(ALL.to_owned())),
    ] {
        assert_eq!(fixture.used(&token, audience, scope), expected, "{audience} {scope}");
    }
}

// RFC 6749 section 3.3
#[test]
fn a_request_for_a_resource_that_defines_none_of_the_scopes_gets_a_token_without_scope() {
    let fixture = ScopedResources::new();
    let audience = vec![STOCK.to_owned()];
    fixture.fixture.update(ClientMetadata { scope: "orders.read".to_owned(), audience, ..spiffe_client(CHECKOUT) });
    let (granted, token) = fixture.request(&[], "").unwrap();
    assert_eq!(granted, "");
    assert_eq!(fixture.used(&token, STOCK, ""), Ok(String::new()));
    assert_eq!(fixture.granted(&[], "orders.read"), Err(GrantError::InvalidScope));
}
