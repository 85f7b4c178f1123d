//! What a valid registration has that will not work.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::Value;

use crate::authority::clock::Timestamp;
use crate::authority::identity::Certificate;
use crate::authority::identity::DistinguishedName;
use crate::authority::registration::ClientMetadata;
use crate::cli::moment::moment;

/// A registration that is accepted, but under which the client will probably get no token.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::cli) enum ClientWarning {
    /// A registered certificate has expired at this time.
    CertificateExpired(Timestamp),
    /// The subject seems to be in the order of `openssl x509 -subject`. This is the other order.
    SubjectOrder(String),
}

impl ClientWarning {
    /// The warnings about a registration.
    pub(in crate::cli) fn about(metadata: &ClientMetadata, now: Timestamp) -> Vec<Self> {
        let ends = certificates(metadata).into_iter().map(|certificate| certificate.not_after());
        let expired = ends.filter(|end| now > *end).map(Self::CertificateExpired);
        let subject = metadata.tls_client_auth_subject_dn.as_deref();
        let order = subject.filter(|text| DistinguishedName::parse(text).is_ok_and(|name| name.is_probably_reversed()));
        expired.chain(order.map(|text| Self::SubjectOrder(DistinguishedName::in_reverse(text)))).collect()
    }
}

impl fmt::Display for ClientWarning {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CertificateExpired(at) => write!(formatter, "a certificate of the client expired at {}", moment(*at)),
            Self::SubjectOrder(other) => write!(
                formatter,
                "tls_client_auth_subject_dn seems to be in the order of `openssl x509 -subject`, and would match no \
                 certificate: in RFC 4514 order it is '{other}' (`openssl x509 -subject -nameopt RFC2253`)"
            ),
        }
    }
}

/// The registered certificates that can be parsed.
fn certificates(metadata: &ClientMetadata) -> Vec<Certificate> {
    let keys = metadata.jwks.as_ref().and_then(|jwks| jwks.get("keys")).and_then(Value::as_array);
    let published = keys.into_iter().flatten().filter_map(|jwk| {
        let text = jwk.get("x5c")?.get(0)?.as_str()?;
        STANDARD.decode(text).ok()
    });
    let pem = metadata.certificate_pem.as_deref().unwrap_or_default();
    let written = CertificateDer::pem_slice_iter(pem.as_bytes()).filter_map(|found| Some(found.ok()?.to_vec()));
    published.chain(written).filter_map(|der| Certificate::parse(&der).ok()).collect()
}

#[cfg(test)]
mod tests {
    use rcgen::CertificateParams;
    use rcgen::KeyPair;
    use rcgen::date_time_ymd;

    use super::*;

    #[test]
    fn an_expired_certificate_is_named_with_its_end_in_either_form() {
        let mut params = CertificateParams::default();
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
        let issued = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let jwks = serde_json::json!({"keys": [{"x5c": [STANDARD.encode(issued.der())]}, {"kty": "EC"}]});
        let end = Certificate::parse(issued.der()).unwrap().not_after();
        for metadata in [
            ClientMetadata { jwks: Some(jwks), ..ClientMetadata::default() },
            ClientMetadata { certificate_pem: Some(issued.pem()), ..ClientMetadata::default() },
        ] {
            assert_eq!(ClientWarning::about(&metadata, end), []);
            let after = Timestamp(end.0 + 1);
            let [expired] = ClientWarning::about(&metadata, after).try_into().unwrap();
            assert_eq!(expired.to_string(), "a certificate of the client expired at 2021-01-01T00:00:00Z");
        }
    }

    #[test]
    fn a_subject_in_the_order_of_openssl_is_named_with_the_other_order() {
        let about = |subject: &str| {
            let subject = Some(subject.to_owned());
            let metadata = ClientMetadata { tls_client_auth_subject_dn: subject, ..ClientMetadata::default() };
            ClientWarning::about(&metadata, Timestamp(0))
        };
        for (written, other) in [
            ("C = DE, O = Example, CN = checkout", "CN = checkout,O = Example,C = DE"),
            (r"C=DE,O=Example\, Inc.,CN=a\ ", r"CN=a\ ,O=Example\, Inc.,C=DE"),
            ("DC=net,DC=example,UID=a", "UID=a,DC=example,DC=net"),
        ] {
            assert_eq!(about(written), [ClientWarning::SubjectOrder(other.to_owned())], "{written}");
        }
        for good in ["CN=checkout,O=Example,C=DE", "CN=checkout", "O=Example", "OU=a,OU=b", "C=DE,O=Example", "CN=a,C"]
        {
            assert_eq!(about(good), [], "{good}");
        }
    }
}
