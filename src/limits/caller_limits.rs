//! What limits the requests of one caller on one serving thread.

use std::sync::Arc;

use crate::authority::access::NotAdmitted;
use crate::authority::access::Priority;
use crate::limits::admission::Admission;
use crate::limits::role::CallerRole;
use crate::limits::share::Share;
use crate::limits::share::UnderWay;

/// What limits the requests of one caller on one serving thread.
#[derive(Clone, Debug)]
pub struct CallerLimits {
    share: Arc<Share>,
    admission: Arc<Admission>,
}

impl CallerLimits {
    /// The limits of requests with this share on this thread.
    pub fn new(share: Arc<Share>, admission: Arc<Admission>) -> Self {
        Self { share, admission }
    }

    /// Begins a request with a head of so many bytes. It costs a few atomic operations, whether it is refused or not.
    pub fn begin(&self, priority: Priority, head: usize) -> Result<UnderWay, NotAdmitted> {
        let under_way = self.share.begin(head).map_err(NotAdmitted::ShareExceeded)?;
        self.admission.admit(priority).map(|()| under_way)
    }

    /// Begins the next message of a stream, which is a request of its own. The stream is under way already.
    pub fn message(&self, priority: Priority) -> Result<(), NotAdmitted> {
        self.share.ask().map_err(NotAdmitted::ShareExceeded)?;
        self.admission.admit(priority)
    }

    /// Whether the share is an admin's.
    pub fn is_admin(&self) -> bool {
        self.share.role() == CallerRole::Admin
    }

    /// The share.
    pub fn share(&self) -> &Arc<Share> {
        &self.share
    }
}
