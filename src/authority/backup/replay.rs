//! Repeating, on the records of an export, what the audit trail says was revoked and deleted after it.

use std::collections::BTreeMap;
use std::io;
use std::io::BufRead;
use std::sync::Arc;

use serde::Deserialize;

use crate::authority::access::TeamGrant;
use crate::authority::backup::export::Export;
use crate::authority::backup::moved::MovedRecord;
use crate::authority::clock::Timestamp;
use crate::authority::keys::KEYS;
use crate::authority::keys::KeyRecord;
use crate::authority::keys::KeyRevocation;
use crate::authority::keys::KeyStage;
use crate::authority::observe::AUDIT_TARGET;
use crate::authority::records::Registered;
use crate::authority::records::Registration as _;
use crate::authority::registration::ClientMetadata;
use crate::authority::registration::ClientRegistration;
use crate::authority::registration::MAX_TTL;
use crate::authority::registration::unique_index_key;
use crate::authority::resources::DeletedResource;
use crate::authority::resources::ProtectedResource;
use crate::authority::state::RevocationRecord;
use crate::authority::state::Revoked;
use crate::authority::store::Revision;

/// What was repeated.
#[derive(Debug, Default, Eq, PartialEq)]
pub struct Replayed {
    /// The revocations that were made.
    pub revoked: usize,
    /// Those that were lifted.
    pub lifted: usize,
    /// The signing keys that were revoked.
    pub keys_revoked: usize,
    /// The clients that were disabled.
    pub disabled: usize,
    /// The clients, resources and grants that were deleted.
    pub deleted: usize,
    /// What was registered or changed after the export, which the audit trail does not tell in full, by the store's key.
    pub not_replayed: Vec<String>,
}

/// A line that is no event of the audit trail.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct NotReplayed {
    /// The number of the line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub problem: String,
}

/// An event of the audit trail, as a line of the log in JSON has it. Other lines lack what it needs.
#[derive(Debug, Deserialize)]
struct Event {
    target: String,
    message: String,
    timestamp: String,
    change: Option<String>,
    revision: Option<u64>,
    by: Option<String>,
    admin: Option<String>,
    key: Option<String>,
    client_id: Option<String>,
    audience: Option<String>,
    grant: Option<String>,
    until: Option<Timestamp>,
    kid: Option<String>,
    comment: Option<String>,
}

/// Repeats the revocations, disablings and deletions in a log in JSON that came after an export, and counts them in `replayed`.
/// `time_of` reads the time of a line.
///
/// # Errors
/// The first line of the audit trail that says of a change what cannot be read: what it changed would be lost.
pub fn replay(
    export: &mut Export,
    log: impl BufRead,
    time_of: impl Fn(&str) -> Option<Timestamp>,
    replayed: &mut Replayed,
) -> Result<(), NotReplayed> {
    let mut records: BTreeMap<String, MovedRecord> =
        std::mem::take(&mut export.records).into_iter().map(|record| (record.key.clone(), record)).collect();
    for (number, line) in log.lines().enumerate() {
        let failed = |problem: String| NotReplayed { line: number + 1, problem };
        let line = line.map_err(|error: io::Error| failed(error.to_string()))?;
        let Ok(event) = serde_json::from_str::<Event>(&line) else {
            if line.contains(AUDIT_TARGET) {
                return Err(failed("is no whole line of JSON, as `log.format: json` writes it".to_owned()));
            }
            continue;
        };
        let (true, Some(change)) = (event.target == AUDIT_TARGET, event.change.as_deref()) else { continue };
        let time = time_of(&event.timestamp).ok_or_else(|| failed(format!("{} is no time", event.timestamp)))?;
        // The revisions of a store that was restored meanwhile begin anew.
        if event.revision.is_none_or(|revision| revision <= export.revision.0) && time <= export.time {
            continue;
        }
        event.repeat(change, time, &mut records, replayed).map_err(failed)?;
    }
    replayed.not_replayed.sort();
    replayed.not_replayed.dedup();
    export.records = records.into_values().collect();
    Ok(())
}

