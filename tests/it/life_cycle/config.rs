//! The configuration: what is refused, by which name, and what the environment may override.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::process::Output;

use lanyard::config;

use crate::support::ca::self_signed;
use crate::support::server::SEAL;
use crate::support::server::Setup;

/// A valid configuration with all of its files.
fn sound() -> Setup {
    let setup = Setup::default();
    setup.write();
    setup
}

/// The same with one text in it replaced.
fn with(text: &str, replacement: &str) -> Setup {
    let setup = sound();
    change(&setup, text, replacement);
    setup
}

fn change(setup: &Setup, text: &str, replacement: &str) {
    let path = setup.path("lanyard.yaml");
    let yaml = fs::read_to_string(&path).unwrap();
    assert!(yaml.contains(text), "{text:?} is not in\n{yaml}");
    fs::write(path, yaml.replacen(text, replacement, 1)).unwrap();
}

/// What is said of a configuration that cannot stand.
fn problem(setup: &Setup) -> String {
    let path = setup.path("lanyard.yaml");
    match config::load(&path) {
        Ok(_) => panic!("this must not be a configuration:\n{}", fs::read_to_string(path).unwrap()),
        Err(error) => error.to_string(),
    }
}

/// Runs `lanyard config check` as a process of its own, in another folder, with these variables and no others.
fn check(setup: &Setup, environment: &[(&str, &str)], arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lanyard"))
        .args(["config", "check", "--config"])
        .arg(setup.path("lanyard.yaml"))
        .args(arguments)
        .current_dir(Path::new("/"))
        .env_clear()
        .envs(environment.iter().copied())
        .output()
        .unwrap()
}

fn assert_sound(setup: &Setup, environment: &[(&str, &str)]) {
    let output = check(setup, environment, &[]);
    assert!(output.status.success(), "{environment:?} {output:?}");
}

/// The check fails, and says all of this.
fn assert_unsound(setup: &Setup, environment: &[(&str, &str)], said: &[&str]) {
    let output = check(setup, environment, &[]);
    assert_eq!(output.status.code(), Some(1), "{environment:?} {output:?}");
    let text = String::from_utf8(output.stderr).unwrap();
    for said in said {
        assert!(text.contains(said), "{said:?} is not in {text}");
    }
}

#[test]
fn a_sound_configuration_is_read_and_relative_paths_start_at_its_own_folder() {
    let setup = with("memory: true", "sled: {path: data}");
    let config = config::load(&setup.path("lanyard.yaml")).unwrap();
    assert_eq!(config.store.directory(), Some(&*setup.path("data")));
    let files = config.tls.certificate.unwrap();
    assert_eq!((files.certificate, files.key), (setup.path("server.pem"), setup.path("server-key.pem")));
    assert_eq!(config.trust.client_cas["corp"], setup.path("corp.pem"));
    assert!(!config.dev && !config.policy.unbound_tokens);
    assert_sound(&setup, &[]);
}

#[test]
fn absolute_paths_are_taken_as_they_are() {
    let elsewhere = sound();
    let path = elsewhere.path("ca.pem");
    let setup = with("    prod.example: ca.pem", &format!("    prod.example: {}", path.display()));
    let config = config::load(&setup.path("lanyard.yaml")).unwrap();
    assert!(config.trust.bundles.values().any(|bundle| *bundle == path));
    assert_sound(&setup, &[]);
}

#[test]
fn listeners_are_on_loopback_unless_told_otherwise() {
    let setup = with("listeners: ", "log: {level: info}\n# ");
    let listeners = config::load(&setup.path("lanyard.yaml")).unwrap().listeners;
    let expected: [SocketAddr; 3] =
        ["127.0.0.1:8443", "127.0.0.1:8444", "127.0.0.1:9464"].map(|text| text.parse().unwrap());
    assert_eq!([listeners.mtls, listeners.public, listeners.ops], expected);
}

