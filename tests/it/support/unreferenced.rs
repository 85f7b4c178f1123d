//! Refusals without their references, which differ from run to run.

use lanyard::authority::reference::Refused;

pub trait Unreferenced<T, E> {
    /// The same, with the error alone.
    fn unreferenced(self) -> Result<T, E>;
}

impl<T, E> Unreferenced<T, E> for Result<T, Refused<E>> {
    fn unreferenced(self) -> Result<T, E> {
        self.map_err(|refused| refused.error)
    }
}

/// Whether a text has the form of a reference.
pub fn is_reference(text: &str) -> bool {
    lanyard::authority::reference::Reference::parse(text).is_some()
}

/// A text with `{reference}` in the place of each reference.
pub fn without_references(text: &str) -> String {
    let is_part = |character: char| character.is_ascii_alphanumeric() || character == '-';
    let mut masked = String::new();
    for part in text.split_inclusive(|character| !is_part(character)) {
        let word = part.trim_end_matches(|character| !is_part(character));
        let place = if is_reference(word) { "{reference}" } else { word };
        masked.push_str(place);
        masked.push_str(&part[word.len()..]);
    }
    masked
}
