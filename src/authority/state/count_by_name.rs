//! Names that many records have in common: each is in memory once, with the number of its records.

use std::sync::Arc;

use imbl::HashMap;

/// The numbers of records by name.
#[derive(Clone, Debug, Default)]
pub(super) struct CountByName(HashMap<Arc<str>, usize>);

impl CountByName {
    /// Counts one more record. Its name becomes the one that is in memory already.
    pub(super) fn add(&mut self, name: &mut Arc<str>) {
        if let Some((known, _)) = self.0.get_key_value(&**name) {
            *name = Arc::clone(known);
        }
        *self.0.entry(Arc::clone(name)).or_default() += 1;
    }

    /// Counts one record less.
    pub(super) fn remove(&mut self, name: &str) {
        let left = self.count(name).saturating_sub(1);
        match self.0.get_mut(name) {
            Some(count) if left > 0 => *count = left,
            _ => drop(self.0.remove(name)),
        }
    }

    /// The number of records.
    pub(super) fn count(&self, name: &str) -> usize {
        self.0.get(name).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_kept_once_and_as_long_as_it_has_records() {
        let mut counts = CountByName::default();
        let [mut one, mut other] = [Arc::<str>::from("a"), Arc::<str>::from("a")];
        counts.add(&mut one);
        counts.add(&mut other);
        assert!(Arc::ptr_eq(&one, &other));
        assert_eq!((counts.count("a"), counts.count("b")), (2, 0));
        for left in [1, 0, 0] {
            counts.remove("a");
            assert_eq!(counts.count("a"), left);
        }
        assert!(counts.0.is_empty());
    }
}
