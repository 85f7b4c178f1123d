//! What only reports lets no token be issued but for want of a receipt, and no use pass but for want of consent.

use lanyard::authority::clock::Timestamp;
use lanyard::authority::decision::CheckAnswer;
use lanyard::authority::decision::CheckRefusal;
use lanyard::authority::decision::CheckRequest;
use lanyard::authority::decision::Decision;
use lanyard::authority::decision::ExchangeRequest;
use lanyard::authority::decision::PresentedEvidence;
use lanyard::authority::decision::ValidateRequest;
use lanyard::authority::deny_reason::DenyReason;
use lanyard::authority::evidence::Evidence;
use lanyard::authority::observe::Outcome;
use lanyard::authority::registration::ClientMetadata;
use lanyard::authority::registration::ExchangeRuleMetadata;
use lanyard::authority::resources::DelegatedMetadata;
use lanyard::authority::resources::Destination;
use lanyard::authority::resources::ReceiptsMetadata;
use lanyard::authority::resources::ResourceMetadata;
use lanyard::authority::resources::RouteMetadata;

use crate::exchange::receipts::receipt;
use crate::exchange::support::Shop;
use crate::exchange::support::at;
use crate::exchange::support::client;
use crate::exchange::support::id;
use crate::exchange::support::resource;
use crate::exchange::support::rule;
use crate::support::NOW;
use crate::support::as_of_now::AsOfNow as _;
use crate::support::authority::ADMIN;
use crate::support::authority::ready;
use crate::support::check::url_encoded;
use crate::support::leaf::Leaf;

/// Everything that can be in the mode report.
#[derive(Clone, Copy, Debug)]
struct Switches {
    place: bool,
    target: bool,
    consent: bool,
}

#[expect(clippy::unnecessary_wraps, reason = "the member of a document")]
fn mode(reports: bool) -> Option<String> {
    Some(if reports { "report" } else { "enforce" }.to_owned())
}

#[expect(clippy::unnecessary_wraps, reason = "the member of a document")]
fn takes(actors: &[&str], max_actors: u32, reports: bool) -> Option<DelegatedMetadata> {
    let actors = actors.iter().map(|actor| (*actor).to_owned()).collect();
    Some(DelegatedMetadata { actors, max_actors: Some(max_actors), mode: mode(reports) })
}

impl Switches {
    fn all() -> impl Iterator<Item = Self> {
        (0..8).map(|bits| Self { place: bits & 1 > 0, target: bits & 2 > 0, consent: bits & 4 > 0 })
    }

    /// The resource where tokens are presented, whose receipts this client redeems.
    fn place(self, exchanger: &str) -> ResourceMetadata {
        let receipts = ReceiptsMetadata { exchangers: vec![id(exchanger)], ttl: None, once: None };
        ResourceMetadata { mode: mode(self.place), receipts: Some(receipts), ..resource("checkout") }
    }

    /// The resource that the new tokens are for.
    fn target(self, delegated: Option<DelegatedMetadata>) -> ResourceMetadata {
        ResourceMetadata { mode: mode(self.target), delegated, ..resource("orders") }
    }

    fn good_target(self) -> ResourceMetadata {
        self.target(takes(&["spiffe://prod.example/*"], 8, self.consent))
    }
}

/// The checkout's rule, which only reports that a receipt is missing.
fn reporting() -> ExchangeRuleMetadata {
    ExchangeRuleMetadata {
        presentation: Some("report".to_owned()),
        ..rule("spiffe://prod.example/*", "checkout", "orders")
    }
}

fn alone(token: &str) -> ExchangeRequest {
    ExchangeRequest { access_token: Some(token.to_owned()), audience: vec![at("orders")], ..ExchangeRequest::default() }
}

