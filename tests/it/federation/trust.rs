//! Which server is believed to be a trust domain's bundle endpoint, and how much of what it says is read.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use lanyard::authority::clock::ManualClock;
use lanyard::authority::registration::AllowedHosts;
use lanyard::authority::registration::JwksUri;
use lanyard::authority::trust::Anchors;
use lanyard::authority::trust::BundleDocument;
use lanyard::authority::trust::MAX_BUNDLE_DOCUMENT_BYTES;
use lanyard::tls::outbound;
use lanyard::trust_sources::bundle_endpoint::BundleEndpoint;
use lanyard::trust_sources::bundle_endpoint::Config;
use lanyard::trust_sources::bundle_endpoint::EndpointRoots;
use lanyard::trust_sources::bundle_endpoint::Profile;
use lanyard::trust_sources::bundle_endpoint::RefreshError;
use lanyard::trust_sources::https::FetchError;
use serde_json::json;
use spiffe::SpiffeId;
use spiffe::TrustDomain;
use tempfile::TempDir;

use crate::support::NOW;
use crate::support::bundle::ENDPOINT;
use crate::support::bundle::PARTNER;
use crate::support::bundle::document;
use crate::support::bundle::endpoint;
use crate::support::bundle::root;
use crate::support::ca::TestCa;
use crate::support::ca::self_signed;
use crate::support::door::within;
use crate::support::leaf::Leaf;
use crate::support::publisher::Publisher;

fn config(publisher: &Publisher, profile: Profile, max_age: Duration) -> Config {
    let url = JwksUri::parse(&publisher.uri()).unwrap();
    let redirect_hosts = AllowedHosts::default();
    Config { trust_domain: TrustDomain::new(PARTNER).unwrap(), url, redirect_hosts, profile, max_age }
}

