//! Environment variables that override the file: `LANYARD_TLS__CLIENT_AUTH` is `tls.client_auth`.

use std::ffi::OsString;

use crate::config::error::ConfigError;
use crate::yaml;
use crate::yaml::Node;

const PREFIX: &str = "LANYARD_";

/// The separator between a section and a key in it.
const SEPARATOR: &str = "__";

/// The top-level keys of the file. A variable without any of them may have another purpose, such as `LANYARD_SERVER`.
const SECTIONS: [&str; 28] = [
    "audit",
    "chaining",
    "dev",
    "dual_control",
    "exchange",
    "federation",
    "forwarded",
    "history",
    "issuer",
    "jwks_uri",
    "keys",
    "limits",
    "listeners",
    "local",
    "log",
    "mtls_url",
    "quotas",
    "registration",
    "roles",
    "rotation",
    "store",
    "telemetry",
    "tls",
    "tokens",
    "trust",
    "trusted_issuers",
    "txn_tokens",
    "workload_api",
];

/// The top-level keys that are single values.
const VALUES: [&str; 4] = ["dev", "issuer", "mtls_url", "registration"];

/// The most underscores in a name for which all ways of doubling them are tried.
const MOST_UNDERSCORES: usize = 6;

/// Merges the variables into the file's tree. `is_key` returns whether the configuration has a key.
pub(super) fn overlay(
    tree: &mut Node,
    variables: impl Iterator<Item = (OsString, OsString)>,
    is_key: impl Fn(&[&str]) -> bool,
) -> Result<(), ConfigError> {
    let mut variables: Vec<(String, OsString)> = variables
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        .filter(|(name, _)| key_of(name).is_some())
        .collect();
    // The order is fixed, so that of several errors the same one is always reported.
    variables.sort();
    for (name, value) in variables {
        let Some(key) = key_of(&name) else { continue };
        let keys: Vec<&str> = key.split(SEPARATOR).collect();
        if keys.first().is_some_and(|section| SECTIONS.contains(section)) {
            let Some(text) = value.to_str() else {
                return Err(ConfigError::Environment { variable: name, error: yaml::YamlError::new("is not UTF-8") });
            };
            tree.overlay(Node::nested(&keys, yaml::variable(&name, text)));
        } else if let Some(hint) = misspelt(&key, &value.to_string_lossy(), &is_key) {
            return Err(ConfigError::UnknownVariable { variable: name, hint });
        }
    }
    Ok(())
}

/// The part of a name after the prefix; names are case-insensitive.
fn key_of(name: &str) -> Option<String> {
    let prefix = name.get(..PREFIX.len())?;
    let key = name.get(PREFIX.len()..)?;
    prefix.eq_ignore_ascii_case(PREFIX).then(|| key.to_ascii_lowercase())
}

/// The name to suggest, if a variable seems to be meant for the configuration but is none of its keys.
fn misspelt(key: &str, value: &str, is_key: impl Fn(&[&str]) -> bool) -> Option<String> {
    let spelt = |keys: &[&str]| format!("did you mean {PREFIX}{}?", keys.join(SEPARATOR).to_ascii_uppercase());
    if let Some((section, below)) = key.split_once(SEPARATOR) {
        // No other variable has a name of this form.
        let section = yaml::nearest(section, SECTIONS.into_iter());
        let listed = || format!("expected {PREFIX} and one of {}", SECTIONS.join(", ").to_ascii_uppercase());
        return Some(section.map_or_else(listed, |section| spelt(&[section, below])));
    }
    let is_section = value.trim_start().starts_with(['{', '[']);
    let single = if is_section { &SECTIONS[..] } else { &VALUES[..] };
    if let Some(name) = yaml::nearest(key, single.iter().copied()) {
        return Some(spelt(&[name]));
    }
    let keys = doubled(key).into_iter().find(|keys| is_key(keys))?;
    Some(spelt(&keys))
}

/// All ways to read single underscores as separators: `log_level` as `log`, `level`.
fn doubled(key: &str) -> Vec<Vec<&str>> {
    let underscores: Vec<usize> = key.match_indices('_').map(|(place, _)| place).collect();
    if underscores.len() > MOST_UNDERSCORES {
        return Vec::new();
    }
    let choices = 1..1_usize << underscores.len();
    let split = |choice: usize| {
        let mut keys = Vec::new();
        let mut start = 0;
        for (number, place) in underscores.iter().enumerate() {
            if choice & (1 << number) != 0 {
                keys.extend(key.get(start..*place));
                start = place + 1;
            }
        }
        keys.extend(key.get(start..));
        keys
    };
    choices.map(split).filter(|keys| keys.first().is_some_and(|section| SECTIONS.contains(section))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::file::File;

    #[test]
    fn the_sections_are_those_of_the_file() {
        let unknown = yaml::read::<File>(&Node::nested(&["?"], yaml::variable("", ""))).unwrap_err().to_string();
        let (_, listed) = unknown.split_once("expected one of ").unwrap();
        let mut listed: Vec<&str> = listed.split(", ").map(|name| name.trim_matches('`')).collect();
        listed.sort_unstable();
        assert_eq!(listed, SECTIONS);
        assert!(VALUES.iter().all(|value| SECTIONS.contains(value)));
    }

    #[test]
    fn single_underscores_are_read_in_every_way_that_begins_with_a_section() {
        assert_eq!(doubled("log_level"), [["log", "level"]]);
        assert_eq!(doubled("store_sled_path"), [&["store", "sled_path"][..], &["store", "sled", "path"]]);
        assert_eq!(doubled("workload_api_max_age").len(), 2);
        assert_eq!(doubled("server_name"), Vec::<Vec<&str>>::new());
        assert_eq!(doubled("log_a_b_c_d_e_f_g"), Vec::<Vec<&str>>::new());
    }

    #[test]
    fn variables_go_before_the_file_and_leave_the_rest_of_it() {
        let mut tree =
            yaml::document("tls: {key: a, certificate: b}\nlog: {level: x}\n", yaml::PlainScalars::AreNoText).unwrap();
        let variables =
            [("LANYARD_TLS__KEY", "c"), ("LANYARD_LOG", "{format: json}"), ("LANYARD_DEV", "true"), ("PATH", "d")];
        let variables = variables.map(|(name, value)| (name.into(), value.into()));
        overlay(&mut tree, variables.into_iter(), |_| false).unwrap();
        let read: serde_json::Value = yaml::read(&tree).unwrap();
        let expected = serde_json::json!({
            "tls": {"key": "c", "certificate": "b"},
            "log": {"level": "x", "format": "json"},
            "dev": true,
        });
        assert_eq!(read, expected);
    }

    #[test]
    fn a_value_that_is_not_utf_8_is_refused_where_it_counts() {
        use std::os::unix::ffi::OsStringExt as _;
        let mut tree = yaml::document("{}", yaml::PlainScalars::AreNoText).unwrap();
        let mut with =
            |name: &str| overlay(&mut tree, [(name.into(), OsString::from_vec(vec![0xff]))].into_iter(), |_| false);
        assert_eq!(with("LANYARD_ISSUER").unwrap_err().to_string(), "the environment: LANYARD_ISSUER: is not UTF-8");
        assert!(with("LANYARD_SERVER").is_ok());
    }
}
