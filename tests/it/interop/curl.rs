//! Tokens by curl, in the command that the tutorials on OAuth with mutual TLS show, with certificates made by openssl.

use serde_json::Value;
use serde_json::json;

use crate::support::openssl::LEAF;
use crate::support::openssl::TestAuthority;
use crate::support::openssl::claims;
use crate::support::process::Finished;
use crate::support::process::run;
use crate::support::process::shell;
use crate::support::tools;

/// The five names of a certificate by which RFC 8705 section 2.1.2 knows a client of a PKI, each under the client's name:
/// the name in the registration, and the certificate's alternative name.
const NAMES: [(&str, &str, &str); 5] = [
    ("dn", "tls_client_auth_subject_dn: 'CN=dn,O=Example'", ""),
    ("dns", "tls_client_auth_san_dns: reports.example", "DNS:reports.example"),
    ("uri", "tls_client_auth_san_uri: https://reports.example/client", "URI:https://reports.example/client"),
    ("ip", "tls_client_auth_san_ip: 192.0.2.7", "IP:192.0.2.7"),
    ("email", "tls_client_auth_san_email: reports@example.com", "email:reports@example.com"),
];

/// The command of the tutorials, but that it looks at the server's certificate.
fn command(fixture: &TestAuthority, who: &str, client_id: &str) -> String {
    format!(
        "curl --silent --show-error --cacert ca.pem --key {who}-key.pem --cert {who}.pem \
         --header 'Content-Type: application/x-www-form-urlencoded' \
         --data-urlencode 'grant_type=client_credentials' --data-urlencode 'client_id={client_id}' \
         --request POST '{}/oauth2/token'",
        fixture.files.server
    )
}

fn paste(fixture: &TestAuthority, line: &str) -> Finished {
    run(shell(line).current_dir(&fixture.files.dir))
}

fn ask(fixture: &TestAuthority, who: &str, client_id: &str) -> Value {
    paste(fixture, &command(fixture, who, client_id)).json(0)
}

/// `None` if a command is to be skipped.
fn start() -> Option<TestAuthority> {
    tools::curl()?;
    let fixture = TestAuthority::start()?;
    let make = fixture.make();
    for (name, registered, alternative) in NAMES {
        let names = if alternative.is_empty() { String::new() } else { format!("subjectAltName={alternative}\n") };
        make.leaf("corp", name, &format!("/O=Example/CN={name}"), &format!("{LEAF}{names}"));
        fixture.register(name, "tls_client_auth", &format!("{registered}\nscope: orders.read"));
    }
    make.self_signed("selfsigned", "/CN=selfsigned", &["-newkey", "rsa:2048"]);
    fixture.register_certificate("selfsigned");
    Some(fixture)
}

#[test]
fn a_pki_client_is_known_by_each_of_the_five_names_and_gets_a_bound_token() {
    let Some(fixture) = start() else { return };
    for (place, (name, ..)) in NAMES.iter().enumerate() {
        let token = ask(&fixture, name, name);
        assert_eq!(token["token_type"], "Bearer", "{token}");
        assert_eq!(token["expires_in"], 300);
        assert_eq!(token["scope"], "orders.read");
        let claims = claims(&token);
        assert_eq!(claims["cnf"], json!({"x5t#S256": fixture.make().thumbprint(name)}));
        assert_eq!(claims["client_id"], *name);
        assert_eq!(claims["iss"], fixture.public);
        // The same CA's certificate with another name.
        let other = NAMES[(place + 1) % NAMES.len()].0;
        assert_eq!(ask(&fixture, other, name)["error"], "invalid_client", "{other} as {name}");
    }
}

#[test]
fn a_self_signed_client_gets_a_bound_token_and_a_stranger_no_connection() {
    let Some(fixture) = start() else { return };
    let claims = claims(&ask(&fixture, "selfsigned", "selfsigned"));
    assert_eq!(claims["cnf"]["x5t#S256"], fixture.make().thumbprint("selfsigned"));
    assert_eq!(ask(&fixture, "dns", "selfsigned")["error"], "invalid_client");
    assert_eq!(ask(&fixture, "selfsigned", "dns")["error"], "invalid_client");

    // By the same key, the same name, and not registered: no request gets as far as being answered.
    let make = fixture.make();
    make.run(&["req", "-x509", "-key", "selfsigned-key.pem", "-subj", "/CN=selfsigned", "-out", "again.pem"]);
    let again = command(&fixture, "selfsigned", "selfsigned").replace("selfsigned.pem", "again.pem");
    let bare = again.replace("--key selfsigned-key.pem --cert again.pem", "");
    for line in [&again, &bare] {
        let refused = paste(&fixture, line);
        // 56 and 35: the alert was read.
        assert!(matches!(refused.code, Some(35 | 56)), "{line}: {refused:?}");
        assert!(refused.stderr.contains("alert"), "{line}: {refused:?}");
        assert_eq!(refused.stdout, "", "{line}: {refused:?}");
    }
}

// RFC 8446 section 4.4: a client sends its request before its certificate is verified
#[test]
fn a_refused_client_reads_the_alert_each_time_and_over_each_version_of_http() {
    let Some(fixture) = start() else { return };
    fixture.make().self_signed("stranger", "/CN=stranger", &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    for flags in ["--http1.1", "--http2", "--tls-max 1.2"] {
        let line = command(&fixture, "stranger", "selfsigned") + " " + flags;
        for _ in 0..20 {
            let refused = paste(&fixture, &line);
            assert!(refused.stderr.contains("alert unknown ca"), "{flags}: {refused:?}");
        }
    }
}

#[test]
fn a_password_opens_nothing() {
    let Some(fixture) = start() else { return };
    let password = format!(
        "curl -s -k -d 'grant_type=password&username=admin&password=admin&client_id=selfsigned' \
         -H 'Content-Type: application/x-www-form-urlencoded' {}/oauth2/token -i \
         --cert selfsigned.pem --key selfsigned-key.pem",
        fixture.files.server
    );
    let refused = paste(&fixture, &password).ok();
    assert!(refused.contains(" 400") && refused.contains("\"unsupported_grant_type\""), "{refused}");
}

#[test]
fn jq_shows_what_the_token_is_bound_to() {
    let Some(fixture) = start() else { return };
    if tools::jq().is_none() {
        return;
    }
    let mine = json!({"x5t#S256": fixture.make().thumbprint("dns")});
    let get = command(&fixture, "dns", "dns");
    let in_tutorials =
        r#"jq -r .access_token | jq -R 'gsub("-";"+") | gsub("_";"/") | split(".") | .[1] | @base64d | fromjson'"#;
    assert_eq!(paste(&fixture, &format!("{get} | {in_tutorials}")).json(0)["cnf"], mine);
    let in_readme =
        r#"jq -r .access_token | jq -R 'split(".")[1] | gsub("-";"+") | gsub("_";"/") | @base64d | fromjson | .cnf'"#;
    assert_eq!(paste(&fixture, &format!("{get} | {in_readme}")).json(0), mine);
}
