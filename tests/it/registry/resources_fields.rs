//! The values that each field of a protected resource accepts: refused values, reported by the field's name, beside the
//! nearest valid ones.

use lanyard::authority::access::Fronted;
use lanyard::authority::records::NotKept;
use lanyard::authority::resources::Destination;
use lanyard::authority::resources::ProtectedResource as Parsed;
use lanyard::authority::resources::RegisteredResource;
use lanyard::authority::resources::ResourceMetadata;
use lanyard::authority::resources::ResourceRecord;
use lanyard::authority::resources::Resources;
use lanyard::authority::store::Revision;
use lanyard::proto::EvidenceFrom;
use lanyard::proto::ProtectedResource;
use lanyard::proto::Route;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::registry::resources::Admin;
use crate::registry::resources::orders;
use crate::support::NOW;
use crate::support::server::TestServer;

/// A change to the orders resource.
type Change = Box<dyn Fn(&mut ProtectedResource)>;

fn change(change: impl Fn(&mut ProtectedResource) + 'static) -> Change {
    Box::new(change)
}

/// Lists that are set whole.
fn lists(field: &'static str, values: Vec<Vec<String>>) -> Vec<Change> {
    let set = |resource: &mut ProtectedResource, field, value: Vec<String>| match field {
        "evidence_from" => resource.evidence_from = Some(EvidenceFrom { via: value, header: false }),
        "trust_domains" => resource.trust_domains = value,
        "destination_principals" => resource.destination_principals = value,
        "authorities" => resource.authorities = value,
        _ => panic!("{field}"),
    };
    let one = |value: Vec<String>| change(move |resource| set(resource, field, value.clone()));
    values.into_iter().map(one).collect()
}

fn each(texts: &[&str]) -> Vec<Vec<String>> {
    texts.iter().map(|&text| vec![text.to_owned()]).collect()
}

fn numbered(count: usize, name: impl Fn(usize) -> String) -> Vec<String> {
    (0..count).map(name).collect()
}

fn audiences(texts: &[&str]) -> Vec<Change> {
    texts.iter().map(|&text| text.to_owned()).map(|text| change(move |it| it.audience.clone_from(&text))).collect()
}

fn paths(texts: &[&str]) -> Vec<Change> {
    let set = |text: String| change(move |it| it.routes[0].path.clone_from(&text));
    texts.iter().map(|&text| set(text.to_owned())).collect()
}

fn methods(texts: &[&str]) -> Vec<Change> {
    let set = |text: String| change(move |it| it.routes[0].methods = vec![text.clone()]);
    texts.iter().map(|&text| set(text.to_owned())).collect()
}

