//! No text that a client supplies changes the identity that is read: not the header that it sends to a proxy which appends
//! to it, not its subject, not its URI and DNS names. The proxy is Envoy, as its source writes the element.

use lanyard::authority::evidence::ForwardedElement;
use lanyard::authority::evidence::parse_forwarded_client_cert;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::Config;
use proptest::test_runner::RngAlgorithm;
use proptest::test_runner::TestCaseError;
use proptest::test_runner::TestError;
use proptest::test_runner::TestRng;
use proptest::test_runner::TestRunner;

use crate::support::forwarded::H;
use crate::support::forwarded::OTHER;
use crate::support::forwarded::sha256;
use crate::support::forwarded::url_encoded;
use crate::support::leaf::pem;

const CASES: u32 = 3000;
const PROXY: &str = "spiffe://prod.example/ns/mesh/sa/proxy";

/// What text is made of that wants to be taken for something else.
const PIECES: [&str; 30] = [
    ",",
    ";",
    "=",
    "\"",
    "\\",
    " ",
    "%",
    ",By=",
    ";By=",
    ",Hash=",
    ";Hash=",
    "Cert=\"",
    ";Cert=",
    "Subject=\"",
    ";Subject=\"",
    "URI=",
    ";URI=\"",
    "DNS=",
    ";DNS=",
    "\",",
    "\";",
    "\\\"",
    "\\,",
    "%22",
    "spiffe://prod.example/admin",
    PROXY,
    H,
    OTHER,
    "CN=admin",
    "a",
];

/// A client's own part of an element: what its certificate says.
#[derive(Clone, Debug)]
struct Client {
    der: Vec<u8>,
    subject: String,
    uri: Vec<String>,
    dns: Vec<String>,
}

/// What the proxy is set to write besides `By` and `Hash` (`set_current_client_cert_details`).
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is one setting of Envoy's, and they combine freely")]
struct Details {
    cert: bool,
    chain: bool,
    subject: bool,
    uri: bool,
    dns: bool,
}

/// Text of those pieces and of any characters, as a header or an `IA5String` can carry them.
fn text(most_pieces: usize) -> impl Strategy<Value = String> {
    let piece = prop_oneof![4 => select(&PIECES[..]).prop_map(String::from), 1 => "[ -~]{0,6}"];
    vec(piece, 0..most_pieces).prop_map(|pieces| pieces.concat())
}

/// The same beginning as a header does that wants to be believed.
fn sent() -> impl Strategy<Value = String> {
    let beginning = select(&["", "Hash=", "By=", "URI=\"", "DNS=\"", "Subject=\""][..]);
    let forged = format!("By={PROXY};Hash={OTHER};");
    let forged =
        select(vec![String::new(), forged.clone(), format!("{forged}URI=spiffe://prod.example/admin,{forged}")]);
    (forged, beginning, text(8)).prop_map(|(forged, beginning, text)| format!("{forged}{beginning}{text}"))
}

fn client(name: impl Strategy<Value = String> + 'static) -> impl Strategy<Value = Client> {
    let name = name.boxed();
    let names = || vec(name.clone(), 0..3);
    let subject = prop_oneof![text(6), "\\PC{0,12}"];
    (vec(any::<u8>(), 1..80), subject, names(), names()).prop_map(|(der, subject, uri, dns)| Client {
        der,
        subject,
        uri,
        dns,
    })
}

fn details() -> impl Strategy<Value = Details> {
    let choices = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    choices.prop_map(|(cert, chain, subject, uri, dns)| Details { cert, chain, subject, uri, dns })
}

/// As Envoy writes it (`ConnectionManagerUtility::mutateXfccRequestHeader`).
fn element(client: &Client, details: Details) -> String {
    let mut pairs = vec![format!("By={PROXY}"), format!("Hash={}", hex::encode(sha256(&client.der)))];
    let certificate = url_encoded(&pem(&client.der));
    if details.cert {
        pairs.push(format!("Cert=\"{certificate}\""));
    }
    if details.chain {
        pairs.push(format!("Chain=\"{certificate}{}\"", url_encoded(&pem(b"above"))));
    }
    if details.subject {
        pairs.push(format!("Subject=\"CN={}\"", rfc_2253(&client.subject)));
    }
    // One that has no URI name is given an empty one; of DNS names there are as many as there are.
    if details.uri && client.uri.is_empty() {
        pairs.push(String::from("URI="));
    }
    if details.uri {
        pairs.extend(client.uri.iter().map(|name| format!("URI={name}")));
    }
    if details.dns {
        pairs.extend(client.dns.iter().map(|name| format!("DNS={name}")));
    }
    pairs.join(";")
}

