//! One stream of the snapshot: a listing, then its changes, and how old they may be.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use crate::authority::access::EdgeGrant;
use crate::authority::edges::feed::Feed;
use crate::authority::edges::feed::SnapshotFeed;
use crate::authority::edges::listing::Listing;
use crate::authority::edges::sent::Sent;
use crate::authority::state::Snapshot;
use crate::authority::store::Revision;

/// How many beats wait for their answer. Of more, the oldest are answered by a later one.
const MAX_BEATS: usize = 8;

/// Follows the snapshot by one grant, until it is dropped.
#[derive(Debug)]
pub struct SnapshotFollower {
    feed: Arc<Feed>,
    /// Its number among those who wait.
    place: u64,
    /// What is left of the listing.
    listing: Option<Listing>,
    /// How often everybody had listed again when this began.
    began: u64,
    /// The number of the next transaction.
    next: u64,
    /// What is answered once the stream has got there.
    due: VecDeque<(u64, Progress)>,
    resumed: bool,
}

/// Where a stream is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Progress {
    /// Everything up to this revision was sent.
    pub revision: Revision,
    /// The beat that this answers.
    pub beat: Option<u64>,
    /// How old the snapshot could be when the beat arrived.
    pub age: Duration,
}

/// What comes next.
#[derive(Debug)]
pub enum FollowedSnapshot {
    /// A part of the listing.
    Listed(Vec<Sent>),
    /// What one transaction changed.
    Changed(Revision, Vec<Sent>),
    /// Where the stream is.
    Progress(Progress),
}

/// The changes are no longer kept, or what the grant needs has changed: it takes another listing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ListAgain;

/// Why the snapshot is not followed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotFollowed {
    /// The caller's grant is of revocations only.
    #[error("this caller is told of revocations only")]
    NotGranted,
    /// This replica does not know the named revision yet.
    #[error("this replica has not come as far as the revision that was named")]
    Behind,
}

impl SnapshotFeed {
    /// Follows by a grant: after a revision if all changes since are kept, or from a listing on. `age` is that of the snapshot.
    pub(in crate::authority) fn follow(
        &self,
        grant: &EdgeGrant,
        after: Option<Revision>,
        age: Duration,
        snapshot: impl Fn() -> Arc<Snapshot>,
    ) -> Result<SnapshotFollower, NotFollowed> {
        let feed = self.of(grant, &snapshot);
        let mut kept = feed.kept();
        if after.is_some_and(|after| after > kept.reached) {
            return Err(NotFollowed::Behind);
        }
        let resumed = after.and_then(|after| kept.after(after));
        let (next, listing) = if let Some(next) = resumed {
            (next, None)
        } else {
            // It may be ahead of what was published: that is sent once more.
            let snapshot = snapshot();
            if let Some(needed) = &mut kept.needed {
                needed.tighten(&snapshot);
            }
            (kept.end(), Some(Listing::new(snapshot, kept.needed.as_ref())))
        };
        let progress = Progress { revision: kept.reached, beat: None, age };
        let (due, began, place) = (VecDeque::from([(kept.end(), progress)]), kept.listing, kept.enter());
        drop(kept);
        Ok(SnapshotFollower { feed, place, listing, began, next, due, resumed: resumed.is_some() })
    }
}

impl SnapshotFollower {
    /// Whether a caller with this grant may still follow.
    pub fn is_by(&self, grant: Option<&EdgeGrant>) -> bool {
        self.feed.grant == EdgeGrant::Revocations || grant == Some(&self.feed.grant)
    }

    /// Whether it is for a verifier.
    pub fn is_for_verifiers(&self) -> bool {
        self.feed.grant == EdgeGrant::Revocations
    }

    /// Whether it goes on after the revision that was named.
    pub fn is_resumed(&self) -> bool {
        self.resumed
    }

    /// Notes a beat that arrived while the snapshot could be this old. It is answered after everything that is known now.
    pub fn beat(&mut self, number: u64, age: Duration) {
        let kept = self.feed.kept();
        let progress = Progress { revision: kept.reached, beat: Some(number), age };
        let end = kept.end();
        drop(kept);
        if self.due.len() >= MAX_BEATS {
            self.due.remove(1);
        }
        self.due.push_back((end, progress));
    }

    /// What comes next. There is always something to wait for.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<FollowedSnapshot, ListAgain>> {
        if let Some(listing) = &mut self.listing {
            if let Some(part) = listing.next_part() {
                return Poll::Ready(Ok(FollowedSnapshot::Listed(part)));
            }
            self.listing = None;
        }
        let mut kept = self.feed.kept();
        if kept.listing != self.began {
            return Poll::Ready(Err(ListAgain));
        }
        if let Some((at, progress)) = self.due.front()
            && *at <= self.next
        {
            let progress = *progress;
            self.due.pop_front();
            return Poll::Ready(Ok(FollowedSnapshot::Progress(progress)));
        }
        match kept.transaction(self.next) {
            Err(()) => Poll::Ready(Err(ListAgain)),
            Ok(Some(transaction)) => {
                let transaction = Arc::clone(transaction);
                self.next += 1;
                drop(kept);
                Poll::Ready(Ok(FollowedSnapshot::Changed(transaction.revision, transaction.records.clone())))
            }
            Ok(None) => {
                kept.wait(self.place, context.waker());
                Poll::Pending
            }
        }
    }
}

impl Drop for SnapshotFollower {
    fn drop(&mut self) {
        self.feed.kept().leave(self.place);
    }
}
