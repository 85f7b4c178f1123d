//! What `lanyard doctor` finds in certificates, keys, bundles and client CAs.

use std::fs;
use std::time::Duration;

use lanyard::authority::clock::Timestamp;

use crate::support::ca::TestCa;
use crate::support::ca::self_signed;
use crate::support::doctor::DoctorFixture;
use crate::support::doctor::HOST;
use crate::support::doctor::LANYARD;
use crate::support::leaf::LeafBuilder;

const DAY: u64 = 24 * 60 * 60;

/// What the doctor says of a server that presents this certificate.
#[track_caller]
fn presenting(code: &str, certificate: impl Fn(&DoctorFixture) -> LeafBuilder<'_>) {
    let fixture = DoctorFixture::new();
    fixture.present(&certificate(&fixture).issue());
    fixture.seen().only(code);
    fixture.present(&fixture.certificate().issue());
    fixture.seen().healthy();
}

#[test]
fn an_expired_server_certificate_is_found() {
    presenting("SERVER_CERTIFICATE_EXPIRED", |fixture| fixture.certificate().expired());
}

#[test]
fn a_server_certificate_of_the_future_is_found() {
    let ahead = Duration::from_hours(1);
    presenting("SERVER_CERTIFICATE_NOT_YET_VALID", |fixture| {
        fixture.certificate().between(fixture.now.after(ahead), fixture.now.after(2 * ahead))
    });
}

#[test]
fn a_server_certificate_near_its_end_is_warned_of() {
    let fixture = DoctorFixture::new();
    let ends_after = |days: u64| {
        let now = fixture.now.0;
        fixture.certificate().between(Timestamp(now - 70 * DAY), Timestamp(now + days * DAY)).issue()
    };
    fixture.present(&ends_after(13));
    fixture.seen().only_warns("SERVER_CERTIFICATE_EXPIRES_SOON");
    fixture.present(&ends_after(20));
    fixture.seen().healthy();
}

#[test]
fn two_uri_names_beside_a_spiffe_id_are_found() {
    presenting("SERVER_CERTIFICATE_SEVERAL_URIS", |fixture| fixture.certificate().two_uris());
    presenting("SERVER_CERTIFICATE_SEVERAL_URIS", |fixture| fixture.certificate().uri("https://lanyard.prod.example"));
}

#[test]
fn a_uri_name_that_is_no_spiffe_id_of_a_workload_is_found() {
    presenting("SERVER_CERTIFICATE_SPIFFE_ID_INVALID", |fixture| {
        fixture.intermediate.svid("spiffe://prod.example").dns(HOST)
    });
}

#[test]
fn a_certificate_that_may_not_serve_is_found() {
    presenting("SERVER_CERTIFICATE_KEY_USAGE", |fixture| fixture.certificate().eku_client_only());
    presenting("SERVER_CERTIFICATE_KEY_USAGE", |fixture| fixture.certificate().with_key_cert_sign());
    presenting("SERVER_CERTIFICATE_KEY_USAGE", |fixture| {
        fixture.intermediate.client_certificate().dns(HOST).eku_client_only()
    });
}

#[test]
fn a_certificate_without_the_name_under_which_clients_come_is_found() {
    let other = "another.prod.example";
    presenting("SERVER_CERTIFICATE_NAME_MISSING", |fixture| fixture.intermediate.svid(LANYARD).dns(other));
    presenting("SERVER_CERTIFICATE_NAME_MISSING", |fixture| fixture.intermediate.client_certificate().dns(other));
    let fixture = DoctorFixture::new();
    fixture.present(&fixture.intermediate.svid(LANYARD).dns("*.prod.example").issue());
    fixture.seen().healthy();
    // Where another name is for the mTLS listener alone, somebody else may serve the issuer's.
    fixture.add(&format!("mtls_url: https://{other}:8443"));
    fixture.seen().healthy();
    fixture.present(&fixture.intermediate.svid(LANYARD).dns(other).issue());
    fixture.seen().only_warns("SERVER_CERTIFICATE_ISSUER_NOT_NAMED");
    fixture.present(&fixture.intermediate.svid(LANYARD).issue());
    fixture.seen().only_warns("SERVER_CERTIFICATE_WITHOUT_HOST_NAMES");
}

#[test]
fn a_key_that_is_not_the_certificates_is_found() {
    let fixture = DoctorFixture::new();
    let another = fixture.certificate().issue();
    fixture.write("server-key.pem", &another.key_pem());
    fixture.seen().only("SERVER_KEY_MISMATCH");
    fixture.write("server-key.pem", &another.pem());
    fixture.seen().only("SERVER_KEY_INVALID");
    fs::remove_file(fixture.path("server-key.pem")).unwrap();
    fixture.seen().only("SERVER_KEY_UNREADABLE");
}

