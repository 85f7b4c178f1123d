//! Request paths, and the templates of routes. A template matches segment by segment; there are no regular expressions.
//!
//! A proxy and the service behind it must read the same path: one that may be read differently is refused ([`RequestPath`]).

use std::borrow::Cow;

use hex::FromHex as _;
use percent_encoding::percent_decode_str;

/// The longest template, in bytes.
const MAX_TEMPLATE_BYTES: usize = 1024;

/// The most segments that are parsed. No template has more, so a longer path matches only by its beginning.
const MAX_SEGMENTS: usize = 256;

/// A request path with only one possible reading: its percent-decoded segments.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RequestPath<'a>(Vec<Cow<'a, str>>);

/// The path is refused because servers differ in how they read it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the path is not in its one plain form")]
pub struct PathNotCanonical;

impl<'a> RequestPath<'a> {
    /// Parses a request target in origin form (RFC 9112 section 3.2.1). The query is removed.
    ///
    /// Refused are: a target that does not begin with a slash; `.` and `..` as segments; `//`; a backslash; a semicolon, at which
    /// some servers cut off parameters; `#`, spaces, control characters and bytes outside ASCII; percent signs that are not an
    /// escape; and escapes of `.`, `/`, `\`, `;`, NUL and other control characters, of a further escape, and of octets that are
    /// not UTF-8. A slash at the end is kept: `/orders/` and `/orders` are different paths.
    pub fn parse(target: &'a str) -> Result<Self, PathNotCanonical> {
        let path = target.split_once('?').map_or(target, |(path, _)| path);
        let rest = path.strip_prefix('/').ok_or(PathNotCanonical)?;
        let plain = |byte: u8| matches!(byte, b'!'..=b'~') && !matches!(byte, b'\\' | b';' | b'#');
        if !rest.bytes().all(plain) {
            return Err(PathNotCanonical);
        }
        let mut segments: Vec<Cow<'a, str>> = Vec::new();
        for segment in rest.split('/') {
            // Only the last segment may be empty.
            if segments.last().is_some_and(|last| last.is_empty()) || segments.len() == MAX_SEGMENTS {
                return Err(PathNotCanonical);
            }
            segments.push(decoded(segment)?);
        }
        Ok(Self(segments))
    }

    /// The decoded segment at a place.
    pub fn segment(&self, place: usize) -> Option<&str> {
        self.0.get(place).map(|segment| &**segment)
    }
}

fn decoded(segment: &str) -> Result<Cow<'_, str>, PathNotCanonical> {
    if matches!(segment, "." | "..") {
        return Err(PathNotCanonical);
    }
    if !segment.contains('%') {
        return Ok(segment.into());
    }
    // Each escape is checked before decoding: afterwards an escaped character looks like an unescaped one.
    let harmless = |octet: u8| !octet.is_ascii_control() && !b"./\\;".contains(&octet);
    if !escapes(segment).all(|octet| octet.is_some_and(harmless)) {
        return Err(PathNotCanonical);
    }
    let decoded = percent_decode_str(segment).decode_utf8().map_err(|_| PathNotCanonical)?;
    // A server that decodes twice would read another path.
    if escapes(&decoded).any(|octet| octet.is_some()) { Err(PathNotCanonical) } else { Ok(decoded) }
}

/// The octet of each percent escape; `None` for a percent sign that is not an escape.
fn escapes(text: &str) -> impl Iterator<Item = Option<u8>> {
    text.split('%').skip(1).map(|rest| {
        let [octet] = <[u8; 1]>::from_hex(rest.get(..2)?).ok()?;
        Some(octet)
    })
}

/// One segment of a template. The order is that of precedence: the more specific comes first.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Segment {
    Literal(String),
    /// One segment that is not empty.
    Any,
    /// Any number of segments, at the end of the template.
    Rest,
}

/// A path with variable segments. Of two templates that match the same path, the lesser one is the more specific.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct PathTemplate(Vec<Segment>);

impl PathTemplate {
    /// Parses `/orders/{id}/items` or `/static/**`. `None` for anything else: names in braces consist of letters,
    /// digits and `_`, `**` is allowed only at the end, and literal segments must be valid in a request path.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > MAX_TEMPLATE_BYTES {
            return None;
        }
        let (text, rest) = match text.strip_suffix("/**") {
            Some(text) => (text, true),
            None => (text, false),
        };
        let mut segments = Vec::new();
        // In `/**` no text is left.
        if !(rest && text.is_empty()) {
            for segment in RequestPath::parse(text).ok()?.0 {
                segments.push(open(&segment)?);
            }
            // A template is written without escapes.
            if text.contains(['%', '?']) || (rest && text.ends_with('/')) {
                return None;
            }
        }
        segments.extend(rest.then_some(Segment::Rest));
        Some(Self(segments))
    }

    /// Whether a path matches.
    pub fn matches(&self, path: &RequestPath<'_>) -> bool {
        let mut segments = path.0.iter();
        for place in &self.0 {
            match place {
                Segment::Rest => return true,
                Segment::Any => {
                    if segments.next().is_none_or(|segment| segment.is_empty()) {
                        return false;
                    }
                }
                Segment::Literal(literal) => {
                    if segments.next().is_none_or(|segment| segment != literal) {
                        return false;
                    }
                }
            }
        }
        segments.next().is_none()
    }

    /// Whether every path that the other template matches matches this one.
    pub fn covers(&self, other: &Self) -> bool {
        let mut others = other.0.iter();
        for place in &self.0 {
            match (place, others.next()) {
                (Segment::Rest, _) => return true,
                (Segment::Any, Some(Segment::Any)) => {}
                (Segment::Any, Some(Segment::Literal(literal))) if !literal.is_empty() => {}
                (Segment::Literal(one), Some(Segment::Literal(other))) if one == other => {}
                (Segment::Any | Segment::Literal(_), _) => return false,
            }
        }
        others.next().is_none()
    }
}

