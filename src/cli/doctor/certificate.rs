//! The server's certificate: its files, key, validity, chain and names.

use std::fs;
use std::time::Duration;

use fluent_uri::Uri;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject as _;
use webpki::EndEntityCert;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use crate::authority::clock::Timestamp;
use crate::authority::identity::Certificate;
use crate::authority::identity::is_spiffe_uri;
use crate::authority::identity::parse_spiffe_id;
use crate::authority::json::without_byte_order_mark;
use crate::authority::trust::Anchors;
use crate::authority::trust::Unproven;
use crate::cli::doctor::Environment;
use crate::cli::doctor::fault::Fault;
use crate::cli::doctor::report::Report;
use crate::cli::doctor::validity::Validity;
use crate::cli::doctor::workload_api::Identity;
use crate::cli::moment::moment;
use crate::config::Config;
use crate::tls::CertificateFiles;
use crate::tls::possession::PairError;
use crate::tls::possession::certified_key;
use crate::trust_sources;

const CHECK: &str = "server_certificate";

/// How long before its end a certificate counts as expiring soon. It should have been renewed by then.
const NOTICE: Duration = Duration::from_hours(14 * 24);

/// The certificate chain under examination.
struct Chain<'a> {
    name: String,
    certificates: &'a [CertificateDer<'static>],
    parsed: Vec<Certificate>,
}

/// Checks the files that the configuration names.
pub(in crate::cli::doctor) fn check_files(
    files: &CertificateFiles,
    config: &Config,
    environment: &Environment,
    report: &mut Report,
) {
    let before = report.len();
    let name = files.certificate.display().to_string();
    let chain = match fs::read(&files.certificate) {
        Ok(text) => CertificateDer::pem_slice_iter(without_byte_order_mark(&text))
            .collect::<Result<Vec<_>, _>>()
            .unwrap_or_default(),
        Err(error) => {
            report.fault(CHECK, name, Fault::CertificateUnreadable, format!("cannot read the file: {error}"));
            check_key_file(files, None, environment, report);
            return;
        }
    };
    let Some(subject) = parse(name, &chain, report) else {
        check_key_file(files, None, environment, report);
        return;
    };
    check_key_file(files, Some(&chain), environment, report);
    let roots = |name: &_| config.trust.bundles.get(name).and_then(|path| trust_sources::files::roots(path).ok());
    check_chain(&subject, roots, config, environment.now, report);
    report_ok(&subject, before, report);
}

/// Checks the SVID from the Workload API; `None` if there is none.
pub(in crate::cli::doctor) fn check_svid(
    identity: Option<&Identity>,
    config: &Config,
    environment: &Environment,
    report: &mut Report,
) {
    let Some(Identity { svid, own_roots }) = identity else {
        report.not_checked(CHECK, "", "the Workload API gives none");
        return;
    };
    let before = report.len();
    let name = svid.spiffe_id.to_string();
    let Some(subject) = parse(name.clone(), &svid.chain, report) else { return };
    let key = PrivateKeyDer::from(svid.key.clone_key());
    if certified_key(svid.chain.clone(), key, &environment.provider).is_err() {
        let problem = "the private key is not the one of the certificate";
        report.fault(CHECK, name, Fault::CertificateKeyMismatch, problem);
    }
    check_chain(&subject, |_| own_roots.clone(), config, environment.now, report);
    report_ok(&subject, before, report);
}

