//! All registrations of a kind, by name.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::hash::Hash;
use std::hash::Hasher;
use std::ops::Bound;
use std::sync::Arc;

use imbl::OrdSet;

use crate::authority::records::hash_map::HashMap;
use crate::authority::records::registered::Registered;
use crate::authority::records::registered::Registration;

/// The registrations of a kind: found by the hash of the name, listed in the order of the names. Neither holds the names
/// besides. A clone shares the unchanged entries.
#[derive(Clone, Debug)]
pub struct ByName<T: Registration> {
    found: HashMap<Named<T>, ()>,
    listed: OrdSet<Named<T>>,
}

/// A registration that is compared by its name.
#[derive(Clone, Debug)]
struct Named<T: Registration>(Arc<Registered<T>>);

impl<T: Registration> Named<T> {
    fn name(&self) -> &str {
        self.0.registration.name()
    }
}

impl<T: Registration> Borrow<str> for Named<T> {
    fn borrow(&self) -> &str {
        self.name()
    }
}

impl<T: Registration> Hash for Named<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name().hash(state);
    }
}

impl<T: Registration> PartialEq for Named<T> {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl<T: Registration> Eq for Named<T> {}

impl<T: Registration> Ord for Named<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.name().cmp(other.name())
    }
}

impl<T: Registration> PartialOrd for Named<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T: Registration> Default for ByName<T> {
    fn default() -> Self {
        Self { found: HashMap::default(), listed: OrdSet::new() }
    }
}

impl<T: Registration> ByName<T> {
    /// The registration with this name.
    pub fn named(&self, name: &str) -> Option<&Arc<Registered<T>>> {
        self.found.get_key_value(name).map(|(named, ())| &named.0)
    }

    /// At most `count` registrations after the name `after`, ordered by name.
    pub fn page(&self, after: Option<&str>, count: usize) -> Vec<Arc<Registered<T>>> {
        self.after(after).take(count).map(Arc::clone).collect()
    }

    /// The registrations after the name `after`, ordered by name.
    pub fn after(&self, after: Option<&str>) -> impl Iterator<Item = &Arc<Registered<T>>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.listed.range::<_, str>((from, Bound::Unbounded)).map(|named| &named.0)
    }

    /// All registrations, ordered by name.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Registered<T>>> {
        self.listed.iter().map(|named| &named.0)
    }

    /// The number of registrations.
    pub fn len(&self) -> usize {
        self.found.len()
    }

    /// Whether there are no registrations.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Inserts a registration, replacing any with the same name.
    pub(in crate::authority) fn insert(&mut self, registered: Arc<Registered<T>>) {
        self.remove(registered.registration.name());
        self.add(registered);
    }

    /// Inserts a registration whose name none has.
    pub(in crate::authority) fn add(&mut self, registered: Arc<Registered<T>>) {
        self.found.insert(Named(Arc::clone(&registered)), ());
        self.listed.insert(Named(registered));
    }

    /// Removes and returns the registration with this name.
    pub(in crate::authority) fn remove(&mut self, name: &str) -> Option<Arc<Registered<T>>> {
        let (Named(removed), ()) = self.found.remove_with_key(name)?;
        self.listed.remove(name);
        Some(removed)
    }
}
