//! The statuses of what is followed, where it is not, or not any further.

use std::collections::HashMap;

use tonic::Code;
use tonic::Status;

use crate::authority::access::RETRY_AFTER;
use crate::authority::edges::NotFollowed;
use crate::grpc::status::exhausted;
use crate::grpc::status::plain;

/// A follower of decisions, where there are as many as there may be.
pub(super) fn too_many_followers() -> Status {
    exhausted("TOO_MANY_FOLLOWERS", "as many follow decisions as may: try again later", RETRY_AFTER, HashMap::new())
}

/// A snapshot that is not followed.
pub(super) fn not_granted(error: NotFollowed) -> Status {
    match error {
        NotFollowed::NotGranted => plain(Code::PermissionDenied, "REVOCATIONS_ONLY", error),
        NotFollowed::Behind => plain(Code::Unavailable, "BEHIND", error),
    }
}

/// A stream of the snapshot that cannot go on.
pub(super) fn list_again() -> Status {
    let message = "the changes that come next are no longer kept, or what the grant needs has changed: list again";
    plain(Code::Aborted, "LIST_AGAIN", message)
}
