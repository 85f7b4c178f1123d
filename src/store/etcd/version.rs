//! Which versions of etcd are used.

use std::fmt;

/// The version of a member.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Version(u32, u32, u32);

/// The first 3.5 whose watches lose no events.
const OLDEST: Version = Version(3, 5, 33);

/// The first 3.6 whose watches lose no events.
const OLDEST_3_6: Version = Version(3, 6, 14);

impl Version {
    /// Reads `MAJOR.MINOR.PATCH`, with or without a suffix.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(['-', '+']).next()?.split('.').map(|part| part.parse().ok());
        let version = Self(parts.next()??, parts.next()??, parts.next()??);
        parts.next().is_none().then_some(version)
    }

    /// Refuses versions whose watches can lose events, among them deletions and revocations.
    pub(super) fn check(self) -> Result<(), String> {
        let Self(major, minor, _) = self;
        let oldest = if (major, minor) == (3, 6) { OLDEST_3_6 } else { OLDEST };
        if self >= oldest {
            return Ok(());
        }
        Err(format!("its version is {self}, whose watches can lose events: it must be {OLDEST}, {OLDEST_3_6} or later"))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(major, minor, patch) = self;
        write!(formatter, "{major}.{minor}.{patch}")
    }
}

#[cfg(test)]
mod tests {
    use super::Version;

    #[test]
    fn versions_whose_watches_lose_events_are_refused() {
        let accepted = |text: &str| Version::parse(text).unwrap().check().is_ok();
        for good in ["3.5.33", "3.5.40", "3.6.14", "3.6.16", "3.7.0", "4.0.0", "3.6.14-rc.1"] {
            assert!(accepted(good), "{good}");
        }
        for old in ["3.4.99", "3.5.32", "3.6.0", "3.6.13", "2.3.8"] {
            assert!(!accepted(old), "{old}");
        }
        for none in ["", "3", "3.6", "3.6.x", "3.6.14.1", "v3.6.14"] {
            assert_eq!(Version::parse(none), None, "{none}");
        }
    }
}
