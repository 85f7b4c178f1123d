//! The forms of names that keytool, OpenSSL and Open Banking directories print (RFC 2253 section 4, RFC 1779). The
//! inputs of the first test are those of a report on Open Banking certificates.

use lanyard::authority::identity::DistinguishedName;

fn parse(text: &str) -> DistinguishedName {
    DistinguishedName::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn the_forms_that_programs_print_are_read_as_the_same_names() {
    for (one, other) in [
        ("1.3.6.1.4.1.311.60.2.1.3=BR,CN=api.banco.test,C=BR", "jurisdictionC=BR,CN=api.banco.test,C=BR"),
        ("jurisdictionCountryName=BR,CN=api.banco.test,C=BR", "1.3.6.1.4.1.311.60.2.1.3=BR,CN=api.banco.test,C=BR"),
        ("E=ops@corp.test,CN=svc,C=US", "emailAddress=ops@corp.test,CN=svc,C=US"),
        ("OID.2.5.4.5=123,CN=svc", "serialNumber=123,CN=svc"),
        ("CN=svc, C=US", "CN=svc,C=US"),
        ("CN = svc , C = US", "CN=svc,C=US"),
        ("  CN=svc  ", "CN=svc"),
        (r"CN=svc\ , C=US", r"CN=svc\20,C=US"),
        ("CN=a + O=b, C=US", "CN=a+O=b,C=US"),
        ("CN=#0c03666f6f , C=US", "CN=foo,C=US"),
        ("oid.1.3.6.1.4.1.311.60.2.1.3=BR", "jurisdictionC=BR"),
        ("jurisdictionLocalityName=a,jurisdictionStateOrProvinceName=b", "jurisdictionL=a,jurisdictionST=b"),
        ("T=Dr, DNQ=7, GENERATION=Jr", "title=Dr,dnQualifier=7,generationQualifier=Jr"),
    ] {
        assert_eq!(parse(one), parse(other), "{one} | {other}");
    }
}

#[test]
fn spaces_within_a_value_and_the_order_still_tell_names_apart() {
    for (one, other) in
        [("CN=a b", "CN=ab"), (r"CN=a\ b, C=US", "CN=ab,C=US"), ("C = US, CN = svc", "CN = svc, C = US")]
    {
        assert_ne!(parse(one), parse(other), "{one} | {other}");
    }
}

#[test]
fn the_order_of_openssl_is_recognised_by_its_ends() {
    for reversed in ["C = DE, O = Example, CN = a", "DC=net,DC=example,CN=a", "O=Example,CN=a", "C=DE,serialNumber=7"] {
        assert!(parse(reversed).is_probably_reversed(), "{reversed}");
        assert!(!parse(&DistinguishedName::in_reverse(reversed)).is_probably_reversed(), "{reversed}");
    }
    for usual in ["CN=a,O=Example,C=DE", "CN=a", "C=DE", "O=a,C=DE", "CN=a,OU=b,CN=c", "CN=a+C=DE,O=b", ""] {
        assert!(!DistinguishedName::parse(usual).is_ok_and(|name| name.is_probably_reversed()), "{usual}");
    }
}
