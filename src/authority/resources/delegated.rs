//! Whose delegated tokens a resource takes.

use crate::authority::records::InvalidMetadata;
use crate::authority::registration::ClientId;
use crate::authority::registration::ClientPattern;
use crate::authority::registration::MAX_ACTORS;
use crate::authority::registration::read_actors;
use crate::authority::resources::metadata::DelegatedMetadata;
use crate::authority::resources::metadata::invalid;

const FIELD: &str = "delegated";

/// The most patterns of actors.
const MAX_PATTERNS: usize = 128;

/// The delegated tokens that a resource takes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Delegated {
    actors: Vec<ClientPattern>,
    max_actors: usize,
    /// Whether a check lets through what is not taken. It is then looked at last, so that what is let through is in order otherwise.
    pub reports: bool,
}

impl Delegated {
    /// Parses what operators write, and writes the defaults into it.
    pub(in crate::authority::resources) fn parse(metadata: &mut DelegatedMetadata) -> Result<Self, InvalidMetadata> {
        if metadata.actors.is_empty() || metadata.actors.len() > MAX_PATTERNS {
            return Err(invalid(
                FIELD,
                "actors names at least one client, and not too many: leave the field out for none",
            ));
        }
        let parsed = metadata.actors.iter().map(|text| ClientPattern::parse(text)).collect::<Option<_>>();
        let actors = parsed.ok_or_else(|| invalid(FIELD, &format!("actors: {}", ClientPattern::SHAPE)))?;
        let max_actors = read_actors(metadata.max_actors)
            .ok_or_else(|| invalid(FIELD, &format!("max_actors must be from 1 to {MAX_ACTORS}")))?;
        metadata.max_actors = u32::try_from(max_actors).ok();
        let reports = match metadata.mode.as_deref() {
            None | Some("enforce") => false,
            Some("report") => true,
            Some(_) => return Err(invalid(FIELD, "mode is neither enforce nor report")),
        };
        // In normal form only what differs from the default.
        metadata.mode = metadata.mode.take().filter(|_| reports);
        Ok(Self { actors, max_actors, reports })
    }

    /// The name of its mode.
    pub fn mode(&self) -> &'static str {
        if self.reports { "report" } else { "enforce" }
    }

    /// Whether a token of this holder with so many actors is taken.
    pub fn accepts(&self, holder: Option<&ClientId>, actors: usize) -> bool {
        actors <= self.max_actors && holder.is_some_and(|holder| self.actors.iter().any(|one| one.matches(holder)))
    }

    /// For people: whose, and of how many actors at most.
    pub fn expectation(&self) -> String {
        let actors: Vec<String> = self.actors.iter().map(ToString::to_string).collect();
        format!("{} actors at most, of {}", self.max_actors, actors.join(" "))
    }
}
