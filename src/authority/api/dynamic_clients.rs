//! Dynamic client registration over HTTP (RFC 7591, RFC 7592), within the limits of the policy.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::Digest as _;
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use crate::authority::Authority;
use crate::authority::access::ChangedBy;
use crate::authority::access::Consent;
use crate::authority::access::Within;
use crate::authority::decision::present_within;
use crate::authority::decision::within;
use crate::authority::identity::PeerIdentity;
use crate::authority::identity::SpiffeIdPattern;
use crate::authority::observe::Quota;
use crate::authority::policy::RegistrationPolicy;
use crate::authority::records::Held;
use crate::authority::records::InvalidMetadata;
use crate::authority::registration::ClientMetadata;
use crate::authority::registration::ClientRecord;
use crate::authority::registration::ClientRegistration;
use crate::authority::registration::DynamicRegistration;
use crate::authority::registration::DynamicRegistrationError;
use crate::authority::registration::DynamicallyRegistered;
use crate::authority::registration::RegisteredClient;
use crate::authority::registration::RegistrationAccessToken;
use crate::authority::registration::invalid;
use crate::authority::state::Caller;

/// Who changes a registration over HTTP.
fn author(caller: &Caller) -> ChangedBy<'_> {
    ChangedBy { is_kept: caller.roles.admin, consent: Consent::OwnRegistration, ..ChangedBy::from(&caller.identity) }
}

/// Who changes a registration over HTTP for others: an admin, or a team's admin within its grants.
fn operator(caller: &Caller) -> ChangedBy<'_> {
    caller.author(None)
}

impl Authority {
    /// Registers a client (RFC 7591 section 3). The registrant cannot choose the `client_id`: it is the SPIFFE ID that
    /// the client will have to prove, or random.
    pub async fn register_dynamically(
        &self,
        caller: &Caller,
        metadata: ClientMetadata,
    ) -> Result<DynamicallyRegistered, DynamicRegistrationError> {
        let mut metadata = metadata;
        let own_identity = self.registers_itself(caller, metadata.spiffe_id.as_deref())?;
        if own_identity {
            let id = caller.identity.spiffe_id().ok_or(DynamicRegistrationError::Forbidden)?.to_string();
            must_be_by_svid(&metadata)?;
            if metadata.spiffe_id.as_ref().is_some_and(|named| *named != id) {
                return Err(invalid("spiffe_id", "must be the caller's own").into());
            }
            metadata.client_id.clone_from(&id);
            metadata.spiffe_id = Some(id);
            self.keep_within_operator_limit(&caller.identity, &mut metadata)?;
        } else {
            let exact = metadata.spiffe_id.as_deref().and_then(SpiffeIdPattern::parse);
            metadata.client_id = match exact {
                Some(SpiffeIdPattern::Exact(id)) => id.to_string(),
                Some(SpiffeIdPattern::Below(_)) | None => {
                    self.random_id().map_err(|_| DynamicRegistrationError::Unavailable)?
                }
            };
        }
        let by_whom = if own_identity { author(caller) } else { operator(caller) };
        own_by_grant(by_whom, &mut metadata);
        Self::check_wanted::<ClientRegistration>(by_whom.within, &metadata)?;
        let registration = self.validate_registration(metadata)?;
        // What waits could not be answered with its registration access token.
        if self.is_held(by_whom, (None, Some(&registration))) {
            return Err(DynamicRegistrationError::Held(Held::NotHere));
        }
        if self.snapshot.load().directory.registered_dynamically() >= self.policy.quotas.registrations {
            self.metrics.quota_exceeded(Quota::Registrations);
            return Err(DynamicRegistrationError::QuotaExceeded);
        }
        let mut secret = [0; 32];
        self.entropy.fill(&mut secret).map_err(|_| DynamicRegistrationError::Unavailable)?;
        let token = RegistrationAccessToken(URL_SAFE_NO_PAD.encode(secret));
        let by = caller.identity.to_string();
        let record = self.new_record(&registration, &by)?;
        let dynamic = DynamicRegistration { registrant: by, access_token_hash: hash(&token.0), own_identity };
        let client = self
            .add(registration, ClientRecord { dynamic: Some(Box::new(dynamic)), ..record }, ("registered", by_whom))
            .await?;
        Ok(DynamicallyRegistered { client, registration_access_token: token })
    }

