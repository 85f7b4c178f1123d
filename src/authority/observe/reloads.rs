//! What is reloaded while the server runs, and whether the last reload succeeded.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

/// An input that is reloaded.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reloaded {
    /// The server's certificate and key.
    Certificate,
    /// The bundles and client CAs.
    Trust,
    /// The configuration file.
    Configuration,
}

impl Reloaded {
    /// All reloaded inputs.
    pub const ALL: [Self; 3] = [Self::Certificate, Self::Trust, Self::Configuration];

    /// The label in metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::Trust => "trust",
            Self::Configuration => "configuration",
        }
    }
}

/// The inputs whose version in use is older than the latest one, because that is invalid or requires a restart.
#[derive(Debug, Default)]
pub struct Reloads {
    certificate: AtomicBool,
    trust: AtomicBool,
    configuration: AtomicBool,
}

impl Reloads {
    /// Whether the last reload failed.
    pub fn is_failing(&self, what: Reloaded) -> bool {
        self.flag(what).load(Ordering::Relaxed)
    }

    /// Records whether the last reload failed.
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