impl Event {
    fn repeat(
        &self,
        change: &str,
        time: Timestamp,
        records: &mut BTreeMap<String, MovedRecord>,
        replayed: &mut Replayed,
    ) -> Result<(), String> {
        match (self.message.as_str(), change) {
            ("revocation", _) => self.repeat_revocation(change, time, records, replayed),
            ("signing key changed", "revoked") => {
                let key = format!("{KEYS}{}", self.kid.as_deref().ok_or("names no kid")?);
                if let Some(record) = records.get(&key) {
                    let record = KeyRecord::from_bytes(&record.value).map_err(|error| error.to_string())?;
                    let by = self.admin.clone().unwrap_or_default();
                    let reason = self.comment.clone().unwrap_or_default();
                    let revoked = record.in_stage(KeyStage::Revoked(KeyRevocation { at: time, by, reason }));
                    insert(records, key, revoked.to_bytes().map_err(|error| error.to_string())?);
                    replayed.keys_revoked += 1;
                }
                Ok(())
            }
            ("client changed", "deleted") => {
                let name = self.client_id.as_deref().ok_or("names no client_id")?;
                if let Some(client) = records.remove(&ClientRegistration::key(name)) {
                    let index = Registered::<ClientRegistration>::parse(&client.value).ok();
                    let index = index.as_ref().and_then(unique_index_key);
                    records.retain(|key, _| Some(key) != index.as_ref());
                    replayed.deleted += 1;
                }
                replayed.not_replayed.retain(|key| *key != ClientRegistration::key(name));
                Ok(())
            }
            ("client changed", "disabled") => {
                let name = self.client_id.as_deref().ok_or("names no client_id")?;
                let key = ClientRegistration::key(name);
                if let Some(client) = records.get(&key) {
                    let disabled = disabled(name, &client.value)?;
                    insert(records, key.clone(), disabled);
                    replayed.disabled += 1;
                }
                // The same change may have changed more.
                replayed.not_replayed.push(key);
                Ok(())
            }
            ("resource changed", "deleted") => {
                let name = self.audience.as_deref().ok_or("names no audience")?;
                if let Some(resource) = records.remove(&ProtectedResource::key(name)) {
                    let resource = Registered::<ProtectedResource>::parse(&resource.value);
                    let metadata = resource.map_err(|error| error.to_string())?.metadata;
                    let by = self.admin.as_deref().unwrap_or_default();
                    let mark = DeletedResource::new(&metadata, time, by).to_bytes();
                    insert(records, DeletedResource::key(name), mark.ok_or("cannot be written")?);
                    replayed.deleted += 1;
                }
                replayed.not_replayed.retain(|key| *key != ProtectedResource::key(name));
                Ok(())
            }
            ("grant changed", "deleted") => {
                let key = TeamGrant::key(self.grant.as_deref().ok_or("names no grant")?);
                replayed.deleted += usize::from(records.remove(&key).is_some());
                replayed.not_replayed.retain(|other| *other != key);
                Ok(())
            }
            ("grant changed", _) => {
                replayed.not_replayed.extend(self.grant.as_deref().map(TeamGrant::key));
                Ok(())
            }
            ("client changed", _) => {
                replayed.not_replayed.extend(self.client_id.as_deref().map(ClientRegistration::key));
                Ok(())
            }
            ("resource changed", _) => {
                replayed.not_replayed.extend(self.audience.as_deref().map(ProtectedResource::key));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn repeat_revocation(
        &self,
        change: &str,
        time: Timestamp,
        records: &mut BTreeMap<String, MovedRecord>,
        replayed: &mut Replayed,
    ) -> Result<(), String> {
        let key = self.key.as_deref().ok_or("names nothing that is revoked")?;
        let revoked = Revoked::from_store_key(key).ok_or_else(|| format!("{key} is nothing that can be revoked"))?;
        let by = self.by.as_deref().unwrap_or_default();
        match change {
            "revoked" => {
                // Earlier versions do not write the end. What concerns tokens ends with the last of them.
                let of_tokens = !revoked.is_liftable();
                let until = self.until.or_else(|| of_tokens.then(|| time.after(MAX_TTL)));
                let record = RevocationRecord::new(time, by, until).to_bytes();
                insert(records, key.to_owned(), record.ok_or("cannot be written")?);
                replayed.revoked += 1;
            }
            "lifted" => {
                let present = records.get(key).and_then(|record| RevocationRecord::from_bytes(&record.value));
                if let Some(present) = present {
                    match revoked.lifted(present, time, by) {
                        Some(lifted) => {
                            let lifted = lifted.to_bytes().ok_or("cannot be written")?;
                            insert(records, key.to_owned(), lifted);
                        }
                        None => drop(records.remove(key)),
                    }
                    replayed.lifted += 1;
                }
            }
            other => return Err(format!("{other} is no change of a revocation")),
        }
        Ok(())
    }
}

/// The record of a client, disabled.
fn disabled(name: &str, value: &[u8]) -> Result<Vec<u8>, String> {
    let client = Registered::<ClientRegistration>::read(name, value, Revision::default());
    let client = client.map_err(|error| error.to_string())?;
    let metadata = ClientMetadata { disabled: true, ..client.registration.metadata() };
    let registration = ClientRegistration::parse(metadata).map_err(|error| error.to_string())?;
    Registered::new(registration, client.record, client.revision).to_bytes().map_err(|error| error.to_string())
}

fn insert(records: &mut BTreeMap<String, MovedRecord>, key: String, value: Vec<u8>) {
    let record = MovedRecord { key: key.clone(), value: Arc::from(value), expires: None };
    records.insert(key, record);
}
