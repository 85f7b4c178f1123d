//! Names from text and from certificates are equal exactly when distinguishedNameMatch holds.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::io::Write;
use std::process::Command;
use std::process::Stdio;

use lanyard::authority::identity::DistinguishedName;
use lanyard::authority::identity::InvalidDistinguishedName;
use rcgen::CertificateParams;
use rcgen::DnType;
use rcgen::DnValue;
use rcgen::KeyPair;
use x509_parser::parse_x509_certificate;

const UTF8: u8 = 0x0c;
const PRINTABLE: u8 = 0x13;
const TELETEX: u8 = 0x14;
const IA5: u8 = 0x16;
const UNIVERSAL: u8 = 0x1c;
const BMP: u8 = 0x1e;

const CN: &[u8] = &[0x55, 4, 3];
const O: &[u8] = &[0x55, 4, 10];
const OU: &[u8] = &[0x55, 4, 11];
const DC: &[u8] = &[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x19];

#[test]
fn the_examples_of_rfc_4514_are_read() {
    let net = || [one(DC, IA5, b"net"), one(DC, IA5, b"example")];
    let named = |last: Vec<u8>| name(&[&net()[..], &[last]].concat());
    assert_match(
        "UID=jsmith,DC=example,DC=net",
        &named(one(&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 1], UTF8, b"jsmith")),
    );
    let sales = set(&[attribute(OU, PRINTABLE, b"Sales"), attribute(CN, PRINTABLE, b"J.  Smith")]);
    assert_match("OU=Sales+CN=J.  Smith,DC=example,DC=net", &named(sales));
    let james = one(CN, UTF8, b"James \"Jim\" Smith, III");
    assert_match(r#"CN=James \"Jim\" Smith\, III,DC=example,DC=net"#, &named(james));
    assert_match(r"CN=Before\0dAfter,DC=example,DC=net", &named(one(CN, UTF8, b"Before\rAfter")));
    assert_match("1.3.6.1.4.1.1466.0=#04024869", &name(&[one(&[0x2b, 6, 1, 4, 1, 0x8b, 0x3a, 0], 4, b"Hi")]));
    assert_match(r"CN=Lu\C4\8Di\C4\87", &name(&[one(CN, UTF8, "Lučić".as_bytes())]));
}

#[test]
fn these_ways_to_write_one_name_are_equal() {
    for (one, other) in [
        ("CN=checkout,O=Example", "cn=CHECKOUT,o=example"),
        ("CN=checkout,O=Example", "2.5.4.3=checkout,2.5.4.10=Example"),
        ("CN=checkout", "commonName=checkout"),
        ("CN=foo bar", r"CN=foo   bar\20\ "),
        ("CN=foo bar", r"CN=\ foo bar"),
        ("CN=foo bar", "CN=foo\u{a0}bar"),
        ("CN=foo bar", "CN=foo\tbar"),
        (r"CN=a\,b", r"CN=a\2cb"),
        (r"CN=a\,b", r"CN=\61\2C\62"),
        ("CN=a=b", r"CN=a\=b"),
        ("CN=a#b", r"CN=a\#b"),
        (r"CN=a\\b", r"CN=a\5cb"),
        ("CN=Lučić", r"CN=Lu\C4\8Di\C4\87"),
        ("CN=Lučić", "CN=Luc\u{30c}ic\u{301}"),
        ("CN=Lučić", "CN=LUČIĆ"),
        ("O=Straße", "O=STRASSE"),
        ("CN=ﬁle", "CN=file"),
        ("CN=\u{1d11e}", r"CN=\F0\9D\84\9E"),
        ("CN=\u{10400}", "CN=\u{10428}"),
        ("CN=ab", "CN=a\u{ad}b"),
        ("CN=ab", r"CN=a\07b"),
        ("CN=foo", "CN=#0c03666f6f"),
        ("CN=foo", "CN=#1303464F4F"),
        ("CN=foo", "CN=#0C8103666F6F"),
        ("OU=Sales+CN=Smith,O=x", "CN=Smith+OU=Sales,O=x"),
        ("C=de+ST=b+L=c", "L=C+C=DE+ST=B"),
        ("DC=Example,DC=NET", "DC=example,DC=net"),
        ("emailAddress=A@Example.com", "1.2.840.113549.1.9.1=a@example.COM"),
        ("SN=Smith+GN=Ann+serialNumber=7+title=Dr", "2.5.4.4=smith+2.5.4.42=ann+2.5.4.5=7+2.5.4.12=dr"),
        ("2.25.340282366920938463463374607431768211455=a", "2.25.340282366920938463463374607431768211455=A"),
    ] {
        let (one_name, other_name) = (parse(one), parse(other));
        assert_eq!(one_name, other_name, "{one} | {other}");
        assert!(HashSet::from([one_name]).contains(&other_name), "{one} | {other}");
    }
}

