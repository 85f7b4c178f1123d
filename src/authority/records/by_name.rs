//! All registrations of a kind, ordered by name.

use std::ops::Bound;
use std::sync::Arc;

use imbl::OrdMap;

use crate::authority::records::registered::Registered;
use crate::authority::records::registered::Registration;

/// The registrations of a kind by name. A clone shares the unchanged entries.
#[derive(Clone, Debug)]
pub struct ByName<T: Registration>(OrdMap<String, Arc<Registered<T>>>);

impl<T: Registration> Default for ByName<T> {
    fn default() -> Self {
        Self(OrdMap::new())
    }
}

impl<T: Registration> ByName<T> {
    /// The registration with this name.
    pub fn named(&self, name: &str) -> Option<&Arc<Registered<T>>> {
        self.0.get(name)
    }

    /// At most `count` registrations after the name `after`, ordered by name.
    pub fn page(&self, after: Option<&str>, count: usize) -> Vec<Arc<Registered<T>>> {
        let from = after.map_or(Bound::Unbounded, |name| Bound::Excluded(name.to_owned()));
        self.0.range((from, Bound::Unbounded)).take(count).map(|(_, registered)| Arc::clone(registered)).collect()
    }

    /// All registrations, ordered by name.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Registered<T>>> {
        self.0.values()
    }

    /// The number of registrations.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no registrations.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Inserts a registration, replacing any with the same name.
    pub(in crate::authority) fn insert(&mut self, registered: Registered<T>) {
        self.0.insert(registered.registration.name().to_owned(), Arc::new(registered));
    }

    /// Removes and returns the registration with this name.
    pub(in crate::authority) fn remove(&mut self, name: &str) -> Option<Arc<Registered<T>>> {
        self.0.remove(name)
    }
}
