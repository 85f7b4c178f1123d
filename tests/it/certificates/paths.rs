//! Paths from a certificate to its anchors: every certificate of a path keeps the rules of RFC 5280 section 6 and of
//! X509-SVID. Each chain that is refused is a good one but for one thing.

use std::rc::Rc;
use std::slice;

use lanyard::authority::clock::Timestamp;
use lanyard::authority::identity::PeerIdentity;
use lanyard::authority::trust::Anchors;
use lanyard::authority::trust::InvalidAnchor;
use lanyard::authority::trust::TrustBundles;
use lanyard::authority::trust::Unproven;
use rcgen::KeyPair;
use rcgen::PublicKeyData as _;
use rustls_pki_types::CertificateDer;
use spiffe::TrustDomain;

use crate::support::NOW;
use crate::support::as_of_now::AsOfNow as _;
use crate::support::authority::TestAuthority;
use crate::support::der::element;
use crate::support::der::sequence;
use crate::support::made::CLIENT_AUTH;
use crate::support::made::CRL_SIGN;
use crate::support::made::DIGITAL_SIGNATURE;
use crate::support::made::Extension;
use crate::support::made::KEY_CERT_SIGN;
use crate::support::made::Made;
use crate::support::made::SERVER_AUTH;
use crate::support::made::URI;
use crate::support::made::common_name;
use crate::support::made::name;

const ID: &[u8] = b"spiffe://prod.example/shop";

/// What a chain is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Door {
    Svid,
    ClientCa,
}

const DOORS: [Door; 2] = [Door::Svid, Door::ClientCa];

fn key() -> Rc<KeyPair> {
    Rc::new(KeyPair::generate().unwrap())
}

/// A root, two CAs and a leaf, each by the one before.
fn chain(door: Door) -> Vec<Made> {
    let names: &[(u8, &[u8])] = if door == Door::Svid { &[(URI, ID)] } else { &[] };
    let cas = ["root", "outer", "inner"].map(|name| Made::ca(name, &key()));
    cas.into_iter().chain([Made::leaf("leaf", &key(), names)]).collect()
}

/// The anchor, and what the peer presents, the leaf first.
fn issue(chain: &[Made]) -> (CertificateDer<'static>, Vec<CertificateDer<'static>>) {
    let below = chain.windows(2).map(|pair| pair[1].signed_by(&pair[0]));
    let mut presented: Vec<_> = below.collect();
    presented.reverse();
    (chain[0].signed_by(&chain[0]), presented)
}

fn trust(door: Door, anchors: Anchors) -> TrustBundles {
    match door {
        Door::Svid => TrustBundles {
            trust_domains: [(TrustDomain::new("prod.example").unwrap(), anchors.into())].into(),
            ..TrustBundles::default()
        },
        Door::ClientCa => TrustBundles { client_cas: [("corp".to_owned(), anchors)].into(), ..TrustBundles::default() },
    }
}