#[test]
fn the_networks_of_load_balancers_are_none_unless_named_and_named_as_networks() {
    let proxies = |setup: &Setup| config::load(&setup.path("lanyard.yaml")).unwrap().tls.proxies.len();
    assert_eq!(proxies(&sound()), 0);
    let named = |list: &str| with("ops: '127.0.0.1:0'", &format!("ops: '127.0.0.1:0', proxy_protocol_from: [{list}]"));
    assert_eq!(proxies(&named("10.1.0.0/16, 'fd00::/8', 127.0.0.1/32, '0.0.0.0/0'")), 4);
    for list in
        ["10.1.0.1/16", "10.1.0.0", "10.1.0.0/33", "'fd00::/129'", "balancer.example", "10.0.0.0-10.0.0.9", "''"]
    {
        let problem = problem(&named(list));
        assert!(problem.contains("listeners.proxy_protocol_from") && problem.contains("is not a network"), "{problem}");
    }
}

#[test]
fn an_unknown_key_is_refused_by_its_name_and_line() {
    for (text, replacement, key) in [
        ("issuer: ", "isuer: x\nissuer: ", "isuer"),
        ("tokens: {}", "tokens:\n  unbond: true", "unbond"),
        ("tls:\n", "tls:\n  client_authn: request\n", "client_authn"),
        ("trust:\n", "trust:\n  system_roots: true\n", "system_roots"),
        ("{memory: true}", "{memory: true, path: data}", "path"),
        ("{memory: true}", "{sled: {path: data, cache: 1}}", "cache"),
        ("keys: {", "keys: {algoritm: ES256, ", "algoritm"),
        ("listeners: {", "listeners: {admin: '127.0.0.1:0', ", "admin"),
        ("roles: {", "roles: {proxys: [], ", "proxys"),
        ("admins: [{", "admins: [{name: x, ", "name"),
        ("proxies: [{", "proxies: [{audience: x, ", "audience"),
    ] {
        let setup = with(text, replacement);
        let yaml = fs::read_to_string(setup.path("lanyard.yaml")).unwrap();
        let line = 1 + yaml.lines().position(|line| line.contains(key)).unwrap();
        let problem = problem(&setup);
        assert!(problem.contains(&format!("unknown field `{key}`")), "{problem}");
        assert!(problem.contains("line "), "{problem}");
        if replacement.contains('\n') {
            assert!(problem.contains(&format!("line {line}")), "{problem} and not line {line}");
        }
    }
}

#[test]
fn operators_are_named_exactly_and_not_by_a_pattern() {
    for (role, one) in [("admins", "an admin"), ("auditors", "an auditor"), ("revokers", "a revoker")] {
        let named = |id: &str| with(&format!("{role}: [{{"), &format!("{role}: [{{spiffe_id: '{id}'}}, {{"));
        let problem = problem(&named("spiffe://prod.example/ops/*"));
        assert!(problem.contains(&format!("roles.{role}: {one} is named by its exact SPIFFE ID")), "{problem}");
        config::load(&named("spiffe://prod.example/ops/one").path("lanyard.yaml")).unwrap();
    }
}

#[test]
fn a_key_that_stands_twice_is_refused() {
    for (text, replacement) in [
        ("issuer: ", "issuer: https://elsewhere.example\nissuer: "),
        ("roles: ", "roles: {}\nroles: "),
        ("tokens: {}", "tokens: {unbound: true}\ntokens: {}"),
        ("tokens: {}", "tokens: {unbound: true, unbound: false}"),
        ("    prod.example: ca.pem", "    prod.example: other.pem\n    prod.example: ca.pem"),
        ("    corp: corp.pem", "    corp: partner.pem\n    corp: corp.pem"),
    ] {
        let problem = problem(&with(text, replacement));
        assert!(problem.contains("duplicate"), "{problem}");
    }
}

