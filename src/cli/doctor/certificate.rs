//! The certificate that the server presents: its files, its key, its time, its chain and its names.

use std::fs;
use std::time::Duration;

use fluent_uri::Uri;
use rustls::Error;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject as _;
use rustls::sign::CertifiedKey;
use webpki::EndEntityCert;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use crate::authority::clock::Timestamp;
use crate::authority::identity::Certificate;
use crate::authority::identity::is_spiffe_uri;
use crate::authority::identity::parse_spiffe_id;
use crate::authority::trust::Anchors;
use crate::authority::trust::Unproven;
use crate::cli::doctor::Environment;
use crate::cli::doctor::fault::Fault;
use crate::cli::doctor::report::Report;
use crate::cli::doctor::validity::Validity;
use crate::cli::doctor::validity::moment;
use crate::cli::doctor::workload_api::Identity;
use crate::config::Config;
use crate::tls::CertificateFiles;
use crate::trust_sources;

const CHECK: &str = "server_certificate";

/// From how long before its end on a certificate expires soon: what renews it should have done so by then.
const NOTICE: Duration = Duration::from_hours(14 * 24);

/// What is looked at, and what it is called.
struct Subject<'a> {
    name: String,
    chain: &'a [CertificateDer<'static>],
    parsed: Vec<Certificate>,
}

/// Looks at the files that the configuration names.
pub(in crate::cli::doctor) fn check_files(
    files: &CertificateFiles,
    config: &Config,
    environment: &Environment,
    report: &mut Report,
) {
    let before = report.len();
    let name = files.certificate.display().to_string();
    let chain = match fs::read(&files.certificate) {
        Ok(text) => CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>().unwrap_or_default(),
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
    judge(&subject, roots, config, environment.now, report);
    settle(&subject, before, report);
}

/// Looks at the SVID that the Workload API gives; `None` where it gives none.
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
    if CertifiedKey::from_der(svid.chain.clone(), key, &environment.provider).is_err() {
        let problem = "the private key is not the one of the certificate";
        report.fault(CHECK, name, Fault::CertificateKeyMismatch, problem);
    }
    judge(&subject, |_| own_roots.clone(), config, environment.now, report);
    settle(&subject, before, report);
}

fn parse<'a>(name: String, chain: &'a [CertificateDer<'static>], report: &mut Report) -> Option<Subject<'a>> {
    if chain.is_empty() {
        let problem = "the file holds no PEM certificate, or a broken one";
        report.fault(CHECK, name, Fault::CertificateInvalid, problem);
        return None;
    }
    match chain.iter().map(|der| Certificate::parse(der)).collect() {
        Ok(parsed) => Some(Subject { name, chain, parsed }),
        Err(error) => {
            report.fault(CHECK, name, Fault::CertificateInvalid, error.to_string());
            None
        }
    }
}

/// The key file by itself, and beside the certificates where these can be read.
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
    let Ok(key) = PrivateKeyDer::from_pem_slice(&text) else {
        report.fault(CHECK, name, Fault::CertificateKeyInvalid, "the file holds no unencrypted PEM private key");
        return;
    };
    let Some(chain) = chain else { return };
    match CertifiedKey::from_der(chain.to_vec(), key, &environment.provider) {
        Ok(_) => {}
        Err(Error::InconsistentKeys(_)) => {
            let problem =
                format!("the private key is not the one of the certificate in {}", files.certificate.display());
            report.fault(CHECK, name, Fault::CertificateKeyMismatch, problem);
        }
        Err(error) => {
            let problem = format!("TLS cannot use the private key: {error}");
            report.fault(CHECK, name, Fault::CertificateKeyInvalid, problem);
        }
    }
}

/// All that can be said of certificates that can be read.
fn judge(
    subject: &Subject<'_>,
    roots: impl Fn(&spiffe::TrustDomain) -> Option<Anchors>,
    config: &Config,
    now: Timestamp,
    report: &mut Report,
) {
    let in_time = judge_validity(subject, now, report);
    let ordered = judge_order(subject, report);
    judge_identity(subject, roots, now, in_time && ordered, report);
    judge_names(subject, config, report);
}

fn settle(subject: &Subject<'_>, before: usize, report: &mut Report) {
    if report.len() == before
        && let Some(leaf) = subject.parsed.first()
    {
        let seen = format!("valid until {}, with its key, and certificates in order", moment(leaf.not_after()));
        report.ok(CHECK, subject.name.clone(), seen);
    }
}

/// Says whether all are within their time.
fn judge_validity(subject: &Subject<'_>, now: Timestamp, report: &mut Report) -> bool {
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

/// Says whether each certificate is followed by its issuer, or by none.
fn judge_order(subject: &Subject<'_>, report: &mut Report) -> bool {
    let names = subject.chain.iter().filter_map(|der| {
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

/// The rules of X509-SVID for one that has a SPIFFE ID, and its path to the bundle of its own trust domain where that is known.
fn judge_identity(
    subject: &Subject<'_>,
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
            let problem = "its extendedKeyUsage does not let it serve: it lacks serverAuth";
            report.fault(CHECK, subject.name.clone(), Fault::CertificateKeyUsage, problem);
        }
        return;
    }
    let trust_domain = uris.iter().find_map(|uri| parse_spiffe_id(uri)).map(|id| id.trust_domain().clone());
    let known = trust_domain.as_ref().and_then(roots);
    // At a moment of its own validity: that it has expired is said already.
    let at = now.clamp(leaf.not_before(), leaf.not_after().max(leaf.not_before()));
    let proven = known.clone().unwrap_or_default().prove_server(subject.chain, at);
    let (fault, problem) = match proven {
        // Without the bundle there is nothing to hold it against; of one out of time or out of order enough is said.
        Err(Unproven::NoPath) if known.is_none() || !whole => return,
        Ok(_) => return,
        Err(Unproven::SeveralUris) => {
            let problem = format!("it has {} URI SANs where one with a SPIFFE ID has exactly one", uris.len());
            (Fault::CertificateSeveralUris, problem)
        }
        Err(Unproven::InvalidSpiffeId) => {
            (Fault::CertificateSpiffeIdInvalid, "its URI SAN is not the SPIFFE ID of a workload".to_owned())
        }
        Err(error @ (Unproven::SigningCertificate | Unproven::KeyUsage | Unproven::NamesNotCritical)) => {
            (Fault::CertificateKeyUsage, error.to_string())
        }
        Err(Unproven::NoPath) => {
            let problem =
                "there is no path from it, through the certificates that follow it, to the bundle of its trust domain";
            (Fault::CertificateChainIncomplete, problem.to_owned())
        }
        Err(error) => (Fault::CertificateInvalid, error.to_string()),
    };
    report.fault(CHECK, subject.name.clone(), fault, problem);
}

/// Whether it names the hosts under which clients come.
fn judge_names(subject: &Subject<'_>, config: &Config, report: &mut Report) {
    let (Some(leaf), Some(der)) = (subject.parsed.first(), subject.chain.first()) else { return };
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
        let problem =
            format!("it does not bear the name {mtls}, under which clients come ({})", config.policy.mtls_url);
        report.fault(CHECK, subject.name.clone(), fault, problem);
    } else if !covers(&issuer) {
        let problem = format!("it does not bear the name {issuer} of the issuer ({})", config.policy.issuer);
        report.fault(CHECK, subject.name.clone(), Fault::CertificateIssuerNotNamed, problem);
    }
}
