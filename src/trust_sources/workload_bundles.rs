//! The bundles that the Workload API last sent, and when.

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

/// The last message of each kind. X.509 bundles vouch for X509-SVIDs only, JWT bundles for JWT-SVIDs only (Workload API
/// section 5.2), so that neither stands in for the other.
#[derive(Debug, Default)]
pub(super) struct WorkloadBundles {
    x509: Option<Said<Anchors>>,
    jwt: Option<Said<JwtAuthorities>>,
}

#[derive(Debug)]
struct Said<T> {
    at: Timestamp,
    bundles: HashMap<TrustDomain, T>,
}

impl<T> Said<T> {
    fn counts(&self, now: Timestamp, max_age: Duration) -> bool {
        now <= self.at.after(max_age)
    }
}

impl WorkloadBundles {
    /// Takes in a whole message. A trust domain that it does not name is unloaded.
    pub(super) fn take_x509(&mut self, said: &X509BundleSet, at: Timestamp) {
        let bundles = said.iter().map(|(trust_domain, bundle)| (trust_domain.clone(), anchors(bundle))).collect();
        self.x509 = Some(Said { at, bundles });
    }

    /// The same for JWT bundles.
    pub(super) fn take_jwt(&mut self, said: &JwtBundleSet, at: Timestamp) {
        let bundles = said.iter().map(|(trust_domain, bundle)| (trust_domain.clone(), authorities(bundle))).collect();
        self.jwt = Some(Said { at, bundles });
    }

    /// Whether the X.509 bundles count now, and whether the JWT bundles do.
    pub(super) fn counting(&self, now: Timestamp, max_age: Duration) -> (bool, bool) {
        let x509 = self.x509.as_ref().is_some_and(|said| said.counts(now, max_age));
        (x509, self.jwt.as_ref().is_some_and(|said| said.counts(now, max_age)))
    }

    /// All of it, a bundle for each trust domain that either message names.
    pub(super) fn together(&self, now: Timestamp, max_age: Duration) -> TrustBundles {
        let mut trust_domains: HashMap<TrustDomain, Bundle> = HashMap::new();
        if let Some(said) = &self.x509 {
            for (trust_domain, x509) in &said.bundles {
                let bundle = Bundle {
                    x509: x509.clone(),
                    confirmed: Some(said.at),
                    good_until: Some(said.at.after(max_age)),
                    ..Bundle::default()
                };
                trust_domains.insert(trust_domain.clone(), bundle);
            }
        }
        // A bundle has one end, that of its roots. JWT authorities whose time is over before that are left out.
        if let Some(said) = self.jwt.as_ref().filter(|said| said.counts(now, max_age)) {
            for (trust_domain, jwt) in &said.bundles {
                let bundle = trust_domains.entry(trust_domain.clone()).or_insert_with(|| Bundle {
                    confirmed: Some(said.at),
                    good_until: Some(said.at.after(max_age)),
                    ..Bundle::default()
                });
                bundle.jwt = jwt.clone();
            }
        }
        TrustBundles { trust_domains, ..TrustBundles::default() }
    }
}

/// The roots of a bundle. One that holds what is no CA vouches for nobody: which of its roots were meant, is not clear.
fn anchors(bundle: &X509Bundle) -> Anchors {
    let certificates: Vec<_> = bundle.authorities().iter().map(|root| CertificateDer::from(root.as_bytes())).collect();
    Anchors::new(&certificates).unwrap_or_else(|error| {
        tracing::error!(trust_domain = %bundle.trust_domain(), %error, "a bundle of the Workload API is of no use");
        Anchors::default()
    })
}

/// The keys of a bundle that are for JWT-SVIDs. SPIRE leaves `use` out here, where nothing else can be meant.
fn authorities(bundle: &JwtBundle) -> JwtAuthorities {
    let keys = bundle.jwt_authorities().filter_map(|authority| serde_json::from_slice(authority.jwk_json()).ok());
    let keys: Vec<Value> = keys.filter(|jwk: &Value| jwk.get("use").is_none_or(|usage| usage == "jwt-svid")).collect();
    JwtAuthorities::new(&keys)
}