#[test]
fn a_missing_section_is_refused_by_its_name() {
    for section in ["issuer", "tls", "trust", "store", "keys"] {
        let problem = problem(&with(&format!("{section}:"), &format!("# {section}:")));
        // What follows a section that was commented out may stand in the wrong place, and is then what is named.
        assert!(problem.contains(section) || problem.contains("line"), "{problem}");
    }
    let empty = sound();
    for nothing in ["", "[]"] {
        fs::write(empty.path("lanyard.yaml"), nothing).unwrap();
        problem(&empty);
    }
    fs::remove_file(empty.path("lanyard.yaml")).unwrap();
    assert!(problem(&empty).starts_with("cannot read "));
}

#[test]
fn a_value_that_cannot_stand_is_refused_by_the_name_of_its_key() {
    let foreign = "resources: ['https://orders.prod.example', 'https://b.example']";
    for (text, replacement, key) in [
        ("issuer: https://", "issuer: http://", "issuer: "),
        ("issuer: https://lanyard.prod.example", "issuer: 'https://lanyard.prod.example?a=b'", "issuer: "),
        ("issuer: https://lanyard.prod.example", "issuer: 'https://lanyard.prod.example#a'", "issuer: "),
        ("issuer: https://lanyard.prod.example", "issuer: ''", "issuer: "),
        ("trust_domain: prod.example", "trust_domain: spiffe://prod.example", "trust.trust_domain: "),
        ("trust_domain: prod.example", "trust_domain: PROD.example", "trust.trust_domain: "),
        ("    prod.example: ca.pem", "    spiffe://prod.example/x: ca.pem", "trust.bundles: "),
        ("    prod.example: ca.pem", "    Prod.example: ca.pem", "trust.bundles: "),
        ("{memory: true}", "{}", "store: "),
        ("{memory: true}", "{memory: true, sled: {path: data}}", "store: "),
        (SEAL, "garbage", "keys.key_encryption_key"),
        (SEAL, "AAAA", "keys.key_encryption_key"),
        ("{spiffe_id: spiffe://prod.example/admin}", "{}", "roles.admins: "),
        ("{spiffe_id: spiffe://prod.example/admin}", "{spiffe_id: prod.example/admin}", "roles.admins: "),
        ("{spiffe_id: spiffe://prod.example/admin}", "{spiffe_id: spiffe://prod.example}", "roles.admins: "),
        ("{spiffe_id: spiffe://prod.example/admin}", "{spiffe_id: 'spiffe://prod.example/*'}", "roles.admins: "),
        ("{spiffe_id: spiffe://prod.example/admin}", "{certificate_thumbprint: abc}", "roles.admins: "),
        ("resources: ['*']", "resources: []", "roles.proxies.resources: "),
        ("resources: ['*']", "resources: [orders]", "roles.proxies.resources: "),
        (foreign, "resources: ['*']", "roles.proxies.resources: "),
        (foreign, "resources: ['https://b.example', '*']", "roles.proxies.resources: "),
    ] {
        let problem = problem(&with(text, replacement));
        assert!(problem.starts_with(key), "{replacement:?}: {problem}");
    }
}

#[test]
fn a_value_of_another_kind_is_refused_with_its_line() {
    for (text, replacement) in [
        ("tokens: {}", "tokens: {unbound: maybe}"),
        ("tokens: {}", "tokens: {verdict_ttl: soon}"),
        ("tokens: {}", "tokens: {verdict_ttl: 0s}"),
        ("tokens: {}", "tokens: {verdict_ttl: 5}"),
        ("keys: {", "keys: {algorithm: HS256, "),
        ("keys: {", "keys: {algorithm: none, "),
        ("keys: {", "keys: {algorithm: es256, "),
        ("mtls: '127.0.0.1:0'", "mtls: localhost"),
        ("mtls: '127.0.0.1:0'", "mtls: '127.0.0.1:70000'"),
        ("tls:\n", "tls:\n  handshake_timeout: -1s\n"),
        ("tls:\n", "tls:\n  max_connections: -1\n"),
        ("tls:\n", "tls:\n  max_connections: 0\n"),
        ("tls:\n", "tls:\n  max_handshakes: 0\n"),
    ] {
        let problem = problem(&with(text, replacement));
        assert!(problem.contains("line "), "{replacement:?}: {problem}");
    }
}

