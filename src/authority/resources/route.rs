//! Paths of requests, and the templates that routes are made of. There are no regular expressions here: a template matches
//! segment by segment.
//!
//! A proxy and the service behind it must see the same path. One that some server reads in another way than this one is
//! refused rather than read: see [`RequestPath::parse`].

use hex::FromHex as _;
use percent_encoding::percent_decode_str;

use crate::authority::scope::Scope;

/// The most bytes that a template may have.
const MAX_TEMPLATE_BYTES: usize = 1024;

/// The most segments that are looked at: no template has more, and a path that has matches only by its beginning.
const MAX_SEGMENTS: usize = 256;

/// A request's path in the one way in which it can be read: its segments, percent-decoded.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RequestPath(Vec<String>);

/// Servers differ in what they make of the path.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the path is not in its one plain form")]
pub struct PathNotCanonical;

impl RequestPath {
    /// Reads a request target as HTTP has it (RFC 9112 section 3.2.1): the query is cut off.
    ///
    /// Refused are: what does not begin with a slash; `.` and `..` as segments; `//`; a backslash; a semicolon, which some
    /// servers cut parameters off at; `#`, spaces, control characters and bytes beyond ASCII; percent signs that escape
    /// nothing; and escapes of `.`, `/`, `\`, `;`, NUL and other control characters, of a further escape, and of what is
    /// not UTF-8. A slash at the end is kept: `/orders/` is another path than `/orders`.
    pub fn parse(target: &str) -> Result<Self, PathNotCanonical> {
        let path = target.split_once('?').map_or(target, |(path, _)| path);
        let rest = path.strip_prefix('/').ok_or(PathNotCanonical)?;
        let plain = |byte: u8| matches!(byte, b'!'..=b'~') && !matches!(byte, b'\\' | b';' | b'#');
        if !rest.bytes().all(plain) {
            return Err(PathNotCanonical);
        }
        let mut segments: Vec<String> = Vec::new();
        for segment in rest.split('/') {
            // Only the last may be empty.
            if segments.last().is_some_and(String::is_empty) || segments.len() == MAX_SEGMENTS {
                return Err(PathNotCanonical);
            }
            segments.push(decoded(segment)?);
        }
        Ok(Self(segments))
    }
}

fn decoded(segment: &str) -> Result<String, PathNotCanonical> {
    if matches!(segment, "." | "..") {
        return Err(PathNotCanonical);
    }
    if !segment.contains('%') {
        return Ok(segment.to_owned());
    }
    // What each escape stands for, looked at by itself: decoded, it could not be told from what stood there unescaped.
    let harmless = |octet: u8| !octet.is_ascii_control() && !b"./\\;".contains(&octet);
    if !escapes(segment).all(|octet| octet.is_some_and(harmless)) {
        return Err(PathNotCanonical);
    }
    let decoded = percent_decode_str(segment).decode_utf8().map_err(|_| PathNotCanonical)?.into_owned();
    // A server that decodes twice would see something else.
    if escapes(&decoded).any(|octet| octet.is_some()) { Err(PathNotCanonical) } else { Ok(decoded) }
}

/// The octet that each percent sign escapes; `None` for one that escapes nothing.
fn escapes(text: &str) -> impl Iterator<Item = Option<u8>> {
    text.split('%').skip(1).map(|rest| {
        let [octet] = <[u8; 1]>::from_hex(rest.get(..2)?).ok()?;
        Some(octet)
    })
}

/// One place in a template. The order is that of precedence: what matches less comes first.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Segment {
    Literal(String),
    /// Any one segment that is not empty.
    Any,
    /// Any number of segments, at the end.
    Rest,
}

/// A path with places that stay open. Of two that match the same path, the lesser one is the more specific.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct PathTemplate(Vec<Segment>);

impl PathTemplate {
    /// Reads `/orders/{id}/items` or `/static/**`. `None` for anything else: the names in braces are letters, digits and
    /// `_`, `**` stands at the end, and what stands there literally could be sent so.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > MAX_TEMPLATE_BYTES {
            return None;
        }
        let (text, rest) = match text.strip_suffix("/**") {
            Some(text) => (text, true),
            None => (text, false),
        };
        let mut segments = Vec::new();
        // Of `/**` nothing is left.
        if !(rest && text.is_empty()) {
            for segment in RequestPath::parse(text).ok()?.0 {
                segments.push(open(&segment)?);
            }
            // A template is written as it is meant.
            if text.contains(['%', '?']) || (rest && text.ends_with('/')) {
                return None;
            }
        }
        segments.extend(rest.then_some(Segment::Rest));
        Some(Self(segments))
    }

    /// Whether a path is of this form.
    pub fn matches(&self, path: &RequestPath) -> bool {
        let mut segments = path.0.iter();
        for place in &self.0 {
            match place {
                Segment::Rest => return true,
                Segment::Any => {
                    if segments.next().is_none_or(String::is_empty) {
                        return false;
                    }
                }
                Segment::Literal(literal) => {
                    if segments.next() != Some(literal) {
                        return false;
                    }
                }
            }
        }
        segments.next().is_none()
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

/// What some requests need.
#[derive(Clone, Debug)]
pub struct Route {
    /// The methods; none stands for all.
    pub methods: Vec<String>,
    /// The paths.
    pub path: PathTemplate,
    /// What is needed.
    pub need: Need,
}

/// What a request needs to be let through.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Need {
    /// Nothing.
    Nothing,
    /// A token with these scopes, which may be none.
    Token(Scope),
}

