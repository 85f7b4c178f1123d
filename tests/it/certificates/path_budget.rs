//! What a chain costs: how many signatures are verified for it, whatever it consists of.

use std::rc::Rc;
use std::slice;

use lanyard::authority::clock::Timestamp;
use lanyard::authority::trust::Anchors;
use lanyard::authority::trust::KnownSignatures;
use lanyard::authority::trust::TrustBundles;
use lanyard::authority::trust::Unproven;
use rcgen::KeyPair;
use rustls_pki_types::CertificateDer;

use crate::support::NOW;
use crate::support::made::Extension;
use crate::support::made::Made;

fn key() -> Rc<KeyPair> {
    Rc::new(KeyPair::generate().unwrap())
}

fn anchor(made: &Made) -> CertificateDer<'static> {
    made.signed_by(made)
}

/// Client CAs, each with these anchors.
fn client_cas(cas: &[&[CertificateDer<'static>]]) -> TrustBundles {
    let named = cas.iter().enumerate();
    let client_cas = named.map(|(number, anchors)| (format!("ca-{number}"), Anchors::new(anchors).unwrap())).collect();
    TrustBundles { client_cas, ..TrustBundles::default() }
}

/// Whether the chain has a path, and how many signatures were verified to find out.
fn cost(trust: &TrustBundles, chain: &[CertificateDer<'_>]) -> (Result<(), Unproven>, u32) {
    let mut signatures = 0;
    let proven = trust.prove_knowing(chain, NOW, |_| false, (None, &mut signatures));
    (proven.map(drop), signatures)
}

/// A leaf and nine CAs of this name, each signed by itself; the leaf by the first.
fn nine_self_named(name: &str) -> Vec<CertificateDer<'static>> {
    let cas: Vec<Made> = (0..9).map(|_| Made::ca(name, &key())).collect();
    let leaf = Made::leaf("stranger", &key(), &[]).signed_by(&cas[0]);
    std::iter::once(leaf).chain(cas.iter().map(anchor)).collect()
}

/// A leaf and nine CAs of this name, each signed by the next, the last by itself: all signatures are valid.
fn nine_in_a_row(name: &str) -> Vec<CertificateDer<'static>> {
    let cas: Vec<Made> = (0..9).map(|_| Made::ca(name, &key())).collect();
    let leaf = Made::leaf("stranger", &key(), &[]).signed_by(&cas[0]);
    let row = cas.windows(2).map(|pair| pair[0].signed_by(&pair[1]));
    std::iter::once(leaf).chain(row).chain([anchor(&cas[8])]).collect()
}

#[test]
fn certificates_that_lead_to_no_known_ca_by_name_cost_no_signature() {
    let (corp, partner) = (Made::ca("corp", &key()), Made::ca("partner", &key()));
    let one = client_cas(&[&[anchor(&corp)]]);
    let two = client_cas(&[&[anchor(&corp)], &[anchor(&partner)]]);
    for chain in [nine_self_named("stranger"), nine_in_a_row("stranger"), nine_self_named("Corp 2")] {
        assert_eq!(chain.len(), 10);
        for trust in [&one, &two] {
            assert_eq!(cost(trust, &chain), (Err(Unproven::Unknown), 0));
        }
    }
    // The nearest chain that is accepted: nine CAs that lead there.
    let mut cas = vec![corp];
    cas.extend((0..9).map(|number| Made::ca(&format!("ca {number}"), &key())));
    let mut chain: Vec<_> = cas.windows(2).map(|pair| pair[1].signed_by(&pair[0])).collect();
    chain.push(Made::leaf("leaf", &key(), &[]).signed_by(&cas[9]));
    chain.reverse();
    assert_eq!((chain.len(), cost(&one, &chain)), (10, (Ok(()), 10)));
    assert_eq!(cost(&two, &chain), (Ok(()), 10));
}

#[test]
fn certificates_of_a_known_cas_name_cost_one_signature_for_each_of_them_and_each_anchor() {
    let anchors: Vec<_> = (0..3).map(|_| anchor(&Made::ca("corp", &key()))).collect();
    for chain in [nine_self_named("corp"), nine_in_a_row("corp"), nine_self_named("CORP")] {
        for cas in
            [&[&anchors[..1]][..], &[&anchors[..1], &anchors[1..2]], &[&anchors], &[&anchors[..2], &anchors[2..]]]
        {
            let matching = u32::try_from(cas.iter().map(|anchors| anchors.len()).sum::<usize>()).unwrap();
            let (refused, signatures) = cost(&client_cas(cas), &chain);
            assert_eq!(refused, Err(Unproven::PathTooComplex));
            assert!(signatures <= 10 + matching, "{signatures} of 10 and {matching}");
        }
    }
    // Other names and key identifiers count for nothing.
    let mut others: Vec<_> = (0..20).map(|number| anchor(&Made::ca(&format!("ca {number}"), &key()))).collect();
    others.push(anchors[0].clone());
    assert_eq!(cost(&client_cas(&[&others]), &nine_self_named("corp")), (Err(Unproven::PathTooComplex), 11));
}

#[test]
fn one_certificate_presented_ten_times_counts_once() {
    let corp = Made::ca("corp", &key());
    let leaf = Made::leaf("stranger", &key(), &[]).signed_by(&Made::ca("corp", &key()));
    let trust = client_cas(&[&[anchor(&corp)]]);
    assert_eq!(cost(&trust, &vec![leaf; 10]), (Err(Unproven::Unknown), 1));
    let copied = anchor(&Made::ca("corp", &key()));
    let other = Made::leaf("stranger", &key(), &[]).signed_by(&Made::ca("corp", &key()));
    let chain: Vec<_> = std::iter::once(other).chain(vec![copied; 9]).collect();
    let (refused, signatures) = cost(&trust, &chain);
    assert_eq!((refused, signatures), (Err(Unproven::Unknown), 2));
}

/// With a key identifier of its own, as certificate authorities write them.
fn identified(name: &str, id: u8) -> Made {
    let mut made = Made::ca(name, &key());
    made.put(Extension::subject_key(&[id]));
    made
}

fn signed(made: &Made, by: &Made, id: u8) -> CertificateDer<'static> {
    let mut made = made.clone();
    made.put(Extension::authority_key(&[id]));
    made.signed_by(by)
}