#[test]
fn an_entry_of_the_limits_is_for_callers_that_there_can_be_and_for_them_alone() {
    let entry = |callers: &str| with("limits: {queue_delay: 1h}", &format!("limits: {{callers: [{callers}]}}"));
    for callers in [
        "{role: proxy, address: {connections: 1}}",
        "{spiffe_id: 'spiffe://prod.example/*', identity: {requests: 1}}, {role: admin}, {role: anonymous}",
        "{role: workload}, {spiffe_id: 'spiffe://prod.example/a'}, {spiffe_id: 'spiffe://prod.example/b'}",
    ] {
        let loaded = config::load(&entry(callers).path("lanyard.yaml"));
        assert!(loaded.is_ok(), "{callers}: {:?}", loaded.err());
    }
    for callers in [
        "{}",
        "{role: root}",
        "{role: Proxy}",
        "{role: proxy, spiffe_id: 'spiffe://prod.example/a'}",
        "{spiffe_id: 'prod.example'}",
        "{certificate_thumbprint: x}",
        "{role: proxy}, {role: proxy, address: {requests: 1}}",
        "{spiffe_id: 'spiffe://prod.example/*'}, {spiffe_id: 'spiffe://prod.example/*'}",
    ] {
        let problem = problem(&entry(callers));
        assert!(problem.starts_with("limits.callers: "), "{callers}: {problem}");
    }
    for callers in ["{role: proxy, address: {requests: 0}}", "{role: proxy, addresses: {}}", "{role: proxy, rate: 1}"] {
        assert!(problem(&entry(callers)).contains("line "), "{callers}");
    }
}

#[test]
fn only_a_proxy_of_the_servers_own_trust_domain_may_front_everything() {
    let federated =
        "spiffe_id: spiffe://other.example/proxy, resources: ['https://orders.prod.example', 'https://b.example']";
    for holder in ["spiffe://prod.example/gateway", "spiffe://prod.example/gateways/*", "spiffe://prod.example/*"] {
        let setup = with(federated, &format!("spiffe_id: '{holder}', resources: ['*']"));
        config::load(&setup.path("lanyard.yaml")).unwrap();
    }
    for holder in [
        "spiffe://other.example/gateway",
        "spiffe://other.example/gateways/*",
        "spiffe://other.example/*",
        "spiffe://prod.example.evil.example/gateway",
        "spiffe://prod.example.evil.example/*",
    ] {
        let problem = problem(&with(federated, &format!("spiffe_id: '{holder}', resources: ['*']")));
        assert!(problem.starts_with("roles.proxies.resources: "), "{holder}: {problem}");
    }
    let problem = problem(&with("  trust_domain: prod.example\n", ""));
    assert!(problem.starts_with("roles.proxies.resources: "), "without a trust domain of its own: {problem}");
}

#[test]
fn a_dev_set_up_listens_on_loopback_only() {
    for address in ["127.0.0.1:0", "127.9.9.9:0", "[::1]:0"] {
        let setup = with("mtls: '127.0.0.1:0'", &format!("mtls: '{address}'"));
        change(&setup, "issuer: ", "dev: true\nissuer: ");
        assert!(config::load(&setup.path("lanyard.yaml")).unwrap().dev, "{address}");
    }
    for listener in ["mtls", "public", "ops"] {
        for address in ["0.0.0.0:0", "[::]:0", "10.0.0.1:0", "[::ffff:10.0.0.1]:0"] {
            let setup = with(&format!("{listener}: '127.0.0.1:0'"), &format!("{listener}: '{address}'"));
            config::load(&setup.path("lanyard.yaml")).unwrap();
            change(&setup, "issuer: ", "dev: true\nissuer: ");
            let problem = problem(&setup);
            assert!(problem.starts_with("listeners: "), "{listener} {address}: {problem}");
        }
    }
}

