//! What callers see of the registry: admins and auditors everything, a team's admins what lies within their grants.

use std::sync::Arc;

use crate::authority::Authority;
use crate::authority::access::GrantMetadata;
use crate::authority::access::RegisteredGrant;
use crate::authority::access::TeamGrant;
use crate::authority::access::Within;
use crate::authority::api::registry::Managed;
use crate::authority::decision::present_within;
use crate::authority::decision::within;
use crate::authority::records::Registered;
use crate::authority::records::Registration as _;
use crate::authority::records::RegistrationChange;
use crate::authority::records::RegistryError;
use crate::authority::registration::ClientMetadata;
use crate::authority::registration::ClientRegistration;
use crate::authority::registration::RegisteredClient;
use crate::authority::resources::ProtectedResource;
use crate::authority::resources::RegisteredResource;
use crate::authority::resources::ResourceMetadata;
use crate::authority::state::Caller;
use crate::authority::state::RevocationRecord;
use crate::authority::state::Revoked;

/// How many registrations are looked at for one page of those that a team's admin sees: a page may have fewer than were asked
/// for, and not be the last.
const LOOKED_AT: usize = 10_000;

/// A part of a list.
#[derive(Clone, Debug)]
pub struct Listed<T> {
    /// Its entries, in the order of their names.
    pub entries: Vec<T>,
    /// The name after which the next part begins; `None` where this is the last.
    pub next: Option<String>,
}

impl Authority {
    /// The client with this `client_id`, for a caller that may see it.
    pub fn seen_client(&self, caller: &Caller, client_id: &str) -> Result<Arc<RegisteredClient>, RegistryError> {
        let bounds = caller.sees();
        let found = self.client(client_id).map_err(|error| match (error, bounds) {
            // Whose pattern covers it is not for everybody.
            (RegistryError::Covered(_), Within::Grants(_)) => RegistryError::NotFound(ClientRegistration::KIND),
            (error, Within::Everything | Within::Grants(_)) => error,
        })?;
        present_within(bounds, &found)?;
        Ok(found)
    }

    /// At most `count` of the clients that a caller sees, after the one named `after`.
    pub fn seen_clients(&self, caller: &Caller, after: Option<&str>, count: usize) -> Listed<Arc<RegisteredClient>> {
        self.seen_page(caller, after, count)
    }

    /// The resource with this audience, for a caller that may see it.
    pub fn seen_resource(&self, caller: &Caller, audience: &str) -> Result<Arc<RegisteredResource>, RegistryError> {
        let found = self.resource(audience)?;
        present_within(caller.sees(), &found)?;
        Ok(found)
    }

    /// At most `count` of the resources that a caller sees, after the one with the audience `after`.
    pub fn seen_resources(
        &self,
        caller: &Caller,
        after: Option<&str>,
        count: usize,
    ) -> Listed<Arc<RegisteredResource>> {
        self.seen_page(caller, after, count)
    }

    /// The grant of this name, for a caller that may see it: a team's admins see their own.
    pub fn seen_grant(&self, caller: &Caller, name: &str) -> Result<Arc<RegisteredGrant>, RegistryError> {
        let Within::Grants(own) = caller.sees() else { return self.named(name) };
        let found = own.iter().find(|grant| grant.registration.name() == name);
        found.map(Arc::clone).ok_or(RegistryError::NotFound(TeamGrant::KIND))
    }

    /// At most `count` of the grants that a caller sees, after the one named `after`.
    pub fn seen_grants(&self, caller: &Caller, after: Option<&str>, count: usize) -> Listed<Arc<RegisteredGrant>> {
        let Within::Grants(own) = caller.sees() else { return self.seen_page(caller, after, count) };
        let mut later = own.iter().filter(|grant| after.is_none_or(|after| grant.registration.name() > after));
        let entries: Vec<_> = later.by_ref().take(count).map(Arc::clone).collect();
        let last = entries.last().filter(|_| later.next().is_some());
        Listed { next: last.map(|last| last.registration.name().to_owned()), entries }
    }

