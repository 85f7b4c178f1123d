//! Clients: metadata, records, and how a peer finds its registration.

mod auth_method;
mod certificate_subject;
mod client;
mod client_id;
mod directory;
mod duration;
mod dynamic;
mod dynamic_registration;
mod jwks;
mod jwks_uri;
mod metadata;

pub use crate::authority::registration::auth_method::SvidKind;
pub use crate::authority::registration::auth_method::TokenEndpointAuthMethod;
pub use crate::authority::registration::certificate_subject::CertificateSubject;
pub use crate::authority::registration::client::CLIENTS;
pub use crate::authority::registration::client::ClientRecord;
pub use crate::authority::registration::client::ClientRegistration;
pub use crate::authority::registration::client::MAX_TTL;
pub use crate::authority::registration::client::RegisteredClient;
pub use crate::authority::registration::client::Rotation;
pub use crate::authority::registration::client_id::ClientId;
pub use crate::authority::registration::directory::ClientStatus;
pub use crate::authority::registration::directory::Directory;
pub use crate::authority::registration::duration::parse_access_token_ttl;
pub use crate::authority::registration::dynamic::DynamicRegistrationError;
pub use crate::authority::registration::dynamic::DynamicallyRegistered;
pub use crate::authority::registration::dynamic::RegistrationAccessToken;
pub use crate::authority::registration::dynamic_registration::DynamicRegistration;
pub use crate::authority::registration::jwks::from_pem as jwks_from_pem;
pub(in crate::authority) use crate::authority::registration::jwks::published_in as published_certificates;
pub use crate::authority::registration::jwks_uri::AllowedHosts;
pub use crate::authority::registration::jwks_uri::JwksUri;
pub use crate::authority::registration::jwks_uri::JwksUriPolicy;
pub use crate::authority::registration::jwks_uri::NotAHost;
pub use crate::authority::registration::metadata::ClientMetadata;
pub(in crate::authority) use crate::authority::registration::metadata::invalid;
