//! Revokes tokens, clients, certificates and identities (RFC 7009), lists revocations, and sweeps those that have no
//! effect any more.

use std::collections::BTreeSet;

use strum::VariantArray as _;

use crate::authority::Authority;
use crate::authority::access::ChangedBy;
use crate::authority::access::ControlledKind;
use crate::authority::access::GrantedRole;
use crate::authority::access::Requester;
use crate::authority::api::held::Wanted;
use crate::authority::api::own_tokens::WantedRevocation;
use crate::authority::decision::LastAdmin;
use crate::authority::decision::ProposalError;
use crate::authority::decision::RevokeError;
use crate::authority::decision::RevokeOutcome;
use crate::authority::decision::RevokeRequest;
use crate::authority::decision::RevokeWarning;
use crate::authority::identity::parse_spiffe_id;
use crate::authority::records::ChangeRecord;
use crate::authority::records::RegistryError;
use crate::authority::reference::Refused;
use crate::authority::registration::ClientId;
use crate::authority::registration::ClientStatus;
use crate::authority::registration::MAX_TTL;
use crate::authority::state::Caller;
use crate::authority::state::Entry;
use crate::authority::state::ProposedChange;
use crate::authority::state::RevocationRecord;
use crate::authority::state::Revoked;
use crate::authority::state::RevokedKind;
use crate::authority::state::View;
use crate::authority::state::lifting;
use crate::authority::store::Expected;
use crate::authority::store::Revision;
use crate::authority::store::StoreError;
use crate::authority::store::Transaction;

/// How often a change is tried anew because another one came before it.
const ATTEMPTS: usize = 8;

impl Authority {
    /// Revokes a token, a client, a certificate or identities. When this returns, the revocation is stored, and every
    /// protocol enforces it.
    pub async fn revoke(
        &self,
        caller: &Caller,
        requester: &Requester,
        request: RevokeRequest,
        last_admin: LastAdmin,
    ) -> Result<RevokeOutcome, Refused<RevokeError>> {
        self.put_revocation(caller, requester, request, last_admin)
            .await
            .map_err(|error| self.record_not_revoked(caller, error))
    }

    async fn put_revocation(
        &self,
        caller: &Caller,
        requester: &Requester,
        request: RevokeRequest,
        last_admin: LastAdmin,
    ) -> Result<RevokeOutcome, RevokeError> {
        let view = &caller.view;
        // Its own token is revoked by a client, who has no part in who is an admin.
        let by_operator = !matches!(request, RevokeRequest::Token(_));
        let Some(wanted) = self.resolve(caller, requester, request)? else {
            return Ok(RevokeOutcome { warnings: vec![RevokeWarning::TokenNotValid], until: None });
        };
        let WantedRevocation { revoked, at, until, enough_at, enough_until } = wanted;
        let guarded = if by_operator { guarded(caller, requester, &revoked, last_admin)? } else { Vec::new() };
        let mut warnings = Vec::new();
        if by_operator && !self.is_known(view, &revoked) {
            warnings.push(RevokeWarning::UnknownTarget);
        }
        let all_of_certificate = matches!(revoked, Revoked::IssuedWith(_));
        if all_of_certificate {
            warnings.push(RevokeWarning::AllOfCertificate);
        }
        let by = caller.identity.to_string();
        let record = RevocationRecord::new(at, &by, until);
        let bytes = record.to_bytes().ok_or(RevokeError::Unavailable)?;
        let key = revoked.store_key();
        for _ in 0..ATTEMPTS {
            let (present, expected) = self.stored_revocation(&key).await?;
            let is_enough =
                |present: &RevocationRecord| present.lasts(enough_until, view.now) && present.revoked_at >= enough_at;
            if let Some(present) = present.filter(is_enough) {
                if present.until != until && !all_of_certificate {
                    warnings.push(RevokeWarning::LaterEndKept);
                }
                return Ok(RevokeOutcome { warnings, until: present.until });
            }
            let change = Transaction::default().compare(&key, expected).put(&key, bytes.clone()).taking_away();
            let change = if by_operator { unless_revoked(change, caller, &guarded, &key) } else { change };
            if let Some(revision) = self.attempt(change, &key, &guarded).await? {
                self.apply_write(&key, Some(Entry::Revocation(record)), revision);
                self.record_revocation((&by, None), &revoked, ("revoked", until), revision);
                return Ok(RevokeOutcome { warnings, until });
            }
        }
        Err(RevokeError::Unavailable)
    }

