//! The name that the certificate of a `tls_client_auth` client must contain (RFC 8705 section 2.1.2). Names are
//! compared only with names of the same type.

use std::net::IpAddr;

use spiffe::SpiffeId;

use crate::authority::identity::CertificateNames;
use crate::authority::identity::DistinguishedName;
use crate::authority::identity::PeerIdentity;
use crate::authority::identity::Proof;
use crate::authority::identity::is_spiffe_uri;
use crate::authority::identity::parse_spiffe_id;
use crate::authority::records::InvalidMetadata;
use crate::authority::registration::metadata::ClientMetadata;
use crate::authority::registration::metadata::invalid;

/// A name in normal form: two names of one type are equal exactly when they denote the same name.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum CertificateSubject {
    /// The subject, compared with distinguishedNameMatch (RFC 4517 section 4.2.15).
    Dn(DistinguishedName),
    /// A dNSName, in lower case. A wildcard name in a certificate never identifies a client.
    Dns(String),
    /// A uniformResourceIdentifier, compared byte by byte.
    Uri(String),
    /// An iPAddress, compared in binary form.
    Ip(IpAddr),
    /// An rfc822Name, with its host in lower case.
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

    /// The place of one of the five fields.
    pub(in crate::authority) fn field<'a>(
        metadata: &'a mut ClientMetadata,
        name: &str,
    ) -> Option<&'a mut Option<String>> {
        match name {
            "tls_client_auth_subject_dn" => Some(&mut metadata.tls_client_auth_subject_dn),
            "tls_client_auth_san_dns" => Some(&mut metadata.tls_client_auth_san_dns),
            "tls_client_auth_san_uri" => Some(&mut metadata.tls_client_auth_san_uri),
            "tls_client_auth_san_ip" => Some(&mut metadata.tls_client_auth_san_ip),
            "tls_client_auth_san_email" => Some(&mut metadata.tls_client_auth_san_email),
            _ => None,
        }
    }

    /// Parses the value of one of the five fields.
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

    /// All names in a certificate, each in normal form. A name that has no normal form, such as a subject with
    /// characters that RFC 4518 prohibits, equals no registered name and is left out.
    pub fn of(names: &CertificateNames) -> Vec<Self> {
        let subject = DistinguishedName::from_der(&names.subject).ok().map(Self::Dn);
        let dns = names.dns.iter().map(|name| Self::Dns(name.to_ascii_lowercase()));
        let uri = names.uri.iter().cloned().map(Self::Uri);
        let ip = names.ip.iter().copied().map(Self::Ip);
        let mail = names.email.iter().filter_map(|name| email(name));
        subject.into_iter().chain(dns).chain(uri).chain(ip).chain(mail).collect()
    }

    /// Whether the proof of a peer covers this name in its certificate, for a registration that names this client CA.
    pub(in crate::authority) fn is_proven_by(&self, peer: &PeerIdentity, client_ca: Option<&String>) -> bool {
        match (peer.proof(), client_ca) {
            (Proof::Pki(vouching), Some(wanted)) => vouching.contains(wanted),
            (Proof::Pki(_), None) => true,
            // The only proven name of an SVID is its SPIFFE ID: its trust domain attests no DN, even if the
            // certificate has one.
            (Proof::Svid(id), None) => *self == Self::Uri(id.to_string()),
            (Proof::Svid(_), Some(_)) | (Proof::SelfSigned | Proof::Unknown, _) => false,
        }
    }

    /// The SPIFFE ID, if the name is one.
    pub fn spiffe_id(&self) -> Option<SpiffeId> {
        match self {
            Self::Uri(uri) => parse_spiffe_id(uri),
            Self::Dn(_) | Self::Dns(_) | Self::Ip(_) | Self::Email(_) => None,
        }
    }
}

/// Whether the text is a URI. A SPIFFE ID that is not in its canonical spelling is refused: it would never match,
/// because no certificate with one is accepted.
fn is_uri(text: &str) -> bool {
    if is_spiffe_uri(text) { parse_spiffe_id(text).is_some() } else { fluent_uri::Uri::parse(text).is_ok() }
}

fn is_host(text: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    text.len() <= 253 && text.split('.').all(label)
}

/// Parses a mail address. RFC 5280 section 7.5: the local part is compared exactly, the host without regard to case.
fn email(text: &str) -> Option<CertificateSubject> {
    let (local, host) = text.rsplit_once('@')?;
    (!local.is_empty() && is_host(host))
        .then(|| CertificateSubject::Email(format!("{local}@{}", host.to_ascii_lowercase())))
}
