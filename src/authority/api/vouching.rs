//! Whether a certificate that a proxy has seen belongs to the workload that a token is bound to, by the current
//! bundles.

use spiffe::SpiffeId;

use crate::authority::Authority;
use crate::authority::identity::Certificate;
use crate::authority::identity::CertificateThumbprint;
use crate::authority::observe;
use crate::authority::observe::Lookup;
use crate::authority::state::View;

impl Authority {
    /// Whether a certificate is an X509-SVID of this holder with a path to the current bundle of its trust domain. A
    /// proxy sends no intermediates: a path that needs them is not found.
    pub(in crate::authority) fn vouches_for(&self, view: &View, certificate: &Certificate, holder: &SpiffeId) -> bool {
        match certificate.names().uri.as_slice() {
            [uri] if *uri == holder.to_string() => {}
            _ => return false,
        }
        let thumbprint = certificate.thumbprint();
        let known = self.vouched.has(&thumbprint, view.trust_generation);
        self.metrics.looked_up(observe::Cache::Certificates, if known { Lookup::Hit } else { Lookup::Miss });
        if known {
            return view.trust.is_fresh_for(holder.trust_domain(), view.now);
        }
        let never_registered = |_: &CertificateThumbprint| false;
        let (chain, mut verified) = (std::slice::from_ref(certificate.der()), 0);
        let proven =
            view.trust.prove_knowing(chain, view.now, never_registered, (Some(&self.signatures), &mut verified));
        self.metrics.path_signatures_verified(verified);
        let vouched = proven.is_ok_and(|peer| peer.spiffe_id() == Some(holder));
        if vouched {
            self.vouched.insert(thumbprint, view.trust_generation);
        }
        vouched
    }
}
