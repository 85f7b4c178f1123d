//! The report, for people and for programs.

use std::borrow::Cow;
use std::fmt::Write as _;

use serde::Serialize;

use crate::cli::colour::Colour;
use crate::cli::doctor::fault::Fault;
use crate::cli::doctor::severity::Status;
use crate::cli::error::CommandError;
use crate::cli::output;
use crate::cli::output::Format;

/// The colours of the words for a status.
const MARKS: [(&str, Colour); 3] = [("ok", Colour::Green), ("WARNING", Colour::Yellow), ("ERROR", Colour::Red)];

/// One line of the report. The names of the fields are stable.
#[derive(Debug, Serialize)]
struct Line {
    check: &'static str,
    subject: String,
    status: Status,
    code: Option<&'static str>,
    message: String,
    next: Option<Cow<'static, str>>,
}

/// All lines, in the order of the checks.
#[derive(Debug, Default, Serialize)]
pub(in crate::cli::doctor) struct Report {
    checks: Vec<Line>,
}

#[derive(Serialize)]
struct Document<'a> {
    healthy: bool,
    errors: usize,
    warnings: usize,
    #[serde(flatten)]
    report: &'a Report,
}

impl Report {
    /// The check passed. `message` is the result in a few words.
    pub(in crate::cli::doctor) fn ok(
        &mut self,
        check: &'static str,
        subject: impl Into<String>,
        message: impl Into<String>,
    ) {
        self.line(check, subject, Status::Ok, None, message);
    }

    /// The check found a fault. `message` describes it in one sentence: lower case without a full stop.
    pub(in crate::cli::doctor) fn fault(
        &mut self,
        check: &'static str,
        subject: impl Into<String>,
        fault: Fault,
        message: impl Into<String>,
    ) {
        self.line(check, subject, fault.status(), Some(fault), message);
    }

    /// The check found a fault that an error describes. Its next step is the error's, which knows more.
    pub(in crate::cli::doctor) fn fault_of(
        &mut self,
        check: &'static str,
        subject: impl Into<String>,
        fault: Fault,
        error: &CommandError,
    ) {
        let (subject, message) = (subject.into(), error.to_string());
        let next = Some(Cow::Owned(error.next().to_owned()));
        self.checks.push(Line { check, subject, status: fault.status(), code: Some(fault.code()), message, next });
    }

    /// The check could not be made. `reason` explains why.
    pub(in crate::cli::doctor) fn not_checked(
        &mut self,
        check: &'static str,
        subject: impl Into<String>,
        reason: impl Into<String>,
    ) {
        self.line(check, subject, Status::NotChecked, None, reason);
    }

    fn line(
        &mut self,
        check: &'static str,
        subject: impl Into<String>,
        status: Status,
        fault: Option<Fault>,
        message: impl Into<String>,
    ) {
        let (code, next) = (fault.map(Fault::code), fault.map(|fault| Cow::Borrowed(fault.next())));
        self.checks.push(Line { check, subject: subject.into(), status, code, message: message.into(), next });
    }

    /// The number of lines with this status.
    pub(in crate::cli::doctor) fn count(&self, status: Status) -> usize {
        self.checks.iter().filter(|line| line.status == status).count()
    }

    /// The number of lines. If a check adds none, it has found no fault.
    pub(in crate::cli::doctor) fn len(&self) -> usize {
        self.checks.len()
    }

    /// Prints the report to stdout.
    pub(in crate::cli::doctor) fn print(&self, format: Format) -> Result<(), CommandError> {
        let (errors, warnings) = (self.count(Status::Error), self.count(Status::Warning));
        match format {
            Format::Json => output::print_json(&Document { healthy: errors == 0, errors, warnings, report: self }),
            Format::Text => output::print_marked(&self.text(errors, warnings), &MARKS),
        }
    }

    fn text(&self, errors: usize, warnings: usize) -> String {
        let mut text = String::new();
        for line in &self.checks {
            let status = match line.status {
                Status::Ok => "ok",
                Status::Warning => "WARNING",
                Status::Error => "ERROR",
                Status::NotChecked => "not checked",
            };
            let code = line.code.map(|code| format!(" ({code})")).unwrap_or_default();
            let subject = if line.subject.is_empty() { String::new() } else { format!("{}: ", line.subject) };
            let _written = writeln!(text, "{status:<12}{:<20}{subject}{}{code}", line.check, line.message).is_ok();
            if let Some(next) = &line.next {
                let _written = writeln!(text, "{:<12}next: {next}", "").is_ok();
            }
        }
        let counted = |count: usize, name: &str| format!("{count} {name}{}", if count == 1 { "" } else { "s" });
        let _written = writeln!(text, "{}, {}", counted(errors, "error"), counted(warnings, "warning")).is_ok();
        text
    }
}
