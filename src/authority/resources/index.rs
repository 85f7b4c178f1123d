//! The snapshot of all protected resources, and the lookup of a request's resource.

use std::sync::Arc;
use std::time::Duration;

use imbl::OrdMap;

use crate::authority::access::Fronted;
use crate::authority::records::ByName;
use crate::authority::resources::defined_scopes::DefinedScopes;
use crate::authority::resources::deleted::DeletedResource;
use crate::authority::resources::destinations::Destinations;
use crate::authority::resources::host::HostAndPort;
use crate::authority::resources::metadata::ResourceMetadata;
use crate::authority::resources::resource::ProtectedResource;
use crate::authority::resources::resource::RegisteredResource;
use crate::authority::resources::shared::contested;
use crate::authority::store::Revision;

/// All resources, and the marks of deleted ones. A clone is cheap: a change creates a new snapshot that shares the
/// unchanged entries.
#[derive(Clone, Debug, Default)]
pub struct Resources {
    by_audience: ByName<ProtectedResource>,
    destinations: Destinations,
    deleted: OrdMap<String, (Arc<DeletedResource>, Revision)>,
    deleted_destinations: Destinations,
    /// The scopes that resources define, each with the number of those resources.
    scopes: OrdMap<String, usize>,
    /// The bounds of staleness that resources set, each with the number of those resources.
    bounds: OrdMap<Duration, usize>,
}

/// The destination of a request.
#[derive(Clone, Copy, Debug)]
pub struct Destination<'a> {
    /// The audience that the proxy's own configuration names. If it is set, no other is considered.
    pub named: Option<&'a str>,
    /// The SPIFFE ID of the resource's workload, as the proxy reports it. Anything else, such as a DNS name, is as if
    /// nothing were reported.
    pub principal: &'a str,
    /// The host, and the port if the request has one, as the client sent them.
    pub authority: &'a str,
}

impl Resources {
    /// The resource with this audience.
    pub fn named(&self, audience: &str) -> Option<&Arc<RegisteredResource>> {
        self.by_audience.named(audience)
    }

    /// The resources by audience.
    pub fn by_name(&self) -> &ByName<ProtectedResource> {
        &self.by_audience
    }

    /// All resources.
    pub fn all(&self) -> impl Iterator<Item = &Arc<RegisteredResource>> {
        self.by_audience.all()
    }

    /// The scopes that resources define, sorted.
    pub fn scopes(&self) -> impl Iterator<Item = &String> {
        self.scopes.keys()
    }

    /// Whether the record of the resource with this audience cannot be read.
    pub fn is_suspended(&self, audience: &str) -> bool {
        self.named(audience).is_some_and(|registered| registered.registration.suspended)
    }

    /// The bound of staleness that the resource with this audience sets, if it sets one.
    pub fn bound_of(&self, audience: &str) -> Option<Duration> {
        self.named(audience)?.registration.max_staleness
    }

    /// The shortest and the longest bound of staleness that resources set; `None` where none sets one.
    pub fn bounds(&self) -> Option<(Duration, Duration)> {
        let (shortest, _) = self.bounds.get_min()?;
        let (longest, _) = self.bounds.get_max()?;
        Some((*shortest, *longest))
    }

    /// The number of resources.
    pub fn len(&self) -> usize {
        self.by_audience.len()
    }

    /// Whether there are no resources.
    pub fn is_empty(&self) -> bool {
        self.by_audience.is_empty()
    }

