//! Certificates and bundles from reports about neighbouring systems, as they are in `tests/it/cases`. They are valid until
//! 2026-11-30.

use std::fs;
use std::path::PathBuf;

use lanyard::authority::clock::Timestamp;
use lanyard::authority::identity::PeerIdentity;
use lanyard::authority::identity::Proof;
use lanyard::authority::trust::Anchors;
use lanyard::authority::trust::BundleDocument;
use lanyard::authority::trust::TrustBundles;
use lanyard::authority::trust::Unproven;
use lanyard::trust_sources::files;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use spiffe::TrustDomain;

use crate::support::authority::TestAuthority;
use crate::support::authority::pki_client;
use crate::support::server::in_crate;

/// 2026-11-29T12:00:00Z.
const THEN: Timestamp = Timestamp(1_795_953_600);

fn path(name: &str) -> PathBuf {
    in_crate("tests/it/cases").join(name)
}

fn read(name: &str) -> Vec<CertificateDer<'static>> {
    let text = fs::read(path(name)).unwrap();
    CertificateDer::pem_slice_iter(&text).map(Result::unwrap).collect()
}

/// The bundle of dev.test in a file, as the server reads it.
fn bundle(name: &str) -> TrustBundles {
    let config = files::Config {
        bundles: [(TrustDomain::new("dev.test").unwrap(), path(name))].into(),
        ..files::Config::default()
    };
    files::load(&config).unwrap().0
}

/// Proves a chain by the bundle in the same folder.
fn prove(case: &str, chain: &str) -> Result<PeerIdentity, Unproven> {
    let trust = bundle(&format!("{case}/bundle.pem"));
    trust.prove(&read(&format!("{case}/{chain}")), THEN, |_| false)
}

fn workload(proven: Result<PeerIdentity, Unproven>) {
    assert_eq!(proven.unwrap().to_string(), "spiffe://dev.test/workload");
}

#[test]
fn case_07_a_ca_that_is_limited_to_the_uris_of_its_trust_domain_issues_svids() {
    workload(prove("07-uri-name-constraint", "svid_and_chain.pem"));
}

#[test]
fn case_08_critical_policies_on_an_issuer_and_on_a_leaf_are_processed() {
    workload(prove("08-critical-policies", "issuer_has_it.pem"));
    workload(prove("08-critical-policies", "leaf_has_it.pem"));
}

#[test]
fn case_16_a_key_with_line_breaks_in_x5c_is_skipped_and_named() {
    let text = fs::read(path("16-x5c-with-line-breaks/jwks.json")).unwrap();
    let document = BundleDocument::parse(&text).unwrap();
    let skipped = document.skipped.to_string();
    assert_eq!(skipped, "key number 1 and use \"x509-svid\": x5c has line breaks or spaces in its base64");
    assert!(document.bundle.x509.is_empty());
}

#[test]
fn case_18_a_byte_order_mark_before_pem_is_passed_over() {
    let text = fs::read(path("18-bom/bundle.pem")).unwrap();
    assert!(text.starts_with(b"\xef\xbb\xbf"));
    assert_eq!(bundle("18-bom/bundle.pem").trust_domains.values().map(|bundle| bundle.x509.len()).sum::<usize>(), 1);
    assert_eq!(files::roots(&path("18-bom/bundle.pem")).unwrap().len(), 1);
}

#[test]
fn case_24_a_certificate_with_a_spiffe_id_and_another_uri_is_no_svid_and_nothing_else() {
    let case = "24-two-uris-from-a-corporate-ca";
    let client_cas = [("corp".to_owned(), Anchors::new(&read(&format!("{case}/corp.pem"))).unwrap())].into();
    let trust = TrustBundles { client_cas, ..TrustBundles::default() };
    let refused = trust.prove(&read(&format!("{case}/client.pem")), THEN, |_| true).unwrap_err();
    assert_eq!(refused, Unproven::SeveralUris);
    let page = fs::read_to_string(in_crate("docs/registrations.md")).unwrap();
    assert!(page.contains("refused with SEVERAL_URIS also for a client that is registered by"));
}

