//! Certificates that need no SPIFFE ID: from a client CA, or registered as they are; and the bounds for all of them.

use lanyard::authority::clock::Timestamp;
use lanyard::authority::decision::GrantError;
use lanyard::authority::decision::Mismatch;
use lanyard::authority::identity::InvalidCertificate;
use lanyard::authority::identity::Proof;
use lanyard::authority::trust::Anchors;
use lanyard::authority::trust::InvalidAnchor;
use lanyard::authority::trust::TrustBundles;
use lanyard::authority::trust::Unproven;
use rcgen::CidrSubnet;
use rcgen::GeneralSubtree;
use rcgen::KeyPair;
use rcgen::NameConstraints;
use rustls_pki_types::CertificateDer;
use spiffe::TrustDomain;

use crate::support::NOW;
use crate::support::Xorshift;
use crate::support::as_of_now::AsOfNow as _;
use crate::support::authority::CHECKOUT;
use crate::support::authority::TestAuthority;
use crate::support::authority::pki_client;
use crate::support::authority::self_signed_client;
use crate::support::ca::TestCa;
use crate::support::ca::self_signed;
use crate::support::leaf::Leaf;
use crate::support::leaf::LeafBuilder;
use crate::support::leaf::VALID_FOR;

#[test]
fn validity_includes_its_first_and_last_second_and_no_other() {
    let fixture = TestAuthority::new();
    let registered = self_signed("registered").issue();
    fixture.register(self_signed_client("registered", &registered.pem()));
    let (first, last) = (Timestamp(NOW.0 - 60), NOW.after(VALID_FOR));
    for leaf in [fixture.prod.svid(CHECKOUT).issue(), fixture.partner.client_certificate().dns("a").issue(), registered]
    {
        for (now, expected) in [
            (first.0 - 1, Some(Unproven::NotYetValid)),
            (first.0, None),
            (last.0, None),
            (last.0 + 1, Some(Unproven::Expired)),
            (0, Some(Unproven::NotYetValid)),
            (u64::MAX, Some(Unproven::Expired)),
        ] {
            fixture.clock.set(Timestamp(now));
            assert_eq!(fixture.prove(&leaf).err(), expected, "{now}");
        }
        fixture.clock.set(NOW);
        let connection = fixture.authority.admit(leaf.chain).unwrap();
        fixture.clock.set(last);
        assert!(fixture.authority.caller_now(&connection).is_ok());
        fixture.clock.set(Timestamp(last.0 + 1));
        assert_eq!(fixture.authority.caller_now(&connection).unwrap_err(), Unproven::Expired);
        fixture.clock.set(NOW);
    }
}

// RFC 8705 sections 2.1 and 7.4
#[test]
fn a_pki_certificate_is_vouched_for_by_the_client_cas_that_it_has_a_path_to() {
    let fixture = TestAuthority::new();
    let proof = |leaf: &Leaf| fixture.prove(leaf).map(|peer| peer.proof().clone());
    let named = |name: &str| Ok(Proof::Pki(vec![name.to_owned()]));
    assert_eq!(proof(&fixture.partner.client_certificate().dns("a").issue()), named("partner"));
    assert_eq!(proof(&fixture.vendor.intermediate("below").client_certificate().issue()), named("vendor"));
    assert_eq!(
        proof(&fixture.partner.client_certificate().without_key_usage().without_eku().issue()),
        named("partner")
    );
    let refused = |builder: LeafBuilder<'_>, why| assert_eq!(proof(&builder.issue()), Err(why));
    refused(TestCa::new("partner").client_certificate(), Unproven::Unknown);
    refused(fixture.prod.client_certificate(), Unproven::Unknown);
    refused(fixture.partner.client_certificate().ca_leaf(), Unproven::SigningCertificate);
    refused(fixture.partner.client_certificate().eku_server_only(), Unproven::ExtendedKeyUsage);
    refused(fixture.partner.client_certificate().without_digital_signature(), Unproven::KeyUsage);
    refused(fixture.partner.client_certificate().version_1(), Unproven::UnsupportedVersion);
}

#[test]
fn name_constraints_of_an_intermediate_hold() {
    let fixture = TestAuthority::new();
    let constraints = NameConstraints {
        permitted_subtrees: vec![
            GeneralSubtree::DnsName("shop.example".to_owned()),
            GeneralSubtree::IpAddress(CidrSubnet::from_v4_prefix([10, 0, 0, 0], 8)),
        ],
        excluded_subtrees: Vec::new(),
    };
    let below = fixture.partner.constrained_intermediate("below", constraints);
    assert!(fixture.prove(&below.client_certificate().dns("a.shop.example").issue()).is_ok());
    let outside = below.client_certificate().dns("a.bank.example").issue();
    assert_eq!(fixture.prove(&outside).unwrap_err(), Unproven::NameConstraints);
}

