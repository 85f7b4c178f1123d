//! The files with roots: bundles, client CAs, and the CAs of the endpoints that the server contacts.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::authority::clock::Timestamp;
use crate::authority::identity::Certificate;
use crate::authority::identity::CertificateThumbprint;
use crate::authority::json::without_byte_order_mark;
use crate::authority::trust::Anchors;
use crate::cli::doctor::fault::Fault;
use crate::cli::doctor::report::Report;
use crate::cli::doctor::validity::Validity;
use crate::cli::moment::moment;
use crate::config::Config;
use crate::trust_sources;
use crate::trust_sources::bundle_endpoint::EndpointRoots;
use crate::trust_sources::bundle_endpoint::Profile;

const BUNDLE: &str = "bundle";
const CLIENT_CA: &str = "client_ca";
const CA_FILE: &str = "ca_file";

/// How long before its end a root counts as expiring soon. Changing a root takes a while.
const NOTICE: Duration = Duration::from_hours(30 * 24);

/// Checks all files with roots.
pub(in crate::cli::doctor) fn check(config: &Config, now: Timestamp, report: &mut Report) {
    let mut owners: HashMap<CertificateThumbprint, String> = HashMap::new();
    for (trust_domain, path) in &config.trust.bundles {
        let subject = format!("{trust_domain} ({})", path.display());
        let roots = check_file(BUNDLE, &subject, path, now, report);
        for root in roots {
            let owner = owners.entry(root).or_insert_with(|| trust_domain.to_string());
            if owner.as_str() != trust_domain.as_str() {
                let problem = format!("it shares a root with the trust domain {owner}");
                report.fault(BUNDLE, subject.clone(), Fault::RootShared, problem);
            }
        }
    }
    for (name, path) in &config.trust.client_cas {
        let subject = format!("{name} ({})", path.display());
        check_file(CLIENT_CA, &subject, path, now, report);
    }
    for endpoint in &config.federation {
        let path = match &endpoint.profile {
            Profile::HttpsWeb { ca: Some(ca) } => ca,
            Profile::HttpsSpiffe { roots: EndpointRoots::Fetched(file) | EndpointRoots::File(file), .. } => file,
            Profile::HttpsWeb { ca: None } | Profile::HttpsSpiffe { roots: EndpointRoots::BundleOf(_), .. } => continue,
        };
        let subject = format!("{} ({})", endpoint.trust_domain, path.display());
        if is_document(path) {
            check_document(&subject, path, report);
        } else {
            check_file(CA_FILE, &subject, path, now, report);
        }
    }
    if let (Some(path), false) = (&config.jwks_uri.ca, config.policy.jwks_uri.allowed_hosts.is_empty()) {
        check_file(CA_FILE, &format!("jwks_uri ({})", path.display()), path, now, report);
    }
}

/// Checks one PEM file. Returns the thumbprints of its certificates.
fn check_file(
    check: &'static str,
    subject: &str,
    path: &Path,
    now: Timestamp,
    report: &mut Report,
) -> Vec<CertificateThumbprint> {
    let before = report.len();
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) => {
            report.fault(check, subject, Fault::RootsUnreadable, format!("cannot read the file: {error}"));
            return Vec::new();
        }
    };
    if text.trim_ascii().is_empty() {
        report.fault(check, subject, Fault::RootsEmpty, "the file is empty");
        return Vec::new();
    }
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(without_byte_order_mark(&text)).collect();
    let Some(certificates) = certificates.ok().filter(|certificates| !certificates.is_empty()) else {
        let problem = "the file holds no PEM certificate, or a broken one";
        report.fault(check, subject, Fault::RootsInvalid, problem);
        return Vec::new();
    };
    match Anchors::new(&certificates) {
        Ok(anchors) => {
            for refused in anchors.refused() {
                report.fault(check, subject, Fault::RootsInvalid, format!("{refused}, and is not used"));
            }
        }
        Err(error) => {
            report.fault(check, subject, Fault::RootsInvalid, format!("a certificate in it is {error}"));
            return Vec::new();
        }
    }
    let roots: Vec<_> = certificates.iter().filter_map(|der| Certificate::parse(der).ok()).collect();
    check_roots(check, subject, &roots, now, report);
    if report.len() == before {
        let last = roots.iter().map(Certificate::not_after).max().unwrap_or_default();
        let count = if roots.len() == 1 { "1 root".to_owned() } else { format!("{} roots", roots.len()) };
        report.ok(check, subject, format!("{count}, the last of them valid until {}", moment(last)));
    }
    roots.iter().map(Certificate::thumbprint).collect()
}

fn check_roots(check: &'static str, subject: &str, roots: &[Certificate], now: Timestamp, report: &mut Report) {
    let expired = |root: &Certificate| Validity::of(root, now, NOTICE) == Validity::Expired;
    let all_expired = roots.iter().all(expired);
    for (place, root) in roots.iter().enumerate() {
        let which = format!("root number {}", place + 1);
        let (start, end) = (moment(root.not_before()), moment(root.not_after()));
        if roots.iter().take(place).any(|earlier| earlier.thumbprint() == root.thumbprint()) {
            report.fault(check, subject, Fault::RootDuplicate, format!("{which} is in the file more than once"));
            continue;
        }
        let (fault, problem) = match Validity::of(root, now, NOTICE) {
            Validity::Valid => continue,
            Validity::ExpiresSoon => (Fault::RootExpiresSoon, format!("{which} expires at {end}")),
            Validity::Expired if all_expired => {
                (Fault::RootExpired, format!("{which} expired at {end}, and no other is valid"))
            }
            Validity::Expired => (Fault::RootExpiredLeft, format!("{which} expired at {end}")),
            Validity::NotYetValid => (Fault::RootNotYetValid, format!("{which} is valid from {start} on")),
        };
        report.fault(check, subject, fault, problem);
    }
}

fn is_document(path: &Path) -> bool {
    fs::read(path).is_ok_and(|text| without_byte_order_mark(&text).trim_ascii_start().first() == Some(&b'{'))
}

fn check_document(subject: &str, path: &Path, report: &mut Report) {
    match trust_sources::files::roots(path) {
        Ok(_) => report.ok(CA_FILE, subject, "a bundle document with roots"),
        Err(error) => report.fault(CA_FILE, subject, Fault::RootsInvalid, error.to_string()),
    }
}
