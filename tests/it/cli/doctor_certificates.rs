//! What `lanyard doctor` finds in certificates, keys, bundles and client CAs.

use std::fs;
use std::time::Duration;

use lanyard::authority::clock::Timestamp;

use crate::support::ca::TestCa;
use crate::support::ca::self_signed;
use crate::support::leaf::LeafBuilder;
use crate::support::patient::HOST;
use crate::support::patient::LANYARD;
use crate::support::patient::Patient;

const DAY: u64 = 24 * 60 * 60;

/// What the doctor says of a server that presents this certificate.
#[track_caller]
fn presenting(code: &str, certificate: impl Fn(&Patient) -> LeafBuilder<'_>) {
    let patient = Patient::new();
    patient.present(&certificate(&patient).issue());
    patient.seen().only(code);
    patient.present(&patient.certificate().issue());
    patient.seen().healthy();
}

#[test]
fn an_expired_server_certificate_is_found() {
    presenting("SERVER_CERTIFICATE_EXPIRED", |patient| patient.certificate().expired());
}

#[test]
fn a_server_certificate_of_the_future_is_found() {
    let ahead = Duration::from_hours(1);
    presenting("SERVER_CERTIFICATE_NOT_YET_VALID", |patient| {
        patient.certificate().between(patient.now.after(ahead), patient.now.after(2 * ahead))
    });
}

#[test]
fn a_server_certificate_near_its_end_is_warned_of() {
    let patient = Patient::new();
    let ends_after = |days: u64| {
        let now = patient.now.0;
        patient.certificate().between(Timestamp(now - 70 * DAY), Timestamp(now + days * DAY)).issue()
    };
    patient.present(&ends_after(13));
    patient.seen().only_warns("SERVER_CERTIFICATE_EXPIRES_SOON");
    patient.present(&ends_after(20));
    patient.seen().healthy();
}

#[test]
fn two_uri_names_beside_a_spiffe_id_are_found() {
    presenting("SERVER_CERTIFICATE_SEVERAL_URIS", |patient| patient.certificate().two_uris());
    presenting("SERVER_CERTIFICATE_SEVERAL_URIS", |patient| patient.certificate().uri("https://lanyard.prod.example"));
}

#[test]
fn a_uri_name_that_is_no_spiffe_id_of_a_workload_is_found() {
    presenting("SERVER_CERTIFICATE_SPIFFE_ID_INVALID", |patient| {
        patient.intermediate.svid("spiffe://prod.example").dns(HOST)
    });
}

#[test]
fn a_certificate_that_may_not_serve_is_found() {
    presenting("SERVER_CERTIFICATE_KEY_USAGE", |patient| patient.certificate().eku_client_only());
    presenting("SERVER_CERTIFICATE_KEY_USAGE", |patient| patient.certificate().with_key_cert_sign());
    presenting("SERVER_CERTIFICATE_KEY_USAGE", |patient| {
        patient.intermediate.client_certificate().dns(HOST).eku_client_only()
    });
}

#[test]
fn a_certificate_without_the_name_under_which_clients_come_is_found() {
    let other = "another.prod.example";
    presenting("SERVER_CERTIFICATE_NAME_MISSING", |patient| patient.intermediate.svid(LANYARD).dns(other));
    presenting("SERVER_CERTIFICATE_NAME_MISSING", |patient| patient.intermediate.client_certificate().dns(other));
    let patient = Patient::new();
    patient.present(&patient.intermediate.svid(LANYARD).dns("*.prod.example").issue());
    patient.seen().healthy();
    // Where another name is for the mTLS listener alone, somebody else may serve the issuer's.
    patient.add(&format!("mtls_url: https://{other}:8443"));
    patient.seen().healthy();
    patient.present(&patient.intermediate.svid(LANYARD).dns(other).issue());
    patient.seen().only_warns("SERVER_CERTIFICATE_ISSUER_NOT_NAMED");
    patient.present(&patient.intermediate.svid(LANYARD).issue());
    patient.seen().only_warns("SERVER_CERTIFICATE_WITHOUT_HOST_NAMES");
}

#[test]
fn a_key_that_is_not_the_certificates_is_found() {
    let patient = Patient::new();
    let another = patient.certificate().issue();
    patient.write("server-key.pem", &another.key_pem());
    patient.seen().only("SERVER_KEY_MISMATCH");
    patient.write("server-key.pem", &another.pem());
    patient.seen().only("SERVER_KEY_INVALID");
    fs::remove_file(patient.path("server-key.pem")).unwrap();
    patient.seen().only("SERVER_KEY_UNREADABLE");
}