// RFC 8705 section 2.2
#[test]
fn a_default_openssl_certificate_is_admitted_once_that_very_one_is_registered() {
    let fixture = TestAuthority::new();
    let own = self_signed("batch").rsa_4096().issue();
    assert_eq!(fixture.prove(&own).unwrap_err(), Unproven::Unknown);
    fixture.register(self_signed_client("batch", &own.pem()));
    let peer = fixture.peer(&own);
    assert_eq!((peer.proof(), peer.spiffe_id()), (&Proof::SelfSigned, None));
    assert!(fixture.issue(&peer, "batch").is_ok());
    let same_key_other_name = self_signed("admin").key(&own.key).issue();
    let renewed = self_signed("batch").key(&own.key).between(NOW, NOW.after(VALID_FOR)).issue();
    for other in [same_key_other_name, renewed, self_signed("batch").issue()] {
        assert_eq!(fixture.prove(&other).unwrap_err(), Unproven::Unknown);
    }
    fixture.delete("batch");
    assert_eq!(fixture.prove(&own).unwrap_err(), Unproven::Unknown);
}

#[test]
fn a_registered_self_signed_certificate_proves_no_name_and_vouches_for_nobody() {
    let fixture = TestAuthority::new();
    let own = self_signed("batch").dns("batch.shop").issue();
    fixture.register(self_signed_client("batch", &own.pem()));
    let mut by_name = pki_client("by-name");
    by_name.tls_client_auth_san_dns = Some("batch.shop".to_owned());
    fixture.register(by_name);
    let refused = fixture.issue(&fixture.peer(&own), "by-name").unwrap_err();
    assert_eq!(refused, GrantError::InvalidClient(Mismatch::Certificate));
    // It says CA:TRUE of itself; what it signs has a path to nothing.
    let fake_root = TestCa::with_key("batch", NOW, KeyPair::try_from(own.key.as_slice()).unwrap());
    let mut below = fake_root.client_certificate().dns("batch.shop").issue();
    below.chain.push(own.certificate().clone());
    assert_eq!(fixture.prove(&below).unwrap_err(), Unproven::Unknown);
}

#[test]
fn a_chain_is_looked_at_only_up_to_its_bounds() {
    let fixture = TestAuthority::new();
    let leaf = fixture.prod.svid(CHECKOUT).issue().certificate().clone();
    let chain = |length: usize| vec![leaf.clone(); length];
    assert_eq!(fixture.authority.prove_now(&[]).unwrap_err(), Unproven::ChainSize);
    assert!(fixture.authority.prove_now(&chain(10)).is_ok());
    assert_eq!(fixture.authority.prove_now(&chain(11)).unwrap_err(), Unproven::ChainSize);
    let padded = |bytes: usize| vec![leaf.clone(), CertificateDer::from(vec![0x30; bytes])];
    assert_eq!(fixture.authority.prove_now(&padded(64 * 1024)).unwrap_err(), Unproven::ChainSize);
    let large = fixture.prod.svid(CHECKOUT).dns(&"a".repeat(17 * 1024)).issue();
    assert_eq!(fixture.prove(&large).unwrap_err(), Unproven::Invalid(InvalidCertificate::TooLarge));
}

#[test]
fn garbage_and_cut_off_certificates_are_refused_without_a_panic() {
    let fixture = TestAuthority::new();
    let whole = fixture.prod.svid(CHECKOUT).issue().certificate().to_vec();
    let mut random = Xorshift::new(2);
    for length in 0..whole.len() {
        assert!(fixture.authority.prove_now(&[whole[..length].to_vec().into()]).is_err(), "{length}");
    }
    for _ in 0..2_000 {
        let mut flipped = whole.clone();
        let at = random.below(flipped.len());
        flipped[at] ^= 1 << random.below(8);
        assert!(fixture.authority.prove_now(&[flipped.into()]).is_err(), "{at}");
    }
}

#[test]
fn only_a_ca_certificate_can_be_a_root() {
    let fixture = TestAuthority::new();
    let leaf = fixture.prod.svid(CHECKOUT).issue();
    assert_eq!(Anchors::new(&leaf.chain).unwrap_err(), InvalidAnchor::NotACa);
    for almost in [
        fixture.prod.client_certificate().with_key_cert_sign(),
        fixture.prod.client_certificate().without_key_usage(),
        fixture.prod.client_certificate().ca_leaf(),
    ] {
        assert_eq!(Anchors::new(&almost.issue().chain).unwrap_err(), InvalidAnchor::NotACa);
    }
    assert_eq!(Anchors::new(&[vec![0x30, 0].into()]).unwrap_err(), InvalidAnchor::NotACertificate);
    assert!(Anchors::new(self_signed("root").issue().chain.as_slice()).is_ok());
    let nobody = TrustBundles {
        trust_domains: [(TrustDomain::new("prod.example").unwrap(), Anchors::new(&[]).unwrap().into())].into(),
        ..TrustBundles::default()
    };
    assert_eq!(nobody.prove(&leaf.chain, NOW, |_| true).unwrap_err(), Unproven::NoPath);
}
