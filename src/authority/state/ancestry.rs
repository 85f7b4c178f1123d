//! Whether the tokens that a delegated token comes from still count: what ends one of them ends what came from it, without
//! a record of what that is.

use std::fmt;

use spiffe::SpiffeId;

use crate::authority::deny_reason::DenyReason;
use crate::authority::registration::ClientStatus;
use crate::authority::registration::RegisteredClient;
use crate::authority::registration::TokenEndpointAuthMethod;
use crate::authority::state::lineages::LineagePolicy;
use crate::authority::state::refusal::Held;
use crate::authority::state::refusal::registered;
use crate::authority::state::view::View;
use crate::authority::tokens::ParsedAncestor;
use crate::authority::tokens::VerifiedToken;
use crate::authority::trust::ForeignToken;

/// A token that another one comes from, and that no longer counts.
#[derive(Clone, Copy, Debug)]
pub struct BrokenAncestor<'a> {
    /// The token.
    pub ancestor: &'a ParsedAncestor,
    /// Why its own use would be denied.
    pub why: DenyReason,
}

/// For people: which one, and why.
impl fmt::Display for BrokenAncestor<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ancestor, why } = self;
        write!(formatter, "{} of {}: {why}", ancestor.jti, ancestor.holder)
    }
}

impl View {
    /// The first of the tokens that a token comes from which no longer counts, if there is one. It costs one look-up of a
    /// client and those of revocations for each; nothing where there is none.
    pub fn broken_ancestor<'a>(&self, token: &'a VerifiedToken, lineage: LineagePolicy) -> Option<BrokenAncestor<'a>> {
        self.broken_among(token.ancestors.iter().flatten(), lineage)
    }

    /// The first of these that no longer counts, if there is one.
    pub fn broken_among<'a>(
        &self,
        mut ancestors: impl Iterator<Item = &'a ParsedAncestor>,
        lineage: LineagePolicy,
    ) -> Option<BrokenAncestor<'a>> {
        ancestors.find_map(|ancestor| Some(BrokenAncestor { ancestor, why: self.refusal_of(ancestor, lineage)? }))
    }

    /// Why a token that another one comes from no longer counts, if so. Its time is not looked at: nothing outlives it.
    fn refusal_of(&self, ancestor: &ParsedAncestor, lineage: LineagePolicy) -> Option<DenyReason> {
        let ParsedAncestor { jti, issued, holder, spiffe_id, creation, bound_to, issuer } = ancestor;
        let status = self.snapshot.directory.status(holder);
        let held =
            Held { jti, issued: *issued, holder: Some(holder), spiffe_id: spiffe_id.as_ref(), bound_to: *bound_to };
        if let Some(issuer) = issuer {
            return self.refusal_of_another_issuer(issuer, held, &status, lineage);
        }
        let client = match &status {
            ClientStatus::Unknown | ClientStatus::Ambiguous => return Some(DenyReason::ClientUnknown),
            ClientStatus::Disabled => return Some(DenyReason::ClientDisabled),
            ClientStatus::Suspended => return Some(DenyReason::ClientSuspended),
            ClientStatus::Registered(client) if client.record.creation_id != *creation => {
                return Some(DenyReason::ClientRecreated);
            }
            ClientStatus::Registered(client) => client,
        };
        // A registration that the workload made for itself changes with the operator's that limits it.
        let limit = self.snapshot.directory.limit_of(client);
        let changed =
            |client: &RegisteredClient| client.record.authentication_changed_at.is_some_and(|at| *issued <= at);
        if changed(client) || limit.as_deref().is_some_and(changed) {
            return Some(DenyReason::AuthenticationChanged);
        }
        let proven = |id: &SpiffeId| self.trust.can_prove(id.trust_domain(), self.now);
        match &client.registration.method {
            TokenEndpointAuthMethod::Spiffe(..) if !spiffe_id.as_ref().is_some_and(proven) => {
                return Some(DenyReason::TrustDomainUntrusted);
            }
            TokenEndpointAuthMethod::IssuerJwt(by) if !self.trust.trusts_issuer(&by.issuer, self.now) => {
                return Some(DenyReason::IssuerUntrusted);
            }
            TokenEndpointAuthMethod::Spiffe(..)
            | TokenEndpointAuthMethod::IssuerJwt(_)
            | TokenEndpointAuthMethod::TlsClientAuth(_)
            | TokenEndpointAuthMethod::SelfSignedTlsClientAuth(_)
            | TokenEndpointAuthMethod::PublishedTlsClientAuth(_) => {}
        }
        self.revocation_of(held, registered(&status), None, lineage)
    }

    /// Why a token of another issuer does not count here, if so.
    pub fn refusal_of_foreign(&self, token: &ForeignToken, lineage: LineagePolicy) -> Option<DenyReason> {
        let spiffe_id = token.subject.spiffe_id();
        let held = Held {
            jti: &token.jti,
            issued: token.issued,
            holder: Some(&token.subject),
            spiffe_id: spiffe_id.as_ref(),
            bound_to: token.bound_to,
        };
        let status = self.snapshot.directory.status(&token.subject);
        self.refusal_of_another_issuer(&token.trusted.issuer, held, &status, lineage)
    }

    /// The same for a token of another issuer, whose own revocations are not known here: whether the issuer is still trusted, and what
    /// was revoked here by the token's `jti` or the name of its subject.
    fn refusal_of_another_issuer(
        &self,
        issuer: &str,
        held: Held<'_>,
        status: &ClientStatus,
        lineage: LineagePolicy,
    ) -> Option<DenyReason> {
        if !self.trust.trusts_subjects_of(issuer, self.now) {
            return Some(DenyReason::IssuerUntrusted);
        }
        match status {
            ClientStatus::Disabled => Some(DenyReason::ClientDisabled),
            ClientStatus::Suspended => Some(DenyReason::ClientSuspended),
            ClientStatus::Unknown | ClientStatus::Ambiguous | ClientStatus::Registered(_) => {
                self.revocation_of(held, registered(status), None, lineage)
            }
        }
    }
}
