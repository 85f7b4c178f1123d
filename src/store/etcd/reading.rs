//! Reads: always linearizable, and long ones in pages at one revision.

use std::collections::HashMap;

use tonic::transport::Channel;

use crate::authority::store::KeyRevisions;
use crate::authority::store::Listing;
use crate::authority::store::Revision;
use crate::authority::store::StoreError;
use crate::authority::store::Versioned;
use crate::store::etcd::EtcdStore;
use crate::store::etcd::connection::MAX_ANSWER_BYTES;
use crate::store::etcd::connection::Repeat;
use crate::store::etcd::connection::to_led_member;
use crate::store::etcd::proto::etcdserverpb::RangeRequest;
use crate::store::etcd::proto::etcdserverpb::RangeResponse;
use crate::store::etcd::proto::etcdserverpb::RequestOp;
use crate::store::etcd::proto::etcdserverpb::TxnRequest;
use crate::store::etcd::proto::etcdserverpb::kv_client::KvClient;
use crate::store::etcd::proto::etcdserverpb::request_op::Request;
use crate::store::etcd::proto::etcdserverpb::response_op::Response;
use crate::store::etcd::proto::mvccpb::KeyValue;
use crate::store::etcd::value;
use crate::store::etcd::value::Entry;
use crate::store::etcd::value::after_prefix;
use crate::store::etcd::value::foreign;
use crate::store::etcd::value::revision;

/// How many records one answer has. Each has at most 68 KiB.
const PAGE: i64 = 1024;

/// How often a listing begins anew because its revision was compacted meanwhile.
const LISTINGS: usize = 3;

impl EtcdStore {
    /// The entry at a key, whether or not it has expired, and the store's revision.
    pub(super) async fn read(&self, key: &str) -> Result<(Option<Entry>, Revision), StoreError> {
        let answer = self.range(RangeRequest { key: self.place(key), ..RangeRequest::default() }).await?;
        let at = revision(answer.header.as_ref().map(|header| header.revision));
        let entry = answer.kvs.first().map(|found| self.entry(found)).transpose()?;
        Ok((entry.map(|(_, entry)| entry), at))
    }

    /// The entries at these keys, at one revision, whether or not they have expired.
    pub(super) async fn read_together<'a>(&self, keys: &[&'a str]) -> Result<HashMap<&'a str, Entry>, StoreError> {
        let read = |key: &&str| RequestOp {
            request: Some(Request::RequestRange(RangeRequest { key: self.place(key), ..RangeRequest::default() })),
        };
        let request = TxnRequest { success: keys.iter().map(read).collect(), ..TxnRequest::default() };
        let send = |channel: Channel| {
            let request = to_led_member(request.clone());
            async move { KvClient::new(channel).max_decoding_message_size(MAX_ANSWER_BYTES).txn(request).await }
        };
        let answer = self.connection.call(Repeat::Always, send).await?;
        let mut found = HashMap::new();
        for (key, response) in keys.iter().zip(answer.responses) {
            let Some(Response::ResponseRange(range)) = response.response else { continue };
            if let Some(stored) = range.kvs.first() {
                found.insert(*key, self.entry(stored)?.1);
            }
        }
        Ok(found)
    }

    /// All entries under a prefix that have not expired, at one revision.
    pub(super) async fn listing(&self, prefix: &str) -> Result<Listing, StoreError> {
        for _ in 0..LISTINGS {
            match self.pages(prefix).await {
                Err(StoreError::Compacted) => {}
                listed => return listed,
            }
        }
        Err(StoreError::Unavailable("etcd: the revision of the listing was compacted while it was read".to_owned()))
    }

    async fn pages(&self, prefix: &str) -> Result<Listing, StoreError> {
        let (mut key, range_end) = (self.place(prefix), after_prefix(self.place(prefix)));
        let (mut at, mut entries) = (0, Vec::new());
        loop {
            let page = RangeRequest { key, range_end: range_end.clone(), limit: PAGE, revision: at, keys_only: false };
            let page = self.range(page).await?;
            if at == 0 {
                at = page.header.as_ref().map_or(0, |header| header.revision);
            }
            let now = self.clock.now();
            for found in &page.kvs {
                let (key, entry) = self.entry(found)?;
                if !entry.has_expired(now) {
                    entries.push((key, entry));
                }
            }
            match page.kvs.last() {
                Some(last) if page.more => key = just_after(&last.key),
                _ => return Ok(Listing { entries, revision: revision(Some(at)) }),
            }
        }
    }

    /// The first keys after `after`, with their revisions.
    pub(super) async fn key_revisions(&self, after: &str, limit: usize) -> Result<KeyRevisions, StoreError> {
        let page = RangeRequest {
            key: just_after(&self.place(after)),
            range_end: after_prefix(self.place("")),
            limit: i64::try_from(limit).unwrap_or(i64::MAX),
            revision: 0,
            keys_only: true,
        };
        let page = self.range(page).await?;
        let keys = page.kvs.iter().map(|found| Ok((self.key(found)?, revision(Some(found.mod_revision)))));
        let keys = keys.collect::<Result<_, StoreError>>()?;
        Ok(KeyRevisions { keys, more: page.more, revision: revision(page.header.map(|header| header.revision)) })
    }

    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, StoreError> {
        let send = |channel: Channel| {
            let request = to_led_member(request.clone());
            async move { KvClient::new(channel).max_decoding_message_size(MAX_ANSWER_BYTES).range(request).await }
        };
        Ok(self.connection.call(Repeat::Always, send).await?)
    }

    /// The key of the port where something is stored.
    pub(super) fn key(&self, found: &KeyValue) -> Result<String, StoreError> {
        let key = found.key.strip_prefix(self.prefix.as_bytes()).and_then(|key| std::str::from_utf8(key).ok());
        key.map(str::to_owned).ok_or_else(|| foreign(&found.key))
    }

    fn entry(&self, found: &KeyValue) -> Result<(String, Entry), StoreError> {
        let (value, expires) = value::decode(&found.value).ok_or_else(|| foreign(&found.key))?;
        let revision = revision(Some(found.mod_revision));
        Ok((self.key(found)?, Versioned { value, revision, expires }))
    }
}

/// The first key after this one.
fn just_after(key: &[u8]) -> Vec<u8> {
    [key, b"\0"].concat()
}
