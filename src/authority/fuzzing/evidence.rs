//! The forms in which proxies forward certificates. They come from what a client sends.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::Digest as _;
use sha2::Sha256;

use crate::authority::evidence::ForwardedElement;
use crate::authority::evidence::MAX_CHAIN_CERTIFICATES;
use crate::authority::evidence::MAX_ELEMENTS;
use crate::authority::evidence::MAX_HEADER_BYTES;
use crate::authority::evidence::MAX_PAIRS;
use crate::authority::evidence::parse_client_cert;
use crate::authority::evidence::parse_client_cert_chain;
use crate::authority::evidence::parse_forwarded_client_cert;
use crate::authority::evidence::parse_url_encoded_certificate;

/// The input as `x-forwarded-client-cert`.
pub(crate) fn forwarded_client_cert(input: &[u8]) {
    let Ok(elements) = parse_forwarded_client_cert(input) else { return };
    assert!(input.len() <= MAX_HEADER_BYTES && input.iter().all(|byte| matches!(byte, b' '..=b'~')));
    assert!((1..=MAX_ELEMENTS).contains(&elements.len()));
    for element in &elements {
        let names = [&element.by, &element.uri, &element.dns];
        assert!(names.iter().map(|names| names.len()).sum::<usize>() <= MAX_PAIRS);
        assert!(names.iter().all(|names| names.iter().all(|name| !name.is_empty())));
        assert!(element.chain.len() <= MAX_CHAIN_CERTIFICATES);
        let ders = element.certificate.iter().chain(element.chain.first());
        for der in ders {
            assert!(!der.is_empty());
            assert!(element.hash.is_none_or(|hash| hash == *Sha256::digest(der)));
        }
        if let (Some(certificate), Some(first)) = (&element.certificate, element.chain.first()) {
            assert_eq!(certificate, first);
        }
    }
    // Each element, written again, is parsed to the same value; and an element that a proxy appends is parsed as it was
    // written.
    let written: Vec<String> = elements.iter().map(write).collect();
    let appended = format!("By=spiffe://p;Hash={};URI=spiffe://a/b", "0f".repeat(32));
    let again = format!("{},{appended}", written.join(","));
    if elements.len() < MAX_ELEMENTS && again.len() <= MAX_HEADER_BYTES {
        let Ok(mut again) = parse_forwarded_client_cert(again.as_bytes()) else {
            unreachable!("proxies write elements in this form")
        };
        assert_eq!(
            again.pop().map(|last| (last.by, last.hash)),
            Some((vec!["spiffe://p".to_owned()], Some([0x0f; 32])))
        );
        assert_eq!(again, elements);
    }
    // In front of that element the input may be anything.
    let ahead = [input, b",", appended.as_bytes()].concat();
    if let Ok(read) = parse_forwarded_client_cert(&ahead) {
        let Some(last) = read.last() else { unreachable!("there is at least one element") };
        assert_eq!((&last.by[..], last.hash), (&["spiffe://p".to_owned()][..], Some([0x0f; 32])));
    }
}

fn write(element: &ForwardedElement) -> String {
    let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\\\""));
    let mut pairs: Vec<String> = element.by.iter().map(|name| format!("By={}", quoted(name))).collect();
    pairs.extend(element.hash.map(|hash| format!("Hash={}", hex::encode_upper(hash))));
    let encoded = |der: &Vec<u8>| pem(der).replace('\n', "%0A").replace(' ', "%20");
    pairs.extend(element.certificate.as_ref().map(|der| format!("cert={}", encoded(der))));
    if !element.chain.is_empty() {
        let chain: Vec<String> = element.chain.iter().map(encoded).collect();
        pairs.push(format!("CHAIN=\"{}\"", chain.concat()));
    }
    pairs.extend(element.subject.as_ref().map(|subject| format!("Subject=\"{subject}\"")));
    pairs.extend(element.uri.iter().map(|name| format!("URI={}", quoted(name))));
    if pairs.is_empty() {
        pairs.push(String::from("URI="));
    }
    pairs.extend(element.dns.iter().map(|name| format!("DNS={}", quoted(name))));
    pairs.join(";")
}

/// The input as `Client-Cert`, as the lines of `Client-Cert-Chain`, and as percent-encoded PEM.
pub(crate) fn client_certs(input: &[u8]) {
    if let Ok(der) = parse_url_encoded_certificate(input) {
        assert!(!der.is_empty());
        let text = pem(&der).replace('\n', "%0a").replace(' ', "%20");
        assert_eq!(parse_url_encoded_certificate(text.as_bytes()), Ok(der));
    }
    if let Ok(der) = parse_client_cert([input]) {
        assert!(!der.is_empty());
        assert_eq!(parse_client_cert([format!(":{}:", STANDARD.encode(&der)).as_bytes()]), Ok(der));
    }
    let lines: Vec<&[u8]> = input.split(|byte| *byte == b'\n').collect();
    if let Ok(chain) = parse_client_cert_chain(lines.iter().copied()) {
        assert!(chain.len() < MAX_CHAIN_CERTIFICATES && chain.iter().all(|der| !der.is_empty()));
        // Further lines are equivalent to further members (RFC 9110 section 5.3).
        assert_eq!(parse_client_cert_chain([&lines.join(&b", "[..])[..]]), Ok(chain));
    }
}

fn pem(der: &[u8]) -> String {
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(der))
}
