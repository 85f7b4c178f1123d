//! How each of these headers is read, or why it is not.

use std::collections::HashSet;

use lanyard::authority::evidence::ForwardedElement;
use lanyard::authority::evidence::InvalidForwardedCertificate as Invalid;
use lanyard::authority::evidence::parse_forwarded_client_cert;

use crate::support::forwarded::Forwarded;
use crate::support::forwarded::H;
use crate::support::forwarded::OTHER;
use crate::support::forwarded::octets;

/// The fewest cases that the tables may have together; none counts twice.
const FEWEST_CASES: usize = 60;

type Readings = Vec<(&'static str, Vec<ForwardedElement>)>;

#[test]
fn each_of_these_headers_is_read_as_it_is_meant() {
    let forwarded = Forwarded::new();
    for (header, expected) in readings(&forwarded) {
        assert_eq!(forwarded.read(header), Ok(expected), "{header}");
    }
}

#[test]
fn each_of_these_headers_is_refused() {
    let forwarded = Forwarded::new();
    for (header, reason) in refusals() {
        assert_eq!(forwarded.read(header), Err(reason), "{header:?}");
    }
    let not_utf8 = [b"Hash=", H.as_bytes(), b";URI=\xff"].concat();
    assert_eq!(parse_forwarded_client_cert(&not_utf8), Err(Invalid::Unprintable));
}

#[test]
fn there_are_enough_cases_and_none_is_there_twice() {
    let forwarded = Forwarded::new();
    let read: Vec<&str> = readings(&forwarded).into_iter().map(|(header, _)| header).collect();
    let refused: Vec<&str> = refusals().into_iter().map(|(header, _)| header).collect();
    let distinct: HashSet<&str> = read.iter().chain(&refused).copied().collect();
    assert_eq!(distinct.len(), read.len() + refused.len());
    assert!(read.len() >= FEWEST_CASES / 2 && refused.len() >= FEWEST_CASES, "{} and {}", read.len(), refused.len());
}

fn readings(forwarded: &Forwarded) -> Readings {
    let hash = Some(octets(H));
    let own_hash = Some(forwarded.hash());
    let other = Some(octets(OTHER));
    let with_hash = || ForwardedElement { hash, ..Default::default() };
    let named = |uri: &[&str], dns: &[&str]| ForwardedElement { uri: strings(uri), dns: strings(dns), ..with_hash() };
    let subject = |text: &str| ForwardedElement { subject: Some(String::from(text)), ..with_hash() };
    let certificate = || ForwardedElement { certificate: Some(forwarded.der.clone()), ..Default::default() };
    let by = |by: &[&str]| ForwardedElement { by: strings(by), ..with_hash() };
    let with_chain = |names: &[&str]| {
        let der = |name: &&str| if *name == "{CERT}" { forwarded.der.clone() } else { forwarded.above.clone() };
        ForwardedElement { chain: names.iter().map(der).collect(), ..certificate() }
    };
    vec![
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
        ("Cert=\"{CERT}\";Chain=\"{CERT}\"", vec![with_chain(&["{CERT}"])]),
        ("Cert=\"{CERT}\";Chain=\"{CERT}{CA}\"", vec![with_chain(&["{CERT}", "{CA}"])]),
        ("Chain=\"{CERT}{CA}\";Cert=\"{CERT}\"", vec![with_chain(&["{CERT}", "{CA}"])]),
        (
            "Hash={CERT_HASH};Chain=\"{CERT}{CA}\"",
            vec![ForwardedElement { hash: own_hash, certificate: None, ..with_chain(&["{CERT}", "{CA}"]) }],
        ),
        ("Chain={CA}", vec![ForwardedElement { certificate: None, ..with_chain(&["{CA}"]) }]),
        (
            "Chain={CA}{CERT}{CA}{CERT}{CA}{CERT}{CA}{CERT}{CA}{CERT}",
            vec![ForwardedElement { certificate: None, ..with_chain(&["{CA}", "{CERT}"].repeat(5)) }],
        ),
        ("By=x;Hash={H},By=y;Hash={OTHER}", vec![by(&["x"]), ForwardedElement { hash: other, ..by(&["y"]) }]),
        ("Hash={H},Hash={H},Hash={H}", vec![with_hash(), with_hash(), with_hash()]),
        ("Hash={H};URI=,Hash={H}", vec![with_hash(), with_hash()]),
        ("Hash={H},  Hash={H}", vec![with_hash(), with_hash()]),
        ("DNS=x.example", vec![ForwardedElement { hash: None, ..named(&[], &["x.example"]) }]),
        ("URI=", vec![ForwardedElement::default()]),
        // What a client sent precedes what the proxy appends, and does not affect it.
        (
            "By=spiffe://p;Hash={OTHER};URI=spiffe://admin,By=spiffe://p;Hash={H};URI=spiffe://a/b",
            vec![
                ForwardedElement { hash: other, uri: strings(&["spiffe://admin"]), ..by(&["spiffe://p"]) },
                ForwardedElement { uri: strings(&["spiffe://a/b"]), ..by(&["spiffe://p"]) },
            ],
        ),
        (
            "URI=spiffe://admin,By=;Hash={H}",
            vec![ForwardedElement { hash: None, ..named(&["spiffe://admin"], &[]) }, with_hash()],
        ),
        // Gateway, sidecar, and a By that belongs to neither.
        (
            "By=spiffe://g;Hash={H},By=spiffe://s;Hash={OTHER},By=spiffe://else;Hash={H}",
            vec![by(&["spiffe://g"]), ForwardedElement { hash: other, ..by(&["spiffe://s"]) }, by(&["spiffe://else"])],
        ),
        // By is neither checked nor required here.
        ("By=SPIFFE://A/B;Hash={H}", vec![by(&["SPIFFE://A/B"])]),
        ("By=nonsense;Hash={H}", vec![by(&["nonsense"])]),
        ("BY=x;bY=x;Hash={H}", vec![by(&["x", "x"])]),
        ("Hash={H};By=x", vec![by(&["x"])]),
        // Names are not decoded: percent signs in them are theirs.
        ("Hash={H};URI=spiffe://a/%62", vec![named(&["spiffe://a/%62"], &[])]),
        ("Hash={H};URI=spiffe://a/b%2C%3B", vec![named(&["spiffe://a/b%2C%3B"], &[])]),
        ("By=a%3Db;Hash={H}", vec![by(&["a%3Db"])]),
        ("Hash={H};Subject=\"CN=%22;URI=x%22\"", vec![subject("CN=%22;URI=x%22")]),
        ("Hash={H};URI=spiffe://a/b;DNS=", vec![named(&["spiffe://a/b"], &[])]),
        ("Hash={H};URI=;URI=spiffe://a/b;URI=", vec![named(&["spiffe://a/b"], &[])]),
        ("Hash={H};URI=spiffe://a/b;URI=spiffe://a/b", vec![named(&["spiffe://a/b", "spiffe://a/b"], &[])]),
        (
            "Hash={H};DNS=*.x.example;DNS=xn--nxasmq6b.example",
            vec![named(&[], &["*.x.example", "xn--nxasmq6b.example"])],
        ),
        (
            r#"Hash={H};Subject="CN=\C3\BC,O=\ leading and trailing\ ""#,
            vec![subject(r"CN=\C3\BC,O=\ leading and trailing\ ")],
        ),
    ]
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn refusals() -> Vec<(&'static str, Invalid)> {
    vec![
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
        ("Chain=\"{CERT}\";Chain=\"{CERT}\"", Invalid::RepeatedKey),
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
        ("Chain=", Invalid::Chain),
        ("Chain=\"\"", Invalid::Chain),
        ("Hash={H};Chain=\"nonsense\"", Invalid::Chain),
        ("Chain=\"{CERT}%\"", Invalid::Chain),
        ("Chain=\"{CERT}x{CA}\"", Invalid::Chain),
        ("Chain=\"%0A{CERT}\"", Invalid::Chain),
        ("Chain=\"{CERT}%20{CA}\"", Invalid::Chain),
        ("Chain={CA}{CERT}{CA}{CERT}{CA}{CERT}{CA}{CERT}{CA}{CERT}{CA}", Invalid::ChainTooLong),
        ("Cert=\"{CERT}\";Chain=\"{CA}{CERT}\"", Invalid::ChainMismatch),
        ("Chain=\"{CA}\";Cert=\"{CERT}\"", Invalid::ChainMismatch),
        ("Hash={CERT_HASH};Chain=\"{CA}{CERT}\"", Invalid::ChainMismatch),
        ("Hash={H};Chain=\"{CERT}\"", Invalid::ChainMismatch),
        // A client's open quote, closed by the quote in a name of its own, would hold the proxy's element.
        ("Hash={OTHER};URI=\",By=p;Hash={H};URI=spiffe://a/\"", Invalid::Quoting),
        ("Hash={OTHER};Subject=\",Hash={H};URI=spiffe://a/\"", Invalid::Quoting),
        (r#"Hash={OTHER};Subject="\,By=p;Hash={H};URI=spiffe://a/""#, Invalid::Quoting),
        ("Hash={OTHER};DNS=\"x, hASH={H};DNS=a\"", Invalid::Quoting),
        // A separator that nothing follows, or spaces where none may be.
        ("Hash={H};URI=spiffe://a/b;", Invalid::Pair),
        ("Hash={H};URI=spiffe://a/b,", Invalid::Pair),
        ("Hash={H};URI=spiffe://a/b, ;", Invalid::Pair),
        (" Hash={H}", Invalid::Pair),
        ("Hash={H};URI =x", Invalid::Pair),
        ("Hash={H};URI= spiffe://a/b", Invalid::Quoting),
        ("Hash={H};URI=spiffe://a/b ", Invalid::Quoting),
        ("Hash\u{a0}={H}", Invalid::Unprintable),
        ("H\u{430}sh={H}", Invalid::Unprintable),
        ("%48ash={H}", Invalid::Pair),
        ("Hash=%34{H}", Invalid::Hash),
        ("Hash={H}%", Invalid::Hash),
        ("Hash={H}%00", Invalid::Hash),
        ("Cert=\"{CERT}\";Hash=", Invalid::Hash),
        ("Subject=;subject=", Invalid::RepeatedKey),
        ("Hash={H};URI=;DNS=;URI=x", Invalid::MisplacedKey),
        ("Hash={H};URI=x;Hash={OTHER}", Invalid::RepeatedKey),
        ("By=y;URI=x;Hash={OTHER}", Invalid::MisplacedKey),
        ("By=y;URI=x;Cert=\"{CERT}\"", Invalid::MisplacedKey),
        ("By=y;DNS=x;Subject=\"CN=a\"", Invalid::MisplacedKey),
        ("Hash={H},x", Invalid::Pair),
        ("Hash={H},Hash", Invalid::Pair),
        ("Hash={H},Email=a@x.example", Invalid::UnknownKey),
        ("Hash={H};Hash-={H}", Invalid::UnknownKey),
    ]
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().copied().map(String::from).collect()
}
