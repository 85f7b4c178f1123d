//! All registrations of a kind, in the order of their names.

use std::ops::Bound;
use std::sync::Arc;

use imbl::OrdMap;

use crate::authority::records::registered::Registered;
use crate::authority::records::registered::Registration;

/// The registrations of a kind by their names. A clone shares what does not change.
#[derive(Clone, Debug)]
pub struct ByName<T: Registration>(OrdMap<String, Arc<Registered<T>>>);

impl<T: Registration> Default for ByName<T> {
    fn default() -> Self {
        Self(OrdMap::new())
    }
}

impl<T: Registration> ByName<T> {
    /// The one with this name.
    pub fn named(&self, name: &str) -> Option<&Arc<Registered<T>>> {
        self.0.get(name)
    }

    /// Those after `name` in the order of their names, `count` at most.
    pub fn page(&self, after: Option<&str>, count: usize) -> Vec<Arc<Registered<T>>> {
        let from = after.map_or(Bound::Unbounded, |name| Bound::Excluded(name.to_owned()));
        self.0.range((from, Bound::Unbounded)).take(count).map(|(_, registered)| Arc::clone(registered)).collect()
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Registered<T>>> {
        self.0.values()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Puts one in the place of the one with the same name.
    pub(in crate::authority) fn insert(&mut self, registered: Registered<T>) {
        self.0.insert(registered.registration.name().to_owned(), Arc::new(registered));
    }

    /// Takes one out.
    pub(in crate::authority) fn remove(&mut self, name: &str) -> Option<Arc<Registered<T>>> {
        self.0.remove(name)
    }
}