// RFC 5280 section 4.2.1.1
#[test]
fn key_identifiers_choose_among_issuers_of_one_name_before_any_signature() {
    let cas: Vec<Made> = (0..100).map(|id| identified("corp", id)).collect();
    let anchors: Vec<_> = cas.iter().map(anchor).collect();
    let trust = client_cas(&[&anchors]);
    let leaf = Made::leaf("leaf", &key(), &[]);
    for id in [0, 50, 99] {
        assert_eq!(cost(&trust, &[signed(&leaf, &cas[usize::from(id)], id)]), (Ok(()), 1));
    }
    // An identifier that no CA has.
    assert_eq!(cost(&trust, &[signed(&leaf, &cas[0], 200)]), (Err(Unproven::Unknown), 0));
    // Without one, each of the operator's CAs may have signed it.
    let (found, signatures) = cost(&trust, &[leaf.signed_by(&cas[99])]);
    assert_eq!((found, signatures), (Ok(()), 100));
    let (refused, signatures) = cost(&trust, &[leaf.signed_by(&identified("corp", 7))]);
    assert_eq!((refused, signatures), (Err(Unproven::Unknown), 100));
    // One that has an identifier goes before those without.
    let mut mixed = vec![anchor(&Made::ca("corp", &key())); 50];
    mixed.push(anchors[9].clone());
    assert_eq!(cost(&client_cas(&[&mixed]), &[signed(&leaf, &cas[9], 9)]), (Ok(()), 1));
}

// RFC 5280 section 3.2; RFC 4158 section 2.4.2
#[test]
fn a_ca_that_renewed_its_key_is_followed_and_no_certificate_is_in_a_path_twice() {
    let (old, new) = (Made::ca("corp", &key()), Made::ca("corp", &key()));
    let new_with_old = new.signed_by(&old);
    let leaf = Made::leaf("leaf", &key(), &[]).signed_by(&new);
    let trust = client_cas(&[&[anchor(&old)]]);
    let (found, signatures) = cost(&trust, &[leaf.clone(), new_with_old.clone()]);
    assert_eq!(found, Ok(()));
    assert!(signatures <= 3, "{signatures}");
    assert_eq!(cost(&trust, &[leaf.clone(), anchor(&new), new_with_old]).0, Ok(()), "the new root beside it");
    assert_eq!(cost(&trust, &[leaf.clone(), anchor(&new)]).0, Err(Unproven::Unknown), "the new root alone");

    // Two roots that have certified each other, and a third that trusts nobody.
    let (one, two) = (Made::ca("one", &key()), Made::ca("two", &key()));
    let leaf = Made::leaf("leaf", &key(), &[]).signed_by(&one);
    let crossed = [leaf, one.signed_by(&two), two.signed_by(&one)];
    assert_eq!(cost(&client_cas(&[&[anchor(&two)]]), &crossed), (Ok(()), 2));
    assert_eq!(cost(&client_cas(&[&[anchor(&one)]]), &crossed), (Ok(()), 1));
    let stranger = anchor(&Made::ca("one", &key()));
    let (refused, signatures) = cost(&client_cas(&[slice::from_ref(&stranger)]), &crossed);
    assert_eq!(refused, Err(Unproven::Unknown));
    assert!(signatures <= 4, "{signatures}");
}

#[test]
fn the_bridges_between_cross_certified_cas_are_found_within_the_budget() {
    // A bridge CA certifies three roots and is certified by them: the form of federated PKIs.
    let roots: Vec<Made> = (0..3).map(|number| Made::ca(&format!("root {number}"), &key())).collect();
    let bridge = Made::ca("bridge", &key());
    let issuing = Made::ca("issuing", &key());
    let leaf = Made::leaf("leaf", &key(), &[]).signed_by(&issuing);
    let mut chain = vec![leaf, issuing.signed_by(&roots[0])];
    chain.extend(roots.iter().map(|root| root.signed_by(&bridge)));
    chain.extend(roots.iter().map(|root| bridge.signed_by(root)));
    for root in &roots {
        let (found, signatures) = cost(&client_cas(&[&[anchor(root)]]), &chain);
        assert_eq!(found, Ok(()));
        assert!(signatures <= 9, "{signatures}");
    }
}

