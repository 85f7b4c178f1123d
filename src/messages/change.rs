//! Changes of registrations as messages.

use crate::authority::access::GrantMetadata;
use crate::authority::records::RegistrationChange;
use crate::authority::registration::ClientMetadata;
use crate::authority::resources::ResourceMetadata;
use crate::messages::common::timestamp;
use crate::proto;
use crate::proto::registration_change::After;
use crate::proto::registration_change::Before;

/// A change of a client.
pub fn change_of_client(change: RegistrationChange<ClientMetadata>) -> proto::RegistrationChange {
    let before = change.before.clone().map(|before| Before::ClientBefore(before.into()));
    let after = change.after.clone().map(|after| After::ClientAfter(after.into()));
    proto::RegistrationChange { before, after, ..message(change) }
}

/// A change of a protected resource.
pub fn change_of_resource(change: RegistrationChange<ResourceMetadata>) -> proto::RegistrationChange {
    let before = change.before.clone().map(|before| Before::ResourceBefore(before.into()));
    let after = change.after.clone().map(|after| After::ResourceAfter(after.into()));
    proto::RegistrationChange { before, after, ..message(change) }
}

/// A change of a grant.
pub fn change_of_grant(change: RegistrationChange<GrantMetadata>) -> proto::RegistrationChange {
    let before = change.before.clone().map(|before| Before::GrantBefore(before.into()));
    let after = change.after.clone().map(|after| After::GrantAfter(after.into()));
    proto::RegistrationChange { before, after, ..message(change) }
}

/// A change of what has a state and no registration.
pub fn change_of_state<M>(change: RegistrationChange<M>, state: impl Fn(&M) -> String) -> proto::RegistrationChange {
    let before = change.before.as_ref().map(|before| Before::StateBefore(state(before)));
    let after = change.after.as_ref().map(|after| After::StateAfter(state(after)));
    proto::RegistrationChange { before, after, ..message(change) }
}

fn message<M>(change: RegistrationChange<M>) -> proto::RegistrationChange {
    proto::RegistrationChange {
        change: change.change,
        time: Some(timestamp(change.time)),
        changed_by: change.by,
        approved_by: change.approved_by.unwrap_or_default(),
        reason: change.reason.unwrap_or_default(),
        number: change.number,
        before: None,
        after: None,
    }
}
