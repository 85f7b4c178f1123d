//! Clients in the registry.

use std::sync::Arc;

use crate::authority::Authority;
use crate::authority::access::ChangedBy;
use crate::authority::access::ControlledKind;
use crate::authority::api::registry::Committed;
use crate::authority::api::registry::Managed;
use crate::authority::clock::Timestamp;
use crate::authority::observe::AuditEvent;
use crate::authority::observe::AuditRecord;
use crate::authority::records::RegistryError;
use crate::authority::registration::CertificateSubject;
use crate::authority::registration::ClientId;
use crate::authority::registration::ClientMetadata;
use crate::authority::registration::ClientRegistration;
use crate::authority::registration::ClientStatus;
use crate::authority::registration::RegisteredClient;
use crate::authority::registration::SpiffeClaim;
use crate::authority::registration::TokenEndpointAuthMethod;
use crate::authority::registration::invalid;
use crate::authority::scope::list_comma;
use crate::authority::state::Feature;
use crate::authority::state::FetchedJwks;
use crate::authority::store::Revision;
use crate::authority::store::Transaction;
use crate::authority::tokens;
use crate::authority::tokens::AccessTokenClaims;
use crate::authority::tokens::Ancestry;
use crate::authority::tokens::BoundCertificate;
use crate::authority::tokens::Confirmation;

impl Managed for ClientRegistration {
    const CONTROLLED: ControlledKind = ControlledKind::Client;
    const CHANGED: AuditEvent = AuditEvent::ClientChanged;

    fn names(&self) -> Vec<String> {
        let metadata = self.metadata();
        let exchanged = metadata.exchange.iter().flat_map(|rule| [&rule.presented_at, &rule.audience]);
        let named = [&metadata.client_id].into_iter().chain(&metadata.spiffe_id).chain(&metadata.audience);
        named.chain(exchanged).cloned().collect()
    }

    /// A disabled client gets nothing, if nothing else changes. Nor does one that is deleted, unless another registration covers
    /// it, which may have more. One that is disabled refuses also what narrower ones cover, until it is deleted.
    fn takes_away(authority: &Authority, present: &RegisteredClient, after: Option<&Self>) -> bool {
        let before = &present.registration;
        match after {
            None => !before.disabled && !authority.snapshot.load().directory.is_covered_besides(before),
            Some(after) => {
                let disabled = ClientMetadata { disabled: true, ..before.metadata() };
                after.metadata() == disabled
            }
        }
    }

    fn named_in(name: &str, record: AuditRecord) -> AuditRecord {
        AuditRecord { client_id: Some(name.to_owned()), ..record }
    }

    fn validate(authority: &Authority, metadata: ClientMetadata) -> Result<Self, RegistryError> {
        authority.validate_registration(metadata)
    }

    fn needed_features(&self) -> Vec<(&'static str, Feature)> {
        let by_issuer = matches!(self.method, TokenEndpointAuthMethod::IssuerJwt(_));
        let needed = [
            ("managed_by", Feature::ManagedBy, self.terms.managed_by.is_some()),
            ("token_endpoint_auth_method", Feature::IssuerJwt, by_issuer),
        ];
        let needed = needed.into_iter().filter(|(.., needs)| *needs).map(|(field, feature, _)| (field, feature));
        let exchange = self.terms.exchange.as_deref().map(|terms| (terms.first_field(), Feature::Exchange));
        needed.chain(exchange).collect()
    }

    fn creation_id(authority: &Authority) -> Result<Box<str>, RegistryError> {
        authority.random_id().map(Into::into).map_err(|_| RegistryError::Unavailable)
    }

    fn keeps_authentication(authority: &Authority, present: &RegisteredClient, registration: &Self) -> bool {
        let mut before = present.registration.clone();
        // A record of an earlier version that names no client CA is pinned to the only one.
        if before.takes_any_client_ca()
            && let Some(name) = only(authority.trust.load().client_cas.keys())
        {
            before.pin_client_ca(name);
        }
        // What a record said that cannot be read is unknown.
        present.suspended.is_none() && registration.keeps_authentication(&before)
    }

    async fn commit(
        authority: &Authority,
        _: &str,
        name: &str,
        registrations: (Option<&Self>, Option<&Self>),
        change: Transaction,
    ) -> Result<Committed, RegistryError> {
        let (before, after) = registrations;
        let publishes = |registration: &Self| registration.jwks_uri().is_some();
        // What was fetched of it goes with it: it may be 60 KiB.
        let record_key = FetchedJwks::key(name);
        let leaves_record =
            before.is_some_and(publishes) || authority.snapshot.load().stored_revision(&record_key).is_some();
        let ends = leaves_record && !after.is_some_and(publishes);
        let change = if ends { change.delete(&record_key) } else { change };
        let revision = authority.transact_client(name, registrations, change).await?;
        let beside = if ends { vec![(record_key, None)] } else { Vec::new() };
        Ok(Committed { revision, beside })
    }

