//! The command line's part of OAuth: revoking, and registering certificates from files.

use std::fs;

use lanyard::authority::clock::Clock as _;
use lanyard::authority::clock::SystemClock;
use lanyard::authority::clock::Timestamp;
use lanyard::authority::identity::CertificateThumbprint;
use serde_json::Value;
use serde_json::json;

use crate::support::ca::self_signed;
use crate::support::dev::AUDIENCE;
use crate::support::dev::Dev;
use crate::support::dev::Files;
use crate::support::leaf::Leaf;
use crate::support::process::Finished;
use crate::support::process::lanyard;
use crate::support::process::run;
use crate::support::process::run_with;
use crate::support::process::text;

/// Allowed, or denied for what reason.
fn verdict(files: &Files, token: &str, who: &str) -> Value {
    let certificate = files.path(&format!("{who}.pem"));
    let evaluate = ["validate", token, "--audience", AUDIENCE, "--certificate", text(&certificate), "-o", "json"];
    let evaluated = files.run("proxy", &evaluate);
    let allowed = evaluated.code == Some(0);
    let code = if allowed { 0 } else { 3 };
    let reason = evaluated.json(code)["reason"].clone();
    if allowed { json!("allowed") } else { reason }
}

fn revoke(files: &Files, who: &str, flags: &[&str]) -> Finished {
    files.run(who, &[&["token", "revoke"], flags].concat())
}

/// A self-signed certificate in NAME.pem, with NAME-key.pem.
fn certificate(files: &Files, name: &str) -> Leaf {
    let leaf = self_signed(name).between(Timestamp(0), Timestamp(4_000_000_000)).issue();
    fs::write(files.path(&format!("{name}.pem")), leaf.pem()).unwrap();
    fs::write(files.path(&format!("{name}-key.pem")), leaf.key_pem()).unwrap();
    leaf
}

fn by_file(client_id: &str, more: &str) -> String {
    format!(
        "client_id: {client_id}\ntoken_endpoint_auth_method: self_signed_tls_client_auth\nscope: orders.read\n\
         audience: [{AUDIENCE}]\n{more}"
    )
}

#[test]
fn a_client_assertion_comes_from_a_file_or_stdin_and_is_told_when_it_proves_nobody() {
    let Dev { files, .. } = &Dev::start();
    let client = format!(
        "client_id: spiffe://dev.internal/jwt\ntoken_endpoint_auth_method: spiffe_jwt\naudience: [{AUDIENCE}]\n"
    );
    assert_eq!(files.apply(&client).ok(), "spiffe://dev.internal/jwt created\n");
    let file = files.path("svid.jwt");
    fs::write(&file, "a.b.c\n").unwrap();
    let problem = "client_assertion is not a JWT-SVID";
    let from = |given: &str| ["token", "get", "--client-assertion", given].map(str::to_owned);
    let at_file = from(&format!("@{}", text(&file)));
    files.run("workload", &at_file.each_ref().map(String::as_str)).refused(problem, "");
    let stdin = from("-");
    run_with(&mut files.command("workload", &stdin.each_ref().map(String::as_str)), "a.b.c").refused(problem, "");
    files.token("workload", &[]);
}

#[test]
fn a_client_revokes_its_own_token_and_nobody_elses() {
    let Dev { files, .. } = &Dev::start();
    let [first, second] = [(); 2].map(|()| files.token("workload", &[]));
    let way_out = "role Admin";
    revoke(files, "thief", &[&first]).refused("(NOT_YOURS)", way_out);
    assert_eq!(verdict(files, &first, "workload"), "allowed");

    // From stdin, and only that one. The token itself is not said again.
    let revoked = run_with(&mut files.command("workload", &["token", "revoke", "-"]), &first);
    assert_eq!(revoked.ok(), "token revoked\n");
    assert_eq!(verdict(files, &first, "workload"), "TOKEN_REVOKED");
    assert_eq!(verdict(files, &second, "workload"), "allowed");

    // A client without a SPIFFE ID says who it is.
    let own = files.token("selfsigned", &["--client-id", "selfsigned"]);
    let file = files.path("token");
    fs::write(&file, &own).unwrap();
    let at_file = format!("@{}", text(&file));
    revoke(files, "selfsigned", &[&at_file]).refused("(INVALID_REQUEST)", "--client-id");
    revoke(files, "selfsigned", &["--client-id", "selfsigned", &second]).refused("(NOT_YOURS)", way_out);
    let reported = revoke(files, "selfsigned", &["--client-id", "selfsigned", &at_file, "-o", "json"]).json(0);
    assert_eq!(reported, json!({"result": "revoked", "target": "token"}));
    assert_eq!(verdict(files, &own, "selfsigned"), "TOKEN_REVOKED");

    // Never good, and good no longer (RFC 7009 section 2.2).
    revoke(files, "workload", &["nonsense"]).ok();
    revoke(files, "workload", &[&first]).ok();
    revoke(files, "workload", &["@nowhere"]).refused("no token from nowhere", "@FILE");
}

