//! The bundles that prove certificates: one for each trust domain, never pooled, and the client CAs.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::time::Duration;

use rustls_pki_types::CertificateDer;
use spiffe::SpiffeId;
use spiffe::TrustDomain;

use crate::authority::clock::Timestamp;
use crate::authority::identity::Certificate;
use crate::authority::identity::CertificateThumbprint;
use crate::authority::identity::PeerIdentity;
use crate::authority::identity::Proof;
use crate::authority::identity::is_spiffe_uri;
use crate::authority::trust::anchors::Anchors;
use crate::authority::trust::anchors::RefusedAnchor;
use crate::authority::trust::anchors::check_validity;
use crate::authority::trust::anchors::split;
use crate::authority::trust::anchors::svid_name;
use crate::authority::trust::issuer_keys::IssuerKeys;
use crate::authority::trust::jwt_authorities::JwtAuthorities;
use crate::authority::trust::known_signatures::KnownSignatures;
use crate::authority::trust::path::Chain;
use crate::authority::trust::path::Purpose;
use crate::authority::trust::unproven::Unproven;

/// The trust anchors and keys of one trust domain. All of a bundle comes from one source.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bundle {
    /// The trust anchors of its X509-SVIDs.
    pub x509: Anchors,
    /// The keys of its JWT-SVIDs.
    pub jwt: JwtAuthorities,
    /// When its source last confirmed it. `None` where it is in effect until it is replaced, as with a file.
    pub confirmed: Option<Timestamp>,
    /// Until when it is valid if its source does not confirm it again. `None` where it has no end.
    pub good_until: Option<Timestamp>,
}

impl Bundle {
    /// Whether its source has not confirmed it for too long.
    pub fn is_stale(&self, now: Timestamp) -> bool {
        self.good_until.is_some_and(|until| now > until)
    }

    /// Whether another bundle has the same anchors and keys. Freshness is not compared.
    pub fn vouches_like(&self, other: &Self) -> bool {
        self.x509 == other.x509 && self.jwt == other.jwt
    }
}

/// A bundle without an end and without JWT authorities.
impl From<Anchors> for Bundle {
    fn from(x509: Anchors) -> Self {
        Self { x509, ..Self::default() }
    }
}

/// All bundles and client CAs at one moment.
///
/// A path is only verified against the bundle of the trust domain that the leaf names: in one pool, any trust domain
/// could issue the names of the others (SPIFFE Federation section 4.2).
#[derive(Clone, Debug, Default)]
pub struct TrustBundles {
    /// The bundle of each trust domain.
    pub trust_domains: HashMap<TrustDomain, Bundle>,
    /// The client CAs, by the names that registrations use.
    pub client_cas: BTreeMap<String, Anchors>,
    /// The trusted issuers, by their `iss`. They prove assertions, and no certificate.
    pub issuers: BTreeMap<String, IssuerKeys>,
}

impl TrustBundles {
    /// Whether others prove the same certificates. Freshness is not compared.
    pub fn vouch_like(&self, other: &Self) -> bool {
        self.client_cas == other.client_cas
            && self.trust_domains.len() == other.trust_domains.len()
            && self.trust_domains.iter().all(|(trust_domain, bundle)| {
                other.trust_domains.get(trust_domain).is_some_and(|other| bundle.vouches_like(other))
            })
    }

    /// The CA certificates that are not used, each with the trust domain, or the client CA, that it was given for.
    pub fn refused(&self) -> impl Iterator<Item = (String, &RefusedAnchor)> {
        let bundles = self.trust_domains.iter().map(|(name, bundle)| (name.to_string(), &bundle.x509));
        let client_cas = self.client_cas.iter().map(|(name, anchors)| (format!("client CA {name}"), anchors));
        bundles
            .chain(client_cas)
            .flat_map(|(place, anchors)| anchors.refused().iter().map(move |refused| (place.clone(), refused)))
    }

    /// Whether a trust domain has a bundle that is not stale.
    pub(in crate::authority) fn is_fresh_for(&self, trust_domain: &TrustDomain, now: Timestamp) -> bool {
        self.trust_domains.get(trust_domain).is_some_and(|bundle| !bundle.is_stale(now))
    }

    /// Whether the bundle of a trust domain can prove SVIDs: the bound of the handshake.
    pub fn can_prove(&self, trust_domain: &TrustDomain, now: Timestamp) -> bool {
        self.trust_domains.get(trust_domain).is_some_and(|bundle| !bundle.is_stale(now) && !bundle.x509.is_empty())
    }

    /// Why no certificate can prove the holder of this SPIFFE ID, if none can.
    pub(in crate::authority) fn unprovable(&self, id: &SpiffeId, now: Timestamp) -> Option<Unproven> {
        if id.path().is_empty() {
            return Some(Unproven::InvalidSpiffeId);
        }
        let bundle = self.bundle_for(id, now);
        bundle.map_or_else(Some, |bundle| bundle.x509.is_empty().then_some(Unproven::NoPath))
    }

