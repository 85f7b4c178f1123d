//! Whose certificates prove what: one bundle a trust domain, never pooled, and the client CAs beside them.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::time::Duration;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::TrustAnchor;
use rustls_pki_types::UnixTime;
use spiffe::SpiffeId;
use spiffe::TrustDomain;
use webpki::EndEntityCert;
use webpki::KeyUsage;

use crate::authority::certificate::Certificate;
use crate::authority::certificate::CertificateThumbprint;
use crate::authority::certificate::InvalidCertificate;
use crate::authority::clock::Timestamp;
use crate::authority::identity::PeerIdentity;
use crate::authority::identity::Proof;
use crate::authority::identity::is_spiffe_uri;
use crate::authority::identity::parse_spiffe_id;
use crate::authority::jwt_authorities::JwtAuthorities;

/// The most certificates that a peer may present: the leaf and its intermediates.
const MAX_CHAIN_CERTIFICATES: usize = 10;

/// The most bytes that all of them may have.
const MAX_CHAIN_BYTES: usize = 64 * 1024;

/// The roots of one trust domain, or of one client CA.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Anchors(Vec<TrustAnchor<'static>>);

impl Anchors {
    /// Takes CA certificates, DER. The list may be empty: then it vouches for nobody.
    pub fn new(certificates: &[CertificateDer<'_>]) -> Result<Self, InvalidAnchor> {
        certificates.iter().map(anchor).collect::<Result<_, _>>().map(Self)
    }

    /// Whether nobody is vouched for.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Proves the X509-SVID that a server presents, the leaf first, against these roots alone, and says whom it names. That
    /// it is the one who was called is the caller's to see.
    pub fn prove_server(&self, chain: &[CertificateDer<'_>], now: Timestamp) -> Result<SpiffeId, Unproven> {
        let (leaf, intermediates) = split(chain)?;
        let certificate = Certificate::parse(leaf)?;
        let id = svid_name(&certificate)?;
        let proven = has_path(&certificate, intermediates, self, now, KeyUsage::server_auth());
        if proven { Ok(id) } else { Err(Unproven::NoPath) }
    }
}

/// What vouches for the workloads of one trust domain. The whole of it comes from one source.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bundle {
    /// The roots of its X509-SVIDs.
    pub x509: Anchors,
    /// The keys of its JWT-SVIDs.
    pub jwt: JwtAuthorities,
    /// When its source last confirmed it. `None` where it stands until it is replaced, as in a file.
    pub confirmed: Option<Timestamp>,
    /// Until when it counts, should its source not confirm it again.
    pub good_until: Option<Timestamp>,
}

impl Bundle {
    /// Whether its source has not confirmed it for too long.
    pub fn is_stale(&self, now: Timestamp) -> bool {
        self.good_until.is_some_and(|until| now > until)
    }

    /// Whether another vouches for the same, however fresh the two are.
    pub fn vouches_like(&self, other: &Self) -> bool {
        self.x509 == other.x509 && self.jwt == other.jwt
    }
}

/// A bundle that has no end and no JWT authorities.
impl From<Anchors> for Bundle {
    fn from(x509: Anchors) -> Self {
        Self { x509, ..Self::default() }
    }
}

/// Why a certificate cannot be a root.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidAnchor {
    /// It cannot be read.
    #[error("not an X.509 certificate")]
    NotACertificate,
    /// basicConstraints cA is not set, or keyUsage lacks keyCertSign: it may not sign certificates.
    #[error("not a CA certificate: it lacks basicConstraints CA:TRUE, or keyCertSign in its keyUsage")]
    NotACa,
}

