//! The `Accept` header (RFC 9110 section 12.5.1).

use axum::http::HeaderMap;
use axum::http::header::ACCEPT;

/// Whether the header lists `wanted` by its name, with a weight that is not below that of `otherwise`, the media type of
/// the response without it. A range such as `*/*` does not ask for `wanted`.
pub(super) fn prefers(headers: &HeaderMap, wanted: &str, otherwise: &str) -> bool {
    let group = otherwise.split('/').next().unwrap_or_default();
    let (mut asked, mut other) = (None, None);
    for range in ranges(headers) {
        if range.media.eq_ignore_ascii_case(wanted) {
            asked = asked.max(Some(range.weight));
        }
        // The most specific range that matches decides (section 12.5.1).
        let specificity = match range.media.split_once('/') {
            _ if range.media.eq_ignore_ascii_case(otherwise) => 2,
            Some((kind, "*")) if kind.eq_ignore_ascii_case(group) => 1,
            Some(("*", "*")) => 0,
            Some(_) | None => continue,
        };
        other = other.max(Some((specificity, range.weight)));
    }
    asked.is_some_and(|weight| weight > 0 && weight >= other.map_or(0, |(_, weight)| weight))
}

/// A media range, and its weight in thousandths.
struct Range<'a> {
    media: &'a str,
    weight: u16,
}

/// The ranges of the header. One whose weight is malformed is left out.
fn ranges(headers: &HeaderMap) -> impl Iterator<Item = Range<'_>> {
    let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).filter_map(|range| {
        let mut parts = range.split(';').map(str::trim);
        let media = parts.next()?;
        let weight = parts.find_map(|part| part.split_once('=').filter(|(name, _)| name.eq_ignore_ascii_case("q")));
        Some(Range { media, weight: weight.map_or(Some(1000), |(_, text)| thousandths(text))? })
    })
}

/// Reads a weight: 0 or 1, with at most three decimals (RFC 9110 section 12.4.2).
fn thousandths(text: &str) -> Option<u16> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    if decimals.len() > 3 || !decimals.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let part: u16 = format!("{decimals:0<3}").parse().ok()?;
    match (whole, part) {
        ("0", part) => Some(part),
        ("1", 0) => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const JWT: &str = "application/token-introspection+jwt";

    #[test]
    fn the_weights_decide_and_only_the_name_itself_asks() {
        for (accept, expected) in [
            (JWT, true),
            ("Application/Token-Introspection+JWT;Q=0.001", true),
            ("application/token-introspection+jwt;q=0.1, application/json;q=1", false),
            ("application/token-introspection+jwt;q=0.1, application/json", false),
            ("application/token-introspection+jwt;q=0.5, application/json;q=0.5", true),
            ("application/json;q=0.4, application/token-introspection+jwt ; q=0.5", true),
            ("application/token-introspection+jwt;q=0.5, */*", false),
            ("application/token-introspection+jwt;q=0.5, */*;q=0.4", true),
            ("application/token-introspection+jwt;q=0.5, */*, application/json;q=0.3", true),
            ("application/token-introspection+jwt;q=0.5, application/*;q=0.6, */*;q=0.1", false),
            ("application/token-introspection+jwt;q=0.5, text/*", true),
            ("application/token-introspection+jwt;q=0", false),
            ("application/token-introspection+jwt;q=0.000", false),
            ("application/token-introspection+jwt;q=", false),
            ("application/token-introspection+jwt;q=2", false),
            ("application/token-introspection+jwt;q=0.1234", false),
            ("application/token-introspection+jwt;q=-1", false),
            ("*/*", false),
            ("application/*", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_str(accept).unwrap())]);
            assert_eq!(prefers(&headers, JWT, "application/json"), expected, "{accept}");
        }
    }
}