#[test]
fn these_names_are_not_equal() {
    for (one, other) in [
        ("CN=checkout,O=Example,C=DE", "C=DE,O=Example,CN=checkout"),
        ("DC=example,DC=net", "DC=net,DC=example"),
        ("CN=a,O=b", "CN=a,O=b,C=DE"),
        ("CN=a,O=b", "CN=a"),
        ("CN=a,O=b", "O=b"),
        ("CN=a,O=b", "CN=a+O=b"),
        ("CN=a,CN=b", "CN=b,CN=a"),
        ("CN=a,CN=a", "CN=a"),
        (r"CN=a\,O=b", "CN=a,O=b"),
        (r"CN=a\+O=b", "CN=a+O=b"),
        ("CN=a+O=b,C=DE", "CN=a+OU=b,C=DE"),
        ("CN=a+O=b", "CN=b+O=a"),
        ("CN=a", "UID=a"),
        ("CN=foo bar", "CN=foobar"),
        ("CN=foo", "CN=foo."),
        ("CN=e", "CN=é"),
        ("CN=i", "CN=ı"),
        ("CN=foo", "CN=#0403666f6f"),
        ("CN=#0403666f6f", "CN=#0404666f6f6f"),
        ("CN=#0403666f6f", "CN=#0403466f6f"),
        ("CN=#0403666f6f", "CN=#048103666f6f"),
        ("CN=#8c03666f6f", "CN=foo"),
    ] {
        assert_ne!(parse(one), parse(other), "{one} | {other}");
    }
}

