//! Clients that register themselves over HTTP (RFC 7591, RFC 7592), as far as the policy lets them.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::Serialize;
use sha2::Digest as _;
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use crate::authority::Authority;
use crate::authority::RegistrationPolicy;
use crate::authority::access::Roles;
use crate::authority::caller::Caller;
use crate::authority::client_metadata::ClientMetadata;
use crate::authority::client_metadata::InvalidClientMetadata;
use crate::authority::client_metadata::invalid;
use crate::authority::directory::RegisteredClient;
use crate::authority::identity::PeerIdentity;
use crate::authority::registration::ClientRegistration;
use crate::authority::registration::SpiffeIdPattern;
use crate::authority::registry::RegistryError;

/// What is kept of a dynamic registration beside the client itself.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DynamicRegistration {
    /// Who may read, change and delete it: the one who made it.
    registrant: String,
    /// SHA-256 of the registration access token, base64url. The token itself is not kept.
    access_token_hash: String,
    /// Whether a workload registered itself, so that it never has more than an operator registered for it.
    pub own_identity: bool,
}

/// A client just registered, and the only sight of its registration access token.
#[derive(Debug)]
pub struct DynamicallyRegistered {
    /// The client.
    pub client: Arc<RegisteredClient>,
    /// With which its registrant reads, changes and deletes it: 256 random bits, base64url.
    pub registration_access_token: RegistrationAccessToken,
}

/// A registration access token (RFC 7592 section 3). It reaches no log.
pub struct RegistrationAccessToken(String);

impl RegistrationAccessToken {
    /// The text, for the one response that it is in.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for RegistrationAccessToken {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("RegistrationAccessToken(…)")
    }
}

/// Why a dynamic registration was refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DynamicRegistrationError {
    /// The policy does not let this caller register.
    #[error("this caller may not register clients")]
    Forbidden,
    /// The metadata cannot stand.
    #[error(transparent)]
    Invalid(#[from] InvalidClientMetadata),
    /// The registration access token is not the client's, or the caller not its registrant, or there is no such client:
    /// which of the three is nobody's business (RFC 7592 section 2.1).
    #[error("the registration access token does not open this registration to this caller")]
    InvalidToken,
    /// The store.
    #[error("the registry is unavailable")]
    Unavailable,
}

impl From<RegistryError> for DynamicRegistrationError {
    fn from(error: RegistryError) -> Self {
        match error {
            RegistryError::Invalid(invalid) => Self::Invalid(invalid),
            RegistryError::Exists => Self::Invalid(invalid("client_id", "is registered already")),
            RegistryError::IdentityTaken(_) => Self::Invalid(invalid("spiffe_id", "is registered already")),
            RegistryError::TooLarge => Self::Invalid(invalid("jwks", "is too large")),
            RegistryError::NotFound => Self::InvalidToken,
            RegistryError::Conflict
            | RegistryError::EtagMissing
            | RegistryError::InvalidPageToken
            | RegistryError::Unavailable => Self::Unavailable,
        }
    }
}