/// A field, what must be refused by its name, and the nearest that must stand.
fn table() -> Vec<(&'static str, Vec<Change>, Vec<Change>)> {
    let id = |n: usize| format!("spiffe://prod.example/{n}");
    let scopes = |count| numbered(count, |n| format!("s{n}")).join(" ");
    let not_ids = [
        "",
        "prod.example/gateway",
        "https://prod.example/gateway",
        "spiffe://prod.example",
        "spiffe://prod.example/",
        "spiffe://prod.example/a/../b",
        "spiffe://prod.example/*",
        "SPIFFE://prod.example/a",
    ];
    let routes = |count: usize| {
        let routes = numbered(count, |n| format!("/{n}")).into_iter();
        routes.map(|path| Route { path, ..Route::default() }).collect::<Vec<_>>()
    };
    let same = |methods: [&[&str]; 2]| {
        methods.map(|methods| Route {
            methods: methods.iter().map(|&method| method.to_owned()).collect(),
            path: "/orders/{id}".to_owned(),
            ..Route::default()
        })
    };
    vec![
        (
            "audience",
            audiences(&["", "orders", "/orders", "https://a/#", "https://a b", &format!("urn:{}", "a".repeat(2045))]),
            audiences(&["urn:orders", "https://a", "https://a/?b", &format!("urn:{}", "a".repeat(2044))]),
        ),
        (
            "scope",
            vec![
                change(|it| it.scope = "orders.read  orders.write".to_owned()),
                change(|it| it.scope = "orders.read orders.write \"x\"".to_owned()),
                change(move |it| it.scope = format!("orders.read orders.write {}", scopes(127))),
            ],
            vec![change(move |it| it.scope = format!("orders.read orders.write {}", scopes(126)))],
        ),
        // Paths.
        (
            "routes",
            paths(&["", "orders", "/orders/*", "/orders/{}", "/a/**/b", "/../a", "//", "/a%20b", "/a?b=c"]),
            paths(&["/", "/orders/**", "/orders/{id}/items", "/..a"]),
        ),
        // Methods.
        (
            "routes",
            methods(&["", "get", "Get", "*", "GET POST", "GET,POST", &"A".repeat(33)]),
            methods(&["PATCH", "M-SEARCH", &"A".repeat(32)]),
        ),
        // Scopes, and what is public.
        (
            "routes",
            vec![
                change(|it| it.routes[0].scope = "orders.admin".to_owned()),
                change(|it| it.routes[0].scope = "Orders.read".to_owned()),
                change(|it| it.routes[0].scope = "orders.read ".to_owned()),
                change(|it| it.routes[0].public = true),
                change(|it| it.scope.clear()),
            ],
            vec![
                change(|it| it.routes[0].scope = "orders.write orders.read".to_owned()),
                change(|it| it.routes[0].scope.clear()),
                change(|it| (it.routes[0].scope.clear(), it.routes[0].public = true).1),
            ],
        ),
        // Of two for the same requests it is not clear which counts.
        (
            "routes",
            vec![
                change(move |it| it.routes = same([&["GET"], &["POST", "GET"]]).to_vec()),
                change(move |it| it.routes = same([&[], &[]]).to_vec()),
                change(move |it| it.routes = routes(1025)),
            ],
            vec![
                change(move |it| it.routes = same([&["GET"], &["POST"]]).to_vec()),
                change(move |it| it.routes = same([&["GET"], &[]]).to_vec()),
                change(move |it| it.routes = routes(1024)),
                change(|it| it.routes.clear()),
            ],
        ),
        (
            "least_evidence",
            vec![
                change(|it| it.least_evidence = "Thumbprint".to_owned()),
                change(|it| it.least_evidence = "none".to_owned()),
            ],
            vec![
                change(|it| it.least_evidence = "spiffe_id".to_owned()),
                change(|it| it.least_evidence = "thumbprint".to_owned()),
                change(|it| it.least_evidence.clear()),
            ],
        ),
        (
            "evidence_from",
            [
                lists("evidence_from", each(&not_ids)),
                lists("evidence_from", vec![vec![], numbered(129, id)]),
                vec![change(move |it| it.evidence_from = Some(EvidenceFrom { via: vec![id(1)], header: true }))],
            ]
            .into_iter()
            .flatten()
            .collect(),
            [
                lists("evidence_from", vec![vec![id(1)], numbered(128, id)]),
                vec![change(|it| it.evidence_from = Some(EvidenceFrom { via: Vec::new(), header: true }))],
            ]
            .into_iter()
            .flatten()
            .collect(),
        ),
        (
            "trust_domains",
            lists(
                "trust_domains",
                [each(&["", "spiffe://prod.example", "Prod.example", "prod.example/a", "a b"])].concat(),
            )
            .into_iter()
            .chain(lists("trust_domains", vec![numbered(129, |n| format!("d{n}.example"))]))
            .collect(),
            lists("trust_domains", vec![vec![], numbered(128, |n| format!("d{n}.example"))]),
        ),
        (
            "mode",
            vec![change(|it| it.mode = "off".to_owned()), change(|it| it.mode = "Report".to_owned())],
            vec![change(|it| it.mode = "report".to_owned())],
        ),
        (
            "report_header",
            vec![change(|it| it.mode = "enforce".to_owned()), change(|it| it.mode.clear())],
            vec![change(|it| (it.mode = "enforce".to_owned(), it.report_header = false).1)],
        ),
        (
            "destination_principals",
            lists("destination_principals", each(&not_ids).into_iter().chain([numbered(129, id)]).collect()),
            lists("destination_principals", vec![vec![], vec![id(1)], numbered(128, id)]),
        ),
        (
            "authorities",
            lists("authorities", {
                let bad =
                    ["", "https://a", "a/b", "a:", "a:x", "a:080", "a:65536", "a b", "*.a", "[::1", "::1", "[a]", "é"];
                each(&bad).into_iter().chain([numbered(129, |n| format!("h{n}"))]).collect()
            }),
            lists("authorities", {
                let good = ["a", "A.example", "a:80", "a:65535", "127.0.0.1", "[::1]", "[::1]:8443", "a_b"];
                each(&good).into_iter().chain([vec![], numbered(128, |n| format!("h{n}"))]).collect()
            }),
        ),
    ]
}

