//! What is logged: a level, or directives for parts of the server.

use std::str::FromStr;

use serde::Deserialize;
use serde::Deserializer;
use serde::de;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::filter::Targets;

use crate::authority::observe::AUDIT_TARGET as AUDIT;

/// The crate's own name, with which all of its targets begin.
const OURS: &str = "lanyard";

/// The second parts of this server's targets: its modules, and the audit trail.
const PARTS: [&str; 19] = [
    "apply",
    "audit",
    "authority",
    "cli",
    "client",
    "config",
    "grpc",
    "http",
    "limits",
    "messages",
    "proto",
    "server",
    "signer",
    "store",
    "telemetry",
    "tls",
    "trace_context",
    "trust_sources",
    "yaml",
];

const LEVELS: &str = "expected error, warn, info, debug or trace";

/// What other systems call the levels.
const OTHER_NAMES: [(&str, &str); 12] = [
    ("warning", "warn"),
    ("err", "error"),
    ("critical", "error"),
    ("crit", "error"),
    ("fatal", "error"),
    ("information", "info"),
    ("informational", "info"),
    ("notice", "info"),
    ("default", "info"),
    ("verbose", "debug"),
    ("fine", "debug"),
    ("all", "trace"),
];

/// The longest part of a wrong value that a message shows, in characters.
const SHOWN: usize = 40;

/// A valid value of `log.level`: one of error, warn, info, debug and trace, or directives such as
/// `warn,lanyard::tls=debug`. Whatever it says, the audit trail is logged from `info` on.
#[derive(Clone, Debug, PartialEq)]
pub struct LogLevel(Targets);

/// Why a text is not a level.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidLevel {
    /// It names no level.
    #[error("'{word}' is not a level{}: {LEVELS}", meant(.near.as_deref()))]
    Unknown {
        /// The word, shortened.
        word: String,
        /// The level that was probably meant.
        near: Option<String>,
    },
    /// The target of a directive is misspelt.
    #[error("'{target}' is no target of this server{}", meant(.near.as_deref()))]
    UnknownTarget {
        /// The target, shortened.
        target: String,
        /// The target that was probably meant.
        near: Option<String>,
    },
    /// The directive selects spans or fields, or is not `TARGET=LEVEL`.
    #[error("'{0}' is not a directive: expected TARGET=LEVEL, such as lanyard::tls=debug")]
    Directive(String),
    /// The audit trail would be incomplete.
    #[error("{AUDIT} is always logged from info on: name info or debug for it")]
    Audit,
    /// Nothing of this server would be logged.
    #[error("it matches nothing of this server: add a level, such as info")]
    Nothing,
}

fn meant(near: Option<&str>) -> String {
    near.map(|near| format!(", did you mean {near}?")).unwrap_or_default()
}

impl LogLevel {
    pub(super) fn targets(&self) -> Targets {
        self.0.clone()
    }
}

impl Default for LogLevel {
    fn default() -> Self {
        Self(Targets::new().with_default(LevelFilter::INFO).with_target(AUDIT, LevelFilter::INFO))
    }
}

impl<'de> Deserialize<'de> for LogLevel {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl FromStr for LogLevel {
    type Err = InvalidLevel;