    /// Lifts a revocation. Tokens that were issued before stay refused, but those that are bound to a certificate.
    pub async fn lift_revocation(
        &self,
        caller: &Caller,
        requester: &Requester,
        request: RevokeRequest,
    ) -> Result<RevokeOutcome, Refused<RevokeError>> {
        self.end_revocation(caller, requester, request).await.map_err(|error| self.record_not_revoked(caller, error))
    }

    async fn end_revocation(
        &self,
        caller: &Caller,
        requester: &Requester,
        request: RevokeRequest,
    ) -> Result<RevokeOutcome, RevokeError> {
        if !requester.roles.admin {
            return Err(if requester.roles.revoker { RevokeError::OnlyAdminsLift } else { RevokeError::NotYours });
        }
        let revoked = match request {
            RevokeRequest::Client(client_id, _) => Revoked::Client(client_id),
            RevokeRequest::Certificate(thumbprint, _) => Revoked::Certificate(thumbprint),
            RevokeRequest::Peers(revoked, _) => revoked,
            RevokeRequest::Token(_) | RevokeRequest::TokenId(_) | RevokeRequest::IssuedTo(_) => {
                return Err(RevokeError::NotLiftable);
            }
        };
        if !revoked.is_liftable() {
            return Err(RevokeError::NotLiftable);
        }
        self.lift(caller, ChangedBy::from(&caller.identity), &revoked, None).await
    }

    /// Lifts a revocation that a second admin has approved the lifting of, if its revision is still `base`.
    pub(in crate::authority::api) async fn lift_at(
        &self,
        caller: &Caller,
        author: ChangedBy<'_>,
        key: &str,
        base: Option<Revision>,
    ) -> Result<(), ProposalError> {
        let revoked = Revoked::from_store_key(key).ok_or(ProposalError::Unreadable)?;
        let lifted = self.lift(caller, author, &revoked, base).await.map_err(ProposalError::Revocation)?;
        if lifted.warnings.is_empty() { Ok(()) } else { Err(ProposalError::Outdated) }
    }

    async fn lift(
        &self,
        caller: &Caller,
        author: ChangedBy<'_>,
        revoked: &Revoked,
        base: Option<Revision>,
    ) -> Result<RevokeOutcome, RevokeError> {
        let (view, key) = (&caller.view, revoked.store_key());
        // In the view of a caller whose request was admitted, none of the caller's own is in effect. One that was made
        // since is not the caller's to lift.
        let own = view.is_of_peer(revoked, &caller.identity);
        for _ in 0..ATTEMPTS {
            let (present, expected) = if own { (None, Expected::Any) } else { self.stored_revocation(&key).await? };
            let is_base = base.is_none_or(|base| expected == Expected::At(base));
            let Some(present) = present.filter(|present| is_base && present.is_in_effect(view.now)) else {
                return Ok(RevokeOutcome { warnings: vec![RevokeWarning::NotRevoked], until: None });
            };
            if let (true, Expected::At(base)) = (self.holds(author, ControlledKind::Revocation), expected) {
                let (change, base) = (ProposedChange::Lift, Some(base));
                let wanted = Wanted { kind: ControlledKind::Revocation, name: &key, change, metadata: None, base };
                return Err(RevokeError::Held(self.propose(author, wanted).await?));
            }
            let by = author.name();
            let kept = ChangeRecord::new("lifted", (&by, view.now, None), (Some(&present), None::<&RevocationRecord>));
            let kept = kept.approved_by(author.approver());
            let lifted = revoked.lifted(present, view.now, &by);
            let change = lifting(&key, expected, lifted.as_ref()).ok_or(RevokeError::Unavailable)?;
            let change = self.with_change(&key, &kept, author.consent.used_in(change)).await?;
            let entry = lifted.map(Entry::Revocation);
            if let Some(revision) = self.attempt(unless_revoked(change, caller, &[], &key), &key, &[]).await? {
                self.apply_write(&key, entry, revision);
                self.record_revocation((&by, author.approver()), revoked, ("lifted", None), revision);
                return Ok(RevokeOutcome::default());
            }
        }
        Err(RevokeError::Unavailable)
    }