// X509-SVID section 3.1
#[test]
fn case_28_names_beside_an_empty_subject_are_critical() {
    workload(prove("28-empty-subject", "good.pem"));
    assert_eq!(prove("28-empty-subject", "not_critical.pem").unwrap_err(), Unproven::NamesNotCritical);
}

// RFC 5280 section 4.1.2.5
#[test]
fn case_29_a_certificate_without_an_end_is_valid() {
    workload(prove("29-year-9999", "svid.pem"));
}

#[test]
fn case_32_text_and_attributes_between_pem_blocks_are_passed_over() {
    let roots = |name: &str| bundle(name).trust_domains.into_values().next().unwrap().x509;
    assert_eq!(roots("32-pem-with-text/bundle.pem"), roots("18-bom/bundle.pem"));
    let whole = fs::read_to_string(path("32-pem-with-text/bundle.pem")).unwrap();
    let cut = tempfile::NamedTempFile::new().unwrap();
    fs::write(cut.path(), &whole[..whole.len() - 30]).unwrap();
    assert!(files::roots(cut.path()).is_err());
}

#[test]
fn case_33_an_ipv6_address_is_matched_by_its_value_in_any_spelling() {
    let ips = fs::read_to_string(path("33-ipv6-names/ips.txt")).unwrap();
    assert_eq!(ips.lines().count(), 3);
    for ip in ips.lines() {
        let fixture = TestAuthority::new();
        let mut client = pki_client("by-address");
        client.tls_client_auth_san_ip = Some(ip.to_owned());
        fixture.register(client);
        let leaf = |address: &str| fixture.partner.client_certificate().ip(address.parse().unwrap()).issue();
        assert!(fixture.issue(&fixture.peer(&leaf(ip)), "by-address").is_ok(), "{ip}");
        assert!(fixture.issue(&fixture.peer(&leaf("2001:db8::2")), "by-address").is_err(), "{ip}");
    }
}

#[test]
fn case_34_the_certificates_after_the_leaf_come_in_any_order() {
    let chain = read("34-chains/svid_and_chain_reversed.pem");
    let trust = bundle("34-chains/bundle.pem");
    workload(trust.prove(&chain, THEN, |_| false));
    let mut ordered = chain.clone();
    ordered[1..].reverse();
    workload(trust.prove(&ordered, THEN, |_| false));
    let twice = [&chain[..], &chain[1..]].concat();
    workload(trust.prove(&twice, THEN, |_| false));
    assert_eq!(trust.prove(&chain[..1], THEN, |_| false).unwrap_err(), Unproven::NoPath);
    // An anchor that is not self-signed.
    let anchors = Anchors::new(&chain[1..]).unwrap();
    let trust_domains = [(TrustDomain::new("dev.test").unwrap(), anchors.into())].into();
    let by_intermediates = TrustBundles { trust_domains, ..TrustBundles::default() };
    assert!(matches!(by_intermediates.prove(&chain[..1], THEN, |_| false).unwrap().proof(), Proof::Svid(_)));
}

// SPIFFE Trust Domain and Bundle section 4.2
#[test]
fn case_47_a_key_of_a_kind_to_come_is_passed_over_and_named() {
    let document = BundleDocument::parse(&fs::read(path("47-bundle-documents/bundle.json")).unwrap()).unwrap();
    assert_eq!(document.sequence, Some(1));
    assert_eq!(document.refresh_hint, Some(std::time::Duration::from_mins(5)));
    let skipped = document.skipped.to_string();
    assert!(skipped.starts_with("key number 1 with kid \"p\" and use \"jwt-svid\": "), "{skipped}");
}

#[test]
fn case_50_an_emptied_file_is_refused_as_a_whole() {
    let empty = tempfile::NamedTempFile::new().unwrap();
    let config =
        files::Config { client_cas: [("corp".to_owned(), empty.path().to_owned())].into(), ..files::Config::default() };
    let error = files::load(&config).unwrap_err().to_string();
    assert!(error.ends_with("holds no PEM certificates, or broken ones"), "{error}");
    fs::write(empty.path(), fs::read(path("32-pem-with-text/bundle.pem")).unwrap()).unwrap();
    assert!(files::load(&config).is_ok());
}
