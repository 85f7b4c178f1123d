//! Certificate policies, processed with the any-policy initial set (RFC 5280 section 6.1): no policy is asked for, so
//! they matter only where a CA demands with policyConstraints that a valid policy exists.
//!
//! Of the valid policy tree (section 6.1.2 a) only its lowest level decides whether it is empty, and without
//! qualifiers that level is a set: the expected policies of its nodes.

use std::collections::BTreeSet;

/// The DER content of an object identifier.
type Policy = Box<[u8]>;

/// anyPolicy (section 4.2.1.4).
const ANY_POLICY: &[u8] = &[0x55, 0x1d, 0x20, 0];

/// What a certificate says about policies.
#[derive(Debug, Default)]
pub(super) struct Policies {
    /// certificatePolicies; `None` where the extension is missing.
    pub(super) asserted: Option<BTreeSet<Policy>>,
    /// policyMappings: the issuer's policy, and the subject's that it is equivalent to.
    pub(super) mappings: Vec<(Policy, Policy)>,
    /// policyConstraints requireExplicitPolicy.
    pub(super) require_explicit: Option<u32>,
    /// policyConstraints inhibitPolicyMapping.
    pub(super) inhibit_mapping: Option<u32>,
    /// inhibitAnyPolicy.
    pub(super) inhibit_any: Option<u32>,
}

impl Policies {
    /// Whether they can refuse a path in which no other certificate has policies.
    pub(super) fn matter(&self) -> bool {
        self.require_explicit.is_some() || !self.mappings.is_empty()
    }
}

/// A certificate of a path, and whether it is self-issued.
pub(super) type Step<'a> = (&'a Policies, bool);

/// Whether a path fulfils the constraints of its CAs. `path` begins below the anchor and ends with the leaf. The
/// anchor's policyConstraints and inhibitAnyPolicy count as initial values (RFC 5937 section 3.2).
pub(super) fn fulfilled(anchor: &Policies, path: &[Step<'_>]) -> bool {
    // 6.1.4 (a). A leaf maps nothing.
    let below = path.split_last().map_or(path, |(_, cas)| cas);
    let maps_any = |(from, to): &(Policy, Policy)| **from == *ANY_POLICY || **to == *ANY_POLICY;
    if below.iter().any(|(policies, _)| policies.mappings.iter().any(maps_any)) {
        return false;
    }
    let demands = |policies: &Policies| policies.require_explicit.is_some();
    if !demands(anchor) && !path.iter().any(|(policies, _)| demands(policies)) {
        return true;
    }
    let unlimited = u32::MAX;
    let mut explicit = anchor.require_explicit.unwrap_or(unlimited);
    let mut mapping = anchor.inhibit_mapping.unwrap_or(unlimited);
    let mut any = anchor.inhibit_any.unwrap_or(unlimited);
    let mut expected: BTreeSet<Policy> = BTreeSet::from([ANY_POLICY.into()]);
    for (place, (policies, self_issued)) in path.iter().enumerate() {
        let is_leaf = place + 1 == path.len();
        // (d) and (e)
        expected = match &policies.asserted {
            None => BTreeSet::new(),
            Some(asserted) => lower_level(&expected, asserted, any > 0 || (*self_issued && !is_leaf)),
        };
        // (f)
        if explicit == 0 && expected.is_empty() {
            return false;
        }
        if is_leaf {
            break;
        }
        // 6.1.4 (b)
        expected = mapped(expected, &policies.mappings, mapping > 0);
        // (h)
        if !self_issued {
            explicit = explicit.saturating_sub(u32::from(explicit != unlimited));
            mapping = mapping.saturating_sub(u32::from(mapping != unlimited));
            any = any.saturating_sub(u32::from(any != unlimited));
        }
        // (i) and (j)
        explicit = explicit.min(policies.require_explicit.unwrap_or(unlimited));
        mapping = mapping.min(policies.inhibit_mapping.unwrap_or(unlimited));
        any = any.min(policies.inhibit_any.unwrap_or(unlimited));
    }
    // 6.1.5 (a), (b) and (g)
    let leaf_demands = path.last().is_some_and(|(leaf, _)| leaf.require_explicit == Some(0));
    explicit > 1 && !leaf_demands || !expected.is_empty()
}

/// The next level of the tree (section 6.1.3 d).
fn lower_level(expected: &BTreeSet<Policy>, asserted: &BTreeSet<Policy>, any_allowed: bool) -> BTreeSet<Policy> {
    let from_any = expected.contains(ANY_POLICY);
    let explicit = asserted.iter().filter(|policy| ***policy != *ANY_POLICY);
    let mut lower: BTreeSet<Policy> =
        explicit.filter(|policy| from_any || expected.contains(*policy)).cloned().collect();
    if asserted.contains(ANY_POLICY) && any_allowed {
        lower.extend(expected.iter().cloned());
    }
    lower
}

fn mapped(level: BTreeSet<Policy>, mappings: &[(Policy, Policy)], allowed: bool) -> BTreeSet<Policy> {
    if mappings.is_empty() {
        return level;
    }
    let from: BTreeSet<&Policy> = mappings.iter().map(|(from, _)| from).collect();
    let mut next: BTreeSet<Policy> = level.iter().filter(|policy| !from.contains(policy)).cloned().collect();
    if allowed {
        let from_any = level.contains(ANY_POLICY);
        let to = mappings.iter().filter(|(from, _)| from_any || level.contains(from)).map(|(_, to)| to.clone());
        next.extend(to);
    }
    next
}