#[test]
fn text_outside_the_grammar_is_refused() {
    use InvalidDistinguishedName as Invalid;
    for (text, reason) in [
        ("", Invalid::Empty),
        ("checkout", Invalid::Syntax { at: 0 }),
        ("=a", Invalid::Syntax { at: 0 }),
        ("CN=a,", Invalid::Syntax { at: 5 }),
        (",CN=a", Invalid::Syntax { at: 0 }),
        ("CN=a,,O=b", Invalid::Syntax { at: 5 }),
        ("CN=a+", Invalid::Syntax { at: 5 }),
        ("CN=a, ", Invalid::Syntax { at: 6 }),
        ("CN=a , ,O=b", Invalid::Syntax { at: 7 }),
        ("C N=a", Invalid::Syntax { at: 0 }),
        ("CN=a,\tO=b", Invalid::Syntax { at: 5 }),
        ("CN=a;O=b", Invalid::Syntax { at: 4 }),
        ("CN=\"a\"", Invalid::Syntax { at: 3 }),
        ("CN=a\"b", Invalid::Syntax { at: 4 }),
        ("CN=<a", Invalid::Syntax { at: 3 }),
        ("CN=a>", Invalid::Syntax { at: 4 }),
        ("/C=DE/CN=a", Invalid::Syntax { at: 0 }),
        ("OID.CN=a", Invalid::UnknownAttributeType { at: 0 }),
        (r"CN=a\", Invalid::Syntax { at: 4 }),
        (r"CN=a\x", Invalid::Syntax { at: 4 }),
        (r"CN=a\4", Invalid::Syntax { at: 4 }),
        (r"CN=a\4g", Invalid::Syntax { at: 4 }),
        (r"CN=a\n", Invalid::Syntax { at: 4 }),
        ("CN=#", Invalid::Syntax { at: 4 }),
        ("CN=#0", Invalid::Syntax { at: 4 }),
        ("CN=#0c03666f6", Invalid::Syntax { at: 4 }),
        ("CN=#0c03 666f6f", Invalid::Syntax { at: 4 }),
        ("CN=#zz", Invalid::Syntax { at: 4 }),
        ("Ü=a", Invalid::Syntax { at: 0 }),
        ("CN=a,X=b", Invalid::UnknownAttributeType { at: 5 }),
        ("S=a", Invalid::UnknownAttributeType { at: 0 }),
        ("2.5.4.03=a", Invalid::UnknownAttributeType { at: 0 }),
        ("3.1=a", Invalid::UnknownAttributeType { at: 0 }),
        ("CN=a+CN=b", Invalid::RepeatedAttributeType),
        ("CN=a+O=b+cn=a", Invalid::RepeatedAttributeType),
        ("CN=a+2.5.4.3=b", Invalid::RepeatedAttributeType),
        ("CN=", Invalid::EmptyValue),
        ("CN=,O=b", Invalid::EmptyValue),
        ("CN=#0c00", Invalid::EmptyValue),
        (r"CN=admin\00.evil", Invalid::Null),
        ("CN=admin\0evil", Invalid::Null),
        ("CN=#0c03610062", Invalid::Null),
        (r"CN=a\C4", Invalid::Characters),
        (r"CN=a\ED\A0\80", Invalid::Characters),
        (r"CN=a\C0\80", Invalid::Characters),
        ("CN=#0c01ff", Invalid::Characters),
        ("CN=#1301e9", Invalid::Characters),
        ("DC=exämple", Invalid::Characters),
        ("emailAddress=ä@example.com", Invalid::Characters),
        ("CN=#14024869", Invalid::UnsupportedString),
        ("CN=#1e0200480", Invalid::Syntax { at: 4 }),
        ("CN=#1e020048", Invalid::UnsupportedString),
        ("CN=#1c0400000048", Invalid::UnsupportedString),
        ("CN=\u{e000}", Invalid::ProhibitedCharacter),
        ("CN=\u{fffd}", Invalid::ProhibitedCharacter),
        ("CN=\u{fdd0}", Invalid::ProhibitedCharacter),
        ("CN=😀", Invalid::ProhibitedCharacter),
        ("CN=\u{1f130}", Invalid::ProhibitedCharacter),
        ("CN=#0c0366", Invalid::Encoding),
        ("CN=#0c01666f", Invalid::Encoding),
        ("CN=#2c050c03666f6f", Invalid::Encoding),
        ("CN=#2c800c03666f6f0000", Invalid::Encoding),
    ] {
        assert_eq!(DistinguishedName::parse(text), Err(reason), "{text:?}");
    }
}

#[test]
fn string_types_are_compared_across_but_never_with_octets() {
    for tag in [UTF8, PRINTABLE] {
        assert_match("CN=Foo Bar,O=x", &name(&[one(O, UTF8, b"X"), one(CN, tag, b" foo  BAR ")]));
    }
    assert_match("DC=Example", &name(&[one(DC, IA5, b"EXAMPLE")]));
    assert_match("DC=Example", &name(&[one(DC, UTF8, b"example")]));
    assert_eq!(from_der(&name(&[one(DC, UTF8, "ä".as_bytes())])), Err(InvalidDistinguishedName::Characters));
    assert_match("CN=svc_a@b", &name(&[one(CN, PRINTABLE, b"svc_a@b")]));
    assert_ne!(from_der(&name(&[one(CN, 4, b"foo")])).unwrap(), parse("CN=foo"));
}

#[test]
fn a_certificate_name_that_could_be_misread_is_refused() {
    use InvalidDistinguishedName as Invalid;
    let cn = |tag, value| name(&[one(CN, tag, value)]);
    let foo = one(CN, UTF8, b"foo");
    let trailing = [cn(UTF8, b"foo"), vec![0]].concat();
    let padded_type = name(&[one(&[0x55, 0x80, 4, 3], UTF8, b"foo")]);
    for (der, reason) in [
        (name(&[]), Invalid::Empty),
        (cn(UTF8, b"admin\0evil"), Invalid::Null),
        (cn(PRINTABLE, b"admin\0evil"), Invalid::Null),
        (cn(UTF8, b""), Invalid::EmptyValue),
        (cn(UTF8, b"\xff"), Invalid::Characters),
        (cn(PRINTABLE, b"\xe9"), Invalid::Characters),
        (cn(TELETEX, b"foo"), Invalid::UnsupportedString),
        (cn(BMP, b"\0f\0o\0o"), Invalid::UnsupportedString),
        (cn(UNIVERSAL, b"\0\0\0f"), Invalid::UnsupportedString),
        (cn(UTF8, "\u{e000}".as_bytes()), Invalid::ProhibitedCharacter),
        (name(&[set(&[attribute(CN, UTF8, b"a"), attribute(CN, UTF8, b"b")])]), Invalid::RepeatedAttributeType),
        (name(&[set(&[])]), Invalid::Encoding),
        (name(&[foo.clone(), tlv(0x30, &[])]), Invalid::Encoding),
        (cn(0x2c, &tlv(UTF8, b"foo")), Invalid::Encoding),
        (tlv(0x31, &foo), Invalid::Encoding),
        (trailing, Invalid::Encoding),
        (padded_type, Invalid::Encoding),
        (name(&[set(&[tlv(0x30, &[tlv(6, CN), tlv(UTF8, b"a"), tlv(UTF8, b"b")].concat())])]), Invalid::Encoding),
        (name(&[set(&[tlv(0x30, &tlv(6, CN))])]), Invalid::Encoding),
        (vec![], Invalid::Encoding),
    ] {
        assert_eq!(from_der(&der), Err(reason), "{der:02x?}");
    }
    for end in 0..name(&[foo.clone(), foo.clone()]).len() {
        from_der(&name(&[foo.clone(), foo.clone()])[..end]).unwrap_err();
    }
}

#[test]
fn any_byte_in_any_place_is_read_or_refused() {
    let der = name(&[one(DC, IA5, b"net"), set(&[attribute(CN, UTF8, "č".as_bytes()), attribute(O, 4, b"x")])]);
    let text = r"CN=a\C4\8D+O=\,b,DC=#1603666f6f,2.5.4.3=č";
    for byte in 0..=u8::MAX {
        for index in 0..der.len() {
            let mut changed = der.clone();
            changed[index] = byte;
            let _read = from_der(&changed);
        }
        for (index, character) in text.char_indices() {
            let (before, after) = (&text[..index], &text[index + character.len_utf8()..]);
            let _read = DistinguishedName::parse(&format!("{before}{}{after}", char::from(byte)));
        }
    }
}

#[test]
fn the_limits_are_the_last_that_pass() {
    let names = |count: usize| vec!["CN=a"; count].join(",");
    parse(&names(64));
    assert_eq!(DistinguishedName::parse(&names(65)), Err(InvalidDistinguishedName::TooManyRelativeNames));
    let long = |bytes: usize| format!("CN={}", "a".repeat(bytes - 3));
    parse(&long(4096));
    assert_eq!(DistinguishedName::parse(&long(4097)), Err(InvalidDistinguishedName::TooLong));
    assert!(from_der(&name(&vec![one(CN, UTF8, b"a"); 64])).is_ok());
    let refused = from_der(&name(&vec![one(CN, UTF8, b"a"); 65]));
    assert_eq!(refused, Err(InvalidDistinguishedName::TooManyRelativeNames));
    assert_eq!(from_der(&name(&[one(CN, UTF8, &[b'a'; 4096])])), Err(InvalidDistinguishedName::TooLong));
}

#[test]
fn the_subject_of_a_certificate_matches_its_registration() {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CountryName, DnValue::PrintableString("DE".try_into().unwrap()));
    params.distinguished_name.push(DnType::OrganizationName, "Société Générale, S.A.");
    params.distinguished_name.push(DnType::OrganizationalUnitName, DnValue::Ia5String("Ops".try_into().unwrap()));
    params.distinguished_name.push(DnType::CommonName, "Checkout");
    let subject = from_der(&subject_of(&params)).unwrap();
    assert_eq!(subject, parse(r"CN=checkout,OU=ops,O=Société  Générale\, S.A.,C=de"));
    assert_ne!(subject, parse(r"C=de,O=Société Générale\, S.A.,OU=ops,CN=checkout"));

    let mut nameless = CertificateParams::new(Vec::new()).unwrap();
    nameless.distinguished_name = rcgen::DistinguishedName::new();
    assert_eq!(from_der(&subject_of(&nameless)), Err(InvalidDistinguishedName::Empty));
}

