//! The section `dual_control`.

use std::time::Duration;

use serde::Deserialize;

use crate::authority::access::ControlRule;
use crate::authority::access::ControlledKind;
use crate::authority::access::DualControl;
use crate::authority::access::NamePattern;
use crate::config::error::ConfigError;
use crate::config::error::value;
use crate::config::reading::duration;

const DEFAULT_TTL: Duration = Duration::from_hours(3 * 24);

/// The longest time for which a change waits: what it was proposed for is forgotten by then.
const MAX_TTL: Duration = Duration::from_hours(30 * 24);

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Section {
    changes: Vec<Rule>,
    #[serde(deserialize_with = "duration")]
    ttl: Option<Duration>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    kind: ControlledKind,
    #[serde(default)]
    names: Vec<String>,
}

impl Section {
    /// Whether any change waits for a second admin.
    pub(super) fn is_set(&self) -> bool {
        !self.changes.is_empty()
    }

    pub(super) fn resolve(self) -> Result<DualControl, ConfigError> {
        let ttl = self.ttl.unwrap_or(DEFAULT_TTL);
        if ttl > MAX_TTL {
            return Err(value("dual_control.ttl", "must be 30 days at most"));
        }
        let rules = self.changes.into_iter().map(Rule::resolve).collect::<Result<_, _>>()?;
        Ok(DualControl { rules, ttl })
    }
}

impl Rule {
    fn resolve(self) -> Result<ControlRule, ConfigError> {
        let Self { kind, names } = self;
        if !names.is_empty() && !kind.has_names() {
            let problem = "names are of clients, resources and grants: of the other kinds every change waits";
            return Err(value("dual_control.changes", problem));
        }
        let read = |name: &String| NamePattern::parse(name);
        let names = names.iter().map(read).collect::<Option<_>>();
        let problem = "a name is the whole of it, or has one * for any text; leave names out for all of the kind";
        Ok(ControlRule { kind, names: names.ok_or_else(|| value("dual_control.changes", problem))? })
    }
}
