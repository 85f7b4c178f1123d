//! What the commands say of a certificate or a key that cannot be used, or that a server refuses.

use std::fs;
use std::rc::Rc;

use lanyard::authority::clock::Clock as _;
use lanyard::authority::clock::SystemClock;
use lanyard::authority::clock::Timestamp;
use rcgen::KeyPair;

use crate::support::leaf::pem;
use crate::support::made::CLIENT_AUTH;
use crate::support::made::Extension;
use crate::support::made::Made;
use crate::support::made::SERVER_AUTH;
use crate::support::made::common_name;
use crate::support::made::name;
use crate::support::openssl::TestAuthority;
use crate::support::process::Finished;

/// The client CA of a server, whose key openssl made.
fn client_ca(fixture: &TestAuthority) -> Made {
    let key = fs::read_to_string(fixture.files.path("corp-key.pem")).unwrap();
    let mut ca = Made::ca("corp", &Rc::new(KeyPair::from_pem(&key).unwrap()));
    ca.subject = name(&[(10, 0x0c, "Corp"), (3, 0x0c, "client CA")]);
    ca
}

fn now() -> Timestamp {
    SystemClock.now()
}

/// Has a certificate issued that is good but for the change, and requests a token with it.
fn ask(fixture: &TestAuthority, change: impl FnOnce(&mut Made)) -> Finished {
    let key = Rc::new(KeyPair::generate().unwrap());
    let mut made = Made::leaf("made", &key, &[]);
    made.put(Extension::extended_key_usage(&[CLIENT_AUTH]));
    (made.not_before, made.not_after) = (Timestamp(now().0 - 600), Timestamp(now().0 + 600));
    change(&mut made);
    fs::write(fixture.files.path("made.pem"), pem(&made.signed_by(&client_ca(fixture)))).unwrap();
    fs::write(fixture.files.path("made-key.pem"), key.serialize_pem()).unwrap();
    fixture.files.run("made", &["token", "get", "--client-id", "made"])
}

#[test]
fn a_certificate_that_the_server_refuses_is_told_what_is_wrong_with_it() {
    let Some(fixture) = TestAuthority::start() else { return };
    fixture.register("made", "tls_client_auth", "tls_client_auth_subject_dn: CN=made");
    ask(&fixture, |_| {}).ok();
    // RFC 5280 section 4.2.1.4: where no policy is demanded, any is accepted, critical or not.
    ask(&fixture, |made| made.put(Extension::policies(true, &[1]))).ok();

    let (past, future) = (Timestamp(now().0 - 60), Timestamp(now().0 + 300));
    let refused = |what: &str, next: &str, change: &dyn Fn(&mut Made)| {
        let said = ask(&fixture, change);
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(said.stderr.contains("refused your certificate"), "{said:?}");
        assert!(said.stderr.contains(what) && said.stderr.contains(next), "{what:?} is not in {said:?}");
    };
    refused("it expired at 20", "renewed; if it should be valid now", &|made| made.not_after = past);
    refused("it is valid from 20", "they differ", &|made| made.not_before = future);
    let server_only = Extension::extended_key_usage(&[SERVER_AUTH]);
    refused("a client needs clientAuth", "have a certificate issued", &|made| made.put(server_only.clone()));
    let unknown = Extension::unknown(true);
    refused("a critical extension that is not supported: 1.2.3.4.5", "have a", &|made| made.put(unknown.clone()));
    refused("X.509 version 1", "have a certificate issued", &|made| made.version_1());
    // The certificate itself is good, and its issuer is not known.
    refused("", "issued by a CA, or in a trust domain, that the server knows", &|made| {
        made.issuer = Some(common_name("another CA"));
    });
}

#[test]
fn case_09_a_kind_of_key_that_is_not_supported_is_named_as_that() {
    let Some(fixture) = TestAuthority::start() else { return };
    let make = fixture.make();
    for (name, kind) in [
        ("pss", &["-newkey", "rsa-pss", "-pkeyopt", "rsa_keygen_bits:2048"][..]),
        ("short", &["-newkey", "rsa:1024"]),
        ("secp256k1", &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:secp256k1"]),
        ("ed448", &["-newkey", "ed448"]),
        ("explicit", &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-pkeyopt", "ec_param_enc:explicit"]),
    ] {
        make.self_signed(name, "/CN=odd", kind);
        let said = fixture.files.run(name, &["token", "get", "--client-id", "odd"]);
        said.refused("of a kind that is not supported", "a kind that is supported");
    }
    make.self_signed("good", "/CN=odd", &["-newkey", "ed25519"]);
    make.self_signed("other", "/CN=odd", &["-newkey", "ed25519"]);
    let said = fixture.files.run("good", &["token", "get", "--client-id", "odd"]);
    assert!(said.stderr.contains("refused your certificate"), "{said:?}");
    fs::copy(fixture.files.path("other-key.pem"), fixture.files.path("good-key.pem")).unwrap();
    let said = fixture.files.run("good", &["token", "get", "--client-id", "odd"]);
    said.refused("do not go together", "name the key that the certificate was issued for");
}

#[test]
fn config_check_names_the_roots_that_are_not_used_and_is_content_with_the_others() {
    let Some(fixture) = TestAuthority::start() else { return };
    let file = fixture.files.path("ca.pem");
    let good = fs::read_to_string(&file).unwrap();
    let check = |format: &str| {
        let mut command = crate::support::process::lanyard();
        command.args(["config", "check", "-o", format, "--config"]).arg(fixture.files.path("lanyard.yaml"));
        crate::support::process::run(&mut command)
    };
    assert_eq!(check("text").ok(), "the configuration is valid\n");
    let mut ca = Made::ca("limited", &Rc::new(KeyPair::generate().unwrap()));
    ca.put(Extension::name_constraints(&[(crate::support::made::URI, b"spiffe://prod.example")], &[]));
    let limited = pem(&ca.signed_by(&ca));
    fs::write(&file, format!("\u{feff}{good}{limited}")).unwrap();
    let said = check("text").ok();
    assert!(said.starts_with("warning: prod.example: certificate number 2 (thumbprint "), "{said}");
    assert!(said.contains("name constraints that cannot be processed"), "{said}");
    assert!(said.ends_with(", and is not used\nthe configuration is valid\n"), "{said}");
    let json = check("json").json(0);
    assert_eq!((&json["valid"], json["warnings"].as_array().map(Vec::len)), (&true.into(), Some(1)));
    fs::write(&file, limited).unwrap();
    assert_eq!(check("json").json(1)["valid"], false);
}