    /// At most `count` revocations of these kinds after the one with the store key `after`, as they are in the view.
    pub fn revocations(
        &self,
        view: &View,
        kinds: &[RevokedKind],
        after: Option<&str>,
        count: usize,
    ) -> Result<Vec<(Revoked, RevocationRecord)>, RegistryError> {
        let after = after.map(|key| Revoked::from_store_key(key).ok_or(RegistryError::InvalidPageToken)).transpose()?;
        let page = view.snapshot.revocations.page(kinds, after.as_ref(), count);
        Ok(page.into_iter().map(|(revoked, record, _)| (revoked, record.into_owned())).collect())
    }

    /// Deletes the revocations that revoke nothing any more.
    pub async fn sweep_revocations(&self) -> Result<(), StoreError> {
        let expired = self.snapshot.load().revocations.expired(self.clock.now());
        self.delete_all(expired.iter().map(|(revoked, revision)| (revoked.store_key(), *revision)).collect()).await
    }

    fn record_not_revoked(&self, caller: &Caller, error: RevokeError) -> Refused<RevokeError> {
        let reference = self.record_not_changed(caller, "revocation", error.code(), &error.to_string());
        Refused { error, reference }
    }

    fn resolve(
        &self,
        caller: &Caller,
        requester: &Requester,
        request: RevokeRequest,
    ) -> Result<Option<WantedRevocation>, RevokeError> {
        let view = &caller.view;
        if let RevokeRequest::Token(text) = &request {
            let Ok(token) = self.verified(view, text) else { return Ok(None) };
            let own =
                requester.client_id.as_ref().is_some_and(|client_id| client_id.as_str() == token.claims.client_id);
            if !own && !requester.roles.revokes_all() {
                return Err(RevokeError::NotYours);
            }
            if view.now >= token.claims.exp {
                return Ok(None);
            }
            if !requester.roles.revokes_all() {
                return self.revocation_of_own(caller, &token).map(Some);
            }
            let revoked = Revoked::token(&token.claims.jti).ok_or(RevokeError::Malformed)?;
            return Ok(Some(WantedRevocation::new(revoked, view.now, Some(token.claims.exp))));
        }
        if !requester.roles.revokes_all() {
            return Err(RevokeError::NotYours);
        }
        // No token that is issued now is valid for longer than this.
        let last_token = Some(view.now.after(MAX_TTL));
        let (revoked, until) = match request {
            RevokeRequest::TokenId(jti) => (Revoked::token(&jti).ok_or(RevokeError::Malformed)?, last_token),
            RevokeRequest::Client(client_id, until) => (Revoked::Client(client_id), until),
            RevokeRequest::Certificate(thumbprint, until) => (Revoked::Certificate(thumbprint), until),
            RevokeRequest::IssuedTo(client_id) => (Revoked::IssuedTo(client_id), last_token),
            RevokeRequest::Peers(revoked, until) => (revoked, until),
            RevokeRequest::Token(_) => return Ok(None),
        };
        if until.is_some_and(|until| until <= view.now) {
            return Err(RevokeError::EndPassed);
        }
        Ok(Some(WantedRevocation::new(revoked, view.now, until)))
    }

