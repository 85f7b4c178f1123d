//! What `lanyard doctor` finds in the registrations of a stopped server.

use lanyard::authority::clock::Timestamp;

use crate::support::ca::self_signed;
use crate::support::doctor::DoctorFixture;
use crate::support::process::lanyard;
use crate::support::process::run;
use crate::support::process::text;

#[test]
fn an_expired_certificate_and_a_subject_in_the_order_of_openssl_are_found_and_no_other() {
    let fixture = DoctorFixture::new();
    fixture.present(&fixture.certificate().dns("localhost").issue());
    fixture.add("roles: {admins: [{spiffe_id: spiffe://prod.example/admin}]}");
    let admin = fixture.ca.svid("spiffe://prod.example/admin").issue();
    fixture.write("admin.pem", &admin.chain_pem());
    fixture.write("admin-key.pem", &admin.key_pem());
    let ended = Timestamp(fixture.now.0 - 3600);
    fixture.write("old.pem", &self_signed("old").between(Timestamp(ended.0 - 3600), ended).issue().pem());
    let now = (fixture.now, Timestamp(fixture.now.0 + 3600));
    fixture.write("new.pem", &self_signed("new").between(now.0, now.1).issue().pem());
    let named = |client_id: &str, subject: &str| {
        format!(
            "client_id: {client_id}\ntoken_endpoint_auth_method: tls_client_auth\n\
             tls_client_auth_subject_dn: {subject}\naudience: ['https://a.example']\n---\n"
        )
    };
    let published = |client_id: &str| {
        format!(
            "client_id: {client_id}\ntoken_endpoint_auth_method: self_signed_tls_client_auth\n\
             certificate_file: {client_id}.pem\naudience: ['https://a.example']\n---\n"
        )
    };
    let clients = [named("a", "C=DE,CN=a"), named("b", "CN=b,C=DE"), published("old"), published("new")].concat();
    fixture.write("clients.yaml", &clients);
    let server = fixture.serve();
    let mut apply = lanyard();
    apply.args(["client", "apply", "-f", text(&fixture.path("clients.yaml"))]);
    apply.args(["--server", &format!("https://localhost:{}", fixture.ports[0])]);
    for (flag, file) in [("--ca", "ca.pem"), ("--cert", "admin.pem"), ("--key", "admin-key.pem")] {
        apply.arg(flag).arg(fixture.path(file));
    }
    run(&mut apply).ok();
    server.end_by("TERM");

    let seen = fixture.seen();
    assert_eq!(seen.codes("warning"), ["CLIENT_SUBJECT_ORDER", "CLIENT_CERTIFICATE_EXPIRED"], "{seen:#?}");
    assert_eq!(seen.codes("error"), Vec::<&str>::new(), "{seen:#?}");
    let finished = run(&mut fixture.doctor());
    assert!(finished.stdout.contains("it is 'CN=a,C=DE'"), "{finished:?}");
}
