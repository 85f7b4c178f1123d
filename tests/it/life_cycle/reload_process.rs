//! The configuration file of a real process: read again by SIGHUP, and when it changes.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;

use lanyard::proto::CreateClientRequest;
use lanyard::proto::Decision;
use lanyard::proto::DeleteClientRequest;
use lanyard::proto::IssueTokenRequest;
use lanyard::proto::binding_service_client::BindingServiceClient;
use lanyard::proto::registry_service_client::RegistryServiceClient;
use lanyard::proto::token_service_client::TokenServiceClient;
use rustls_pki_types::CertificateDer;

use crate::support::calls::use_of;
use crate::support::child::Serve;
use crate::support::child::real_time;
use crate::support::server::SEAL;
use crate::support::server::Setup;
use crate::support::server::channel;
use crate::support::server::connect;
use crate::support::server::spiffe_client;

const TAKEN: &str = "the configuration was changed";
const REFUSED: &str = "the configuration file is not applied";

fn replace(setup: &Setup, from: &str, to: &str) {
    let path = setup.path("lanyard.yaml");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(path, text.replace(from, to)).unwrap();
}

/// The lines that the server logs about one use of a token, which is allowed.
async fn logged(setup: &Setup, serve: &Serve) -> Vec<String> {
    let [admin, checkout] =
        ["admin", "checkout"].map(|name| setup.ca.svid(&format!("spiffe://prod.example/{name}")).issue());
    let mut registry = RegistryServiceClient::new(channel(serve.mtls, setup.tls(&admin)));
    let client = spiffe_client("spiffe://prod.example/checkout");
    registry.create_client(CreateClientRequest { client: Some(client.clone()), ..Default::default() }).await.unwrap();
    let channel = channel(serve.mtls, setup.tls(&checkout));
    let token = TokenServiceClient::new(channel.clone()).issue_token(IssueTokenRequest::default()).await.unwrap();
    serve.line_with("token issued");
    let mut bindings = BindingServiceClient::new(channel);
    let decided = bindings.validate_binding(use_of(&token.into_inner().access_token)).await.unwrap().into_inner();
    assert_eq!(decided.decision(), Decision::Allow);
    let request = DeleteClientRequest { client_id: client.client_id, ..Default::default() };
    registry.delete_client(request).await.unwrap();
    serve.lines_until("change=\"deleted\"")
}

#[tokio::test]
async fn sighup_changes_what_is_logged() {
    let setup = real_time();
    setup.write();
    let path = setup.path("lanyard.yaml");
    fs::write(&path, fs::read_to_string(&path).unwrap() + "log: {level: info}\n").unwrap();
    let serve = Serve::start(&setup, 1024);
    let is_told = |lines: Vec<String>| lines.iter().any(|line| line.contains("binding allowed"));
    assert!(!is_told(logged(&setup, &serve).await));
    for _ in 0..2 {
        replace(&setup, "level: info", "level: 'info,lanyard::audit=debug'");
        serve.signal("HUP");
        assert!(serve.line_with(TAKEN).contains("log.level"));
        assert!(is_told(logged(&setup, &serve).await));
        replace(&setup, "level: 'info,lanyard::audit=debug'", "level: info");
        serve.signal("HUP");
        assert!(serve.line_with(TAKEN).contains("log.level"));
        assert!(!is_told(logged(&setup, &serve).await));
    }
    // A level that is none is not applied, and the old one stays.
    replace(&setup, "level: info", "level: warning");
    serve.signal("HUP");
    assert!(serve.line_with(REFUSED).contains("did you mean warn?"));
    serve.signal("TERM");
    assert!(serve.finish());
}

#[tokio::test]
async fn a_volume_whose_links_are_swapped_as_kubernetes_does_is_seen_without_a_signal() {
    let setup = real_time();
    setup.write();
    let path = setup.path("lanyard.yaml");
    let text = fs::read_to_string(&path).unwrap();
    let volume = |name: &str, text: &str| {
        fs::create_dir(setup.path(name)).unwrap();
        fs::write(setup.path(name).join("lanyard.yaml"), text).unwrap();
        symlink(name, setup.path("..data_tmp")).unwrap();
        fs::rename(setup.path("..data_tmp"), setup.path("..data")).unwrap();
    };
    volume("..first", &text);
    fs::remove_file(&path).unwrap();
    symlink("..data/lanyard.yaml", &path).unwrap();
    let serve = Serve::start(&setup, 1024);
    volume("..second", &text.replace("/admin}", "/chief}"));
    fs::remove_dir_all(setup.path("..first")).unwrap();
    assert!(serve.line_with(TAKEN).contains("roles.admins"));
    volume("..third", &text.replace("/admin}", "/chief}").replace("prod.example\nregistration", "other\nregistration"));
    let line = serve.line_with(REFUSED);
    assert!(line.contains("restart the server to change issuer"), "{line}");
    // Said once, not every time that the file is looked at; and that all is well again.
    volume("..fourth", &text);
    let lines = serve.lines_until("agree again");
    assert!(!lines.iter().any(|line| line.contains(REFUSED)), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains(TAKEN)), "{lines:?}");
}

