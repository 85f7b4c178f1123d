//! What the fuzz targets check of the parsers of this protocol.

use axum::http::HeaderMap;
use axum::http::HeaderValue;
use axum::http::header::ACCEPT;
use axum::http::header::AUTHORIZATION;
use axum::http::header::CONTENT_TYPE;

use crate::http::accept::prefers;
use crate::http::challenge::in_scheme_of;
use crate::http::client::Authentication;
use crate::http::form::Form;

/// The names of the parameters that are looked at.
const NAMES: [&str; 6] = ["client_id", "scope", "resource", "client_secret", "client_assertion", "a"];

/// The input as a form.
pub(crate) fn forms(input: &[u8]) {
    let form_type = HeaderValue::from_static("Application/x-www-form-urlencoded; charset=utf-8");
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, form_type)]);
    assert!(Form::parse(&HeaderMap::new(), input).is_err());
    let Ok(form) = Form::parse(&headers, input) else { return };
    for name in NAMES {
        let all = second_reading(input, name);
        assert_eq!(form.all(name), all.iter().filter(|value| !value.is_empty()).cloned().collect::<Vec<_>>());
        match (form.one(name), all.as_slice()) {
            (Err(_), [_, _, ..]) => {}
            (Ok(value), [] | [_]) => {
                assert_eq!(value, all.first().map(String::as_str).filter(|value| !value.is_empty()));
            }
            (one, all) => unreachable!("{name}: {one:?} of {all:?}"),
        }
    }
    if let Ok(client) = Authentication::of(&form, &headers) {
        assert!(form.one("client_secret").is_ok_and(|secret| secret.is_none()));
        assert!(client.client_id.is_none_or(|id| !id.is_empty()));
        // With an Authorization header it would authenticate in two ways, or by a header.
        let with_header = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static("Basic YTpi"))]);
        assert!(Authentication::of(&form, &with_header).is_err());
    }
}

/// The values of a parameter in a form that is known to be one in UTF-8.
fn second_reading(body: &[u8], wanted: &str) -> Vec<String> {
    let decoded = |text: &[u8]| {
        let (mut bytes, mut rest) = (Vec::new(), text);
        while let Some((first, after)) = rest.split_first() {
            let escaped = after.get(..2).and_then(|digits| str::from_utf8(digits).ok());
            let escaped = escaped.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
            match (first, escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok())) {
                (b'%', Some(byte)) => {
                    bytes.push(byte);
                    rest = after.get(2..).unwrap_or_default();
                }
                (b'+', _) => {
                    bytes.push(b' ');
                    rest = after;
                }
                (byte, _) => {
                    bytes.push(*byte);
                    rest = after;
                }
            }
        }
        String::from_utf8(bytes).unwrap_or_default()
    };
    let pairs = body.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty());
    let parts = pairs.map(|pair| {
        let mut parts = pair.splitn(2, |byte| *byte == b'=');
        (decoded(parts.next().unwrap_or_default()), decoded(parts.next().unwrap_or_default()))
    });
    parts.filter(|(name, _)| name == wanted).map(|(_, value)| value).collect()
}

/// The lines of the input as `accept`, and as `authorization`.
pub(crate) fn accept(input: &[u8]) {
    const WANTED: &str = "application/token-introspection+jwt";
    let lines = || input.split(|byte| *byte == b'\n').filter_map(|line| HeaderValue::from_bytes(line).ok());
    let headers: HeaderMap = lines().map(|line| (ACCEPT, line)).collect();
    let preferred = prefers(&headers, WANTED, "application/json");
    let named = lines()
        .any(|line| line.as_bytes().to_ascii_lowercase().windows(WANTED.len()).any(|part| part == WANTED.as_bytes()));
    assert!(named || !preferred);
    // The order of the ranges has no meaning.
    let mut ranges: Vec<HeaderValue> = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .filter_map(|range| HeaderValue::from_str(range).ok())
        .collect();
    ranges.reverse();
    let reversed: HeaderMap = ranges.into_iter().map(|range| (ACCEPT, range)).collect();
    assert_eq!(prefers(&reversed, WANTED, "application/json"), preferred);
    let tried: HeaderMap = lines().map(|line| (AUTHORIZATION, line)).collect();
    assert!(["Basic ", "Bearer ", "DPoP "].iter().any(|scheme| in_scheme_of(&tried).starts_with(scheme)));
}
