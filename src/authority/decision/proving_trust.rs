//! What proves the certificates of a client: a client CA, or the bundle of a trust domain.

use spiffe::SpiffeId;
use spiffe::TrustDomain;

use crate::authority::registration::ClientRegistration;
use crate::authority::registration::TokenEndpointAuthMethod;
use crate::authority::trust::TrustBundles;

/// What proves a client.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ProvingTrust {
    /// Whether it is a client CA that is no longer configured. A registration that names none takes any client CA.
    pub client_ca_removed: bool,
    /// The trust domain, where it is a bundle.
    pub trust_domain: Option<TrustDomain>,
}

impl ProvingTrust {
    /// What proves the holder of a token by this registration.
    pub fn of(client: &ClientRegistration, holder: Option<&SpiffeId>, trust: &TrustBundles) -> Self {
        match &client.method {
            TokenEndpointAuthMethod::Spiffe(..) => Self::bundle(holder),
            // The bundle of its trust domain proves a SPIFFE ID, never a client CA.
            TokenEndpointAuthMethod::TlsClientAuth(registered) => {
                let spiffe_id = registered.subject.spiffe_id();
                let client_ca_removed = spiffe_id.is_none()
                    && match &registered.client_ca {
                        Some(name) => !trust.client_cas.contains_key(name),
                        None => trust.client_cas.is_empty(),
                    };
                Self { client_ca_removed, ..Self::bundle(spiffe_id.as_ref()) }
            }
            TokenEndpointAuthMethod::SelfSignedTlsClientAuth(_)
            | TokenEndpointAuthMethod::PublishedTlsClientAuth(_)
            | TokenEndpointAuthMethod::IssuerJwt(_) => Self::default(),
        }
    }

    fn bundle(of: Option<&SpiffeId>) -> Self {
        Self { client_ca_removed: false, trust_domain: of.map(|id| id.trust_domain().clone()) }
    }
}
