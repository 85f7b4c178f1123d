//! Dynamic client registration over HTTP (RFC 7591, RFC 7592), within the limits of the policy.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::Digest as _;
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use crate::authority::Authority;
use crate::authority::access::ChangedBy;
use crate::authority::access::Roles;
use crate::authority::identity::PeerIdentity;
use crate::authority::identity::SpiffeIdPattern;
use crate::authority::observe::Quota;
use crate::authority::policy::RegistrationPolicy;
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
    ChangedBy { is_kept: caller.roles.admin, ..ChangedBy::from(&caller.identity) }
}

impl Authority {
    /// Registers a client (RFC 7591 section 3). The registrant cannot choose the `client_id`: it is the SPIFFE ID that
    /// the client will have to prove, or random.
    pub async fn register_dynamically(
        &self,
        caller: &Caller,
        metadata: ClientMetadata,
    ) -> Result<DynamicallyRegistered, DynamicRegistrationError> {
        let own_identity = self.may_register(&caller.roles)?;
        let mut metadata = metadata;
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
        let registration = self.validate_registration(metadata)?;
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
            .add(
                registration,
                ClientRecord { dynamic: Some(Box::new(dynamic)), ..record },
                ("registered", author(caller)),
            )
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
        let may_still = dynamic.own_identity || caller.roles.admin;
        if !bool::from(right_token) || dynamic.registrant != caller.identity.to_string() || !may_still {
            return Err(DynamicRegistrationError::InvalidToken);
        }
        may_change(caller, &client)?;
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
        self.may_register(&caller.roles)?;
        may_change(caller, present)?;
        let known = present.registration.metadata();
        let mut metadata = metadata;
        metadata.client_id.clone_from(&known.client_id);
        metadata.disabled = known.disabled;
        metadata.owner.clone_from(&known.owner);
        if metadata.token_endpoint_auth_method == known.token_endpoint_auth_method {
            metadata.client_ca.clone_from(&known.client_ca);
        }
        if present.record.dynamic.as_ref().is_some_and(|dynamic| dynamic.own_identity) {
            must_be_by_svid(&metadata)?;
            metadata.spiffe_id.get_or_insert_with(|| metadata.client_id.clone());
            self.keep_within_operator_limit(&caller.identity, &mut metadata)?;
        }
        Ok(self.update_client(author(caller), metadata, present.revision, false).await?)
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
        Ok(self.delete_client(author(caller), client_id, Some(present.revision)).await?)
    }

    /// Whether the caller may register clients; `true` means only itself.
    fn may_register(&self, roles: &Roles) -> Result<bool, DynamicRegistrationError> {
        match self.policy.registration {
            RegistrationPolicy::Admins | RegistrationPolicy::OwnIdentity if roles.admin => Ok(false),
            RegistrationPolicy::OwnIdentity => Ok(true),
            RegistrationPolicy::Off | RegistrationPolicy::Admins => Err(DynamicRegistrationError::Forbidden),
        }
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
