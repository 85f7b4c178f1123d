//! Who gets a token: each client authentication method over real TLS, with the right certificate and the nearest wrong ones.

use lanyard::authority::registration::jwks_from_pem;
use lanyard::proto::Client;
use rcgen::DnType;
use serde_json::json;
use tonic::Code;
use tonic::Status;
use tonic_types::StatusExt as _;

use crate::support::ca::self_signed;
use crate::support::calls::opened;
use crate::support::calls::pki_client;
use crate::support::calls::refusal;
use crate::support::calls::self_signed_client;
use crate::support::calls::spiffe_uri_client;
use crate::support::leaf::Leaf;
use crate::support::server::TestServer;
use crate::support::server::reason_of;
use crate::support::server::spiffe_client;
use crate::support::unreferenced::is_reference;

/// A name that every wrong certificate bears too: by it the certificate is another registered client's, so that it is
/// refused for the name that it claims and not at the door.
const OTHER: &str = "other.corp.example";

async fn with_another_client() -> TestServer {
    let server = TestServer::start().await;
    let client = Client { tls_client_auth_san_dns: OTHER.to_owned(), ..pki_client("other") };
    server.register(client).await.unwrap();
    server
}

/// The holder of `leaf` is a client, but not this one.
async fn assert_is_not(server: &TestServer, leaf: &Leaf, client_id: &str, why: &str) {
    server.issue_as(leaf, "other").await.unwrap();
    assert_refused(server, leaf, client_id, why).await;
}

async fn assert_refused(server: &TestServer, leaf: &Leaf, client_id: &str, why: &str) {
    let refused = refusal(server.issue_as(leaf, client_id).await);
    assert_eq!(refused, (Code::Unauthenticated, "INVALID_CLIENT".to_owned()), "{why}");
}

#[tokio::test]
async fn an_svid_gets_a_token_for_the_very_id_that_is_registered() {
    let server = TestServer::start().await;
    let checkout = server.workload("/ns/shop/sa/checkout").await;
    let id = "spiffe://prod.example/ns/shop/sa/checkout";
    let (_, claims) = opened(&server.issue_as(&checkout, id).await.unwrap().access_token);
    assert_eq!((&claims["sub"], &claims["client_id"]), (&json!(id), &json!(id)));

    let elsewhere = server.setup.other_ca.svid("spiffe://other.example/ns/shop/sa/checkout").issue();
    for (other, why) in [
        (server.svid("/ns/shop/sa/checkout2"), "a longer last segment"),
        (server.svid("/ns/shop/sa"), "the parent"),
        (server.svid("/ns/shop/sa/checkout/x"), "a child"),
        (server.svid("/ns/shop/sa/Checkout"), "paths have case"),
        (elsewhere, "another trust domain"),
    ] {
        assert_refused(&server, &other, id, why).await;
        let own = other_id(&other);
        assert_refused(&server, &other, &own, "nor is it registered under its own name").await;
    }
}

fn other_id(leaf: &Leaf) -> String {
    lanyard::authority::identity::Certificate::parse(leaf.certificate()).unwrap().names().uri[0].clone()
}

#[tokio::test]
async fn a_pattern_gives_each_workload_below_it_a_token_in_its_own_name() {
    let server = TestServer::start().await;
    let pattern = Client {
        client_id: "shop".to_owned(),
        spiffe_id: "spiffe://prod.example/ns/shop/*".to_owned(),
        ..spiffe_client("")
    };
    server.register(pattern).await.unwrap();
    for path in ["/ns/shop/checkout", "/ns/shop/sa/checkout"] {
        let leaf = server.svid(path);
        let id = format!("spiffe://prod.example{path}");
        let (_, claims) = opened(&server.issue_as(&leaf, &id).await.unwrap().access_token);
        assert_eq!((&claims["sub"], &claims["client_id"]), (&json!(id), &json!(id)));
        assert_refused(&server, &leaf, "shop", "the registration's own name is no client_id").await;
        assert_refused(&server, &leaf, "spiffe://prod.example/ns/shop/another", "another workload below it").await;
        let refused = refusal(server.issue_as(&leaf, "spiffe://prod.example/ns/shop/*").await);
        assert_eq!(refused, (Code::InvalidArgument, "INVALID_REQUEST".to_owned()), "the pattern itself");
    }
    let outside = server.setup.other_ca.svid("spiffe://other.example/ns/shop/checkout").issue();
    for (leaf, why) in [
        (server.svid("/ns/shop"), "the pattern's own parent"),
        (server.svid("/ns/shopping"), "half a segment"),
        (server.svid("/ns/Shop/checkout"), "paths have case"),
        (outside, "another trust domain"),
    ] {
        assert_refused(&server, &leaf, &other_id(&leaf), why).await;
    }
}