impl Authority {
    /// Registers a client (RFC 7591 section 3). Its name is never the registrant's to choose: it is the SPIFFE ID that the
    /// client will have to prove, or random.
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
            self.keep_within_ceiling(&caller.identity, &mut metadata)?;
        } else {
            let exact = metadata.spiffe_id.as_deref().and_then(SpiffeIdPattern::parse);
            metadata.client_id = match exact {
                Some(SpiffeIdPattern::Exact(id)) => id.to_string(),
                Some(SpiffeIdPattern::Below(_)) | None => {
                    self.random_id().map_err(|_| DynamicRegistrationError::Unavailable)?
                }
            };
        }
        let registration = self.sound(metadata)?;
        let mut secret = [0; 32];
        self.entropy.fill(&mut secret).map_err(|_| DynamicRegistrationError::Unavailable)?;
        let token = RegistrationAccessToken(URL_SAFE_NO_PAD.encode(secret));
        let by = caller.identity.to_string();
        let record = self.new_record(&registration, &by)?;
        let dynamic = DynamicRegistration { registrant: by, access_token_hash: hash(&token.0), own_identity };
        let client = self.add(registration, record.registered_dynamically(dynamic), "registered").await?;
        Ok(DynamicallyRegistered { client, registration_access_token: token })
    }

    /// The client that a registration access token opens to this caller (RFC 7592 section 2.1).
    pub fn registered_dynamically(
        &self,
        caller: &Caller,
        client_id: &str,
        access_token: &str,
    ) -> Result<Arc<RegisteredClient>, DynamicRegistrationError> {
        let client = self.client(client_id)?;
        let dynamic = client.record.dynamic.as_ref().ok_or(DynamicRegistrationError::InvalidToken)?;
        let right_token = hash(access_token).as_bytes().ct_eq(dynamic.access_token_hash.as_bytes());
        // Whoever registered others as an admin has no say over them once it is none.
        let may_still = dynamic.own_identity || caller.roles.admin;
        if bool::from(right_token) && dynamic.registrant == caller.identity.to_string() && may_still {
            Ok(client)
        } else {
            Err(DynamicRegistrationError::InvalidToken)
        }
    }

    /// Replaces the metadata of a client whole: what is left out is gone (RFC 7592 section 2.2), except for what only
    /// operators set.
    pub async fn replace_registration(
        &self,
        caller: &Caller,
        present: &RegisteredClient,
        metadata: ClientMetadata,
    ) -> Result<Arc<RegisteredClient>, DynamicRegistrationError> {
        self.may_register(&caller.roles)?;
        let known = &present.record.metadata;
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
            self.keep_within_ceiling(&caller.identity, &mut metadata)?;
        }
        Ok(self.update_client(&caller.identity, metadata, present.revision, false).await?)
    }

    /// Deletes a client, and its registration access token with it (RFC 7592 section 2.3). Not one that is disabled: its
    /// registrant could then register it anew.
    pub async fn delete_registration(
        &self,
        caller: &Caller,
        present: &RegisteredClient,
    ) -> Result<(), DynamicRegistrationError> {
        if present.record.metadata.disabled {
            return Err(DynamicRegistrationError::Forbidden);
        }
        let client_id = present.record.metadata.client_id.as_str();
        Ok(self.delete_client(&caller.identity, client_id, Some(present.revision)).await?)
    }

    /// Whether the caller may register, and if so, whether only itself.
    fn may_register(&self, roles: &Roles) -> Result<bool, DynamicRegistrationError> {
        match self.policy.registration {
            RegistrationPolicy::Admins | RegistrationPolicy::OwnIdentity if roles.admin => Ok(false),
            RegistrationPolicy::OwnIdentity => Ok(true),
            RegistrationPolicy::Off | RegistrationPolicy::Admins => Err(DynamicRegistrationError::Forbidden),
        }
    }

    /// Holds what a workload registers for itself against the longest registration that an operator made for it, whose
    /// scope and audience it gets where it names none.
    fn keep_within_ceiling(
        &self,
        identity: &PeerIdentity,
        metadata: &mut ClientMetadata,
    ) -> Result<(), DynamicRegistrationError> {
        let id = identity.spiffe_id().ok_or(DynamicRegistrationError::Forbidden)?;
        let ceiling = self.snapshot.load().directory.ceiling(id).ok_or(DynamicRegistrationError::Forbidden)?;
        let most = &ceiling.registration;
        if metadata.scope.is_empty() {
            metadata.scope = most.scope.to_string();
        }
        if metadata.audience.is_empty() {
            metadata.audience.clone_from(&most.metadata.audience);
        }
        let wanted = ClientRegistration::parse(metadata.clone())?;
        if let Some(field) = wanted.beyond(most) {
            return Err(invalid(field, "goes beyond what an operator registered for this workload").into());
        }
        if !wanted.bound {
            let field = "tls_client_certificate_bound_access_tokens";
            return Err(invalid(field, "must be true for a workload that registers itself").into());
        }
        Ok(())
    }
}

/// A workload proves itself by its SPIFFE ID and by nothing else.
fn must_be_by_svid(metadata: &ClientMetadata) -> Result<(), InvalidClientMetadata> {
    if matches!(metadata.token_endpoint_auth_method.as_str(), "spiffe_x509" | "spiffe_jwt") {
        Ok(())
    } else {
        Err(invalid("token_endpoint_auth_method", "must be spiffe_x509 or spiffe_jwt"))
    }
}

fn hash(token: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(token))
}
