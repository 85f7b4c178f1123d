//! Which resource a check is about, by what the proxy reports and by what the client wrote.

use lanyard::authority::resources::ResourceMetadata;
use lanyard::authority::resources::RouteMetadata;
use lanyard::authority::store::Expected;
use lanyard::authority::store::Store as _;

use crate::support::authority::ADMIN;
use crate::support::authority::PROXY;
use crate::support::authority::TestAuthority;
use crate::support::authority::ready;
use crate::support::resources::at;

const A: &str = "spiffe://prod.example/a";
const B: &str = "spiffe://prod.example/b";
const GATEWAY: &str = "spiffe://prod.example/gateway";

fn with(resources: impl IntoIterator<Item = ResourceMetadata>) -> TestAuthority {
    let fixture = TestAuthority::new();
    resources.into_iter().for_each(|resource| fixture.protect(resource));
    fixture
}

#[track_caller]
fn assert_found(fixture: &TestAuthority, cases: &[(&str, &str, Option<&str>)]) {
    for (principal, authority, expected) in cases {
        assert_eq!(fixture.found(principal, authority).as_deref(), *expected, "{principal:?} {authority:?}");
    }
}

#[test]
fn a_resource_with_principals_is_found_for_one_of_them_and_never_by_its_host_alone() {
    let fixture = with([
        at("urn:a", &[A], &["a.example"]),
        at("urn:b", &[B, GATEWAY], &["b.example"]),
        at("urn:open", &[], &["open.example"]),
    ]);
    assert_found(
        &fixture,
        &[
            // The client writes the host: it selects no resource that the workload does not serve.
            (A, "b.example", Some("urn:a")),
            (A, "open.example", Some("urn:a")),
            (B, "a.example", Some("urn:b")),
            (GATEWAY, "b.example", Some("urn:b")),
            // Where the proxy reports nothing that a resource has, by the host alone.
            ("", "b.example", None),
            ("", "open.example", Some("urn:open")),
            ("spiffe://prod.example/unknown", "b.example", None),
            ("spiffe://prod.example/unknown", "open.example", Some("urn:open")),
            // Neither a DNS name nor a subject is a report of a workload.
            ("b.example", "b.example", None),
            ("b.example", "open.example", Some("urn:open")),
            ("CN=b,O=shop", "open.example", Some("urn:open")),
        ],
    );
}

#[test]
fn of_several_resources_of_a_workload_the_authority_selects_one_among_them() {
    let fixture = with([
        at("urn:a", &[A], &["a.example"]),
        at("urn:special", &[A], &["a.example:8443"]),
        at("urn:plain", &[A], &[]),
        at("urn:b", &[B], &["a.example:9000"]),
        at("urn:open", &[], &["open.example"]),
    ]);
    assert_found(
        &fixture,
        &[
            (A, "a.example", Some("urn:a")),
            (A, "a.example:8443", Some("urn:special")),
            // Another workload's resource is not among them.
            (A, "a.example:9000", Some("urn:a")),
            (A, "open.example", None),
            (A, "", None),
        ],
    );
}

// A proxy that does not front what the workload serves finds nothing else in its place
#[test]
fn a_workload_whose_resources_the_proxy_does_not_front_is_no_unknown_one() {
    let holder = lanyard::authority::access::RoleHolder::Spiffe(
        lanyard::authority::identity::SpiffeIdPattern::parse(PROXY).unwrap(),
    );
    let fronted = lanyard::authority::access::Fronted::Audiences(["urn:open".to_owned()].into());
    let fixture = TestAuthority::with(|policy| policy.roles.proxies = vec![(holder, fronted)], TestAuthority::keys());
    fixture.protect(at("urn:a", &[A], &[]));
    fixture.protect(at("urn:open", &[], &["open.example"]));
    assert_found(&fixture, &[(A, "open.example", None), (B, "open.example", Some("urn:open"))]);
}