fn parse<'a>(name: String, chain: &'a [CertificateDer<'static>], report: &mut Report) -> Option<Chain<'a>> {
    if chain.is_empty() {
        let problem = "the file holds no PEM certificate, or a broken one";
        report.fault(CHECK, name, Fault::CertificateInvalid, problem);
        return None;
    }
    match chain.iter().map(|der| Certificate::parse(der)).collect() {
        Ok(parsed) => Some(Chain { name, certificates: chain, parsed }),
        Err(error) => {
            report.fault(CHECK, name, Fault::CertificateInvalid, error.to_string());
            None
        }
    }
}

/// Checks the key file alone, and against the certificates if they can be read.
fn check_key_file(
    files: &CertificateFiles,
    chain: Option<&[CertificateDer<'static>]>,
    environment: &Environment,
    report: &mut Report,
) {
    let name = files.key.display().to_string();
    let text = match fs::read(&files.key) {
        Ok(text) => zeroize::Zeroizing::new(text),
        Err(error) => {
            report.fault(CHECK, name, Fault::CertificateKeyUnreadable, format!("cannot read the file: {error}"));
            return;
        }
    };
    let Ok(key) = PrivateKeyDer::from_pem_slice(without_byte_order_mark(&text)) else {
        report.fault(CHECK, name, Fault::CertificateKeyInvalid, "the file holds no unencrypted PEM private key");
        return;
    };
    let Some(chain) = chain else { return };
    match certified_key(chain.to_vec(), key, &environment.provider) {
        Ok(_) => {}
        Err(PairError::Mismatch) => {
            let problem =
                format!("the private key is not the one of the certificate in {}", files.certificate.display());
            report.fault(CHECK, name, Fault::CertificateKeyMismatch, problem);
        }
        Err(error @ (PairError::UnsupportedKey | PairError::NotACertificate)) => {
            let problem = format!("TLS cannot use the private key: {error}");
            report.fault(CHECK, name, Fault::CertificateKeyInvalid, problem);
        }
    }
}

/// Checks a chain that could be parsed.
fn check_chain(
    subject: &Chain<'_>,
    roots: impl Fn(&spiffe::TrustDomain) -> Option<Anchors>,
    config: &Config,
    now: Timestamp,
    report: &mut Report,
) {
    let in_time = check_validity(subject, now, report);
    let ordered = check_order(subject, report);
    check_identity(subject, roots, now, in_time && ordered, report);
    check_names(subject, config, report);
}

fn report_ok(subject: &Chain<'_>, before: usize, report: &mut Report) {
    if report.len() == before
        && let Some(leaf) = subject.parsed.first()
    {
        let seen = format!("valid until {}, with its key, and certificates in order", moment(leaf.not_after()));
        report.ok(CHECK, subject.name.clone(), seen);
    }
}

/// Checks the validity periods. Returns whether all certificates are valid now.
fn check_validity(subject: &Chain<'_>, now: Timestamp, report: &mut Report) -> bool {
    let mut in_time = true;
    for (place, certificate) in subject.parsed.iter().enumerate() {
        let which = match place {
            0 => "the certificate".to_owned(),
            _ => format!("number {} of the certificates in the file", place + 1),
        };
        let (fault, problem) = match Validity::of(certificate, now, NOTICE) {
            Validity::Valid => continue,
            Validity::ExpiresSoon => {
                let problem = format!("{which} expires at {}", moment(certificate.not_after()));
                report.fault(CHECK, subject.name.clone(), Fault::CertificateExpiresSoon, problem);
                continue;
            }
            Validity::Expired => {
                (Fault::CertificateExpired, format!("{which} expired at {}", moment(certificate.not_after())))
            }
            Validity::NotYetValid => {
                let (start, now) = (moment(certificate.not_before()), moment(now));
                let problem = format!("{which} is valid from {start} on, and this machine's clock says {now}");
                (Fault::CertificateNotYetValid, problem)
            }
        };
        in_time = false;
        report.fault(CHECK, subject.name.clone(), fault, problem);
    }
    in_time
}

/// Checks that each certificate is followed by its issuer, or is the last. Returns whether that is so.
fn check_order(subject: &Chain<'_>, report: &mut Report) -> bool {
    let names = subject.certificates.iter().filter_map(|der| {
        let (_, parsed) = X509Certificate::from_der(der).ok()?;
        Some((parsed.subject().as_raw().to_vec(), parsed.issuer().as_raw().to_vec()))
    });
    let names: Vec<_> = names.collect();
    for (place, pair) in names.windows(2).enumerate() {
        let [(_, issuer), (next, _)] = pair else { continue };
        if issuer == next {
            continue;
        }
        let elsewhere = names.iter().any(|(subject, own_issuer)| subject == issuer && subject != own_issuer);
        let leaf_is_ca = subject.parsed.first().is_some_and(|leaf| leaf.uses().is_ca);
        let (fault, problem) = if elsewhere || leaf_is_ca {
            let problem = format!("certificate number {} is not followed by the one that issued it", place + 1);
            (Fault::CertificateChainOrder, problem)
        } else {
            let problem = format!("the certificate that issued number {} is not in the file", place + 1);
            (Fault::CertificateChainIncomplete, problem)
        };
        report.fault(CHECK, subject.name.clone(), fault, problem);
        return false;
    }
    true
}

/// Checks a certificate with a SPIFFE ID by the rules of X509-SVID, and its path to the bundle of its own trust domain
/// if that is available.
fn check_identity(
    subject: &Chain<'_>,
    roots: impl Fn(&spiffe::TrustDomain) -> Option<Anchors>,
    now: Timestamp,
    whole: bool,
    report: &mut Report,
) {
    let Some(leaf) = subject.parsed.first() else { return };
    let uris = &leaf.names().uri;
    if !uris.iter().any(|uri| is_spiffe_uri(uri)) {
        let uses = leaf.uses();
        if uses.has_extended_key_usage && !uses.server_auth {
            let problem = "its extendedKeyUsage lacks serverAuth";
            report.fault(CHECK, subject.name.clone(), Fault::CertificateKeyUsage, problem);
        }
        return;
    }
    let trust_domain = uris.iter().find_map(|uri| parse_spiffe_id(uri)).map(|id| id.trust_domain().clone());
    let known = trust_domain.as_ref().and_then(roots);
    // At a time within its own validity: an expired certificate is reported elsewhere.
    let at = now.clamp(leaf.not_before(), leaf.not_after().max(leaf.not_before()));
    let proven = known.clone().unwrap_or_default().prove_server(subject.certificates, at);
    let (fault, problem) = match proven {
        // Without the bundle the path cannot be checked; a chain with a wrong validity or order is already reported.
        Err(Unproven::NoPath) if known.is_none() || !whole => return,
        Err(Unproven::IssuerExpired | Unproven::IssuerNotYetValid) if !whole => return,
        Ok(_) => return,
        Err(Unproven::SeveralUris) => {
            let problem = format!("it has {} URI SANs where one with a SPIFFE ID has exactly one", uris.len());
            (Fault::CertificateSeveralUris, problem)
        }
        Err(Unproven::InvalidSpiffeId) => {
            (Fault::CertificateSpiffeIdInvalid, "its URI SAN is not the SPIFFE ID of a workload".to_owned())
        }
        Err(
            error @ (Unproven::SigningCertificate
            | Unproven::KeyUsage
            | Unproven::ExtendedKeyUsage
            | Unproven::NamesNotCritical),
        ) => (Fault::CertificateKeyUsage, error.to_string()),
        Err(Unproven::NoPath) => {
            let problem =
                "there is no path from it, through the certificates that follow it, to the bundle of its trust domain";
            (Fault::CertificateChainIncomplete, problem.to_owned())
        }
        Err(error) => (Fault::CertificateInvalid, error.to_string()),
    };
    report.fault(CHECK, subject.name.clone(), fault, problem);
}

/// Checks that the certificate has the host names that clients use.
fn check_names(subject: &Chain<'_>, config: &Config, report: &mut Report) {
    let (Some(leaf), Some(der)) = (subject.parsed.first(), subject.certificates.first()) else { return };
    let Ok(entity) = EndEntityCert::try_from(der) else { return };
    let covers = |host: &str| {
        ServerName::try_from(host.trim_matches(['[', ']']))
            .is_ok_and(|name| entity.verify_is_valid_for_subject_name(&name).is_ok())
    };
    let host = |url: &str| Uri::parse(url).ok()?.authority().map(|authority| authority.host().to_owned());
    let (Some(mtls), Some(issuer)) = (host(&config.policy.mtls_url), host(&config.policy.issuer)) else { return };
    let names = leaf.names();
    let nameless = names.dns.is_empty() && names.ip.is_empty();
    let by_spiffe_id = names.uri.iter().any(|uri| is_spiffe_uri(uri));
    if !covers(&mtls) {
        let fault =
            if nameless && by_spiffe_id { Fault::CertificateWithoutHostNames } else { Fault::CertificateNameMissing };
        let problem = format!("it does not have the name {mtls}, which clients use ({})", config.policy.mtls_url);
        report.fault(CHECK, subject.name.clone(), fault, problem);
    } else if !covers(&issuer) {
        let problem = format!("it does not have the name {issuer} of the issuer ({})", config.policy.issuer);
        report.fault(CHECK, subject.name.clone(), Fault::CertificateIssuerNotNamed, problem);
    }
}