    fn from_str(text: &str) -> Result<Self, InvalidLevel> {
        let directives: Vec<&str> = text.split(',').map(str::trim).filter(|directive| !directive.is_empty()).collect();
        let mut targets = Targets::new();
        let (mut everything, mut ours, mut audit) = (None, None, None);
        let mut logs_ours = false;
        for directive in &directives {
            let Some((target, level)) = directive.split_once('=') else {
                let level = level_of(directive)?;
                everything = Some(level);
                logs_ours |= level > LevelFilter::OFF;
                targets = targets.with_default(level);
                continue;
            };
            let level = level_of(level)?;
            let target = checked(target, directive)?;
            logs_ours |= is_ours(target) && level > LevelFilter::OFF;
            match target {
                OURS => ours = Some(level),
                AUDIT if level < LevelFilter::INFO => return Err(InvalidLevel::Audit),
                AUDIT => audit = Some(level),
                _ => {}
            }
            targets = targets.with_target(target, level);
        }
        if directives.is_empty() {
            return Err(unknown(text));
        }
        if !logs_ours {
            return Err(InvalidLevel::Nothing);
        }
        let audit = audit.or(ours).or(everything).unwrap_or(LevelFilter::OFF).max(LevelFilter::INFO);
        Ok(Self(targets.with_target(AUDIT, audit)))
    }
}

fn level_of(word: &str) -> Result<LevelFilter, InvalidLevel> {
    match word.to_ascii_lowercase().as_str() {
        "off" => Ok(LevelFilter::OFF),
        "error" => Ok(LevelFilter::ERROR),
        "warn" => Ok(LevelFilter::WARN),
        "info" => Ok(LevelFilter::INFO),
        "debug" => Ok(LevelFilter::DEBUG),
        "trace" => Ok(LevelFilter::TRACE),
        _ => Err(unknown(word)),
    }
}

fn unknown(word: &str) -> InvalidLevel {
    let lower = shortened(word).to_ascii_lowercase();
    let named = OTHER_NAMES.iter().find(|(other, _)| *other == lower).map(|(_, level)| *level);
    let near = named.or_else(|| nearest(&lower, ["error", "warn", "info", "debug", "trace"]));
    InvalidLevel::Unknown { word: shortened(word), near: near.map(ToOwned::to_owned) }
}

/// Checks the target of a directive. Targets of other crates are not known here, but a name near this one is a mistake.
fn checked<'a>(target: &'a str, directive: &str) -> Result<&'a str, InvalidLevel> {
    let is_path = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b':');
    if target.is_empty() || !target.bytes().all(is_path) {
        return Err(InvalidLevel::Directive(shortened(directive)));
    }
    let (name, below) = target.split_once("::").map_or((target, None), |(name, below)| (name, Some(below)));
    let refused = |near| InvalidLevel::UnknownTarget { target: shortened(target), near };
    if name != OURS {
        let below = below.map(|below| format!("::{below}")).unwrap_or_default();
        let near = nearest(&shortened(name), [OURS]).map(|ours| shortened(&format!("{ours}{below}")));
        return if near.is_some() { Err(refused(near)) } else { Ok(target) };
    }
    let Some(below) = below else { return Ok(target) };
    let part = below.split_once("::").map_or(below, |(part, _)| part);
    // The audit trail is one target, with nothing below it.
    if PARTS.contains(&part) && (part != "audit" || target == AUDIT) {
        return Ok(target);
    }
    Err(refused(nearest(&shortened(part), PARTS).map(|part| format!("{OURS}::{part}"))))
}

fn is_ours(target: &str) -> bool {
    target.strip_prefix(OURS).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// The known name within two slips of a word.
fn nearest<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let distances = names.into_iter().map(|name| (strsim::osa_distance(word, name), name));
    distances.filter(|(distance, _)| *distance <= 2).min().map(|(_, name)| name)
}

/// The beginning of a text, for a message.
fn shortened(text: &str) -> String {
    text.chars().take(SHOWN).flat_map(char::escape_default).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_are_the_modules_and_the_audit_trail() {
        let modules = include_str!("../lib.rs").lines();
        let modules = modules.filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
        // `fuzzing` is not part of the program.
        let mut modules: Vec<&str> = modules.filter(|module| *module != "fuzzing").chain(["audit"]).collect();
        modules.sort_unstable();
        assert_eq!(modules, PARTS);
    }

    #[test]
    fn the_audit_trail_is_logged_from_info_on_at_every_level() {
        for (text, audit, tls) in [
            ("error", LevelFilter::INFO, LevelFilter::ERROR),
            ("warn", LevelFilter::INFO, LevelFilter::WARN),
            ("INFO", LevelFilter::INFO, LevelFilter::INFO),
            ("debug", LevelFilter::DEBUG, LevelFilter::DEBUG),
            ("lanyard=error", LevelFilter::INFO, LevelFilter::ERROR),
            ("lanyard::tls=debug", LevelFilter::INFO, LevelFilter::DEBUG),
            ("info,lanyard=debug", LevelFilter::DEBUG, LevelFilter::DEBUG),
            ("off, lanyard::audit=debug", LevelFilter::DEBUG, LevelFilter::OFF),
            ("warn,lanyard::audit=debug,hyper=off", LevelFilter::DEBUG, LevelFilter::WARN),
            ("debug,lanyard::audit=info", LevelFilter::INFO, LevelFilter::DEBUG),
        ] {
            let LogLevel(targets) = text.parse().unwrap();
            let most = |target: &str| {
                let levels = [tracing::Level::ERROR, tracing::Level::WARN, tracing::Level::INFO];
                let levels = levels.into_iter().chain([tracing::Level::DEBUG, tracing::Level::TRACE]);
                let mut most = LevelFilter::OFF;
                levels.filter(|level| targets.would_enable(target, level)).for_each(|level| most = level.into());
                most
            };
            assert_eq!((most(AUDIT), most("lanyard::tls::acceptor")), (audit, tls), "{text}");
        }
    }
}
