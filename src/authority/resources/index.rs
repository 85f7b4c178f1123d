//! The snapshot of all protected resources, and the lookup of a request's resource.

use std::sync::Arc;

use imbl::HashMap;
use imbl::OrdMap;

use crate::authority::access::Fronted;
use crate::authority::records::ByName;
use crate::authority::resources::metadata::ResourceMetadata;
use crate::authority::resources::resource::ProtectedResource;
use crate::authority::resources::resource::RegisteredResource;
use crate::authority::resources::resource::split_port;

/// All resources. A clone is cheap: a change creates a new snapshot that shares the unchanged entries.
#[derive(Clone, Debug, Default)]
pub struct Resources {
    by_audience: ByName<ProtectedResource>,
    principals: HashMap<String, Audiences>,
    authorities: HashMap<String, Audiences>,
    /// The scopes that resources define, each with the number of those resources.
    scopes: OrdMap<String, usize>,
}

/// The audiences under one index entry: nearly always one.
type Audiences = Vec<String>;

/// The destination of a request.
#[derive(Clone, Copy, Debug)]
pub struct Destination<'a> {
    /// The audience that the proxy's own configuration names. If it is set, no other is considered.
    pub named: Option<&'a str>,
    /// The SPIFFE ID of the resource's workload, as the proxy reports it.
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

    /// The number of resources.
    pub fn len(&self) -> usize {
        self.by_audience.len()
    }

    /// Whether there are no resources.
    pub fn is_empty(&self) -> bool {
        self.by_audience.is_empty()
    }

    /// The resource that a request to this destination addresses, among those that the proxy fronts: the one that the
    /// proxy's configuration names; else the one that the destination's workload serves; else the one at this
    /// authority. If a workload serves several, the authority selects one. `None` if no resource or more than one
    /// matches.
    pub fn find(&self, destination: &Destination<'_>, fronted: &Fronted) -> Option<&Arc<RegisteredResource>> {
        if let Some(audience) = destination.named {
            return self.by_audience.named(audience).filter(|_| fronted.includes(audience));
        }
        let among = |audiences: Option<&Audiences>| -> Audiences {
            let audiences = audiences.into_iter().flatten();
            audiences.filter(|audience| fronted.includes(audience)).cloned().collect()
        };
        let authority = destination.authority.to_ascii_lowercase();
        let (host, port) = split_port(&authority);
        let mut here = among(self.authorities.get(&authority));
        // A resource that is registered with this port takes precedence over one for all ports.
        if here.is_empty() && port.is_some() {
            here = among(self.authorities.get(host));
        }
        let mut meant = match destination.principal {
            "" => Vec::new(),
            principal => among(self.principals.get(principal)),
        };
        if meant.is_empty() {
            meant = here;
        } else if meant.len() > 1 {
            meant.retain(|audience| here.contains(audience));
        }
        match meant.as_slice() {
            [only] => self.by_audience.named(only),
            _ => None,
        }
    }

    /// Inserts a resource, replacing any with the same audience.
    pub fn insert(&mut self, registered: RegisteredResource) {
        let audience = registered.registration.audience().to_owned();
        self.remove(&audience);
        let metadata = &registered.registration.metadata;
        for (index, keys) in
            [(&mut self.principals, &metadata.destination_principals), (&mut self.authorities, &metadata.authorities)]
        {
            for key in keys {
                let audiences = index.entry(key.clone()).or_default();
                // An entry that is listed twice refers to the same resource.
                if audiences.last() != Some(&audience) {
                    audiences.push(audience.clone());
                }
            }
        }
        for scope in defined(metadata) {
            *self.scopes.entry(scope.to_owned()).or_default() += 1;
        }
        self.by_audience.insert(registered);
    }

    /// Removes the resource with this audience.
    pub fn remove(&mut self, audience: &str) {
        let Some(removed) = self.by_audience.remove(audience) else { return };
        let metadata = &removed.registration.metadata;
        for (index, keys) in
            [(&mut self.principals, &metadata.destination_principals), (&mut self.authorities, &metadata.authorities)]
        {
            for key in keys {
                if let Some(audiences) = index.get_mut(key) {
                    audiences.retain(|known| known != audience);
                    if audiences.is_empty() {
                        index.remove(key);
                    }
                }
            }
        }
        for scope in defined(metadata) {
            if let Some(count) = self.scopes.get_mut(scope) {
                *count -= 1;
                if *count == 0 {
                    self.scopes.remove(scope);
                }
            }
        }
    }
}

/// The scopes that a resource defines.
fn defined(metadata: &ResourceMetadata) -> impl Iterator<Item = &str> {
    metadata.scope.split(' ').filter(|scope| !scope.is_empty())
}