#[test]
fn an_admin_revokes_a_token_by_its_text_or_its_jti() {
    let Dev { files, .. } = &Dev::start();
    let [first, second, third] = [(); 3].map(|()| files.token("workload", &[]));
    assert_eq!(revoke(files, "admin", &[&first]).ok(), "token revoked\n");
    let inspected = run(lanyard().args(["token", "inspect", "-o", "json", &second])).json(0);
    let jti = inspected["claims"]["jti"].as_str().unwrap();
    // The server knows of a token when it has been used.
    assert_eq!(verdict(files, &second, "workload"), "allowed");
    revoke(files, "workload", &["--jti", jti]).refused("(NOT_YOURS)", "role Admin");
    let reported = revoke(files, "admin", &["--jti", jti, "-o", "json"]).json(0);
    assert_eq!(reported, json!({"result": "revoked", "target": "jti", "id": jti}));
    revoke(files, "admin", &["--jti", "a b"]).refused("(INVALID_REQUEST)", "correct what the message names");
    for (token, expected) in [(&first, "TOKEN_REVOKED"), (&second, "TOKEN_REVOKED"), (&third, "allowed")] {
        assert_eq!(verdict(files, token, "workload"), expected);
    }
}

#[test]
fn a_revoked_client_gets_nothing_until_the_revocation_is_lifted() {
    let Dev { files, .. } = &Dev::start();
    let client = "spiffe://dev.internal/workload";
    let token = files.token("workload", &[]);
    let until = ["--client", client, "--until", "2100-01-01T00:00:00Z"];
    let reported = revoke(files, "admin", &[&until[..], &["-o", "json"]].concat()).json(0);
    let (id, end) = (client, "2100-01-01T00:00:00Z");
    assert_eq!(reported, json!({"result": "revoked", "target": "client", "id": id, "until": end}));
    assert_eq!(verdict(files, &token, "workload"), "CLIENT_REVOKED");
    assert_eq!(files.run("workload", &["token", "get"]).code, Some(1));
    files.run("thief", &["token", "get"]).ok();

    let lifted = revoke(files, "admin", &["--client", client, "--lift"]).ok();
    assert_eq!(lifted, format!("client {client} no longer revoked\n"));
    files.token("workload", &[]);

    let past = revoke(files, "admin", &["--client", client, "--until", "2001-01-01T00:00:00Z"]);
    past.refused("has ended already", "time to come");
    files.token("workload", &[]);
    revoke(files, "admin", &["--client", "spiffe://dev.internal/*"]).refused("(INVALID_REQUEST)", "correct what");
    revoke(files, "proxy", &["--client", client]).refused("", "role");
    revoke(files, "workload", &["--client", client]).refused("(NOT_YOURS)", "role Admin");
    assert!(revoke(files, "admin", &["--client", client, "--for", "1h"]).ok().contains(" revoked until 2"));
    assert_eq!(files.run("workload", &["token", "get"]).code, Some(1));
}

#[test]
fn what_a_client_was_issued_is_revoked_and_it_gets_new_tokens() {
    let Dev { files, .. } = &Dev::start();
    let token = files.token("workload", &[]);
    let client = "spiffe://dev.internal/workload";
    let reported = revoke(files, "admin", &["--issued-to", client]).ok();
    assert_eq!(reported, format!("everything issued to {client} up to now revoked\n"));
    assert_eq!(verdict(files, &token, "workload"), "TOKEN_REVOKED");
    files.token("workload", &[]);
}

#[test]
fn a_revoked_certificate_opens_nothing_and_stays_so_until_its_own_end() {
    let Dev { files, .. } = &Dev::start();
    let mine = certificate(files, "mine");
    files.apply(&by_file("mine", "certificate_file: mine.pem\n")).ok();
    let get = || files.run("mine", &["token", "get", "--client-id", "mine"]);
    let token = get().ok().trim().to_owned();
    let (file, thumbprint) = (files.path("mine.pem"), mine.thumbprint().to_string());

    let reported = revoke(files, "admin", &["--certificate", text(&file), "-o", "json"]).json(0);
    let end = "2096-10-02T07:06:40Z";
    assert_eq!(reported, json!({"result": "revoked", "target": "certificate", "id": thumbprint, "until": end}));
    assert_eq!(verdict(files, &token, "mine"), "CERTIFICATE_REVOKED");
    assert_eq!(get().code, Some(1));
    assert_eq!(
        revoke(files, "admin", &["--thumbprint", &thumbprint, "--lift"]).ok(),
        format!("certificate {thumbprint} no longer revoked\n")
    );
    get().ok();
    assert_eq!(
        revoke(files, "admin", &["--thumbprint", &thumbprint]).ok(),
        format!("certificate {thumbprint} revoked\n")
    );
    assert_eq!(get().code, Some(1));
    let key = files.path("mine-key.pem");
    revoke(files, "admin", &["--certificate", text(&key)]).refused("holds no certificate", "BEGIN CERTIFICATE");
}