fn prove_at(
    door: Door,
    anchors: &[CertificateDer<'_>],
    presented: &[CertificateDer<'_>],
    now: Timestamp,
) -> Result<PeerIdentity, Unproven> {
    trust(door, Anchors::new(anchors).unwrap()).prove(presented, now, |_| false)
}

fn prove(door: Door, chain: &[Made]) -> Result<(), Unproven> {
    let (anchor, presented) = issue(chain);
    prove_at(door, slice::from_ref(&anchor), &presented, NOW).map(drop)
}

/// Changes a good chain, and compares what comes of it.
fn compare(what: &str, change: impl Fn(&mut Vec<Made>), svid: Option<Unproven>, client_ca: Option<Unproven>) {
    for (door, expected) in DOORS.into_iter().zip([svid, client_ca]) {
        let mut made = chain(door);
        assert_eq!(prove(door, &made), Ok(()), "{door:?}, unchanged");
        change(&mut made);
        assert_eq!(prove(door, &made).err(), expected, "{what} {door:?}");
    }
}

fn refused(what: &str, reason: Unproven, change: impl Fn(&mut Vec<Made>)) {
    compare(what, change, Some(reason), Some(reason));
}

fn accepted(what: &str, change: impl Fn(&mut Vec<Made>)) {
    compare(what, change, None, None);
}

// RFC 5280 section 6.1.4 (k) to (n); X509-SVID section 4.3
#[test]
fn an_issuer_signs_only_as_a_ca_whose_key_usage_says_so() {
    let usage = Extension::key_usage;
    for place in [1, 2] {
        refused("without keyCertSign", Unproven::IssuerKeyUsage, |made| made[place].put(usage(CRL_SIGN)));
        refused("a leaf's", Unproven::IssuerKeyUsage, |made| made[place].put(usage(DIGITAL_SIGNATURE)));
        accepted("with another use too", |made| made[place].put(usage(KEY_CERT_SIGN | DIGITAL_SIGNATURE)));
        // Only SVIDs demand that it is there.
        compare("without keyUsage", |made| made[place].remove(15), Some(Unproven::IssuerKeyUsage), None);
        let not_ca = Extension::basic_constraints(false, None);
        refused("cA false", Unproven::IssuerNotCa, |made| made[place].put(not_ca.clone()));
        refused("no basicConstraints", Unproven::IssuerNotCa, |made| made[place].remove(19));
        refused("version 1", Unproven::IssuerNotCa, |made| made[place].version_1());
    }
}

#[test]
fn every_certificate_of_a_path_is_within_its_validity_the_root_included() {
    for place in [0, 1, 2] {
        let (past, future) = (Timestamp(NOW.0 - 1), Timestamp(NOW.0 + 1));
        refused("expired", Unproven::IssuerExpired, |made| made[place].not_after = past);
        refused("not yet valid", Unproven::IssuerNotYetValid, |made| made[place].not_before = future);
        accepted("the last second", |made| made[place].not_after = NOW);
        accepted("the first second", |made| made[place].not_before = NOW);
    }
    refused("an expired leaf", Unproven::Expired, |made| made[3].not_after = Timestamp(NOW.0 - 1));
    refused("a leaf to come", Unproven::NotYetValid, |made| made[3].not_before = Timestamp(NOW.0 + 1));
}

#[test]
fn a_path_ends_with_its_first_issuer_on_open_connections_too() {
    for (door, place) in [(Door::Svid, 1), (Door::ClientCa, 0), (Door::Svid, 0), (Door::ClientCa, 2)] {
        let fixture = TestAuthority::new();
        let mut made = chain(door);
        let last = Timestamp(NOW.0 + 60);
        made[place].not_after = last;
        let (anchor, presented) = issue(&made);
        fixture.authority.replace_trust(trust(door, Anchors::new(&[anchor]).unwrap()));
        let connection = fixture.authority.admit(presented).unwrap();
        fixture.clock.set(last);
        assert!(fixture.authority.caller_now(&connection).is_ok());
        fixture.clock.set(Timestamp(last.0 + 1));
        assert_eq!(fixture.authority.caller_now(&connection).unwrap_err(), Unproven::IssuerExpired);
    }
}

// RFC 5280 sections 4.2.1.9 and 6.1.4 (l), (m)
#[test]
fn a_path_length_counts_the_cas_below_that_are_not_self_issued() {
    let limit = |length| Extension::basic_constraints(true, Some(length));
    refused("none below the root", Unproven::PathLength, |made| made[0].put(limit(1)));
    accepted("two below the root", |made| made[0].put(limit(2)));
    refused("none below the outer", Unproven::PathLength, |made| made[1].put(limit(0)));
    accepted("one below the outer", |made| made[1].put(limit(1)));
    accepted("none below the inner", |made| made[2].put(limit(0)));
    accepted("a self-issued one below the outer", |made| {
        made[2].subject = made[1].subject.clone();
        made[1].put(limit(0));
    });
}

// X509-SVID sections 3.2 and 4.3
#[test]
fn a_signing_certificate_has_no_spiffe_id_with_a_path_and_a_leaf_does_not_sign() {
    let named = |uri: &'static [u8]| move |made: &mut Vec<Made>| made[2].put(Extension::names(&[(URI, uri)]));
    refused("a workload", Unproven::IssuerSpiffeId, named(b"spiffe://prod.example/admin"));
    refused("a workload in capitals", Unproven::IssuerSpiffeId, named(b"SPIFFE://prod.example/admin"));
    accepted("a trust domain", named(b"spiffe://prod.example"));
    accepted("a trust domain as SPIFFE's own examples write it", named(b"spiffe://prod.example/"));
    accepted("another URI", named(b"https://prod.example/ca"));

    let both = Extension::key_usage(DIGITAL_SIGNATURE | KEY_CERT_SIGN);
    refused("a leaf with keyCertSign", Unproven::SigningCertificate, |made| made[3].put(both.clone()));
    let is_ca = Extension::basic_constraints(true, None);
    refused("a leaf with cA", Unproven::SigningCertificate, |made| made[3].put(is_ca.clone()));
    compare("a leaf without basicConstraints", |made| made[3].remove(19), None, None);
}

// RFC 5280 section 4.2.1.12; X509-SVID section 4.4
#[test]
fn extended_key_usage_limits_a_leaf_and_the_cas_above_it() {
    let purposes = Extension::extended_key_usage;
    refused("a server's leaf", Unproven::ExtendedKeyUsage, |made| made[3].put(purposes(&[SERVER_AUTH])));
    let client_only = |made: &mut Vec<Made>| made[3].put(purposes(&[CLIENT_AUTH]));
    compare("a client's leaf", client_only, Some(Unproven::ExtendedKeyUsage), None);
    accepted("a leaf for everything", |made| made[3].remove(37));
    for place in [1, 2] {
        refused("a CA of servers", Unproven::IssuerExtendedKeyUsage, |made| made[place].put(purposes(&[SERVER_AUTH])));
        accepted("a CA of clients", |made| made[place].put(purposes(&[CLIENT_AUTH])));
    }
}

// RFC 5280 sections 4.1.1.2 and 4.2
#[test]
fn a_critical_extension_that_is_not_processed_refuses_the_path_by_its_name() {
    for place in [1, 2, 3] {
        let mut made = chain(Door::Svid);
        made[place].put(Extension::unknown(true));
        let refused = prove(Door::Svid, &made).unwrap_err();
        assert_eq!((refused.code(), refused.to_string().contains("1.2.3.4.5")), ("CRITICAL_EXTENSION", true));
        accepted("not critical", |made| made[place].put(Extension::unknown(false)));
        // Section 4.2.1.13: where no CRLs are read, their places are not needed.
        let crls = Extension { oid: vec![0x55, 0x1d, 31], critical: true, value: vec![0x30, 0] };
        accepted("where CRLs are", |made| made[place].put(crls.clone()));
    }
    let twice =
        |made: &mut Vec<Made>| made[2].extensions.extend([Extension::unknown(false), Extension::unknown(false)]);
    no_path("an extension twice", twice);
    let mut leaf_twice = chain(Door::Svid);
    leaf_twice[3].extensions.extend([Extension::unknown(false), Extension::unknown(false)]);
    assert_eq!(prove(Door::Svid, &leaf_twice).unwrap_err().code(), "INVALID");
}

/// Without a path an SVID has none to its bundle, and another certificate is unknown.
fn no_path(what: &str, change: impl Fn(&mut Vec<Made>)) {
    compare(what, change, Some(Unproven::NoPath), Some(Unproven::Unknown));
}

#[test]
fn a_path_is_signed_from_its_anchor_to_its_leaf() {
    for place in [1, 2, 3] {
        no_path("a broken signature", |made| made[place].broken_signature = true);
        let other = key();
        no_path("another's key", |made| made[place - 1].public_key = Some(other.subject_public_key_info()));
        no_path("another's name", |made| made[place].issuer = Some(common_name("another")));
    }
    // RFC 5280 section 4.1.1.2: the algorithm that is signed is the one beside the signature.
    let sha_384 = vec![0x30, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3];
    no_path("two algorithms", |made| made[2].inner_algorithm = Some(sha_384.clone()));
    for door in DOORS {
        let (anchor, mut presented) = issue(&chain(door));
        assert!(prove_at(door, slice::from_ref(&anchor), &presented, NOW).is_ok());
        // Each certificate may be an anchor itself, whichever CA signed it.
        assert!(prove_at(door, &presented[1..2], &presented[..1], NOW).is_ok());
        presented.remove(1);
        let error = prove_at(door, &[anchor], &presented, NOW).unwrap_err();
        assert_eq!(error, if door == Door::Svid { Unproven::NoPath } else { Unproven::Unknown });
    }
}

// RFC 5280 sections 4.1.2.4 and 7.1
#[test]
fn the_names_of_issuers_compare_as_names_do_not_as_bytes_do() {
    const PRINTABLE: u8 = 0x13;
    accepted("PrintableString, other case and spaces", |made| {
        made[1].subject = common_name("Corp  Outer");
        made[2].issuer = Some(name(&[(3, PRINTABLE, "corp outer")]));
        made[0].subject = common_name("ROOT");
        made[1].issuer = Some(common_name("root"));
    });
    no_path("another name", |made| made[2].issuer = Some(name(&[(3, PRINTABLE, "outer two")])));
}

#[test]
fn a_path_is_found_among_certificates_that_lead_nowhere() {
    for door in DOORS {
        let made = chain(door);
        let (anchor, presented) = issue(&made);
        let (stranger, leaf) = (Made::ca("stranger", &key()), presented[0].clone());
        // Of the same name with another key; by an unknown root; expired.
        let mut old = made[2].clone();
        old.not_after = Timestamp(NOW.0 - 1);
        let decoys = [
            Made::ca("inner", &key()).signed_by(&made[1]),
            made[2].signed_by(&stranger),
            old.signed_by(&made[1]),
            CertificateDer::from(vec![0x30, 3, 1, 2, 3]),
        ];
        let with = |others: &[CertificateDer<'static>]| {
            let presented: Vec<_> = std::iter::once(&leaf).chain(others).cloned().collect();
            prove_at(door, slice::from_ref(&anchor), &presented, NOW).map(drop)
        };
        let [outer, inner] = [presented[2].clone(), presented[1].clone()];
        assert_eq!(with(&[&decoys[..], &[outer.clone(), inner.clone()]].concat()), Ok(()));
        assert_eq!(with(&[&[outer.clone(), inner, outer.clone()], &decoys[..]].concat()), Ok(()));
        // The reason is that of the path whose signatures are valid.
        assert_eq!(with(&[&decoys[..], &[outer]].concat()), Err(Unproven::IssuerExpired));
    }
}

#[test]
fn an_anchor_that_cannot_be_used_is_refused_alone_with_its_reason() {
    let good = Made::ca("root", &key());
    let refused = |what: &str, expected: InvalidAnchor, change: &dyn Fn(&mut Made)| {
        let mut made = good.clone();
        change(&mut made);
        let bad = made.signed_by(&made);
        assert_eq!(Anchors::new(slice::from_ref(&bad)).unwrap_err(), expected, "{what}");
        let both = Anchors::new(&[bad, good.signed_by(&good)]).unwrap();
        let reasons: Vec<_> = both.refused().iter().map(|refused| (refused.number, refused.why)).collect();
        assert_eq!((both.len(), reasons), (1, vec![(1, expected)]), "{what}");
        let leaf = Made::leaf("leaf", &key(), &[(URI, ID)]).signed_by(&good);
        assert!(trust(Door::Svid, both).prove(&[leaf], NOW, |_| false).is_ok(), "{what}");
    };
    let not_ca = Extension::basic_constraints(false, None);
    refused("cA false", InvalidAnchor::NotACa, &|made| made.put(not_ca.clone()));
    refused("no basicConstraints", InvalidAnchor::NotACa, &|made| made.remove(19));
    refused("no keyCertSign", InvalidAnchor::NotACa, &|made| made.put(Extension::key_usage(CRL_SIGN)));
    refused("a workload", InvalidAnchor::SpiffeId, &|made| made.put(Extension::names(&[(URI, ID)])));
    let uri = Extension::name_constraints(&[(URI, b"spiffe://prod.example")], &[]);
    refused("a URI where a host belongs", InvalidAnchor::NameConstraints, &|made| made.put(uri.clone()));
    let directory_number = Extension::name_constraints(&[(0x88, &[0x2a, 3])], &[]);
    refused("a form without rules", InvalidAnchor::NameConstraints, &|made| made.put(directory_number.clone()));
    let mut unknown = good.clone();
    unknown.put(Extension::unknown(true));
    let why = Anchors::new(&[unknown.signed_by(&unknown)]).unwrap_err();
    assert!(matches!(why, InvalidAnchor::CriticalExtension(_)) && why.to_string().contains("1.2.3.4.5"), "{why}");
    assert_eq!(Anchors::new(&[vec![0x30, 0].into()]).unwrap_err(), InvalidAnchor::NotACertificate);
    assert_eq!(Anchors::new(&[]).map(|none| none.len()), Ok(0));
}

// RFC 5280 section 4.2.1.9: what it says is of version 3
#[test]
fn a_root_of_version_1_works_and_a_leaf_of_version_1_does_not() {
    accepted("a root of version 1", |made| made[0].version_1());
    let mut leaf = chain(Door::ClientCa);
    leaf[3].version_1();
    assert_eq!(prove(Door::ClientCa, &leaf), Err(Unproven::UnsupportedVersion));
    accepted("a root without keyUsage", |made| made[0].remove(15));
}

/// A `SubjectPublicKeyInfo` of an RSA key of this size.
fn rsa(bytes: usize) -> Vec<u8> {
    rsa_with(bytes, &[1, 0, 1])
}

/// The same with this public exponent.
fn rsa_with(bytes: usize, exponent: &[u8]) -> Vec<u8> {
    let algorithm = sequence(&[vec![6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1], vec![5, 0]]);
    let modulus = element(2, &[vec![0], vec![0xc1; bytes]].concat());
    let key = sequence(&[modulus, element(2, exponent)]);
    sequence(&[algorithm, element(3, &[vec![0], key].concat())])
}

/// One of a key on a curve, by its identifier.
fn on_curve(curve: &[u8]) -> Vec<u8> {
    let algorithm = sequence(&[vec![6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1], element(6, curve)]);
    sequence(&[algorithm, element(3, &[&[0, 4][..], &[7; 64]].concat())])
}

#[test]
fn a_kind_of_key_or_signature_that_is_not_supported_is_named() {
    let ed448 = sequence(&[sequence(&[vec![6, 3, 0x2b, 0x65, 0x71]]), element(3, &[0; 58])]);
    let (too_large, too_slow) = (rsa(2048), rsa_with(512, &[1; 512]));
    for weak in
        [rsa(128), too_large, too_slow, rsa_with(512, &[2, 0, 0, 0, 1]), on_curve(&[0x2b, 0x81, 4, 0, 10]), ed448]
    {
        refused("a leaf", Unproven::UnsupportedKey, |made| made[3].public_key = Some(weak.clone()));
        refused("a CA", Unproven::UnsupportedKey, |made| made[2].public_key = Some(weak.clone()));
        let mut root = Made::ca("root", &key());
        root.public_key = Some(weak);
        assert_eq!(Anchors::new(&[root.signed_by(&root)]).unwrap_err(), InvalidAnchor::UnsupportedKey);
    }
    let p256 = [0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
    accepted("P-256", |made| made[3].public_key = Some(on_curve(&p256)));
    accepted("RSA of 2048 bits", |made| made[3].public_key = Some(rsa(256)));
    accepted("RSA of 8192 bits", |made| made[3].public_key = Some(rsa_with(1024, &[1, 0, 0, 0, 1])));
    let sha_1 = sequence(&[vec![6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 1]]);
    refused("SHA-1", Unproven::UnsupportedSignature, |made| made[2].algorithm = Some(sha_1.clone()));
}