#[tokio::test]
async fn the_most_specific_registration_counts_but_a_disabled_one_at_any_level_refuses() {
    let server = TestServer::start().await;
    let pattern = |name: &str, text: &str, scope: &str| Client {
        client_id: name.to_owned(),
        spiffe_id: text.to_owned(),
        scope: scope.to_owned(),
        ..spiffe_client("")
    };
    let wide = server.register(pattern("wide", "spiffe://prod.example/*", "wide")).await.unwrap();
    server.register(pattern("shop", "spiffe://prod.example/ns/shop/*", "shop")).await.unwrap();
    let exact = Client { scope: "exact".to_owned(), ..spiffe_client("spiffe://prod.example/ns/shop/checkout") };
    server.register(exact).await.unwrap();
    for (path, scope) in [("/ns/shop/checkout", "exact"), ("/ns/shop/cart", "shop"), ("/ns/billing", "wide")] {
        let issued = server.issue_as(&server.svid(path), "").await.unwrap();
        assert_eq!(issued.scope, scope, "{path}");
    }
    server.update(Client { disabled: true, ..wide }).await.unwrap();
    for path in ["/ns/shop/checkout", "/ns/shop/cart", "/ns/billing"] {
        assert_refused(&server, &server.svid(path), "", path).await;
    }
}

#[tokio::test]
async fn an_opaque_name_for_an_exact_spiffe_id_is_no_client_id() {
    let server = TestServer::start().await;
    let id = "spiffe://prod.example/checkout";
    let named = Client { client_id: "checkout".to_owned(), spiffe_id: id.to_owned(), ..spiffe_client("") };
    server.register(named).await.unwrap();
    let leaf = server.svid("/checkout");
    let (_, claims) = opened(&server.issue_as(&leaf, id).await.unwrap().access_token);
    assert_eq!(claims["client_id"], json!(id));
    assert_refused(&server, &leaf, "checkout", "draft-ietf-oauth-spiffe-client-auth section 3.2").await;
}

#[tokio::test]
async fn each_of_the_five_subjects_authenticates_the_certificate_that_bears_it_only() {
    let server = with_another_client().await;
    let corp = &server.setup.corp;
    let base = || corp.client_certificate();
    let clients = [
        Client { tls_client_auth_subject_dn: "CN=billing,O=Corp".to_owned(), ..pki_client("by-dn") },
        Client { tls_client_auth_san_dns: "Billing.corp.example".to_owned(), ..pki_client("by-dns") },
        Client { tls_client_auth_san_uri: "https://corp.example/billing".to_owned(), ..pki_client("by-uri") },
        Client { tls_client_auth_san_ip: "2001:db8:0:0::1".to_owned(), ..pki_client("by-ip") },
        Client { tls_client_auth_san_email: "billing@corp.example".to_owned(), ..pki_client("by-email") },
    ];
    for client in clients {
        server.register(client).await.unwrap();
    }
    let organized = |organization: &str| base().attribute(DnType::OrganizationName, organization);
    let right = [
        ("by-dn", organized("Corp").common_name("billing")),
        ("by-dn", organized("CORP").common_name("  billing ")),
        ("by-dns", base().dns("billing.CORP.example")),
        ("by-uri", base().uri("https://corp.example/billing")),
        ("by-ip", base().ip("2001:db8::1".parse().unwrap())),
        ("by-email", base().email("billing@CORP.example")),
    ];
    for (client_id, leaf) in right {
        let leaf = leaf.issue();
        let (_, claims) = opened(&server.issue_as(&leaf, client_id).await.unwrap().access_token);
        assert_eq!((&claims["sub"], &claims["client_id"]), (&json!(client_id), &json!(client_id)));
        assert_eq!(claims["cnf"]["x5t#S256"], json!(leaf.thumbprint().to_string()));
    }
    let wrong = [
        ("by-dn", organized("Corporation").common_name("billing"), "another organization"),
        ("by-dn", base().common_name("billing").attribute(DnType::OrganizationName, "Corp"), "the other order"),
        ("by-dn", base().common_name("billing"), "a part of the name"),
        ("by-dns", base().dns("www.billing.corp.example"), "a name below it"),
        ("by-dns", base().dns("*.corp.example"), "a wildcard"),
        ("by-dns", base().common_name("billing.corp.example"), "the text as a common name"),
        ("by-dns", base().uri("https://billing.corp.example"), "the text as a URI"),
        ("by-uri", base().uri("https://corp.example/billing/"), "a slash more"),
        ("by-uri", base().uri("HTTPS://corp.example/billing"), "URIs are compared byte by byte"),
        ("by-ip", base().ip("2001:db8::2".parse().unwrap()), "another address"),
        ("by-ip", base().dns("2001-db8--1.corp.example"), "a host name"),
        ("by-email", base().email("Billing@corp.example"), "local parts have case"),
        ("by-email", base().email("billing@corp.example.com"), "another host"),
    ];
    for (client_id, leaf, why) in wrong {
        assert_is_not(&server, &leaf.dns(OTHER).issue(), client_id, why).await;
    }
}

