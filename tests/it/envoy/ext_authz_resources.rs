//! Which resource a request is for.

use lanyard::proto::DeleteProtectedResourceRequest;
use lanyard::proto::ProtectedResource;
use lanyard::proto::Route;
use tonic::Code;

use crate::support::calls::refusal;
use crate::support::check::Asked;
use crate::support::check::orders;
use crate::support::check::route;
use crate::support::server::TestServer;

const SALES: &str = "https://sales.prod.example";
const B: &str = "https://b.example";

/// A resource whose every path is public, so that the answer tells only whether it was found.
fn open(audience: &str) -> ProtectedResource {
    ProtectedResource {
        audience: audience.to_owned(),
        routes: vec![Route { public: true, ..route(&[], "/**", "") }],
        ..ProtectedResource::default()
    }
}

fn served_by(principals: &[&str], authorities: &[&str], audience: &str) -> ProtectedResource {
    let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
    ProtectedResource { destination_principals: texts(principals), authorities: texts(authorities), ..open(audience) }
}

/// A request to a host, and to a workload, by the proxy with this SVID.
async fn reason(server: &TestServer, proxy: &str, principal: &str, host: &str) -> String {
    let mut asked = Asked::anonymous().unnamed().to("GET", "/x");
    principal.clone_into(&mut asked.attributes.destination.as_mut().unwrap().principal);
    host.clone_into(&mut asked.http().host);
    server.check_as(&server.svid(proxy), asked).await.reason().to_owned()
}

#[tokio::test]
async fn the_resource_is_found_by_the_destination_and_else_by_the_authority() {
    let server = TestServer::start().await;
    for resource in [
        served_by(&["spiffe://prod.example/orders"], &["orders.prod.example"], "https://orders.prod.example"),
        served_by(&["spiffe://prod.example/stock"], &["stock.prod.example"], "https://stock.prod.example"),
        served_by(&[], &["sales.prod.example:8443", "[2001:db8::1]:443"], SALES),
        served_by(&[], &["b.example"], B),
        served_by(&[], &["b.example:9000"], "https://b.example/special"),
    ] {
        server.protect(resource).await.unwrap();
    }
    for (principal, host, found) in [
        ("spiffe://prod.example/orders", "", true),
        // The destination comes first, whatever the client wrote into its request.
        ("spiffe://prod.example/orders", "sales.prod.example:8443", true),
        // What has destination principals is found by one of them, and by no host alone.
        ("spiffe://prod.example/stock", "stock.prod.example", true),
        ("spiffe://prod.example/unknown", "stock.prod.example", false),
        ("stock.prod.example", "stock.prod.example", false),
        ("", "stock.prod.example", false),
        ("", "orders.prod.example", false),
        ("spiffe://prod.example/orders/", "", false),
        ("spiffe://prod.example/ORDERS", "", false),
        ("spiffe://prod.example/unknown", "sales.prod.example:8443", true),
        ("", "sales.prod.example:8443", true),
        ("", "SALES.Prod.Example:8443", true),
        ("", "sales.prod.example", false),
        ("", "sales.prod.example:443", false),
        ("", "[2001:db8::1]:443", true),
        ("", "[2001:db8::1]", false),
        ("", "b.example", true),
        ("", "b.example:8443", true),
        ("", "b.example:9000", true),
        ("", "b.example.", true),
        ("", "b.example.:8443", true),
        ("", "[2001:DB8:0::1]:443", true),
        ("", "b.example..", false),
        ("", "b.example:8443:8443", false),
        ("", "xb.example", false),
        ("", "b.example:", true),
        ("", "", false),
    ] {
        let expected = if found { "" } else { "RESOURCE_UNKNOWN" };
        assert_eq!(reason(&server, "/proxy", principal, host).await, expected, "{principal} {host}");
    }
}

#[tokio::test]
async fn where_it_is_not_clear_which_resource_is_meant_the_request_is_denied() {
    let server = TestServer::start().await;
    let both = &["spiffe://prod.example/monolith"];
    for resource in [served_by(both, &["a.example"], "https://a.example"), served_by(both, &["b.example"], B)] {
        server.protect(resource).await.unwrap();
    }
    // One workload serves both: the authority tells which.
    assert_eq!(reason(&server, "/proxy", both[0], "a.example").await, "");
    assert_eq!(reason(&server, "/proxy", both[0], "other.example").await, "RESOURCE_UNKNOWN");
    // Two that nothing tells apart cannot be registered.
    server.protect(served_by(&[], &["twice.example"], SALES)).await.unwrap();
    let twice = server.protect(served_by(&[], &["twice.example"], "https://c.example")).await;
    assert_eq!(refusal(twice), (Code::AlreadyExists, "AUTHORITY_TAKEN".to_owned()));
    assert_eq!(reason(&server, "/proxy", "", "twice.example").await, "");
}