/// A chain of a root, an issuing CA and a leaf; the leaf and the issuing CA are presented.
struct Issued {
    root: Made,
    issuing: Made,
    chain: [CertificateDer<'static>; 2],
}

impl Issued {
    fn new() -> Self {
        let (root, issuing) = (Made::ca("root", &key()), Made::ca("issuing", &key()));
        let leaf = Made::leaf("leaf", &key(), &[]).signed_by(&issuing);
        Self { chain: [leaf, issuing.signed_by(&root)], root, issuing }
    }
}

/// The same CA with a certificate that has expired.
fn ended(ca: &Made) -> Made {
    Made { not_after: Timestamp(NOW.0 - 1), ..ca.clone() }
}

/// The cost of a chain where some signatures are known.
fn cost_knowing(
    known: &KnownSignatures,
    trust: &TrustBundles,
    chain: &[CertificateDer<'_>],
) -> (Result<(), Unproven>, u32) {
    let mut signatures = 0;
    let proven = trust.prove_knowing(chain, NOW, |_| false, (Some(known), &mut signatures));
    (proven.map(drop), signatures)
}

#[test]
fn the_signatures_of_a_path_are_verified_once_and_nothing_else_of_it_is_taken_as_known() {
    let (known, Issued { root, chain, .. }) = (KnownSignatures::default(), Issued::new());
    let trust = client_cas(&[&[anchor(&root)]]);
    assert_eq!(cost_knowing(&known, &trust, &chain), (Ok(()), 2));
    assert_eq!(cost_knowing(&known, &trust, &chain), (Ok(()), 0));
    // In bundles that were replaced by others with the same CA too; and not in those without it.
    assert_eq!(cost_knowing(&known, &client_cas(&[&[], &[anchor(&root)]]), &chain), (Ok(()), 0));
    assert_eq!(
        cost_knowing(&known, &client_cas(&[&[anchor(&Made::ca("root", &key()))]]), &chain).0,
        Err(Unproven::Unknown)
    );
    // The CA itself expires, and may not sign certificates any more.
    assert_eq!(
        cost_knowing(&known, &client_cas(&[&[anchor(&ended(&root))]]), &chain),
        (Err(Unproven::IssuerExpired), 0)
    );
    let mut short = root.clone();
    short.put(Extension::basic_constraints(true, Some(0)));
    assert_eq!(cost_knowing(&known, &client_cas(&[&[anchor(&short)]]), &chain), (Err(Unproven::PathLength), 0));
}

#[test]
fn a_signature_is_known_for_its_bytes_and_its_key_only() {
    let (known, Issued { root, chain, .. }) = (KnownSignatures::default(), Issued::new());
    let trust = client_cas(&[&[anchor(&root)]]);
    assert_eq!(cost_knowing(&known, &trust, &chain), (Ok(()), 2));
    // One bit of a signature, which is at the end, or of what is signed.
    for flipped in 0..2 {
        for from_the_end in [1, 100] {
            let mut chain = chain.clone();
            let mut der = chain[flipped].to_vec();
            let place = der.len() - from_the_end;
            der[place] ^= 1;
            chain[flipped] = der.into();
            assert!(cost_knowing(&known, &trust, &chain).0.is_err(), "{flipped} {from_the_end}");
        }
    }
    assert_eq!(cost_knowing(&known, &trust, &chain), (Ok(()), 0));
}

#[test]
fn what_is_refused_leaves_no_signature_behind() {
    let (known, Issued { root, chain, .. }) = (KnownSignatures::default(), Issued::new());
    let ended = client_cas(&[&[anchor(&ended(&root))]]);
    for _ in 0..2 {
        assert_eq!(cost_knowing(&known, &ended, &chain), (Err(Unproven::IssuerExpired), 2));
    }
}

#[test]
fn valid_signatures_beside_the_path_are_not_remembered() {
    let (known, Issued { root, issuing, chain: [leaf, issued] }) = (KnownSignatures::default(), Issued::new());
    // A holder of a certificate makes roots of the CA's name, which have signed its issuer's certificate too.
    let rogue = Made::ca("root", &key());
    let beside = issuing.signed_by(&rogue);
    let presented = [leaf.clone(), beside.clone(), anchor(&rogue), issued];
    assert_eq!(cost_knowing(&known, &client_cas(&[&[anchor(&root)]]), &presented), (Ok(()), 5));
    assert_eq!(cost_knowing(&known, &client_cas(&[&[anchor(&root)]]), &presented).0, Ok(()));
    assert_eq!(cost_knowing(&known, &client_cas(&[&[anchor(&rogue)]]), &[leaf, beside]), (Ok(()), 1));
}
