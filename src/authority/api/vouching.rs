//! Whether a certificate that a proxy has seen is one of the workload that a token names, by the present bundles.

use crate::authority::Authority;
use crate::authority::identity::Certificate;
use crate::authority::identity::CertificateThumbprint;
use crate::authority::observe;

impl Authority {
    /// Whether a certificate is an X509-SVID with a path to the bundle of its own trust domain as it is now, and of this
    /// subject. A proxy brings no intermediates: a path that needs them is not found.
    pub(in crate::authority) fn vouches_for(&self, certificate: &Certificate, subject: &str) -> bool {
        if certificate.names().uri != [subject] {
            return false;
        }
        let generation = self.trust_generation();
        let thumbprint = certificate.thumbprint();
        let now = self.clock.now();
        let known = self.vouched.0.get(&thumbprint) == Some(generation);
        self.metrics.looked_up(observe::Cache::Certificates, known);
        if known {
            return self.trust.load().is_fresh_for(subject, now);
        }
        let nobody = |_: &CertificateThumbprint| false;
        let proven = self.trust.load().prove(std::slice::from_ref(certificate.der()), now, nobody);
        let vouched = proven.is_ok_and(|peer| peer.spiffe_id().is_some_and(|id| id.to_string() == subject));
        if vouched {
            self.vouched.0.insert(thumbprint, generation);
        }
        vouched
    }
}
