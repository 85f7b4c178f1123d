//! One certificate of a path, or an anchor: all that path validation looks at.

use std::collections::BTreeSet;
use std::collections::HashSet;

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;
use x509_parser::extensions::X509Extension;
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::X509Version;

use crate::authority::clock::Timestamp;
use crate::authority::trust::extension_oid::ExtensionOid;
use crate::authority::trust::path::der;
use crate::authority::trust::path::der::Malformed;
use crate::authority::trust::path::name::Name;
use crate::authority::trust::path::names::GeneralName;
use crate::authority::trust::path::names::NameConstraints;
use crate::authority::trust::path::names::URI;
use crate::authority::trust::path::names::Unsupported;
use crate::authority::trust::path::policies::Policies;
use crate::authority::trust::path::signature::PublicKey;
use crate::authority::trust::path::signature::Signature;

/// The extensions of RFC 5280 section 4.2 that are parsed here, as the DER content of their identifiers.
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 17];
const NAME_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 30];
/// A parse error in one of these makes the certificate unusable.
const PROCESSED: [&[u8]; 8] = [
    &[0x55, 0x1d, 15],
    SUBJECT_ALT_NAME,
    &[0x55, 0x1d, 19],
    NAME_CONSTRAINTS,
    &[0x55, 0x1d, 32],
    &[0x55, 0x1d, 33],
    &[0x55, 0x1d, 36],
    &[0x55, 0x1d, 37],
];

const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 3;

/// The purposes in extendedKeyUsage. anyExtendedKeyUsage is none of them (section 4.2.1.12 leaves that open).
#[derive(Clone, Copy, Debug)]
pub(super) struct Purposes {
    pub(super) client_auth: bool,
    pub(super) server_auth: bool,
}

/// A certificate, parsed for path validation.
#[derive(Debug)]
pub(super) struct PathCertificate {
    signed: Box<[u8]>,
    signature: Signature,
    pub(super) issuer: Name,
    pub(super) subject: Name,
    pub(super) key: PublicKey,
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
    pub(super) is_version_3: bool,
    /// basicConstraints cA; `None` where the extension is missing.
    pub(super) is_ca: Option<bool>,
    pub(super) path_length: Option<u32>,
    /// keyUsage keyCertSign; `None` where the extension is missing.
    pub(super) key_cert_sign: Option<bool>,
    /// `None` where extendedKeyUsage is missing.
    pub(super) purposes: Option<Purposes>,
    names: Vec<GeneralName>,
    pub(super) constraints: Result<NameConstraints, Unsupported>,
    pub(super) policies: Policies,
    /// The first critical extension that is not processed.
    pub(super) critical: Option<ExtensionOid>,
    subject_key: Option<Box<[u8]>>,
    authority_key: Option<Box<[u8]>>,
}

impl PathCertificate {
    /// Parses a certificate. Beyond what the parser refuses, it must name one signature algorithm in both places
    /// (section 4.1.1.2), and have each extension once (section 4.2).
    pub(super) fn parse(der: &[u8]) -> Result<Self, Malformed> {
        let (rest, parsed) = X509Certificate::from_der(der).map_err(|_| Malformed)?;
        if !rest.is_empty() {
            return Err(Malformed);
        }
        let mut outer = der::only(der)?;
        let mut tbs = der::first(&mut outer)?.content;
        let algorithm = der::first(&mut outer)?.content;
        // The version has a tag of its own, and may be missing.
        let first = der::first(&mut tbs)?;
        if first.context.is_some() {
            der::first(&mut tbs)?;
        }
        if *der::first(&mut tbs)?.content != *algorithm {
            return Err(Malformed);
        }
        // All other bytes are signed. With these fixed, only the issuer can make another certificate of one.
        let signed: &[u8] = parsed.tbs_certificate.as_ref();
        let bits = &parsed.signature_value.data;
        let mut rest = der::header(SEQUENCE, algorithm.len());
        rest.extend_from_slice(algorithm);
        rest.extend(der::header(BIT_STRING, bits.len() + 1));
        rest.push(0);
        rest.extend_from_slice(bits);
        let start = der::header(SEQUENCE, signed.len() + rest.len());
        if der.strip_prefix(&*start).and_then(|der| der.strip_prefix(signed)) != Some(&rest) {
            return Err(Malformed);
        }
        let seconds = |time: i64| Timestamp(u64::try_from(time).unwrap_or(0));
        let mut certificate = Self {
            signed: signed.into(),
            signature: Signature::new(algorithm, &parsed.signature_value.data, parsed.signature_value.unused_bits)?,
            issuer: Name::new(parsed.issuer().as_raw()),
            subject: Name::new(parsed.subject().as_raw()),
            key: PublicKey::new(parsed.public_key())?,
            not_before: seconds(parsed.validity().not_before.timestamp()),
            not_after: seconds(parsed.validity().not_after.timestamp()),
            is_version_3: parsed.version() == X509Version::V3,
            is_ca: None,
            path_length: None,
            key_cert_sign: None,
            purposes: None,
            names: Vec::new(),
            constraints: Ok(NameConstraints::default()),
            policies: Policies::default(),
            critical: None,
            subject_key: None,
            authority_key: None,
        };
        let mut seen = HashSet::new();
        for extension in parsed.extensions() {
            if !seen.insert(extension.oid.as_bytes()) {
                return Err(Malformed);
            }
            certificate.read(extension)?;
        }
        Ok(certificate)
    }