    /// The bundle that proves the SVIDs of a SPIFFE ID.
    fn bundle_for(&self, id: &SpiffeId, now: Timestamp) -> Result<&Bundle, Unproven> {
        let bundle = self.trust_domains.get(id.trust_domain()).ok_or(Unproven::UnknownTrustDomain)?;
        if bundle.is_stale(now) { Err(Unproven::StaleBundle) } else { Ok(bundle) }
    }

    /// How long ago each trust domain's bundle was last confirmed; `None` where it is in effect until it is replaced.
    pub fn ages(&self, now: Timestamp) -> impl Iterator<Item = (&TrustDomain, Option<Duration>)> {
        let age = move |bundle: &Bundle| bundle.confirmed.map(|confirmed| confirmed.until(now));
        self.trust_domains.iter().map(move |(trust_domain, bundle)| (trust_domain, age(bundle)))
    }

    /// Until when the proof of a peer can be valid without being repeated: the end of its bundle, or of an issuer.
    pub(in crate::authority) fn good_until(&self, peer: &PeerIdentity) -> Option<Timestamp> {
        let bundle = peer.spiffe_id().and_then(|id| self.trust_domains.get(id.trust_domain()));
        let bundle = bundle.and_then(|bundle| bundle.good_until);
        bundle.into_iter().chain(peer.issuers_until()).min()
    }

    /// Validates a certificate by the one rule for its kind. An SVID that its rule refuses is not tried by another
    /// rule. `chain` is what the peer presented, the leaf first; `is_registered` says whether a certificate is
    /// registered, or listed for a role, by its thumbprint.
    ///
    /// The handshake proves possession of the key, not this function.
    pub fn prove(
        &self,
        chain: &[CertificateDer<'_>],
        now: Timestamp,
        is_registered: impl Fn(&CertificateThumbprint) -> bool,
    ) -> Result<PeerIdentity, Unproven> {
        self.prove_knowing(chain, now, is_registered, (None, &mut 0))
    }

    /// The same, where some signatures may be known; adds the number of those that were verified for it to `verified`.
    pub fn prove_knowing(
        &self,
        chain: &[CertificateDer<'_>],
        now: Timestamp,
        is_registered: impl Fn(&CertificateThumbprint) -> bool,
        (known, verified): (Option<&KnownSignatures>, &mut u32),
    ) -> Result<PeerIdentity, Unproven> {
        let (leaf, others) = split(chain)?;
        let certificate = Certificate::parse(leaf)?;
        check_validity(&certificate, now)?;
        if certificate.names().uri.iter().any(|uri| is_spiffe_uri(uri)) {
            let (id, until) = self.prove_svid(&certificate, others, now, (known, verified))?;
            return Ok(PeerIdentity::proven(certificate, Proof::Svid(id), Some(until)));
        }
        let unvouched = match self.prove_pki(&certificate, others, now, (known, verified)) {
            Ok((names, until)) => return Ok(PeerIdentity::proven(certificate, Proof::Pki(names), Some(until))),
            Err(unproven) => unproven,
        };
        if is_registered(&certificate.thumbprint()) {
            return Ok(PeerIdentity::proven(certificate, Proof::SelfSigned, None));
        }
        Err(unvouched)
    }

    fn prove_svid(
        &self,
        certificate: &Certificate,
        others: &[CertificateDer<'_>],
        now: Timestamp,
        (known, verified): (Option<&KnownSignatures>, &mut u32),
    ) -> Result<(SpiffeId, Timestamp), Unproven> {
        let id = svid_name(certificate)?;
        let bundle = self.bundle_for(&id, now)?;
        let mut chain = Chain::parse(certificate.der(), others)?;
        let path = chain.path_to(bundle.x509.usable(), Purpose::SvidOfClient, now, known);
        *verified += chain.verified_signatures();
        Ok((id, path?))
    }

    /// The client CAs that vouch for a certificate, and until when all of their paths are valid. If none does, the
    /// error says why the first path failed, or that the certificate is unknown.
    fn prove_pki(
        &self,
        certificate: &Certificate,
        others: &[CertificateDer<'_>],
        now: Timestamp,
        (known, verified): (Option<&KnownSignatures>, &mut u32),
    ) -> Result<(Vec<String>, Timestamp), Unproven> {
        if self.client_cas.is_empty() {
            return Err(Unproven::Unknown);
        }
        let mut chain = Chain::parse(certificate.der(), others).map_err(|_| Unproven::Unknown)?;
        let (mut names, mut until, mut why) = (Vec::new(), Timestamp(u64::MAX), Unproven::Unknown);
        for (name, anchors) in &self.client_cas {
            match chain.path_to(anchors.usable(), Purpose::Client, now, known) {
                Ok(end) => {
                    names.push(name.clone());
                    until = until.min(end);
                }
                Err(Unproven::NoPath) => {}
                Err(reason) if why == Unproven::Unknown => why = reason,
                Err(_) => {}
            }
        }
        *verified += chain.verified_signatures();
        if names.is_empty() {
            return Err(why);
        }
        let uses = certificate.uses();
        if uses.has_key_usage && !uses.digital_signature {
            return Err(Unproven::KeyUsage);
        }
        Ok((names, until))
    }
}