// X30
#[test]
fn under_every_report_switch_no_token_is_issued_but_for_want_of_a_receipt() {
    for switches in Switches::all() {
        let shop = Shop::new();
        ready(shop.fixture.authority.open_receipt_keys()).unwrap();
        shop.change(switches.place("checkout"));
        shop.change(switches.good_target());
        let ruled = |rule: ExchangeRuleMetadata| {
            shop.fixture.update(client("checkout", "orders", vec![rule]));
        };
        ruled(reporting());
        let (token, other) = (shop.token("frontend"), shop.token("frontend"));
        let presented = receipt(&shop, "frontend", &token, "checkout");
        let reason = |request: &ExchangeRequest| shop.reason(&shop.peer("checkout"), request);
        let good = |why: &str| assert_eq!(reason(&alone(&token)), "", "{switches:?}: {why}");
        good("first");

        // What is wrong with the request.
        let of = |receipt: &str| ExchangeRequest { receipt: Some(receipt.to_owned()), ..alone(&token) };
        let both = vec![at("orders"), at("stock")];
        for (request, expected) in [
            (of(&presented), ""),
            (ExchangeRequest { audience: Vec::new(), ..alone(&token) }, "REQUEST_MALFORMED"),
            (ExchangeRequest { audience: both, ..alone(&token) }, "SEVERAL_TARGETS"),
            (ExchangeRequest { actor_token: Some(token.clone()), ..alone(&token) }, "ACTOR_TOKEN_NOT_OWN"),
            (alone("x"), "SUBJECT_INVALID"),
            (of("lr1.x.y.z"), "RECEIPT_INVALID"),
            (ExchangeRequest { access_token: Some(other), ..of(&presented) }, "RECEIPT_OF_ANOTHER"),
            (ExchangeRequest { audience: vec![at("stock")], ..alone(&token) }, "TARGET_NOT_IN_RULES"),
            (ExchangeRequest { scope: "orders.delete".to_owned(), ..alone(&token) }, "INVALID_SCOPE"),
        ] {
            assert_eq!(reason(&request), expected, "{switches:?}: {request:?}");
        }
        assert_eq!(shop.why_not("frontend", &token, "orders"), "UNAUTHORIZED_CLIENT", "{switches:?}");

        // What is wrong with the rule; the last one demands what the reporting one reports.
        let checkout = ExchangeRuleMetadata { subjects: vec![id("checkout")], ..reporting() };
        let strong = ExchangeRuleMetadata { least_evidence: Some("certificate".to_owned()), ..reporting() };
        let grants = ExchangeRuleMetadata { grants: reporting().grants.split_off(1), ..reporting() };
        for (rule, request, expected) in [
            (checkout, alone(&token), "NO_RULE"),
            (strong.clone(), of(&presented), ""),
            (ExchangeRuleMetadata { presentation: None, ..strong }, alone(&token), "RECEIPT_MISSING"),
            (grants, ExchangeRequest { scope: "orders.read".to_owned(), ..alone(&token) }, "INVALID_SCOPE"),
        ] {
            ruled(rule);
            assert_eq!(reason(&request), expected, "{switches:?}");
        }
        ruled(reporting());
        good("rules");

        // What the target says, and who redeems.
        let few = takes(&[&id("orders")], 8, switches.consent);
        for (target, expected) in [
            (switches.target(None), "TARGET_NOT_ACCEPTING"),
            (switches.target(few), "TARGET_NOT_ACCEPTING"),
            (
                ResourceMetadata { trust_domains: vec!["staging.example".to_owned()], ..switches.good_target() },
                "TARGET_NOT_ACCEPTING",
            ),
            (switches.good_target(), ""),
        ] {
            shop.change(target);
            assert_eq!(reason(&of(&presented)), expected, "{switches:?}");
        }
        shop.change(switches.place("orders"));
        assert_eq!(reason(&of(&presented)), "NOT_FOR_CLIENT", "{switches:?}");
        shop.change(switches.place("checkout"));
        let vetoes = ClientMetadata { delegates: Some(Vec::new()), ..client("frontend", "checkout", Vec::new()) };
        shop.fixture.update(vetoes);
        assert_eq!(reason(&alone(&token)), "VETOED", "{switches:?}");
        shop.fixture.update(client("frontend", "checkout", Vec::new()));
        good("registrations");

        // One whose use would be denied where it was presented, also where that would be let through.
        shop.fixture.update(ClientMetadata { disabled: true, ..client("frontend", "checkout", Vec::new()) });
        assert_eq!(reason(&alone(&token)), "SUBJECT_DENIED", "{switches:?}");
        shop.fixture.update(client("frontend", "checkout", Vec::new()));
        good("last");
        shop.fixture.clock.set(Timestamp(NOW.0 + 300));
        assert_eq!(reason(&alone(&token)), "SUBJECT_DENIED", "{switches:?}");
    }
}

/// A delegated token that was issued before its holder lost the consent of the orders, which only report that or not.
fn without_consent(reports: bool) -> (Shop, String) {
    let shop = Shop::new();
    let routes =
        vec![RouteMetadata { path: "/**".to_owned(), scope: "orders.read".to_owned(), ..RouteMetadata::default() }];
    let orders = ResourceMetadata { routes, ..resource("orders") };
    shop.change(orders.clone());
    let token = shop.exchange("checkout", &shop.token("frontend"), "orders").unwrap().access_token;
    assert!(matches!(checked(&shop, &token, shop.leaf("checkout")), Passed::Asserted));
    shop.change(ResourceMetadata { delegated: takes(&[&id("stock")], 8, reports), ..orders });
    (shop, token)
}

#[derive(Debug, PartialEq)]
enum Passed {
    Asserted,
    LetThrough(CheckRefusal),
    Denied(CheckRefusal),
}

