//! Which workload an X509-SVID identifies, and which certificates identify none.

use lanyard::authority::identity::InvalidCertificate;
use lanyard::authority::identity::parse_spiffe_id;
use lanyard::authority::trust::TrustBundles;
use lanyard::authority::trust::Unproven;
use rcgen::KeyPair;
use spiffe::TrustDomain;

use crate::support::NOW;
use crate::support::Xorshift;
use crate::support::as_of_now::AsOfNow as _;
use crate::support::authority::CHECKOUT;
use crate::support::authority::TestAuthority;
use crate::support::ca::TestCa;
use crate::support::ca::self_signed;
use crate::support::der;
use crate::support::leaf::Leaf;
use crate::support::leaf::LeafBuilder;

const NAMES: [u64; 4] = [2, 5, 29, 17];

// SPIFFE-ID sections 2, 2.1, 2.2 and 2.3
#[test]
fn a_spiffe_id_is_read_in_its_one_spelling() {
    let longest = format!("spiffe://prod.example/{}", "a".repeat(2048 - 22));
    let longest_domain = format!("spiffe://{}/a", "d".repeat(255));
    for good in [
        "spiffe://prod.example",
        CHECKOUT,
        "spiffe://1.2.3.4/a",
        "spiffe://..dots../a",
        "spiffe://under_score-1/a",
        "spiffe://prod.example/A.b-c_D/...",
        &longest,
        &longest_domain,
    ] {
        assert_eq!(parse_spiffe_id(good).map(|id| id.to_string()).as_deref(), Some(good));
    }
    let too_long = format!("{longest}a");
    let too_long_domain = format!("spiffe://{}/a", "d".repeat(256));
    for bad in [
        "",
        "spiffe",
        "spiffe:",
        "spiffe://",
        "spiffe:///a",
        "spiffe:/prod.example/a",
        "https://prod.example/a",
        "spiffe://prod.example/",
        "spiffe://prod.example/a/",
        "spiffe://prod.example//a",
        "spiffe://prod.example/./a",
        "spiffe://prod.example/a/..",
        "spiffe://prod.example/a?b",
        "spiffe://prod.example/a#b",
        "spiffe://prod.example?b",
        "spiffe://prod.example/%61",
        "spiffe://prod%2eexample/a",
        "spiffe://prod.example:443/a",
        "spiffe://user@prod.example/a",
        "spiffe://[::1]/a",
        "spiffe://prod.example/*",
        "spiffe://prödexample/a",
        " spiffe://prod.example/a",
        "spiffe://prod.example/a\n",
        &too_long,
        &too_long_domain,
    ] {
        assert_eq!(parse_spiffe_id(bad), None, "{bad:?}");
    }
}

// SPIFFE-ID section 2.4
#[test]
fn upper_case_is_refused_in_scheme_and_trust_domain_and_kept_in_the_path() {
    for bad in
        ["Spiffe://prod.example/a", "SPIFFE://prod.example/a", "spiffe://Prod.example/a", "spiffe://PROD.EXAMPLE/a"]
    {
        assert_eq!(parse_spiffe_id(bad), None, "{bad}");
        let fixture = TestAuthority::new();
        assert_eq!(fixture.prove(&fixture.prod.svid(bad).issue()).unwrap_err(), Unproven::InvalidSpiffeId, "{bad}");
    }
    assert_ne!(parse_spiffe_id("spiffe://prod.example/A"), parse_spiffe_id("spiffe://prod.example/a"));
}