fn anchor(certificate: &CertificateDer<'_>) -> Result<TrustAnchor<'static>, InvalidAnchor> {
    let uses = Certificate::parse(certificate).map_err(|_| InvalidAnchor::NotACertificate)?.uses();
    if !uses.is_ca || (uses.has_key_usage && !uses.key_cert_sign) {
        return Err(InvalidAnchor::NotACa);
    }
    let anchor = webpki::anchor_from_trusted_cert(certificate).map_err(|_| InvalidAnchor::NotACertificate)?;
    Ok(anchor.to_owned())
}

/// All that vouches for peers, at one moment.
///
/// A path is only ever verified against the bundle of the trust domain that the leaf names: poured into one pool, any
/// trust domain could mint the others' names (SPIFFE Federation section 4.2).
#[derive(Clone, Debug, Default)]
pub struct TrustBundles {
    /// The bundle of each trust domain.
    pub trust_domains: HashMap<TrustDomain, Bundle>,
    /// The client CAs, by the names that registrations call them by.
    pub client_cas: BTreeMap<String, Anchors>,
}

/// Why a certificate was not let in.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unproven {
    /// No certificate, too many, or too many bytes of them.
    #[error("the certificate chain is empty or larger than is looked at")]
    ChainSize,
    /// The certificate cannot be read.
    #[error(transparent)]
    Invalid(#[from] InvalidCertificate),
    /// notAfter has passed.
    #[error("the certificate has expired")]
    Expired,
    /// notBefore has not come.
    #[error("the certificate is not valid yet")]
    NotYetValid,
    /// A certificate with a SPIFFE ID has another URI SAN too (X509-SVID section 2).
    #[error("an X509-SVID has exactly one URI SAN")]
    SeveralUris,
    /// Its only URI SAN is not a well-formed SPIFFE ID with a path (SPIFFE-ID section 2, X509-SVID section 5.2).
    #[error("the URI SAN is not a SPIFFE ID of a workload")]
    InvalidSpiffeId,
    /// A CA, or a certificate whose key may sign others (X509-SVID sections 4.1 and 4.3).
    #[error("a CA certificate does not authenticate a peer")]
    SigningCertificate,
    /// keyUsage is missing, not critical, or without digitalSignature; or extendedKeyUsage lacks what it must have.
    #[error("the certificate's key usage does not allow it to authenticate a peer")]
    KeyUsage,
    /// The subject is empty and the subject alternative name not critical (X509-SVID section 3.1).
    #[error("the subject alternative name must be critical where the subject is empty")]
    NamesNotCritical,
    /// No bundle is known for the trust domain of the SPIFFE ID.
    #[error("the trust domain is not known")]
    UnknownTrustDomain,
    /// The bundle has not been confirmed for too long.
    #[error("the bundle of the trust domain has not been confirmed for too long")]
    StaleBundle,
    /// No path from the SVID to the bundle of its trust domain.
    #[error("the certificate has no path to the bundle of its trust domain")]
    NoPath,
    /// The certificate has been revoked here.
    #[error("the certificate has been revoked")]
    Revoked,
    /// Not an SVID, no path to a client CA, and not registered as it is.
    #[error("the certificate is not from a known CA and not registered")]
    Unknown,
}

impl Unproven {
    /// The fixed code, in metrics and the log.
    pub fn code(self) -> &'static str {
        match self {
            Self::ChainSize => "CHAIN_SIZE",
            Self::Invalid(_) => "INVALID",
            Self::Expired => "EXPIRED",
            Self::NotYetValid => "NOT_YET_VALID",
            Self::SeveralUris => "SEVERAL_URIS",
            Self::InvalidSpiffeId => "INVALID_SPIFFE_ID",
            Self::SigningCertificate => "SIGNING_CERTIFICATE",
            Self::KeyUsage => "KEY_USAGE",
            Self::NamesNotCritical => "NAMES_NOT_CRITICAL",
            Self::UnknownTrustDomain => "UNKNOWN_TRUST_DOMAIN",
            Self::StaleBundle => "STALE_BUNDLE",
            Self::NoPath => "NO_PATH",
            Self::Revoked => "REVOKED",
            Self::Unknown => "UNKNOWN",
        }
    }
}

impl TrustBundles {
    /// Whether others vouch for the same, however fresh either are.
    pub fn vouch_like(&self, other: &Self) -> bool {
        self.client_cas == other.client_cas
            && self.trust_domains.len() == other.trust_domains.len()
            && self.trust_domains.iter().all(|(trust_domain, bundle)| {
                other.trust_domains.get(trust_domain).is_some_and(|other| bundle.vouches_like(other))
            })
    }

    /// Whether the bundle of a SPIFFE ID's trust domain is there, and not stale.
    pub(in crate::authority) fn is_fresh_for(&self, spiffe_id: &str, now: Timestamp) -> bool {
        let trust_domain = parse_spiffe_id(spiffe_id).map(|id| id.trust_domain().clone());
        trust_domain.and_then(|name| self.trust_domains.get(&name)).is_some_and(|bundle| !bundle.is_stale(now))
    }

    /// How long ago each trust domain's bundle was last confirmed; `None` where it stands until it is replaced.
    pub fn ages(&self, now: Timestamp) -> impl Iterator<Item = (&TrustDomain, Option<Duration>)> {
        let age = move |bundle: &Bundle| bundle.confirmed.map(|confirmed| confirmed.until(now));
        self.trust_domains.iter().map(move |(trust_domain, bundle)| (trust_domain, age(bundle)))
    }

    /// Until when the proof of a peer can count without being made again.
    pub(in crate::authority) fn good_until(&self, peer: &PeerIdentity) -> Option<Timestamp> {
        self.trust_domains.get(peer.spiffe_id()?.trust_domain())?.good_until
    }

