//! What proxies forward is read in the one way in which it can be meant, or refused.

use aws_lc_rs::digest::SHA256;
use aws_lc_rs::digest::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lanyard::authority::distinguished_name::DistinguishedName;
use lanyard::authority::forwarded_certificate::ForwardedElement;
use lanyard::authority::forwarded_certificate::InvalidForwardedCertificate as Invalid;
use lanyard::authority::forwarded_certificate::parse_client_cert;
use lanyard::authority::forwarded_certificate::parse_forwarded_client_cert;
use lanyard::authority::forwarded_certificate::parse_url_encoded_certificate;
use rcgen::CertificateParams;
use rcgen::KeyPair;

const H: &str = "468ed33be74eee6556d90c0149c1309e9ba61d6425303443c0748a02dd8de688";
const OTHER: &str = "0380ed2f626650c840b2f263e6d2b29fae12ab39ae5db32b25ad27efad72e6fd";

/// Text is put together as a proxy would, with `{H}`, `{OTHER}`, `{CERT}` and `{CERT_HASH}` filled in.
struct Forwarded {
    der: Vec<u8>,
}

impl Forwarded {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![String::from("checkout.example")]).unwrap();
        Self { der: params.self_signed(&key).unwrap().der().to_vec() }
    }

    fn header(&self, template: &str) -> String {
        template
            .replace("{CERT}", &url_encoded(&pem(&self.der)))
            .replace("{CERT_HASH}", &hex(&self.hash()))
            .replace("{H}", H)
            .replace("{OTHER}", OTHER)
    }

    fn read(&self, template: &str) -> Result<Vec<ForwardedElement>, Invalid> {
        parse_forwarded_client_cert(self.header(template).as_bytes())
    }

    fn hash(&self) -> [u8; 32] {
        digest(&SHA256, &self.der).as_ref().try_into().unwrap()
    }
}