    /// The client that this caller may manage with a registration access token (RFC 7592 section 2.1). A client whose
    /// stored record cannot be read is accessible only to admins, because the last change by an operator is unknown.
    pub fn registered_dynamically(
        &self,
        caller: &Caller,
        client_id: &str,
        access_token: &str,
    ) -> Result<Arc<RegisteredClient>, DynamicRegistrationError> {
        let client = self.client(client_id)?;
        let dynamic = client.record.dynamic.as_ref().ok_or(DynamicRegistrationError::InvalidToken)?;
        let right_token = hash(access_token).as_bytes().ct_eq(dynamic.access_token_hash.as_bytes());
        // A caller that registered other clients as an admin cannot manage them after it has lost that role.
        let may_still = dynamic.own_identity || caller.is_registrant();
        if !bool::from(right_token) || dynamic.registrant != caller.identity.to_string() || !may_still {
            return Err(DynamicRegistrationError::InvalidToken);
        }
        may_change(caller, &client)?;
        if !dynamic.own_identity {
            present_within(operator(caller).within, &client)?;
        }
        Ok(client)
    }

    /// Replaces all metadata of a client: omitted fields are removed (RFC 7592 section 2.2), except those that only
    /// operators set.
    pub async fn replace_registration(
        &self,
        caller: &Caller,
        present: &RegisteredClient,
        metadata: ClientMetadata,
    ) -> Result<Arc<RegisteredClient>, DynamicRegistrationError> {
        may_change(caller, present)?;
        let own_identity = is_own(present);
        self.may_register(caller, own_identity)?;
        let known = present.registration.metadata();
        let mut metadata = metadata;
        metadata.client_id.clone_from(&known.client_id);
        metadata.disabled = known.disabled;
        metadata.delegates.clone_from(&known.delegates);
        metadata.owner.clone_from(&known.owner);
        metadata.managed_by.clone_from(&known.managed_by);
        if metadata.token_endpoint_auth_method == known.token_endpoint_auth_method {
            metadata.client_ca.clone_from(&known.client_ca);
        }
        if own_identity {
            must_be_by_svid(&metadata)?;
            metadata.spiffe_id.get_or_insert_with(|| metadata.client_id.clone());
            self.keep_within_operator_limit(&caller.identity, &mut metadata)?;
        }
        let by_whom = if own_identity { author(caller) } else { operator(caller) };
        Ok(self.update_client(by_whom, metadata, present.revision, false).await?)
    }

    /// Deletes a client, and its registration access token with it (RFC 7592 section 2.3). A disabled client cannot be
    /// deleted: its registrant could then register it anew.
    pub async fn delete_registration(
        &self,
        caller: &Caller,
        present: &RegisteredClient,
    ) -> Result<(), DynamicRegistrationError> {
        may_change(caller, present)?;
        if present.registration.disabled {
            return Err(DynamicRegistrationError::Forbidden);
        }
        let client_id = present.registration.client_id.as_str();
        let by_whom = if is_own(present) { author(caller) } else { operator(caller) };
        Ok(self.delete_client(by_whom, client_id, Some(present.revision)).await?)
    }

