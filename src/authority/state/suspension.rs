//! What comes of records that this version cannot read.

use crate::authority::access::TeamGrant;
use crate::authority::records::Registered;
use crate::authority::records::Suspended;
use crate::authority::registration::ClientRegistration;
use crate::authority::resources::DELETED;
use crate::authority::resources::DeletedResource;
use crate::authority::resources::ProtectedResource;
use crate::authority::state::entry::Entry;
use crate::authority::state::fetched_bundles::FETCHED_BUNDLES;
use crate::authority::state::lineages::LINEAGES;
use crate::authority::state::published_record::PUBLISHED;
use crate::authority::state::schemas;
use crate::authority::state::schemas::Effect;
use crate::authority::state::schemas::too_new;
use crate::authority::state::snapshot::Indexed;
use crate::authority::state::snapshot::Snapshot;
use crate::authority::store::Revision;
use crate::authority::store::TooNew;

impl Snapshot {
    /// Handles the record that was written at a key at `revision`, and cannot be read because of `problem`.
    ///
    /// A client is refused rather than removed, since its removal could make a wider pattern match; a resource allows
    /// nothing, and keeps its place; a grant grants nothing to anybody; a mark of a deleted resource marks its audience; a
    /// succession is none; what a client or a trust domain published is no longer valid; a receipt key remains as it was; a
    /// revocation and a signing key do so too, and in a newer schema forbid every decision. What a record of a newer schema names
    /// is suspended, also where it was not known before.
    pub fn suspend(&mut self, key: &str, value: &[u8], revision: Revision, problem: &dyn std::fmt::Display) {
        let newer = too_new(key, value);
        report(key, newer, problem);
        let marked = |audience| {
            let known = self.resources.mark(audience).map(|(mark, _)| mark.clone());
            Entry::Deleted(Box::new(known.unwrap_or_else(|| DeletedResource::unreadable(audience))))
        };
        let entry = self
            .suspended::<ProtectedResource>(key, value, revision, newer)
            .or_else(|| self.suspended::<ClientRegistration>(key, value, revision, newer))
            .or_else(|| self.suspended::<TeamGrant>(key, value, revision, newer))
            .or_else(|| key.strip_prefix(DELETED).map(marked));
        if let Some(name) = key.strip_prefix(PUBLISHED)
            && !self.is_superseded(key, revision)
        {
            self.published_jwks.expire(name);
        }
        let left_out = [LINEAGES, PUBLISHED, FETCHED_BUNDLES].iter().any(|prefix| key.starts_with(prefix));
        if entry.is_some() || left_out {
            self.apply(key, entry, revision);
        }
        self.mark_unreadable(key, revision, newer);
    }

    /// The records that cannot be read, with their revisions, and which of them are of a newer schema.
    pub(in crate::authority) fn unreadable(&self) -> impl Iterator<Item = (&str, Revision, Option<TooNew>)> {
        self.unreadable.all()
    }

    /// A newer record itself says what it names. What does not say it, or is damaged, names what it named before.
    fn suspended<T: Indexed>(
        &self,
        key: &str,
        value: &[u8],
        revision: Revision,
        newer: Option<TooNew>,
    ) -> Option<Entry> {
        let name = key.strip_prefix(T::PREFIX)?;
        let why = newer.map_or(Suspended::Damaged, Suspended::TooNew);
        let says_its_names = newer.is_some() && Registered::<T>::says_its_names(value);
        let known = T::all(self).named(name).filter(|_| !says_its_names);
        let registered = match known {
            Some(known) => {
                let mut registered = Registered::clone(known);
                registered.suspend(revision, why);
                registered
            }
            None => Registered::outline(name, value, revision, why)?,
        };
        Some(T::entry(registered))
    }
}

fn report(key: &str, newer: Option<TooNew>, problem: &dyn std::fmt::Display) {
    let Some(TooNew { schema, reads }) = newer else {
        tracing::error!(error = %problem, key, "a record cannot be read");
        return;
    };
    match schemas::kind_of(key).map(|kind| kind.effect) {
        Some(Effect::Suspends) => {
            tracing::error!(key, schema, reads, "a record needs a newer version: what it names is suspended");
        }
        Some(Effect::Forbids) => {
            tracing::error!(key, schema, reads, "a record needs a newer version: no decision is made");
        }
        Some(Effect::Nothing) | None => tracing::warn!(key, schema, reads, "a record needs a newer version"),
    }
}
