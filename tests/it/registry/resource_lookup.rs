//! Which resource a check is about, by what the proxy reports and by what the client wrote.

use lanyard::authority::resources::ResourceMetadata;
use lanyard::authority::resources::RouteMetadata;
use lanyard::authority::store::Expected;
use lanyard::authority::store::Store as _;

use crate::support::authority::ADMIN;
use crate::support::authority::TestAuthority;
use crate::support::authority::ready;
use crate::support::resources::at;

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
        format!("{:?}", parsed.registration.routes.need("GET", &path))
    };
    assert_eq!(needs("/a/b/c"), needs("/a/b/d"));
    assert_ne!(needs("/a/b/c"), needs("/a/x/c"));
    let error = create(resource(vec![route("/a/{x}", "a"), route("/a/{y}", "b")])).unwrap_err();
    assert_eq!(error.code(), "INVALID_RESOURCE", "{error}");
}
