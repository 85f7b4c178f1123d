//! A transaction of the port as one of etcd's: the compared keys are read first, and the writes are made only if none of
//! them has changed since.

use std::collections::HashMap;

use crate::authority::clock::Timestamp;
use crate::authority::store::Expected;
use crate::authority::store::Revision;
use crate::authority::store::StoreError;
use crate::authority::store::Transaction;
use crate::authority::store::Write;
use crate::store::etcd::EtcdStore;
use crate::store::etcd::connection::Repeat;
use crate::store::etcd::connection::to_led_member;
use crate::store::etcd::fault::Fault;
use crate::store::etcd::leases;
use crate::store::etcd::proto::etcdserverpb::Compare;
use crate::store::etcd::proto::etcdserverpb::DeleteRangeRequest;
use crate::store::etcd::proto::etcdserverpb::LeaseGrantRequest;
use crate::store::etcd::proto::etcdserverpb::PutRequest;
use crate::store::etcd::proto::etcdserverpb::RequestOp;
use crate::store::etcd::proto::etcdserverpb::TxnRequest;
use crate::store::etcd::proto::etcdserverpb::compare::CompareResult;
use crate::store::etcd::proto::etcdserverpb::compare::CompareTarget;
use crate::store::etcd::proto::etcdserverpb::compare::TargetUnion;
use crate::store::etcd::proto::etcdserverpb::kv_client::KvClient;
use crate::store::etcd::proto::etcdserverpb::lease_client::LeaseClient;
use crate::store::etcd::proto::etcdserverpb::request_op::Request;
use crate::store::etcd::value;
use crate::store::etcd::value::revision;
use crate::store::etcd::value::signed;

/// How often a transaction begins anew because a compared key changed, or a lease ended, in between.
const ATTEMPTS: usize = 64;

impl EtcdStore {
    pub(super) async fn commit(&self, transaction: Transaction) -> Result<Revision, StoreError> {
        transaction.check_size()?;
        self.connection.health.answers()?;
        for _ in 0..ATTEMPTS {
            let compare = self.comparisons(&transaction).await?;
            let success = self.writes(&transaction).await?;
            let request = TxnRequest { compare, success, failure: Vec::new() };
            let sent = self.connection.call(Repeat::IfNotDone, |channel| {
                let request = to_led_member(request.clone());
                async move { KvClient::new(channel).txn(request).await }
            });
            match sent.await {
                Ok(answer) if answer.succeeded => {
                    // A full etcd still deletes.
                    if transaction.writes().values().any(|write| matches!(write, Write::Put { .. })) {
                        self.connection.health.written();
                    }
                    return Ok(revision(answer.header.map(|header| header.revision)));
                }
                // A compared key has changed since it was read.
                Ok(_) => {}
                Err(Fault::LeaseGone) => self.leases.forget(),
                Err(fault) => {
                    return Err(self.refused(fault));
                }
            }
        }
        Err(StoreError::Unavailable("etcd: the compared records change too often".to_owned()))
    }

    /// Reads the compared keys, and demands that each is still what was read. A key that is not as expected is a
    /// conflict.
    async fn comparisons(&self, transaction: &Transaction) -> Result<Vec<Compare>, StoreError> {
        let mut expected: Vec<(&str, Expected)> = Vec::new();
        for (key, wanted) in transaction.comparisons() {
            if *wanted != Expected::Any {
                expected.push((key, *wanted));
            }
        }
        if expected.is_empty() {
            return Ok(Vec::new());
        }
        let keys: Vec<&str> = expected.iter().map(|(key, _)| *key).collect();
        let (present, now) = (self.read_together(&keys).await?, self.clock.now());
        let mut observed: HashMap<&str, i64> = HashMap::new();
        for (key, wanted) in expected {
            let entry = present.get(key);
            let alive = entry.filter(|entry| !entry.has_expired(now)).map(|entry| entry.revision);
            if !wanted.holds(alive) {
                return Err(StoreError::Conflict { key: key.to_owned() });
            }
            observed.insert(key, entry.map_or(0, |entry| signed(entry.revision)));
        }
        let unchanged = |(key, revision): (&str, i64)| Compare {
            result: CompareResult::Equal.into(),
            target: CompareTarget::Mod.into(),
            key: self.place(key),
            target_union: Some(TargetUnion::ModRevision(revision)),
        };
        Ok(observed.into_iter().map(unchanged).collect())
    }

    async fn writes(&self, transaction: &Transaction) -> Result<Vec<RequestOp>, StoreError> {
        let mut operations = Vec::with_capacity(transaction.writes().len());
        for (key, write) in transaction.writes() {
            let key = self.place(key);
            let request = match write {
                Write::Put { value, expires } => Request::RequestPut(PutRequest {
                    key,
                    value: value::encode(value, *expires),
                    lease: match expires {
                        Some(expires) => self.lease(*expires).await?,
                        None => 0,
                    },
                }),
                Write::Delete => Request::RequestDeleteRange(DeleteRangeRequest { key }),
            };
            operations.push(RequestOp { request: Some(request) });
        }
        Ok(operations)
    }

    /// The error of a write, which a full etcd refuses.
    fn refused(&self, fault: Fault) -> StoreError {
        if let Fault::Full(cause) = &fault {
            self.connection.health.is_full(cause);
        }
        fault.into()
    }

    /// A lease that ends after this time.
    async fn lease(&self, expires: Timestamp) -> Result<i64, StoreError> {
        let (span, now) = (leases::span(expires), self.clock.now());
        if let Some(lease) = self.leases.of(span) {
            return Ok(lease);
        }
        let request = LeaseGrantRequest { ttl: leases::duration(span, now) };
        let granted = self.connection.call(Repeat::Always, |channel| async move {
            LeaseClient::new(channel).lease_grant(to_led_member(request)).await
        });
        let granted = granted.await.map_err(|fault| self.refused(fault))?;
        if !granted.error.is_empty() {
            return Err(StoreError::Unavailable(format!("etcd: {}", granted.error)));
        }
        self.leases.keep(span, granted.id, now);
        Ok(granted.id)
    }
}