// X509-SVID sections 2, 3.1, 3.2, 4.1, 4.3, 4.4 and 5.2
#[test]
fn an_svid_that_breaks_one_rule_proves_nobody() {
    let fixture = TestAuthority::new();
    let svid = || fixture.prod.svid(CHECKOUT);
    let names_not_critical = || {
        let name = der::element(0x86, CHECKOUT.as_bytes());
        fixture.prod.client_certificate().extension(&NAMES, false, der::sequence(&[name]))
    };
    for good in [
        svid(),
        svid().common_name("checkout"),
        svid().without_eku(),
        svid().dns("checkout.shop").email("checkout@shop.example").ip([10, 0, 0, 1].into()).other_name("checkout"),
        names_not_critical().common_name("checkout"),
    ] {
        let peer = fixture.peer(&good.issue());
        assert_eq!(peer.spiffe_id().map(ToString::to_string).as_deref(), Some(CHECKOUT));
        assert_eq!(peer.to_string(), CHECKOUT);
    }
    let refused: [(&str, LeafBuilder<'_>, Unproven); 16] = [
        ("two SPIFFE IDs", svid().two_uris(), Unproven::SeveralUris),
        ("another URI after it", svid().uri("https://prod.example"), Unproven::SeveralUris),
        ("the same URI twice", svid().uri(CHECKOUT), Unproven::SeveralUris),
        ("no path", fixture.prod.svid("spiffe://prod.example"), Unproven::InvalidSpiffeId),
        ("root path", fixture.prod.svid("spiffe://prod.example/"), Unproven::InvalidSpiffeId),
        ("a CA", svid().ca_leaf(), Unproven::SigningCertificate),
        ("keyCertSign", svid().with_key_cert_sign(), Unproven::SigningCertificate),
        ("cRLSign", svid().with_crl_sign(), Unproven::SigningCertificate),
        ("no digitalSignature", svid().without_digital_signature(), Unproven::KeyUsage),
        ("no keyUsage", svid().without_key_usage(), Unproven::KeyUsage),
        ("keyUsage not critical", svid().with_key_usage_not_critical(), Unproven::KeyUsage),
        ("clientAuth only", svid().eku_client_only(), Unproven::ExtendedKeyUsage),
        ("serverAuth only", svid().eku_server_only(), Unproven::ExtendedKeyUsage),
        ("names not critical beside an empty subject", names_not_critical(), Unproven::NamesNotCritical),
        ("expired", svid().expired(), Unproven::Expired),
        ("not yet valid", svid().not_yet_valid(), Unproven::NotYetValid),
    ];
    for (what, builder, why) in refused {
        assert_eq!(fixture.prove(&builder.issue()).unwrap_err(), why, "{what}");
    }
}

// X509-SVID section 5.1; SPIFFE Federation section 4.2; draft-ietf-oauth-spiffe-client-auth section 6.2.3:
// a SPIFFE ID never falls back to another rule
#[test]
fn an_svid_needs_a_path_to_its_own_trust_domain_and_to_nothing_else() {
    let fixture = TestAuthority::new();
    let below = fixture.prod.intermediate("below");
    assert!(fixture.prove(&below.svid(CHECKOUT).issue()).is_ok());
    let no_path = |leaf: &Leaf| assert_eq!(fixture.prove(leaf).unwrap_err(), Unproven::NoPath);
    no_path(&fixture.staging.svid(CHECKOUT).issue());
    no_path(&fixture.partner.svid(CHECKOUT).issue());
    no_path(&TestCa::new("prod.example").svid(CHECKOUT).issue());
    let mut without_intermediate = below.svid(CHECKOUT).issue();
    without_intermediate.chain.truncate(1);
    no_path(&without_intermediate);
    let unknown = fixture.prod.svid("spiffe://unknown.example/a").issue();
    assert_eq!(fixture.prove(&unknown).unwrap_err(), Unproven::UnknownTrustDomain);
}

// Five domains, every pair, directly and through intermediates that the attacker sends along
#[test]
fn no_trust_domain_vouches_for_a_name_of_another() {
    let names: Vec<String> = (0..5).map(|number| format!("domain-{number}.example")).collect();
    // The last two share a key, as after a copied disk; their names still differ.
    let shared = KeyPair::generate().unwrap().serialize_der();
    let cas: Vec<TestCa> = names
        .iter()
        .enumerate()
        .map(|(number, name)| match number {
            3 | 4 => TestCa::with_key(name, NOW, KeyPair::try_from(shared.as_slice()).unwrap()),
            _ => TestCa::new(name),
        })
        .collect();
    let trust_domains = names.iter().zip(&cas).map(|(name, ca)| (TrustDomain::new(name).unwrap(), ca.anchors().into()));
    let bundles = TrustBundles { trust_domains: trust_domains.collect(), ..TrustBundles::default() };
    for (signer, ca) in cas.iter().enumerate() {
        let intermediate = ca.intermediate("below");
        for (named, name) in names.iter().enumerate() {
            let id = format!("spiffe://{name}/victim");
            for leaf in [ca.svid(&id).issue(), intermediate.svid(&id).issue()] {
                let mut with_everything = leaf.chain.clone();
                with_everything.extend(cas.iter().map(|ca| ca.der().clone()));
                for chain in [&leaf.chain, &with_everything] {
                    let proven = bundles.prove(chain, NOW, |_| false);
                    assert_eq!(proven.is_ok(), signer == named, "{signer} signed for {named}: {proven:?}");
                }
            }
        }
    }
}

#[test]
fn certificates_appended_to_the_chain_change_nothing() {
    let fixture = TestAuthority::new();
    let leaf = fixture.prod.svid(CHECKOUT).issue();
    let victim = "spiffe://prod.example/ns/shop/sa/victim";
    let appended = [
        fixture.staging.svid(victim).issue(),
        fixture.prod.svid(victim).issue(),
        self_signed("victim").uri(victim).issue(),
        self_signed("prod.example CA").issue(),
        fixture.partner.client_certificate().common_name("victim").issue(),
        self_signed("victim").version_1().issue(),
    ]
    .map(|leaf| leaf.certificate().clone());
    let mut random = Xorshift::new(1);
    for _ in 0..200 {
        let count = random.below(8);
        let mut chain = vec![leaf.certificate().clone()];
        chain.extend((0..count).map(|_| random.pick(&appended).clone()));
        // A chain that webpki cannot make anything of may be refused; it never makes somebody else of the peer.
        match fixture.authority.prove_now(&chain) {
            Ok(peer) => {
                assert_eq!(peer.to_string(), CHECKOUT);
                assert_eq!(peer.thumbprint(), leaf.thumbprint());
            }
            Err(refused) => assert_eq!(refused, Unproven::NoPath),
        }
    }
    let foreign_leaf_first = [fixture.staging.svid(CHECKOUT).issue().chain, leaf.chain].concat();
    assert_eq!(fixture.authority.prove_now(&foreign_leaf_first).unwrap_err(), Unproven::NoPath);
}

#[test]
fn only_exactly_one_uri_that_is_a_spiffe_id_identifies() {
    let fixture = TestAuthority::new();
    let key = KeyPair::generate().unwrap().serialize_der();
    let uris = [CHECKOUT, "spiffe://prod.example/other", "https://prod.example/a", "urn:prod:a"];
    let mut lists: Vec<Vec<&str>> = vec![vec![]];
    for _ in 0..3 {
        let longer = lists.iter().flat_map(|list| uris.iter().map(move |uri| [list.as_slice(), &[*uri]].concat()));
        lists = lists.iter().cloned().chain(longer).collect();
    }
    lists.sort_unstable();
    lists.dedup();
    assert_eq!(lists.len(), 1 + 4 + 16 + 64);
    let beside: [fn(LeafBuilder<'_>) -> LeafBuilder<'_>; 4] = [
        |builder| builder,
        |builder| builder.dns(CHECKOUT),
        |builder| builder.email(CHECKOUT),
        |builder| builder.other_name(CHECKOUT),
    ];
    for list in &lists {
        for other in beside {
            let builder = fixture.prod.client_certificate().key(&key);
            let leaf = other(list.iter().fold(builder, |builder, uri| builder.uri(uri))).issue();
            let spiffe_ids = list.iter().filter(|uri| uri.starts_with("spiffe:")).count();
            match fixture.prove(&leaf) {
                Ok(peer) => assert_eq!(peer.to_string(), list.join(" "), "{list:?}"),
                Err(refused) if spiffe_ids == 0 => assert_eq!(refused, Unproven::Unknown, "{list:?}"),
                Err(refused) => {
                    assert_eq!(refused, Unproven::SeveralUris, "{list:?}");
                    assert!(list.len() > 1, "{list:?}");
                }
            }
        }
    }
}

// RFC 8705 section 7.5
#[test]
fn a_byte_outside_the_charset_in_the_uri_makes_no_identity() {
    let fixture = TestAuthority::new();
    let key = KeyPair::generate().unwrap().serialize_der();
    for byte in 0..=u8::MAX {
        let uri = [b"spiffe://prod.example/ns/shop", &[byte][..], b"sa"].concat();
        let leaf = fixture.prod.client_certificate().key(&key).raw_names(&[(0x86, &uri)]).issue();
        let allowed = byte.is_ascii_alphanumeric() || b".-_/".contains(&byte);
        match fixture.prove(&leaf) {
            Ok(peer) => assert!(allowed && peer.to_string().as_bytes() == uri, "{byte:#x}"),
            Err(refused) if byte == 0 => assert_eq!(refused, Unproven::Invalid(InvalidCertificate::NulInName)),
            Err(Unproven::Invalid(InvalidCertificate::UnreadableName)) => assert!(byte >= 0x80, "{byte:#x}"),
            Err(refused) => assert!(!allowed && refused == Unproven::InvalidSpiffeId, "{byte:#x} {refused}"),
        }
    }
}

#[test]
fn names_that_others_would_cut_or_read_differently_are_refused() {
    let fixture = TestAuthority::new();
    let refused = |names: &[(u8, &[u8])], why| {
        let leaf = fixture.prod.client_certificate().raw_names(names).issue();
        assert_eq!(fixture.prove(&leaf).unwrap_err(), Unproven::Invalid(why), "{names:?}");
    };
    let id = CHECKOUT.as_bytes();
    refused(&[(0x86, b"spiffe://prod.example/a\0.evil")], InvalidCertificate::NulInName);
    refused(&[(0x86, id), (0x82, b"checkout\0.evil")], InvalidCertificate::NulInName);
    refused(&[(0x86, id), (0x81, b"a@b\0")], InvalidCertificate::NulInName);
    refused(&[(0x86, id), (0x82, b"\xff\xfe")], InvalidCertificate::UnreadableName);
    refused(&[(0x86, id), (0x87, &[10, 0, 0, 1, 9])], InvalidCertificate::UnreadableName);
    refused(&[(0x86, id), (0x89, b"no such kind of name")], InvalidCertificate::UnreadableName);
    let many: Vec<(u8, &[u8])> = (0..257).map(|_| (0x82, &b"a"[..])).collect();
    refused(&many, InvalidCertificate::TooManyNames);
}

// RFC 8705 section 7.5: what one parser reads and another does not
#[test]
fn an_extension_that_stands_twice_or_goes_on_after_its_end_is_refused() {
    let fixture = TestAuthority::new();
    let names = der::sequence(&[der::element(0x86, CHECKOUT.as_bytes())]);
    let twice = fixture.prod.svid(CHECKOUT).extension(&NAMES, true, names.clone());
    assert_eq!(fixture.prove(&twice.issue()).unwrap_err(), Unproven::Invalid(InvalidCertificate::UnreadableName));
    let key_usage_twice = fixture.prod.svid(CHECKOUT).extension(&[2, 5, 29, 15], true, vec![3, 2, 7, 0x80]);
    let trailing = fixture.prod.client_certificate().extension(&NAMES, true, [names.as_slice(), &[5, 0]].concat());
    let not_der = fixture.prod.svid(CHECKOUT).extension(&[1, 2, 3], false, vec![0xff]);
    for builder in [key_usage_twice, trailing, not_der] {
        assert_eq!(
            fixture.prove(&builder.issue()).unwrap_err(),
            Unproven::Invalid(InvalidCertificate::NotACertificate)
        );
    }
    let mut followed = fixture.prod.svid(CHECKOUT).issue().certificate().to_vec();
    followed.push(0);
    let followed = fixture.authority.prove_now(&[followed.into()]).unwrap_err();
    assert_eq!(followed, Unproven::Invalid(InvalidCertificate::NotACertificate));
}
