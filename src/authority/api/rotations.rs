//! Announces the certificate that follows the one in use (`rotation: lineage`).

use rustls_pki_types::CertificateDer;

use crate::authority::Authority;
use crate::authority::decision::Announced;
use crate::authority::decision::NotAnnounced;
use crate::authority::identity::CertificateThumbprint;
use crate::authority::observe::Quota;
use crate::authority::reference::Refused;
use crate::authority::registration::ClientId;
use crate::authority::registration::ClientStatus;
use crate::authority::registration::Rotation;
use crate::authority::state::Caller;
use crate::authority::state::Entry;
use crate::authority::state::LineageRecord;
use crate::authority::state::succession_key;
use crate::authority::store::Expected;
use crate::authority::store::StoreError;

impl Authority {
    /// Stores the successor of the certificate that the caller uses on this connection: the chain of a certificate that
    /// is valid now and bears the same SPIFFE ID. The first announcement is final; announcing the same successor again
    /// changes nothing.
    pub async fn announce_rotation(
        &self,
        caller: &Caller,
        chain: &[CertificateDer<'_>],
    ) -> Result<Announced, Refused<NotAnnounced>> {
        self.take_successor(caller, chain).await.map_err(|error| {
            let reference = match chain.first() {
                Some(successor) if error == NotAnnounced::Taken => {
                    let (predecessor, successor) = (caller.identity.thumbprint(), CertificateThumbprint::of(successor));
                    self.record_second_successor(&caller.sender(), predecessor, successor)
                }
                _ => self.record_not_changed(caller, "rotation", error.code(), &error.to_string()),
            };
            Refused { error, reference }
        })
    }

    async fn take_successor(&self, caller: &Caller, chain: &[CertificateDer<'_>]) -> Result<Announced, NotAnnounced> {
        let (view, now) = (&caller.view, caller.view.now);
        let spiffe_id = caller.identity.spiffe_id().ok_or(NotAnnounced::NotLineage)?;
        match view.snapshot.directory.status(&ClientId::from(spiffe_id)) {
            ClientStatus::Registered(client) if client.registration.terms.rotation == Rotation::Lineage => {}
            ClientStatus::Registered(_)
            | ClientStatus::Unknown
            | ClientStatus::Ambiguous
            | ClientStatus::Suspended
            | ClientStatus::Disabled => {
                return Err(NotAnnounced::NotLineage);
            }
        }
        let proven = self.prove(view, chain).map_err(NotAnnounced::Unproven)?;
        if proven.spiffe_id() != Some(spiffe_id) {
            return Err(NotAnnounced::OtherIdentity);
        }
        let (predecessor, successor) = (caller.identity.thumbprint(), proven.thumbprint());
        if predecessor == successor {
            return Err(NotAnnounced::NotAnother);
        }
        let spiffe_id = spiffe_id.to_string();
        let record = LineageRecord::new(successor, &spiffe_id, now, caller.identity.certificate().not_after());
        let lineages = &self.snapshot.load().lineages;
        if lineages.of(&predecessor).is_none() && lineages.count_of(&spiffe_id) >= self.policy.quotas.rotations {
            self.metrics.quota_exceeded(Quota::Rotations);
            return Err(NotAnnounced::QuotaExceeded);
        }
        let key = succession_key(predecessor);
        let bytes = record.to_bytes().ok_or(NotAnnounced::Unavailable)?;
        match self.store.put(&key, bytes, Expected::Absent).await {
            Ok(revision) => {
                self.apply_write(&key, Some(Entry::Lineage(record)), revision);
                self.record_rotation(&caller.sender(), predecessor, successor);
                Ok(Announced { successor, until: now.after(self.policy.lineage.overlap) })
            }
            Err(StoreError::Conflict { .. }) => self.announced_before(&key, successor).await,
            Err(error) => {
                tracing::error!(%error, "cannot store an announced successor");
                Err(NotAnnounced::Unavailable)
            }
        }
    }

    /// Handles a certificate that already has a successor: the same one, or another.
    async fn announced_before(&self, key: &str, successor: CertificateThumbprint) -> Result<Announced, NotAnnounced> {
        let stored = self.store.get(key).await.map_err(|_| NotAnnounced::Unavailable)?;
        let record = stored.and_then(|stored| LineageRecord::from_bytes(&stored.value));
        if let Some(record) = record.filter(|record| record.successor == successor.to_string()) {
            return Ok(Announced { successor, until: record.announced_at.after(self.policy.lineage.overlap) });
        }
        Err(NotAnnounced::Taken)
    }

    /// The number of known successions.
    pub fn successions(&self) -> usize {
        self.snapshot.load().lineages.len()
    }

    /// Deletes the successions that have no effect any more.
    pub async fn sweep_lineages(&self) -> Result<(), StoreError> {
        let ended = self.snapshot.load().lineages.ended(self.policy.lineage, self.clock.now());
        let keys = ended.iter().map(|(predecessor, revision)| (succession_key(*predecessor), *revision));
        self.delete_all(keys.collect()).await
    }
}