#[test]
fn a_configuration_that_lets_nobody_connect_is_refused() {
    let setup = with("{admins: [{spiffe_id: spiffe://prod.example/admin}], proxies: [", "{admins: [], proxies: [");
    config::load(&setup.path("lanyard.yaml")).unwrap();
    let yaml = fs::read_to_string(setup.path("lanyard.yaml")).unwrap();
    let (before, rest) = yaml.split_once("trust:\n").unwrap();
    let rest = &rest[rest.find("store:").unwrap()..rest.find("roles:").unwrap()];
    fs::write(setup.path("lanyard.yaml"), format!("{before}trust: {{}}\n{rest}")).unwrap();
    assert!(problem(&setup).starts_with("trust: "));
}

#[test]
fn the_key_encryption_key_comes_from_exactly_one_place_and_appears_in_no_message() {
    let inline = format!("key_encryption_key: {SEAL}");
    let missing = with(&format!("{{{inline}}}"), "{}");
    assert!(problem(&missing).starts_with("keys.key_encryption_key_file: is missing"));
    assert_unsound(&missing, &[], &["LANYARD_KEYS__KEY_ENCRYPTION_KEY", "openssl rand -base64 32"]);
    assert_sound(&missing, &[("LANYARD_KEYS__KEY_ENCRYPTION_KEY", SEAL)]);

    let from_file = with(&inline, "key_encryption_key_file: kek");
    assert!(problem(&from_file).contains("kek"));
    for contents in ["", "garbage", "AAAA", &SEAL[1..]] {
        fs::write(from_file.path("kek"), contents).unwrap();
        let problem = problem(&from_file);
        assert!(problem.starts_with("keys.key_encryption_key"), "{problem}");
        assert!(contents.is_empty() || !problem.contains(contents), "{problem}");
    }
    fs::write(from_file.path("kek"), format!("{SEAL}\n")).unwrap();
    assert_sound(&from_file, &[]);
    let both = [("LANYARD_KEYS__KEY_ENCRYPTION_KEY", SEAL)];
    assert_unsound(&from_file, &both, &["keys.key_encryption_key_file"]);

    let config = config::load(&from_file.path("lanyard.yaml")).unwrap();
    assert!(!format!("{config:?}").contains("BwcH"), "{config:?}");
}

#[test]
fn the_environment_overrides_single_keys_of_the_file() {
    let sound = sound();
    let unsound = with("issuer: https://", "issuer: http://");
    assert_unsound(&unsound, &[], &["issuer: must be an https URL"]);
    assert_sound(&unsound, &[("LANYARD_ISSUER", "https://lanyard.example")]);
    assert_unsound(&sound, &[("LANYARD_ISSUER", "http://lanyard.example")], &["issuer: must be an https URL"]);
    assert_unsound(&sound, &[("LANYARD_TLS__CERTIFICATE", "nowhere.pem")], &["nowhere.pem"]);
    assert_sound(&sound, &[("LANYARD_TOKENS__VERDICT_TTL", "2s"), ("LANYARD_TOKENS__UNBOUND", "true")]);
    assert_unsound(&sound, &[("LANYARD_TOKENS__UNBOUND", "maybe")], &["the environment", "LANYARD_TOKENS__UNBOUND"]);
    assert_unsound(&sound, &[("LANYARD_TOKENS__VERDICT_TTL", "soon")], &["the environment", "soon"]);
    assert_sound(&sound, &[("LANYARD_LISTENERS__MTLS", "0.0.0.0:8443")]);
    let dev = [("LANYARD_LISTENERS__MTLS", "0.0.0.0:8443"), ("LANYARD_DEV", "true")];
    assert_unsound(&sound, &dev, &["listeners: "]);
}

