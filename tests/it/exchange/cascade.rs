//! What ends a token ends what came from it, at every depth, and nothing else.

use lanyard::authority::access::Requester;
use lanyard::authority::clock::Timestamp;
use lanyard::authority::decision::Decision;
use lanyard::authority::decision::LastAdmin;
use lanyard::authority::decision::PresentedEvidence;
use lanyard::authority::decision::RevokeRequest;
use lanyard::authority::decision::ValidateRequest;
use lanyard::authority::deny_reason::DenyReason;
use lanyard::authority::evidence::Evidence;
use lanyard::authority::registration::ClientId;
use lanyard::authority::registration::ClientMetadata;
use lanyard::authority::resources::ResourceMetadata;

use crate::exchange::support::CHAIN;
use crate::exchange::support::Shop;
use crate::exchange::support::at;
use crate::exchange::support::claims;
use crate::exchange::support::client;
use crate::exchange::support::id;
use crate::exchange::support::resource;
use crate::exchange::support::rule;
use crate::support::NOW;
use crate::support::as_of_now::AsOfNow as _;
use crate::support::authority::ADMIN;
use crate::support::authority::ready;

/// Why each token of the chain is denied where it is for, with its own certificate; by introspection alike.
pub fn reasons(shop: &Shop, tokens: &[String]) -> Vec<Option<DenyReason>> {
    let authority = &shop.fixture.authority;
    let admin = authority.as_caller(&shop.fixture.svid(ADMIN));
    let requester = Requester { client_id: None, roles: admin.roles.clone(), sender: admin.sender() };
    let reason = |(number, token): (usize, &String)| {
        let (holder, audience) = (CHAIN[number], at(CHAIN[number + 1]));
        let request = ValidateRequest {
            access_token: token,
            evidence: PresentedEvidence::Of(Some(Evidence::from_der(shop.leaf(holder).certificate()).unwrap())),
            audience: Some(&audience),
            scope: "",
            receipt: false,
        };
        let decided = authority.validate_binding(&authority.as_asker(shop.fixture.proxy()), request).unwrap();
        let active = authority.introspect(&admin.view, &requester, token).unwrap().is_some();
        let reason = match decided.decision {
            Decision::Allow(_) => None,
            Decision::Deny(reason) => Some(reason),
        };
        assert_eq!(active, reason.is_none(), "{number}: {reason:?}");
        reason
    };
    tokens.iter().enumerate().map(reason).collect()
}

pub fn revoke(shop: &Shop, target: RevokeRequest) {
    let authority = &shop.fixture.authority;
    let admin = authority.as_caller(&shop.fixture.svid(ADMIN));
    let requester = Requester { client_id: None, roles: admin.roles.clone(), sender: admin.sender() };
    ready(authority.revoke(&admin, &requester, target, LastAdmin::Stays)).unwrap();
}

fn client_id(name: &str) -> ClientId {
    ClientId::parse(&id(name)).unwrap()
}

/// A metadata of the chain, as it is registered.
fn registered(name: &str) -> ClientMetadata {
    match name {
        "frontend" => client("frontend", "checkout", Vec::new()),
        "checkout" => client("checkout", "orders", vec![rule("spiffe://prod.example/*", "checkout", "orders")]),
        _ => client("orders", "stock", vec![rule("spiffe://prod.example/*", "orders", "stock")]),
    }
}

