//! What `RegistryService.PreviewPattern` answers.

use std::sync::Arc;

use tonic::Status;

use crate::authority::Authority;
use crate::authority::identity::SpiffeIdPattern;
use crate::authority::registration;
use crate::authority::registration::MatchedIdentity;
use crate::authority::registration::RegisteredClient;
use crate::authority::state::Caller;
use crate::grpc::status;
use crate::grpc::status::malformed;
use crate::messages::etag;
use crate::messages::timestamp;
use crate::proto::Overlap;
use crate::proto::OverlappingRegistration;
use crate::proto::PreviewPatternResponse;
use crate::proto::SeenIdentity;

/// The most registrations and the most identities of an answer.
const MOST: usize = 1000;

/// On a thread for what takes long: all registrations are looked at.
pub(super) async fn answer(
    authority: Arc<Authority>,
    caller: Caller,
    pattern: &str,
) -> Result<PreviewPatternResponse, Status> {
    let pattern = SpiffeIdPattern::parse(pattern);
    let problem = || malformed("spiffe_id", "must be a SPIFFE ID with a path, or one followed by /* for all below it");
    let pattern = pattern.ok_or_else(problem)?;
    let previewing = tokio::task::spawn_blocking(move || authority.preview(&caller, &pattern)).await;
    let preview = previewing.map_err(|_| status::broken())?;
    let more = |all: usize| u32::try_from(all.saturating_sub(MOST)).unwrap_or(u32::MAX);
    Ok(PreviewPatternResponse {
        more_registrations: more(preview.registrations.len()),
        registrations: preview.registrations.iter().take(MOST).map(overlapping).collect(),
        more_identities: more(preview.identities.len()),
        identities: preview.identities.iter().take(MOST).map(identity).collect(),
        seen_since: Some(timestamp(preview.seen_since)),
    })
}

fn overlapping((client, overlap): &(Arc<RegisteredClient>, registration::Overlap)) -> OverlappingRegistration {
    let overlap = match overlap {
        registration::Overlap::Wider => Overlap::Wider,
        registration::Overlap::Same => Overlap::Same,
        registration::Overlap::Narrower => Overlap::Narrower,
    };
    OverlappingRegistration {
        client_id: client.registration.client_id.to_string(),
        etag: etag(client.revision),
        expects: client.registration.method.expectation(),
        overlap: overlap.into(),
        refuses: client.registration.disabled || client.suspended.is_some(),
    }
}

fn identity(identity: &MatchedIdentity) -> SeenIdentity {
    SeenIdentity {
        spiffe_id: identity.spiffe_id.to_string(),
        last_seen: Some(timestamp(identity.seen_at)),
        client_id: identity.registration.clone().unwrap_or_default(),
        would_apply: identity.would_apply,
    }
}
