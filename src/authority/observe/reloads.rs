//! What is read again while the server serves, and whether it could be taken the last time.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

/// What is read again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reloaded {
    /// The server's certificate and key.
    Certificate,
    /// Bundles and client CAs.
    Trust,
    /// The configuration file.
    Configuration,
}

impl Reloaded {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Certificate, Self::Trust, Self::Configuration];

    /// The name in metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::Trust => "trust",
            Self::Configuration => "configuration",
        }
    }
}

/// What the server goes by that is older than what it was given since: that is broken, or it takes a restart.
#[derive(Debug, Default)]
pub struct Reloads {
    certificate: AtomicBool,
    trust: AtomicBool,
    configuration: AtomicBool,
}

impl Reloads {
    /// Whether the last try failed.
    pub fn is_failing(&self, what: Reloaded) -> bool {
        self.flag(what).load(Ordering::Relaxed)
    }

    /// Takes note of the last try.
    pub fn set_failing(&self, what: Reloaded, failing: bool) {
        self.flag(what).store(failing, Ordering::Relaxed);
    }

    fn flag(&self, what: Reloaded) -> &AtomicBool {
        match what {
            Reloaded::Certificate => &self.certificate,
            Reloaded::Trust => &self.trust,
            Reloaded::Configuration => &self.configuration,
        }
    }
}