    /// Whether anything that is registered, configured or in use has this name.
    fn is_known(&self, view: &View, revoked: &Revoked) -> bool {
        let directory = &view.snapshot.directory;
        let is_client = |client_id: &ClientId| {
            directory.named(client_id.as_str()).is_some()
                || !matches!(directory.status(client_id), ClientStatus::Unknown)
        };
        let has_role = |client_id: &ClientId| {
            let id = client_id.spiffe_id();
            id.is_some() && GrantedRole::VARIANTS.iter().any(|role| view.roles.assigns(*role, id.as_ref(), None))
        };
        match revoked {
            Revoked::Token(jti) => self.verified.has(|token| token.claims.jti == *jti),
            Revoked::Client(client_id) => is_client(client_id) || has_role(client_id),
            Revoked::IssuedTo(client_id) => is_client(client_id),
            Revoked::AllIssued => true,
            Revoked::Certificate(thumbprint) | Revoked::IssuedWith(thumbprint) => {
                view.is_known_certificate(thumbprint)
                    || view.snapshot.lineages.names(thumbprint)
                    || self.verified.has(|token| token.bound_to == Some(*thumbprint))
            }
            Revoked::Identities(prefix) => {
                let parent = prefix.strip_suffix('/').and_then(parse_spiffe_id);
                parent.is_some_and(|parent| view.trust.trust_domains.contains_key(parent.trust_domain()))
            }
            Revoked::TrustDomain(trust_domain) => view.trust.trust_domains.contains_key(trust_domain),
            Revoked::Role(role) => view.roles.holders(*role).next().is_some(),
        }
    }

    /// The revocation at a key, and the state of the key to expect when it is replaced.
    async fn stored_revocation(&self, key: &str) -> Result<(Option<RevocationRecord>, Expected), RevokeError> {
        let Some(stored) = self.store.get(key).await? else { return Ok((None, Expected::Absent)) };
        if let Some(record) = RevocationRecord::from_bytes(&stored.value) {
            return Ok((Some(record), Expected::At(stored.revision)));
        }
        // It may have a later end.
        tracing::error!(key, "the stored revocation cannot be read, and is not replaced");
        Err(RevokeError::Unavailable)
    }

    /// Commits a change; `None` if the key has changed, so that it is to be tried again. What is guarded names the admin
    /// who is left.
    async fn attempt(
        &self,
        change: Transaction,
        key: &str,
        guarded: &[Revoked],
    ) -> Result<Option<Revision>, RevokeError> {
        match self.store.transact(change).await {
            Ok(revision) => Ok(Some(revision)),
            Err(StoreError::Conflict { key: changed }) if changed == key => Ok(None),
            Err(StoreError::Conflict { key: changed }) if guarded.iter().any(|one| one.store_key() == changed) => {
                Err(RevokeError::LastAdmin)
            }
            // The caller has been revoked since its request was admitted, and holds no role any more.
            Err(StoreError::Conflict { .. }) => Err(RevokeError::NotYours),
            Err(error) => Err(error.into()),
        }
    }
}

/// Refuses what would leave no admin, unless an admin says that it may. Returns the names by which the admin who is left must
/// not be revoked meanwhile; none where an admin revokes, who is left itself.
fn guarded(
    caller: &Caller,
    requester: &Requester,
    revoked: &Revoked,
    last_admin: LastAdmin,
) -> Result<Vec<Revoked>, RevokeError> {
    let view = &caller.view;
    if !requester.roles.admin {
        return view.admin_left(revoked).ok_or(RevokeError::LastAdmin);
    }
    let leaves_one = last_admin == LastAdmin::MayGo || view.leaves_an_admin(revoked, &caller.identity);
    if leaves_one { Ok(Vec::new()) } else { Err(RevokeError::LastAdmin) }
}

/// Adds the condition that the caller is not revoked meanwhile, by any name that covers it or by its role, nor by what is
/// guarded: two admins who revoke each other at once do not both succeed.
fn unless_revoked(mut change: Transaction, caller: &Caller, guarded: &[Revoked], key: &str) -> Transaction {
    let (peer, revocations) = (&caller.identity, &caller.view.snapshot.revocations);
    let roles = [(caller.roles.admin, GrantedRole::Admin), (caller.roles.revoker, GrantedRole::Revoker)];
    let by_role = roles.into_iter().filter(|(holds, _)| *holds).map(|(_, role)| Revoked::Role(role));
    let own = caller.view.names_of(peer).into_iter().chain(by_role);
    for revoked in own.chain(guarded.iter().cloned()).collect::<BTreeSet<_>>() {
        let own_key = revoked.store_key();
        if own_key != key {
            let expected = revocations.revision_of(&revoked).map_or(Expected::Absent, Expected::At);
            change = change.compare(&own_key, expected);
        }
    }
    change
}