    /// Proves a certificate by the one rule that is for its kind; there is no falling back from the rule for SVIDs to
    /// another. `chain` is what the peer presented, the leaf first; `is_registered` knows the certificates that are
    /// registered, or listed for a role, as they are.
    ///
    /// Possession of the key is the handshake's to prove, not this function's.
    pub fn prove(
        &self,
        chain: &[CertificateDer<'_>],
        now: Timestamp,
        is_registered: impl Fn(&CertificateThumbprint) -> bool,
    ) -> Result<PeerIdentity, Unproven> {
        let (leaf, intermediates) = split(chain)?;
        let certificate = Certificate::parse(leaf)?;
        if now < certificate.not_before() {
            return Err(Unproven::NotYetValid);
        }
        if now > certificate.not_after() {
            return Err(Unproven::Expired);
        }
        let proof = if certificate.names().uri.iter().any(|uri| is_spiffe_uri(uri)) {
            Proof::Svid(self.prove_svid(&certificate, intermediates, now)?)
        } else if let Some(client_cas) = self.prove_pki(&certificate, intermediates, now)? {
            Proof::Pki(client_cas)
        } else if is_registered(&certificate.thumbprint()) {
            Proof::SelfSigned
        } else {
            return Err(Unproven::Unknown);
        };
        Ok(PeerIdentity::proven(certificate, proof))
    }

    fn prove_svid(
        &self,
        certificate: &Certificate,
        intermediates: &[CertificateDer<'_>],
        now: Timestamp,
    ) -> Result<SpiffeId, Unproven> {
        let id = svid_name(certificate)?;
        let bundle = self.trust_domains.get(id.trust_domain()).ok_or(Unproven::UnknownTrustDomain)?;
        if bundle.is_stale(now) {
            return Err(Unproven::StaleBundle);
        }
        if has_path(certificate, intermediates, &bundle.x509, now, KeyUsage::client_auth()) {
            Ok(id)
        } else {
            Err(Unproven::NoPath)
        }
    }

    fn prove_pki(
        &self,
        certificate: &Certificate,
        intermediates: &[CertificateDer<'_>],
        now: Timestamp,
    ) -> Result<Option<Vec<String>>, Unproven> {
        let vouching = self
            .client_cas
            .iter()
            .filter(|(_, anchors)| has_path(certificate, intermediates, anchors, now, KeyUsage::client_auth()));
        let names: Vec<String> = vouching.map(|(name, _)| name.clone()).collect();
        if names.is_empty() {
            return Ok(None);
        }
        // webpki has refused a CA as a leaf by now, and an extendedKeyUsage without clientAuth.
        let uses = certificate.uses();
        if uses.has_key_usage && !uses.digital_signature {
            return Err(Unproven::KeyUsage);
        }
        Ok(Some(names))
    }
}

/// The leaf of a chain, and what it sends along.
fn split<'a>(chain: &'a [CertificateDer<'a>]) -> Result<(&'a CertificateDer<'a>, &'a [CertificateDer<'a>]), Unproven> {
    let bytes: usize = chain.iter().map(|certificate| certificate.len()).sum();
    let too_large = chain.len() > MAX_CHAIN_CERTIFICATES || bytes > MAX_CHAIN_BYTES;
    chain.split_first().filter(|_| !too_large).ok_or(Unproven::ChainSize)
}

/// The SPIFFE ID of a leaf that keeps all of X509-SVID's rules for leaves: those that path validation looks at, and those
/// that it does not (webpki ignores digitalSignature, cRLSign and what is critical).
fn svid_name(certificate: &Certificate) -> Result<SpiffeId, Unproven> {
    let [uri] = certificate.names().uri.as_slice() else { return Err(Unproven::SeveralUris) };
    let id = parse_spiffe_id(uri).filter(|id| !id.path().is_empty()).ok_or(Unproven::InvalidSpiffeId)?;
    let uses = certificate.uses();
    if uses.is_ca || uses.key_cert_sign || uses.crl_sign {
        return Err(Unproven::SigningCertificate);
    }
    if !uses.has_key_usage || !uses.key_usage_critical || !uses.digital_signature {
        return Err(Unproven::KeyUsage);
    }
    // X509-SVID section 4.4: where extendedKeyUsage is there, it has both.
    if uses.has_extended_key_usage && !(uses.client_auth && uses.server_auth) {
        return Err(Unproven::KeyUsage);
    }
    if uses.subject_empty && !uses.names_critical {
        return Err(Unproven::NamesNotCritical);
    }
    Ok(id)
}

/// RFC 5280 section 6 path validation. No certificate is ever fetched from a URL that another one names.
fn has_path(
    certificate: &Certificate,
    intermediates: &[CertificateDer<'_>],
    anchors: &Anchors,
    now: Timestamp,
    usage: KeyUsage,
) -> bool {
    EndEntityCert::try_from(certificate.der()).is_ok_and(|leaf| {
        leaf.verify_for_usage(
            webpki::ALL_VERIFICATION_ALGS,
            &anchors.0,
            intermediates,
            UnixTime::since_unix_epoch(Duration::from_secs(now.0)),
            usage,
            None,
            None,
        )
        .is_ok()
    })
}
