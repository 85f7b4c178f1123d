//! The section `keys.pkcs11` of the configuration. No module is loaded to read it.

use std::fs;

use lanyard::config;
use lanyard::config::Config;
use lanyard::signer::pkcs11::TokenName;
use secrecy::ExposeSecret as _;

use crate::support::server::SEAL;
use crate::support::server::Setup;

/// Reads the section with this algorithm; the file `pin` has these contents.
fn read(algorithm: &str, section: &str, pin: &str) -> Result<Config, String> {
    let keys = format!("{{key_encryption_key: {SEAL}, algorithm: {algorithm}, pkcs11: {{{section}}}}}");
    let setup = Setup { keys, ..Setup::default() };
    setup.write();
    fs::write(setup.path("pin"), pin).unwrap();
    config::load(&setup.path("lanyard.yaml")).map_err(|error| error.to_string())
}

#[test]
fn a_token_has_one_name_and_its_pin_comes_from_one_place() {
    let config = read("ES256", "module: hsm.so, token_label: a, pin_file: pin", " 12 34\n").unwrap();
    let token = config.pkcs11.as_ref().unwrap();
    assert_eq!((&token.token, token.sessions), (&TokenName::Label("a".to_owned()), 4));
    assert_eq!(token.pin.expose_secret(), " 12 34");
    assert!(token.module.is_absolute() && token.new_keys && !token.start_without_token);
    assert!(!format!("{config:?}").contains("12 34"));
    let config =
        read("RS256", "module: /hsm.so, token_serial: '07', pin: '9', sessions: 64, new_keys: false", "").unwrap();
    let token = config.pkcs11.unwrap();
    assert_eq!((token.token, token.sessions), (TokenName::Serial("07".to_owned()), 64));
    assert_eq!((token.module.to_str(), token.pin.expose_secret(), token.new_keys), (Some("/hsm.so"), "9", false));
    let cases = [
        ("token_label: a, pin: secret", "module"),
        ("module: x, pin: secret", "keys.pkcs11.token_label: is missing"),
        ("module: x, token_label: a, token_serial: b, pin: secret", "keys.pkcs11.token_label: goes only without"),
        ("module: x, token_label: a", "keys.pkcs11.pin_file: is missing, and LANYARD_KEYS__PKCS11__PIN is not set"),
        ("module: x, token_label: a, pin: secret, pin_file: pin", "keys.pkcs11.pin_file: goes only without"),
        ("module: x, token_label: a, pin_file: pin", "keys.pkcs11.pin_file: is empty"),
        ("module: x, token_label: a, pin_file: missing", "missing"),
        ("module: x, token_label: a, pin: secret, sessions: 0", "sessions"),
        ("module: x, token_label: a, pin: secret, sessions: 65", "keys.pkcs11.sessions: must not be more than 64"),
        ("module: x, token_label: a, pin: secret, slot: 3", "unknown field"),
    ];
    for (section, expected) in cases {
        let problem = read("ES256", section, "\n").unwrap_err();
        assert!(problem.contains(expected) && !problem.contains("secret"), "{section}: {problem}");
    }
}

#[test]
fn an_algorithm_that_no_token_signs_is_refused_unless_new_keys_are_made_in_the_store() {
    let section = "module: x, token_label: a, pin: secret";
    let problem = read("EdDSA", section, "").unwrap_err();
    assert!(problem.contains("keys.algorithm: is EdDSA, which is not supported with keys.pkcs11"), "{problem}");
    read("EdDSA", &format!("{section}, new_keys: false"), "").unwrap();
}
