//! What proxies forward is read in the one way in which it can be meant, or refused.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lanyard::authority::evidence::InvalidForwardedCertificate as Invalid;
use lanyard::authority::evidence::parse_client_cert;
use lanyard::authority::evidence::parse_client_cert_chain;
use lanyard::authority::evidence::parse_forwarded_client_cert;
use lanyard::authority::evidence::parse_url_encoded_certificate;
use lanyard::authority::identity::DistinguishedName;

use crate::support::forwarded::Forwarded;
use crate::support::forwarded::H;
use crate::support::forwarded::OTHER;
use crate::support::forwarded::byte_sequence;
use crate::support::forwarded::octets;
use crate::support::forwarded::url_encoded;
use crate::support::leaf::pem;

#[test]
fn upper_case_hexadecimal_is_the_same_hash() {
    let read = |hash: &str| parse_forwarded_client_cert(format!("Hash={hash}").as_bytes());
    assert_eq!(read(&OTHER.to_uppercase()), read(OTHER));
}

/// The trusted hop writes `Hash`, the kinds of detail that it is set to, then the names of the client, as they stand.
#[test]
fn a_client_name_can_add_names_but_nothing_that_stands_before_them() {
    let forwarded = Forwarded::new();
    for (name, reason) in [
        ("spiffe://a/b;Hash={OTHER}", Invalid::RepeatedKey),
        ("spiffe://a/b;hAsH={OTHER}", Invalid::RepeatedKey),
        ("spiffe://a/b;By=spiffe://gateway", Invalid::MisplacedKey),
        ("spiffe://a/b;Subject=\"CN=admin\"", Invalid::MisplacedKey),
        ("spiffe://a/b;Cert=\"{CERT}\"", Invalid::MisplacedKey),
        ("spiffe://a/b;Chain=\"{CERT}\"", Invalid::MisplacedKey),
        ("spiffe://a/b;x=y", Invalid::UnknownKey),
        ("spiffe://a/b;x", Invalid::Pair),
        ("spiffe://a/b,c", Invalid::Pair),
        ("spiffe://a/b\"", Invalid::Quoting),
        ("\"spiffe://a/b\"c", Invalid::Quoting),
        ("\"spiffe://a/b", Invalid::Quoting),
        ("spiffe://a/b;DNS=c.example;URI=spiffe://c", Invalid::MisplacedKey),
    ] {
        assert_eq!(forwarded.read(&format!("By=spiffe://proxy;Hash={{H}};URI={name}")), Err(reason), "{name}");
        assert_eq!(forwarded.read(&format!("Hash={{H}};URI={name};DNS=x.example")), Err(reason), "{name}");
    }
    for name in ["x.example;URI=spiffe://admin", "x.example;Subject=\"CN=admin\"", "x.example;By=y"] {
        assert_eq!(forwarded.read(&format!("Hash={{H}};URI=;DNS={name}")), Err(Invalid::MisplacedKey), "{name}");
    }
}

/// The cases that the module's documentation calls indistinguishable: the names in these readings must not be trusted.
/// Where the hop replaces the header, a second element reveals the client's forgery.
#[test]
fn a_client_name_can_add_names_and_a_visible_second_element() {
    let forwarded = Forwarded::new();
    let read = |name: &str| forwarded.read(&format!("Hash={{H}};URI={name}")).unwrap();
    assert_eq!(read("spiffe://a/b;URI=spiffe://a/c").first().unwrap().uri, ["spiffe://a/b", "spiffe://a/c"]);
    assert_eq!(read("spiffe://a/b;DNS=c.example").first().unwrap().dns, ["c.example"]);
    let [first, second] = read("spiffe://a/b,By=spiffe://proxy;Hash={OTHER}").try_into().unwrap();
    assert_eq!((first.hash, second.hash), (Some(octets(H)), Some(octets(OTHER))));
}