#[test]
fn a_chain_that_is_not_whole_is_found() {
    let patient = Patient::new();
    let leaf = patient.certificate().issue();
    patient.present(&leaf);
    patient.seen().healthy();
    patient.write("server.pem", &leaf.pem());
    patient.seen().only("SERVER_CERTIFICATE_CHAIN_INCOMPLETE");
    // One between the two is left out.
    let below = patient.intermediate.intermediate("further below");
    let leaf = below.svid(LANYARD).dns(HOST).issue();
    patient.present(&leaf);
    patient.seen().healthy();
    patient.write("server.pem", &[leaf.pem(), patient.intermediate.pem()].concat());
    patient.seen().only("SERVER_CERTIFICATE_CHAIN_INCOMPLETE");
    // Another one of the same name.
    let stranger = TestCa::at("prod.example", patient.now).intermediate("below").svid(LANYARD).dns(HOST).issue();
    patient.present(&stranger);
    patient.seen().only("SERVER_CERTIFICATE_CHAIN_INCOMPLETE");
}

#[test]
fn a_chain_in_another_order_is_found() {
    let patient = Patient::new();
    let below = patient.intermediate.intermediate("further below");
    let leaf = below.svid(LANYARD).dns(HOST).issue();
    patient.present(&leaf);
    let crossed = [leaf.pem(), patient.intermediate.pem(), below.pem()].concat();
    patient.write("server.pem", &crossed);
    patient.seen().only("SERVER_CERTIFICATE_CHAIN_ORDER");
    // The root at the end is not needed, and hinders nobody.
    patient.write("server.pem", &[leaf.chain_pem(), patient.ca.pem()].concat());
    patient.seen().healthy();
}

#[test]
fn a_certificate_file_that_holds_none_is_found() {
    let patient = Patient::new();
    patient.write("server.pem", "");
    patient.seen().only("SERVER_CERTIFICATE_INVALID");
    patient.write("server.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    patient.seen().only("SERVER_CERTIFICATE_INVALID");
    fs::remove_file(patient.path("server.pem")).unwrap();
    patient.seen().only("SERVER_CERTIFICATE_UNREADABLE");
}

#[test]
fn bundles_and_client_cas_that_cannot_be_read_are_found() {
    for (file, check) in [("other.pem", "bundle"), ("corp.pem", "client_ca")] {
        let patient = Patient::new();
        let found = |code: &str| {
            let seen = patient.seen();
            seen.only(code);
            assert_eq!(seen.checks("error"), [check]);
        };
        patient.write(file, " \n");
        found("ROOTS_EMPTY");
        patient.write(file, "nothing\n");
        found("ROOTS_INVALID");
        patient.write(file, &patient.certificate().issue().pem());
        found("ROOTS_INVALID");
        fs::remove_file(patient.path(file)).unwrap();
        found("ROOTS_UNREADABLE");
        // As Kubernetes leaves it where a file of a ConfigMap is not there.
        fs::create_dir(patient.path(file)).unwrap();
        found("ROOTS_UNREADABLE");
    }
}

#[test]
fn an_expired_root_is_found_and_one_beside_a_valid_root_is_warned_of() {
    let patient = Patient::new();
    let now = patient.now.0;
    let root = |from: u64, to: u64| self_signed("root").between(Timestamp(from), Timestamp(to)).issue().pem();
    let expired = root(now - 400 * DAY, now - DAY);
    let fresh = root(now - DAY, now + 400 * DAY);
    patient.write("other.pem", &expired);
    patient.seen().only("ROOT_EXPIRED");
    patient.write("other.pem", &[expired, fresh.clone()].concat());
    patient.seen().only_warns("ROOT_EXPIRED_LEFT");
    patient.write("other.pem", &root(now - 400 * DAY, now + 29 * DAY));
    patient.seen().only_warns("ROOT_EXPIRES_SOON");
    patient.write("other.pem", &root(now + DAY, now + 400 * DAY));
    patient.seen().only_warns("ROOT_NOT_YET_VALID");
    patient.write("other.pem", &[fresh.clone(), fresh.clone()].concat());
    patient.seen().only_warns("ROOT_DUPLICATE");
    patient.write("other.pem", &fresh);
    patient.seen().healthy();
}

#[test]
fn a_root_of_two_trust_domains_is_warned_of() {
    let patient = Patient::new();
    patient.write("other.pem", &patient.ca.pem());
    patient.seen().only_warns("ROOT_SHARED");
    patient.write("other.pem", &TestCa::at("other.example", patient.now).pem());
    // A client CA names no trust domain.
    patient.write("corp.pem", &patient.ca.pem());
    patient.seen().healthy();
}