#[tokio::test]
async fn what_a_field_may_not_say_is_refused_by_its_name_and_its_nearest_neighbour_stands() {
    let server = TestServer::start().await;
    let mut admin = Admin::of(&server);
    admin.check(orders()).await.unwrap();
    for (row, (field, refused, allowed)) in table().into_iter().enumerate() {
        for (place, change) in refused.iter().enumerate() {
            let mut resource = orders();
            change(&mut resource);
            let status =
                admin.check(resource.clone()).await.expect_err(&format!("{field} {row} {place}: {resource:?}"));
            let info = status.get_details_error_info().unwrap();
            let found = (status.code(), info.reason.as_str(), info.metadata["field"].as_str());
            assert_eq!(found, (Code::InvalidArgument, "INVALID_RESOURCE", field), "{row} {place}: {resource:?}");
            assert!(status.message().starts_with(&format!("{field}: ")), "{status:?}");
        }
        for (place, change) in allowed.iter().enumerate() {
            let mut resource = orders();
            change(&mut resource);
            let checked = admin.check(resource.clone()).await;
            assert!(checked.is_ok(), "{field} {row} {place}: {checked:?}");
        }
    }
}

#[tokio::test]
async fn an_update_is_held_to_the_same_rules_also_where_a_mask_names_a_part() {
    let server = TestServer::start().await;
    let mut admin = Admin::of(&server);
    let created = admin.create(orders()).await.unwrap();
    for (mask, bad) in [
        (&[][..], ProtectedResource { mode: "off".to_owned(), ..created.clone() }),
        (&["mode"], ProtectedResource { mode: "off".to_owned(), ..created.clone() }),
        // What stays contradicts what is taken: routes need the scopes, the header needs the mode.
        (&["scope"], ProtectedResource { scope: "orders.read".to_owned(), ..created.clone() }),
        (&["mode"], ProtectedResource { mode: "enforce".to_owned(), ..created.clone() }),
    ] {
        let status = admin.update(bad, mask).await.unwrap_err();
        assert_eq!(status.get_details_error_info().unwrap().reason, "INVALID_RESOURCE", "{mask:?}");
    }
    assert_eq!(admin.read(&created.audience).await.unwrap(), created);
    let enforced = ProtectedResource { mode: "enforce".to_owned(), report_header: false, ..created };
    assert_eq!(admin.update(enforced, &["mode", "report_header"]).await.unwrap().mode, "enforce");
}

#[test]
fn what_is_written_twice_is_no_second_resource() {
    let twice = |text: &str| vec![text.to_owned(), text.to_owned()];
    let principal = "spiffe://prod.example/orders";
    let mut resources = Resources::default();
    for (audience, principals, authorities) in
        [("urn:orders", twice(principal), vec![]), ("urn:users", vec![], twice("users.example"))]
    {
        let metadata = ResourceMetadata {
            audience: audience.to_owned(),
            destination_principals: principals,
            authorities,
            ..ResourceMetadata::default()
        };
        let record = ResourceRecord::new(NotKept, NOW, "admin");
        resources.insert(RegisteredResource::new(Parsed::parse(metadata).unwrap(), record, Revision(1)));
    }
    let by_principal = Destination { named: None, principal, authority: "elsewhere" };
    let by_authority = Destination { named: None, principal: "", authority: "users.example:443" };
    for (destination, audience) in [(by_principal, "urn:orders"), (by_authority, "urn:users")] {
        assert!(resources.find(&destination, &Fronted::Every).is_some(), "{destination:?}");
        resources.remove(audience);
        assert!(resources.find(&destination, &Fronted::Every).is_none());
    }
}
