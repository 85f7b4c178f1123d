//! An error in the configuration file is reported with the key, the file and its line, and an error in the environment
//! with the variable.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::process::Finished;
use crate::support::process::run;
use crate::support::server::SEAL;
use crate::support::server::Setup;

const NULL_AND_NUMBERS: &str = include_str!("../cli/yaml/null-and-numbers.yaml");

fn written() -> Setup {
    let setup = Setup::default();
    setup.write();
    setup
}

/// `lanyard config check` on this file, with these variables and no others.
fn check_at(path: &Path, environment: &[(&str, &str)]) -> Finished {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lanyard"));
    run(command.args(["config", "check", "--config"]).arg(path).env_clear().envs(environment.iter().copied()))
}

fn check(setup: &Setup, environment: &[(&str, &str)]) -> Finished {
    check_at(&setup.path("lanyard.yaml"), environment)
}

/// A file in which one text is another one.
#[track_caller]
fn with(text: &str, replacement: &str) -> Setup {
    let setup = written();
    let path = setup.path("lanyard.yaml");
    let yaml = fs::read_to_string(&path).unwrap();
    assert!(yaml.contains(text), "{text:?} is not in\n{yaml}");
    fs::write(&path, yaml.replacen(text, replacement, 1)).unwrap();
    setup
}

/// The problem with the file when one text in it is another one.
#[track_caller]
fn problem(text: &str, replacement: &str) -> String {
    let setup = with(text, replacement);
    let checked = check(&setup, &[]);
    assert_eq!(checked.code, Some(1), "{replacement:?}: {checked:?}");
    let problem = checked.stderr.lines().next().unwrap().to_owned();
    for ours in ["src/", ".rs:", "struct ", "enum ", "usize", "u32", "u64", "i64", "serde", "visitor"] {
        assert!(!problem.contains(ours), "{ours:?} is in {problem}");
    }
    problem.replace(&setup.path("lanyard.yaml").display().to_string(), "FILE")
}

#[test]
fn a_value_of_another_type_is_told_by_key_file_and_line() {
    for (text, replacement, expected) in [
        (
            "issuer: https://lanyard.prod.example",
            "issuer: null",
            "FILE: issuer: invalid type: null, expected text at line 1 column 9",
        ),
        (
            "issuer: https://lanyard.prod.example",
            "issuer: ~",
            "FILE: issuer: invalid type: null, expected text at line 1 column 9",
        ),
        (
            "issuer: https://lanyard.prod.example",
            "issuer:",
            "FILE: issuer: invalid type: null, expected text at line 1 ",
        ),
        (
            "trust_domain: prod.example",
            "trust_domain: 123",
            "FILE: trust.trust_domain: invalid type: a number, expected text: write it in quotes at line 9 column 17",
        ),
        (
            "tokens: {}",
            "log: {level: true}",
            "FILE: log.level: invalid type: true or false, expected text: write it in quotes at line ",
        ),
        (
            "tokens: {}",
            "log: {level: warning}",
            "FILE: log.level: 'warning' is not a level, did you mean warn?: expected error, warn, info, debug or trace at line ",
        ),
        ("tokens: {}", "tokens:", "FILE: tokens: invalid type: null, expected a mapping at line "),
        ("tokens: {}", "tokens: []", "FILE: tokens: invalid type: a list, expected a mapping at line "),
        (
            "tokens: {}",
            "tokens: {unbound: yes}",
            "FILE: tokens.unbound: invalid type: text, expected true or false at line ",
        ),
        (
            "tokens: {}",
            "tokens: {verdict_ttl: 0s}",
            "FILE: tokens.verdict_ttl: '0s' is not a duration such as 5m at line ",
        ),
        (
            "tls:\n",
            "tls:\n  max_connections: 0\n",
            "FILE: tls.max_connections: invalid value: 0, expected a whole number from 1 up at line 5 column 20",
        ),
        (
            "tls:\n",
            "tls:\n  max_handshakes: many\n",
            "FILE: tls.max_handshakes: invalid type: text, expected a whole number at line 5 ",
        ),
        (
            "tokens: {}",
            "rotation: {max_generations: 4294967296}",
            "FILE: rotation.max_generations: invalid value: 4294967296, which is too large at line ",
        ),
        (
            "tokens: {}",
            "forwarded: {unix: a, peer_uid: -1}",
            "FILE: forwarded.peer_uid: invalid value: -1, expected a whole number from 0 to 4294967295 at line ",
        ),
        (
            "admins: [{spiffe_id: spiffe://prod.example/admin}",
            "admins: [{spiffe_id: [a]}",
            "FILE: roles.admins[0].spiffe_id: invalid type: a list, expected text at line ",
        ),
        ("{memory: true}", "{memory: !maybe true}", "unsupported tag `!maybe` at line "),
        (
            "keys: {",
            "keys: {algorithm: none, ",
            "FILE: keys.algorithm: unknown variant `none`, expected one of `ES256`, `RS256`, `EdDSA` at line ",
        ),
        (
            "tokens: {}",
            "tokens: {unbond: true}",
            "FILE: tokens: unknown field `unbond` (did you mean `unbound`?), expected `unbound` or `verdict_ttl` at line ",
        ),
        ("tokens: {}", "<<: {dev: true}", "FILE: unknown field `<<`, expected one of "),
        ("tokens: {}", "tokens: {}\n---\ndev: true", "FILE: it holds more than one document at line "),
    ] {
        let problem = problem(text, replacement);
        assert!(problem.contains(expected), "{replacement:?}: {expected:?} is not in {problem}");
    }
}