#[test]
fn a_certificate_file_is_found_beside_the_document_and_one_with_a_key_is_refused() {
    let Dev { files, .. } = &Dev::start();
    let mine = certificate(files, "mine");
    fs::create_dir(files.path("certificates")).unwrap();
    fs::write(files.path("certificates/mine.pem"), mine.pem()).unwrap();
    // As some tools write them: the key and the certificate in one file.
    fs::write(files.path("certificates/both.pem"), format!("{}{}", mine.key_pem(), mine.pem())).unwrap();
    for (field, named) in [
        ("certificate_file: certificates/both.pem\n".to_owned(), "both.pem holds a private key"),
        (format!("certificate_pem: {:?}\n", mine.key_pem() + &mine.pem()), "certificate_pem holds a private key"),
    ] {
        let refused = files.apply(&by_file("mine", &field));
        // Not even a part of the key is in the message, or at the server.
        let secret = mine.key_pem().lines().nth(1).unwrap().to_owned();
        assert!(!refused.stderr.contains(&secret), "{refused:?}");
        refused.refused(named, "no private key");
    }
    let document = by_file("mine", "certificate_file: certificates/mine.pem\n");
    assert_eq!(files.apply(&document).ok(), "mine created\n");
    assert_eq!(files.apply(&document).ok(), "mine unchanged\n");
    files.run("mine", &["token", "get", "--client-id", "mine"]).ok();
    let shown = files.run("admin", &["client", "get", "mine"]).ok();
    assert!(!shown.contains("certificate_file"), "{shown}");
    assert_eq!(files.apply(&shown).ok(), "mine unchanged\n");

    // From stdin, paths start where the command does.
    let mut command = files.command("admin", &["client", "apply", "-f", "-"]);
    let applied = run_with(command.current_dir(&files.dir), &document);
    assert_eq!(applied.ok(), "mine unchanged\n");

    let one_way = "leave in only one";
    let twice = format!("{document}jwks: {{keys: []}}\n");
    files.apply(&twice).refused("mine: certificate_file goes only without", one_way);
    files.apply(&by_file("mine", "certificate_file: nowhere.pem\n")).refused("nowhere.pem: No such file", "path");
    let keyless = files.apply(&by_file("mine", "certificate_file: mine-key.pem\n"));
    keyless.refused("mine-key.pem holds a private key", "BEGIN CERTIFICATE");
}

#[test]
fn an_expired_certificate_and_a_subject_in_the_order_of_openssl_are_applied_with_a_warning() {
    let Dev { files, .. } = &Dev::start();
    let now = SystemClock.now();
    let ended = self_signed("old").between(Timestamp(now.0 - 7200), Timestamp(now.0 - 3600)).issue();
    fs::write(files.path("old.pem"), ended.pem()).unwrap();
    let subject = |subject: &str| {
        format!(
            "client_id: named\ntoken_endpoint_auth_method: tls_client_auth\ntls_client_auth_subject_dn: {subject}\n\
             audience: ['https://orders.dev.internal']\n"
        )
    };
    for (document, warning) in [
        (by_file("old", "certificate_file: old.pem\n"), "warning: old: a certificate of the client expired at "),
        (subject("C = DE, O = Example, CN = named"), "in RFC 4514 order it is 'CN = named,O = Example,C = DE'"),
    ] {
        let applied = files.apply(&document);
        assert!(applied.stderr.contains(warning), "{applied:?}");
        assert!(applied.ok().ends_with(" created\n"));
    }
    let usual = files.apply(&subject("CN=named,O=Example,C=DE"));
    assert_eq!(usual.stderr, "");
    assert!(usual.stdout.starts_with("named updated: its authentication changes"), "{usual:?}");
}

#[test]
fn a_converted_certificate_registers_the_client_that_has_it() {
    let Dev { files, .. } = &Dev::start();
    let mine = certificate(files, "mine");
    let path = files.path("mine.pem");
    let converted = run(lanyard().args(["client", "convert-jwks", text(&path)]));
    let jwks = converted.json(0);
    let keys = jwks["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 1);
    let x5c = keys[0]["x5c"][0].as_str().unwrap();
    let in_pem: String = mine.pem().lines().filter(|line| !line.starts_with('-')).collect();
    assert_eq!(x5c, in_pem);
    files.apply(&by_file("mine", &format!("jwks: {jwks}\n"))).ok();
    let token = files.token("mine", &["--client-id", "mine"]);
    let inspected = run(lanyard().args(["token", "inspect", "-o", "json", &token, "--cert", text(&path)])).json(0);
    assert_eq!(inspected["certificate"]["matches"], true);
    let expected = CertificateThumbprint::of(mine.certificate()).to_string();
    assert_eq!(inspected["claims"]["cnf"]["x5t#S256"], json!(expected));

    let key = files.path("mine-key.pem");
    let refused = run(lanyard().args(["client", "convert-jwks", text(&key)]));
    refused.refused("mine-key.pem holds a private key", "BEGIN CERTIFICATE");
    let empty = files.path("empty.pem");
    fs::write(&empty, "").unwrap();
    let refused = run(lanyard().args(["client", "convert-jwks", text(&empty)]));
    refused.refused("empty.pem holds no CERTIFICATE block", "BEGIN CERTIFICATE");
}