/// Trusts this CA of the web.
fn by_web(publisher: &Publisher, web: &TestCa, max_age: Duration) -> BundleEndpoint {
    let dir = TempDir::new().unwrap();
    let ca = dir.path().join("web.pem");
    std::fs::write(&ca, web.pem()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let clock = Arc::new(ManualClock::new(NOW));
    let tls = outbound::config(Some(&ca), provider, Arc::clone(&clock) as Arc<_>).unwrap();
    let config = config(publisher, Profile::HttpsWeb { ca: None }, max_age);
    BundleEndpoint::new(&config, Arc::new(tls), clock, Arc::new(ArcSwap::<Anchors>::default()))
}

/// Trusts the server with the SPIFFE ID [`ENDPOINT`] under this CA.
fn by_spiffe(publisher: &Publisher, partner: &TestCa) -> BundleEndpoint {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let clock = Arc::new(ManualClock::new(NOW));
    let latest = Arc::new(ArcSwap::from_pointee(partner.anchors()));
    let endpoint_spiffe_id = SpiffeId::new(ENDPOINT).unwrap();
    let time = Arc::clone(&clock) as Arc<_>;
    let tls = outbound::svid_config(endpoint_spiffe_id.clone(), Arc::clone(&latest), provider, time).unwrap();
    let profile = Profile::HttpsSpiffe { endpoint_spiffe_id, roots: EndpointRoots::Fetched("unread".into()) };
    let config = config(publisher, profile, Duration::from_hours(1));
    BundleEndpoint::new(&config, Arc::new(tls), clock, latest)
}

async fn refused(endpoint: &BundleEndpoint) -> FetchError {
    match within(endpoint.refresh()).await {
        Err(RefreshError::Fetch(error)) => error,
        other => panic!("{other:?}"),
    }
}

/// The publisher shows each of these, none of which is believed, and no request is sent.
async fn assert_none_is_believed(publisher: &Publisher, endpoint: &BundleEndpoint, leaves: Vec<(&str, Leaf)>) {
    for (what, leaf) in leaves {
        let before = publisher.requests().len();
        publisher.show(&leaf);
        let error = refused(endpoint).await;
        assert!(matches!(error, FetchError::Connection(_)), "{what}: {error:?}");
        assert_eq!(publisher.requests().len(), before, "{what}");
    }
    assert_eq!(endpoint.bundle(), None);
}

// SPIFFE Federation section 5.2.2; X509-SVID sections 2, 3.1, 3.2, 4.1, 4.3, 4.4, 5.1 and 5.2
#[tokio::test]
async fn an_https_spiffe_endpoint_needs_the_configured_id_under_its_own_trust_domain() {
    let (partner, web) = (TestCa::new(PARTNER), TestCa::new("web"));
    let publisher = Publisher::showing(&endpoint(&partner).issue()).await;
    publisher.answer(200, "", &document(&[&partner], 1));
    let bundle_endpoint = by_spiffe(&publisher, &partner);
    let other = |id: &str| partner.svid(id).dns("localhost").issue();
    let leaves = vec![
        ("another workload", other("spiffe://partner.example/spire/other")),
        ("a longer path", other(&format!("{ENDPOINT}/more"))),
        ("the trust domain itself", other("spiffe://partner.example")),
        ("another trust domain", other("spiffe://other.example/spire/bundle-endpoint")),
        ("a second URI", partner.svid(ENDPOINT).uri("https://localhost").issue()),
        ("another CA of the same name", endpoint(&TestCa::new(PARTNER)).issue()),
        ("a CA of the web", web.svid(ENDPOINT).dns("localhost").issue()),
        ("a web certificate", web.server_certificate("localhost").issue()),
        ("a web certificate of the trust domain's CA", partner.server_certificate("localhost").issue()),
        ("the SPIFFE ID as a common name", partner.server_certificate("localhost").common_name(ENDPOINT).issue()),
        ("self-signed", self_signed("localhost").uri(ENDPOINT).dns("localhost").issue()),
        ("a CA", partner.svid(ENDPOINT).ca_leaf().issue()),
        ("for clients only", partner.svid(ENDPOINT).eku_client_only().issue()),
        ("no digitalSignature", partner.svid(ENDPOINT).without_digital_signature().issue()),
        ("expired", partner.svid(ENDPOINT).expired().issue()),
        ("not yet valid", partner.svid(ENDPOINT).not_yet_valid().issue()),
    ];
    assert_none_is_believed(&publisher, &bundle_endpoint, leaves).await;
    for leaf in [endpoint(&partner).issue(), partner.intermediate("below").svid(ENDPOINT).without_eku().issue()] {
        publisher.show(&leaf);
        within(bundle_endpoint.refresh()).await.unwrap();
    }
}

// SPIFFE Federation section 5.2.1; draft-ietf-oauth-spiffe-client-auth section 6.2.3
#[tokio::test]
async fn an_https_web_endpoint_is_trusted_by_its_host_name_and_never_by_an_svid() {
    let (partner, web) = (TestCa::new(PARTNER), TestCa::new("web"));
    let publisher = Publisher::named(&web, "localhost").await;
    publisher.answer(200, "", &document(&[&partner], 1));
    let bundle_endpoint = by_web(&publisher, &web, Duration::from_hours(1));
    let leaves = vec![
        ("an SVID", endpoint(&partner).issue()),
        ("an SVID with the host's name", endpoint(&partner).dns("localhost").issue()),
        ("an SVID of the web's CA", endpoint(&web).issue()),
        ("another host", web.server_certificate("other.example").issue()),
        ("another CA", TestCa::new("web").server_certificate("localhost").issue()),
        ("expired", web.client_certificate().dns("localhost").expired().issue()),
    ];
    assert_none_is_believed(&publisher, &bundle_endpoint, leaves).await;
    publisher.show(&web.server_certificate("localhost").issue());
    assert!(within(bundle_endpoint.refresh()).await.unwrap().changed);
    // The same again is no change.
    assert!(!within(bundle_endpoint.refresh()).await.unwrap().changed);
}

// SPIFFE Federation section 5.2.1
#[tokio::test]
async fn a_redirect_to_a_host_that_is_not_listed_is_not_followed_and_no_answer_but_200_is_read() {
    let web = TestCa::new("web");
    let publisher = Publisher::named(&web, "localhost").await;
    let elsewhere = Publisher::named(&web, "localhost").await;
    elsewhere.answer(200, "", &document(&[&web], 1));
    let endpoint = by_web(&publisher, &web, Duration::from_hours(1));
    publisher.redirect(&elsewhere.uri());
    assert!(matches!(refused(&endpoint).await, FetchError::Redirect));
    publisher.redirect(&publisher.uri());
    assert!(matches!(refused(&endpoint).await, FetchError::Redirect));
    assert_eq!(elsewhere.connections(), 0);
    for status in [204, 304, 404, 500] {
        publisher.answer(status, "", &document(&[&web], 1));
        assert!(matches!(refused(&endpoint).await, FetchError::Status(_)), "{status}");
    }
    assert_eq!(endpoint.bundle(), None);
}

#[tokio::test]
async fn no_more_than_the_bound_is_read_of_a_document() {
    let web = TestCa::new("web");
    let publisher = Publisher::named(&web, "localhost").await;
    let endpoint = by_web(&publisher, &web, Duration::from_hours(1));
    let mut large = document(&[&web], 1);
    large.resize(MAX_BUNDLE_DOCUMENT_BYTES + 1, b' ');
    publisher.answer(200, "", &large);
    assert!(matches!(refused(&endpoint).await, FetchError::Body));
    publisher.answer_without_end();
    assert!(matches!(refused(&endpoint).await, FetchError::Body));
    large.truncate(MAX_BUNDLE_DOCUMENT_BYTES);
    publisher.answer(200, "", &large);
    assert!(within(endpoint.refresh()).await.unwrap().changed);
}

#[tokio::test]
async fn nothing_but_the_url_is_sent_to_an_endpoint() {
    let web = TestCa::new("web");
    let publisher = Publisher::named(&web, "localhost").await;
    let endpoint = by_web(&publisher, &web, Duration::from_hours(1));
    within(endpoint.refresh()).await.unwrap();
    let expected = format!(
        "GET /jwks.json HTTP/1.1\r\nhost: {}\r\naccept: application/jwk-set+json, application/json\r\n\r\n",
        publisher.host()
    );
    assert_eq!(publisher.requests(), [expected]);
}

// SPIFFE Federation sections 4.1, 4.2 and 6.2
#[tokio::test]
async fn the_refresh_hint_is_followed_within_bounds_that_let_some_fetches_fail() {
    let web = TestCa::new("web");
    let publisher = Publisher::named(&web, "localhost").await;
    let secs = Duration::from_secs;
    for (max_age, hint, interval) in [
        (Duration::from_hours(4), None, secs(300)),
        (Duration::from_hours(4), Some(0), secs(300)),
        (Duration::from_hours(4), Some(1), secs(1)),
        (Duration::from_hours(4), Some(77), secs(77)),
        (Duration::from_hours(4), Some(3600), secs(3600)),
        (Duration::from_hours(4), Some(3601), secs(3600)),
        (Duration::from_hours(400), Some(u64::MAX), secs(3600)),
        (Duration::from_hours(1), Some(3600), secs(900)),
        (Duration::from_mins(4), None, secs(60)),
        (Duration::from_mins(4), Some(u64::MAX), secs(60)),
    ] {
        let endpoint = by_web(&publisher, &web, max_age);
        assert_eq!(endpoint.interval(), secs(300).min(max_age / 4), "before the first document");
        let mut document = json!({"keys": [root(&web)]});
        if let Some(hint) = hint {
            document["spiffe_refresh_hint"] = json!(hint);
        }
        publisher.answer(200, "", document.to_string().as_bytes());
        within(endpoint.refresh()).await.unwrap();
        assert_eq!(endpoint.interval(), interval, "{max_age:?} {hint:?}");
        // A fetch that fails is made up for at the next interval.
        publisher.answer(500, "", b"");
        assert!(within(endpoint.refresh()).await.is_err());
        assert_eq!(endpoint.interval(), interval, "{max_age:?} {hint:?}");
    }
}

#[tokio::test]
async fn an_earlier_document_from_the_store_does_not_come_back_after_the_present_one_was_ended() {
    let [old, next, web] = [PARTNER, PARTNER, "web"].map(TestCa::new);
    let publisher = Publisher::start(&web).await;
    let endpoint = by_web(&publisher, &web, Duration::from_hours(1));
    let of = |ca: &TestCa, sequence| BundleDocument::parse(&document(&[ca], sequence)).unwrap();
    let ago = |seconds| NOW.before(Duration::from_secs(seconds));
    assert!(endpoint.adopt(&of(&old, 5), ago(3)) && endpoint.adopt(&of(&next, 6), ago(2)));
    endpoint.expire();
    assert_eq!(endpoint.in_effect_since(), None);
    assert!(!endpoint.adopt(&of(&old, 7), ago(3)), "it is earlier");
    assert!(!endpoint.adopt(&of(&old, 5), ago(1)), "its sequence is lower");
    assert_eq!(endpoint.in_effect_since(), None);
    assert!(endpoint.adopt(&of(&next, 6), ago(1)));
    assert_eq!(endpoint.in_effect_since(), Some(ago(1)));

    // The publisher itself may begin anew.
    endpoint.expire();
    publisher.answer(200, "", &document(&[&old], 1));
    assert!(within(endpoint.refresh()).await.unwrap().changed);
    assert_eq!(endpoint.in_effect_since(), Some(NOW));
}
