//! What protocols print of a token's claims. It is the same at each use, so it is kept with the token.

use std::sync::OnceLock;

/// A form in which a protocol prints claims.
#[derive(Clone, Copy, Debug)]
pub enum PrintedForm {
    /// All claims, in the answer to a validation.
    Claims,
    /// The identity headers of an allowed check.
    Headers,
    /// The dynamic metadata of an allowed check.
    Metadata,
}

/// The texts that have been printed so far.
#[derive(Debug, Default)]
pub(in crate::authority::tokens) struct Printed {
    claims: OnceLock<Box<[u8]>>,
    headers: OnceLock<Box<[u8]>>,
    metadata: OnceLock<Box<[u8]>>,
}

impl Printed {
    pub(in crate::authority::tokens) fn of(&self, form: PrintedForm, print: impl FnOnce() -> Vec<u8>) -> &[u8] {
        let kept = match form {
            PrintedForm::Claims => &self.claims,
            PrintedForm::Headers => &self.headers,
            PrintedForm::Metadata => &self.metadata,
        };
        kept.get_or_init(|| print().into())
    }
}
