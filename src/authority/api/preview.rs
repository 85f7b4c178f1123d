//! Answers what a registration of a pattern would be about: which registrations it meets, and which workloads.

use crate::authority::Authority;
use crate::authority::access::Within;
use crate::authority::decision::present_within;
use crate::authority::identity::PeerIdentity;
use crate::authority::identity::SpiffeIdPattern;
use crate::authority::registration::ClientId;
use crate::authority::registration::ClientStatus;
use crate::authority::registration::MatchedIdentity;
use crate::authority::registration::Preview;
use crate::authority::registration::RegisteredClient;
use crate::authority::registration::SpiffeClaim;
use crate::authority::state::Caller;

impl Authority {
    /// Remembers that a peer has proven its identity on a new connection.
    pub fn note_seen(&self, identity: &PeerIdentity) {
        if let Some(id) = identity.spiffe_id() {
            self.seen.note(&id.to_string(), self.clock.now());
        }
    }

    /// What a registration of this pattern would be about. A team's admin sees what lies within its grants. It looks at all
    /// registrations, and may take a tenth of a second where there are a million.
    pub fn preview(&self, caller: &Caller, pattern: &SpiffeIdPattern) -> Preview {
        let (bounds, directory) = (caller.sees(), &caller.view.snapshot.directory);
        let claim = match pattern {
            SpiffeIdPattern::Exact(id) => SpiffeClaim::Exact(id.to_string().into()),
            SpiffeIdPattern::Below(prefix) => SpiffeClaim::Below(prefix.as_str().into()),
        };
        let is_seen = |client: &RegisteredClient| present_within(bounds, client).is_ok();
        let mut registrations = directory.overlapping(&claim);
        registrations.retain(|(client, _)| is_seen(client));
        let now = caller.view.now;
        let (seen, seen_since) = self.seen.of_last_day(now, |id| pattern_matches(pattern, id) && sees(bounds, id));
        let identities = seen.into_iter().map(|(seen_at, spiffe_id)| {
            let status = ClientId::parse(&spiffe_id).map(|id| directory.status(&id));
            let registration = match status {
                Some(ClientStatus::Registered(client)) if is_seen(&client) => {
                    Some(client.registration.client_id.to_string())
                }
                Some(
                    ClientStatus::Registered(_)
                    | ClientStatus::Unknown
                    | ClientStatus::Ambiguous
                    | ClientStatus::Suspended
                    | ClientStatus::Disabled,
                )
                | None => None,
            };
            let would_apply = directory.would_apply(&claim, &spiffe_id);
            MatchedIdentity { spiffe_id, seen_at, registration, would_apply }
        });
        Preview { registrations, identities: identities.collect(), seen_since }
    }
}

/// Whether a pattern matches the text of a SPIFFE ID.
fn pattern_matches(pattern: &SpiffeIdPattern, id: &str) -> bool {
    SpiffeIdPattern::parse(id).is_some_and(|id| pattern.covers(&id))
}

/// Whether clients with this SPIFFE ID may lie within what the reader sees.
fn sees(bounds: Within<'_>, id: &str) -> bool {
    match bounds {
        Within::Everything => true,
        Within::Grants(grants) => SpiffeIdPattern::parse(id)
            .is_some_and(|id| grants.iter().any(|grant| grant.registration.covers_spiffe_id(&id))),
    }
}