/// Where the trusted hop appends to what its client sent, an open quote must not swallow what the hop says.
#[test]
fn an_open_quote_before_the_last_element_does_not_hide_it() {
    let forwarded = Forwarded::new();
    for sent in
        ["Hash={OTHER};Subject=\"", "Hash={OTHER};Subject=\"x", r#"Hash={OTHER};Subject="x\"#, "Hash={OTHER};URI=\""]
    {
        for appended in [
            "Hash={H}",
            "By=p;Hash={H};URI=spiffe://a/b",
            "By=p;Hash={H};Subject=\"\";URI=spiffe://a/b",
            "By=p;Hash={H};Subject=\"CN=a\";URI=spiffe://a/b",
            r#"By=p;Hash={H};Subject="\,CN=a";URI=spiffe://a/b"#,
            "By=p;Hash={CERT_HASH};Cert=\"{CERT}\";Subject=\"\";URI=spiffe://a/b",
        ] {
            assert_eq!(forwarded.read(&format!("{sent},{appended}")), Err(Invalid::Quoting), "{sent} | {appended}");
        }
    }
}

#[test]
fn the_subject_is_text_that_names_the_subject() {
    let read = parse_forwarded_client_cert(br#"Subject="CN=James \"Jim\" Smith\, III \\,DC=example,DC=net""#).unwrap();
    let subject = DistinguishedName::parse(read.first().unwrap().subject.as_deref().unwrap());
    assert_eq!(subject, DistinguishedName::parse(r"CN=james \22jim\22 smith\2c iii \5c,DC=example,DC=net"));
}

#[test]
fn the_limits_are_the_last_that_pass() {
    let elements = |count: usize| parse_forwarded_client_cert(vec!["URI=x"; count].join(",").as_bytes());
    assert_eq!(elements(32).unwrap().len(), 32);
    assert_eq!(elements(33), Err(Invalid::TooManyElements));
    let pairs = |count: usize| parse_forwarded_client_cert(vec!["URI=x"; count].join(";").as_bytes());
    assert_eq!(pairs(256).unwrap().first().unwrap().uri.len(), 256);
    assert_eq!(pairs(257), Err(Invalid::TooManyPairs));
    let bytes = |count: usize| parse_forwarded_client_cert(format!("URI={}", "x".repeat(count - 4)).as_bytes());
    bytes(64 * 1024).unwrap();
    assert_eq!(bytes(64 * 1024 + 1), Err(Invalid::TooLong));
}

#[test]
fn a_certificate_is_decoded_whatever_the_case_of_its_percent_signs() {
    // Bytes whose base64 is full of plus signs and slashes.
    let der = [&b"\xfb\xef\xbe\xff\xff\xff"[..], &[0xfb; 100]].concat();
    let encoded = url_encoded(&pem(&der));
    assert!(["%0A", "%20", "%2B", "%2F", "%3D"].iter().all(|escape| encoded.contains(escape)));
    let plain_plus = encoded.replace("%2B", "+").replace("%2F", "/");
    assert!(plain_plus.contains("++"));
    for text in [
        &encoded,
        &with_lower_case_escapes(&encoded),
        &plain_plus,
        &encoded.replace("%0A", "%0D%0A"),
        &pem_escaped_fully(&der),
    ] {
        assert_eq!(parse_url_encoded_certificate(text.as_bytes()), Ok(der.clone()), "{text}");
    }
    for text in [
        encoded.replace("%2B", "%20"),
        encoded.replace("%2B", " "),
        encoded.replace("%2B", "-"),
        encoded.replace("%2B", "%252B"),
        encoded.replace("%3D", ""),
        encoded.replace("CERTIFICATE", "TRUSTED%20CERTIFICATE"),
        encoded.replace("-----END%20CERTIFICATE-----", ""),
        encoded.replace("-----BEGIN", "%0A-----BEGIN"),
        format!("{encoded}%2"),
        format!("{encoded}%0g"),
        format!("{encoded}{encoded}"),
        format!("{encoded}%00"),
        String::from("-----BEGIN%20CERTIFICATE-----%0A-----END%20CERTIFICATE-----%0A"),
        STANDARD.encode(&der),
    ] {
        assert_eq!(parse_url_encoded_certificate(text.as_bytes()), Err(Invalid::Certificate), "{text}");
    }
    assert_eq!(parse_url_encoded_certificate(pem(&der).as_bytes()), Err(Invalid::Unprintable));
}

#[test]
fn client_cert_is_one_byte_sequence_in_one_header() {
    let forwarded = Forwarded::new();
    let item = format!(":{}:", STANDARD.encode(&forwarded.der));
    for value in [item.clone(), format!(" {item}  ")] {
        assert_eq!(parse_client_cert([value.as_bytes()]), Ok(forwarded.der.clone()), "{value}");
    }
    assert_eq!(parse_client_cert([]), Err(Invalid::Empty));
    assert_eq!(parse_client_cert([&b""[..]]), Err(Invalid::Empty));
    assert_eq!(parse_client_cert([item.as_bytes(), item.as_bytes()]), Err(Invalid::RepeatedHeader));
    assert_eq!(parse_client_cert([item.as_bytes(), b""]), Err(Invalid::RepeatedHeader));
    assert_eq!(parse_client_cert([&b":AAEC\xff:"[..]]), Err(Invalid::Unprintable));
    assert_eq!(parse_client_cert([&b":AAEC\n:"[..]]), Err(Invalid::Unprintable));
    assert_eq!(parse_client_cert([&vec![b'A'; 64 * 1024 + 1][..]]), Err(Invalid::TooLong));
    assert_eq!(parse_client_cert([&b":+/8=:"[..]]), Ok(vec![0xfb, 0xff]));
    for refused in [
        " ",
        ":",
        "::",
        "AAEC",
        ":AAEC",
        "AAEC:",
        "\"AAEC\"",
        ":AAEC:;a=b",
        ":AAEC:,:AAEC:",
        ":AAEC:, :AAEC:",
        "(:AAEC:)",
        ": AAEC:",
        ":AA EC:",
        ":AAE:",
        ":AA:",
        ":AA=:",
        ":AB==:",
        ":-_8=:",
        ":%2B/8=:",
        ":AAEC=:",
        ":AAEC::AAEC:",
    ] {
        assert_eq!(parse_client_cert([refused.as_bytes()]), Err(Invalid::ByteSequence), "{refused}");
    }
}

#[test]
fn client_cert_chain_is_a_list_of_byte_sequences_in_any_number_of_headers() {
    let forwarded = Forwarded::new();
    let [one, two] = [&forwarded.above, &forwarded.der].map(|der| byte_sequence(der));
    let both = Ok(vec![forwarded.above.clone(), forwarded.der.clone()]);
    let read = |lines: &[&str]| parse_client_cert_chain(lines.iter().map(|line| line.as_bytes()));
    assert_eq!(read(&[]), Ok(vec![]));
    assert_eq!(read(&[&one]), Ok(vec![forwarded.above.clone()]));
    for lines in [vec![&*format!("{one},{two}")], vec![&*format!(" {one} , {two} ")], vec![&*one, &*two]] {
        assert_eq!(read(&lines), both, "{lines:?}");
    }
    assert_eq!(read(&[&[":AAEC:"; 9].join(", ")]).map(|chain| chain.len()), Ok(9));
    assert_eq!(read(&[&[":AAEC:"; 10].join(", ")]), Err(Invalid::ChainTooLong));
    assert_eq!(read(&[":AAEC:"; 10]), Err(Invalid::ChainTooLong));
    assert_eq!(read(&[":AAEC:", ""]), Err(Invalid::Empty));
    assert_eq!(read(&[":AAEC:,\t:AAEC:"]), Err(Invalid::Unprintable));
    for refused in
        [" ", ",", ":AAEC:,", ",:AAEC:", ":AAEC:;a=b", "(:AAEC: :AAEC:)", ":AAEC: :AAEC:", "::", ":AAE:", "AAEC"]
    {
        assert_eq!(read(&[refused]), Err(Invalid::ByteSequence), "{refused}");
    }
}

#[test]
fn any_byte_in_any_place_is_read_or_refused() {
    let header = br#"By=a;Hash="00";Cert="%2d";Chain="%2d";Subject="CN="a"";URI=b;DNS=c,URI=""""#;
    for (index, byte) in (0..header.len()).flat_map(|index| (0..=u8::MAX).map(move |byte| (index, byte))) {
        let mut changed = header.to_vec();
        changed[index] = byte;
        let _read = parse_forwarded_client_cert(&changed);
        let _read = parse_url_encoded_certificate(&changed);
        let _read = parse_client_cert([&changed[..]]);
        let _read = parse_client_cert_chain([&changed[..]]);
    }
}

fn with_lower_case_escapes(text: &str) -> String {
    let escapes = ["%0A", "%2B", "%2F", "%3D"];
    escapes.iter().fold(String::from(text), |text, escape| text.replace(escape, &escape.to_lowercase()))
}

fn pem_escaped_fully(der: &[u8]) -> String {
    let escaped: Vec<_> = pem(der).bytes().map(|byte| format!("%{byte:02x}")).collect();
    escaped.concat()
}