fn checked(shop: &Shop, token: &str, leaf: &Leaf) -> Passed {
    let (authorization, certificate) = (format!("Bearer {token}"), url_encoded(leaf));
    let audience = at("orders");
    let request = CheckRequest {
        destination: Destination { named: Some(&audience), principal: "", authority: "" },
        method: "GET",
        path: "/orders/1",
        headers: vec![("authorization", authorization.as_bytes())],
        certificate: &certificate,
        principal: "",
        address: "",
    };
    let authority = &shop.fixture.authority;
    match authority.check(&authority.as_asker(shop.fixture.proxy()), &request).unwrap() {
        CheckAnswer::Allow(allowance) => match (allowance.asserted, allowance.let_through) {
            (Some(_), None) => Passed::Asserted,
            (None, Some((refusal, _))) => Passed::LetThrough(refusal),
            other => panic!("{other:?}"),
        },
        CheckAnswer::Deny(denial) => Passed::Denied(denial.refusal),
    }
}

/// What is decided on a use of it by the checkout.
fn evaluated(shop: &Shop, token: &str) -> Decision {
    let (authority, audience) = (&shop.fixture.authority, at("orders"));
    let evidence = Evidence::from_der(shop.leaf("checkout").certificate()).unwrap();
    let request = ValidateRequest {
        access_token: token,
        evidence: PresentedEvidence::Of(Some(evidence)),
        audience: Some(&audience),
        scope: "orders.read",
        receipt: false,
    };
    authority.validate_binding(&authority.as_asker(shop.fixture.proxy()), request).unwrap().decision
}

#[test]
fn where_consent_is_only_reported_a_use_without_it_passes_with_nothing_asserted_and_no_other_fault_does() {
    let no_consent = CheckRefusal::Denied(DenyReason::ActorNotAccepted);
    let (shop, token) = without_consent(false);
    assert_eq!(checked(&shop, &token, shop.leaf("checkout")), Passed::Denied(no_consent));
    let (shop, token) = without_consent(true);
    assert_eq!(checked(&shop, &token, shop.leaf("checkout")), Passed::LetThrough(no_consent));
    // A thief's use of the same token is denied for its certificate.
    let thief = CheckRefusal::Denied(DenyReason::CertificateMismatch);
    assert_eq!(checked(&shop, &token, shop.leaf("frontend")), Passed::Denied(thief));
    // Who asks for a decision gets it, and no further token comes of it.
    assert_eq!(evaluated(&shop, &token), Decision::Deny(DenyReason::ActorNotAccepted));
    assert_eq!(shop.why_not("orders", &token, "stock"), "SUBJECT_DENIED");
    assert_eq!(shop.why_not("checkout", &shop.token("frontend"), "orders"), "TARGET_NOT_ACCEPTING");
    // Where there is no consent at all there is no mode of it.
    shop.change(ResourceMetadata { routes: Vec::new(), delegated: None, ..resource("orders") });
    assert_eq!(evaluated(&shop, &token), Decision::Deny(DenyReason::DelegationNotAccepted));
}

#[test]
fn what_passes_for_want_of_consent_is_in_the_report_of_the_resource() {
    let (shop, token) = without_consent(true);
    assert!(matches!(checked(&shop, &token, shop.leaf("checkout")), Passed::LetThrough(_)));
    let authority = &shop.fixture.authority;
    let report = authority.resource_report(&authority.as_caller(&shop.fixture.svid(ADMIN)), &at("orders")).unwrap();
    let outcomes: Vec<_> =
        report.requests.iter().map(|(one, _)| (one.kind.caller.as_str(), one.kind.outcome)).collect();
    let checkout = id("checkout");
    assert_eq!(outcomes, [(&*checkout, Outcome::LetThrough("ACTOR_NOT_ACCEPTED")), (&*checkout, Outcome::Allowed)]);
}

#[test]
fn the_mode_of_consent_is_enforce_or_report_and_enforce_where_it_is_left_out() {
    let shop = Shop::new();
    let stored = |mode: &str| {
        let delegated = DelegatedMetadata { mode: Some(mode.to_owned()), ..takes(&[&id("stock")], 8, false).unwrap() };
        shop.change(ResourceMetadata { delegated: Some(delegated), ..resource("orders") });
        let resource = shop.fixture.authority.resource(&at("orders")).unwrap();
        resource.registration.metadata.delegated.clone().unwrap().mode
    };
    assert_eq!(stored("report"), mode(true));
    assert_eq!(stored("enforce"), None);
    let wrong = DelegatedMetadata { mode: Some("off".to_owned()), ..takes(&[&id("stock")], 8, false).unwrap() };
    let wrong = ResourceMetadata { audience: at("other"), delegated: Some(wrong), ..resource("other") };
    let admin = shop.fixture.svid(ADMIN);
    let refused = ready(shop.fixture.authority.create_resource(&admin, wrong, false)).unwrap_err();
    assert!(refused.to_string().contains("delegated"), "{refused}");
}