// RFC 1034 section 3.1, RFC 5952, RFC 9110 section 4.2.3
#[test]
fn a_host_has_one_form_where_it_is_registered_and_where_it_is_asked_for() {
    for registered in ["fq.test", "fq.test.", "FQ.Test."] {
        let fixture = with([at("urn:fq", &[], &[registered, "[FD00:0:0::1]", "special.test.:8443"])]);
        let metadata = fixture.authority.resource("urn:fq").unwrap().registration.metadata.clone();
        assert_eq!(metadata.authorities, ["fq.test", "[fd00::1]", "special.test:8443"]);
        for host in ["fq.test", "fq.test.", "fq.test.:443", "FQ.TEST:443", "fq.test:", "[fd00::1]", "[fd00:0:0::1]"] {
            assert_eq!(fixture.found("", host).as_deref(), Some("urn:fq"), "{host}");
        }
        for host in ["[FD00::0.0.0.1]:443", "special.test:8443", "Special.test.:08443"] {
            assert_eq!(fixture.found("", host).as_deref(), Some("urn:fq"), "{host}");
        }
        for host in [
            "fq.test..",
            ".fq.test",
            "fq.test:443:443",
            "fq.test.:443.",
            "fq.test:x",
            "fq.test:65536",
            "fq.test:+443",
            "user@fq.test",
            "fd00::1",
            "[fd00::1].",
            "[fd00::2]",
            "[fd00::1%25eth0]",
            "special.test",
            ".",
            "",
        ] {
            assert_eq!(fixture.found("", host), None, "{host}");
        }
    }
}

#[test]
fn a_host_with_a_port_goes_before_one_for_all_ports_in_any_case() {
    let fixture = with([at("urn:all", &[], &["orders.test"]), at("urn:special", &[], &["orders.test:8443"])]);
    assert_found(
        &fixture,
        &[
            ("", "orders.test:443", Some("urn:all")),
            ("", "Orders.Test:8443", Some("urn:special")),
            ("", "orders.test.:8443", Some("urn:special")),
            ("", "orders.test:443:443", None),
        ],
    );
}

/// The record of a resource as earlier versions wrote it, with this authority as it stands.
fn stored(fixture: &TestAuthority, metadata: ResourceMetadata, from: &str, to: &str) {
    let key = format!("/resources/{}", metadata.audience);
    let other = with([metadata]);
    let text = ready(other.store.get(&key)).unwrap().unwrap().value;
    let text = String::from_utf8(text.to_vec()).unwrap();
    assert!(text.contains(from), "{text}");
    ready(fixture.store.put(&key, text.replace(from, to).into_bytes(), Expected::Absent)).unwrap();
}

#[test]
fn stored_authorities_of_earlier_versions_are_read_in_the_one_form() {
    let fixture = TestAuthority::new();
    stored(&fixture, at("urn:fq", &[], &["fq.test", "[fd00::1]"]), "fq.test", "fq.test.");
    stored(&fixture, at("urn:odd", &[], &["odd.test"]), "odd.test", "odd..");
    stored(&fixture, at("urn:six", &[], &["[fd00::6]"]), "[fd00::6]", "[fd00:0:0::6]");
    ready(fixture.authority.load()).unwrap();
    assert_found(
        &fixture,
        &[
            ("", "fq.test", Some("urn:fq")),
            ("", "[fd00::6]", Some("urn:six")),
            ("", "odd..", Some("urn:odd")),
            ("", "odd", None),
        ],
    );
}

// Ory Oathkeeper 157: two rules for one request
#[test]
fn of_overlapping_routes_the_more_specific_decides_and_ambiguous_ones_are_refused() {
    let route = |path: &str, scope: &str| RouteMetadata {
        path: path.to_owned(),
        scope: scope.to_owned(),
        ..RouteMetadata::default()
    };
    let resource = |routes| ResourceMetadata { scope: "a b".to_owned(), routes, ..at("urn:o", &[], &["o.test"]) };
    let fixture = TestAuthority::new();
    let create = |metadata| ready(fixture.authority.create_resource(&fixture.svid(ADMIN), metadata, true));
    let parsed = create(resource(vec![route("/a/{x}/c", "a"), route("/a/b/{y}", "b")])).unwrap();
    let needs = |path: &str| {
        let path = lanyard::authority::resources::RequestPath::parse(path).unwrap();
        format!("{:?}", parsed.registration.routes.find("GET", &path).map(|route| &route.need))
    };
    assert_eq!(needs("/a/b/c"), needs("/a/b/d"));
    assert_ne!(needs("/a/b/c"), needs("/a/x/c"));
    let error = create(resource(vec![route("/a/{x}", "a"), route("/a/{y}", "b")])).unwrap_err();
    assert_eq!(error.code(), "INVALID_RESOURCE", "{error}");
}
