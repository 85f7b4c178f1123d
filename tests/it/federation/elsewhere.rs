//! Bundle endpoints that redirect, or that are in another trust domain than the bundle that they serve (SPIFFE
//! Federation section 5.2).

use std::fs;

use crate::support::bundle::Federated;
use crate::support::bundle::PARTNER;
use crate::support::bundle::document;
use crate::support::bundle::endpoint;
use crate::support::ca::TestCa;
use crate::support::publisher::Publisher;

const BUNDLES: &str = "spiffe://prod.example/bundles";

// SPIFFE Federation section 5.2.1
#[tokio::test]
async fn a_redirect_to_a_listed_host_is_followed_if_that_is_authenticated_and_never_kept() {
    let (partner, web) = (TestCa::new(PARTNER), TestCa::new("web"));
    let (listed, another) = (Publisher::start(&web).await, Publisher::start(&web).await);
    let certificate = web.server_certificate("localhost").issue();
    let profile = format!("profile: https_web, ca: web.pem, redirect_hosts: ['{}']", listed.host());
    let federated = Federated::with(&profile, partner, web, certificate, b"").await;
    let next = TestCa::new(PARTNER);
    let redirected = async |location: &str| {
        federated.publisher.redirect(location);
        federated.server.server.refresh_federation().await;
    };
    another.answer(200, "", &document(&[&next], 9));
    for refused in [another.uri(), format!("http://{}/", listed.host()), "https://localhost:1/".to_owned()] {
        redirected(&refused).await;
        assert!(federated.partner().is_err(), "{refused}");
    }
    assert_eq!((listed.connections(), another.connections()), (0, 0));

    listed.answer(200, "", &document(&[&federated.partner], 1));
    redirected(&listed.uri()).await;
    assert_eq!(federated.partner(), Ok(()));
    // From the host that redirects, to one that is not listed.
    listed.redirect(&another.uri());
    redirected(&listed.uri()).await;
    // A host with a certificate of another CA.
    listed.show(&TestCa::new("web").server_certificate("localhost").issue());
    listed.answer(200, "", &document(&[&next], 9));
    redirected(&listed.uri()).await;
    assert_eq!((federated.partner(), another.connections()), (Ok(()), 0));
    // The next fetch begins at the configured URL.
    federated.publish(&document(&[&next], 2)).await;
    assert_eq!(federated.prove(&next, "spiffe://partner.example/shop"), Ok(()));
}

#[tokio::test]
async fn redirects_that_do_not_end_are_given_up() {
    let federated = Federated::by_web().await;
    federated.publisher.redirect(&federated.publisher.uri());
    let before = federated.publisher.connections();
    federated.server.server.refresh_federation().await;
    assert!((4..=8).contains(&(federated.publisher.connections() - before)), "one fetch, or one more at the start");
    assert!(federated.partner().is_err());
    // On its own host the endpoint may redirect without being listed.
    federated.publisher.redirect_once(&federated.publisher.uri());
    federated.publisher.answer(200, "", &document(&[&federated.partner], 1));
    federated.server.server.refresh_federation().await;
    assert_eq!(federated.partner(), Ok(()));
}

// SPIFFE Federation section 5.2.2
#[tokio::test]
async fn an_endpoint_of_another_trust_domain_is_authenticated_by_the_bundle_that_is_known_of_that() {
    let partner = TestCa::new(PARTNER);
    let profile = format!("profile: https_spiffe, endpoint_spiffe_id: '{BUNDLES}'");
    let certificate = endpoint(&partner).issue();
    let federated = Federated::with(&profile, partner, TestCa::new("web"), certificate, b"").await;
    let served = document(&[&federated.partner], 1);
    let setup = &federated.server.setup;
    for (stranger, who) in [
        (endpoint(&federated.partner).issue(), "of the trust domain itself"),
        (federated.partner.svid(BUNDLES).issue(), "under the roots of the bundle that it serves"),
        (setup.ca.svid("spiffe://prod.example/other").issue(), "with another SPIFFE ID"),
        (setup.other_ca.svid(BUNDLES).issue(), "under the roots of a third trust domain"),
    ] {
        federated.publisher.show(&stranger);
        federated.publish(&served).await;
        assert!(federated.partner().is_err(), "{who}");
    }
    federated.publisher.show(&setup.ca.svid(BUNDLES).issue());
    federated.publish(&served).await;
    assert_eq!(federated.partner(), Ok(()));

    // The roots of the endpoint's trust domain change: the next fetch goes by the new ones.
    let (new_roots, next) = (TestCa::new("prod.example"), TestCa::new(PARTNER));
    fs::write(setup.path("ca.pem"), new_roots.pem()).unwrap();
    federated.server.server.reload();
    federated.publish(&document(&[&next], 2)).await;
    assert_eq!(federated.partner(), Ok(()));
    federated.publisher.show(&new_roots.svid(BUNDLES).issue());
    federated.publish(&document(&[&next], 2)).await;
    assert!(federated.partner().is_err());
    assert_eq!(federated.prove(&next, "spiffe://partner.example/shop"), Ok(()));
}

// SPIFFE Federation section 5.2.2: where the other trust domain is not known here, a file has its roots.
#[tokio::test]
async fn the_roots_of_the_endpoints_trust_domain_may_come_from_a_file_and_stay_those() {
    let (partner, host) = (TestCa::new(PARTNER), TestCa::new("host.example"));
    let certificate = host.svid("spiffe://host.example/bundles").issue();
    let profile =
        "profile: https_spiffe, endpoint_spiffe_id: 'spiffe://host.example/bundles', bundle: web.pem".to_owned();
    // `with` writes the second CA to web.pem.
    let federated = Federated::with(&profile, partner, host, certificate, b"").await;
    for sequence in 1..3 {
        federated.publish(&document(&[&federated.partner], sequence)).await;
        assert_eq!(federated.partner(), Ok(()));
    }
    // What is fetched does not authenticate the endpoint, and the file vouches for no client.
    federated.publisher.show(&federated.partner.svid("spiffe://host.example/bundles").issue());
    federated.publish(&document(&[&TestCa::new(PARTNER)], 3)).await;
    assert_eq!(federated.partner(), Ok(()));
    assert!(federated.prove(&federated.web, "spiffe://host.example/bundles").is_err());
}
