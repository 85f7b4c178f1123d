//! What the one at the keyboard is told when a command cannot do its work.

/// What went wrong, and what to do next.
#[derive(Debug, thiserror::Error)]
#[error("{problem}")]
pub(in crate::cli) struct CommandError {
    problem: String,
    next: String,
}

impl CommandError {
    /// Both texts are lower case without a full stop; `next` is an instruction.
    pub(in crate::cli) fn new(problem: impl Into<String>, next: impl Into<String>) -> Self {
        Self { problem: problem.into(), next: next.into() }
    }

    /// The same, said of something.
    #[must_use]
    pub(in crate::cli) fn of(self, subject: &str) -> Self {
        Self { problem: format!("{subject}: {}", self.problem), next: self.next }
    }

    /// What to do next.
    pub(in crate::cli) fn next(&self) -> &str {
        &self.next
    }
}
