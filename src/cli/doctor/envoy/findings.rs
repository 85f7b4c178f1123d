//! What is found, each once: a dump holds the static part of the configuration twice.

use std::collections::HashSet;

use crate::cli::doctor::envoy::messages::Found;
use crate::cli::doctor::fault::Fault;
use crate::cli::doctor::report::Report;

pub(in crate::cli::doctor::envoy) const CHECK: &str = "envoy";

/// The report of one file.
pub(in crate::cli::doctor::envoy) struct Findings<'a> {
    file: &'a str,
    report: &'a mut Report,
    reported: HashSet<(String, String)>,
}

impl<'a> Findings<'a> {
    pub(in crate::cli::doctor::envoy) fn new(file: &'a str, report: &'a mut Report) -> Self {
        Self { file, report, reported: HashSet::new() }
    }

    /// Reports a fault of a message.
    pub(in crate::cli::doctor::envoy) fn fault(&mut self, of: &Found<'_>, fault: Fault, problem: impl Into<String>) {
        let (subject, problem) = (self.subject(of), problem.into());
        if self.reported.insert((subject.clone(), problem.clone())) {
            self.report.fault(CHECK, subject, fault, problem);
        }
    }

    /// Reports why a message could not be checked.
    pub(in crate::cli::doctor::envoy) fn not_checked(&mut self, of: &Found<'_>, reason: String) {
        let subject = self.subject(of);
        if self.reported.insert((subject.clone(), reason.clone())) {
            self.report.not_checked(CHECK, subject, reason);
        }
    }

    fn subject(&self, of: &Found<'_>) -> String {
        match of.listener {
            Some(listener) => format!("{}, listener {listener}", self.file),
            None => self.file.to_owned(),
        }
    }
}
