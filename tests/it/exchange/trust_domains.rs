//! Subjects of another trust domain: where their tokens are good, and what ends them.

use lanyard::authority::access::GrantedRole;
use lanyard::authority::access::RoleHolder;
use lanyard::authority::decision::RevokeRequest;
use lanyard::authority::deny_reason::DenyReason;
use lanyard::authority::identity::SpiffeIdPattern;
use lanyard::authority::registration::ClientMetadata;
use lanyard::authority::resources::ResourceMetadata;
use lanyard::authority::state::Revoked;

use crate::exchange::cascade::reasons;
use crate::exchange::cascade::revoke;
use crate::exchange::support::CHAIN;
use crate::exchange::support::Shop;
use crate::exchange::support::client;
use crate::exchange::support::resource;
use crate::exchange::support::rule;
use crate::support::authority::TestAuthority;

const FRONTEND: &str = "spiffe://staging.example/ns/web/sa/frontend";

/// The chain whose first caller is of another trust domain, and an auditor.
fn shop() -> Shop {
    let auditor = RoleHolder::Spiffe(SpiffeIdPattern::parse(FRONTEND).unwrap());
    let mut shop = Shop::empty(|policy| policy.roles.auditors.push(auditor), TestAuthority::keys());
    for name in CHAIN {
        shop.protect(resource(name));
    }
    let leaf = shop.fixture.staging.svid(FRONTEND).issue();
    let frontend = ClientMetadata { client_id: FRONTEND.to_owned(), ..client("frontend", "checkout", Vec::new()) };
    shop.register_with(frontend, leaf);
    for pair in CHAIN[1..].windows(2) {
        let rules = ["staging", "prod"].map(|domain| rule(&format!("spiffe://{domain}.example/*"), pair[0], pair[1]));
        shop.register(client(pair[0], pair[1], rules.to_vec()));
    }
    shop
}

fn accepting(domains: &[&str]) -> ResourceMetadata {
    let trust_domains = domains.iter().map(|domain| format!("{domain}.example")).collect();
    ResourceMetadata { trust_domains, ..resource("orders") }
}

// X17, X18
#[test]
fn a_resource_accepts_the_trust_domains_of_the_holder_and_of_the_subject() {
    let shop = shop();
    let tokens = shop.tokens();
    for (domains, expected) in
        [(&[][..], true), (&["prod", "staging"], true), (&["prod"], false), (&["staging"], false)]
    {
        shop.change(accepting(domains));
        let reason = (!expected).then_some(DenyReason::TrustDomainNotAccepted);
        assert_eq!(reasons(&shop, &tokens)[1], reason, "{domains:?}");
        let why_not = if expected { "" } else { "TARGET_NOT_ACCEPTING" };
        assert_eq!(shop.why_not("checkout", &tokens[0], "orders"), why_not, "{domains:?}");
    }
}

// X15: the rows of the table that are about who a workload is
#[test]
fn the_end_of_a_path_of_a_trust_domain_or_of_a_role_ends_what_came_from_it() {
    const BROKEN: Option<DenyReason> = Some(DenyReason::DelegationBroken);
    let path = |pattern: &str| Revoked::identities(pattern).unwrap();
    for (revoked, ends) in [
        (path("spiffe://staging.example/ns/web/*"), true),
        (path("spiffe://staging.example/ns/webs/*"), false),
        (Revoked::trust_domain("staging.example").unwrap(), true),
        (Revoked::Role(GrantedRole::Auditor), true),
        (Revoked::Role(GrantedRole::Revoker), false),
    ] {
        let shop = shop();
        let tokens = shop.tokens();
        assert_eq!(reasons(&shop, &tokens), [None; 3]);
        revoke(&shop, RevokeRequest::Peers(revoked.clone(), None));
        let expected = if ends { [Some(DenyReason::IdentityRevoked), BROKEN, BROKEN] } else { [None; 3] };
        assert_eq!(reasons(&shop, &tokens), expected, "{revoked:?}");
        for (place, pair) in CHAIN[1..].windows(2).enumerate() {
            assert_eq!(shop.exchange(pair[0], &tokens[place], pair[1]).is_ok(), !ends, "{revoked:?}");
        }
    }
}

// X15: a bundle is no longer there
#[test]
fn trust_that_is_withdrawn_ends_what_came_from_it() {
    let shop = shop();
    let tokens = shop.tokens();
    let authority = &shop.fixture.authority;
    let before = authority.trust().as_ref().clone();
    let mut without = before.clone();
    without.trust_domains.retain(|name, _| name.as_str() != "staging.example");
    authority.replace_trust(without);
    let broken = Some(DenyReason::DelegationBroken);
    assert_eq!(reasons(&shop, &tokens), [Some(DenyReason::TrustDomainUntrusted), broken, broken]);
    assert_eq!(shop.why_not("checkout", &tokens[0], "orders"), "SUBJECT_DENIED");
    assert_eq!(shop.why_not("orders", &tokens[1], "stock"), "SUBJECT_DENIED");
    authority.replace_trust(before);
    assert_eq!(reasons(&shop, &tokens), [None; 3]);
}