#[test]
fn what_openssl_prints_in_rfc_2253_form_is_the_name_that_it_wrote() {
    for subject in [
        "/C=DE/O=Example/CN=checkout",
        "/C=DE/O=Example/OU=Sales+CN=J. Smith",
        r#"/O=a\+b\/c/CN=James "Jim" Smith, III; <x> \\ #=y"#,
        "/CN=#leading and trailing ",
        "/CN= leading",
        "/DC=net/DC=example/UID=jsmith/emailAddress=j@example.net",
        "/O=Société Générale/CN=Lučić/title=Dr/GN=Ann/SN=Smith/serialNumber=7",
        "/businessCategory=x/jurisdictionC=DE/organizationIdentifier=VAT-1/street=a/postalCode=1/dnQualifier=q",
        "/CN=\u{1d11e} music",
    ] {
        let Some(certificate) = openssl(
            &[
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
                "-keyout",
                "/dev/null",
                "-outform",
                "DER",
                "-utf8",
                "-subj",
                subject,
                "-multivalue-rdn",
            ],
            &[],
        ) else {
            return;
        };
        let (_, parsed) = parse_x509_certificate(&certificate).unwrap();
        let from_certificate = from_der(parsed.subject().as_raw()).unwrap();
        let print = |form| {
            let printed =
                openssl(&["x509", "-inform", "DER", "-noout", "-subject", "-nameopt", form], &certificate).unwrap();
            let printed = String::from_utf8(printed).unwrap();
            String::from(printed.trim_end_matches('\n').strip_prefix("subject=").unwrap())
        };
        assert_eq!(from_certificate, parse(&print("RFC2253")), "{subject}");
        // Types as numbers, and values as the hex of their encoding.
        assert_eq!(from_certificate, parse(&print("RFC2253,oid,dump_all,dump_der")), "{subject}");
        // The same form in the order of the encoding, which is openssl's default.
        let in_order = parse(&print("esc_2253,esc_ctrl,esc_msb,utf8,dump_unknown,dump_der,sep_comma_plus,sname"));
        assert_eq!(from_certificate == in_order, subject.matches('/').count() - subject.matches(r"\/").count() == 1);
        // In that order with spaces, and with quotes, which are refused.
        let printed = print("oneline");
        assert_eq!(DistinguishedName::parse(&printed).ok(), (!printed.contains('"')).then_some(in_order), "{printed}");
    }
}