    fn change_of(before: &Self, after: &Self) -> &'static str {
        if after.disabled && !before.disabled { "disabled" } else { "updated" }
    }
}

impl Authority {
    /// Registers a client. With `validate_only` nothing is stored.
    pub async fn create_client(
        &self,
        by: impl Into<ChangedBy<'_>>,
        metadata: ClientMetadata,
        validate_only: bool,
    ) -> Result<Arc<RegisteredClient>, RegistryError> {
        self.create(by.into(), metadata, validate_only).await
    }

    /// The client with this `client_id`. The error names the client whose registration covers it by a pattern, if any.
    pub fn client(&self, client_id: &str) -> Result<Arc<RegisteredClient>, RegistryError> {
        self.named(client_id).map_err(|error| {
            let status = ClientId::parse(client_id).map(|id| self.snapshot.load().directory.status(&id));
            match status {
                Some(ClientStatus::Registered(client)) => {
                    RegistryError::Covered(client.registration.client_id.to_string())
                }
                Some(
                    ClientStatus::Unknown | ClientStatus::Ambiguous | ClientStatus::Suspended | ClientStatus::Disabled,
                )
                | None => error,
            }
        })
    }

    /// The clients after the one named `after`, at most `count`, in the order of their `client_id`s.
    pub fn clients(&self, after: Option<&str>, count: usize) -> Vec<Arc<RegisteredClient>> {
        self.page(after, count)
    }

    /// Replaces the metadata of a client, if its revision is still `from`. If nothing would change, nothing is written,
    /// unless the stored record cannot be read.
    pub async fn update_client(
        &self,
        by: impl Into<ChangedBy<'_>>,
        metadata: ClientMetadata,
        from: Revision,
        validate_only: bool,
    ) -> Result<Arc<RegisteredClient>, RegistryError> {
        self.update(by.into(), metadata, from, validate_only).await
    }

    /// Deletes a client, if its revision is `from`, or at any revision if that is `None`. Its tokens are refused
    /// from then on.
    pub async fn delete_client(
        &self,
        by: impl Into<ChangedBy<'_>>,
        client_id: &str,
        from: Option<Revision>,
    ) -> Result<(), RegistryError> {
        self.delete::<ClientRegistration>(by.into(), client_id, from).await
    }

    /// Parses metadata, and validates it against the configuration and the other registrations in the snapshot.
    /// Conflicts with registrations that are not in it, such as one made concurrently by another replica, are detected
    /// by the store's index.
    pub(in crate::authority) fn validate_registration(
        &self,
        metadata: ClientMetadata,
    ) -> Result<ClientRegistration, RegistryError> {
        let mut registration = ClientRegistration::parse(metadata)?;
        if let Some(token) = registration.terms.scope.with_list_comma() {
            return Err(invalid("scope", &list_comma(token)).into());
        }
        self.pin_client_ca(&mut registration)?;
        if !registration.terms.bound && !self.policy.unbound_tokens {
            let problem = "this server issues no unbound tokens: leave it out, or set it to true";
            return Err(invalid("tls_client_certificate_bound_access_tokens", problem).into());
        }
        if let TokenEndpointAuthMethod::TlsClientAuth(registered) = &registration.method
            && let Some(name) = &registered.client_ca
            && !self.trust.load().client_cas.contains_key(name)
        {
            return Err(invalid("client_ca", "is not the name of a configured client CA").into());
        }
        if let TokenEndpointAuthMethod::PublishedTlsClientAuth(uri) = &registration.method
            && !self.policy.jwks_uri.allowed_hosts.allows(uri)
        {
            return Err(invalid("jwks_uri", "its host is not one of those that this server fetches from").into());
        }
        if let TokenEndpointAuthMethod::IssuerJwt(registered) = &registration.method
            && !self.trust.load().issuers.get(&registered.issuer).is_some_and(|keys| keys.trusted.proves_clients())
        {
            return Err(invalid("issuer", "is not the issuer of one of this server's trusted_issuers").into());
        }
        if !tokens::can_be_signed(&largest_claims(&self.policy.issuer, &registration)) {
            let problem = "a token for all of them, with all scopes, would be larger than 16 KiB: register fewer";
            return Err(invalid("audience", problem).into());
        }
        let snapshot = self.snapshot.load();
        let exchange = registration.terms.exchange.iter();
        for (field, scope, audience) in exchange.flat_map(|exchange| exchange.scopes_of_resources()) {
            let resource = snapshot.resources.named(audience);
            let defined = resource.and_then(|resource| resource.registration.defined.as_deref());
            if defined.is_some_and(|defined| !defined.covers(scope)) {
                let problem = format!("grants: '{scope}' is not among the scopes that {audience} defines");
                return Err(invalid(field, &problem).into());
            }
        }
        if let Some(other) = snapshot.directory.conflicting_client(&registration) {
            return Err(RegistryError::IdentityTaken(other.to_owned()));
        }
        Ok(registration)
    }