/// As OpenSSL prints an attribute's value with `XN_FLAG_RFC2253`.
fn rfc_2253(text: &str) -> String {
    let last = text.len().saturating_sub(1);
    let escaped = text.bytes().enumerate().map(|(at, byte)| match byte {
        b',' | b'+' | b'"' | b'\\' | b'<' | b'>' | b';' => format!("\\{}", char::from(byte)),
        b'#' if at == 0 => String::from("\\#"),
        b' ' if at == 0 || at == last => String::from("\\ "),
        b' '..=b'~' => String::from(char::from(byte)),
        other => format!("\\{other:02X}"),
    });
    escaped.collect()
}

fn says_what_the_proxy_wrote(
    element: &ForwardedElement,
    client: &Client,
    details: Details,
) -> Result<(), TestCaseError> {
    prop_assert_eq!(&element.by, &[PROXY]);
    prop_assert_eq!(element.hash, Some(sha256(&client.der)));
    prop_assert_eq!(element.certificate.as_ref(), details.cert.then_some(&client.der));
    prop_assert_eq!(element.chain.first(), details.chain.then_some(&client.der));
    prop_assert_eq!(element.subject.is_some(), details.subject);
    Ok(())
}

/// The same cases in each run, and no file of those that failed.
fn holds<S: Strategy>(strategy: &S, property: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    match runner.run(strategy, property) {
        Ok(()) => {}
        Err(TestError::Fail(reason, value)) => panic!("{reason}: {value:#?}"),
        Err(TestError::Abort(reason)) => panic!("{reason}"),
    }
}

/// A comma in a name begins an element that nothing tells from one of the proxy; that is for the next test.
fn without_commas(text: &str) -> String {
    text.replace(',', "")
}

#[test]
fn what_a_client_sends_ahead_of_the_proxys_element_changes_nothing_in_it() {
    holds(&(sent(), client(text(4).prop_map(|text| without_commas(&text))), details()), |(sent, client, details)| {
        let own = element(&client, details);
        let header = if sent.is_empty() { own } else { format!("{sent},{own}") };
        if let Ok(elements) = parse_forwarded_client_cert(header.as_bytes()) {
            says_what_the_proxy_wrote(elements.last().unwrap(), &client, details)?;
        }
        Ok(())
    });
}

#[test]
fn any_bytes_ahead_of_the_proxys_element_change_nothing_in_it() {
    let bytes = prop_oneof![vec(any::<u8>(), 0..40), vec(select(&b",;=\"\\ %ByHash"[..]), 0..40)];
    holds(&(bytes, client(text(4).prop_map(|text| without_commas(&text))), details()), |(sent, client, details)| {
        let header = [&sent[..], b",", element(&client, details).as_bytes()].concat();
        if let Ok(elements) = parse_forwarded_client_cert(&header) {
            says_what_the_proxy_wrote(elements.last().unwrap(), &client, details)?;
        }
        Ok(())
    });
}

/// Where the proxy replaces the header (`SANITIZE_SET`), whatever the client has had signed into its names.
#[test]
fn names_of_any_text_change_nothing_in_a_single_element() {
    holds(&(client(text(6)), details()), |(client, details)| {
        let read = parse_forwarded_client_cert(element(&client, details).as_bytes());
        if let Ok([only]) = read.as_deref() {
            says_what_the_proxy_wrote(only, &client, details)?;
        }
        Ok(())
    });
}

/// And what any proxy writes for clients with proper names is read in full, whatever their subject.
#[test]
fn proper_names_and_any_subject_are_read_as_they_were_written() {
    let name = "spiffe://prod[.]example/[a-zA-Z0-9._-]{1,20}";
    holds(&(client(name), details(), any::<bool>()), |(client, details, hop)| {
        // That subject would hold what only a proxy says.
        prop_assume!(![",Hash=", ";Hash="].iter().any(|pair| client.subject.contains(pair)));
        let own = element(&client, details);
        let header = if hop { format!("By=spiffe://prod.example/gateway;Hash={H};URI=,{own}") } else { own };
        let elements = parse_forwarded_client_cert(header.as_bytes()).unwrap();
        prop_assert_eq!(elements.len(), if hop { 2 } else { 1 });
        let last = elements.last().unwrap();
        says_what_the_proxy_wrote(last, &client, details)?;
        prop_assert_eq!(&last.uri, if details.uri { &client.uri[..] } else { &[] });
        prop_assert_eq!(&last.dns, if details.dns { &client.dns[..] } else { &[] });
        Ok(())
    });
}