#[test]
fn each_of_these_headers_is_read_as_it_is_meant() {
    let forwarded = Forwarded::new();
    let hash = Some(octets(H));
    let other = Some(octets(OTHER));
    let with_hash = || ForwardedElement { hash, ..Default::default() };
    let named = |uri: &[&str], dns: &[&str]| ForwardedElement { uri: strings(uri), dns: strings(dns), ..with_hash() };
    let subject = |text: &str| ForwardedElement { subject: Some(String::from(text)), ..with_hash() };
    let certificate = || ForwardedElement { certificate: Some(forwarded.der.clone()), ..Default::default() };
    let by = |by: &[&str]| ForwardedElement { by: strings(by), ..with_hash() };
    for (header, expected) in [
        ("Hash={H}", vec![with_hash()]),
        ("By=spiffe://a/b;Hash={H}", vec![by(&["spiffe://a/b"])]),
        ("By=spiffe://a/b;By=https://b;Hash={H}", vec![by(&["spiffe://a/b", "https://b"])]),
        ("By=;Hash={H}", vec![with_hash()]),
        ("Hash={H};URI=spiffe://a/b", vec![named(&["spiffe://a/b"], &[])]),
        (
            "Hash={H};URI=spiffe://a/b;DNS=x.example;DNS=y.example",
            vec![named(&["spiffe://a/b"], &["x.example", "y.example"])],
        ),
        ("Hash={H};URI=spiffe://a/b;URI=https://b", vec![named(&["spiffe://a/b", "https://b"], &[])]),
        ("Hash={H};URI=", vec![with_hash()]),
        ("Hash={H};URI=;DNS=x.example", vec![named(&[], &["x.example"])]),
        ("Hash={H};URI=https://a/?b=c", vec![named(&["https://a/?b=c"], &[])]),
        ("Hash={H};URI=\"spiffe://a/b\"", vec![named(&["spiffe://a/b"], &[])]),
        ("Hash={H};URI=\"https://a/;b,c=d\"", vec![named(&["https://a/;b,c=d"], &[])]),
        (r#"Hash={H};URI="https://a/\"b\"";DNS=x.example"#, vec![named(&["https://a/\"b\""], &["x.example"])]),
        ("Hash=\"{H}\"", vec![with_hash()]),
        ("HASH={H};uri=spiffe://A/b;dNs=X.example", vec![named(&["spiffe://A/b"], &["X.example"])]),
        ("Hash={H};Subject=\"\"", vec![subject("")]),
        ("Hash={H};Subject=", vec![subject("")]),
        ("Hash={H};Subject=\"CN=checkout,O=Example;x\"", vec![subject("CN=checkout,O=Example;x")]),
        (r#"Hash={H};Subject="CN=James \"Jim\" Smith\, III""#, vec![subject(r#"CN=James \"Jim\" Smith\, III"#)]),
        (r#"Hash={H};Subject="CN=ends in one\\""#, vec![subject(r"CN=ends in one\\")]),
        (r#"Hash={H};Subject="CN=\\\",URI=x""#, vec![subject(r#"CN=\\\",URI=x"#)]),
        ("Subject=\"/C=US/CN=Test Client\";Hash={H}", vec![subject("/C=US/CN=Test Client")]),
        ("Cert=\"{CERT}\"", vec![certificate()]),
        ("Cert={CERT}", vec![certificate()]),
        ("Hash={CERT_HASH};Cert=\"{CERT}\"", vec![ForwardedElement { hash: Some(forwarded.hash()), ..certificate() }]),
        ("Cert=\"{CERT}\";Hash={CERT_HASH}", vec![ForwardedElement { hash: Some(forwarded.hash()), ..certificate() }]),
        ("Cert=\"{CERT}\";Chain=\"{CERT}{CERT}\"", vec![certificate()]),
        ("Hash={H};Chain=\"nonsense\"", vec![with_hash()]),
        ("By=x;Hash={H},By=y;Hash={OTHER}", vec![by(&["x"]), ForwardedElement { hash: other, ..by(&["y"]) }]),
        ("Hash={H},Hash={H},Hash={H}", vec![with_hash(), with_hash(), with_hash()]),
        ("Hash={H};URI=,Hash={H}", vec![with_hash(), with_hash()]),
        ("Hash={H},  Hash={H}", vec![with_hash(), with_hash()]),
        ("DNS=x.example", vec![ForwardedElement { hash: None, ..named(&[], &["x.example"]) }]),
        ("URI=", vec![ForwardedElement::default()]),
    ] {
        assert_eq!(forwarded.read(header), Ok(expected), "{header}");
    }
}

#[test]
fn upper_case_hexadecimal_is_the_same_hash() {
    let read = |hash: &str| parse_forwarded_client_cert(format!("Hash={hash}").as_bytes());
    assert_eq!(read(&OTHER.to_uppercase()), read(OTHER));
}

#[test]
fn each_of_these_headers_is_refused() {
    let forwarded = Forwarded::new();
    for (header, reason) in [
        ("", Invalid::Empty),
        (" ", Invalid::Pair),
        ("nonsense", Invalid::Pair),
        ("=x", Invalid::Pair),
        (";Hash={H}", Invalid::Pair),
        ("Hash={H};", Invalid::Pair),
        ("Hash={H};;URI=x", Invalid::Pair),
        (",Hash={H}", Invalid::Pair),
        ("Hash={H},", Invalid::Pair),
        ("Hash={H}, ", Invalid::Pair),
        ("Hash={H},,Hash={H}", Invalid::Pair),
        ("Hash={H}; URI=x", Invalid::Pair),
        ("Hash ={H}", Invalid::Pair),
        ("\"Hash\"={H}", Invalid::Pair),
        ("Hash={H};URI", Invalid::Pair),
        ("Hash={H};URI,Hash={H}", Invalid::Pair),
        ("Hash={H};SAN=spiffe://a/b", Invalid::UnknownKey),
        ("Hash={H};IP=10.0.0.1", Invalid::UnknownKey),
        ("Hash={H};X-Y=z", Invalid::UnknownKey),
        ("Hash={H};Hash={H}", Invalid::RepeatedKey),
        ("Hash={H};hash={OTHER}", Invalid::RepeatedKey),
        ("Subject=\"CN=a\";Subject=\"CN=b\"", Invalid::RepeatedKey),
        ("Cert=\"{CERT}\";Cert=\"{CERT}\"", Invalid::RepeatedKey),
        ("Chain=\"\";Chain=\"\"", Invalid::RepeatedKey),
        ("Hash={H};URI=x;By=y", Invalid::MisplacedKey),
        ("Hash={H};DNS=x;URI=y", Invalid::MisplacedKey),
        ("Hash= {H}", Invalid::Quoting),
        ("Hash={H} ", Invalid::Quoting),
        ("Hash={H} ,Hash={H}", Invalid::Quoting),
        ("Hash={H};Subject=CN=a", Invalid::Quoting),
        ("Hash={H};Subject=\"CN=a", Invalid::Quoting),
        ("Hash={H};Subject=\"", Invalid::Quoting),
        ("Hash={H};Subject=CN\"", Invalid::Quoting),
        ("Hash={H};Subject=\"CN=a\"b", Invalid::Quoting),
        ("Hash={H};Subject=\"CN=a\" ;URI=x", Invalid::Quoting),
        ("Hash={H};Subject=\"CN=a\"\"b\"", Invalid::Quoting),
        (r#"Hash={H};Subject="CN=a\""#, Invalid::Quoting),
        (r#"Hash={H};Subject="CN=a\"#, Invalid::Quoting),
        (r#"Hash={H};URI="a\\""#, Invalid::Quoting),
        (r#"Hash={H};URI="a\b""#, Invalid::Quoting),
        (r"Hash={H};URI=a\b", Invalid::Quoting),
        ("Hash={H};URI=a\"b", Invalid::Quoting),
        ("Hash={H};URI=spiffe://a /b", Invalid::Quoting),
        ("Hash=", Invalid::Hash),
        ("Hash=\"\"", Invalid::Hash),
        ("Hash=00{H}", Invalid::Hash),
        ("Hash=+0380ed2f626650c840b2f263e6d2b29fae12ab39ae5db32b25ad27efad72e6f", Invalid::Hash),
        ("Hash=468ed33be74eee6556d90c0149c1309e9ba61d6425303443c0748a02dd8de6", Invalid::Hash),
        ("Hash=468ed33be74eee6556d90c0149c1309e9ba61d6425303443c0748a02dd8de68g", Invalid::Hash),
        ("Hash=A4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v0", Invalid::Hash),
        ("Hash=A4:DT:L2", Invalid::Hash),
        ("Cert=", Invalid::Certificate),
        ("Cert=\"\"", Invalid::Certificate),
        ("Cert=\"{CERT}{CERT}\"", Invalid::Certificate),
        ("Cert=\"x{CERT}\"", Invalid::Certificate),
        ("Cert=\"{CERT}x\"", Invalid::Certificate),
        ("Cert=\"{CERT}%\"", Invalid::Certificate),
        ("Hash={H};Cert=\"{CERT}\"", Invalid::HashMismatch),
        ("Cert=\"{CERT}\";Hash={OTHER}", Invalid::HashMismatch),
        ("Hash={CERT_HASH};Cert=\"{CERT}\",Hash={H};Cert=\"{CERT}\"", Invalid::HashMismatch),
        ("Hash={H};URI=spiffe://a/\0b", Invalid::Unprintable),
        ("Hash={H};URI=spiffe://a/b\r\nx: y", Invalid::Unprintable),
        ("Hash={H};Subject=\"CN=\tx\"", Invalid::Unprintable),
        ("Hash={H};Subject=\"CN=Lučić\"", Invalid::Unprintable),
        ("Hash={H};URI=\u{7f}", Invalid::Unprintable),
    ] {
        assert_eq!(forwarded.read(header), Err(reason), "{header:?}");
    }
    let not_utf8 = [b"Hash=", H.as_bytes(), b";URI=\xff"].concat();
    assert_eq!(parse_forwarded_client_cert(&not_utf8), Err(Invalid::Unprintable));
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
        ("spiffe://a/b;Chain=\"x\"", Invalid::MisplacedKey),
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

/// What the module's documentation says cannot be told apart: these readings are not to be believed for their names, and
/// where the hop replaces the header a second element gives the client away.
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
fn any_byte_in_any_place_is_read_or_refused() {
    let header = br#"By=a;Hash="00";Cert="%2d";Subject="CN="a"";URI=b;DNS=c,URI=""""#;
    for (index, byte) in (0..header.len()).flat_map(|index| (0..=u8::MAX).map(move |byte| (index, byte))) {
        let mut changed = header.to_vec();
        changed[index] = byte;
        let _read = parse_forwarded_client_cert(&changed);
        let _read = parse_url_encoded_certificate(&changed);
        let _read = parse_client_cert([&changed[..]]);
    }
}

fn with_lower_case_escapes(text: &str) -> String {
    let escapes = ["%0A", "%2B", "%2F", "%3D"];
    escapes.iter().fold(String::from(text), |text, escape| text.replace(escape, &escape.to_lowercase()))
}

fn pem(der: &[u8]) -> String {
    let base64 = STANDARD.encode(der);
    let lines: Vec<_> = base64.as_bytes().chunks(64).map(|line| str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

/// As Envoy does it.
fn url_encoded(pem: &str) -> String {
    pem.replace('\n', "%0A").replace(' ', "%20").replace('+', "%2B").replace('/', "%2F").replace('=', "%3D")
}

fn pem_escaped_fully(der: &[u8]) -> String {
    let escaped: Vec<_> = pem(der).bytes().map(|byte| format!("%{byte:02x}")).collect();
    escaped.concat()
}

fn hex(octets: &[u8]) -> String {
    let digits: Vec<_> = octets.iter().map(|octet| format!("{octet:02x}")).collect();
    digits.concat()
}

fn octets(hex: &str) -> [u8; 32] {
    let octet = |index: usize| u8::from_str_radix(&hex[index * 2..index * 2 + 2], 16).unwrap();
    std::array::from_fn(octet)
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().copied().map(String::from).collect()
}