    /// Fills in the client CA where the registration leaves it out: the one that the stored record of the same subject
    /// names, or the only one that is configured. Of several, a new or changed registration must name its own. A record of
    /// an earlier version that names none is kept as it is.
    fn pin_client_ca(&self, registration: &mut ClientRegistration) -> Result<(), RegistryError> {
        if !registration.takes_any_client_ca() {
            return Ok(());
        }
        let client_cas = &self.trust.load().client_cas;
        let snapshot = self.snapshot.load();
        let present = snapshot.directory.named(registration.client_id.as_str());
        if let Some(name) = present.and_then(|present| stored_client_ca(&present.registration, registration))
            && client_cas.contains_key(name)
        {
            registration.pin_client_ca(name);
            return Ok(());
        }
        if let Some(name) = only(client_cas.keys()) {
            registration.pin_client_ca(name);
            return Ok(());
        }
        let unchanged = |present: &Arc<RegisteredClient>| {
            present.suspended.is_none() && present.registration.metadata() == registration.metadata()
        };
        if client_cas.is_empty() || present.is_some_and(unchanged) {
            return Ok(());
        }
        let problem = "must name the client CA that issues its certificates: more than one is configured";
        Err(invalid("client_ca", problem).into())
    }
}

/// The client CA that a stored registration names for the same subject.
fn stored_client_ca<'a>(stored: &'a ClientRegistration, wanted: &ClientRegistration) -> Option<&'a String> {
    let TokenEndpointAuthMethod::TlsClientAuth(registered) = &stored.method else { return None };
    let mut pinned = wanted.clone();
    pinned.pin_client_ca(registered.client_ca.as_deref()?);
    if pinned.method == stored.method { registered.client_ca.as_ref() } else { None }
}

/// The only item, if there is exactly one.
fn only<T>(mut items: impl Iterator<Item = T>) -> Option<T> {
    items.next().filter(|_| items.next().is_none())
}

/// How much longer than its pattern a workload's SPIFFE ID is expected to be, in bytes. A token for one that is longer
/// still may be refused when it is requested.
const BELOW_PATTERN_BYTES: usize = 256;

/// Claims as large as those of a token with everything that is registered.
fn largest_claims(issuer: &str, registration: &ClientRegistration) -> AccessTokenClaims {
    let mut client_id = registration.client_id.to_string();
    let mut spiffe_id = None;
    match &registration.method {
        TokenEndpointAuthMethod::Spiffe(_, claim @ SpiffeClaim::Below(_)) => {
            client_id = claim.to_string() + &"x".repeat(BELOW_PATTERN_BYTES);
        }
        TokenEndpointAuthMethod::TlsClientAuth(registered) => {
            if let CertificateSubject::Uri(uri) = &registered.subject {
                spiffe_id = Some(uri.clone());
            }
        }
        TokenEndpointAuthMethod::Spiffe(_, SpiffeClaim::Exact(_))
        | TokenEndpointAuthMethod::SelfSignedTlsClientAuth(_)
        | TokenEndpointAuthMethod::PublishedTlsClientAuth(_)
        | TokenEndpointAuthMethod::IssuerJwt(_) => {}
    }
    // 256 bits as base64url.
    let hash = "x".repeat(43);
    let time = Timestamp(u64::from(u32::MAX));
    AccessTokenClaims {
        iss: issuer.to_owned(),
        sub: client_id.clone(),
        aud: registration.terms.audience.clone().into(),
        exp: time,
        iat: time,
        nbf: time,
        jti: hash.clone(),
        client_id,
        scope: Some(registration.terms.scope.to_string()),
        cnf: Some(Confirmation { x5t_s256: Some(hash.clone()) }),
        lanyard_bound: Some(BoundCertificate { nbf: time, spki: hash.clone() }),
        lanyard_spiffe_id: spiffe_id,
        lanyard_creation: hash,
        act: None,
        may_act: None,
        lanyard_from: Ancestry::default(),
    }
}
