//! Dual control: the changes that a second admin has to approve.

use std::time::Duration;

use serde::Deserialize;
use serde::Serialize;

/// A kind of what a second admin has to approve changes of.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, strum::IntoStaticStr, strum::VariantArray)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum ControlledKind {
    /// A client.
    Client,
    /// A protected resource, and the mark that a deleted one leaves.
    Resource,
    /// A grant to the admins of a team.
    Grant,
    /// The rotation of the signing keys.
    SigningKey,
    /// The lifting of a revocation.
    Revocation,
    /// The enabling of a feature of the store.
    Feature,
}

impl ControlledKind {
    /// Its name.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Whether a rule about it may be about some names alone.
    pub fn has_names(self) -> bool {
        matches!(self, Self::Client | Self::Resource | Self::Grant)
    }
}

/// Which changes a second admin has to approve, and for how long they wait.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct DualControl {
    /// The rules. Without any, nobody has to approve anything.
    pub rules: Vec<ControlRule>,
    /// For how long a proposed change waits.
    pub ttl: Duration,
}

/// What one rule is about.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ControlRule {
    /// The kind.
    pub kind: ControlledKind,
    /// The names. Empty: all of the kind.
    pub names: Vec<NamePattern>,
}

impl DualControl {
    /// Whether a second admin has to approve a change of what bears these names.
    pub fn holds(&self, kind: ControlledKind, names: &[String]) -> bool {
        let meets = |pattern: &NamePattern| names.iter().any(|name| pattern.meets(&NamePattern::of(name)));
        self.rules.iter().any(|rule| rule.kind == kind && (rule.names.is_empty() || rule.names.iter().any(meets)))
    }
}

/// A name, or all names with this beginning and this end.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NamePattern {
    start: String,
    /// `None` where the start is the whole name.
    end: Option<String>,
}

impl NamePattern {
    /// Parses a name with at most one `*`, which stands for any text.
    pub fn parse(text: &str) -> Option<Self> {
        let is_one = text.bytes().filter(|byte| *byte == b'*').count() <= 1;
        (is_one && !text.is_empty() && text != "*").then(|| Self::of(text))
    }

    /// What a registration names, which may be a pattern itself.
    fn of(text: &str) -> Self {
        match text.split_once('*') {
            Some((start, end)) => Self { start: start.to_owned(), end: Some(end.to_owned()) },
            None => Self { start: text.to_owned(), end: None },
        }
    }

    /// Whether there may be a name that both match. It errs on the side of yes.
    fn meets(&self, other: &Self) -> bool {
        let begins = |one: &str, two: &str| one.starts_with(two) || two.starts_with(one);
        let ends = |one: &str, two: &str| one.ends_with(two) || two.ends_with(one);
        match (&self.end, &other.end) {
            (None, None) => self.start == other.start,
            (None, Some(end)) => self.start.starts_with(&other.start) && self.start.ends_with(end),
            (Some(end), None) => other.start.starts_with(&self.start) && other.start.ends_with(end),
            (Some(end), Some(of_other)) => begins(&self.start, &other.start) && ends(end, of_other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control(names: &[&str]) -> DualControl {
        let names = names.iter().map(|name| NamePattern::parse(name).unwrap()).collect();
        DualControl { rules: vec![ControlRule { kind: ControlledKind::Client, names }], ttl: Duration::from_hours(1) }
    }

    fn holds(control: &DualControl, name: &str) -> bool {
        control.holds(ControlledKind::Client, &[name.to_owned()])
    }

    #[test]
    fn a_rule_holds_what_one_of_its_names_or_a_wider_or_narrower_pattern_is_about() {
        let control = control(&["spiffe://prod.example/ns/pay/*", "pos"]);
        for held in [
            "spiffe://prod.example/ns/pay/sa/api",
            "spiffe://prod.example/ns/pay/*",
            "spiffe://prod.example/ns/pay/sa/*",
            "spiffe://prod.example/*",
            "pos",
        ] {
            assert!(holds(&control, held), "{held}");
        }
        for free in ["spiffe://prod.example/ns/shop/*", "spiffe://prod.example/ns/payments/sa/api", "poster"] {
            assert!(!holds(&control, free), "{free}");
        }
        let hosts = self::control(&["*.pay.internal"]);
        let held = ["api.pay.internal", "*.internal", "pay.internal.example", "*.shop.internal"];
        assert_eq!(held.map(|name| holds(&hosts, name)), [true, true, false, false]);
    }

    #[test]
    fn a_rule_without_names_is_about_all_of_its_kind_and_no_other() {
        let control = control(&[]);
        assert!(holds(&control, "anything") && control.holds(ControlledKind::Client, &[]));
        assert!(!control.holds(ControlledKind::Resource, &["anything".to_owned()]));
        assert!(!holds(&DualControl::default(), "anything"));
    }

    #[test]
    fn a_pattern_has_one_star_at_most_and_is_about_something() {
        assert_eq!(["", "*", "a*b*"].map(NamePattern::parse), [None, None, None]);
    }
}
