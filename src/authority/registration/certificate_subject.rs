//! The one name that a `tls_client_auth` client's certificate must bear (RFC 8705 section 2.1.2). Names are compared within
//! their own type only.

use std::net::IpAddr;

use crate::authority::identity::CertificateNames;
use crate::authority::identity::DistinguishedName;
use crate::authority::identity::is_spiffe_uri;
use crate::authority::identity::parse_spiffe_id;
use crate::authority::records::InvalidMetadata;
use crate::authority::registration::metadata::ClientMetadata;
use crate::authority::registration::metadata::invalid;

/// A name in the form in which two of a type are equal exactly when they are the same name.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum CertificateSubject {
    /// The subject, compared by distinguishedNameMatch (RFC 4517 section 4.2.15).
    Dn(DistinguishedName),
    /// A dNSName, in lower case. Wildcards in a certificate are not names of clients.
    Dns(String),
    /// A uniformResourceIdentifier, byte by byte.
    Uri(String),
    /// An iPAddress, compared in binary.
    Ip(IpAddr),
    /// An rfc822Name, its host in lower case.
    Email(String),
}

impl CertificateSubject {
    /// The subject fields that are set, with their values.
    pub(in crate::authority) fn registered_in(metadata: &ClientMetadata) -> Vec<(&'static str, String)> {
        let fields = [
            ("tls_client_auth_subject_dn", &metadata.tls_client_auth_subject_dn),
            ("tls_client_auth_san_dns", &metadata.tls_client_auth_san_dns),
            ("tls_client_auth_san_uri", &metadata.tls_client_auth_san_uri),
            ("tls_client_auth_san_ip", &metadata.tls_client_auth_san_ip),
            ("tls_client_auth_san_email", &metadata.tls_client_auth_san_email),
        ];
        fields.into_iter().filter_map(|(field, value)| value.clone().map(|value| (field, value))).collect()
    }

    /// Reads the value of one of the five fields.
    pub(in crate::authority) fn parse(field: &'static str, text: &str) -> Result<Self, InvalidMetadata> {
        let subject = match field {
            "tls_client_auth_subject_dn" => {
                return DistinguishedName::parse(text)
                    .map(Self::Dn)
                    .map_err(|error| invalid(field, &error.to_string()));
            }
            "tls_client_auth_san_dns" => {
                Some(text).filter(|text| is_host(text)).map(|text| Self::Dns(text.to_ascii_lowercase()))
            }
            "tls_client_auth_san_uri" => is_uri(text).then(|| Self::Uri(text.to_owned())),
            "tls_client_auth_san_ip" => text.parse().ok().map(Self::Ip),
            "tls_client_auth_san_email" => email(text),
            _ => None,
        };
        subject.ok_or_else(|| {
            invalid(
                field,
                match field {
                    "tls_client_auth_san_dns" => "must be a host name without wildcards",
                    "tls_client_auth_san_uri" => "must be an absolute URI, and a well-formed SPIFFE ID if it is one",
                    "tls_client_auth_san_ip" => "must be an address in dotted decimal or RFC 5952 form",
                    _ => "must be a mail address",
                },
            )
        })
    }

    /// All the names that a certificate bears, each in its comparable form. One that has none, such as a subject with
    /// characters that RFC 4518 prohibits, equals no registered name and is left out.
    pub fn of(names: &CertificateNames) -> Vec<Self> {
        let subject = DistinguishedName::from_der(&names.subject).ok().map(Self::Dn);
        let dns = names.dns.iter().map(|name| Self::Dns(name.to_ascii_lowercase()));
        let uri = names.uri.iter().cloned().map(Self::Uri);
        let ip = names.ip.iter().copied().map(Self::Ip);
        let mail = names.email.iter().filter_map(|name| email(name));
        subject.into_iter().chain(dns).chain(uri).chain(ip).chain(mail).collect()
    }
}

/// A SPIFFE ID in another spelling than its own would never match: no certificate with one is let in.
fn is_uri(text: &str) -> bool {
    if is_spiffe_uri(text) { parse_spiffe_id(text).is_some() } else { fluent_uri::Uri::parse(text).is_ok() }
}

fn is_host(text: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    text.len() <= 253 && text.split('.').all(label)
}

/// RFC 5280 section 7.5: the local part is compared as it is, the host without regard to case.
fn email(text: &str) -> Option<CertificateSubject> {
    let (local, host) = text.rsplit_once('@')?;
    (!local.is_empty() && is_host(host))
        .then(|| CertificateSubject::Email(format!("{local}@{}", host.to_ascii_lowercase())))
}