/// The certificate that a listener presents.
async fn presented(setup: &Setup, listener: SocketAddr) -> CertificateDer<'static> {
    let leaf = setup.ca.svid("spiffe://prod.example/checkout").issue();
    let stream = connect(listener, setup.tls(&leaf)).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

/// The case 48: a Secret's volume, whose files are links through `..data`.
#[tokio::test]
async fn both_listeners_present_the_certificate_of_a_secret_whose_links_are_swapped() {
    let setup = real_time();
    setup.write();
    let files = ["server.pem", "server-key.pem"];
    let volume = |name: &str, contents: [String; 2]| {
        fs::create_dir(setup.path(name)).unwrap();
        for (file, contents) in files.iter().zip(contents) {
            fs::write(setup.path(name).join(file), contents).unwrap();
        }
        symlink(name, setup.path("..data_tmp")).unwrap();
        fs::rename(setup.path("..data_tmp"), setup.path("..data")).unwrap();
    };
    volume("..first", files.map(|file| fs::read_to_string(setup.path(file)).unwrap()));
    for file in files {
        fs::remove_file(setup.path(file)).unwrap();
        symlink(format!("..data/{file}"), setup.path(file)).unwrap();
    }
    let serve = Serve::start(&setup, 1024);
    let before = presented(&setup, serve.mtls).await;
    let renewed = setup.ca.server_certificate("localhost").issue();
    volume("..second", [renewed.chain_pem(), renewed.key_pem()]);
    fs::remove_dir_all(setup.path("..first")).unwrap();
    serve.line_with("the server certificate was replaced");
    for listener in [serve.mtls, serve.public] {
        let after = presented(&setup, listener).await;
        assert!(after == *renewed.certificate() && after != before, "{listener}");
    }
}

#[tokio::test]
async fn what_takes_a_restart_is_refused_by_the_names_of_its_keys_and_no_value_is_logged() {
    const OTHER_SEAL: &str = "CAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAg=";
    let setup = real_time();
    setup.write();
    let serve = Serve::start(&setup, 1024);
    let path = setup.path("lanyard.yaml");
    let good = fs::read_to_string(&path).unwrap();
    let ops = "ops: '127.0.0.1:0'";
    for (from, to, keys) in [
        ("issuer: https://lanyard.", "issuer: https://other.", "issuer"),
        ("registration: 'off'", "registration: 'admins'", "registration"),
        (ops, "ops: '127.0.0.1:1'", "listeners.ops"),
        ("server-key.pem\n", "server-key.pem\n  drain_timeout: 7s\n", "tls.drain_timeout"),
        (
            "server-key.pem\n",
            "server-key.pem\n  max_connections: 7\n  drain_delay: 7s\n",
            "tls.drain_delay, tls.max_connections",
        ),
        ("registration: 'off'", "registration: 'off'\ndev: true", "dev"),
        ("{memory: true}", "{sled: {path: data}}", "store.memory, store.sled.path"),
        ("{memory: true}", "{memory: true, max_staleness: 7m}", "store.max_staleness"),
        (SEAL, OTHER_SEAL, "keys.key_encryption_key"),
        ("keys: {", "keys: {algorithm: EdDSA, ", "keys.algorithm"),
        ("tokens: {}", "tokens: {verdict_ttl: 7s}", "tokens.verdict_ttl"),
        ("federation: []", "log: {level: debug, format: json}", "federation, log.format"),
        ("federation: []", "rotation: {overlap: 7m}", "federation, rotation.overlap"),
        ("jwks_uri: {}", "jwks_uri: {poll: 7s}", "jwks_uri.poll"),
    ] {
        assert!(good.contains(from), "{from}");
        // A role beside it is not taken either.
        fs::write(&path, good.replace(from, to).replace("/admin}", "/chief}")).unwrap();
        serve.signal("HUP");
        let lines = serve.lines_until(REFUSED);
        let line = lines.last().unwrap();
        assert!(line.contains("ERROR"), "{line}");
        let (_, named) = line.split_once("restart the server to change ").unwrap_or_else(|| panic!("{line}"));
        assert_eq!(named.trim_end_matches('"'), keys, "{line}");
        for line in &lines {
            assert!(!line.contains(TAKEN) && !line.contains(SEAL) && !line.contains(OTHER_SEAL), "{line}");
        }
    }
    fs::write(&path, good).unwrap();
    serve.signal("HUP");
    serve.line_with("agree again");
}

#[tokio::test]
async fn the_environment_goes_before_the_file_at_each_reading() {
    let setup = real_time();
    setup.write();
    let environment = [("LANYARD_ISSUER", "https://by-environment.example"), ("LANYARD_LOG__LEVEL", "info")];
    let serve = Serve::start_in(&environment, &setup, 1024);
    // What the environment sets stays so, whatever the file says.
    replace(&setup, "issuer: https://lanyard.", "issuer: https://other.");
    replace(&setup, "federation: []", "federation: []\nlog: {level: trace}");
    replace(&setup, "/admin}", "/chief}");
    serve.signal("HUP");
    let line = serve.line_with(TAKEN);
    assert!(line.contains("roles.admins") && !line.contains("log.level") && !line.contains("issuer"), "{line}");
    serve.signal("TERM");
    assert!(serve.finish());
}