    fn read(&mut self, extension: &X509Extension<'_>) -> Result<(), Malformed> {
        match extension.oid.as_bytes() {
            SUBJECT_ALT_NAME => {
                for name in der::all(der::only(extension.value)?)? {
                    let tag = name.context.ok_or(Malformed)?;
                    self.names.push(GeneralName { tag, content: name.content.into() });
                }
                return Ok(());
            }
            NAME_CONSTRAINTS => {
                self.constraints = NameConstraints::parse(extension.value, extension.critical);
                return Ok(());
            }
            _ => {}
        }
        let policy = |oid: &x509_parser::asn1_rs::Oid<'_>| Box::from(oid.as_bytes());
        match extension.parsed_extension() {
            ParsedExtension::BasicConstraints(found) => {
                self.is_ca = Some(found.ca);
                self.path_length = found.path_len_constraint;
            }
            ParsedExtension::KeyUsage(found) => self.key_cert_sign = Some(found.key_cert_sign()),
            ParsedExtension::ExtendedKeyUsage(found) => {
                self.purposes = Some(Purposes { client_auth: found.client_auth, server_auth: found.server_auth });
            }
            ParsedExtension::CertificatePolicies(found) => {
                let asserted: BTreeSet<_> = found.iter().map(|information| policy(&information.policy_id)).collect();
                self.policies.asserted = Some(asserted);
            }
            ParsedExtension::PolicyMappings(found) => {
                let pairs = found.mappings.iter();
                self.policies.mappings = pairs
                    .map(|mapping| (policy(&mapping.issuer_domain_policy), policy(&mapping.subject_domain_policy)))
                    .collect();
            }
            ParsedExtension::PolicyConstraints(found) => {
                self.policies.require_explicit = found.require_explicit_policy;
                self.policies.inhibit_mapping = found.inhibit_policy_mapping;
            }
            ParsedExtension::InhibitAnyPolicy(found) => self.policies.inhibit_any = Some(found.skip_certs),
            // Names of CRLs. Certificates are revoked at this server, not by CRLs.
            ParsedExtension::CRLDistributionPoints(_) => {}
            ParsedExtension::SubjectKeyIdentifier(found) if !extension.critical => {
                self.subject_key = Some(found.0.into());
            }
            ParsedExtension::AuthorityKeyIdentifier(found) if !extension.critical => {
                self.authority_key = found.key_identifier.as_ref().map(|identifier| identifier.0.into());
            }
            ParsedExtension::ParseError { .. } if PROCESSED.contains(&extension.oid.as_bytes()) => {
                return Err(Malformed);
            }
            ParsedExtension::ParseError { .. }
            | ParsedExtension::UnsupportedExtension { .. }
            | ParsedExtension::AuthorityKeyIdentifier(_)
            | ParsedExtension::SubjectKeyIdentifier(_)
            | ParsedExtension::SubjectAlternativeName(_)
            | ParsedExtension::IssuerAlternativeName(_)
            | ParsedExtension::NameConstraints(_)
            | ParsedExtension::AuthorityInfoAccess(_)
            | ParsedExtension::SubjectInfoAccess(_)
            | ParsedExtension::NSCertType(_)
            | ParsedExtension::NsCertComment(_)
            | ParsedExtension::IssuingDistributionPoint(_)
            | ParsedExtension::CRLNumber(_)
            | ParsedExtension::ReasonCode(_)
            | ParsedExtension::InvalidityDate(_)
            | ParsedExtension::SCT(_)
            | ParsedExtension::Unparsed => {
                if extension.critical && self.critical.is_none() {
                    self.critical = Some(ExtensionOid::from_der_content(extension.oid.as_bytes()));
                }
            }
        }
        Ok(())
    }

    /// The subject alternative names.
    pub(super) fn names(&self) -> &[GeneralName] {
        &self.names
    }

    /// Whether its issuer and its subject have the same name (section 3.2).
    pub(super) fn is_self_issued(&self) -> bool {
        self.issuer.matches(&self.subject)
    }

    /// Whether it has a SPIFFE ID with a path. `spiffe://domain/` has none: the SPIFFE standards' own examples of CA
    /// certificates are written so.
    pub(super) fn has_spiffe_path(&self) -> bool {
        let uris = self.names.iter().filter(|name| name.tag == URI);
        uris.filter_map(|uri| {
            let (scheme, rest) = uri.content.split_at_checked(b"spiffe://".len())?;
            scheme.eq_ignore_ascii_case(b"spiffe://").then_some(rest)
        })
        .any(|rest| rest.iter().skip_while(|byte| **byte != b'/').count() > 1)
    }

    /// Whether both have a key identifier, and it is the same (section 4.2.1.1).
    pub(super) fn names_key_of(&self, issuer: &Self) -> bool {
        self.authority_key.is_some() && self.authority_key == issuer.subject_key
    }

    /// Whether `issuer` may have signed this, as far as that shows without its signature: it has the issuer's name, and
    /// the key identifiers, where both have one, are the same. openssl asks the same of an issuer.
    pub(super) fn may_be_signed_by(&self, issuer: &Self) -> bool {
        let is_another_key =
            matches!((&self.authority_key, &issuer.subject_key), (Some(wanted), Some(own)) if wanted != own);
        !is_another_key && issuer.subject.matches(&self.issuer)
    }

    /// The bytes that are signed, and the signature.
    pub(super) fn signed(&self) -> (&[u8], &Signature) {
        (&self.signed, &self.signature)
    }
}
