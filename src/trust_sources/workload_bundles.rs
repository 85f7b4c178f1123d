//! The bundles that the Workload API sent last, and when.

use std::collections::HashMap;
use std::time::Duration;

use rustls_pki_types::CertificateDer;
use serde_json::Value;
use spiffe::JwtBundle;
use spiffe::JwtBundleSet;
use spiffe::TrustDomain;
use spiffe::X509Bundle;
use spiffe::X509BundleSet;

use crate::authority::clock::Timestamp;
use crate::authority::trust::Anchors;
use crate::authority::trust::Bundle;
use crate::authority::trust::JwtAuthorities;
use crate::authority::trust::TrustBundles;

/// The last message of each kind. X.509 bundles are used for X509-SVIDs only and JWT bundles for JWT-SVIDs only
/// (Workload API section 5.2): neither replaces the other.
#[derive(Debug, Default)]
pub(super) struct WorkloadBundles {
    x509: Option<Received<Anchors>>,
    jwt: Option<Received<JwtAuthorities>>,
}

#[derive(Debug)]
struct Received<T> {
    at: Timestamp,
    bundles: HashMap<TrustDomain, T>,
}

impl<T> Received<T> {
    fn is_current(&self, now: Timestamp, max_age: Duration) -> bool {
        now <= self.at.after(max_age)
    }
}

impl WorkloadBundles {
    /// Stores a whole X.509 message. A trust domain that it does not name loses its bundle.
    pub(super) fn take_x509(&mut self, received: &X509BundleSet, at: Timestamp) {
        let bundles = received.iter().map(|(trust_domain, bundle)| (trust_domain.clone(), anchors(bundle))).collect();
        self.x509 = Some(Received { at, bundles });
    }

    /// Stores a whole JWT message.
    pub(super) fn take_jwt(&mut self, received: &JwtBundleSet, at: Timestamp) {
        let bundles =
            received.iter().map(|(trust_domain, bundle)| (trust_domain.clone(), authorities(bundle))).collect();
        self.jwt = Some(Received { at, bundles });
    }

    /// Whether the X.509 bundles and the JWT bundles are within `max_age`.
    pub(super) fn current(&self, now: Timestamp, max_age: Duration) -> (bool, bool) {
        let x509 = self.x509.as_ref().is_some_and(|received| received.is_current(now, max_age));
        (x509, self.jwt.as_ref().is_some_and(|received| received.is_current(now, max_age)))
    }

    /// One bundle for each trust domain that either message names.
    pub(super) fn merged(&self, now: Timestamp, max_age: Duration) -> TrustBundles {
        let mut trust_domains: HashMap<TrustDomain, Bundle> = HashMap::new();
        if let Some(received) = &self.x509 {
            for (trust_domain, x509) in &received.bundles {
                let bundle = Bundle {
                    x509: x509.clone(),
                    confirmed: Some(received.at),
                    good_until: Some(received.at.after(max_age)),
                    ..Bundle::default()
                };
                trust_domains.insert(trust_domain.clone(), bundle);
            }
        }
        // A bundle has one expiry, that of its roots. JWT authorities that expire before it are left out.
        if let Some(received) = self.jwt.as_ref().filter(|received| received.is_current(now, max_age)) {
            for (trust_domain, jwt) in &received.bundles {
                let bundle = trust_domains.entry(trust_domain.clone()).or_insert_with(|| Bundle {
                    confirmed: Some(received.at),
                    good_until: Some(received.at.after(max_age)),
                    ..Bundle::default()
                });
                bundle.jwt = jwt.clone();
            }
        }
        TrustBundles { trust_domains, ..TrustBundles::default() }
    }
}

/// The roots of a bundle. One that cannot be an anchor is left out, and logged where the bundles are set.
fn anchors(bundle: &X509Bundle) -> Anchors {
    let certificates: Vec<_> = bundle.authorities().iter().map(|root| CertificateDer::from(root.as_bytes())).collect();
    Anchors::new(&certificates).unwrap_or_else(|error| {
        tracing::error!(trust_domain = %bundle.trust_domain(), %error, "a bundle of the Workload API has no usable root");
        Anchors::default()
    })
}

/// The keys of a bundle for JWT-SVIDs. SPIRE leaves out `use` here, where no other use is possible.
fn authorities(bundle: &JwtBundle) -> JwtAuthorities {
    let keys = bundle.jwt_authorities().filter_map(|authority| serde_json::from_slice(authority.jwk_json()).ok());
    let keys: Vec<Value> = keys.filter(|jwk: &Value| jwk.get("use").is_none_or(|usage| usage == "jwt-svid")).collect();
    JwtAuthorities::new(&keys)
}
