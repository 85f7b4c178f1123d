//! Values that many records have in common: each is in memory once, with the number of its records.

use std::hash::Hash;
use std::sync::Arc;

use crate::authority::records::hash_map::HashMap;

/// The values, each with the number of its records. A clone shares what does not change.
#[derive(Debug)]
pub(in crate::authority) struct Shared<T: ?Sized>(HashMap<Arc<T>, (Arc<T>, usize)>);

impl<T: ?Sized> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Eq + Hash + ?Sized> Default for Shared<T> {
    fn default() -> Self {
        Self(HashMap::default())
    }
}

impl<T: Eq + Hash + ?Sized> Shared<T> {
    /// Counts one more record. Its value becomes the one that is in memory already.
    pub(in crate::authority) fn add(&mut self, value: &mut Arc<T>) {
        if let Some((known, count)) = self.0.get_mut(&**value) {
            *value = Arc::clone(known);
            *count += 1;
        } else {
            self.0.insert(Arc::clone(value), (Arc::clone(value), 1));
        }
    }

    /// Counts one record less.
    pub(in crate::authority) fn remove(&mut self, value: &T) {
        match self.0.get_mut(value) {
            Some((_, count)) if *count > 1 => *count -= 1,
            _ => drop(self.0.remove(value)),
        }
    }

    /// The number of records.
    pub(in crate::authority) fn count(&self, value: &T) -> usize {
        self.0.get(value).map_or(0, |(_, count)| *count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_kept_once_and_as_long_as_it_has_records() {
        let mut shared = Shared::default();
        let [mut one, mut other] = [Arc::<str>::from("a"), Arc::<str>::from("a")];
        shared.add(&mut one);
        shared.add(&mut other);
        assert!(Arc::ptr_eq(&one, &other));
        assert_eq!((shared.count("a"), shared.count("b")), (2, 0));
        for left in [1, 0, 0] {
            shared.remove("a");
            assert_eq!(shared.count("a"), left);
        }
        assert!(shared.0.is_empty());
    }
}