// The route of B is public, the one of a is not
#[tokio::test]
async fn a_host_that_the_client_writes_opens_no_other_resource_than_the_workloads() {
    let server = TestServer::start().await;
    let (a, b) = ("spiffe://prod.example/a", "spiffe://prod.example/b");
    let closed = ProtectedResource { routes: vec![route(&[], "/**", "")], ..served_by(&[a], &["a.example"], SALES) };
    server.protect(closed).await.unwrap();
    server.protect(served_by(&[b], &["b.example"], B)).await.unwrap();
    assert_eq!(reason(&server, "/proxy", b, "b.example").await, "");
    assert_eq!(reason(&server, "/proxy", a, "b.example").await, "TOKEN_MISSING");
    let unknown = "spiffe://prod.example/unknown";
    assert_eq!(reason(&server, "/proxy", unknown, "b.example").await, "RESOURCE_UNKNOWN");
    // Deleting the one does not open the other.
    let request = DeleteProtectedResourceRequest { audience: SALES.to_owned(), ..Default::default() };
    server.registry(&server.svid("/admin")).delete_protected_resource(request).await.unwrap();
    server.protect(served_by(&[], &["open.example"], "https://open.example")).await.unwrap();
    for host in ["b.example", "a.example", "open.example"] {
        assert_eq!(reason(&server, "/proxy", a, host).await, "RESOURCE_UNKNOWN", "{host}");
    }
    assert_eq!(reason(&server, "/proxy", "", "open.example").await, "");
}

// Always only among the resources that the calling proxy fronts
#[tokio::test]
async fn a_proxy_finds_only_what_it_fronts_by_whatever_the_request_says() {
    let server = TestServer::start().await;
    let principal = "spiffe://prod.example/sales";
    server.protect(orders()).await.unwrap();
    server.protect(served_by(&[principal], &["sales.prod.example"], SALES)).await.unwrap();
    // This one fronts orders alone.
    assert_eq!(reason(&server, "/orders-proxy", principal, "").await, "RESOURCE_UNKNOWN");
    assert_eq!(reason(&server, "/orders-proxy", "", "sales.prod.example").await, "RESOURCE_UNKNOWN");
    server.protect(served_by(&[], &["b.example"], B)).await.unwrap();
    assert_eq!(reason(&server, "/proxy", "", "b.example").await, "");
    assert_eq!(reason(&server, "/orders-proxy", "", "b.example").await, "RESOURCE_UNKNOWN");
    let sales = Asked::anonymous().resource(SALES).to("GET", "/x");
    assert_eq!(server.check_as(&server.svid("/orders-proxy"), sales.clone()).await.reason(), "RESOURCE_UNKNOWN");
    assert_eq!(server.check(sales).await.reason(), "");
    assert_eq!(reason(&server, "/proxy", principal, "").await, "");
    assert_eq!(
        server.check_as(&server.svid("/orders-proxy"), Asked::anonymous().to("GET", "/healthz")).await.reason(),
        ""
    );
}

// What the proxy's own configuration names, no request can change
#[tokio::test]
async fn a_resource_that_the_proxy_names_is_that_one_or_none() {
    let server = TestServer::start().await;
    server.protect(served_by(&["spiffe://prod.example/sales"], &["sales.prod.example"], SALES)).await.unwrap();
    for (named, reason) in [(SALES, ""), ("", "RESOURCE_UNKNOWN"), ("https://sales.prod.example/", "RESOURCE_UNKNOWN")]
    {
        let mut asked = Asked::anonymous().resource(named).to("GET", "/x");
        "spiffe://prod.example/sales".clone_into(&mut asked.attributes.destination.as_mut().unwrap().principal);
        "sales.prod.example".clone_into(&mut asked.http().host);
        assert_eq!(server.check(asked.header("resource", SALES)).await.reason(), reason, "{named}");
    }
}
