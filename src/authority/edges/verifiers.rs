//! Revocations for those who verify tokens themselves: by what of a token they are recognized, and when they count.

use crate::authority::access::RoleGrants;
use crate::authority::access::RoleHolder;
use crate::authority::clock::Timestamp;
use crate::authority::identity::SpiffeIdPattern;
use crate::authority::registration::MAX_TTL;
use crate::authority::state::RevocationRecord;
use crate::authority::state::Revoked;
use crate::authority::state::Snapshot;

/// What a verifier refuses because of a revocation. It replaces what it was told before under the same `id`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RefusedTokens {
    /// Names it among all.
    pub id: String,
    /// The tokens of each of these; none where the revocation has no such effect.
    pub tokens: Vec<TokensOf>,
    /// Only those that were issued up to this second, this one included.
    pub issued_until: Option<Timestamp>,
    /// The first second at which it has no effect.
    pub expires: Option<Timestamp>,
}

/// By what the tokens are recognized.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TokensOf {
    /// Their `jti`.
    Token(String),
    /// Their `client_id`, or a SPIFFE ID in the certificate.
    Client(String),
    /// Their registration, by its creation id.
    Registration(String),
    /// The certificate, as `x5t#S256`.
    Certificate(String),
    /// The SPIFFE IDs that match a pattern.
    Identities(String),
    /// The SPIFFE IDs of a trust domain.
    TrustDomain(String),
    /// Nothing: all are meant.
    All,
}

/// What verifiers refuse because of a revocation: while it is in effect, and what was issued before it ended.
pub(in crate::authority) fn refused_tokens(
    revoked: &Revoked,
    record: Option<&RevocationRecord>,
    snapshot: &Snapshot,
    roles: &RoleGrants,
) -> [RefusedTokens; 2] {
    let id = revoked.store_key();
    let nothing = |id: String| RefusedTokens { id, tokens: Vec::new(), issued_until: None, expires: None };
    let [in_effect, afterwards] = [nothing(id.clone()), nothing(format!("{id}#issued"))];
    let Some(record) = record else { return [in_effect, afterwards] };
    let tokens = || tokens_of(revoked, snapshot, roles);
    let after = |last: Timestamp| Timestamp(last.0.saturating_add(1));
    if !revoked.outlives_its_end() {
        let by_time = matches!(revoked, Revoked::IssuedTo(_) | Revoked::IssuedWith(_) | Revoked::AllIssued);
        let issued_until = by_time.then_some(record.revoked_at);
        let expires = record.until.map(after);
        return [RefusedTokens { tokens: tokens(), issued_until, expires, ..in_effect }, afterwards];
    }
    let afterwards = match record.last_refused() {
        Some(last) => RefusedTokens {
            tokens: tokens(),
            issued_until: Some(last),
            expires: Some(after(last.after(MAX_TTL))),
            ..afterwards
        },
        None => afterwards,
    };
    let in_effect = if record.lifted.is_none() {
        RefusedTokens { tokens: tokens(), expires: record.until.map(after), ..in_effect }
    } else {
        in_effect
    };
    [in_effect, afterwards]
}

fn tokens_of(revoked: &Revoked, snapshot: &Snapshot, roles: &RoleGrants) -> Vec<TokensOf> {
    match revoked {
        Revoked::Token(jti) => vec![TokensOf::Token(jti.clone())],
        Revoked::Client(client_id) | Revoked::IssuedTo(client_id) => {
            let registered = snapshot.directory.named(client_id.as_str());
            let registration = registered.map(|client| TokensOf::Registration(client.record.creation_id.to_string()));
            std::iter::once(TokensOf::Client(client_id.to_string())).chain(registration).collect()
        }
        Revoked::Certificate(thumbprint) | Revoked::IssuedWith(thumbprint) => {
            vec![TokensOf::Certificate(thumbprint.to_string())]
        }
        Revoked::AllIssued => vec![TokensOf::All],
        Revoked::Identities(prefix) => vec![TokensOf::Identities(format!("{prefix}*"))],
        Revoked::TrustDomain(trust_domain) => vec![TokensOf::TrustDomain(trust_domain.to_string())],
        Revoked::Role(role) => roles.holders(*role).map(held_by).collect(),
    }
}

fn held_by(holder: &RoleHolder) -> TokensOf {
    match holder {
        RoleHolder::Spiffe(SpiffeIdPattern::Exact(id)) => TokensOf::Client(id.to_string()),
        RoleHolder::Spiffe(SpiffeIdPattern::Below(prefix)) => TokensOf::Identities(format!("{prefix}*")),
        RoleHolder::Thumbprint(thumbprint) => TokensOf::Certificate(thumbprint.to_string()),
    }
}
