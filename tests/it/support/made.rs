//! Certificates written field by field, for chains that certificate libraries refuse to make.

use std::rc::Rc;

use lanyard::authority::clock::Timestamp;
use rcgen::KeyPair;
use rcgen::PublicKeyData as _;
use rcgen::SigningKey as _;
use rcgen::date_time_ymd;
use rustls_pki_types::CertificateDer;

use crate::support::NOW;
use crate::support::der::element;
use crate::support::der::sequence;

/// `id-ce` (RFC 5280 section 4.2.1), of which each extension is one number more.
const CE: [u8; 2] = [0x55, 0x1d];

pub const DIGITAL_SIGNATURE: u8 = 0x80;
pub const KEY_CERT_SIGN: u8 = 0x04;
pub const CRL_SIGN: u8 = 0x02;

/// The tags of `GeneralName`.
pub const EMAIL: u8 = 0x81;
pub const DNS: u8 = 0x82;
pub const DIRECTORY: u8 = 0xa4;
pub const URI: u8 = 0x86;
pub const IP: u8 = 0x87;

/// clientAuth and serverAuth as the last byte of their identifiers.
pub const CLIENT_AUTH: u8 = 2;
pub const SERVER_AUTH: u8 = 1;

/// An extension.
#[derive(Clone, Debug)]
pub struct Extension {
    pub oid: Vec<u8>,
    pub critical: bool,
    pub value: Vec<u8>,
}

impl Extension {
    fn new(number: u8, critical: bool, value: Vec<u8>) -> Self {
        Self { oid: [CE[0], CE[1], number].to_vec(), critical, value }
    }

    /// An extension that no implementation knows.
    pub fn unknown(critical: bool) -> Self {
        Self { oid: vec![0x2a, 3, 4, 5], critical, value: vec![5, 0] }
    }

    pub fn basic_constraints(ca: bool, path_length: Option<u8>) -> Self {
        let mut members = Vec::new();
        if ca {
            members.push(vec![1, 1, 0xff]);
        }
        members.extend(path_length.map(|length| vec![2, 1, length]));
        Self::new(19, true, sequence(&members))
    }

    pub fn key_usage(bits: u8) -> Self {
        Self::new(15, true, vec![3, 2, u8::try_from(bits.trailing_zeros()).unwrap(), bits])
    }

    pub fn extended_key_usage(purposes: &[u8]) -> Self {
        let oid = |purpose: &u8| element(6, &[0x2b, 6, 1, 5, 5, 7, 3, *purpose]);
        Self::new(37, false, sequence(&purposes.iter().map(oid).collect::<Vec<_>>()))
    }

    pub fn names(names: &[(u8, &[u8])]) -> Self {
        Self::new(17, true, sequence(&names.iter().map(|(tag, content)| element(*tag, content)).collect::<Vec<_>>()))
    }

    pub fn name_constraints(permitted: &[(u8, &[u8])], excluded: &[(u8, &[u8])]) -> Self {
        let subtrees = |tag: u8, subtrees: &[(u8, &[u8])]| {
            let list: Vec<u8> = subtrees.iter().flat_map(|(form, base)| sequence(&[element(*form, base)])).collect();
            (!list.is_empty()).then(|| element(tag, &list))
        };
        let parts: Vec<_> = [subtrees(0xa0, permitted), subtrees(0xa1, excluded)].into_iter().flatten().collect();
        Self::new(30, true, sequence(&parts))
    }

    /// Policies as the last byte of an identifier; 0 is anyPolicy.
    pub fn policies(critical: bool, policies: &[u8]) -> Self {
        let information: Vec<_> = policies.iter().map(|one| sequence(&[policy(*one)])).collect();
        Self::new(32, critical, sequence(&information))
    }

    pub fn policy_mappings(pairs: &[(u8, u8)]) -> Self {
        let pairs: Vec<_> = pairs.iter().map(|(from, to)| sequence(&[policy(*from), policy(*to)])).collect();
        Self::new(33, true, sequence(&pairs))
    }

    pub fn policy_constraints(require_explicit: Option<u8>, inhibit_mapping: Option<u8>) -> Self {
        let parts = [(0x80, require_explicit), (0x81, inhibit_mapping)];
        let parts: Vec<_> = parts.iter().filter_map(|(tag, skip)| Some(element(*tag, &[(*skip)?]))).collect();
        Self::new(36, true, sequence(&parts))
    }

    pub fn inhibit_any_policy(skip: u8) -> Self {
        Self::new(54, true, vec![2, 1, skip])
    }

    pub fn subject_key(identifier: &[u8]) -> Self {
        Self::new(14, false, element(4, identifier))
    }

    pub fn authority_key(identifier: &[u8]) -> Self {
        Self::new(35, false, sequence(&[element(0x80, identifier)]))
    }

    /// The number after `id-ce`.
    pub fn number(&self) -> Option<u8> {
        self.oid.strip_prefix(&CE).and_then(|rest| rest.first().copied())
    }
}

fn policy(last: u8) -> Vec<u8> {
    if last == 0 { element(6, &[0x55, 0x1d, 0x20, 0]) } else { element(6, &[0x2a, 3, 9, last]) }
}

/// An X.501 Name with one common name, as a `UTF8String`.
pub fn common_name(text: &str) -> Vec<u8> {
    name(&[(3, 0x0c, text)])
}

/// An X.501 Name: for each relative name the last byte of the attribute's identifier, the tag and the text.
pub fn name(parts: &[(u8, u8, &str)]) -> Vec<u8> {
    let relative = |(kind, tag, text): &(u8, u8, &str)| {
        let pair = sequence(&[element(6, &[0x55, 4, *kind]), element(*tag, text.as_bytes())]);
        element(0x31, &pair)
    };
    sequence(&parts.iter().map(relative).collect::<Vec<_>>())
}