    /// The scopes that count at these audiences.
    pub fn defined_by<'a>(&self, audiences: impl Iterator<Item = &'a str>) -> DefinedScopes {
        let defined = |audience| self.named(audience).and_then(|registered| registered.registration.defined.clone());
        audiences.map(defined).collect::<Option<_>>().map_or(DefinedScopes::Every, DefinedScopes::Of)
    }

    /// The mark of the deleted resource with this audience, unless the audience is registered again.
    pub fn deleted(&self, audience: &str) -> Option<&DeletedResource> {
        let (mark, _) = self.deleted.get(audience)?;
        self.by_audience.named(audience).is_none().then_some(&**mark)
    }

    /// All marks, with their revisions.
    pub(in crate::authority) fn marks(&self) -> impl Iterator<Item = (&DeletedResource, Revision)> {
        self.deleted.values().map(|(mark, revision)| (&**mark, *revision))
    }

    /// The mark of an audience, whether or not that is registered again, with its revision.
    pub(in crate::authority) fn mark(&self, audience: &str) -> Option<(&DeletedResource, Revision)> {
        self.deleted.get(audience).map(|(mark, revision)| (&**mark, *revision))
    }

    /// The resource that a request to this destination addresses, among those that the proxy fronts:
    ///
    /// 1. the one that the proxy's configuration names;
    /// 2. else, if the destination's workload serves any resource, the one that it serves. If it serves several, the
    ///    authority selects one of them;
    /// 3. else the one at this authority, among those without destination principals.
    ///
    /// `None` if no resource or more than one matches. A deleted resource keeps its place: it is not found, and nor is
    /// another one there, except one that is registered for the same place.
    pub fn find(&self, destination: &Destination<'_>, fronted: &Fronted) -> Option<&Arc<RegisteredResource>> {
        if let Some(audience) = destination.named {
            return self.by_audience.named(audience).filter(|_| fronted.includes(audience));
        }
        let served = self.destinations.at_principal(destination.principal);
        let marked = self.deleted_destinations.at_principal(destination.principal);
        let is_fronted = |audience: &&String| fronted.includes(audience);
        // Whether the workload serves any is asked of all resources: a proxy that fronts none of those finds none.
        if served.is_empty() && !marked.iter().any(|audience| self.deleted(audience).is_some()) {
            return self.at(destination.authority, is_fronted, <[String]>::is_empty);
        }
        let mut found = served.iter().filter(is_fronted);
        let (first, second) = (found.next(), found.next());
        let has_authorities =
            |audience: &String| self.deleted(audience).is_some_and(|mark| !mark.authorities.is_empty());
        if second.is_none() && !marked.iter().filter(is_fronted).any(has_authorities) {
            return self.by_audience.named(first?);
        }
        let is_here =
            |audience: &&String| is_fronted(audience) && (served.contains(audience) || marked.contains(audience));
        self.at(destination.authority, is_here, |_| true)
    }

    /// The one resource at this authority, under the host with its port or else under the host for all ports. It must be
    /// one of those that `contend`, the only one of them there, and have principals that are `eligible`.
    fn at(
        &self,
        authority: &str,
        contend: impl Fn(&&String) -> bool,
        eligible: impl Fn(&[String]) -> bool,
    ) -> Option<&Arc<RegisteredResource>> {
        let host = HostAndPort::parse(authority)?;
        for key in host.keys() {
            let here = || {
                let audiences = self.destinations.at_authority(key).iter().filter(&contend);
                audiences.filter_map(|audience| self.by_audience.named(audience))
            };
            let found = here().find(|resource| eligible(&resource.registration.metadata.destination_principals));
            if found.is_some() {
                return found.filter(|_| here().count() == 1);
            }
            let marks = self.deleted_destinations.at_authority(key).iter().filter(&contend);
            if marks.filter_map(|audience| self.deleted(audience)).any(|mark| eligible(&mark.destination_principals)) {
                return None;
            }
        }
        None
    }

    /// A resource with which this one may not share an authority, and that authority. What it shares already, where it
    /// replaces a registered one, is left as it is.
    pub(in crate::authority) fn contested<'a>(&self, wanted: &'a ResourceMetadata) -> Option<(&str, &'a str)> {
        let before = self.by_audience.named(&wanted.audience).map(|registered| &registered.registration.metadata);
        let others = wanted.authorities.iter().flat_map(|authority| self.destinations.at_authority(authority));
        others.filter_map(|audience| self.by_audience.named(audience)).find_map(|other| {
            let authority = contested(wanted, before, &other.registration.metadata)?;
            Some((other.registration.audience(), authority))
        })
    }

    /// Inserts a resource, replacing any with the same audience.
    pub fn insert(&mut self, registered: RegisteredResource) {
        self.remove(registered.registration.audience());
        let metadata = &registered.registration.metadata;
        let ResourceMetadata { audience, destination_principals, authorities, .. } = metadata;
        self.destinations.insert(audience, destination_principals, authorities);
        for scope in defined(metadata) {
            count(&mut self.scopes, scope.to_owned());
        }
        if let Some(bound) = metadata.max_staleness {
            count(&mut self.bounds, bound);
        }
        self.by_audience.insert(Arc::new(registered));
    }

    /// Removes the resource with this audience.
    pub fn remove(&mut self, audience: &str) {
        let Some(removed) = self.by_audience.remove(audience) else { return };
        let metadata = &removed.registration.metadata;
        let ResourceMetadata { destination_principals, authorities, .. } = metadata;
        self.destinations.remove(audience, destination_principals, authorities);
        for scope in defined(metadata) {
            discount(&mut self.scopes, &scope.to_owned());
        }
        if let Some(bound) = &metadata.max_staleness {
            discount(&mut self.bounds, bound);
        }
    }

    /// Inserts the mark of a deleted resource, replacing any with the same audience.
    pub(in crate::authority) fn insert_mark(&mut self, mark: DeletedResource, revision: Revision) {
        self.remove_mark(&mark.audience);
        self.deleted_destinations.insert(&mark.audience, &mark.destination_principals, &mark.authorities);
        self.deleted.insert(mark.audience.clone(), (Arc::new(mark), revision));
    }

    /// Removes the mark of this audience.
    pub(in crate::authority) fn remove_mark(&mut self, audience: &str) {
        let Some((mark, _)) = self.deleted.remove(audience) else { return };
        self.deleted_destinations.remove(audience, &mark.destination_principals, &mark.authorities);
    }
}

fn count<K: Clone + Ord>(counts: &mut OrdMap<K, usize>, key: K) {
    *counts.entry(key).or_default() += 1;
}

fn discount<K: Clone + Ord>(counts: &mut OrdMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

/// The scopes that a resource defines.
fn defined(metadata: &ResourceMetadata) -> impl Iterator<Item = &str> {
    metadata.scope.split(' ').filter(|scope| !scope.is_empty())
}
