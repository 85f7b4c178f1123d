//! The throwaway CA and the certificates under it. What has expired, or is about to, is made anew.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rcgen::BasicConstraints;
use rcgen::CertificateParams;
use rcgen::DnType;
use rcgen::ExtendedKeyUsagePurpose;
use rcgen::IsCa;
use rcgen::Issuer;
use rcgen::KeyPair;
use rcgen::KeyUsagePurpose;
use rcgen::SanType;
use rcgen::string::Ia5String;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use crate::authority::clock::Timestamp;
use crate::authority::identity::Certificate;
use crate::cli::dev::TRUST_DOMAIN;
use crate::cli::dev::cannot_write;
use crate::cli::dev::write_private;
use crate::cli::error::CommandError;

const CA_DAYS: u64 = 365;
const LEAF_DAYS: u64 = 30;

/// A certificate that ends sooner than this is made anew.
const RENEW_BEFORE: Duration = Duration::from_hours(24);

const DAY: u64 = 24 * 60 * 60;

/// Makes all that is missing or has expired.
pub(super) fn make(dir: &Path, now: Timestamp) -> Result<(), CommandError> {
    let ca = authority(dir, now)?;
    for name in ["workload", "thief", "admin", "proxy"] {
        issue(dir, name, now, &ca, |params| {
            let id = Ia5String::try_from(format!("spiffe://{TRUST_DOMAIN}/{name}"))?;
            params.subject_alt_names = vec![SanType::URI(id)];
            params.use_authority_key_identifier_extension = true;
            // X509-SVID section 4.4: both, where there is any.
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
            Ok(())
        })?;
    }
    issue(dir, "server", now, &ca, |params| {
        let local = [std::net::Ipv4Addr::LOCALHOST.into(), std::net::Ipv6Addr::LOCALHOST.into()];
        params.subject_alt_names = vec![SanType::DnsName(Ia5String::try_from("localhost")?)];
        params.subject_alt_names.extend(local.map(SanType::IpAddress));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        Ok(())
    })?;
    self_signed(dir, now)
}

/// The CA, whose key stays in the directory so that certificates can be made anew under it.
fn authority(dir: &Path, now: Timestamp) -> Result<Issuer<'static, KeyPair>, CommandError> {
    let (certificate, key) = (dir.join("ca.pem"), dir.join("ca-key.pem"));
    if is_current(&certificate, now)
        && let (Ok(certificate), Ok(key)) = (fs::read_to_string(&certificate), fs::read_to_string(&key))
        && let Ok(key) = KeyPair::from_pem(&key)
        && let Ok(issuer) = Issuer::from_ca_cert_pem(&certificate, key)
    {
        return Ok(issuer);
    }
    let pair = KeyPair::generate().map_err(|error| cannot_make(&error))?;
    let mut params = parameters("Lanyard throwaway CA", now, CA_DAYS);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let made = params.self_signed(&pair).map_err(|error| cannot_make(&error))?;
    // What the old CA issued is worth nothing any more. It goes first: should this end half-way, the next start makes all anew.
    for name in ["workload", "thief", "admin", "proxy", "server"] {
        let leaf = dir.join(format!("{name}.pem"));
        if leaf.exists() {
            fs::remove_file(&leaf).map_err(|error| cannot_write(&leaf, &error))?;
        }
    }
    write_private(&key, pair.serialize_pem().as_bytes())?;
    fs::write(&certificate, made.pem()).map_err(|error| cannot_write(&certificate, &error))?;
    Ok(Issuer::new(params, pair))
}

fn issue(
    dir: &Path,
    name: &str,
    now: Timestamp,
    ca: &Issuer<'static, KeyPair>,
    describe: impl FnOnce(&mut CertificateParams) -> Result<(), rcgen::Error>,
) -> Result<(), CommandError> {
    leaf(dir, name, now, |pair| {
        let mut params = parameters(name, now, LEAF_DAYS);
        // Says CA:FALSE in so many words.
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        describe(&mut params)?;
        params.signed_by(pair, ca)
    })
}

/// A certificate like the ones that `openssl req -x509` makes: its own CA, and nothing else said.
fn self_signed(dir: &Path, now: Timestamp) -> Result<(), CommandError> {
    leaf(dir, "selfsigned", now, |pair| {
        let mut params = parameters("selfsigned", now, LEAF_DAYS);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.self_signed(pair)
    })
}

fn leaf(
    dir: &Path,
    name: &str,
    now: Timestamp,
    make: impl FnOnce(&KeyPair) -> Result<rcgen::Certificate, rcgen::Error>,
) -> Result<(), CommandError> {
    let (certificate, key) = (dir.join(format!("{name}.pem")), dir.join(format!("{name}-key.pem")));
    if is_current(&certificate, now) && key.exists() {
        return Ok(());
    }
    let pair = KeyPair::generate().map_err(|error| cannot_make(&error))?;
    let signed = make(&pair).map_err(|error| cannot_make(&error))?;
    write_private(&key, pair.serialize_pem().as_bytes())?;
    fs::write(&certificate, signed.pem()).map_err(|error| cannot_write(&certificate, &error))
}

fn parameters(name: &str, now: Timestamp, days: u64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let epoch = std::time::SystemTime::UNIX_EPOCH;
    // A minute back, for clocks that are not quite together.
    params.not_before = (epoch + Duration::from_secs(now.0.saturating_sub(60))).into();
    params.not_after = (epoch + Duration::from_secs(now.0 + days * DAY)).into();
    params
}

fn is_current(path: &Path, now: Timestamp) -> bool {
    let der = fs::read(path).ok().and_then(|pem| CertificateDer::from_pem_slice(&pem).ok());
    let certificate = der.and_then(|der| Certificate::parse(&der).ok());
    certificate.is_some_and(|certificate| now.after(RENEW_BEFORE) < certificate.not_after())
}

fn cannot_make(error: &rcgen::Error) -> CommandError {
    CommandError::new(format!("cannot make a certificate: {error}"), "this is a defect: please report it")
}