/// A certificate to be made.
#[derive(Clone)]
pub struct Made {
    pub subject: Vec<u8>,
    /// Another issuer than the subject of the one that signs.
    pub issuer: Option<Vec<u8>>,
    pub key: Rc<KeyPair>,
    pub version: u8,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
    pub extensions: Vec<Extension>,
    /// The signature algorithm within what is signed, where it differs.
    pub inner_algorithm: Option<Vec<u8>>,
    /// Another signature algorithm than the key's, in both places.
    pub algorithm: Option<Vec<u8>>,
    /// Another `SubjectPublicKeyInfo` than the key's.
    pub public_key: Option<Vec<u8>>,
    pub broken_signature: bool,
}

impl Made {
    /// A CA.
    pub fn ca(subject: &str, key: &Rc<KeyPair>) -> Self {
        let extensions = vec![Extension::basic_constraints(true, None), Extension::key_usage(KEY_CERT_SIGN | CRL_SIGN)];
        Self::with(common_name(subject), key, extensions)
    }

    /// A leaf with these alternative names, for clients and servers.
    pub fn leaf(subject: &str, key: &Rc<KeyPair>, names: &[(u8, &[u8])]) -> Self {
        let mut extensions = vec![
            Extension::basic_constraints(false, None),
            Extension::key_usage(DIGITAL_SIGNATURE),
            Extension::extended_key_usage(&[CLIENT_AUTH, SERVER_AUTH]),
        ];
        if !names.is_empty() {
            extensions.push(Extension::names(names));
        }
        Self::with(common_name(subject), key, extensions)
    }

    fn with(subject: Vec<u8>, key: &Rc<KeyPair>, extensions: Vec<Extension>) -> Self {
        Self {
            subject,
            issuer: None,
            key: Rc::clone(key),
            version: 3,
            not_before: Timestamp(NOW.0 - 3600),
            not_after: Timestamp(NOW.0 + 3600),
            extensions,
            inner_algorithm: None,
            algorithm: None,
            public_key: None,
            broken_signature: false,
        }
    }

    /// Replaces the extension with the same identifier, or adds it.
    pub fn put(&mut self, extension: Extension) {
        self.extensions.retain(|present| present.oid != extension.oid);
        self.extensions.push(extension);
    }

    /// Removes an extension by its number after `id-ce`.
    pub fn remove(&mut self, number: u8) {
        self.extensions.retain(|present| present.number() != Some(number));
    }

    /// Makes it a certificate of version 1, without extensions.
    pub fn version_1(&mut self) {
        self.version = 1;
        self.extensions.clear();
    }

    /// The certificate, signed by another one's key in its name.
    pub fn signed_by(&self, issuer: &Self) -> CertificateDer<'static> {
        let algorithm = self.algorithm.clone().unwrap_or_else(|| algorithm(&issuer.key));
        let extensions: Vec<_> = self
            .extensions
            .iter()
            .map(|one| {
                let mut parts = vec![element(6, &one.oid)];
                if one.critical {
                    parts.push(vec![1, 1, 0xff]);
                }
                parts.push(element(4, &one.value));
                sequence(&parts)
            })
            .collect();
        let mut fields = Vec::new();
        if self.version > 1 {
            fields.push(element(0xa0, &[2, 1, self.version - 1]));
        }
        fields.extend([
            vec![2, 4, 0x11, 0x22, 0x33, 0x44],
            self.inner_algorithm.clone().unwrap_or_else(|| algorithm.clone()),
            self.issuer.clone().unwrap_or_else(|| issuer.subject.clone()),
            sequence(&[time(self.not_before), time(self.not_after)]),
            self.subject.clone(),
            self.public_key.clone().unwrap_or_else(|| self.key.subject_public_key_info()),
        ]);
        if !extensions.is_empty() {
            fields.push(element(0xa3, &sequence(&extensions)));
        }
        let signed = sequence(&fields);
        let mut signature = issuer.key.sign(&signed).unwrap();
        if self.broken_signature {
            let last = signature.len() - 1;
            signature[last] ^= 1;
        }
        sequence(&[signed, algorithm, element(3, &[vec![0], signature].concat())]).into()
    }
}

/// The `AlgorithmIdentifier` of a key's signatures.
pub fn algorithm(key: &KeyPair) -> Vec<u8> {
    const EC: [u8; 7] = [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3];
    let ecdsa = |last: u8| sequence(&[element(6, &[&EC[..], &[last]].concat())]);
    if key.is_compatible(&rcgen::PKCS_ECDSA_P256_SHA256) {
        ecdsa(2)
    } else if key.is_compatible(&rcgen::PKCS_ECDSA_P384_SHA384) {
        ecdsa(3)
    } else if key.is_compatible(&rcgen::PKCS_ED25519) {
        sequence(&[element(6, &[0x2b, 0x65, 0x70])])
    } else {
        let rsa = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 0x0b];
        sequence(&[element(6, &rsa), vec![5, 0]])
    }
}

/// `GeneralizedTime` from 2050 on, and `UTCTime` before (RFC 5280 section 4.1.2.5).
fn time(at: Timestamp) -> Vec<u8> {
    let at = date_time_ymd(1970, 1, 1) + std::time::Duration::from_secs(at.0);
    let rest =
        format!("{:02}{:02}{:02}{:02}{:02}Z", u8::from(at.month()), at.day(), at.hour(), at.minute(), at.second());
    if at.year() < 2050 {
        element(23, format!("{:02}{rest}", at.year() % 100).as_bytes())
    } else {
        element(24, format!("{:04}{rest}", at.year()).as_bytes())
    }
}