/// The routes of a resource.
#[derive(Clone, Debug, Default)]
pub struct Routes(Vec<Route>);

impl Routes {
    /// `None` where two are for the same requests, so that it could not be told which one counts.
    pub fn new(mut routes: Vec<Route>) -> Option<Self> {
        routes.sort_by(|one, other| (&one.path, one.methods.is_empty()).cmp(&(&other.path, other.methods.is_empty())));
        let clash = |one: &Route, other: &Route| {
            let methods = match (one.methods.is_empty(), other.methods.is_empty()) {
                (true, true) => true,
                // All methods are all the others then.
                (true, false) | (false, true) => false,
                (false, false) => one.methods.iter().any(|method| other.methods.contains(method)),
            };
            one.path == other.path && methods
        };
        let mut left = routes.iter();
        while let Some(one) = left.next() {
            if left.clone().take_while(|other| other.path == one.path).any(|other| clash(one, other)) {
                return None;
            }
        }
        Some(Self(routes))
    }

    /// What a request needs by the most specific route that it matches: literal segments before open ones, those before
    /// `**`, from left to right, and a route that names the method before one for all. `None` where none matches.
    pub fn need(&self, method: &str, path: &RequestPath) -> Option<&Need> {
        let matches = |route: &&Route| {
            (route.methods.is_empty() || route.methods.iter().any(|one| one == method)) && route.path.matches(path)
        };
        self.0.iter().find(matches).map(|route| &route.need)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(target: &str) -> RequestPath {
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
        assert_eq!(path("/%6frders/a%20b?x=%2e%2e/"), RequestPath(vec!["orders".to_owned(), "a b".to_owned()]));
        assert_eq!(path("/100%25"), RequestPath(vec!["100%".to_owned()]));
        assert_eq!(path("/%C3%A9"), RequestPath(vec!["é".to_owned()]));
        assert_eq!(path("/...,@:a.b"), RequestPath(vec!["...,@:a.b".to_owned()]));
        assert_eq!(path("/"), RequestPath(vec![String::new()]));
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

    #[test]
    fn the_most_specific_route_counts_in_whatever_order_they_are_written() {
        let scope = |text| Need::Token(Scope::parse(text).unwrap());
        let route = |methods: &[&str], path: &str, need: Need| Route {
            methods: methods.iter().map(|&method| method.to_owned()).collect(),
            path: PathTemplate::parse(path).unwrap(),
            need,
        };
        let mut routes = vec![
            route(&[], "/**", scope("any")),
            route(&[], "/orders/{id}", scope("one")),
            route(&["GET"], "/orders/{id}", scope("read")),
            route(&["GET"], "/orders/recent", Need::Nothing),
            route(&["GET"], "/{shop}/recent", scope("shop")),
            route(&["GET"], "/orders/**", scope("below")),
        ];
        for _ in 0..routes.len() {
            routes.rotate_left(1);
            let routes = Routes::new(routes.clone()).unwrap();
            for (method, target, expected) in [
                ("GET", "/orders/recent", Need::Nothing),
                ("POST", "/orders/recent", scope("one")),
                ("GET", "/orders/1", scope("read")),
                ("get", "/orders/1", scope("one")),
                ("DELETE", "/orders/1", scope("one")),
                ("GET", "/orders", scope("below")),
                ("GET", "/orders/1/2", scope("below")),
                ("GET", "/books/recent", scope("shop")),
                ("POST", "/books/recent", scope("any")),
            ] {
                assert_eq!(routes.need(method, &path(target)), Some(&expected), "{method} {target}");
            }
        }
        assert_eq!(Routes::default().need("GET", &path("/")), None);
    }

    #[test]
    fn two_routes_for_the_same_requests_are_refused() {
        let route = |methods: &[&str], path: &str| Route {
            methods: methods.iter().map(|&method| method.to_owned()).collect(),
            path: PathTemplate::parse(path).unwrap(),
            need: Need::Nothing,
        };
        assert!(Routes::new(vec![route(&["GET"], "/a/{b}"), route(&["POST", "GET"], "/a/{c}")]).is_none());
        assert!(Routes::new(vec![route(&[], "/a"), route(&["GET"], "/a"), route(&[], "/a")]).is_none());
        assert!(
            Routes::new(vec![route(&["GET"], "/a/{b}"), route(&["POST"], "/a/{c}"), route(&[], "/a/{d}")]).is_some()
        );
        assert!(Routes::new(vec![route(&["GET"], "/a"), route(&["GET"], "/a/")]).is_some());
    }
}