#[test]
fn the_first_wrong_value_of_a_file_full_of_them_is_named() {
    let setup = written();
    let path = setup.path("lanyard.yaml");
    fs::write(&path, NULL_AND_NUMBERS).unwrap();
    let said = |expected: &str| {
        check(&setup, &[]).refused(&format!("error: {}: {expected}", path.display()), "");
    };
    // `off` is text in YAML 1.2, but would log nothing.
    said("log.level: it matches nothing of this server: add a level, such as info at line 1 column 14");
    let logging = NULL_AND_NUMBERS.replace("off", "warn");
    fs::write(&path, &logging).unwrap();
    said("issuer: invalid type: null, expected text at line 2 column 9");
    fs::write(&path, logging.replace("issuer: null", "issuer: 'https://a.example'")).unwrap();
    said("trust.trust_domain: invalid type: a number, expected text: write it in quotes at line 3 column 23");
    fs::write(&path, NULL_AND_NUMBERS.replace("off", "null")).unwrap();
    said("log.level: invalid type: null, expected text at line 1 column 14");
}

#[test]
fn a_configuration_may_begin_with_a_byte_order_mark() {
    let setup = written();
    let path = setup.path("lanyard.yaml");
    let yaml = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("\u{feff}{yaml}")).unwrap();
    assert_eq!(check(&setup, &[]).ok(), "the configuration is valid\n");
    fs::write(&path, format!("\u{feff}{}", yaml.replacen("tokens: {}", "tokens: {unbond: true}", 1))).unwrap();
    let line = 1 + yaml.lines().position(|line| line.starts_with("tokens:")).unwrap();
    check(&setup, &[]).refused(&format!("unknown field `unbond` (did you mean `unbound`?), expected `unbound` or `verdict_ttl` at line {line} column 10"), "");
}

#[test]
fn a_value_that_cannot_stand_is_told_with_its_place() {
    let problem = problem("trust_domain: prod.example", "trust_domain: PROD");
    assert!(problem.ends_with(" (FILE, line 9 column 17)"), "{problem}");
    let setup = written();
    check(&setup, &[("LANYARD_TRUST__TRUST_DOMAIN", "PROD")]).refused("error: trust.trust_domain: 'PROD' is not ", "");
    check(&setup, &[("LANYARD_TRUST__TRUST_DOMAIN", "PROD")]).refused(" (LANYARD_TRUST__TRUST_DOMAIN)", "");
    // A key that is not there has no place.
    let missing = with("issuer: https://lanyard.prod.example", "issuer: https://a.example\nworkload_api: {}");
    let missing = check(&missing, &[("SPIFFE_ENDPOINT_SOCKET", "nowhere")]);
    assert!(missing.stderr.starts_with("error: SPIFFE_ENDPOINT_SOCKET: "), "{missing:?}");
    assert!(!missing.stderr.contains("lanyard.yaml"), "{missing:?}");
}