#[test]
fn an_unknown_key_in_the_environment_is_refused_and_other_variables_are_left_alone() {
    let setup = sound();
    for unknown in ["LANYARD_TOKENS__UNBOND", "LANYARD_TLS__CLIENT_AUTHN", "LANYARD_TRUST__SYSTEM_ROOTS"] {
        let key = unknown.rsplit_once("__").unwrap().1.to_lowercase();
        assert_unsound(&setup, &[(unknown, "true")], &["the environment", &key]);
    }
    // Those of the command line's clients, and what only begins like a section.
    for other in ["LANYARD_SERVER", "LANYARD_CA", "LANYARD_CERT", "LANYARD_KEY", "LANYARD_TLSX", "LANYARD_STORED"] {
        assert_sound(&setup, &[(other, "whatever")]);
    }
}

/// Makes a file what it must not be.
type Spoil = fn(&Path);

/// The ways in which a file of certificates can fail to be one.
fn spoilt() -> [(&'static str, Spoil); 8] {
    [
        ("missing", |path| fs::remove_file(path).unwrap()),
        ("empty", |path| fs::write(path, "").unwrap()),
        ("garbage", |path| fs::write(path, "garbage").unwrap()),
        ("binary", |path| fs::write(path, [0xff; 64]).unwrap()),
        ("cut short", |path| {
            let pem = fs::read_to_string(path).unwrap();
            fs::write(path, &pem[..pem.len() / 2]).unwrap();
        }),
        ("another kind of PEM", |path| fs::write(path, self_signed("x").issue().key_pem()).unwrap()),
        ("a directory", |path| {
            fs::remove_file(path).unwrap();
            fs::create_dir(path).unwrap();
        }),
        // Also for the one whom no permission stops.
        ("unreadable", |path| {
            fs::remove_file(path).unwrap();
            std::os::unix::fs::symlink(path, path).unwrap();
        }),
    ]
}

#[tokio::test]
async fn a_server_does_not_start_with_a_bundle_client_ca_or_certificate_that_is_not_one() {
    for file in ["ca.pem", "other.pem", "corp.pem", "server.pem", "server-key.pem"] {
        for (how, spoil) in spoilt() {
            if (file, how) == ("server-key.pem", "another kind of PEM") {
                // There a private key is what belongs there; that it is not the certificate's is another test.
                continue;
            }
            let setup = sound();
            spoil(&setup.path(file));
            assert_unsound(&setup, &[], &[file]);
            let error = setup.start().await.err().unwrap_or_else(|| panic!("started with {file} {how}"));
            assert!(error.to_string().contains(file), "{file} {how}: {error}");
        }
    }
}

#[tokio::test]
async fn a_root_that_is_no_ca_or_is_beside_a_broken_one_keeps_the_server_from_starting() {
    for (name, spoil) in [("a leaf", false), ("one broken of two", true)] {
        let setup = sound();
        let pem = if spoil {
            let good = setup.ca.pem();
            format!("{good}{}", good.replacen("MII", "!!!", 1))
        } else {
            setup.ca.svid("spiffe://prod.example/x").issue().pem()
        };
        fs::write(setup.path("ca.pem"), pem).unwrap();
        let error = setup.start().await.err().unwrap_or_else(|| panic!("started with {name}"));
        assert!(error.to_string().contains("ca.pem"), "{name}: {error}");
    }
}

#[tokio::test]
async fn a_server_does_not_start_with_the_key_of_another_certificate() {
    let setup = sound();
    fs::write(setup.path("server-key.pem"), self_signed("x").issue().key_pem()).unwrap();
    assert_unsound(&setup, &[], &["server-key.pem"]);
    assert!(setup.start().await.is_err());
}

#[test]
fn a_check_answers_programs_in_json() {
    for (setup, problem) in [(sound(), None), (with("issuer: https://", "issuer: http://"), Some("issuer: "))] {
        let output = check(&setup, &[], &["-o", "json"]);
        assert_eq!(output.status.success(), problem.is_none());
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(json["valid"], problem.is_none());
        let said = json["problem"].as_str();
        assert!(
            said.is_some() == problem.is_some() && said.unwrap_or_default().starts_with(problem.unwrap_or_default())
        );
    }
}