#[tokio::test]
async fn a_registration_that_names_a_client_ca_takes_no_other_ones_certificates() {
    let server = with_another_client().await;
    let by_dns = |name: &str, client_ca: &str| Client {
        tls_client_auth_san_dns: "billing.corp.example".to_owned(),
        client_ca: client_ca.to_owned(),
        ..pki_client(name)
    };
    server.register(by_dns("corp-only", "corp")).await.unwrap();
    server.register(by_dns("partner-only", "partner")).await.unwrap();
    let corp = server.setup.corp.client_certificate().dns("billing.corp.example").issue();
    let partner = server.setup.partner.client_certificate().dns("billing.corp.example").issue();
    server.issue_as(&corp, "corp-only").await.unwrap();
    server.issue_as(&partner, "partner-only").await.unwrap();
    assert_refused(&server, &corp, "partner-only", "and the other way around").await;
    assert_refused(&server, &partner, "corp-only", "the right name from the wrong CA").await;
}

#[tokio::test]
async fn a_renewed_certificate_with_the_same_subject_needs_no_new_registration() {
    let server = TestServer::start().await;
    let client = Client { tls_client_auth_san_dns: "billing.corp.example".to_owned(), ..pki_client("billing") };
    server.register(client).await.unwrap();
    for _ in 0..2 {
        let leaf = server.setup.corp.client_certificate().dns("billing.corp.example").issue();
        server.issue_as(&leaf, "billing").await.unwrap();
    }
}

#[tokio::test]
async fn an_svid_authenticates_by_its_spiffe_id_as_a_uri_and_by_no_other_name() {
    let server = TestServer::start().await;
    let id = "spiffe://prod.example/checkout";
    let by_uri = spiffe_uri_client("checkout", id);
    server.register(by_uri.clone()).await.unwrap();
    let of_corp = Client { client_id: "of-corp".to_owned(), client_ca: "corp".to_owned(), ..by_uri };
    assert_eq!(reason_of(&server.register(of_corp).await.unwrap_err()), "INVALID_CLIENT_METADATA");
    let by_dns = Client { tls_client_auth_san_dns: "billing.corp.example".to_owned(), ..pki_client("billing") };
    server.register(by_dns).await.unwrap();
    let by_dn = Client { tls_client_auth_subject_dn: "CN=billing".to_owned(), ..pki_client("named") };
    server.register(by_dn).await.unwrap();
    let leaf = server.setup.ca.svid(id).dns("billing.corp.example").common_name("billing").issue();
    server.issue_as(&leaf, "checkout").await.unwrap();
    for (client_id, why) in
        [("billing", "its trust domain vouches for no host name"), ("named", "nor for a distinguished name")]
    {
        assert_refused(&server, &leaf, client_id, why).await;
    }
}

#[tokio::test]
async fn a_self_signed_certificate_authenticates_the_client_that_registered_it() {
    let server = TestServer::start().await;
    let [by_pem, by_jwks] = ["pem", "jwks"].map(|name| self_signed(name).issue());
    server.register(self_signed_client("pem", &by_pem.pem())).await.unwrap();
    let jwks = jwks_from_pem(&by_jwks.pem()).unwrap();
    let client = Client { jwks: jwks.to_string(), ..self_signed_client("jwks", "") };
    server.register(client).await.unwrap();
    for (leaf, client_id, other) in [(&by_pem, "pem", "jwks"), (&by_jwks, "jwks", "pem")] {
        let (_, claims) = opened(&server.issue_as(leaf, client_id).await.unwrap().access_token);
        assert_eq!((&claims["sub"], &claims["client_id"]), (&json!(client_id), &json!(client_id)));
        assert_refused(&server, leaf, other, "another client's certificate").await;
    }
}

#[tokio::test]
async fn a_client_with_two_self_signed_certificates_may_use_either() {
    let server = TestServer::start().await;
    let [old, new] = ["old", "new"].map(|name| self_signed(name).issue());
    let client = server.register(self_signed_client("ci", &(old.pem() + &new.pem()))).await.unwrap();
    server.issue_as(&old, "ci").await.unwrap();
    server.issue_as(&new, "ci").await.unwrap();
    let mut later = self_signed_client("ci", &new.pem());
    later.etag = client.etag;
    let mut channel = server.tokens(&old);
    server.update(later).await.unwrap();
    server.issue_as(&new, "ci").await.unwrap();
    let request = lanyard::proto::IssueTokenRequest { client_id: "ci".to_owned(), ..Default::default() };
    assert!(channel.issue_token(request).await.is_err(), "the old certificate is registered no longer");
}

