//! Certificates as operators make them, with the openssl command line: each method takes the right one, and refuses the
//! nearest wrong one. The server, its CAs and its own certificate are all made so too.

use std::fs;

use crate::support::openssl::SVID;
use crate::support::openssl::TestAuthority;

const REFUSED: &str = "refused your certificate";

#[test]
fn an_svid_from_a_ca_by_openssl_gets_a_token_and_its_near_misses_do_not() {
    let Some(fixture) = TestAuthority::start() else { return };
    let make = fixture.make();
    let id = "spiffe://prod.example/ns/shop/sa/checkout";
    fixture.register(id, "spiffe_x509", "owner: shop");
    make.svid("checkout", &format!("URI:{id}"));
    fixture.ask("checkout", id).ok();

    make.svid("another", "URI:spiffe://prod.example/ns/shop/sa/another");
    fixture.ask("another", id).refused("(INVALID_CLIENT)", "");
    make.svid("two", &format!("URI:{id},URI:spiffe://prod.example/ns/shop/sa/another"));
    fixture.ask("two", id).refused(REFUSED, "log");
    make.leaf("ca", "authority", "/CN=a", &format!("{SVID}URI:{id}\n").replace("CA:FALSE", "CA:TRUE"));
    fixture.ask("authority", id).refused(REFUSED, "log");
    make.leaf("ca", "signer", "/CN=a", &format!("{SVID}URI:{id}\n").replace("Signature", "Signature,keyCertSign"));
    fixture.ask("signer", id).refused(REFUSED, "log");
    // A client CA vouches for no SVID.
    make.leaf("corp", "foreign", "/CN=a", &format!("{SVID}URI:{id}\n"));
    fixture.ask("foreign", id).refused(REFUSED, "log");
}

#[test]
fn a_certificate_of_a_pki_is_known_by_the_subject_that_openssl_prints() {
    let Some(fixture) = TestAuthority::start() else { return };
    let make = fixture.make();
    let extensions = "basicConstraints=CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=clientAuth\n";
    make.leaf("corp", "reports", "/C=DE/O=Shop\\, Söhne \\+ Co./OU=Back  Office/CN=reports #1", extensions);
    let printed = make.run(&["x509", "-in", "reports.pem", "-noout", "-subject", "-nameopt", "RFC2253"]);
    let subject = printed.trim().strip_prefix("subject=").unwrap();
    assert!(subject.starts_with("CN=reports #1,OU="), "{subject}");
    let names = format!("tls_client_auth_subject_dn: '{subject}'\nclient_ca: corp");
    fixture.register("reports", "tls_client_auth", &names);
    fixture.ask("reports", "reports").ok();

    // The same names in another order, and the same subject from a CA that is none for clients.
    make.leaf("corp", "order", "/C=DE/OU=Back  Office/O=Shop\\, Söhne \\+ Co./CN=reports #1", extensions);
    fixture.ask("order", "reports").refused("", "");
    make.ca("fake", "/O=Corp/CN=client CA");
    make.leaf("fake", "forged", "/C=DE/O=Shop\\, Söhne \\+ Co./OU=Back  Office/CN=reports #1", extensions);
    fixture.ask("forged", "reports").refused(REFUSED, "log");

    make.leaf("corp", "stock", "/CN=stock", &format!("{extensions}subjectAltName=DNS:stock.corp.example\n"));
    fixture.register("stock", "tls_client_auth", "tls_client_auth_san_dns: stock.corp.example");
    fixture.ask("stock", "stock").ok();
    fixture.ask("stock", "reports").refused("(INVALID_CLIENT)", "");
}

#[test]
fn default_self_signed_openssl_certificates_get_tokens_once_registered() {
    let Some(fixture) = TestAuthority::start() else { return };
    let make = fixture.make();
    for (name, key) in [("two", "rsa:2048"), ("four", "rsa:4096")] {
        make.self_signed(name, "/CN=billing", &["-newkey", key]);
        let text = make.run(&["x509", "-in", &format!("{name}.pem"), "-noout", "-text"]);
        assert!(text.contains("CA:TRUE") && !text.contains("Key Usage"), "{text}");
        fixture.ask(name, name).refused(REFUSED, "must be registered first");
        fixture.register_certificate(name);
        fixture.ask(name, name).ok();
    }
    // Each is known by itself: not by its name, and not by its key.
    fixture.ask("two", "four").refused("(INVALID_CLIENT)", "");
    make.run(&["req", "-x509", "-key", "two-key.pem", "-subj", "/CN=billing", "-out", "again.pem"]);
    fs::copy(make.dir.join("two-key.pem"), make.dir.join("again-key.pem")).unwrap();
    fixture.ask("again", "two").refused(REFUSED, "must be registered first");
}