fn parse(text: &str) -> DistinguishedName {
    DistinguishedName::parse(text).unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

fn from_der(der: &[u8]) -> Result<DistinguishedName, InvalidDistinguishedName> {
    DistinguishedName::from_der(der)
}

#[track_caller]
fn assert_match(text: &str, der: &[u8]) {
    assert_eq!(parse(text), from_der(der).unwrap(), "{text}");
}

fn subject_of(params: &CertificateParams) -> Vec<u8> {
    let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
    let (_, parsed) = parse_x509_certificate(certificate.der()).unwrap();
    parsed.subject().as_raw().to_vec()
}

/// What openssl writes, or `None` where there is no openssl.
fn openssl(arguments: &[&str], input: &[u8]) -> Option<Vec<u8>> {
    let child = Command::new("openssl")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match child {
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        started => started.unwrap(),
    };
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Some(output.stdout)
}

fn name(relative_names: &[Vec<u8>]) -> Vec<u8> {
    tlv(0x30, &relative_names.concat())
}

fn one(kind: &[u8], tag: u8, value: &[u8]) -> Vec<u8> {
    set(&[attribute(kind, tag, value)])
}

fn set(attributes: &[Vec<u8>]) -> Vec<u8> {
    tlv(0x31, &attributes.concat())
}

fn attribute(kind: &[u8], tag: u8, value: &[u8]) -> Vec<u8> {
    tlv(0x30, &[tlv(6, kind), tlv(tag, value)].concat())
}

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut encoded = match length {
        0..=0x7f => vec![tag, u8::try_from(length).unwrap()],
        _ => vec![tag, 0x82, u8::try_from(length >> 8).unwrap(), u8::try_from(length & 0xff).unwrap()],
    };
    encoded.extend_from_slice(content);
    encoded
}
