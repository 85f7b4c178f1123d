//! What others decide by: the part of the snapshot that each edge needs, and its changes, kept for a while so that a stream
//! that broke off goes on.

mod feed;
mod follower;
mod listing;
mod needed;
mod sent;
mod verifiers;

pub(in crate::authority) use crate::authority::edges::feed::SnapshotFeed;
pub use crate::authority::edges::follower::FollowedSnapshot;
pub use crate::authority::edges::follower::ListAgain;
pub use crate::authority::edges::follower::NotFollowed;
pub use crate::authority::edges::follower::Progress;
pub use crate::authority::edges::follower::SnapshotFollower;
pub(in crate::authority) use crate::authority::edges::sent::ReadChange;
pub(in crate::authority) use crate::authority::edges::sent::ReadValue;
pub use crate::authority::edges::sent::Sent;
pub use crate::authority::edges::sent::SentRecord;
pub use crate::authority::edges::verifiers::RefusedTokens;
pub use crate::authority::edges::verifiers::TokensOf;
pub(in crate::authority) use crate::authority::edges::verifiers::refused_tokens;