#[tokio::test]
async fn another_self_signed_certificate_does_not_get_in_even_with_the_same_key_and_names() {
    let server = TestServer::start().await;
    let registered = self_signed("ci").issue();
    server.register(self_signed_client("ci", &registered.pem())).await.unwrap();
    let same_key = self_signed("ci").key(&registered.key).issue();
    assert_ne!(same_key.thumbprint(), registered.thumbprint());
    let error = server.issue_as(&same_key, "ci").await.unwrap_err();
    assert_eq!(reason_of(&error), "", "the handshake ends before anything of ours answers");
    server.issue_as(&registered, "ci").await.unwrap();
}

#[tokio::test]
async fn a_registered_self_signed_certificate_proves_none_of_its_names() {
    let server = with_another_client().await;
    let leaf = self_signed("billing").dns(OTHER).issue();
    server.register(self_signed_client("ci", &leaf.pem())).await.unwrap();
    let by_dn = Client { tls_client_auth_subject_dn: "CN=billing".to_owned(), ..pki_client("billing") };
    server.register(by_dn).await.unwrap();
    server.issue_as(&leaf, "ci").await.unwrap();
    assert_refused(&server, &leaf, "other", "a DNS name that nobody vouches for").await;
    assert_refused(&server, &leaf, "billing", "a subject that nobody vouches for").await;
}

#[tokio::test]
async fn a_client_ca_certificate_registered_as_it_is_stands_for_itself_only() {
    let server = TestServer::start().await;
    let [registered, renewed] = [(); 2].map(|()| server.setup.corp.client_certificate().dns("ci.corp.example").issue());
    server.register(self_signed_client("ci", &registered.pem())).await.unwrap();
    server.issue_as(&registered, "ci").await.unwrap();
    let refused = refusal(server.issue_as(&renewed, "ci").await);
    assert_eq!(refused, (Code::PermissionDenied, "WRONG_ROLE".to_owned()));
}

#[tokio::test]
async fn only_a_caller_with_an_svid_may_leave_the_client_id_out() {
    let server = with_another_client().await;
    let checkout = server.workload("/checkout").await;
    let (_, claims) = opened(&server.issue_as(&checkout, "").await.unwrap().access_token);
    assert_eq!(claims["client_id"], json!("spiffe://prod.example/checkout"));
    let ci = self_signed("ci").issue();
    server.register(self_signed_client("ci", &ci.pem())).await.unwrap();
    let other = server.setup.corp.client_certificate().dns(OTHER).issue();
    for leaf in [ci, other] {
        let refused = refusal(server.issue_as(&leaf, "").await);
        assert_eq!(refused, (Code::InvalidArgument, "INVALID_REQUEST".to_owned()));
    }
    for malformed in ["two words", "spiffe://prod.example", "SPIFFE://prod.example/checkout", "ü", "a\0b"] {
        let refused = refusal(server.issue_as(&checkout, malformed).await);
        assert_eq!(refused, (Code::InvalidArgument, "INVALID_REQUEST".to_owned()), "{malformed:?}");
    }
}

#[tokio::test]
async fn unregistered_peers_of_a_client_ca_or_trust_domain_are_no_clients() {
    let server = with_another_client().await;
    let stranger = server.setup.corp.client_certificate().dns("stranger.corp.example").issue();
    let refused = refusal(server.issue_as(&stranger, "other").await);
    assert_eq!(refused, (Code::PermissionDenied, "WRONG_ROLE".to_owned()));
    assert_refused(&server, &server.svid("/stranger"), "", "a workload, but no client").await;
    assert_refused(&server, &server.svid("/stranger"), "other", "nor another client").await;
}

#[tokio::test]
async fn who_is_not_registered_and_whose_certificate_is_wrong_are_told_the_same() {
    let server = with_another_client().await;
    let caller = server.svid("/stranger");
    let wrong = server.issue_as(&caller, "other").await.unwrap_err();
    let unknown = server.issue_as(&caller, "nobody").await.unwrap_err();
    assert_eq!(wrong.message(), unknown.message());
    let details = |status: &Status| {
        let mut info = status.get_details_error_info().unwrap();
        assert!(info.metadata.remove("reference").is_some_and(|reference| is_reference(&reference)));
        format!("{info:?}")
    };
    assert_eq!(details(&wrong), details(&unknown));
}
