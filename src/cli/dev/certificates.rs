//! The throwaway CA and its certificates. Expired ones, and those that expire soon, are made again.

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

/// A certificate that expires sooner than this is made again.
const RENEW_BEFORE: Duration = Duration::from_hours(24);

const DAY: u64 = 24 * 60 * 60;

/// Those who have an X509-SVID.
const WORKLOADS: [&str; 5] = ["workload", "relay", "thief", "admin", "proxy"];

/// Makes all certificates that are missing or expire soon.
pub(super) fn make(dir: &Path, now: Timestamp) -> Result<(), CommandError> {
    let ca = authority(dir, now)?;
    for name in WORKLOADS {
        issue(dir, name, now, &ca, |params| {
            let id = Ia5String::try_from(format!("spiffe://{TRUST_DOMAIN}/{name}"))?;
            params.subject_alt_names = vec![SanType::URI(id)];
            if name == "proxy" {
                // The name by which clients of a proxy on this machine verify it.
                params.subject_alt_names.push(SanType::DnsName(Ia5String::try_from("localhost")?));
            }
            params.use_authority_key_identifier_extension = true;
            // X509-SVID section 4.4: with an extended key usage, both must be present.
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

/// The CA. Its key stays in the directory so that it can issue further certificates.
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
    // The certificates of the old CA are useless now. They are removed first: if this is interrupted, the next start
    // makes all of them again.
    for name in WORKLOADS.into_iter().chain(["server"]) {
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
        // Writes an explicit CA:FALSE.
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        describe(&mut params)?;
        params.signed_by(pair, ca)
    })
}

/// A certificate like those of `openssl req -x509`: its own CA, without further extensions.
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
    // One minute earlier, for clocks that differ slightly.
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
