//! What an answer of etcd, or the lack of one, means for the request that was sent.

use tonic::Code;
use tonic::Status;

use crate::authority::store::StoreError;

/// Why a request has no result.
#[derive(Debug)]
pub(super) enum Fault {
    /// etcd has answered; asking again would not help.
    Final(StoreError),
    /// etcd is out of space: writes fail until there is room, reads go on.
    Full(String),
    /// The lease that a write named is gone. Nothing was written.
    LeaseGone,
    /// It was certainly not carried out, and may be sent again.
    NotDone(String),
    /// Whether it was carried out is unknown.
    Unknown(String),
}

impl Fault {
    /// Reads a status. etcd's own begin with `etcdserver:`; others come from the transport, or from the time limit.
    pub(super) fn of(status: &Status) -> Self {
        let text = status.message();
        let said = || format!("etcd: {text}");
        let (full, busy) = (text.contains("space exceeded"), text.contains("too many requests"));
        match status.code() {
            // The revision is compacted, or of a future that this etcd does not have, as after its data was restored.
            Code::OutOfRange => Self::Final(StoreError::Compacted),
            Code::ResourceExhausted if full => Self::Full(said()),
            Code::ResourceExhausted if busy => Self::NotDone(said()),
            Code::NotFound if text.contains("lease not found") => Self::LeaseGone,
            Code::Unavailable if text.contains("etcdserver: no leader") => Self::NotDone(said()),
            Code::InvalidArgument | Code::PermissionDenied | Code::Unauthenticated | Code::Unimplemented => {
                Self::Final(StoreError::Unavailable(said()))
            }
            Code::Ok
            | Code::Cancelled
            | Code::Unknown
            | Code::DeadlineExceeded
            | Code::NotFound
            | Code::AlreadyExists
            | Code::ResourceExhausted
            | Code::FailedPrecondition
            | Code::Aborted
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss => Self::Unknown(said()),
        }
    }
}