fn open(segment: &str) -> Option<Segment> {
    match segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
        Some(name) => {
            let named = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            named.then_some(Segment::Any)
        }
        None => (!segment.contains(['{', '}', '*'])).then(|| Segment::Literal(segment.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(target: &str) -> RequestPath<'_> {
        RequestPath::parse(target).unwrap_or_else(|_| panic!("{target:?} was refused"))
    }

    #[test]
    fn a_path_that_servers_read_in_different_ways_is_refused() {
        for refused in [
            "",
            "*",
            "orders",
            "example.com:443",
            "https://a/orders",
            "//",
            "//orders",
            "/orders//1",
            "/orders//",
            "/.",
            "/..",
            "/./orders",
            "/orders/.",
            "/orders/..",
            "/orders/../admin",
            "/%2e",
            "/%2E%2e/admin",
            "/a%2eb",
            "/.%2e/x",
            "/a%2fb",
            "/a%2Fb",
            "/a%5cb",
            "/a%5Cb",
            "/a\\b",
            "/\\",
            "/a%00",
            "/%00/b",
            "/a%0ab",
            "/a%7f",
            "/a;b",
            "/..;/a",
            "/a%3bb",
            "/a#b",
            "/a b",
            "/a\tb",
            "/é",
            "/%c3",
            "/%c0%af",
            "/%ff",
            "/%",
            "/%4",
            "/a%zz",
            "/a%+1",
            "/%252e",
            "/%25%32%65",
            "/a%252fb",
            "/orders?x/../y/../../..?",
            "/a\u{0}b",
        ] {
            let plain_before_query = refused.starts_with("/orders?");
            assert_eq!(RequestPath::parse(refused).is_err(), !plain_before_query, "{refused:?}");
        }
        assert!(RequestPath::parse(&"/a".repeat(MAX_SEGMENTS)).is_ok());
        assert!(RequestPath::parse(&"/a".repeat(MAX_SEGMENTS + 1)).is_err());
    }

    #[test]
    fn an_escape_is_the_character_that_it_stands_for() {
        assert_eq!(path("/%6frders/a%20b?x=%2e%2e/"), RequestPath(vec!["orders".into(), "a b".into()]));
        assert_eq!(path("/100%25"), RequestPath(vec!["100%".into()]));
        assert_eq!(path("/%C3%A9"), RequestPath(vec!["é".into()]));
        assert_eq!(path("/...,@:a.b"), RequestPath(vec!["...,@:a.b".into()]));
        assert_eq!(path("/"), RequestPath(vec!["".into()]));
    }

    #[test]
    fn templates_match_by_whole_segments() {
        for (template, yes, no) in [
            (
                "/orders",
                &["/orders", "/%6frders", "/orders?a=b"][..],
                &["/orders/", "/Orders", "/orders/1", "/order", "/"][..],
            ),
            ("/", &["/", "/?a"], &["/a"]),
            ("/orders/", &["/orders/"], &["/orders", "/orders/1"]),
            (
                "/orders/{id}",
                &["/orders/1", "/orders/a%20b", "/orders/{id}"],
                &["/orders", "/orders/", "/orders/1/", "/orders/1/2"],
            ),
            ("/orders/{id}/items", &["/orders/1/items"], &["/orders/1", "/orders//items", "/orders/1/2/items"]),
            ("/static/**", &["/static", "/static/", "/static/a", "/static/a/b/"], &["/staticx", "/", "/statics/a"]),
            ("/**", &["/", "/a", "/a/b/c"], &[]),
            ("/shop.v1.Orders/Get", &["/shop.v1.Orders/Get"], &["/shopxv1.Orders/Get"]),
        ] {
            let template = PathTemplate::parse(template).unwrap();
            for target in yes {
                assert!(template.matches(&path(target)), "{template:?} {target}");
            }
            for target in no {
                assert!(
                    RequestPath::parse(target).is_ok_and(|path| !template.matches(&path)) || target.contains("//"),
                    "{template:?} {target}"
                );
            }
        }
    }

    #[test]
    fn what_is_not_a_template_is_refused() {
        for refused in [
            "", "orders", "**", "/**/a", "/a/**/b", "/a**", "/*", "/a/*", "/a*b", "/{}", "/{a", "/a}", "/{a}b",
            "/a{b}", "/{a-b}", "/{a}/..", "//", "/a//b", "/a//**", "/%61", "/a?b", "/a;b", "/a b", "/é", "/a#",
        ] {
            assert!(PathTemplate::parse(refused).is_none(), "{refused:?}");
        }
    }
}
