//! The error of a command, as the user sees it.

use std::fmt::Display;
use std::io;

/// A problem and the next step.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{problem}")]
pub(in crate::cli) struct CommandError {
    problem: String,
    next: String,
    code: Option<String>,
    reference: Option<String>,
    retryable: bool,
}

impl CommandError {
    /// Both texts are lower case without a full stop. `next` is an instruction.
    pub(in crate::cli) fn new(problem: impl Into<String>, next: impl Into<String>) -> Self {
        Self { problem: problem.into(), next: next.into(), code: None, reference: None, retryable: true }
    }

    /// The error of a file, or stdin, that cannot be read.
    pub(in crate::cli) fn unreadable(name: impl Display, error: &io::Error) -> Self {
        Self::new(format!("cannot read {name}: {error}"), "see whether the path is right and whether you may read it")
    }

    /// Adds the fixed code of a server's refusal.
    #[must_use]
    pub(in crate::cli) fn with_code(self, code: String) -> Self {
        Self { code: Some(code), ..self }
    }

    /// Adds the reference of a server's refusal.
    #[must_use]
    pub(in crate::cli) fn with_reference(self, reference: Option<String>) -> Self {
        Self { reference, ..self }
    }

    /// The reference of a server's refusal, if it has one.
    pub(in crate::cli) fn reference(&self) -> Option<&str> {
        self.reference.as_deref()
    }

    /// Prefixes the problem with its subject.
    #[must_use]
    pub(in crate::cli) fn of(self, subject: &str) -> Self {
        Self { problem: format!("{subject}: {}", self.problem), ..self }
    }

    /// Changes the next step.
    #[must_use]
    pub(in crate::cli) fn with_next(self, change: impl FnOnce(&str) -> String) -> Self {
        Self { next: change(&self.next), ..self }
    }

    /// The fixed code of a server's refusal; `None` for other errors.
    pub(in crate::cli) fn code(&self) -> Option<&str> {
        self.code.as_deref()
    }

    /// Marks an error that the same input causes again, however often it is tried.
    #[must_use]
    pub(in crate::cli) fn not_retryable(self) -> Self {
        Self { retryable: false, ..self }
    }

    /// Whether the same input can succeed later.
    pub(in crate::cli) fn is_retryable(&self) -> bool {
        self.retryable
    }

    /// The next step.
    pub(in crate::cli) fn next(&self) -> &str {
        &self.next
    }
}