    /// The changes of a client that are kept and that a caller sees, the oldest first.
    pub async fn seen_client_history(
        &self,
        caller: &Caller,
        client_id: &str,
    ) -> Result<Vec<RegistrationChange<ClientMetadata>>, RegistryError> {
        self.seen_history::<ClientRegistration>(caller, client_id).await
    }

    /// The changes of a protected resource that are kept and that a caller sees, the oldest first.
    pub async fn seen_resource_history(
        &self,
        caller: &Caller,
        audience: &str,
    ) -> Result<Vec<RegistrationChange<ResourceMetadata>>, RegistryError> {
        self.seen_history::<ProtectedResource>(caller, audience).await
    }

    /// The changes of a grant that are kept, the oldest first. Teams' admins do not see them.
    pub async fn seen_grant_history(
        &self,
        caller: &Caller,
        name: &str,
    ) -> Result<Vec<RegistrationChange<GrantMetadata>>, RegistryError> {
        self.seen_history::<TeamGrant>(caller, name).await
    }

    /// The changes of a signing key that are kept, the oldest first. Teams' admins do not see them.
    pub async fn seen_signing_key_history(
        &self,
        caller: &Caller,
        kid: &str,
    ) -> Result<Vec<RegistrationChange<String>>, RegistryError> {
        if caller.sees().is_everything() { self.signing_key_history(kid).await } else { Ok(Vec::new()) }
    }

    /// The liftings of a revocation that are kept, the oldest first. Teams' admins do not see them.
    pub async fn seen_revocation_history(
        &self,
        caller: &Caller,
        revoked: &Revoked,
    ) -> Result<Vec<RegistrationChange<RevocationRecord>>, RegistryError> {
        if caller.sees().is_everything() { self.revocation_history(revoked).await } else { Ok(Vec::new()) }
    }

    async fn seen_history<T: Managed>(
        &self,
        caller: &Caller,
        name: &str,
    ) -> Result<Vec<RegistrationChange<T::Metadata>>, RegistryError> {
        let bounds = caller.sees();
        let present = self.named::<T>(name);
        if let Ok(present) = &present {
            present_within(bounds, present)?;
        }
        let mut changes = self.history::<T>(name).await?;
        if bounds.is_everything() {
            return Ok(changes);
        }
        let is_seen = |metadata: &Option<T::Metadata>| {
            let parsed = metadata.clone().map(T::parse);
            parsed.is_none_or(|parsed| parsed.is_ok_and(|parsed| within(bounds, &parsed, true).is_ok()))
        };
        // The name may have been another team's before. Of what is not known it is not known whose it was.
        changes.retain(|change| {
            (change.before.is_some() || change.after.is_some()) && is_seen(&change.before) && is_seen(&change.after)
        });
        // For those who see none of it the name is one that never was.
        if changes.is_empty() { present.map(|_| changes) } else { Ok(changes) }
    }

    fn seen_page<T: Managed>(&self, caller: &Caller, after: Option<&str>, count: usize) -> Listed<Arc<Registered<T>>> {
        let bounds = caller.sees();
        let looked_at = if bounds.is_everything() { count } else { count.max(LOOKED_AT) };
        let mut page = self.page::<T>(after, looked_at + 1).into_iter();
        let (mut entries, mut last) = (Vec::new(), None);
        for registered in page.by_ref().take(looked_at) {
            last = Some(registered.registration.name().to_owned());
            if present_within(bounds, &registered).is_ok() {
                entries.push(registered);
            }
            if entries.len() == count {
                break;
            }
        }
        Listed { entries, next: last.filter(|_| page.next().is_some()) }
    }

    /// Refuses a change to metadata that does not lie within one of the grants that bound its author.
    pub(in crate::authority::api) fn check_wanted<T: Managed>(
        bounds: Within<'_>,
        metadata: &T::Metadata,
    ) -> Result<(), RegistryError> {
        if !bounds.is_everything() {
            within(bounds, &T::parse(metadata.clone())?, false)?;
        }
        Ok(())
    }
}