/// What is done, and why each token of the chain is denied from then on.
type Row = (&'static str, fn(&Shop, &[String]), [Option<DenyReason>; 3]);

// X15, X16: the table of what dies
#[test]
fn each_end_of_a_token_ends_what_came_from_it_and_nothing_beside_it() {
    use DenyReason as Why;
    const BROKEN: Option<DenyReason> = Some(DenyReason::DelegationBroken);
    let rows: [Row; 13] = [
        ("nothing", |_, _| {}, [None; 3]),
        (
            "the first token by its text",
            |shop, tokens| revoke(shop, RevokeRequest::Token(tokens[0].clone())),
            [Some(Why::TokenRevoked), BROKEN, BROKEN],
        ),
        (
            "the first token by its jti",
            |shop, tokens| {
                revoke(shop, RevokeRequest::TokenId(claims(&tokens[0])["jti"].as_str().unwrap().to_owned()));
            },
            [Some(Why::TokenRevoked), BROKEN, BROKEN],
        ),
        (
            "the second token",
            |shop, tokens| revoke(shop, RevokeRequest::Token(tokens[1].clone())),
            [None, Some(Why::TokenRevoked), BROKEN],
        ),
        (
            "the last token",
            |shop, tokens| revoke(shop, RevokeRequest::Token(tokens[2].clone())),
            [None, None, Some(Why::TokenRevoked)],
        ),
        (
            "the first client revoked",
            |shop, _| revoke(shop, RevokeRequest::Client(client_id("frontend"), None)),
            [Some(Why::ClientRevoked), BROKEN, BROKEN],
        ),
        (
            "the second client revoked",
            |shop, _| revoke(shop, RevokeRequest::Client(client_id("checkout"), None)),
            [None, Some(Why::ClientRevoked), BROKEN],
        ),
        (
            "what was issued to the first client",
            |shop, _| revoke(shop, RevokeRequest::IssuedTo(client_id("frontend"))),
            [Some(Why::TokenRevoked), BROKEN, BROKEN],
        ),
        (
            "the certificate of the first client",
            |shop, _| revoke(shop, RevokeRequest::Certificate(shop.leaf("frontend").thumbprint(), None)),
            [Some(Why::CertificateRevoked), BROKEN, BROKEN],
        ),
        (
            "the certificate of the second client",
            |shop, _| revoke(shop, RevokeRequest::Certificate(shop.leaf("checkout").thumbprint(), None)),
            [None, Some(Why::CertificateRevoked), BROKEN],
        ),
        (
            "the first client disabled",
            |shop, _| drop(shop.fixture.update(ClientMetadata { disabled: true, ..registered("frontend") })),
            [Some(Why::ClientDisabled), BROKEN, BROKEN],
        ),
        (
            "the first client deleted",
            |shop, _| shop.fixture.delete(&id("frontend")),
            [Some(Why::ClientUnknown), BROKEN, BROKEN],
        ),
        (
            "the second client registered anew",
            |shop, _| {
                shop.fixture.delete(&id("checkout"));
                shop.fixture.register(registered("checkout"));
            },
            [None, Some(Why::ClientRecreated), BROKEN],
        ),
    ];
    for (what, end, expected) in rows {
        let shop = Shop::new();
        let tokens = shop.tokens();
        // Before, all are good; the second look finds them in the cache of verified tokens.
        assert_eq!(reasons(&shop, &tokens), [None; 3], "{what}");
        end(&shop, &tokens);
        assert_eq!(reasons(&shop, &tokens), expected, "{what}");
        // And what is over is exchanged no further.
        for (number, pair) in CHAIN[1..].windows(2).enumerate() {
            let good = expected[number].is_none() && expected[number + 1] != Some(Why::ClientRevoked);
            let good = good && expected[number + 1] != Some(Why::CertificateRevoked);
            let refused = shop.fixture.prove(shop.leaf(pair[0])).is_err();
            if !refused {
                assert_eq!(shop.exchange(pair[0], &tokens[number], pair[1]).is_ok(), good, "{what}: {number}");
            }
        }
    }
}

#[test]
fn tokens_that_are_issued_after_a_cut_are_good_with_what_comes_from_them() {
    let shop = Shop::new();
    let before = shop.tokens();
    revoke(&shop, RevokeRequest::IssuedTo(client_id("frontend")));
    shop.fixture.clock.set(Timestamp(NOW.0 + 1));
    assert_eq!(reasons(&shop, &before)[2], Some(DenyReason::DelegationBroken));
    assert_eq!(reasons(&shop, &shop.tokens()), [None; 3]);
}

// A rule that is withdrawn ends no token; what a resource takes counts at each use.
#[test]
fn a_withdrawn_rule_ends_new_exchanges_and_a_withdrawn_consent_each_use() {
    let shop = Shop::new();
    let tokens = shop.tokens();
    shop.fixture.update(client("checkout", "orders", vec![rule(&id("nobody"), "checkout", "orders")]));
    assert_eq!(shop.why_not("checkout", &tokens[0], "orders"), "NO_RULE");
    assert_eq!(reasons(&shop, &tokens), [None; 3]);
    shop.change(ResourceMetadata { delegated: None, ..resource("orders") });
    assert_eq!(reasons(&shop, &tokens), [None, Some(DenyReason::DelegationNotAccepted), None]);
    // It is exchanged no further either: it is not good where it was presented.
    assert_eq!(shop.why_not("orders", &tokens[1], "stock"), "SUBJECT_DENIED");
}

#[test]
fn what_the_steps_of_a_denial_say_names_the_token_that_ended() {
    let shop = Shop::new();
    let tokens = shop.tokens();
    revoke(&shop, RevokeRequest::Token(tokens[0].clone()));
    let authority = &shop.fixture.authority;
    let audience = at("stock");
    let request = ValidateRequest {
        access_token: &tokens[2],
        evidence: PresentedEvidence::Of(Some(Evidence::from_der(shop.leaf("orders").certificate()).unwrap())),
        audience: Some(&audience),
        scope: "",
        receipt: false,
    };
    let caller = authority.as_caller(shop.fixture.proxy());
    let reference = authority.validate_binding(&caller.clone().into(), request).unwrap().reference.unwrap();
    let admin = authority.as_caller(&shop.fixture.svid(ADMIN));
    let (told, _) = authority.why(&admin, &reference.to_string()).unwrap();
    let last = told.steps.last().unwrap();
    assert_eq!((last.check.code(), last.passed), ("ancestry", false));
    assert!(last.found.contains(claims(&tokens[0])["jti"].as_str().unwrap()), "{}", last.found);
}