    /// Whether the caller registers itself with this SPIFFE ID, rather than others as an admin. A team's admin that names no
    /// SPIFFE ID, or its own, is a workload that registers itself, where workloads may.
    fn registers_itself(&self, caller: &Caller, named: Option<&str>) -> Result<bool, DynamicRegistrationError> {
        let own = caller.identity.spiffe_id().map(ToString::to_string);
        let names_another = named.is_some() && named != own.as_deref();
        let registers_itself = match self.policy.registration {
            RegistrationPolicy::OwnIdentity => !(caller.roles.admin || caller.is_registrant() && names_another),
            RegistrationPolicy::Off | RegistrationPolicy::Admins => false,
        };
        self.may_register(caller, registers_itself).map(|()| registers_itself)
    }

    /// Refuses a caller that may not register clients: itself, or others.
    fn may_register(&self, caller: &Caller, itself: bool) -> Result<(), DynamicRegistrationError> {
        let may = match self.policy.registration {
            RegistrationPolicy::Off => false,
            RegistrationPolicy::Admins => !itself || caller.roles.admin,
            RegistrationPolicy::OwnIdentity => true,
        };
        if may && (itself || caller.is_registrant()) { Ok(()) } else { Err(DynamicRegistrationError::Forbidden) }
    }

    /// Limits a workload's own registration to the longest registration that an operator made for it. Scope and
    /// audience default to the operator's.
    fn keep_within_operator_limit(
        &self,
        identity: &PeerIdentity,
        metadata: &mut ClientMetadata,
    ) -> Result<(), DynamicRegistrationError> {
        let id = identity.spiffe_id().ok_or(DynamicRegistrationError::Forbidden)?;
        let limit = self.snapshot.load().directory.operator_limit(id).ok_or(DynamicRegistrationError::Forbidden)?;
        let most = &limit.registration;
        if metadata.scope.is_empty() {
            metadata.scope = most.terms.scope.to_string();
        }
        if metadata.audience.is_empty() {
            metadata.audience.clone_from(&most.terms.audience);
        }
        let wanted = ClientRegistration::parse(metadata.clone())?;
        if let Some(field) = wanted.exceeded_field(most) {
            return Err(invalid(field, "goes beyond what an operator registered for this workload").into());
        }
        if !wanted.terms.bound {
            let field = "tls_client_certificate_bound_access_tokens";
            return Err(invalid(field, "must be true for a workload that registers itself").into());
        }
        Ok(())
    }
}

/// Whether a client was registered by the workload that it is.
fn is_own(client: &RegisteredClient) -> bool {
    client.record.dynamic.as_ref().is_some_and(|dynamic| dynamic.own_identity)
}

/// Fills in the owner, which no registrant names: that of the first grant within which the client then lies.
fn own_by_grant(by: ChangedBy<'_>, metadata: &mut ClientMetadata) {
    let Within::Grants(grants) = by.within else { return };
    let with = |owner: &str| ClientMetadata { owner: Some(owner.to_owned()), ..metadata.clone() };
    let lies_within = |metadata: ClientMetadata| {
        ClientRegistration::parse(metadata).is_ok_and(|client| within(by.within, &client, false).is_ok())
    };
    let owners = || grants.iter().filter_map(|grant| grant.registration.first_owner());
    let owner = owners().find(|owner| lies_within(with(owner))).or_else(|| owners().next());
    metadata.owner = owner.map(ToOwned::to_owned);
}

/// Only admins may change a client whose stored record cannot be read.
fn may_change(caller: &Caller, client: &RegisteredClient) -> Result<(), DynamicRegistrationError> {
    if client.suspended.is_some() && !caller.roles.admin { Err(DynamicRegistrationError::Forbidden) } else { Ok(()) }
}

/// A workload that registers itself must authenticate by its SPIFFE ID.
fn must_be_by_svid(metadata: &ClientMetadata) -> Result<(), InvalidMetadata> {
    if matches!(metadata.token_endpoint_auth_method.as_str(), "spiffe_x509" | "spiffe_jwt") {
        Ok(())
    } else {
        Err(invalid("token_endpoint_auth_method", "must be spiffe_x509 or spiffe_jwt"))
    }
}

fn hash(token: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(token))
}