#[test]
fn a_value_of_the_environment_is_told_by_its_variable() {
    let setup = written();
    for (variable, value, expected) in [
        ("LANYARD_TOKENS__UNBOUND", "maybe", "tokens.unbound: invalid type: text, expected true or false"),
        ("LANYARD_TOKENS__UNBOND", "true", "tokens: unknown field `unbond` (did you mean `unbound`?)"),
        ("LANYARD_TLS__MAX_CONNECTIONS", "0", "tls.max_connections: invalid value: 0, "),
        ("LANYARD_LISTENERS__MTLS", "localhost", "listeners.mtls: invalid socket address"),
        ("LANYARD_LISTENERS__MTLS__PORT", "1", "listeners.mtls: invalid type: a mapping, expected socket address"),
        ("LANYARD_TOKENS", "none", "tokens: invalid type: text, expected a mapping"),
        (
            "LANYARD_ROLES__ADMINS",
            "[{spiffe_id: []}]",
            "roles.admins[0].spiffe_id: invalid type: a list, expected text",
        ),
        ("LANYARD_TLS__", "x", "tls: unknown field ``"),
    ] {
        check(&setup, &[(variable, value)]).refused(&format!("error: the environment: {variable}: {expected}"), "");
    }
    // What is wrong in the file is not laid to the environment, nor the other way round.
    let path = setup.path("lanyard.yaml");
    let yaml = fs::read_to_string(&path).unwrap();
    fs::write(&path, yaml.replacen("tokens: {}", "tokens: {unbound: maybe}", 1)).unwrap();
    check(&setup, &[("LANYARD_TOKENS__VERDICT_TTL", "2s")]).refused("lanyard.yaml: tokens.unbound: invalid type", "");
    assert!(check(&setup, &[("LANYARD_TOKENS__UNBOUND", "false")]).code == Some(0));
}

#[test]
fn values_of_the_environment_are_text_numbers_or_yaml_as_the_key_wants() {
    let setup = written();
    for (variable, value) in [
        ("LANYARD_LISTENERS__MTLS", "[::1]:8443"),
        ("LANYARD_ISSUER", "\"https://quoted.example\""),
        ("LANYARD_LOG__LEVEL", "error"),
        ("lanyard_tokens__verdict_ttl", "2s"),
        ("LANYARD_TLS__MAX_CONNECTIONS", "5"),
        ("LANYARD_TOKENS", "{unbound: true}"),
        ("LANYARD_ROLES__ADMINS", "[{spiffe_id: 'spiffe://prod.example/chief'}]"),
        ("LANYARD_TRUST", "{bundles: {third.example: ca.pem}}"),
    ] {
        let checked = check(&setup, &[(variable, value)]);
        assert_eq!(checked.code, Some(0), "{variable}={value}: {checked:?}");
    }
    // Digits alone are text where text is wanted: it is the trust domain that is not one.
    check(&setup, &[("LANYARD_ISSUER", "123")]).refused("error: issuer: must be an https URL", "");
    check(&setup, &[("LANYARD_ISSUER", "")]).refused("error: issuer: must be an https URL", "");
}

