//! The denials that report mode let through, by resource. Each resource in the mode `report` has all its series from the
//! start, at 0; a resource that is no longer registered has none.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::sync::RwLock;

use crate::authority::decision::CheckRefusal;
use crate::authority::observe::families::Labels;
use crate::authority::observe::metrics::counts::Counts;
use crate::authority::resources::Mode;
use crate::authority::resources::Resources;

/// The counts by audience. There is an entry for each resource with a denial.
#[derive(Debug, Default)]
pub(super) struct ReportDenials(RwLock<BTreeMap<String, Counts<CheckRefusal>>>);

impl ReportDenials {
    /// Counts a denial at a registered resource.
    pub(super) fn add(&self, audience: &str, refusal: CheckRefusal, registered: &Resources) {
        if let Some(counts) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(audience) {
            return counts.add(refusal);
        }
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        all.retain(|audience, _| registered.named(audience).is_some());
        all.entry(audience.to_owned()).or_default().add(refusal);
    }

    /// The series of the registered resources.
    pub(super) fn read(&self, registered: &Resources) -> Vec<(Labels, u64)> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut samples = Vec::new();
        for resource in registered.all() {
            let audience = resource.registration.audience();
            let counts = all.get(audience);
            if counts.is_none() && resource.registration.mode != Mode::Report {
                continue;
            }
            let none = Counts::<CheckRefusal>::default();
            samples.extend(counts.unwrap_or(&none).read().map(|(reason, count)| {
                (vec![("resource", Cow::Owned(audience.to_owned())), ("reason", Cow::Borrowed(reason))], count)
            }));
        }
        samples
    }
}