#[test]
fn a_chain_that_is_not_whole_is_found() {
    let fixture = DoctorFixture::new();
    let leaf = fixture.certificate().issue();
    fixture.present(&leaf);
    fixture.seen().healthy();
    fixture.write("server.pem", &leaf.pem());
    fixture.seen().only("SERVER_CERTIFICATE_CHAIN_INCOMPLETE");
    // One between the two is left out.
    let below = fixture.intermediate.intermediate("further below");
    let leaf = below.svid(LANYARD).dns(HOST).issue();
    fixture.present(&leaf);
    fixture.seen().healthy();
    fixture.write("server.pem", &[leaf.pem(), fixture.intermediate.pem()].concat());
    fixture.seen().only("SERVER_CERTIFICATE_CHAIN_INCOMPLETE");
    // Another one of the same name.
    let stranger = TestCa::at("prod.example", fixture.now).intermediate("below").svid(LANYARD).dns(HOST).issue();
    fixture.present(&stranger);
    fixture.seen().only("SERVER_CERTIFICATE_CHAIN_INCOMPLETE");
}

#[test]
fn a_chain_in_another_order_is_found() {
    let fixture = DoctorFixture::new();
    let below = fixture.intermediate.intermediate("further below");
    let leaf = below.svid(LANYARD).dns(HOST).issue();
    fixture.present(&leaf);
    let crossed = [leaf.pem(), fixture.intermediate.pem(), below.pem()].concat();
    fixture.write("server.pem", &crossed);
    fixture.seen().only("SERVER_CERTIFICATE_CHAIN_ORDER");
    // The root at the end is not needed, and does no harm.
    fixture.write("server.pem", &[leaf.chain_pem(), fixture.ca.pem()].concat());
    fixture.seen().healthy();
}

#[test]
fn a_certificate_file_that_holds_none_is_found() {
    let fixture = DoctorFixture::new();
    fixture.write("server.pem", "");
    fixture.seen().only("SERVER_CERTIFICATE_INVALID");
    fixture.write("server.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    fixture.seen().only("SERVER_CERTIFICATE_INVALID");
    fs::remove_file(fixture.path("server.pem")).unwrap();
    fixture.seen().only("SERVER_CERTIFICATE_UNREADABLE");
}

#[test]
fn bundles_and_client_cas_that_cannot_be_read_are_found() {
    for (file, check) in [("other.pem", "bundle"), ("corp.pem", "client_ca")] {
        let fixture = DoctorFixture::new();
        let found = |code: &str| {
            let seen = fixture.seen();
            seen.only(code);
            assert_eq!(seen.checks("error"), [check]);
        };
        fixture.write(file, " \n");
        found("ROOTS_EMPTY");
        fixture.write(file, "nothing\n");
        found("ROOTS_INVALID");
        fixture.write(file, &fixture.certificate().issue().pem());
        found("ROOTS_INVALID");
        fs::remove_file(fixture.path(file)).unwrap();
        found("ROOTS_UNREADABLE");
        // As Kubernetes leaves it where a file of a ConfigMap is not there.
        fs::create_dir(fixture.path(file)).unwrap();
        found("ROOTS_UNREADABLE");
    }
}

#[test]
fn an_expired_root_is_found_and_one_beside_a_valid_root_is_warned_of() {
    let fixture = DoctorFixture::new();
    let now = fixture.now.0;
    let root = |from: u64, to: u64| self_signed("root").between(Timestamp(from), Timestamp(to)).issue().pem();
    let expired = root(now - 400 * DAY, now - DAY);
    let fresh = root(now - DAY, now + 400 * DAY);
    fixture.write("other.pem", &expired);
    fixture.seen().only("ROOT_EXPIRED");
    fixture.write("other.pem", &[expired, fresh.clone()].concat());
    fixture.seen().only_warns("ROOT_EXPIRED_LEFT");
    fixture.write("other.pem", &root(now - 400 * DAY, now + 29 * DAY));
    fixture.seen().only_warns("ROOT_EXPIRES_SOON");
    fixture.write("other.pem", &root(now + DAY, now + 400 * DAY));
    fixture.seen().only_warns("ROOT_NOT_YET_VALID");
    fixture.write("other.pem", &[fresh.clone(), fresh.clone()].concat());
    fixture.seen().only_warns("ROOT_DUPLICATE");
    fixture.write("other.pem", &fresh);
    fixture.seen().healthy();
}

#[test]
fn a_root_of_two_trust_domains_is_warned_of() {
    let fixture = DoctorFixture::new();
    fixture.write("other.pem", &fixture.ca.pem());
    fixture.seen().only_warns("ROOT_SHARED");
    fixture.write("other.pem", &TestCa::at("other.example", fixture.now).pem());
    // A client CA names no trust domain.
    fixture.write("corp.pem", &fixture.ca.pem());
    fixture.seen().healthy();
}