#[test]
fn a_misspelt_variable_is_refused_and_the_near_name_is_offered() {
    let setup = written();
    for (variable, value, meant) in [
        ("LANYARD_ISSUERR", "https://a.example", "LANYARD_ISSUER?"),
        ("LANYARD_ISUSER", "https://a.example", "LANYARD_ISSUER?"),
        ("LANYARD_REGISTRATIONS", "admins", "LANYARD_REGISTRATION?"),
        ("LANYARD_LSITENERS__MTLS", "0.0.0.0:8443", "LANYARD_LISTENERS__MTLS?"),
        ("LANYARD_TSL__CLIENT_AUTH", "request", "LANYARD_TLS__CLIENT_AUTH?"),
        ("LANYARD_TLS_CLIENT_AUTH", "request", "LANYARD_TLS__CLIENT_AUTH?"),
        ("LANYARD_LOG_LEVEL", "debug", "LANYARD_LOG__LEVEL?"),
        ("LANYARD_ROLES_ADMINS", "[]", "LANYARD_ROLES__ADMINS?"),
        ("LANYARD_TOKENS_UNBOUND", "false", "LANYARD_TOKENS__UNBOUND?"),
        ("LANYARD_STORE_SLED_PATH", "/data", "LANYARD_STORE__SLED__PATH?"),
        ("LANYARD_KEYS_KEY_ENCRYPTION_KEY", SEAL, "LANYARD_KEYS__KEY_ENCRYPTION_KEY?"),
        ("LANYARD_KEY__KEY_ENCRYPTION_KEY", SEAL, "LANYARD_KEYS__KEY_ENCRYPTION_KEY?"),
        ("LANYARD_TOKEN", "{unbound: true}", "LANYARD_TOKENS?"),
    ] {
        let checked = check(&setup, &[(variable, value)]);
        assert!(!checked.stderr.contains(SEAL), "{checked:?}");
        checked.refused(&format!("error: the environment: {variable}: unknown variable, did you mean {meant}"), "");
    }
    let far = check(&setup, &[("LANYARD_SOMETHING__ELSE", "x")]);
    far.refused(
        "LANYARD_SOMETHING__ELSE: unknown variable, expected LANYARD_ and one of AUDIT, CHAINING, DEV, DUAL_CONTROL, ",
        "",
    );
}

#[test]
fn variables_that_are_not_for_the_configuration_are_left_alone() {
    let setup = written();
    let others = [
        "LANYARD_SERVER",
        "LANYARD_CA",
        "LANYARD_CERT",
        "LANYARD_KEY",
        "LANYARD_CONFIG",
        "LANYARD_SKIP",
        "LANYARD_TOOLS",
        "LANYARD_IMAGE_TARGET",
        "LANYARD_TEST_STORE",
        "LANYARD_TOKEN",
        "LANYARD_VERSION",
        "LANYARD_HOME",
        "LANYARD_STORE_BACKUPS",
        "LANYARD_DEV_TOOLS",
        "LANYARD_REGISTRATION_FILE",
        "LANYARD_LISTENERS_MTLS_PORT",
        // Kubernetes sets these for Services named lanyard and lanyard-tokens.
        "LANYARD_PORT",
        "LANYARD_SERVICE_HOST",
        "LANYARD_SERVICE_PORT_MTLS",
        "LANYARD_PORT_8443_TCP_ADDR",
        "LANYARD_TOKENS_SERVICE_HOST",
        "LANYARD_TOKENS_PORT_8443_TCP",
        "LANYARDX_ISSUER__A",
        "LANYARD_",
        "LANYARD",
    ];
    let checked = check(&setup, &others.map(|name| (name, "whatever")));
    assert_eq!(checked.code, Some(0), "{checked:?}");
}

#[test]
fn no_message_shows_a_key_that_stands_in_the_wrong_place() {
    for wrong in [
        format!("keys: {SEAL}"),
        format!("keys: [{SEAL}]"),
        format!("keys: {{key_encryption_key: [{SEAL}]}}"),
        format!("keys: {{key_encryption_key: {{a: {SEAL}}}}}"),
        format!("keys: {{key_encryption_key: {SEAL}, key_encryption_key: {SEAL}}}"),
        format!("keys: {{key_encryption_key: {SEAL}"),
        format!("keys: {{key_encryption_key: {SEAL}}}: x"),
        format!("keys: {{key_encryption_key: \"{SEAL}}}"),
        format!("tokens: {SEAL}\nkeys: {{}}"),
        format!("tokens: {{unbound: {SEAL}}}\nkeys: {{}}"),
        format!("tls: {{max_connections: {SEAL}}}\nkeys: {{}}"),
    ] {
        let setup = written();
        let path = setup.path("lanyard.yaml");
        let yaml = fs::read_to_string(&path).unwrap();
        let rest: Vec<&str> =
            yaml.lines().filter(|line| !line.starts_with("keys:") && !line.starts_with("tokens:")).collect();
        fs::write(&path, format!("{}\n{wrong}\n", rest.join("\n"))).unwrap();
        let checked = check(&setup, &[]);
        assert_eq!(checked.code, Some(1), "{wrong}: {checked:?}");
        assert!(!checked.stderr.contains(&SEAL[..8]), "{wrong}: {checked:?}");
    }
}
