//! Name constraints (RFC 5280 section 4.2.1.10) and certificate policies (sections 4.2.1.4 and 6.1) on a path.

use std::rc::Rc;

use lanyard::authority::trust::Anchors;
use lanyard::authority::trust::TrustBundles;
use lanyard::authority::trust::Unproven;
use rcgen::KeyPair;

use crate::support::NOW;
use crate::support::made::DIRECTORY;
use crate::support::made::DNS;
use crate::support::made::EMAIL;
use crate::support::made::Extension;
use crate::support::made::IP;
use crate::support::made::Made;
use crate::support::made::URI;
use crate::support::made::common_name;
use crate::support::made::name;

type Names<'a> = &'a [(u8, &'a [u8])];

fn key() -> Rc<KeyPair> {
    Rc::new(KeyPair::generate().unwrap())
}

/// Proves a chain of a root, CAs and a leaf by the client CA that the root is.
fn prove(chain: &[Made]) -> Result<(), Unproven> {
    let anchors = Anchors::new(&[chain[0].signed_by(&chain[0])]).unwrap();
    let trust = TrustBundles { client_cas: [("corp".to_owned(), anchors)].into(), ..TrustBundles::default() };
    let mut presented: Vec<_> = chain.windows(2).map(|pair| pair[1].signed_by(&pair[0])).collect();
    presented.reverse();
    trust.prove(&presented, NOW, |_| false).map(drop)
}

/// A leaf with these names below a CA with these constraints: in the root, in the CA, and in one above that.
fn with(permitted: Names<'_>, excluded: Names<'_>, names: Names<'_>) -> Result<(), Unproven> {
    let outcomes = [0, 1, 2].map(|place| {
        let mut chain = ["root", "outer", "inner"].map(|name| Made::ca(name, &key())).to_vec();
        chain[place].put(Extension::name_constraints(permitted, excluded));
        chain.push(Made::leaf("leaf", &key(), names));
        prove(&chain)
    });
    assert!(outcomes.iter().all(|outcome| *outcome == outcomes[0]), "{outcomes:?} {names:?}");
    outcomes[0]
}

/// Each name is inside of the subtree, or outside of it: permitted, only the first are accepted; excluded, only the
/// second.
fn compare(form: u8, subtree: &[u8], inside: &[&[u8]], outside: &[&[u8]]) {
    let outside_error = Err(Unproven::NameConstraints);
    for name in inside {
        let text = name.escape_ascii();
        assert_eq!(with(&[(form, subtree)], &[], &[(form, name)]), Ok(()), "{text} is permitted");
        assert_eq!(with(&[], &[(form, subtree)], &[(form, name)]), outside_error, "{text} is excluded");
    }
    for name in outside {
        let text = name.escape_ascii();
        assert_eq!(with(&[(form, subtree)], &[], &[(form, name)]), outside_error, "{text} is not permitted");
        assert_eq!(with(&[], &[(form, subtree)], &[(form, name)]), Ok(()), "{text} is not excluded");
    }
}

#[test]
fn uris_are_constrained_by_their_host() {
    let https: [&[u8]; 3] = [b"https://dev.test/a", b"https://me@DEV.test:8443?x=1", b"https://dev.test."];
    let others: [&[u8]; 3] = [b"https://a.dev.test/", b"https://dev.test.evil/", b"https://evil/dev.test"];
    compare(URI, b"dev.test", &https, &others);
    compare(URI, b".dev.test", &[b"https://a.dev.test/", b"https://a.b.dev.test"], &[b"https://dev.test/"]);
    // A URI whose host is none or an address is in no subtree, and cannot be compared with an excluded one.
    for name in [&b"urn:x:https://dev.test"[..], b"https://10.0.0.1/", b"https://[::1]/", b"https://dev%2etest/"] {
        let dev: Names<'_> = &[(URI, b"dev.test")];
        for (permitted, excluded) in [(dev, &[][..]), (&[], dev)] {
            assert_eq!(with(permitted, excluded, &[(URI, name)]), Err(Unproven::NameConstraints));
        }
    }
    // Every name counts, and names of other forms are not limited.
    let both: Names<'_> = &[(URI, b"https://dev.test/"), (URI, b"https://evil/")];
    assert_eq!(with(&[(URI, b"dev.test")], &[], both), Err(Unproven::NameConstraints));
    assert_eq!(with(&[(URI, b"dev.test")], &[], &[(DNS, b"anything")]), Ok(()));
    assert_eq!(with(&[(URI, b"dev.test"), (URI, b"evil")], &[], both), Ok(()));
    assert_eq!(with(&[(URI, b"dev.test"), (URI, b"evil")], &[(URI, b"evil")], both), Err(Unproven::NameConstraints));
}

#[test]
fn dns_names_addresses_and_mailboxes_are_constrained_by_their_own_rules() {
    compare(DNS, b"shop.test", &[b"shop.test", b"A.Shop.test", b"*.shop.test"], &[b"xshop.test", b"test", b"shop.tes"]);
    compare(DNS, b".shop.test", &[b"a.shop.test"], &[b"shop.test"]);
    compare(IP, &[10, 1, 0, 0, 255, 255, 0, 0], &[&[10, 1, 2, 3]], &[&[10, 2, 0, 1], &[0; 16]]);
    compare(EMAIL, b"shop.test", &[b"a@Shop.test"], &[b"a@b.shop.test", b"a@evil"]);
    compare(EMAIL, b".shop.test", &[b"a@b.shop.test"], &[b"a@shop.test"]);
    compare(EMAIL, b"a@shop.test", &[b"a@SHOP.test"], &[b"A@shop.test", b"b@shop.test"]);
    // A wildcard matches the excluded name too, and not only for the permitted one.
    assert_eq!(with(&[], &[(DNS, b"a.shop.test")], &[(DNS, b"*.shop.test")]), Err(Unproven::NameConstraints));
    assert_eq!(with(&[(DNS, b"a.shop.test")], &[], &[(DNS, b"*.shop.test")]), Err(Unproven::NameConstraints));
}

#[test]
fn subjects_are_constrained_as_directory_names() {
    let corp = name(&[(10, 0x0c, "Corp")]);
    let of = |organization: &str| {
        let mut chain = vec![Made::ca("root", &key()), Made::leaf("leaf", &key(), &[])];
        chain[0].put(Extension::name_constraints(&[(DIRECTORY, &corp)], &[]));
        chain[1].subject = name(&[(10, 0x13, organization), (3, 0x0c, "leaf")]);
        prove(&chain)
    };
    assert_eq!((of("CORP"), of("Corporation")), (Ok(()), Err(Unproven::NameConstraints)));
    let mut self_issued = vec![Made::ca("root", &key()), Made::ca("root", &key()), Made::leaf("leaf", &key(), &[])];
    self_issued[0].put(Extension::name_constraints(&[(DIRECTORY, &common_name("leaf"))], &[]));
    assert_eq!(prove(&self_issued), Ok(()), "a self-issued CA keeps its own name");
    self_issued[1].subject = common_name("other");
    assert_eq!(prove(&self_issued), Err(Unproven::NameConstraints));
}

#[test]
fn constraints_that_cannot_be_processed_refuse_the_path_and_say_so() {
    let below = |constraints: Extension| {
        let mut chain = ["root", "inner"].map(|name| Made::ca(name, &key())).to_vec();
        chain[1].put(constraints);
        chain.push(Made::leaf("leaf", &key(), &[(DNS, b"a.test")]));
        prove(&chain)
    };
    let unsupported = Err(Unproven::UnsupportedNameConstraints);
    for (form, base) in [
        (URI, &b"spiffe://dev.test"[..]),
        (URI, b""),
        (EMAIL, b""),
        (IP, &[10, 0, 0, 0, 255, 0, 255, 0]),
        (IP, &[10, 0]),
        (0x88, &[0x2a, 3]),
        (0xa0, &[6, 1, 0x2a]),
    ] {
        assert_eq!(below(Extension::name_constraints(&[], &[(form, base)])), unsupported, "{form:#x} {base:?}");
    }
    // minimum 1
    let distance = vec![0x30, 12, 0xa1, 10, 0x30, 8, 0x82, 3, b'a', b'.', b'b', 0x80, 1, 1];
    assert_eq!(below(Extension { oid: vec![0x55, 0x1d, 30], critical: true, value: distance }), unsupported);
    // RFC 5280 demands that it is critical; where it is not, a form without rules limits nothing.
    let mut lenient = Extension::name_constraints(&[(DNS, b"a.test")], &[(0x88, &[0x2a, 3])]);
    assert_eq!(below(lenient.clone()), unsupported);
    lenient.critical = false;
    assert_eq!(below(lenient), Ok(()));
    let many = vec![(DNS, &b"x"[..]); 900];
    let mut chain = vec![Made::ca("root", &key()), Made::leaf("leaf", &key(), &vec![(DNS, &b"b.test"[..]); 280])];
    assert_eq!(prove(&chain), Err(Unproven::Invalid(lanyard::authority::identity::InvalidCertificate::TooManyNames)));
    chain[1] = Made::leaf("leaf", &key(), &vec![(DNS, &b"b.test"[..]); 250]);
    chain[0].put(Extension::name_constraints(&[], &many));
    assert_eq!(prove(&chain), Ok(()));
    chain.insert(1, Made::ca("inner", &key()));
    chain[1].put(Extension::name_constraints(&[], &many));
    assert_eq!(prove(&chain), Err(Unproven::PathTooComplex), "450,000 comparisons");
}

#[test]
fn policies_are_processed_with_any_policy_and_matter_where_a_ca_demands_one() {
    let prove = |change: &dyn Fn(&mut Vec<Made>)| {
        let mut chain = ["root", "outer", "inner"].map(|name| Made::ca(name, &key())).to_vec();
        chain.push(Made::leaf("leaf", &key(), &[]));
        change(&mut chain);
        prove(&chain)
    };
    let policies = |one: &[u8]| Extension::policies(true, one);
    let demand = |skip| Extension::policy_constraints(Some(skip), None);
    let refused = Err(Unproven::PolicyRequired);
    assert_eq!(prove(&|made| made[3].put(policies(&[1]))), Ok(()), "critical on the leaf");
    assert_eq!(prove(&|made| made[2].put(policies(&[1]))), Ok(()), "critical on a CA, absent below");
    assert_eq!(prove(&|made| made[1].put(demand(0))), refused, "demanded, and no certificate has one");
    assert_eq!(prove(&|made| made[0].put(demand(0))), refused, "demanded by the root");
    assert_eq!(prove(&|made| made[2].put(demand(5))), Ok(()), "demanded further down");
    let asserted = |last: &'static [u8], inner: &'static [u8]| {
        move |made: &mut Vec<Made>| {
            made[1].put(demand(0));
            made[1].put(policies(&[1, 2]));
            made[2].put(policies(inner));
            made[3].put(policies(last));
        }
    };
    assert_eq!(prove(&asserted(&[1], &[1])), Ok(()));
    assert_eq!(prove(&asserted(&[1], &[0])), Ok(()), "anyPolicy in between");
    assert_eq!(prove(&asserted(&[2], &[1])), refused, "another policy");
    assert_eq!(prove(&asserted(&[3], &[0])), refused, "one that the outer CA lacks");
    let inhibited = |made: &mut Vec<Made>| {
        asserted(&[1], &[0])(made);
        made[1].put(Extension::inhibit_any_policy(0));
    };
    assert_eq!(prove(&inhibited), refused, "anyPolicy is inhibited");
    let mapped = |made: &mut Vec<Made>| {
        asserted(&[7], &[1])(made);
        made[2].put(Extension::policy_mappings(&[(1, 7)]));
    };
    assert_eq!(prove(&mapped), Ok(()), "1 is the same as 7");
    let not_mapped = |made: &mut Vec<Made>| {
        mapped(made);
        made[1].put(Extension::policy_constraints(Some(0), Some(0)));
    };
    assert_eq!(prove(&not_mapped), refused, "mapping is inhibited");
    let to_any = |made: &mut Vec<Made>| made[2].put(Extension::policy_mappings(&[(1, 0)]));
    assert_eq!(prove(&to_any), refused, "a mapping to anyPolicy");
}
