//! Which entry of `roles.proxies` applies to a peer.

use std::fs;

use lanyard::authority::access::Fronted;
use lanyard::authority::access::RoleGrants;
use lanyard::authority::access::RoleHolder;
use lanyard::authority::identity::SpiffeIdPattern;
use lanyard::authority::observe::Reloaded;
use lanyard::config;

use crate::support::authority::ORDERS;
use crate::support::authority::PROXY;
use crate::support::authority::STOCK;
use crate::support::authority::TestAuthority;
use crate::support::server::Setup;
use crate::support::server::TestServer;

const MESH: &str = "spiffe://prod.example/ns/mesh/*";
const DOMAIN: &str = "spiffe://prod.example/*";

fn spiffe(id: &str) -> RoleHolder {
    RoleHolder::Spiffe(SpiffeIdPattern::parse(id).unwrap())
}

fn only(audience: &str) -> Fronted {
    Fronted::Audiences([audience.to_owned()].into())
}

#[test]
fn the_most_specific_entry_for_a_proxy_applies_in_any_order() {
    let fixture = TestAuthority::new();
    let leaf = fixture.prod.svid(PROXY).issue();
    let (peer, neighbour) = (fixture.peer(&leaf), fixture.svid("spiffe://prod.example/ns/mesh/sa/other"));
    let far = fixture.svid("spiffe://prod.example/far");
    let foreign = fixture.peer(&fixture.staging.svid("spiffe://staging.example/ns/mesh/sa/proxy").issue());
    let by_thumbprint = (RoleHolder::Thumbprint(leaf.thumbprint()), only("urn:certificate"));
    let exact = (spiffe(PROXY), only(ORDERS));
    let (longer, shorter) = ((spiffe(MESH), only(STOCK)), (spiffe(DOMAIN), Fronted::Every));
    let mut entries = vec![shorter, longer, exact];
    for _ in 0..entries.len() {
        entries.rotate_left(1);
        for proxies in [entries.clone(), entries.iter().rev().cloned().collect()] {
            let grants = RoleGrants { proxies, ..RoleGrants::default() };
            assert_eq!(grants.roles_of(&peer, false).proxy, Some(only(ORDERS)), "{grants:?}");
            assert_eq!(grants.roles_of(&neighbour, false).proxy, Some(only(STOCK)), "{grants:?}");
            assert_eq!(grants.roles_of(&far, false).proxy, Some(Fronted::Every), "{grants:?}");
            assert_eq!(grants.roles_of(&foreign, false).proxy, None);
        }
    }
    // A thumbprint names one certificate, and a SPIFFE ID all of a workload's.
    for place in 0..=entries.len() {
        let mut proxies = entries.clone();
        proxies.insert(place, by_thumbprint.clone());
        let grants = RoleGrants { proxies, ..RoleGrants::default() };
        assert_eq!(grants.roles_of(&peer, false).proxy, Some(only("urn:certificate")));
        assert_eq!(grants.roles_of(&fixture.svid(PROXY), false).proxy, Some(only(ORDERS)));
    }
}

fn entry(holder: &str, resources: &str) -> String {
    format!("{{{holder}, resources: [{resources}]}}")
}

#[test]
fn two_equally_specific_entries_that_differ_are_refused() {
    let (thumbprint, other) = ("A".repeat(43), format!("{}E", "A".repeat(42)));
    let of = |thumbprint: &str| format!("certificate_thumbprint: {thumbprint}");
    let id = |id: &str| format!("spiffe_id: '{id}'");
    let problem = |entries: [String; 2]| {
        let roles = format!("{{admins: [], proxies: [{}]}}", entries.join(", "));
        let setup = Setup { roles, ..Setup::default() };
        setup.write();
        config::load(&setup.path("lanyard.yaml")).err().map(|error| error.to_string())
    };
    for (one, two) in [(PROXY, "spiffe://prod.example/ns/mesh/sa/other"), (MESH, DOMAIN)].map(|(a, b)| (id(a), id(b))) {
        let refused = problem([entry(&one, "'urn:a'"), entry(&one, "'urn:b'")]).unwrap();
        assert!(refused.starts_with("roles.proxies: two entries for 'spiffe://prod.example/"), "{refused}");
        assert!(problem([entry(&one, "'urn:a'"), entry(&one, "'*'")]).is_some());
        assert!(problem([entry(&one, "'urn:a', 'urn:b'"), entry(&one, "'urn:a'")]).is_some());
        assert_eq!(problem([entry(&one, "'urn:a', 'urn:b'"), entry(&one, "'urn:b', 'urn:a'")]), None);
        assert_eq!(problem([entry(&one, "'urn:a'"), entry(&two, "'urn:b'")]), None);
    }
    assert!(problem([entry(&of(&thumbprint), "'urn:a'"), entry(&of(&thumbprint), "'urn:b'")]).is_some());
    assert_eq!(problem([entry(&of(&thumbprint), "'urn:a'"), entry(&of(&other), "'urn:b'")]), None);
}

#[tokio::test]
async fn a_reload_with_contradictory_entries_keeps_the_roles() {
    let server = TestServer::start().await;
    let path = server.setup.path("lanyard.yaml");
    let before = fs::read_to_string(&path).unwrap();
    let more = "{spiffe_id: spiffe://prod.example/orders-proxy, resources: ['*']}, ";
    fs::write(&path, before.replace("proxies: [", &format!("proxies: [{more}"))).unwrap();
    server.server.reload();
    assert!(server.server.authority().reloads().is_failing(Reloaded::Configuration));
    fs::write(&path, before).unwrap();
    server.server.reload();
    assert!(!server.server.authority().reloads().is_failing(Reloaded::Configuration));
}
